# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What the transforms of all tasks do with pixels and sizes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..model.image_reading_ait import rgb_image, upright_image
from .picture_sizes import swapped_sides


def picture_of(row: dict[str, Any]) -> np.ndarray:
    """
    The `image` of a row, PIL of any mode or already an array, as uint8 `(height, width, 3)`.

    Raises:
        ValueError: Its size is not the row's `height` and `width`, if it has these.
    """
    image = row["image"]
    pixels = np.array(rgb_image(upright_image(image))) if isinstance(image, Image.Image) else image
    size = (row["height"], row["width"]) if "height" in row else pixels.shape[:2]
    if pixels.shape[:2] != size:
        raise ValueError(
            f"The image {row.get('path', '')} has {pixels.shape[:2]} pixels, but its annotations say {size}."
            f"{swapped_sides(pixels.shape[:2], size)}"
        )
    return pixels


def sample_name(row: dict[str, Any]) -> str:
    """What messages call a sample."""
    return f"Sample {row['path']}" if "path" in row else "The sample"


def rgb_pixels(row: dict[str, Any], name: str) -> np.ndarray:
    """The `image` of a row as uint8 `(height, width, 3)`; `TypeError`, which calls it `name`, if it is something else."""
    image = np.asarray(row["image"])
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"{name} has an image {image.dtype} {image.shape}; 8-bit RGB (H, W, 3) is needed.")
    return image


def annotated_pixels(row: dict[str, Any], name: str) -> np.ndarray:
    """As [`rgb_pixels`], and `ValueError` if the image has not the row's `height` and `width`."""
    image, size = rgb_pixels(row, name), (row["height"], row["width"])
    if image.shape[:2] != size:
        raise ValueError(
            f"{name} has {image.shape[:2]} pixels, but its annotations say {size}.{swapped_sides(image.shape[:2], size)}"
        )
    return image


def check_same_size(image: np.ndarray, values: np.ndarray, what: str, name: str) -> None:
    """`ValueError` if the map `values` of the sample `name` has another size than its image."""
    if image.shape[:2] != values.shape[:2]:
        raise ValueError(
            f"{name} has an image of {image.shape[:2]} pixels, but {what} of {values.shape[:2]}."
            f"{swapped_sides(image.shape[:2], values.shape[:2])}"
        )


def with_path(row: dict[str, Any], sample: dict[str, Any]) -> dict[str, Any]:
    """The sample with the row's `path`, if it has one."""
    return sample | {"path": row["path"]} if "path" in row else sample


def pixel_values(image: torch.Tensor, normalize: bool) -> torch.Tensor:
    """
    An image as a model sees it, by the same operations as in transformers' image processors, for the same floats.

    Args:
        image (`torch.Tensor` of shape `(3, height, width)`): 0..255, of any dtype.
        normalize (`bool`): Subtract ImageNet's mean and divide by its standard deviation; else pixels are 0..1.

    Returns:
        `torch.FloatTensor` of shape `(3, height, width)`.
    """
    image = image.as_subclass(torch.Tensor).float()
    if not normalize:
        return image * (1 / 255)
    mean, std = (torch.tensor(values) * 255 for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    return F.normalize(image, mean, std)


def height_and_width(size: int | Sequence[int], name: str = "A size") -> tuple[int, int]:
    """A size as recipes give it, one number for a square, as height and width; `ValueError`, which calls it `name`, if it is
    none."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"{name} must be at least one pixel high and wide, got {size}.")
    return sides


def finite_map(values: np.ndarray, name: str) -> np.ndarray:
    """The values as float64 (height, width); `ValueError` unless that is their shape and all are finite."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"{name} must have the shape (height, width), but has {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinite values; mark missing pixels with 0 instead.")
    return values


def without_channel(values: np.ndarray) -> np.ndarray:
    """(height, width) of a map that may have one channel, (1, height, width)."""
    return values.reshape(values.shape[-2:])
