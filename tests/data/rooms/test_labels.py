# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Synthetic label maps and normals, and that all tasks see the same rooms."""

import numpy as np
import pytest

from ait_hf.data.rooms.depth import SyntheticLabelMaps, SyntheticNormals, render_room
from ait_hf.data.rooms.objects import OBJECT_CLASSES, PEOPLE_CLASSES, SyntheticMaskCrops, SyntheticObjects
from ait_hf.data.rooms.rendering import LABEL_CLASSES


SIZE = (48, 64)


@pytest.mark.parametrize("people", [False, True])
def test_all_tasks_see_the_same_rooms(people):
    classes = PEOPLE_CLASSES if people else OBJECT_CLASSES
    objects, labels, normals = (
        dataset("train", SIZE, seed=5, people=people)
        for dataset in (SyntheticObjects, SyntheticLabelMaps, SyntheticNormals)
    )
    people_seen = 0
    for index in range(6):
        room = render_room((0, 5, index), SIZE, people=people, normals=True)
        rows = [dataset[index] for dataset in (objects, labels, normals)]
        for row in rows:
            np.testing.assert_array_equal(row["image"], room["image"])
            assert row["path"] == f"room train/{index}"
        np.testing.assert_array_equal(rows[1]["label_map"], room["label_map"])
        np.testing.assert_array_equal(rows[2]["normals"], room["normals"])
        for mask, label in zip(rows[0]["masks"], rows[0]["class_labels"]):
            assert {LABEL_CLASSES[k] for k in rows[1]["label_map"][mask == 1]} == {classes[label]}
        people_seen += (rows[1]["label_map"] == LABEL_CLASSES.index("person")).any()
    assert (people_seen > 2) == people


@pytest.mark.parametrize("dataset", [SyntheticLabelMaps, SyntheticNormals])
def test_a_kept_room_comes_again_and_wrong_arguments_are_refused(dataset):
    rows, endless = dataset("test", SIZE, num_rooms=2), dataset("test", SIZE)
    np.testing.assert_array_equal(rows[3]["image"], endless[1]["image"])
    assert rows[3] is rows[1]
    assert not np.array_equal(endless[0]["image"], endless[2]["image"])
    with pytest.raises(ValueError, match="Unknown split 'val' of synthetic rooms"):
        dataset("val", SIZE)
    with pytest.raises(ValueError, match="num_rooms must be at least 1"):
        dataset("train", SIZE, num_rooms=0)


def test_masks_of_people_are_cut_as_well():
    plain, crowded = SyntheticMaskCrops("train", SIZE, mask_size=16), SyntheticMaskCrops("train", SIZE, 0, 16, True)
    crops = [(plain[index]["labels"], crowded[index]["labels"]) for index in range(30)]
    assert any(not first.equal(second) for first, second in crops)
    assert all(second.shape == (16, 16) and second.any() for _, second in crops)
