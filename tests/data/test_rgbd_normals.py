# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ait_hf.data.maps import decode_map
from ait_hf.data.rgbd_normals import PICTURE_OFFSET, PICTURE_SCALE, load_rgbd_normals, picture_of_normals


WALL = np.array([0.6, 0.0, -0.8])  # faces to the right and towards the camera
FIELD_OF_VIEW = 60.0


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A folder with one frame of 96x128 pixels: a slanted wall, whose depth is missing in a corner."""
    folder = tmp_path_factory.mktemp("frames")
    focal_length = 64 / math.tan(math.radians(FIELD_OF_VIEW / 2))
    rows, columns = np.mgrid[:96, :128]
    rays = np.stack([(columns - 63.5) / focal_length, (rows - 47.5) / focal_length, np.ones((96, 128))], axis=2)
    depth = (3 * WALL[2] / (rays @ WALL)).astype(np.float32)
    assert (depth > 0).all()
    depth[:24, :32] = 0
    for name in ("rgb", "depth"):
        (folder / name).mkdir()
    np.save(folder / "depth/0.npy", depth)
    Image.fromarray(np.full((96, 128, 3), 77, np.uint8)).save(folder / "rgb/0.png")
    return folder


@pytest.mark.parametrize(("shorter_side", "size"), [(None, (96, 128)), (48, (48, 64)), (500, (96, 128))])
def test_a_slanted_wall(frames, tmp_path, shorter_side, size):
    maps = load_rgbd_normals(
        frames, "train", field_of_view=FIELD_OF_VIEW, shorter_side=shorter_side, cache_dir=tmp_path
    )
    row = maps[0]
    assert row["image"].size == size[::-1] and row["map"].shape == (*size, 3)
    corner = (slice(0, size[0] // 4), slice(0, size[1] // 4))
    assert not row["map"][corner].any()
    known = row["map"].any(axis=2)
    assert known.sum() == known.size * 15 / 16
    np.testing.assert_allclose(row["map"][known], np.broadcast_to(WALL, (known.sum(), 3)), atol=0.005)


@given(seed=st.integers(0, 99))
def test_pictures_keep_directions_to_a_third_of_a_degree_and_what_is_unknown(seed):
    normals = np.random.default_rng(seed).normal(size=(4, 5, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    normals[0, 0] = 0
    restored = decode_map(np.asarray(picture_of_normals(normals)), PICTURE_SCALE, PICTURE_OFFSET)
    assert not restored[0, 0].any()
    cosines = (restored * normals).sum(2) / np.linalg.norm(restored, axis=2).clip(1e-9)
    assert np.degrees(np.arccos(cosines.clip(-1, 1))).flatten()[1:].max() < 0.4


def test_a_field_of_view_of_nothing_is_refused(frames):
    with pytest.raises(ValueError, match="field_of_view must be above 0 and below 180 degrees, but is 0"):
        load_rgbd_normals(frames, "train", field_of_view=0.0)


def test_real_frames(data_dir, tmp_path):
    """Tables, floors and walls: most of a frame is known, and most neighbours face the same way."""
    entries = json.loads((data_dir / "rgbd/index.json").read_text())
    chosen = [entry for entry in entries if entry["split"] == "val" and entry["kind"] == "real"][::20]
    index = tmp_path / "index.json"
    index.write_text(json.dumps(chosen))
    maps = load_rgbd_normals(index, "val", root=data_dir, field_of_view=58, shorter_side=96, cache_dir=tmp_path)
    assert len(maps) == len(chosen) > 1
    for number in range(len(maps)):
        normals = maps[number]["map"]
        known = normals.any(axis=2)
        assert known.mean() > 0.5
        both = known[:, 1:] & known[:, :-1]
        cosines = (normals[:, 1:] * normals[:, :-1]).sum(2)[both]
        assert np.median(np.degrees(np.arccos(cosines.clip(-1, 1)))) < 10
