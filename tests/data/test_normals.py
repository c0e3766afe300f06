# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Normals from depth: planes in closed form, rendered rooms, and real depth maps."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ait_hf.data.rgbd_normals import normals_from_depth
from ait_hf.data.rooms.depth import render_room
from ait_hf.data.rooms.rooms import random_scene


FOCAL = 60.0


def rays(size, focal):
    height, width = size
    right, down = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    return np.stack([right / focal, down / focal, np.ones(size)], axis=-1)


def degrees_between(first, second):
    return np.degrees(np.arccos(np.clip((first.astype(float) * second).sum(-1), -1, 1)))


@given(st.floats(-0.9, 0.9), st.floats(-0.9, 0.9), st.floats(0.5, 8), st.sampled_from([3, 5, 9]))
@settings(max_examples=40, deadline=None)
def test_a_tilted_plane(slope_x, slope_y, distance, window):
    normal = np.array([slope_x, slope_y, -1]) / math.sqrt(slope_x**2 + slope_y**2 + 1)
    depth = (-distance / (rays((24, 32), FOCAL) @ normal)).astype(np.float32)  # normal @ point == -distance
    found = normals_from_depth(depth, FOCAL, window)
    assert found.dtype == np.float32 and found.shape == (24, 32, 3)
    assert degrees_between(found, normal).max() < 0.5


def test_missing_depth_and_lonely_pixels_have_no_normal():
    depth = np.full((20, 20), 2.0, dtype=np.float32)
    depth[:, 8:] = 0
    depth[10, 12] = 3.0
    depth[15, 10:18] = 3.0  # a line spans no plane
    normals = normals_from_depth(depth, FOCAL, 3)
    np.testing.assert_allclose(normals[:, :8], np.broadcast_to([0, 0, -1], (20, 8, 3)), atol=1e-4)
    assert not normals[:, 8:].any()


def test_an_edge_stays_sharp():
    depth = np.full((20, 30), 2.0, dtype=np.float32)
    depth[:, 15:] = 3.0
    np.testing.assert_allclose(normals_from_depth(depth, FOCAL, 5)[..., 2], -1, atol=1e-4)


@pytest.mark.parametrize("noise, window, median, near", [(0.0, 3, 0.2, 0.9), (0.0015, 7, 3.0, 0.85)])
def test_normals_of_rendered_rooms(noise, window, median, near):
    """`noise` is the standard deviation of the depth at one metre; it grows with the square, as a Kinect's."""
    angles, rng, size = [], np.random.default_rng(0), (120, 160)
    for seed in range(5):
        camera = random_scene(random.Random(np.random.default_rng(seed).bytes(16))).camera
        room = render_room(seed, size, normals=True)
        depth = room["depth"] + noise * room["depth"] ** 2 * rng.standard_normal(size)
        found = normals_from_depth(depth, camera.focal_length(size), window)
        known = found.any(-1)
        assert not known[room["depth"] == 0].any() and known[room["depth"] > 0].mean() > 0.98
        np.testing.assert_allclose(np.linalg.norm(found[known], axis=-1), 1, atol=1e-5)
        assert ((found * rays(size, camera.focal_length(size))).sum(-1)[known] < 0).all()
        angles.append(degrees_between(found, room["normals"])[known])
    angles = np.concatenate(angles)
    assert np.median(angles) < median and np.mean(angles < 11.25) > near


@pytest.mark.parametrize(
    "depth, focal, window, message",
    [
        (np.ones((4, 4, 1)), FOCAL, 3, "depth must be"),
        (np.full((4, 4), np.nan), FOCAL, 3, "depth must be"),
        (np.full((4, 4), -1.0), FOCAL, 3, "depth must be"),
        (np.ones((4, 4)), 0.0, 3, "focal_length"),
        (np.ones((4, 4)), FOCAL, 4, "window"),
        (np.ones((4, 4)), FOCAL, 1, "window"),
    ],
)
def test_bad_arguments_are_refused(depth, focal, window, message):
    with pytest.raises(ValueError, match=message):
        normals_from_depth(depth, focal, window)
