# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.cocoeval import Params

from ait_hf.data.skeletons import COCO_SKELETON, skeleton


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
