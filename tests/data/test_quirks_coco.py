# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""COCO files as people write them: read as they are meant by everything that trains or measures, or refused by all of it in
one sentence."""

import copy
import json
import logging
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from data_sections import data_section
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from quirky_coco import CAR, HEIGHT, JOINTS, PERSON, WIDTH, content, person, write
from tiny import mixed_config

from ait_hf.data.coco import decode_segmentation, load_coco
from ait_hf.data.coco_keypoints import load_coco_keypoints
from ait_hf.data.coco_shards import load_coco_shards
from ait_hf.data.tables import warn_once
from ait_hf.metrics import CocoMetric, read_coco
from ait_hf.model.tokenization_vq import VQTokenizer
from ait_hf.tasks.objects.evaluation import coco_ground_truth, evaluate_mask_tokenizer
from ait_hf.tasks.poses.evaluation import pose_ground_truth, read_detections


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    warn_once.cache_clear()
    for number in range(1, 5):
        Image.new("RGB", (WIDTH, HEIGHT), (10 * number, 90, 30)).save(tmp_path / f"{number}.png")
    return tmp_path


def section(kind: str, file: Path):
    split = {"annotations": str(file), "images": str(file.parent)}
    both = {"train": split, "validation": split, "batch_size": 2}
    own = {"mask_size": 16} if kind == "coco_masks" else {"transform": {"image_size": [64, 64]}}
    return data_section(kind, **own, **both)


def masks_of(file: Path):
    return section("coco", file).stream(1, max_objects=9, with_masks=True).data


def tokenizer_evaluation(file: Path):
    torch.manual_seed(0)
    tokenizer = VQTokenizer(**mixed_config().tokenizers["mask"])
    return evaluate_mask_tokenizer(tokenizer, load_coco(file, file.parent), [PERSON, CAR])


# What reads objects, and what reads people.
OF_OBJECTS: dict[str, Callable[[Path], Any]] = {
    "load_coco": lambda file: load_coco(file, file.parent),
    "training": lambda file: section("coco", file).load_for_training(),
    "training with masks": lambda file: masks_of(file).load_for_training(),
    "truth of a training": lambda file: section("coco", file).ground_truth("validation", None),
    "truth with masks": lambda file: masks_of(file).ground_truth("validation", None),
    "masks": lambda file: section("coco_masks", file).load("train"),
    "read_coco": read_coco,
    "boxes": lambda file: CocoMetric("bbox", ground_truth=file),
    "segments": lambda file: CocoMetric("segm", ground_truth=read_coco(file, with_masks=True)),
}
OF_PEOPLE = {
    "load_coco_keypoints": lambda file: load_coco_keypoints(file, file.parent),
    "people": lambda file: section("coco_keypoints", file).load("train"),
    "poses": lambda file: section("coco_poses", file).load("train"),
    "truth of people": lambda file: section("coco_keypoints", file).ground_truth("validation", None),
    "joints": lambda file: CocoMetric("keypoints", ground_truth=file),
}
READERS = OF_OBJECTS | OF_PEOPLE


def refusals(file: Path, readers=None) -> dict[str, str]:
    """What every reader says."""
    said = {}
    for name, read in (readers or READERS).items():
        with pytest.raises(ValueError) as caught:
            read(file)
        said[name] = str(caught.value)
    return said


# Types


LYING = {
    "iscrowd": ["0", "false", None, 2, 0.5, [], float("nan")],
    "area": ["12", None, True, [3], float("inf"), 10**400],
    "bbox": [["1", "2", "3", "4"], [True, 1, 20, 20], "1234", [1, 2, None, 4], {"x": 1}, [1, 2, float("nan"), 4]],
    "image_id": ["1", True, 1.5, None, [1], 10**400],
    "category_id": ["4", False, {}],
    "num_keypoints": ["17", True, 2.5],
    "segmentation": [
        [["1", "2", "3", "4", "5", "6"]],
        [[True, 1, 2, 3, 4, 5]],
        {"size": [HEIGHT, WIDTH], "counts": [True, HEIGHT * WIDTH - 1]},
        {"size": [HEIGHT, WIDTH], "counts": "é" * 9},
        {"size": "60x80", "counts": [HEIGHT * WIDTH]},
        7,
    ],
    "keypoints": [["1"] * 51, [True] * 51, "none", [1, 2], [1, 2, 3] * 17],
    "id": ["1", True, 2**70],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in LYING.items() for value in values])
def test_values_of_another_type_are_named_by_every_reader(folder, key, value):
    file = write(folder, content({key: value}))
    word = {"segmentation": "polygon|segmentation|RLE", "keypoints": "keypoints|joint", "area": "area"}.get(key, key)
    where = "entry 0 of 'annotations'" if key in ("id", "image_id", "category_id") else "annotation 1"
    few = {name: READERS[name] for name in ("load_coco", "load_coco_keypoints", "read_coco")}
    for name, message in refusals(file, few).items():
        assert str(file) in message and where in message, (name, message)
        assert any(part in message for part in word.split("|")), (name, message)


@pytest.mark.parametrize(
    ("section_name", "changes", "message"),
    [
        ("images", {"height": "60"}, r"entry 0 of 'images' (id 1) has height '60', no pixel number"),
        ("images", {"width": True}, "has width True, no pixel number"),
        ("images", {"width": 80.5}, "has width 80.5, no pixel number"),
        ("images", {"id": "1"}, "has id '1', no whole number"),
        ("categories", {"name": None}, "has name None, no text"),
        ("categories", {"name": ["car"]}, "has name ['car'], no text"),
        ("categories", {"keypoints": "nose"}, "category 9 has keypoints 'nose', no list of names"),
    ],
)
def test_values_of_other_sections_are_named_by_every_reader(folder, section_name, changes, message):
    what = content()
    what[section_name][0] |= changes
    said = refusals(write(folder, what), {name: READERS[name] for name in ("load_coco", "people", "read_coco")})
    assert all(message in text for text in said.values()), said


def test_every_reader_refuses_a_crowd_of_text(folder):
    file = write(folder, content({}, {"iscrowd": "0"}))
    for name, message in refusals(file).items():
        assert "annotation 2 has iscrowd '0'; it must be 0 or 1" in message, name


@pytest.mark.parametrize("crowd", [0, False, 0.0])
def test_what_is_plainly_meant_is_read(folder, crowd):
    """Whole numbers with a fraction of zero, as tables of floats are saved; flags as numbers or not; names of digits."""
    plain = content()
    del plain["annotations"][1]["iscrowd"]
    what = copy.deepcopy(plain)
    for entry in what["annotations"]:
        entry |= {"id": float(entry["id"]), "image_id": float(entry["image_id"]), "iscrowd": crowd}
        entry["num_keypoints"] = float(entry["num_keypoints"])
    for image in what["images"]:
        image |= {"height": 60.0, "id": float(image["id"])}
    for number, read in enumerate((load_coco, load_coco_keypoints)):
        one, other = (read(write(folder, each, f"{number}.json"), folder)[:] for each in (plain, what))
        assert {key: value for key, value in one.items() if key != "image"} == {
            key: value for key, value in other.items() if key != "image"
        }
    what["categories"][0]["name"] = 3
    assert read_coco(write(folder, what))["categories"][0]["name"] == "3"


# Areas of people


@pytest.mark.parametrize("area", [0, 1, 0.3, -5])
def test_areas_that_cannot_be_become_those_of_people_in_boxes(folder, area, caplog):
    """The similarity of joints (OKS) divides by the area: at 0.3 of a square pixel nothing is ever right."""
    file = write(folder, content({"area": area}, {"area": area}, {"area": 1.0, "bbox": [12, 14, 2, 2]}))
    for read in (READERS["people"], READERS["poses"], READERS["load_coco_keypoints"]):
        assert read(file)["area"][:] == pytest.approx([0.53 * 1200] * 2 + [1.0, 700.5])
        assert "2 areas are at most 1" in caplog.text and "annotation ids 1, 2" in caplog.text
        assert len(caplog.messages) == 1  # once in a process
    truth = READERS["truth of people"](file)["annotations"]
    assert [entry["area"] for entry in truth] == pytest.approx([0.53 * 1200] * 2 + [1.0, 700.5])
    moved = np.array(JOINTS, dtype=float)
    moved[::3] += 1
    values = []
    for what in (file, write(folder, content({"area": 636.0}, {"area": 636.0}), "plain.json")):
        metric = CocoMetric("keypoints", ground_truth=what, keep_in_memory=True)
        for image_id in (1, 2):
            result = {"image_id": image_id, "category_id": PERSON, "keypoints": moved.tolist(), "score": 1.0}
            metric.add_image(image_id, [result])
        values.append(metric.compute())
    assert values[0] == values[1] and 0.5 < values[0]["AP"] < 1


def test_rows_of_people_with_odd_areas_are_measured_the_same(caplog):
    """Those of shards, say, which were written by somebody else."""
    row = {"image_id": 1, "height": HEIGHT, "width": WIDTH, "box": [10, 12, 40, 52], "area": 0.2, "iscrowd": False}
    truth = pose_ground_truth([row | {"keypoints": np.reshape(JOINTS, (17, 3))}])
    metric = CocoMetric("keypoints", ground_truth=truth)
    assert metric.ground_truth["annotations"][0]["area"] == pytest.approx(0.53 * 1200)
    assert "1 areas are at most 1" in caplog.text


# Boxes


def boxes(*given: list) -> dict:
    return content(*({"bbox": box} for box in given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (boxes([30, 20, 70, 55], [35, 30, 60, 52], [10, 12, 40, 52], [5, 5, 76, 58]), "corners (x1, y1, x2, y2)"),
        (boxes([0.1, 0.2, 0.4, 0.6], [0.2, 0.2, 0.5, 0.5], [0.3, 0.1, 0.6, 0.8], [0, 0, 0.9, 0.9]), "shares of the"),
        (boxes([120, 90, 60, 40], [100, 8, 30, 30], [10, 90, 9, 30], [5, 5, 9, 9]), "pictures of another size"),
    ],
)
def test_boxes_of_another_kind_are_refused_by_every_reader(folder, given, message):
    for name, said in refusals(write(folder, given)).items():
        assert message in said and "of 4 boxes" in said and "x, y, width, height in pixels" in said, name


def test_a_few_odd_boxes_are_no_reason(folder):
    """One of 40 leaves its picture; it is clipped, as ever."""
    what = content()
    what["annotations"] = [person(number, image_id=1) for number in range(40)]
    what["annotations"][7]["bbox"] = [60, 12, 30, 40]
    rows = load_coco(write(folder, what), folder)
    assert rows[0]["boxes"][7] == [60, 12, 80, 52]


def detection(**changes) -> dict:
    return {"image_id": 1, "category_id": PERSON, "bbox": [10, 12, 30, 40], "score": 0.9} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": "0.9"}, "detection 0 has a score"),
        ({"score": True}, "detection 0 has a score"),
        ({"category_id": "4"}, "detection 0 has category_id '4', no whole number"),
        ({"image_id": "1"}, "detection 0 has image_id '1', no whole number"),
        ({"image_id": [1]}, "no whole number"),
        ({"bbox": ["10", "12", "30", "40"]}, "detection 0 has a bbox"),
        ({"bbox": [0.1, 0.1, 0.5, 0.6]}, "shares of the picture's sides"),
        ({"bbox": [60, 40, 75, 55]}, "corners (x1, y1, x2, y2)"),
    ],
)
def test_detected_boxes_are_taken_by_type(folder, changes, message):
    file = write(folder, [detection(**changes)], "detected.json")
    with pytest.raises(ValueError) as caught:
        read_detections(file, content(), PERSON)
    assert message in str(caught.value) and str(file) in str(caught.value)


def test_detected_boxes_may_leave_their_pictures(folder):
    found = [detection(bbox=[-3, 12, 30, 40]), detection(bbox=[60, 30, 30, 40]), detection(image_id=2.0)]
    read = read_detections(write(folder, found), content(), PERSON)
    assert [len(read[number]) for number in range(1, 5)] == [2, 1, 0, 0]


# What is left out


USELESS = {
    "polygon of two points": ({"segmentation": [[1, 2, 3, 4]]}, "1 objects whose polygons all have fewer than three"),
    "empty polygon": ({"segmentation": [[]]}, "1 objects whose polygons all have fewer than three points"),
    "box without area": ({"bbox": [10, 12, 0, 40]}, "1 boxes without area"),
    "box outside": ({"bbox": [200, 12, 20, 40]}, "1 boxes outside their image"),
}
WITHOUT_MASK = {
    name: {"segmentation": value} for name, value in {"[]": [], "null": None, "text": "", "{}": {}}.items()
}


@pytest.mark.parametrize("quirk", USELESS)
def test_what_training_leaves_out_is_left_out_of_the_truth(folder, quirk, caplog):
    changes, message = USELESS[quirk]
    file = write(folder, content({}, changes))
    for name in ("load_coco", "training", "training with masks"):
        rows = OF_OBJECTS[name](file)
        assert sum(rows["annotation_id"][:], []) == [1, 3, 4]
        assert message in caplog.text and "annotation ids 2" in caplog.text, name
    assert len(OF_OBJECTS["masks"](file)) == 3
    for name in ("truth of a training", "truth with masks", "read_coco"):
        assert [entry["id"] for entry in OF_OBJECTS[name](file)["annotations"]] == [1, 3, 4], name
    for name in ("boxes", "segments", "joints"):
        assert len(READERS[name](file).ground_truth["annotations"]) == 3, name
    assert [row["id"] for row in OF_PEOPLE["people"](file)] == [1, 3, 4]


@pytest.mark.parametrize("quirk", WITHOUT_MASK)
def test_objects_without_a_mask_are_left_out_where_masks_are_wanted(folder, quirk, caplog):
    file = write(folder, content(WITHOUT_MASK[quirk]))
    assert sum(OF_OBJECTS["training"](file)["annotation_id"][:], []) == [1, 2, 3, 4] and not caplog.text
    assert sum(OF_OBJECTS["training with masks"](file)["annotation_id"][:], []) == [2, 3, 4]
    assert "left out 1 objects without a mask (annotation ids 1)" in caplog.text
    assert len(OF_OBJECTS["masks"](file)) == 3
    assert len(OF_OBJECTS["truth of a training"](file)["annotations"]) == 4
    assert len(OF_OBJECTS["truth with masks"](file)["annotations"]) == 3
    values = tokenizer_evaluation(file)
    assert (values["num_objects"], values["num_images"]) == (3, 4)


def test_a_table_in_the_cache_still_says_what_is_missing(folder, caplog):
    file = write(folder, content({"bbox": [10, 12, 0, 40]}))
    for _ in range(2):
        caplog.clear()
        warn_once.cache_clear()  # as in another process
        load_coco(file, folder)
        assert "left out 1 boxes without area" in caplog.text


@pytest.mark.parametrize(
    "changes", [{"num_keypoints": 0}, {"num_keypoints": 5.0}, {"num_keypoints": ...}], ids=["0", "5", "missing"]
)
def test_joints_are_counted_anew(folder, changes):
    what = content(changes)
    if changes["num_keypoints"] is ...:
        del what["annotations"][0]["num_keypoints"]
    file = write(folder, what)
    assert [entry["num_keypoints"] for entry in OF_PEOPLE["joints"](file).ground_truth["annotations"]] == [17] * 4
    assert len(OF_PEOPLE["people"](file)) == 4


@pytest.mark.parametrize("joints", [[], [0] * 51])
def test_people_without_joints_are_left_out_and_ignored(folder, joints, caplog):
    """To find one of them is neither right nor wrong, as pycocotools has it."""
    file = write(folder, content({"keypoints": joints, "num_keypoints": 0}))
    for name in ("people", "poses"):
        assert [row["id"] for row in OF_PEOPLE[name](file)] == [2, 3, 4]
        assert "1 people without an annotated joint inside their box (annotation ids 1)" in caplog.text
    metric = OF_PEOPLE["joints"](file)
    for number in range(1, 5):
        result = {"image_id": number, "category_id": PERSON, "keypoints": [float(v) for v in JOINTS], "score": 0.5}
        metric.add_image(number, [result])
    assert metric.compute()["AP"] == pytest.approx(1)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "utf-16"])
def test_a_byte_order_mark_is_none_of_the_content(folder, encoding):
    what = content()
    what["categories"][0]["name"] = "Bär"
    file = write(folder, json.dumps(what, ensure_ascii=False).encode(encoding))
    for name, read in READERS.items():
        assert read(file) is not None, name
    assert read_coco(file)["categories"][0]["name"] == "Bär"


# Outlines far outside


def by_pycocotools(polygon: list[float], height: int, width: int) -> np.ndarray:
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], height, width)))


coordinates = st.floats(-2e4, 2e4) | st.integers(-20_000, 20_000) | st.floats(-30, 60)


@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=9), st.integers(1, 40), st.integers(1, 50))
@settings(max_examples=150, deadline=None)
def test_far_outlines_have_the_pixels_of_pycocotools(points, height, width):
    from ait_hf.data import segmentations

    polygon = [float(number) for point in points for number in point]
    found = segmentations._polygon_mask(polygon, height, width)
    np.testing.assert_array_equal(found, by_pycocotools(polygon, height, width))


@pytest.mark.parametrize("far", [1e5, 1e7, 1e9, 1e15, 1e200])
def test_outlines_far_outside_are_bounded(folder, far):
    """pycocotools takes 8 bytes for every fifth of a pixel of an outline: 80 GB for 1e9."""
    band = [[-far, 12, far, 12, far, 52, -far, 52]]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[12:52] = 1
    np.testing.assert_array_equal(decode_segmentation(json.dumps(band), HEIGHT, WIDTH), expected)
    file = write(folder, content({"segmentation": band}))
    row = OF_OBJECTS["training with masks"](file)[0]
    np.testing.assert_array_equal(decode_segmentation(row["segmentation"][0], HEIGHT, WIDTH), expected)
    raw = {"boxes": [[0, 12, 80, 52]], "class_labels": [0], "iscrowd": [False], "area": [9.0]}
    raw |= {"image_id": 1, "height": HEIGHT, "width": WIDTH, "segmentation": [json.dumps(band)]}
    for truth in (read_coco(file), coco_ground_truth([raw], [PERSON])):
        metric = CocoMetric("segm", ground_truth=truth, keep_in_memory=True)
        rle = coco_mask.encode(np.asfortranarray(expected))
        found = {"image_id": 1, "category_id": PERSON, "score": 1.0}
        metric.add_image(1, [found | {"segmentation": rle | {"counts": rle["counts"].decode()}}])
        assert metric.compute()["AP"] == pytest.approx(1)


# Names of files


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD"))
# The file on the disk, and how the json names it.
SPELLED = {
    "back-slashes": ("sub/a.png", {"file_name": "sub\\a.png"}),
    "composed": (DECOMPOSED, {"file_name": COMPOSED}),
    "decomposed": (COMPOSED, {"file_name": DECOMPOSED}),
    "folder decomposed": (f"{DECOMPOSED[:-4]}/a.png", {"file_name": f"{COMPOSED[:-4]}/a.png"}),
    "capitals in the file": ("a.PNG", {"file_name": "a.png"}),
    "capitals in the list": ("a.png", {"file_name": "a.PNG"}),
    "a number": ("12.png", {"file_name": 12}),
    "no suffix": ("a.png", {"file_name": "a"}),
    "no URL": ("a.png", {"file_name": "a.png", "coco_url": None}),
    "URL alone": ("a b.png", {"file_name": None, "coco_url": "http://example.org/val/a%20b.png?size=1"}),
}


def named(folder: Path, on_disk: str | None, names: dict) -> Path:
    what = content()
    (folder / "1.png").unlink()
    if on_disk is not None:
        (folder / on_disk).parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (WIDTH, HEIGHT), "red").save(folder / on_disk)
    del what["images"][0]["file_name"]
    what["images"][0] |= names
    return write(folder, what)


@pytest.mark.parametrize("quirk", SPELLED)
def test_names_are_read_where_it_is_plain_what_they_mean(folder, quirk):
    on_disk, names = SPELLED[quirk]
    file = named(folder, on_disk, names)
    (folder / "._a.png").write_bytes(b"\x00\x05\x16\x07")
    for name in ("load_coco", "people"):
        row = READERS[name](file)[0]
        assert Path(row["path"]).samefile(folder / on_disk) and row["image"].getpixel((0, 0)) == (255, 0, 0), name


@pytest.mark.parametrize(
    ("on_disk", "names", "message"),
    [
        (None, {"file_name": "a.png"}, "Image .*a.png does not exist"),
        ("A.png", {"file_name": "a.png"}, "a.png does not exist, but .* has 'A.png'"),
        ("000012.png", {"file_name": 12}, "12 does not exist, but .* has '000012.png'"),
        ("a.png", {"file_name": "C:\\pictures\\a.png"}, "does not exist, but .* has 'a.png'"),
        ("a.png", {"file_name": "train/a.png"}, "train/a.png does not exist, but .* has 'a.png'"),
        (None, {"file_name": True}, "image 1 has file_name True, no text"),
        (None, {"file_name": 1.5}, "image 1 has file_name 1.5, no text"),
        (None, {"coco_url": None}, "image 1 has neither file_name nor coco_url"),
    ],
)
def test_other_names_are_one_sentence(folder, on_disk, names, message):
    file = named(folder, on_disk, names)
    for name in ("load_coco", "people"):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            READERS[name](file)


def test_two_files_that_could_be_meant_are_shown(folder):
    file = named(folder, "a.PNG", {"file_name": "a.Png"})
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "a.png")
    with pytest.raises(FileNotFoundError, match="has 'a.PNG' and 'a.png'"):
        load_coco(file, folder)


def test_companions_are_no_pictures(folder, caplog):
    file = named(folder, None, {"file_name": "._1.png"})
    (folder / "._1.png").write_bytes(b"\x00\x05\x16\x07")
    assert [row["image_id"] for row in load_coco(file, folder)] == [2, 3, 4]
    assert "1 annotations of ._ files, which are no pictures (annotation ids 1)" in caplog.text


def test_a_plain_file_says_nothing(folder, caplog):
    file = write(folder, content())
    with caplog.at_level(logging.WARNING, logger="ait_hf"):
        for read in READERS.values():
            read(file)
    assert caplog.messages == []


# Shards


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmentation": [[[2, 3, 10, 3, 10, 9]]]}, None),
        ({"iscrowd": ["0"]}, "000.json has iscrowd '0'"),
        ({"area": [True]}, "000.json has area"),
        ({"height": "60"}, "000.json has height '60', no pixel number"),
        ({"boxes": [[0.1, 0.2, 0.5, 0.6]]}, "shares of the picture's sides"),
    ],
)
def test_json_in_shards_is_taken_by_type(folder, changes, message):
    row = {"image_id": 1, "height": HEIGHT, "width": WIDTH, "boxes": [[10, 12, 40, 52]], "class_labels": [0]}
    row |= {"iscrowd": [0], "area": [48.0], "segmentation": [""]} | changes
    file = write(folder, row, "row.json")
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards/train-00000.tar", "w") as shard:
        shard.add(folder / "1.png", "000.png")
        shard.add(file, "000.json")
    options = {"image_column": "png", "json_column": "json", "streaming": True}
    if message is None:
        (read,) = load_coco_shards(folder / "shards", "train", 2, **options)
        assert json.loads(read["segmentation"][0]) == changes["segmentation"][0]
        return
    with pytest.raises(ValueError, match=message):
        load_coco_shards(folder / "shards", "train", 2, **options)
