# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Depth and its errors as pictures, beside the truth."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ...data.pixels import finite_map
from ...drawing.colors import ERROR_COLORS, UNCERTAINTY_COLORS, color_bars, paint, value_limits
from ...drawing.page import arrange, check_image, check_rows, column_edges
from ..maps.drawing import dense_lines, largest_uncertainty


GALLERY_TITLES = ("image", "ground truth", "prediction", "absolute error", "uncertainty")
DEPTH_COLORS = "turbo"


def colorize_depth(
    depth: np.ndarray, vmin: float | None = None, vmax: float | None = None, cmap: str = DEPTH_COLORS
) -> np.ndarray:
    """Paint a depth map as uint8 (height, width, 3).

    Args:
        depth: (height, width), metres; 0 or less is missing and becomes black.
        vmin, vmax: depths of the first and last colour, metres; the range of the valid depths by default.
        cmap: any matplotlib colour map's name.

    Raises:
        ValueError: if the shape is wrong, a value is not finite, vmax < vmin, or the colour map is unknown.
    """
    depth = finite_map(depth, "depth")
    valid = depth > 0
    return paint(depth, *value_limits(depth[valid], vmin, vmax), cmap) * valid[..., None]


def colorize_error(
    prediction: np.ndarray, depth: np.ndarray, vmax: float | None = None, cmap: str = ERROR_COLORS
) -> np.ndarray:
    """Paint the absolute difference between a predicted and a true depth map.

    Args:
        prediction: (height, width), metres.
        depth: (height, width), metres; where it is 0 or less there is no error to show, and the picture is black.
        vmax: error of the last colour, metres; the largest error by default. The first colour is no error.
        cmap: as for [`colorize_depth`], and so are picture and errors; the two shapes must be the same, too.
    """
    error = _error(prediction, depth)
    valid = np.isfinite(error)
    return paint(np.nan_to_num(error), *value_limits(error[valid], 0.0, vmax), cmap) * valid[..., None]


def _error(prediction: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Absolute, at every pixel; NaN where there is no depth."""
    prediction, depth = finite_map(prediction, "prediction"), finite_map(depth, "depth")
    if prediction.shape != depth.shape:
        raise ValueError(f"prediction {prediction.shape} and depth {depth.shape} must have the same shape.")
    return np.where(depth > 0, np.abs(prediction - depth), np.nan)


def depth_gallery(
    rows: Sequence[dict[str, np.ndarray]], titles: Sequence[str] = GALLERY_TITLES, cell_size: int = 200
) -> Image.Image:
    """Predictions beside what they should have been, one row per example.

    Depth has one colour scale over all rows, absolute error another; both have a colour bar in metres. Every row
    states its root mean squared error over the pixels that have ground truth.

    Args:
        rows: dictionaries with `image` uint8 (height, width, 3), `depth` (height, width) in metres, 0 where missing,
            `prediction` (height, width) in metres and `uncertainty` (height, width) in metres; all of one size.
        titles: what stands above the five columns.
        cell_size: as for [`~ait_hf.drawing.page.check_rows`], with its errors; enlarging uses whole factors.
    """
    check_rows(rows, ("image", "depth", "prediction", "uncertainty"))
    if len(titles) != 5:
        raise ValueError(f"A gallery needs 5 titles, but has {len(titles)}.")
    rows = [_check_row(number, row) for number, row in enumerate(rows)]
    size = rows[0]["depth"].shape
    if any(row["depth"].shape != size for row in rows):
        raise ValueError("All rows of a gallery must have one size; resize the examples first.")
    depths = np.concatenate([row[field].reshape(-1) for row in rows for field in ("depth", "prediction")])
    depth_limits = value_limits(depths[depths > 0], None, None)
    errors = [_error(row["prediction"], row["depth"]) for row in rows]
    known = [error[np.isfinite(error)] for error in errors]
    largest = max(value_limits(values, 0.0, None)[1] for values in known)
    ends = largest, largest_uncertainty(row["uncertainty"] for row in rows)
    lines = dense_lines(rows, "depth", lambda depth: colorize_depth(depth, *depth_limits), errors, ends, cell_size)
    cell_width = lines[0][0].width
    lefts = column_edges(len(titles), cell_width)
    bars = (
        (lefts[1], lefts[2] + cell_width, depth_limits, DEPTH_COLORS, "depth in metres"),
        (lefts[3], lefts[3] + cell_width, (0.0, largest), ERROR_COLORS, "error in metres"),
        (lefts[4], lefts[4] + cell_width, (0.0, ends[1]), UNCERTAINTY_COLORS, "uncertainty in metres"),
    )
    notes = [f"RMSE {math.sqrt(np.square(e).mean()):.3f} m" if e.size else "no ground truth" for e in known]
    return arrange(titles, lines, cell_width, notes=(3, notes), footer=color_bars(lefts[-1] + cell_width, bars))


def _check_row(number: int, row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    checked = {"image": check_image(row["image"], f"image of row {number}")}
    for field in ("depth", "prediction", "uncertainty"):
        checked[field] = finite_map(row[field], f"{field} of row {number}")
        if checked[field].shape != checked["image"].shape[:2]:
            raise ValueError(
                f"{field} of row {number} has the shape {checked[field].shape}, but its image is "
                f"{checked['image'].shape[:2]}; resize one to the other."
            )
    return checked
