# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Dense maps of any kind as pictures: surface normals in their usual colours, other maps by their values."""

from collections.abc import Callable, Iterable, Sequence

import matplotlib
import numpy as np
from PIL import Image

from ...data.maps import UNIT_VECTOR
from ...drawing.colors import ERROR_COLORS, colorize_uncertainty, known_limits, paint
from ...drawing.page import arrange, check_rows, fit_picture


VALUE_COLORS = "viridis"
Limits = tuple[np.ndarray, np.ndarray]  # least and largest value of every channel


def colorize_map(values: np.ndarray, unit: str, limits: Limits | None = None) -> np.ndarray:
    """Paint a map.

    Unit vectors of three channels, in the camera's axes (right, down, forward), get the colours that surface normals
    usually have: what faces the camera is light blue, the left is dark and the right light in red, what faces up is
    green. Of other maps, one channel goes through a colour map, and several become red, green and blue, each over its
    own range; there is no picture of a fourth.

    Args:
        values: (height, width) or (height, width, channels); unknown where all channels are 0, which becomes black.
        unit: what the values are in; `"unit_vector"` for directions of any length.
        limits: values of the darkest and the lightest shade of every channel; by default the range of the known ones.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: if the shape is wrong or a value is not finite.
    """
    values = _as_map(values, "values")
    known = (values != 0).any(2, keepdims=True)
    if unit == UNIT_VECTOR and values.shape[2] == 3:
        vectors = values / np.maximum(np.linalg.norm(values, axis=2, keepdims=True), np.finfo(float).tiny)
        shades = (vectors * (1, -1, -1) + 1) / 2
    else:
        low, high = known_limits(values) if limits is None else limits
        shades = np.clip((values - low) / np.maximum(high - low, np.finfo(float).tiny), 0, 1)
        if shades.shape[2] == 1:
            shades = matplotlib.colormaps[VALUE_COLORS](shades[..., 0])[..., :3]
        shades = np.pad(shades[..., :3], ((0, 0), (0, 0), (0, max(0, 3 - shades.shape[2]))))
    return (255 * shades * known).round().astype(np.uint8)


def map_error(prediction: np.ndarray, truth: np.ndarray, unit: str) -> np.ndarray:
    """Error at every pixel, float64 (height, width): the angle in degrees for unit vectors, else the distance in the
    maps' unit; NaN where the truth is unknown (all channels 0).

    Args:
        prediction, truth: (height, width) or (height, width, channels).
        unit: what the values are in.

    Raises:
        ValueError: if the shapes are wrong or differ, or a value is not finite.
    """
    prediction, truth = _as_map(prediction, "prediction"), _as_map(truth, "truth")
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} must have the same shape.")
    if unit == UNIT_VECTOR:
        lengths = np.linalg.norm(prediction, axis=2) * np.linalg.norm(truth, axis=2)
        cosines = (prediction * truth).sum(2) / np.maximum(lengths, np.finfo(float).tiny)
        errors = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    else:
        errors = np.linalg.norm(prediction - truth, axis=2)
    return np.where((truth != 0).any(2), errors, np.nan)


def map_gallery(rows: Sequence[dict[str, np.ndarray]], unit: str, cell_size: int = 200) -> Image.Image:
    """Predicted maps beside the true ones, one row per example.

    All rows share the ranges of their colours. The title of the errors says which error is the darkest red, and every
    row the mean of its known pixels.

    Args:
        rows: dictionaries with `image` uint8 (height, width, 3), `truth` and `prediction` (height, width, channels), 0
            in all channels where unknown, and `uncertainty` (height, width), in that unit.
        unit: what the values are in.
        cell_size: as for [`~ait_hf.drawing.page.check_rows`], with its errors; enlarging uses whole factors.
    """
    check_rows(rows, ("image", "truth", "prediction", "uncertainty"))
    maps = [_as_map(row[field], field) for row in rows for field in ("truth", "prediction")]
    limits = known_limits(np.concatenate([values.reshape(-1, values.shape[2]) for values in maps]))
    errors = [map_error(row["prediction"], row["truth"], unit) for row in rows]
    known = np.concatenate([error[np.isfinite(error)] for error in errors])
    largest, suffix = (float(known.max()) if known.size else 1.0), "°" if unit == UNIT_VECTOR else f" {unit}"
    doubt = largest_uncertainty(row["uncertainty"] for row in rows)
    of_doubt = f"uncertainty, 0 to {doubt:.3g}" + ("" if unit == UNIT_VECTOR else suffix)
    titles = ["image", "ground truth", "prediction", f"error, 0 to {largest:.3g}{suffix}", of_doubt]
    means = (np.nanmean(error) if np.isfinite(error).any() else None for error in errors)
    notes = ["nothing known" if mean is None else f"mean {mean:.3g}{suffix}" for mean in means]
    ends = largest, doubt
    lines = dense_lines(rows, "truth", lambda values: colorize_map(values, unit, limits), errors, ends, cell_size)
    width = max(picture.width for line in lines for picture in line)
    return arrange(titles, lines, width, notes=(3, notes))


def largest_uncertainty(maps: Iterable[np.ndarray]) -> float:
    """Of all maps, the end of their scale; 1 if all are certain, or there are none."""
    return max((float(np.max(values)) for values in maps), default=0.0) or 1.0


def dense_lines(
    rows: Sequence[dict[str, np.ndarray]],
    truth: str,
    colorize: Callable[[np.ndarray], np.ndarray],
    errors: Sequence[np.ndarray],
    ends: tuple[float, float],
    cell_size: int,
) -> list[list[Image.Image]]:
    """Of every row its image, the maps `row[truth]` and `row["prediction"]`, their errors (height, width), NaN where the
    truth is unknown, and the uncertainty, these two up to `ends`; pictures as of [`~ait_hf.drawing.page.fit_picture`]."""
    lines = []
    largest, doubt = ends
    for row, error in zip(rows, errors):
        maps = [colorize(row[truth]), colorize(row["prediction"])]
        known = np.isfinite(error)[..., None]
        maps += [
            paint(np.nan_to_num(error), 0, largest, ERROR_COLORS) * known,
            colorize_uncertainty(row["uncertainty"] / doubt),
        ]
        lines.append([fit_picture(picture, cell_size) for picture in (np.asarray(row["image"]), *maps)])
    return lines


def _as_map(values: np.ndarray, name: str) -> np.ndarray:
    """float64 (height, width, channels), finite."""
    values = np.asarray(values, dtype=float)
    if values.ndim not in (2, 3) or values.size == 0:
        raise ValueError(
            f"{name} must have the shape (height, width) or (height, width, channels), not {values.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinite values; mark unknown pixels with 0 in all channels.")
    return values.reshape(*values.shape[:2], -1)
