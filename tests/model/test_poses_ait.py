# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ait_hf.data.skeletons import COCO_SKELETON
from ait_hf.model.poses_ait import crop_to_image, cut_out, inverse, joints_in_crop, mirrored_joints, transform_points


COORDINATE = st.floats(-200, 400)
LENGTH = st.floats(0.5, 500)
BOXES = st.tuples(COORDINATE, COORDINATE, LENGTH, LENGTH).map(
    lambda b: torch.tensor([b[0], b[1], b[0] + b[2], b[1] + b[3]])
)
SIZES = st.tuples(st.integers(1, 300), st.integers(1, 300))
ANGLES = st.floats(-180, 180)


@given(BOXES, SIZES, ANGLES, st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_there_and_back_is_the_identity(box, size, rotation, flip, seed):
    to_image = crop_to_image(box, size, rotation=rotation, flip=flip)
    points = torch.rand(5, 2, generator=torch.Generator().manual_seed(seed)) * 300
    there = transform_points(points, to_image)
    torch.testing.assert_close(transform_points(there, inverse(to_image)), points.double(), rtol=1e-5, atol=1e-4)


@given(BOXES, SIZES, st.floats(1, 3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_crop_shows_the_whole_box_about_its_centre(box, size, box_scale, flip):
    """Also of boxes at and beyond an image's borders; in one direction the box fills the crop."""
    to_crop = inverse(crop_to_image(box, size, box_scale, flip=flip))
    edges = transform_points(box.double().reshape(2, 2) - 0.5, to_crop) + 0.5  # in the crop, counted from its edge
    limits = torch.tensor([size[1], size[0]]).double()
    assert (edges > -1e-3).all() and (edges < limits + 1e-3).all()
    torch.testing.assert_close(edges.mean(0), limits / 2, rtol=1e-6, atol=1e-4)
    filled = (edges[1] - edges[0]).abs() / limits * box_scale
    torch.testing.assert_close(filled.max(), torch.tensor(1.0).double(), rtol=1e-4, atol=1e-6)


def test_corners_without_a_margin():
    to_image = crop_to_image(torch.tensor([10.0, 20.0, 30.0, 60.0]), (8, 4), box_scale=1.0)  # 5 pixels to one
    corners = transform_points(torch.tensor([[0.0, 0.0], [3.0, 7.0]]), to_image)
    assert corners.tolist() == [[12.0, 22.0], [27.0, 57.0]]


def test_a_crop_at_scale_one_is_a_slice():
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    to_image = crop_to_image(torch.tensor([5.0, 4.0, 15.0, 16.0]), (12, 10), box_scale=1.0)
    torch.testing.assert_close(cut_out(image, to_image, (12, 10)), image[:, 4:16, 5:15].float(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("rotation", [0, 30, -120])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("sides", [(10, 14), (60, 50)])  # magnified, and shrunk more than twofold
def test_every_pixel_comes_from_where_the_map_says(rotation, flip, sides):
    """An image whose values are its own coordinates."""
    columns, rows = torch.meshgrid(torch.arange(120.0), torch.arange(110.0), indexing="xy")
    box = torch.tensor([60.0, 50.0, 60.0, 50.0]) + torch.tensor([-sides[0], -sides[1], *sides]) / 2
    to_image = crop_to_image(box, (24, 20), 1.0, rotation=rotation, flip=flip)
    crop = cut_out(torch.stack([columns, rows]), to_image, (24, 20))
    x, y = torch.meshgrid(torch.arange(20), torch.arange(24), indexing="xy")
    expected = transform_points(torch.stack([x, y], dim=-1).double(), to_image[None]).permute(2, 0, 1)
    torch.testing.assert_close(crop.double(), expected, rtol=0, atol=0.05)


def test_shrinking_averages_instead_of_skipping():
    """A checkerboard of single pixels becomes grey."""
    rows, columns = torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij")
    board = (255 * ((rows + columns) % 2)).to(torch.uint8)[None]
    crop = cut_out(board, crop_to_image(torch.tensor([0.0, 0.0, 160.0, 160.0]), (20, 20), 1.0), (20, 20))
    assert crop.shape == (1, 20, 20) and (crop - 127.5).abs().max() < 3


def test_outside_of_the_image_is_zero():
    image = torch.full((1, 10, 10), 200, dtype=torch.uint8)
    crop = cut_out(image, crop_to_image(torch.tensor([-10.0, 0.0, 10.0, 20.0]), (20, 20), 1.0), (20, 20))
    expected = torch.zeros(1, 20, 20)
    expected[0, :10, 10:] = 200
    torch.testing.assert_close(crop, expected, rtol=0, atol=1e-2)


def test_joints_outside_the_crop_become_unknown():
    to_image = crop_to_image(torch.tensor([10.0, 10.0, 20.0, 20.0]), (10, 10), 1.0)
    joints = torch.tensor([[10.0, 10.0, 2], [19.4, 12.0, 1], [19.6, 12.0, 2], [12.0, 9.4, 2], [15.0, 15.0, 0]])
    expected = [[0, 0, 2], [9.4, 2, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    torch.testing.assert_close(joints_in_crop(joints, to_image, (10, 10)), torch.tensor(expected))


@given(st.integers(1, 500), st.integers(0, 2**32 - 1), st.sampled_from([2, 3]))
@settings(max_examples=40, deadline=None)
def test_mirroring_twice_is_the_identity(width, seed, channels):
    generator = torch.Generator().manual_seed(seed)
    joints = torch.rand(4, 17, channels, generator=generator) * width
    if channels == 3:
        joints[..., 2] = torch.randint(0, 3, (4, 17), generator=generator)
        joints *= joints[..., 2:] > 0
    once = mirrored_joints(joints, width, COCO_SKELETON.flip_order)
    torch.testing.assert_close(mirrored_joints(once, width, COCO_SKELETON.flip_order), joints, rtol=1e-5, atol=1e-3)
    if channels == 3:  # who is known changes sides with its joint
        assert torch.equal(once[:, 5, 2], joints[:, 6, 2]) and (once[once[..., 2] == 0] == 0).all()


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [5, 9, 8, 7], [0, 0, float("nan"), 4], [0, 0, float("inf"), 4]])
def test_boxes_that_make_no_sense(box):
    with pytest.raises(ValueError, match="finite and have sides above 0"):
        crop_to_image(torch.tensor(box, dtype=torch.float32), (8, 8))
