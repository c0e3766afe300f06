# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures, where their joints appear in pictures, and the data sets of people."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ait_hf.data.pose_transforms import PoseEvalTransform
from ait_hf.data.rooms.depth import render_room
from ait_hf.data.rooms.objects import SyntheticPoses, room_persons
from ait_hf.data.rooms.people import HEIGHT, draw_figure
from ait_hf.data.rooms.rendering import CLASS_NAMES, STRUCTURE, Camera, Material, Scene, SceneObject, render
from ait_hf.data.rooms.rooms import with_figures
from ait_hf.data.rooms.shapes import Box, Plane
from ait_hf.data.skeletons import COCO_SKELETON


SIZE = (96, 128)
EYE = (3.0, 0.5, 1.2)
GRAY = Material(((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
WALLS = tuple(
    SceneObject(Plane(axis, offset, facing), GRAY, STRUCTURE)
    for axis, offset, facing in [(0, 0.0, 1), (0, 6.0, -1), (1, 0.0, 1), (1, 7.0, -1), (2, 0.0, 1), (2, 3.0, -1)]
)
CAMERA = Camera.looking(EYE, yaw=0.0, pitch=0.0, roll=0.0, field_of_view=math.radians(60))  # looks along +y
JOINT = {name: number for number, name in enumerate(COCO_SKELETON.joints)}
FACING, TURNED_AWAY = -math.pi / 2, math.pi / 2


def picture_of(*figures, extra=()):
    scene = with_figures(Scene(CAMERA, (*WALLS, *extra), (3.0, 3.0, 2.8)), figures)
    return render(scene, SIZE, np.random.default_rng(0))


def standing(seed=0):
    """A figure without a seat."""
    return next(figure for figure in (draw_figure(random.Random(seed + k)) for k in range(100)) if figure.seat is None)


def length(figure, first, second):
    return np.linalg.norm(figure.points[JOINT[first]] - figure.points[JOINT[second]])


@given(st.integers(0, 10**9))
@settings(max_examples=80, deadline=None)
def test_figures_are_built_like_people(seed):
    figure = draw_figure(random.Random(seed))
    lowest = (np.minimum(figure.starts, figure.ends)[:, 2] - figure.radii).min()
    assert -0.06 < lowest < 1e-6  # knees and hands do not go through the floor; the soles stand on it
    height = length(figure, "left_hip", "left_knee") / 0.245
    assert HEIGHT[0] - 1e-6 < height < HEIGHT[1] + 1e-6
    for first, second in [("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")]:
        left = length(figure, f"left_{first}", f"left_{second}")
        assert left == pytest.approx(length(figure, f"right_{first}", f"right_{second}"))
        assert 0.1 * height < left < 0.3 * height
    assert figure.points[JOINT["left_hip"], 1] > 0 > figure.points[JOINT["right_hip"], 1]
    assert figure.points[JOINT["left_shoulder"], 1] > figure.points[JOINT["right_shoulder"], 1]
    for side in ("left", "right"):  # knees bend backwards
        hip, knee, ankle = (figure.points[JOINT[f"{side}_{name}"]] for name in ("hip", "knee", "ankle"))
        assert np.cross(knee - hip, ankle - knee)[1] > -1e-3


@given(st.integers(0, 10**9), st.floats(-2, 2), st.floats(-2, 2), st.floats(-4, 4))
@settings(max_examples=40, deadline=None)
def test_moving_a_figure_keeps_its_shape(seed, x, y, yaw):
    figure = draw_figure(random.Random(seed))
    moved = figure.moved(x, y, yaw)
    turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
    for before, after in ((figure.points, moved.points), (figure.starts, moved.starts), (figure.ends, moved.ends)):
        np.testing.assert_allclose(after[:, :2], before[:, :2] @ turn.T + (x, y), atol=1e-9)
        np.testing.assert_array_equal(after[:, 2], before[:, 2])
    np.testing.assert_allclose(moved.balls()[0][-1], moved.seat.center if moved.seat else moved.ends[-1])


def test_a_figure_is_one_object():
    picture = picture_of(standing(0).moved(2.4, 4.0, FACING), standing(50).moved(3.8, 4.5, FACING))
    assert [CLASS_NAMES[number] for number in picture["class_ids"]] == ["person", "person"]
    assert picture["person_ids"].tolist() == [1, 2] and picture["person_ids"].dtype == np.uint8
    assert picture["keypoints"].shape == (2, 17, 3) and picture["keypoints"].dtype == np.float32
    for number, figure_x in ((1, 2.4), (2, 3.8)):
        columns = np.nonzero(picture["object_ids"] == number)[1]
        assert abs(columns.mean() - (64 + 110.85 * (figure_x - 3) / 3.75)) < 12


def test_joints_appear_where_a_pinhole_camera_puts_them():
    figure = standing(3).moved(3.2, 4.0, 0.7)
    (keypoints,) = picture_of(figure)["keypoints"]
    focal = 64 / math.tan(math.radians(30))
    forward = figure.points[:, 1] - EYE[1]
    x = 64 + focal * (figure.points[:, 0] - EYE[0]) / forward - 0.5  # whole numbers are the centres of pixels
    y = 48 - focal * (figure.points[:, 2] - EYE[2]) / forward - 0.5
    assert (keypoints[:, 2] > 0).all()
    np.testing.assert_allclose(keypoints[:, :2], np.stack([x, y], 1), atol=1e-3)


def test_faces_are_seen_from_the_front_alone():
    for seed in range(0, 60, 10):
        figure = standing(seed)
        front, back = (picture_of(figure.moved(3, 3.5, yaw))["keypoints"][0] for yaw in (FACING, TURNED_AWAY))
        assert back[JOINT["nose"], 2] == 1
        assert front[[JOINT["left_eye"], JOINT["right_eye"]], 2].max() == 2
        # Who faces the camera has the left hip on its right, and mirrored from behind.
        assert front[JOINT["left_hip"], 0] > front[JOINT["right_hip"], 0]
        assert back[JOINT["left_hip"], 0] < back[JOINT["right_hip"], 0]


def test_joints_behind_things_are_hidden_and_joints_outside_are_nothing():
    figure = standing(3).moved(3, 4.0, FACING)
    screen = SceneObject(Box((3.0, 2.5, 0.35), (1.5, 0.1, 0.35)), GRAY, CLASS_NAMES.index("box"))
    open_view, screened = picture_of(figure)["keypoints"][0], picture_of(figure, extra=[screen])["keypoints"][0]
    np.testing.assert_array_equal(open_view[:, :2], screened[:, :2])
    ankles, eyes = [JOINT["left_ankle"], JOINT["right_ankle"]], [JOINT["left_eye"], JOINT["right_eye"]]
    assert (screened[ankles, 2] == 1).all()
    np.testing.assert_array_equal(screened[eyes], open_view[eyes])

    (near,) = picture_of(figure.moved(0, -2.4, 0.0))["keypoints"]  # the feet are below the picture
    assert not near[ankles].any() and near[JOINT["left_shoulder"], 2] > 0

    behind = picture_of(standing(3).moved(3, 0.2, FACING), standing(3).moved(3, 4.0, FACING))
    np.testing.assert_array_equal(behind["keypoints"][0], open_view)
    assert behind["person_ids"].tolist() == [1]  # who is not seen does not count


def test_seen_joints_lie_on_their_person():
    on_person = []
    for seed in range(25):
        room = render_room(seed, SIZE, people=True, sensor=False)
        for number, keypoints in zip(room["person_ids"], room["keypoints"]):
            x, y = np.rint(keypoints[keypoints[:, 2] == 2, :2]).astype(int).T
            on_person += (room["object_ids"][y, x] == number).tolist()
    assert len(on_person) > 200 and np.mean(on_person) > 0.95  # the rest are next to an edge


def test_rows_of_a_room():
    persons = 0
    for seed in range(10):
        room = render_room(seed, SIZE, people=True)
        rows = room_persons(room)
        assert len(rows) <= len(room["person_ids"])
        for row in rows:
            persons += 1
            left, top, right, bottom = row["box"].astype(int)
            numbers = [n for n in room["person_ids"] if (room["object_ids"] == n).sum() == row["area"]]
            mask = np.isin(room["object_ids"], numbers[:1])
            assert mask[top:bottom, left:right].sum() == row["area"] > 0
            assert row["keypoints"][:, 2].any() and not row["keypoints"][row["keypoints"][:, 2] == 0].any()
            hidden = row["keypoints"][row["keypoints"][:, 2] == 1, :2] + 0.5
            assert (hidden >= row["box"][:2]).all() and (hidden <= row["box"][2:]).all()
            assert (row["height"], row["width"]) == SIZE and row["iscrowd"] is False
    assert persons > 8


def test_portraits_are_fit_for_training():
    rows = SyntheticPoses("train", (96, 96))
    visibility = []
    for index in range(40):
        row = rows[index]
        assert row["image_id"] == row["id"] == index and row["path"] == f"person train/{index}"
        assert row["image"].shape == (96, 96, 3) and row["image"].dtype == np.uint8
        assert row["box"].dtype == row["keypoints"].dtype == np.float32
        sample = PoseEvalTransform(64)(row)
        assert sample["pixel_values"].shape == (3, 64, 64)
        visibility.append(row["keypoints"][:, 2])
        assert (visibility[-1] > 0).sum() >= 6 and row["area"] >= 0.02 * 96 * 96
    assert np.mean(np.array(visibility) > 0) > 0.9 and np.mean(np.array(visibility) == 2) > 0.6


def test_portraits_depend_on_their_number_alone():
    rows, kept = SyntheticPoses("test", (48, 48), seed=2), SyntheticPoses("test", (48, 48), seed=2, num_rooms=3)
    for index in (4, 1, 0):
        np.testing.assert_array_equal(rows[index % 3]["image"], kept[index]["image"])
        np.testing.assert_array_equal(rows[index % 3]["keypoints"], kept[index]["keypoints"])
    assert kept[1] is kept[4]
    others = [SyntheticPoses("validation", (48, 48), seed=2), SyntheticPoses("test", (48, 48), seed=3)]
    assert all(not np.array_equal(rows[0]["image"], other[0]["image"]) for other in others)
    with pytest.raises(ValueError, match="Unknown split 'val'"):
        SyntheticPoses("val", (48, 48))
    with pytest.raises(ValueError, match="at least 1"):
        SyntheticPoses("test", (48, 48), num_rooms=0)
