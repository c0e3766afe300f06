# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from tiny_pose import NUM_JOINTS, person

from ait_hf.data.skeletons import COCO_SKELETON
from ait_hf.tasks.poses.drawing import BOX, LEFT, MIDDLE, RIGHT, draw_poses, pose_gallery


BLACK = np.zeros((200, 400, 3), dtype=np.uint8)


def pose() -> np.ndarray:
    """Joints far from each other."""
    joints = np.zeros((NUM_JOINTS, 3))
    joints[:, 0], joints[:, 1], joints[:, 2] = 20 * np.arange(NUM_JOINTS) + 20, 100, 2
    return joints


def test_joints_are_where_they_should_be_in_the_colours_of_their_sides():
    picture = draw_poses(BLACK, pose()[None])
    assert picture.size == (400, 200)
    colors = {COCO_SKELETON.joints[joint]: picture.getpixel((20 + 20 * joint, 100)) for joint in range(NUM_JOINTS)}
    assert colors["nose"] == MIDDLE and colors["left_knee"] == LEFT and colors["right_wrist"] == RIGHT


def test_unknown_joints_and_their_bones_are_left_out():
    joints = pose()
    joints[1:, 2] = 0
    picture = np.asarray(draw_poses(BLACK, joints[None]))
    assert picture[100, 20].any() and not picture[:, 40:].any()


def test_small_images_are_enlarged_and_joints_with_them():
    joints = np.zeros((1, NUM_JOINTS, 3))
    joints[0, 0] = 3, 7, 2
    picture = draw_poses(np.zeros((20, 40, 3), np.uint8), joints, boxes=[[2, 2, 10, 12]])
    assert picture.size == (320, 160)
    assert picture.getpixel((28, 60)) == MIDDLE and picture.getpixel((16, 16)) == BOX


def test_gallery():
    row = person()
    found = {
        "image": row["image"],
        "box": row["box"],
        "truth": row["keypoints"],
        "prediction": row["keypoints"][:, :2],
    }
    page = pose_gallery([found, found], cell_size=100)
    assert page.width > 300 and page.height > 2 * 70
    columns = [np.asarray(page)[26:, start : start + 100] for start in (118, 226)]
    assert (columns[0] == columns[1]).all()  # truth and prediction are the same


def test_bad_input():
    with pytest.raises(ValueError, match=r"Poses must be \(n, 17, 2 or 3\)"):
        draw_poses(BLACK, np.zeros((1, 14, 2)))
    with pytest.raises(ValueError, match="Boxes must be"):
        draw_poses(BLACK, np.zeros((0, 17, 2)), boxes=np.zeros(4))
    with pytest.raises(ValueError, match="Row 0 of the gallery lacks box"):
        pose_gallery([{"image": BLACK, "truth": pose(), "prediction": pose()}])
    with pytest.raises(ValueError, match="at least one row"):
        pose_gallery([])
