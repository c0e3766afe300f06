# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Augmentation of images with a map of any number of channels, and the matching transform for evaluation.

A sample is `{"image": PIL RGB or uint8 (H, W, 3) array, "<column>": float32 (H, W) or (H, W, C) array}`; a pixel of
the map is unknown where all channels are 0. Random numbers come from torch's global generator only and no transform
keeps state, so `torch.manual_seed`, the seeds that `DataLoader` gives its workers and a restored generator state
repeat a run.
"""

from typing import Any, ClassVar

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from .maps import UNIT_VECTOR
from .pixels import Normalize, check_same_size, height_and_width, normalized, rgb_pixels, sample_name, with_path


LONGEST_UNIT_VECTOR = 1.5  # rounding to 8 bits and noise leave lengths between its inverse and this


class MapEvalTransform:
    """Turns an image with a map into tensors without chance: resized until it just covers `size`, cut at the centre.

    Args:
        column, unit, num_channels: As for [`MapTrainTransform`].
        size (`int` or `(height, width)`, *optional*): By default the whole frame is kept as it is.

    Call:
        Gives the same dictionary as [`MapTrainTransform`], and raises the same errors.
    """

    def __init__(self, column: str, unit: str, num_channels: int, size: int | tuple[int, int] | None = None):
        self.column, self.unit, self.num_channels = column, unit, num_channels
        self.size = None if size is None else height_and_width(size)

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        image, values = self.tensors(sample)
        if self.size is not None:
            scale = max(target / side for target, side in zip(self.size, image.shape[-2:]))
            image, values = self.scaled(image, values, scale)
            image, values = (F.center_crop(tensor, list(self.size)) for tensor in (image, values))
        return self.output(image, values, sample)

    def tensors(self, sample: dict[str, Any]) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """The image as float (3, H, W) in [0, 1] and the map as float (C, H, W)."""
        name, column = sample_name(sample), self.column
        image, values = rgb_pixels(sample, name), sample[column]
        if not isinstance(values, np.ndarray) or values.dtype != np.float32 or values.ndim not in (2, 3):
            raise TypeError(f"{name} has no map {column!r} as a float32 (H, W) or (H, W, C) array.")
        values = values.reshape(*values.shape[:2], -1)
        if values.shape[2] != self.num_channels:
            raise ValueError(
                f"{name} has a map {column!r} of {values.shape[2]} channels, but num_channels is {self.num_channels}."
            )
        check_same_size(image, values, f"a map {column!r}", name)
        if not np.isfinite(values).all():
            raise ValueError(
                f"{name} has a map {column!r} with NaN or infinite values: mark unknown pixels with 0 in all channels."
            )
        if not values.any():
            raise ValueError(f"{name} has a map {column!r} without any known pixel: leave it out.")
        if self.unit == UNIT_VECTOR:
            values = _normalize(values, f"{name} has a map {column!r}")
        return as_tensors(image, values)

    def scaled(
        self, image: tv_tensors.Image, values: tv_tensors.Mask, scale: float
    ) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Both at so many times their size, the map by nearest neighbour."""
        size = [round(side * scale) for side in image.shape[-2:]]
        # NEAREST, which torchvision takes for masks, looks half an output pixel up and left of the image's pixel centres.
        exact = F.resize(values.as_subclass(torch.Tensor), size, interpolation=InterpolationMode.NEAREST_EXACT)
        return F.resize(image, size, antialias=True), tv_tensors.Mask(exact)

    def output(self, image: torch.Tensor, values: torch.Tensor, sample: dict[str, Any]) -> dict[str, Any]:
        """What the loader collates."""
        image, values = (tensor.as_subclass(torch.Tensor).contiguous() for tensor in (image, values))
        return with_path(sample, {"pixel_values": image, "labels": values})


