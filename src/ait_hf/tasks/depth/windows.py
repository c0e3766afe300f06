# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The published test protocol for depth: square windows side by side, each also mirrored, averaged."""

from collections.abc import Callable

import torch


def window_columns(height: int, width: int, num_windows: int) -> list[int]:
    """First columns of square windows (side `height`) spread evenly from the left to the right edge; `ValueError` if
    the image is higher than wide, or the windows cannot cover every column."""
    if num_windows < 1:
        raise ValueError(f"At least one window is needed, got num_windows={num_windows}.")
    if width < height:
        raise ValueError(
            f"Windows slide along the width, so an image of {height}x{width} (height x width) is too narrow."
        )
    if num_windows * height < width:
        raise ValueError(
            f"{num_windows} windows of {height} columns leave gaps in {width} columns; "
            f"use num_windows={-(-width // height)} or more."
        )
    # The last window touches the right edge even where the span does not divide evenly. A single window (which, by
    # the check above, is the whole image) has nothing to be spread over.
    return [index * (width - height) // max(num_windows - 1, 1) for index in range(num_windows)]


def sliding_window_crops(pixel_values: torch.Tensor, num_windows: int = 2) -> tuple[torch.Tensor, list[int]]:
    """Square windows that cover images `(B, 3, H, W)` with `W >= H`: crops `(num_windows * B, 3, H, H)`, all images of
    the first window first, and the windows' first columns. `ValueError` for other shapes, or as [`window_columns`]."""
    if pixel_values.ndim != 4:
        raise ValueError(f"Images must be (batch, channels, height, width), got {tuple(pixel_values.shape)}.")
    height, width = pixel_values.shape[-2:]
    columns = window_columns(height, width, num_windows)
    return torch.cat([pixel_values[..., column : column + height] for column in columns]), columns


def predict_with_windows_and_flip(
    pixel_values: torch.Tensor,
    predict: Callable[[torch.Tensor], torch.Tensor],
    num_windows: int = 2,
    flip: bool = True,
    minimum: float | None = 1e-3,
) -> torch.Tensor:
    """Predict maps of wide images with a network for square ones; `predict` is called once.

    A window's prediction is the mean of its own and its mirrored copy's (mirrored back); where windows overlap, the
    mean of theirs. The published NYU protocol is two windows, mirrored, on 480×640 images.

    Args:
        pixel_values: Images `(B, 3, H, W)` with `W >= H`.
        predict: Takes crops `(N, 3, H, H)` (all images of the first window, of the second, ..., then the mirrored
            copies in the same order) and returns one map each `(N, H, H)`, or several `(N, C, H, H)`.
        num_windows: Number of windows; 1 needs square images.
        flip: Whether mirrored copies are predicted too.
        minimum: Lower bound of the first map (depth, metres), or `None`. Further maps, such as the uncertainty, are
            not bounded.

    Returns:
        `(B, H, W)`, or `(B, C, H, W)` where `predict` returns several maps.

    Raises:
        ValueError: If the windows cannot cover the images, or `predict` returns maps of another size.

    Example:

    ```python
    >>> depth = predict_with_windows_and_flip(pixel_values, lambda crops: model(crops).predicted_depth)
    ```
    """
    crops, columns = sliding_window_crops(pixel_values, num_windows)
    batch = torch.cat([crops, crops.flip(-1)]) if flip else crops
    maps = predict(batch)
    if maps.ndim not in (3, 4) or (len(maps), *maps.shape[-2:]) != (len(batch), *batch.shape[-2:]):
        raise ValueError(
            f"predict must return (N, H, H) or (N, C, H, H) maps for crops of {tuple(batch.shape)}, "
            f"got {tuple(maps.shape)}."
        )
    if flip:
        straight, mirrored = maps.chunk(2)
        maps = (straight + mirrored.flip(-1)) / 2

    height, width = pixel_values.shape[-2:]
    total = maps.new_zeros(len(pixel_values), *maps.shape[1:-1], width)
    count = maps.new_zeros(width)
    for column, window_maps in zip(columns, maps.chunk(num_windows)):
        total[..., column : column + height] += window_maps
        count[column : column + height] += 1
    average = total / count
    if minimum is not None:
        depth = average if average.ndim == 3 else average[:, 0]
        depth.clamp_(min=minimum)
    return average
