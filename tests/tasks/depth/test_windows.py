# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from ait_hf.tasks.depth.windows import predict_with_windows_and_flip, sliding_window_crops, window_columns


def golden_predictor(crops):
    """The toy network of the golden cases: not symmetric under mirroring, different in every column and row."""
    height, width = crops.shape[-2:]
    row, column = torch.arange(height)[:, None], torch.arange(width)
    color = 4 * crops[:, 0] + 2 * crops[:, 1] - 3 * crops[:, 2]
    return color + (column / width) ** 2 - 0.5 * row / height


def brightness(crops):
    return crops.mean(1)


@pytest.mark.parametrize("case, num_windows, subsampling", [("05_sliding_flip_2", 2, 8), ("05_sliding_flip_3", 3, 1)])
def test_published_protocol(golden_dir, case, num_windows, subsampling):
    golden = load_file(golden_dir / case / "io.safetensors")
    batches = []

    def predict(crops):
        batches.append(crops)
        return golden_predictor(crops)

    depth = predict_with_windows_and_flip(golden["image"], predict, num_windows=num_windows)

    assert len(batches) == 1
    assert torch.equal(batches[0][..., ::subsampling, ::subsampling], golden["network_batch"])
    torch.testing.assert_close(depth, golden["prediction"], rtol=1e-6, atol=1e-6)


def test_released_geometry():
    assert window_columns(480, 640, 2) == [0, 160]
    crops, columns = sliding_window_crops(torch.rand(2, 3, 48, 64), 2)
    assert crops.shape == (4, 3, 48, 48) and columns == [0, 16]


@given(height=st.integers(1, 40), extra=st.integers(0, 120), num_windows=st.integers(1, 6))
def test_windows_cover_every_column_or_are_refused(height, extra, num_windows):
    width = height + extra
    if num_windows * height < width:
        with pytest.raises(ValueError, match="leave gaps"):
            window_columns(height, width, num_windows)
        return
    covered = {
        column for first in window_columns(height, width, num_windows) for column in range(first, first + height)
    }
    assert covered == set(range(width))


@pytest.mark.parametrize("width, num_windows", [(16, 1), (16, 2), (21, 2), (33, 3), (32, 2)])
@pytest.mark.parametrize("flip", [True, False])
def test_a_local_predictor_is_unchanged(width, num_windows, flip):
    """Each pixel's map depends on that pixel alone, so neither windows nor mirroring may change it."""
    image = torch.rand(2, 3, 16, width)
    depth = predict_with_windows_and_flip(image, brightness, num_windows, flip=flip, minimum=None)
    torch.testing.assert_close(depth, image.mean(1))


def test_mirrored_image_gives_mirrored_map():
    image = torch.rand(1, 3, 16, 24)
    depth = predict_with_windows_and_flip(image, golden_predictor)
    torch.testing.assert_close(predict_with_windows_and_flip(image.flip(-1), golden_predictor), depth.flip(-1))


def test_several_maps_are_averaged_alike_and_only_the_first_is_bounded():
    image = torch.rand(2, 3, 16, 24)

    def predict(crops):
        depth = golden_predictor(crops)
        return torch.stack([depth, depth - 5], 1)

    maps = predict_with_windows_and_flip(image, predict)
    depth = predict_with_windows_and_flip(image, golden_predictor, minimum=None)
    assert maps.shape == (2, 2, 16, 24)
    torch.testing.assert_close(maps[:, 0], depth.clamp(min=1e-3))
    torch.testing.assert_close(maps[:, 1], depth - 5)
    assert depth.min() < 1e-3


@pytest.mark.parametrize(
    "shape, num_windows, message",
    [
        ((1, 3, 16, 12), 2, "too narrow"),
        ((1, 3, 16, 16), 0, "At least one window"),
        ((1, 3, 16, 17), 1, "use num_windows=2 or more"),
        ((1, 3, 16, 50), 3, "use num_windows=4 or more"),
        ((3, 16, 16), 1, "must be"),
    ],
)
def test_impossible_windows_are_refused_before_the_network_runs(shape, num_windows, message):
    with pytest.raises(ValueError, match=message):
        predict_with_windows_and_flip(torch.rand(shape), pytest.fail, num_windows)


@pytest.mark.parametrize(
    "predict", [lambda crops: crops[:, 0, ::2], lambda crops: crops[:1, 0], lambda crops: crops[0, 0]]
)
def test_a_predictor_of_wrong_shapes_is_refused(predict):
    with pytest.raises(ValueError, match="predict must return"):
        predict_with_windows_and_flip(torch.rand(1, 3, 8, 12), predict)