class MapTrainTransform(MapEvalTransform):
    """Random augmentation of an image with a map: flip, crop, changes of colour.

    Args:
        column (`str`): Which field of a sample is the map.
        unit (`str`): What the map's values are. The vectors of a `"unit_vector"` map are in the camera's axes, the
            first of which points to the right: a mirrored image negates it, and every known vector is brought to
            length 1.
        num_channels (`int`): Channels of the map.
        crop_size (`(height, width)`): Of the random crop, pixels.
        flip_p (`float`): Share of mirrored samples.
        color_p (`float`): Probability of each of three changes of colour: brightness and contrast; gamma; hue,
            saturation and value.
        resize (`int`, *optional*): Resizes the shorter side to so many pixels before the crop; the map by nearest
            neighbour, so that no value is invented.
        normalize ([`~ait_hf.data.pixels.Normalize`]): By what pixels are normalised in the end.

    Call:
        Gives `{"pixel_values": float32 (3, h, w), "labels": float32 (C, h, w)}`, and `path` where the sample
        has one.

    Raises:
        ValueError: If the map has another size or number of channels, NaN or infinite values, no known pixel, or no
            unit vectors although it should; or the sample is smaller than the crop.
        TypeError: If the image is not 8-bit RGB or the map is not float32.
    """

    def __init__(
        self,
        column: str,
        unit: str,
        num_channels: int,
        crop_size: int | tuple[int, int],
        flip_p: float = 0.5,
        color_p: float = 0.5,
        resize: int | None = None,
        normalize: Normalize = False,
    ):
        super().__init__(column, unit, num_channels)
        self.crop_size, self.resize, self.normalize = height_and_width(crop_size), resize, normalize
        mirror = RandomMirror(flip_p, negate_x=unit == UNIT_VECTOR)
        self.augment = v2.Compose([mirror, v2.RandomCrop(self.crop_size), *random_colors(color_p)])

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        image, values = self.resized(*self.tensors(sample))
        if image.shape[-2] < self.crop_size[0] or image.shape[-1] < self.crop_size[1]:
            raise ValueError(
                f"{sample_name(sample)} has height and width {tuple(image.shape[-2:])}, less than the crop "
                f"{self.crop_size}."
            )
        augmented = self.output(*self.augment(image, values), sample)
        return augmented | {"pixel_values": normalized(augmented["pixel_values"], self.normalize)}

    def resized(
        self, image: tv_tensors.Image, values: tv_tensors.Mask, zoom: float = 1.0
    ) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Both at `zoom` times the size that `resize` asks for, in one step."""
        scale = zoom if self.resize is None else zoom * self.resize / min(image.shape[-2:])
        return (image, values) if scale == 1 else self.scaled(image, values, scale)


class RandomMirror(v2.Transform):
    """Mirrors `(image, map)` from left to right with probability `p`. `negate_x` says that the map holds vectors whose
    first component points to the right."""

    def __init__(self, p: float, negate_x: bool):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"The share of mirrored samples must be between 0 and 1, got {p}.")
        self.p, self.negate_x = p, negate_x

    def forward(self, image: tv_tensors.Image, values: tv_tensors.Mask) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        if torch.rand(()) >= self.p:
            return image, values
        image, values = F.horizontal_flip(image), F.horizontal_flip(values)
        return image, mirror_vectors(values) if self.negate_x else values


def mirror_vectors(values: torch.Tensor) -> torch.Tensor:
    """Vectors `(C, H, W)` whose first component has the other sign."""
    signs = torch.ones(len(values), 1, 1, dtype=values.dtype)
    signs[0] = -1
    return tv_tensors.wrap(values.as_subclass(torch.Tensor) * signs, like=values)


def as_tensors(image: np.ndarray, values: np.ndarray) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """uint8 (H, W, 3) as float (3, H, W) in [0, 1], and a map (H, W, C) as (C, H, W)."""
    pixels = torch.tensor(image).permute(2, 0, 1).to(torch.float32) * (1 / 255)  # the floats of image processors
    return tv_tensors.Image(pixels), tv_tensors.Mask(torch.tensor(values).permute(2, 0, 1))


def _normalize(values: np.ndarray, name: str) -> np.ndarray:
    lengths = np.linalg.norm(values, axis=2, keepdims=True)
    known = lengths > 0
    if lengths.max() > LONGEST_UNIT_VECTOR or lengths[known].min() < 1 / LONGEST_UNIT_VECTOR:
        raise ValueError(
            f"{name} with vectors of length {lengths[known].min():.3g} to {lengths.max():.3g}, which are no unit "
            "vectors: does it need another scale and offset?"
        )
    return values / np.where(known, lengths, 1)


def random_colors(p: float) -> list[v2.Transform]:
    """Changes of brightness and contrast, of gamma, and of hue, saturation and value, as of GLPDepth (Kim et al.,
    2022, arXiv:2201.07436): each with this probability. They leave the map alone."""
    colors = (RandomBrightnessContrast(), RandomGamma(), RandomHueSaturationValue())
    return [v2.RandomApply([color], p=p) for color in colors]


class _ColorTransform(v2.Transform):
    """Changes float images in [0, 1], by numbers that are uniform in `ranges`, and leaves maps alone."""

    _transformed_types = (tv_tensors.Image,)
    ranges: ClassVar[dict[str, tuple[float, float]]]

    def make_params(self, flat_inputs: list) -> dict[str, float]:
        return {name: torch.empty(()).uniform_(low, high).item() for name, (low, high) in self.ranges.items()}

    def transform(self, inpt: tv_tensors.Image, params: dict[str, float]) -> tv_tensors.Image:
        return tv_tensors.wrap(self.change(inpt.as_subclass(torch.Tensor), **params).clamp(0, 1), like=inpt)


class RandomBrightnessContrast(_ColorTransform):
    """`contrast * image + brightness`."""

    ranges = {"contrast": (0.8, 1.2), "brightness": (-0.2, 0.2)}

    def change(self, image: torch.Tensor, contrast: float, brightness: float) -> torch.Tensor:
        return contrast * image + brightness


class RandomGamma(_ColorTransform):
    """`image ** gamma`."""

    ranges = {"gamma": (0.8, 1.2)}

    def change(self, image: torch.Tensor, gamma: float) -> torch.Tensor:
        return image**gamma


class RandomHueSaturationValue(_ColorTransform):
    """Shifts hue, saturation, value by up to 20, 30 and 20 levels of an 8-bit HSV image, whose hue has 180 steps."""

    ranges = {"hue": (-20 / 180, 20 / 180), "saturation": (-30 / 255, 30 / 255), "value": (-20 / 255, 20 / 255)}

    def change(self, image: torch.Tensor, hue: float, saturation: float, value: float) -> torch.Tensor:
        return shift_saturation_and_value(F.adjust_hue(image, hue), saturation, value)


def shift_saturation_and_value(image: torch.Tensor, saturation: float, value: float) -> torch.Tensor:
    """Adds to saturation and value of an RGB image, float `(3, H, W)` in [0, 1], both clipped to it; keeps the hue.

    With value V (the largest channel) and saturation S, every channel is `V * (1 - S * k)` where k in [0, 1] depends
    on the hue only. Grey pixels have no hue and stay grey.
    """
    largest, smallest = image.amax(-3, keepdim=True), image.amin(-3, keepdim=True)
    spread = largest - smallest
    share = (largest - image) / spread.clamp_min(torch.finfo(image.dtype).tiny)
    new_saturation = (spread / largest.clamp_min(torch.finfo(image.dtype).tiny) + saturation).clamp(0, 1)
    return (largest + value).clamp(0, 1) * (1 - new_saturation * share)
