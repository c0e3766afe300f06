# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Surface normals from depth maps."""

import math

import numpy as np


STEEPEST = 3.0  # change of depth, in depths, per radian across the view: a surface at about 70° to the line of sight
DEPTH_NOISE = 0.015  # change of depth, in depths, that a depth camera makes up


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
    """What least squares need of every pixel's neighbours up to `reach` pixels away on the same surface.

    Returns:
        Moments (h, w, 3, 3) of the neighbours' places (x, y, 1) as seen from the pixel, and sums (h, w, 3) of these
        places times the change of inverse depth, all float64.
    """
    height, width = inverse.shape
    padded = np.pad(inverse, reach)
    moments = {key: np.zeros(inverse.shape, dtype=np.float32) for key in ("xx", "xy", "yy", "x", "y", "1")}
    targets = np.zeros((3, height, width), dtype=np.float32)
    for y in range(-reach, reach + 1):
        for x in range(-reach, reach + 1):
            neighbour = padded[reach + y : reach + y + height, reach + x : reach + x + width]
            change = neighbour - inverse
            tolerance = DEPTH_NOISE + STEEPEST * math.hypot(x, y) / focal_length
            belongs = ((neighbour > 0) & (np.abs(change) <= tolerance * inverse)).astype(np.float32)
            change *= belongs
            for key, factor in {"xx": x * x, "xy": x * y, "yy": y * y, "x": x, "y": y, "1": 1}.items():
                moments[key] += factor * belongs
            for target, factor in zip(targets, (x, y, 1), strict=True):
                target += factor * change
    rows = (("xx", "xy", "x"), ("xy", "yy", "y"), ("x", "y", "1"))
    matrix = np.stack([np.stack([moments[key] for key in row], axis=-1) for row in rows], axis=-2)
    return matrix.astype(np.float64), np.moveaxis(targets, 0, -1).astype(np.float64)
