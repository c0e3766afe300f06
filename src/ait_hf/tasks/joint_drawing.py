# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Depth and objects of one model in one picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..drawing.page import arrange, check_rows
from .depth.drawing import colorize_depth
from .objects.drawing import draw_side


def joint_gallery(rows: Sequence[dict], threshold: float = 0.3, cell_size: int = 320) -> Image.Image:
    """Depth and objects that one model predicts, beside the true ones, one row per example.

    Depth has one colour scale over all rows, which the titles state.

    Args:
        rows: as for [`object_gallery`], and `depth` and `predicted_depth` (height, width), metres, 0
            where missing.
        threshold: least score of a predicted object that is drawn.
        cell_size: longer side of each picture, pixels.

    Returns:
        An RGB picture.

    Raises:
        ValueError: if there is no row, a field is missing, or a shape is wrong.
    """
    check_rows(rows, ("image", "prediction", "truth", "depth", "predicted_depth"))
    depths = np.concatenate([np.ravel(row[field]) for row in rows for field in ("depth", "predicted_depth")])
    depths = depths[depths > 0]
    limits = (depths.min(), depths.max()) if depths.size else (0.0, 1.0)
    scale = f"{limits[0]:.1f} (blue) to {limits[1]:.1f} m (red)"
    titles = ["image", f"predicted depth, {scale}", "predicted instances", f"true depth, {scale}", "true instances"]
    lines = [
        [
            row["image"],
            colorize_depth(row["predicted_depth"], *limits),
            draw_side(row, "prediction", threshold, cell_size),
            colorize_depth(row["depth"], *limits),
            draw_side(row, "truth", threshold, cell_size),
        ]
        for row in rows
    ]
    return arrange(titles, lines, cell_size)
