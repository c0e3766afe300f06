# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Depth maps as 16-bit grey PNG files."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from .pixels import finite_map
from .writing import write_file


def save_depth_png(depth: np.ndarray, path: str | os.PathLike, scale: float = 1000) -> None:
    """Write a depth map as a 16-bit grey PNG, as NYUv2 and other RGB-D data sets are stored.

    Args:
        depth: (height, width), metres; 0 or less is missing and stored as 0. Depths beyond 65535 / scale are stored
            as that.
        path: where to, ending in .png.
        scale: grey levels per metre; 1000 stores millimetres.

    Raises:
        ValueError: if the shape is wrong, a value is not finite, `scale` is not positive, or the ending is not .png.
    """
    depth, path = finite_map(depth, "depth"), Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path} must end in .png.")
    _check_scale(scale)
    levels = np.clip(np.rint(depth * scale), 0, 65535).astype(np.uint16)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, lambda file: Image.fromarray(levels).save(file, format="PNG"))


def load_depth_png(path: str | os.PathLike, scale: float = 1000) -> np.ndarray:
    """Read a 16-bit grey PNG as depth, float32 (height, width), in metres, 0 where missing; `scale` as in [`save_depth_png`].

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the picture is not 16-bit grey, or `scale` is not positive.
    """
    _check_scale(scale)
    with Image.open(path) as image:
        if not image.mode.startswith("I;16"):
            raise ValueError(
                f"{path} is not a 16-bit grey picture but has the mode {image.mode}; 8 bits cannot hold depth in "
                "millimetres, so this may be a picture of depth rather than depth."
            )
        return (np.asarray(image).astype(np.float64) / scale).astype(np.float32)


def _check_scale(scale: float) -> None:
    if not scale > 0:
        raise ValueError(f"scale must be above 0, but is {scale}.")
