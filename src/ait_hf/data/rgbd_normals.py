# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Surface normals from depth, and RGB-D data sets as images with them, computed once and kept as 8-bit pictures."""

import math
from functools import partial
from os import PathLike
from typing import Any

import datasets
import numpy as np
import PIL.Image
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from .maps import HubMaps
from .rgbd import load_rgbd


STEEPEST = 3.0  # change of depth, in depths, per radian across the view: a surface at about 70° to the line of sight
DEPTH_NOISE = 0.015  # change of depth, in depths, that a depth camera makes up
PICTURE_SCALE, PICTURE_OFFSET = 2 / 255, -1.0  # from a picture of normals to normals


def normals_from_depth(depth: np.ndarray, focal_length: float, window: int = 9) -> np.ndarray:
    """Normals of planes that are fitted to the neighbourhood of every pixel.

    The inverse depth of a plane is linear in pixel coordinates, and the noise of stereo and structured light is about
    the same everywhere in inverse depth: so least squares of inverse depths are exact on planes. A neighbour whose
    depth differs from the pixel's by more than noise and a steep surface explain belongs to another surface, and is
    left out.

    Args:
        depth: float (height, width), metres along the optical axis, 0 = missing.
        focal_length: pixels; the principal point is the middle of the image.
        window: side of the neighbourhood, pixels, odd. Larger ones average noise and round off small things: 9 suits
            a depth camera's 480x640, and 3 to 5 exact depth or small maps.

    Returns:
        float32 (height, width, 3): unit vectors in camera axes (right, down, forward) that point towards the camera; 0
        where depth is missing or there are no three neighbours that span a plane.

    Raises:
        ValueError: if an argument is not as said above.
    """
    depth = np.asarray(depth)
    if depth.ndim != 2 or not np.isfinite(depth).all() or depth.min(initial=0) < 0:
        raise ValueError(f"depth must be (height, width), finite and not negative, but has shape {depth.shape}.")
    if not focal_length > 0:
        raise ValueError(f"focal_length must be above 0 pixels, but is {focal_length}.")
    if window < 3 or window % 2 == 0:
        raise ValueError(f"window must be odd and at least 3, but is {window}.")
    inverse = np.divide(1.0, depth, out=np.zeros(depth.shape, dtype=np.float32), where=depth > 0)
    moments, targets = _sums(inverse, focal_length, window // 2)
    # Moments are whole numbers, so the determinant is at least 1, unless all neighbours lie on one line.
    has_plane = (np.linalg.det(moments) > 0.5) & (inverse > 0)
    slope_x, slope_y, offset = np.linalg.solve(moments[has_plane], targets[has_plane][..., None])[..., 0].T
    rows, columns = np.nonzero(has_plane)
    right, down = columns + 0.5 - depth.shape[1] / 2, rows + 0.5 - depth.shape[0] / 2
    # A plane of points with `away @ point == 1` has the inverse depth `away @ (right / focal, down / focal, 1)`.
    forward = inverse[has_plane] + offset - slope_x * right - slope_y * down
    away = np.stack([slope_x * focal_length, slope_y * focal_length, forward], axis=1)
    normals = np.zeros((*depth.shape, 3), dtype=np.float32)
    normals[has_plane] = -away / np.linalg.norm(away, axis=1, keepdims=True)
    return normals


def _sums(inverse: np.ndarray, focal_length: float, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """What least squares need of every pixel's neighbours up to `reach` pixels away on the same surface: moments (h,
    w, 3, 3) of the neighbours' places (x, y, 1) as seen from the pixel, and sums (h, w, 3) of these places times the
    change of inverse depth, all float64."""
    height, width = inverse.shape
    padded = np.pad(inverse, reach)
    moments, targets = (np.zeros((k, height, width), dtype=np.float32) for k in (6, 3))
    for y in range(-reach, reach + 1):
        for x in range(-reach, reach + 1):
            neighbour = padded[reach + y : reach + y + height, reach + x : reach + x + width]
            change = neighbour - inverse
            tolerance = DEPTH_NOISE + STEEPEST * math.hypot(x, y) / focal_length
            belongs = ((neighbour > 0) & (np.abs(change) <= tolerance * inverse)).astype(np.float32)
            change *= belongs
            for moment, factor in zip(moments, (x * x, x * y, y * y, x, y, 1), strict=True):
                moment += factor * belongs
            for target, factor in zip(targets, (x, y, 1), strict=True):
                target += factor * change
    matrix = np.moveaxis(moments[[[0, 1, 3], [1, 2, 4], [3, 4, 5]]], (0, 1), (-2, -1))
    return matrix.astype(np.float64), np.moveaxis(targets, 0, -1).astype(np.float64)


def load_rgbd_normals(
    index: str | PathLike,
    split: str,
    *,
    field_of_view: float,
    shorter_side: int | None = None,
    window: int = 5,
    **options,
) -> HubMaps:
    """Images with the normals of the surfaces in them, from RGB-D frames.

    The normals are computed when a split is loaded for the first time, which takes a fraction of a second for every
    frame of 144x192 pixels and seconds for one of 480x640; 🤗 datasets keeps them in its cache.

    Args:
        index, split, options: `root`, `depth_scale`, `kinds` and `cache_dir`, see [`~ait_hf.data.rgbd.load_rgbd`].
        field_of_view: Angle that the longer side of the images spans, degrees, the same for all frames.
        shorter_side: Larger frames are shrunk to this first, pixels.
        window: See [`normals_from_depth`].

    Returns:
        Examples with `image` (PIL, RGB), `map` (float32 `(H, W, 3)`, unit vectors but for rounding, in camera axes
        right, down, forward, that point towards the camera; 0 where unknown) and `path` (what errors call the row).

    Raises:
        FileNotFoundError, ValueError: As [`~ait_hf.data.rgbd.load_rgbd`], or the field of view is not between 0 and
            180 degrees.
    """
    if not 0 < field_of_view < 180:
        raise ValueError(f"field_of_view must be above 0 and below 180 degrees, but is {field_of_view}.")
    frames = load_rgbd(index, split, **options)
    pictures = frames.map(
        partial(_to_pictures, field_of_view=field_of_view, shorter_side=shorter_side, window=window),
        remove_columns=frames.column_names,
        features=datasets.Features({"image": datasets.Image(), "normals": datasets.Image()}),
        desc="Computing surface normals",
    )
    return HubMaps(pictures, "image", "normals", PICTURE_SCALE, PICTURE_OFFSET)


def picture_of_normals(normals: np.ndarray) -> PIL.Image.Image:
    """Unit vectors float `(height, width, 3)`, 0 where unknown, as a picture of 8 bits, whose values are
    `stored * 2 / 255 - 1`; unknown is black."""
    stored = np.where(normals.any(2, keepdims=True), (normals - PICTURE_OFFSET) / PICTURE_SCALE, 0)
    return PIL.Image.fromarray(stored.round().astype(np.uint8))


def _to_pictures(
    frame: dict[str, Any], *, field_of_view: float, shorter_side: int | None, window: int
) -> dict[str, PIL.Image.Image]:
    image, depth = frame["image"], frame["depth"]
    if shorter_side is not None and shorter_side < min(depth.shape):
        image = F.resize(image, [shorter_side])
        exact = InterpolationMode.NEAREST_EXACT  # means of near and far depths would be surfaces that are not there
        depth = F.resize(torch.tensor(depth)[None], [shorter_side], interpolation=exact)[0].numpy()
    focal_length = max(depth.shape) / 2 / math.tan(math.radians(field_of_view) / 2)
    return {"image": image, "normals": picture_of_normals(normals_from_depth(depth, focal_length, window))}
