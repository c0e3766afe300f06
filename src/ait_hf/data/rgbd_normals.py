# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""RGB-D data sets as images with surface normals, which are computed once and kept as pictures of 8 bits."""

import math
from collections.abc import Sequence
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
from .normals import normals_from_depth
from .rgbd import load_rgbd


_FEATURES = datasets.Features({"image": datasets.Image(), "normals": datasets.Image()})
PICTURE_SCALE, PICTURE_OFFSET = 2 / 255, -1.0  # from a picture of normals to normals


def load_rgbd_normals(
    index: str | PathLike,
    split: str,
    *,
    field_of_view: float,
    shorter_side: int | None = None,
    window: int = 5,
    root: str | PathLike | None = None,
    depth_scale: float | None = None,
    kinds: Sequence[str] | None = None,
    cache_dir: str | PathLike | None = None,
) -> HubMaps:
    """
    Images with the normals of the surfaces in them, from RGB-D frames.

    The normals are computed when a split is loaded for the first time, which takes a fraction of a second for every
    frame of 144x192 pixels and seconds for one of 480x640; 🤗 datasets keeps them in its cache.

    Args:
        index, split, root, depth_scale, kinds, cache_dir: See [`~ait_hf.data.rgbd.load_rgbd`].
        field_of_view: Angle that the longer side of the images spans, degrees, the same for all frames.
        shorter_side: Larger frames are shrunk to this first, pixels.
        window: See [`~ait_hf.data.normals.normals_from_depth`].

    Returns:
        Examples with `image` (PIL, RGB), `map` (float32 `(H, W, 3)`, unit vectors but for rounding, in camera axes
        right, down, forward, that point towards the camera; 0 where unknown) and `path` (what errors call the row).

    Raises:
        FileNotFoundError, ValueError: As [`~ait_hf.data.rgbd.load_rgbd`], or the field of view is not between 0 and
            180 degrees.
    """
    if not 0 < field_of_view < 180:
        raise ValueError(f"field_of_view must be above 0 and below 180 degrees, but is {field_of_view}.")
    frames = load_rgbd(index, split, root=root, depth_scale=depth_scale, kinds=kinds, cache_dir=cache_dir)
    pictures = frames.map(
        partial(_to_pictures, field_of_view=field_of_view, shorter_side=shorter_side, window=window),
        remove_columns=frames.column_names,
        features=_FEATURES,
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
