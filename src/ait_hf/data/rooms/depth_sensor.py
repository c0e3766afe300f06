# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a structured-light depth sensor such as a Kinect gives no reading."""

import numpy as np


PROJECTOR_BASELINE = 0.075  # metres between the depth sensor's projector and its camera, as in a Kinect
HOLE_FRACTION = (0.05, 0.15)
HOLE_BLOB_CELLS = (7, 23)  # cells along the longer side of the noise whose peaks become holes: blobs and crumbs


def sensor_holes(
    depth: np.ndarray, image: np.ndarray, facing: np.ndarray, focal: float, rng: np.random.Generator
) -> np.ndarray:
    """Where a structured-light depth sensor gives no reading.

    What the projector, right of the camera, cannot reach past a nearer edge is always missing. The rest are blobs,
    likelier where the surface is dark, turned away from the camera, or next to an edge; they fill up the holes to a
    fraction drawn from `HOLE_FRACTION`.

    Args:
        depth: float32 (height, width), metres.
        image: uint8 (height, width, 3).
        facing: float32 (height, width), cosine of the angle between surface normal and line of sight.
        focal: focal length, pixels.
        rng: draws the fraction and the blobs.

    Returns:
        bool (height, width), True where the reading is missing.
    """
    score = sum(_smooth_noise(depth.shape, cells, rng) for cells in HOLE_BLOB_CELLS)
    score += 1.5 * (image.mean(-1) < 50) + 1.5 * (facing < 0.25) + 1.0 * _depth_edges(depth)
    shadow = _projector_shadow(depth, focal)
    score += 100 * shadow
    count = round(rng.uniform(*HOLE_FRACTION) * score.size)
    return shadow | (score > np.partition(score, -count - 1, axis=None)[-count - 1])


def _projector_shadow(depth: np.ndarray, focal: float) -> np.ndarray:
    """Pixels whose surface lies behind a nearer one as seen from the projector.

    A pixel's column in the projector's view is its own column less its disparity. A nearer surface further right in
    the picture that lands in the same or an earlier column has caught the light.
    """
    columns = np.arange(depth.shape[1], dtype=np.float32) - focal * PROJECTOR_BASELINE / depth
    first_from_right = np.minimum.accumulate(columns[:, ::-1], axis=1)[:, ::-1]
    return columns > first_from_right + 0.25  # a quarter of a pixel: sloping surfaces do not shadow themselves


def _depth_edges(depth: np.ndarray) -> np.ndarray:
    """Pixels on either side of a jump in depth by more than 8 %."""
    edges = np.zeros(depth.shape, dtype=bool)
    for near, far, near_edges, far_edges in (
        (depth[:, 1:], depth[:, :-1], edges[:, 1:], edges[:, :-1]),
        (depth[1:], depth[:-1], edges[1:], edges[:-1]),
    ):
        jump = np.abs(near - far) > 0.08 * np.minimum(near, far)
        near_edges |= jump
        far_edges |= jump
    return edges


def _smooth_noise(size: tuple[int, int], cells: int, rng: np.random.Generator) -> np.ndarray:
    """Normal noise (height, width), linear between the points of a grid with `cells` cells along the longer side."""
    cell = max(size) / cells
    rows, columns = (_interpolation(length, cell) for length in size)
    grid = rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
    return rows @ grid @ columns.T


def _interpolation(length: int, cell: float) -> np.ndarray:
    """Weights (length, points) that interpolate linearly between points `cell` pixels apart."""
    position = np.arange(length) / cell
    points = np.arange(int(position[-1]) + 2)
    return np.maximum(1 - np.abs(position[:, None] - points), 0).astype(np.float32)
