# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What the transforms of all tasks do with pixels and sizes, batches of their samples, and depth maps as PNG files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..model.image_reading_ait import rgb_image, upright_image
from .picture_sizes import swapped_sides
from .writing import write_file


# By what images are normalised: `True` for ImageNet's mean and standard deviation, `False` for neither, or
# `{"mean": three numbers, "std": three numbers}`, of pixels in 0..1.
Normalize = bool | Mapping[str, Sequence[float]]


def picture_of(row: dict[str, Any]) -> np.ndarray:
    """The `image` of a row, PIL of any mode or already an array, as uint8 `(height, width, 3)`; `ValueError` if its
    size is not the row's `height` and `width`, if it has these."""
    image = row["image"]
    pixels = np.array(rgb_image(upright_image(image))) if isinstance(image, Image.Image) else image
    return _as_annotated(pixels, row, f"The image {row.get('path', '')}") if "height" in row else pixels


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
    return _as_annotated(rgb_pixels(row, name), row, name)


def _as_annotated(image: np.ndarray, row: dict[str, Any], name: str) -> np.ndarray:
    size = (row["height"], row["width"])
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


def mean_and_std(normalize: Normalize) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Of the channels, for pixels in 0..1; `None` if these stay as they are. `ValueError` for what makes no sense."""
    if isinstance(normalize, bool):
        return (tuple(IMAGENET_DEFAULT_MEAN), tuple(IMAGENET_DEFAULT_STD)) if normalize else None
    mean, std = (tuple(map(float, normalize.get(name, ()))) for name in ("mean", "std"))
    if set(normalize) != {"mean", "std"} or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(
            "normalize is true (ImageNet's mean and standard deviation), false (pixels stay in 0..1), or mean and std of "
            f"three numbers each, std above 0; got {dict(normalize)}."
        )
    return mean, std


def normalization(is_on: bool, mean: Any, std: Any) -> Normalize | None:
    """What `do_normalize`, `image_mean` and `image_std` of an image processor say; `None` if they do not."""
    if not is_on or mean is None or std is None:
        return None if is_on else False
    mean, std = ([float(value) for value in np.broadcast_to(values, 3)] for values in (mean, std))
    is_imagenet = (mean, std) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    return True if is_imagenet else {"mean": mean, "std": std}


def processor_arguments(normalize: Normalize) -> dict[str, Any]:
    """What says the same to an image processor."""
    if (values := mean_and_std(normalize)) is None:
        return {"do_normalize": False}
    return {"do_normalize": True, "image_mean": list(values[0]), "image_std": list(values[1])}


def normalized(image: torch.Tensor, normalize: Normalize) -> torch.Tensor:
    """As [`pixel_values`], of an image of floats in 0..1."""
    values = mean_and_std(normalize)
    return image if values is None else F.normalize(image, *values)


def pixel_values(image: torch.Tensor, normalize: Normalize) -> torch.Tensor:
    """An image `(3, height, width)`, 0..255, of any dtype, as a model sees it, float32 of the same shape, by the same
    operations as in transformers' image processors, for the same floats: 0..1, normalised."""
    image = image.as_subclass(torch.Tensor).float()
    if (values := mean_and_std(normalize)) is None:
        return image * (1 / 255)
    return F.normalize(image, *(torch.tensor(value) * 255 for value in values))


def height_and_width(size: int | Sequence[int], name: str = "A size") -> tuple[int, int]:
    """A size as recipes give it, one number for a square, as height and width; `ValueError`, which calls it `name`, if
    it is none."""
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
    """Read a 16-bit grey PNG as depth, float32 (height, width), metres, 0 missing; `scale` as in [`save_depth_png`].

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


def without_channel(values: np.ndarray) -> np.ndarray:
    """(height, width) of a map that may have one channel, (1, height, width)."""
    return values.reshape(values.shape[-2:])


def pad_to_frame(values: torch.Tensor, frame: tuple[int, int], fill: int = 0) -> torch.Tensor:
    """Values `(..., h, w)` filled up at the right and bottom to the frame's height and width."""
    height, width = values.shape[-2:]
    return F.pad(values.as_subclass(torch.Tensor), [0, 0, frame[1] - width, frame[0] - height], fill=fill)


def depth_collator(samples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Stacks the samples that the transforms of depth and of other maps give, each with `pixel_values` float32
    `(3, H, W)`, `labels` float32 `(H, W)` in metres with 0 = missing, or `(C, H, W)`, and perhaps `path`, which errors
    name: `{"pixel_values": float32 (B, 3, H, W), "labels": float32 (B, H, W)}`. `ValueError` if there is no sample, a
    sample has NaN or infinite values, or sizes differ."""
    return {key: _stack(samples, key) for key in ("pixel_values", "labels")}


def object_collator(
    samples: Sequence[dict[str, Any]], first_class: int = 0
) -> dict[str, torch.Tensor | list[dict[str, torch.Tensor]]]:
    """As [`depth_collator`], of the images that the object transforms give: their `labels` (dictionaries, see
    [`~ait_hf.data.object_transforms.ObjectTrainTransform`]) differ in length and stay a list. `first_class` is added
    to `class_labels`, for models of several tasks with classes of their own."""
    pixel_values, labels = _stack(samples, "pixel_values"), [sample["labels"] for sample in samples]
    if first_class:
        labels = [
            image | {"class_labels": image["class_labels"] + first_class} if "class_labels" in image else image
            for image in labels
        ]
    return {"pixel_values": pixel_values, "labels": labels}


def _stack(samples: Sequence[dict[str, Any]], key: str) -> torch.Tensor:
    if not samples:
        raise ValueError("A batch needs at least one sample.")
    for number, sample in enumerate(samples):
        name = sample.get("path", f"number {number} of the batch")
        if not torch.isfinite(sample[key]).all():
            raise ValueError(f"Sample {name} has NaN or infinite {key}.")
        if sample[key].shape != samples[0][key].shape:
            shapes = f"{tuple(sample[key].shape)}, the first sample {tuple(samples[0][key].shape)}"
            raise ValueError(f"Sample {name} has {key} of shape {shapes}: crop or resize all to one size.")
    return torch.stack([sample[key] for sample in samples])
