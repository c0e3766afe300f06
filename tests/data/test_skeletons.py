# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.cocoeval import Params

from ait_hf.data.skeletons import COCO_SKELETON, OTHER_SIGMA, skeleton


def test_coco_sigmas_are_the_official_ones():
    np.testing.assert_allclose(COCO_SKELETON.sigmas, Params("keypoints").kpt_oks_sigmas)


def test_flip_pairs_are_left_and_right():
    for left, right in COCO_SKELETON.flip_pairs:
        assert COCO_SKELETON.joints[left].removeprefix("left_") == COCO_SKELETON.joints[right].removeprefix("right_")
    unpaired = set(COCO_SKELETON.joints) - {COCO_SKELETON.joints[i] for pair in COCO_SKELETON.flip_pairs for i in pair}
    assert unpaired == {"nose"}


def test_flip_order_twice_is_the_identity():
    order = COCO_SKELETON.flip_order
    assert [order[joint] for joint in order] == list(range(17)) and order[5] == 6


def test_skeleton_by_name():
    assert skeleton("coco") is COCO_SKELETON
    with pytest.raises(ValueError, match="Unknown skeleton 'hand'"):
        skeleton("hand")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flip_pairs": ((1, 17),)}, "joints 0..16, but 17 is used"),
        ({"edges": ((0, -1),)}, "joints 0..16"),
        ({"flip_pairs": ((1, 2), (2, 3))}, "stands twice"),
        ({"sigmas": (0.1,)}, "one sigma above 0"),
    ],
)
def test_skeletons_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(COCO_SKELETON, **changes)


JOINTS = ["right_ankle", "left_hip", "neck", "left_ankle", "right_hip"]


def write_category(path, **changes):
    category = {"id": 3, "name": "person", "keypoints": JOINTS, "skeleton": [[1, 5], [2, 4]]} | changes
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "dog"}, category]}
    path.write_text(json.dumps(content))
    return str(path)


def test_skeleton_of_a_file(tmp_path):
    """Left and right by their names, bones as numbered from 1, sigmas of the joints that COCO has."""
    found = skeleton(write_category(tmp_path / "a.json"))
    assert found.joints == tuple(JOINTS) and found.edges == ((0, 4), (1, 3))
    assert sorted(map(sorted, found.flip_pairs)) == [[0, 3], [1, 4]] and found.flip_order == [3, 4, 2, 0, 1]
    assert found.sigmas == (0.089, 0.107, OTHER_SIGMA, 0.089, 0.107)
    write_category(tmp_path / "a.json", keypoints=["neck", "nose"], skeleton=None)
    assert skeleton(str(tmp_path / "a.json")).joints == ("neck", "nose")  # the file has changed


def test_skeleton_of_names():
    found = skeleton(JOINTS)
    assert found.joints == tuple(JOINTS)
    assert set(found.edges) == {(1, 4)}  # COCO's bone between the hips: of others an end is missing
    assert skeleton(list(COCO_SKELETON.joints)) == replace(COCO_SKELETON, name=found.name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints": []}, "has 0 categories with keypoints, but one is needed"),
        ({"keypoints": ["neck", "neck"]}, "has the joint 'neck' twice"),
        ({"skeleton": [[1, 6]]}, "joints 0..4, but 5 is used"),
        ({"skeleton": [[0, 1]]}, "joints 0..4"),
        ({"skeleton": [1, 2]}, "must be pairs of numbers of joints"),
    ],
)
def test_files_that_are_no_skeleton(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        skeleton(write_category(tmp_path / "a.json", **changes))


def test_a_file_that_is_not_there_is_missed_when_it_is_needed(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        skeleton(str(tmp_path / "none.json"))
