# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Classes of data and of a model paired by name, in themselves."""

import datasets
import pytest

from ait_hf.data.classes import (
    DataClasses,
    are_unnamed,
    learning_warnings,
    measuring_warnings,
    pair_classes,
    pair_joints,
)
from ait_hf.data.tables import load_any, stored_names


KNOWN = ["car", "traffic light", "caf\u00e9"]


def pair(names, shown=None, known=KNOWN, **options):
    return pair_classes(
        known, DataClasses("val.json", names, shown), "my-model", option="--classes-by-order", **options
    )


@pytest.mark.parametrize(
    ("names", "shown", "numbers"),
    [
        (KNOWN, None, [0, 1, 2]),
        (KNOWN[::-1], None, [2, 1, 0]),
        (["traffic light"], None, [1]),
        ([" car\t", "cafe\u0301"], None, [0, 2]),  # what nobody sees makes no difference
        (["tree", "car"], {1}, [-1, 0]),  # nothing of it is there
        ([], set(), []),
    ],
)
def test_names_find_each_other(names, shown, numbers):
    pairs = pair(names, shown)
    assert list(pairs.numbers) == numbers and list(pairs.names) == KNOWN
    assert pairs.by_name(names) == [
        names[numbers.index(number)] if number in numbers else None for number in range(len(KNOWN))
    ]


@pytest.mark.parametrize(
    ("names", "known", "options", "message"),
    [
        (
            ["Car", "bus"],
            KNOWN,
            {},
            r"val.json shows the classes 'Car' \(is it 'car'\?\), 'bus', which my-model does not",
        ),
        (["traffic_light"], KNOWN, {}, r"the class 'traffic_light' \(is it 'traffic light'\?\)"),
        (["cafe"], KNOWN, {}, r"'cafe' \(is it 'caf\u00e9'\?\)"),
        (["Car"], KNOWN, {"advice": " Do this."}, r"the same, letter by letter. Do this."),
        (["car", " car"], KNOWN, {}, "val.json has the class 'car' twice"),
        (["car"], ["car", "bus", "car"], {}, "my-model has the class 'car' twice"),
        (
            ["car", "bus"],
            ["LABEL_0", "LABEL_1"],
            {},
            "my-model has no names of its classes, .* set --classes-by-order",
        ),
        (KNOWN, KNOWN, {"by_order": True}, "classes of my-model have names.*: leave out --classes-by-order"),
        (KNOWN, ["LABEL_0", "LABEL_1"], {"by_order": True}, "has 2 classes without names, but val.json has 3"),
        (["car", "car"], ["LABEL_0", "LABEL_1"], {"by_order": True}, "val.json has the class 'car' twice"),
    ],
)
def test_what_does_not_pair_is_refused(names, known, options, message):
    with pytest.raises(ValueError, match=message):
        pair(names, known=known, **options)


def test_many_strangers_are_counted():
    with pytest.raises(ValueError, match="'c8', 'c9' and 5 more, which"):
        pair([f"c{number}" for number in range(15)])


def test_without_names_the_order_counts_if_asked():
    pairs = pair(["a", "b"], known=["LABEL_4", "LABEL_5"], by_order=True)
    assert list(pairs.numbers) == [0, 1] and list(pairs.names) == ["a", "b"]
    assert are_unnamed(["LABEL_4", "LABEL_5"]) and not are_unnamed(["LABEL_4", "car"])


def test_joints_are_paired_alike():
    pairs = pair_joints(("nose", "left_eye"), DataClasses("people.json", ["left_eye", "nose"]), "small")
    assert list(pairs.numbers) == [1, 0]
    with pytest.raises(
        ValueError, match=r"shows the joint 'Nose' \(is it 'nose'\?\), which the skeleton small does not"
    ):
        pair_joints(("nose",), DataClasses("people.json", ["Nose"]), "small")


def test_warnings_name_what_is_lacking():
    data = DataClasses("val.json", ["car", "traffic light"], {1})
    pairs = pair(["car", "traffic light"])
    (measured,) = measuring_warnings(pairs, data, "my-model")
    assert measured.startswith("val.json lacks 'caf\u00e9' of my-model: only what it has is measured")
    assert learning_warnings(data) == ["val.json shows nothing of 'car': it cannot be learnt."]
    assert learning_warnings(data, pairs.lacking) == [
        "val.json shows nothing of 'car', 'caf\u00e9': it cannot be learnt."
    ]
    assert measuring_warnings(pair(KNOWN), data, "my-model") == learning_warnings(DataClasses("x", ["a"])) == []


@pytest.mark.parametrize("streaming", [False, True])
def test_every_split_of_a_folder_has_the_names_of_its_own_files(tmp_path, streaming):
    """Left alone, 🤗 datasets gives all splits those of the first one's."""
    labels = {"train": [[0, 1]], "validation": [[1, 0]]}  # of the same two things
    names = {"train": ["cat", "dog"], "validation": ["dog", "cat"]}
    for split, rows in labels.items():
        features = datasets.Features({"class_labels": datasets.List(datasets.ClassLabel(names=names[split]))})
        datasets.Dataset.from_dict({"class_labels": rows}, features=features).to_parquet(tmp_path / f"{split}.parquet")
    for split, rows in labels.items():
        assert stored_names(tmp_path, split, "class_labels") == names[split]
        assert [row["class_labels"] for row in load_any(tmp_path, split, streaming)] == rows
    (tmp_path / "train.parquet").rename(tmp_path / "train-00000-of-00002.parquet")
    (tmp_path / "validation.parquet").rename(tmp_path / "train-00001-of-00002.parquet")
    with pytest.raises(ValueError, match="split 'train' in .* name their classes in different orders"):
        load_any(tmp_path, "train", streaming)
