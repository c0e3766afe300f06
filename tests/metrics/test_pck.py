# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The percentage of correct keypoints, against counts by hand."""

import pytest
import torch

from ait_hf.data.skeletons import COCO_SKELETON, skeleton_of
from ait_hf.metrics.pose import correct_joints
from ait_hf.tasks.poses.evaluation import PCK


# Joint 0 and joint 1 are ten pixels apart: with a share of .2 two pixels are near enough, 2.01 are not.
TRUTH = torch.tensor([[0.0, 0.0, 2.0], [10.0, 0.0, 2.0], [5.0, 5.0, 1.0], [8.0, 8.0, 0.0]])


@pytest.mark.parametrize(
    ("moved", "share", "num_correct"),
    [
        ([(0, 0), (0, 0), (0, 0)], 0.2, 3),
        ([(2, 0), (0, 2), (0, 2.01)], 0.2, 2),
        ([(1.5, 1.5), (1.4, 1.4), (0, 0)], 0.2, 2),  # 2.12 and 1.98 pixels
        ([(2, 0), (0, 2), (0, 2.01)], 0.21, 3),
        ([(9, 9), (9, 9), (9, 9)], 0.2, 0),
    ],
)
def test_joints_are_counted(moved, share, num_correct):
    """The joint of unknown place does not count, wherever it is predicted."""
    prediction = TRUTH[:, :2] + torch.tensor([*moved, (0, 0)], dtype=torch.float32)
    counts = correct_joints(prediction[None], TRUTH[None], (0, 1), share)
    assert (counts["num_correct"].item(), counts["num_counted"].item()) == (num_correct, 3)


@pytest.mark.parametrize("joint", [0, 1])
def test_people_without_the_reference_do_not_count(joint):
    truth = TRUTH.clone()
    truth[joint, 2] = 0
    counts = correct_joints(torch.stack([TRUTH[:, :2]] * 2), torch.stack([truth, TRUTH]), (0, 1))
    assert counts["num_correct"].tolist() == counts["num_counted"].tolist() == [0, 3]


HALF = skeleton_of(["left_hip", "right_shoulder", "neck"], "half")


def annotated(image, box, joints, **more):
    return {"image_id": image, "bbox": box, "keypoints": joints, "iscrowd": 0} | more


def found(image, box, *joints):
    return {"image_id": image, "box": box, "keypoints": [value for x, y in joints for value in (x, y, 1.0)]}


def test_people_are_those_whose_boxes_overlap_most():
    """A torso of ten pixels. The first two people are in one image and their boxes in another order; nobody looked for the
    third in the place where he is; the fourth has no hip, the fifth is a crowd, and the last is in an image of no interest."""
    joints = [0.0, 0.0, 2, 10.0, 0.0, 2, 5.0, 5.0, 2]
    far = [value + 100 if k % 3 == 0 else value for k, value in enumerate(joints)]
    no_hip = [0.0, 0.0, 0, *joints[3:]]
    truth = {
        "annotations": [
            annotated(1, [0, 0, 20, 20], joints),
            annotated(1, [100, 0, 20, 20], far),
            annotated(2, [0, 0, 20, 20], joints),
            annotated(2, [0, 0, 20, 20], no_hip),
            annotated(2, [0, 0, 20, 20], joints, iscrowd=1),
            annotated(3, [0, 0, 20, 20], joints),
        ]
    }
    people = [
        found(1, [102, 0, 20, 20], (100, 0), (110, 0), (105, 9)),  # the neck is four pixels off
        found(1, [0, 0, 20, 18], (0, 2), (10, 0), (5, 5)),
        found(2, [15, 15, 20, 20], (0, 0), (10, 0), (5, 5)),
    ]
    assert PCK().values(truth, people, HALF) == {"PCK": 5 / 9, "num_pck_persons": 3}
    assert PCK(share=0.5).values(truth, people, HALF)["PCK"] == 6 / 9
    assert PCK().values({"annotations": truth["annotations"][3:]}, people, HALF) == {}
    assert PCK().values(truth, people, skeleton_of(["neck", "nose", "tail"], "none")) == {}


def test_the_torso_is_the_reference_where_there_is_one():
    assert PCK().numbers(COCO_SKELETON) == (6, 11)  # right shoulder, left hip
    assert PCK().numbers(skeleton_of(["neck", "left_hip"], "half")) is None
    assert PCK(("neck", "left_hip")).numbers(skeleton_of(["left_hip", "neck"], "half")) == (1, 0)
    with pytest.raises(
        ValueError, match="--pck-reference names neck and tail, but the joints of the skeleton coco are nose, "
    ):
        PCK(("neck", "tail")).numbers(COCO_SKELETON)


def test_shares_are_above_zero():
    with pytest.raises(ValueError, match="must be above 0, got 0"):
        correct_joints(TRUTH[None, :, :2], TRUTH[None], (0, 1), share=0)
