# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ait_hf.data.map_transforms import MapEvalTransform, MapTrainTransform, mirror_vectors


def positions(height: int, width: int, unit: str = "share") -> dict:
    """A sample whose image and map both say, at every pixel, where it was: column and row as shares of 255."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    image = np.stack([columns, rows, np.full_like(rows, 200)], axis=2)
    values = image.astype(np.float32) / 255
    if unit == "unit_vector":
        values /= np.linalg.norm(values, axis=2, keepdims=True)
    return {"image": image, "map": values, "path": "there.npy"}


def transform(**changes) -> MapTrainTransform:
    arguments = {"column": "map", "unit": "share", "num_channels": 3, "crop_size": (8, 12), "color_p": 0.0}
    return MapTrainTransform(**(arguments | changes))


@settings(deadline=None)
@given(height=st.integers(8, 20), width=st.integers(12, 30), seed=st.integers(0, 99))
def test_image_and_map_stay_together(height, width, seed):
    torch.manual_seed(seed)
    output = transform()(positions(height, width))
    assert output["pixel_values"].shape == output["labels"].shape == (3, 8, 12)
    assert output["path"] == "there.npy"
    torch.testing.assert_close(output["pixel_values"], output["labels"])


def test_mirroring_vectors_negates_what_points_to_the_right():
    sample = positions(8, 12, "unit_vector")
    there = torch.tensor(sample["map"]).permute(2, 0, 1)
    vectors = transform(unit="unit_vector", flip_p=1.0)(sample)["labels"]
    torch.testing.assert_close(vectors[0], -there[0].flip(1))
    torch.testing.assert_close(vectors[1:], there[1:].flip(2))
    values = transform(flip_p=1.0)(positions(8, 12))["labels"]
    torch.testing.assert_close(values, torch.tensor(positions(8, 12)["map"]).permute(2, 0, 1).flip(2))


def test_a_flat_wall_seen_in_a_mirror():
    """The wall on the right, facing left (-x), is in the mirror a wall on the left, facing right (+x)."""
    normals = np.zeros((8, 12, 3), np.float32)
    normals[:, :6], normals[:, 6:] = (0, 0, -1), (-1, 0, 0)
    sample = {"image": np.zeros((8, 12, 3), np.uint8), "map": normals}
    mirrored = transform(unit="unit_vector", flip_p=1.0)(sample)["labels"]
    assert mirrored[:, 0, 0].tolist() == [1, 0, 0] and mirrored[:, 0, -1].tolist() == [0, 0, -1]


@given(seed=st.integers(0, 99))
def test_mirroring_vectors_twice_changes_nothing(seed):
    vectors = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(mirror_vectors(mirror_vectors(vectors)), vectors)


def test_half_of_the_samples_are_mirrored():
    torch.manual_seed(0)
    augment = transform(crop_size=(1, 2))
    sample = {"image": np.zeros((1, 2, 3), np.uint8), "map": np.array([[[1, 0, 0], [0, 0, 1]]], np.float32)}
    mirrored = sum(augment(sample)["labels"][0, 0, 0].item() == 0 for _ in range(400))
    assert 160 < mirrored < 240


def test_colour_changes_the_image_alone():
    torch.manual_seed(0)
    sample = positions(8, 12)
    outputs = transform(color_p=1.0, flip_p=0.0)(sample)
    torch.testing.assert_close(outputs["labels"], torch.tensor(sample["map"]).permute(2, 0, 1))
    assert (outputs["pixel_values"] - outputs["labels"]).abs().max() > 0.01


def test_resizing_invents_no_values_and_keeps_unknown_pixels():
    sample = positions(16, 24)
    sample["map"][:4] = 0
    labels = transform(resize=8)(sample)["labels"]
    assert labels.shape == (3, 8, 12)
    known = {tuple(value) for value in sample["map"].reshape(-1, 3)}
    assert {tuple(value) for value in labels.permute(1, 2, 0).reshape(-1, 3).numpy()} <= known
    assert (labels == 0).all(0)[:2].all() and not (labels == 0).all(0)[2:].any()


def test_evaluation_covers_the_size_and_cuts_the_middle():
    output = MapEvalTransform("map", "share", 3, (8, 8))(positions(16, 32))
    assert output["pixel_values"].shape == output["labels"].shape == (3, 8, 8)
    # Of 32 columns the 16 in the middle are left, every second of them.
    assert (output["labels"][0, 0] * 255).round().tolist() == list(range(9, 24, 2))
    whole = MapEvalTransform("map", "share", 3)(positions(5, 7))
    assert whole["labels"].shape == (3, 5, 7)


def test_a_map_of_one_channel_may_have_two_dimensions():
    sample = positions(8, 12)
    sample["map"] = sample["map"][..., 0] + 1
    assert transform(num_channels=1)(sample)["labels"].shape == (1, 8, 12)


def test_known_unit_vectors_are_brought_to_length_one():
    sample = positions(8, 12, "unit_vector")
    sample["map"] = sample["map"] * np.float32(1.01)
    sample["map"][0, 0] = 0
    lengths = MapEvalTransform("map", "unit_vector", 3)(sample)["labels"].norm(dim=0)
    assert lengths[0, 0] == 0
    torch.testing.assert_close(lengths.flatten()[1:], torch.ones(95))


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"map": np.ones((8, 13, 3), np.float32)}, ValueError, r"image of \(8, 12\) pixels, but a map 'map' of \(8, 13\)"),
        ({"map": np.ones((8, 12, 2), np.float32)}, ValueError, "of 2 channels, but num_channels is 3"),
        ({"map": np.full((8, 12, 3), np.nan, np.float32)}, ValueError, "NaN or infinite values: mark unknown"),
        ({"map": np.zeros((8, 12, 3), np.float32)}, ValueError, "without any known pixel"),
        ({"map": np.ones((8, 12, 3))}, TypeError, "no map 'map' as a float32"),
        ({"map": np.full((8, 12, 3), 128, np.float32)}, ValueError, "length 222 to 222.*another scale and offset"),
        ({"image": np.zeros((8, 12), np.uint8)}, TypeError, "8-bit RGB"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind_of_transform", [MapEvalTransform, transform])
def test_bad_samples_are_named(kind_of_transform, changes, kind, message):
    if kind_of_transform is transform:
        make = transform(unit="unit_vector")
    else:
        make = MapEvalTransform("map", "unit_vector", 3)
    with pytest.raises(kind, match=f"there.npy.*{message}"):
        make(positions(8, 12) | changes)


def test_a_sample_smaller_than_the_crop_is_refused():
    with pytest.raises(ValueError, match=r"height and width \(7, 12\), less than the crop \(8, 12\)"):
        transform()(positions(7, 12))


def test_a_share_above_one_is_refused():
    with pytest.raises(ValueError, match="mirrored samples must be between 0 and 1, got 1.5"):
        transform(flip_p=1.5)
