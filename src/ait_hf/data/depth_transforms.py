# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Augmentation of RGB-D samples for depth training, and the matching transform for evaluation.

A sample is `{"image": PIL RGB or uint8 (H, W, 3) array, "depth": float32 (H, W) array}`, depth in metres with
0 = missing. Random numbers come from torch's global generator only and no transform keeps state, so
`torch.manual_seed`, the seeds that `DataLoader` gives its workers and a restored generator state repeat a run.

The recipe is that of GLPDepth (Kim et al., 2022, arXiv:2201.07436), which AiT uses for NYU Depth v2: vertical
CutDepth, flip, crop, then brightness and contrast, gamma, hue and saturation, each with probability 1/2.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from .picture_sizes import swapped_sides


def batched(transform: Callable[[dict], dict]) -> Callable[[dict[str, list]], dict[str, list]]:
    """Lifts a transform of one sample to the dictionary of lists that `datasets.Dataset.with_transform` works on.

    A streamed data set has no `with_transform`: use `dataset.map(transform, remove_columns=...)` on it.
    """
    return partial(_apply_to_each, transform)


class DepthTrainTransform:
    """Random augmentation of one RGB-D sample.

    Args:
        crop_size (`int` or `(height, width)`): size of the random crop in pixels.
        flip_p (`float`): probability of a horizontal flip.
        cut_depth_p (`float`): CutDepth's `p`, the largest share of the columns right of the strip's left edge that the
            strip may cover; see [`cut_depth`].
        cut_depth_every (`int`, *optional*): one sample in so many gets CutDepth; `None` for none. Every sample draws
            on its own with probability `1 / cut_depth_every`. The published code counts samples in each data worker
            instead, which gives the same share but would have to be saved to resume.
        cut_depth_max (`float`): depth in metres that CutDepth shows as white.
        color_p (`float`): probability of each of the three changes of colour.
        columns (`(start, stop)`, *optional*): cuts image and depth to these columns first, as the depth tokenizer's
            recipe does with `(41, 601)` for NYU Depth v2.
        resize (`int`, *optional*): resizes the shorter side to so many pixels before the crop, for models of small
            input; depth by nearest neighbour, so that missing pixels stay missing and none are invented.

    Call:
        Gives `{"pixel_values": float32 (3, h, w) in [0, 1], "labels": float32 (h, w) in metres, 0 = missing}`, and
        `path` where the sample has one.

    Raises:
        ValueError: if image and depth differ in size or the sample is smaller than the crop.
        TypeError: if the image is not 8-bit RGB or depth is not float32.
    """

    def __init__(
        self,
        crop_size: int | tuple[int, int] = 480,
        flip_p: float = 0.5,
        cut_depth_p: float = 0.75,
        cut_depth_every: int | None = 4,
        cut_depth_max: float = 10.0,
        color_p: float = 0.5,
        columns: tuple[int, int] | None = None,
        resize: int | None = None,
    ):
        self.crop_size = _height_and_width(crop_size)
        self.columns = columns
        self.resize = resize
        steps: list[torch.nn.Module] = []
        if cut_depth_every is not None:
            if cut_depth_every < 1:
                raise ValueError(
                    f"cut_depth_every must be at least 1, or None for no CutDepth, not {cut_depth_every}."
                )
            steps.append(v2.RandomApply([RandomCutDepth(cut_depth_p, cut_depth_max)], p=1 / cut_depth_every))
        steps += [v2.RandomHorizontalFlip(flip_p), v2.RandomCrop(self.crop_size)]
        colors = (RandomBrightnessContrast(), RandomGamma(), RandomHueSaturationValue())
        steps += [v2.RandomApply([color], p=color_p) for color in colors]
        self.augment = v2.Compose(steps)

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        image, depth = _to_tensors(sample)
        if self.columns is not None:
            image, depth = _cut_columns(image, depth, *self.columns)
        if self.resize is not None:
            scale = self.resize / min(image.shape[-2:])
            image, depth = _resize(image, depth, [round(side * scale) for side in image.shape[-2:]])
        if depth.shape[-2] < self.crop_size[0] or depth.shape[-1] < self.crop_size[1]:
            raise ValueError(
                f"{_name(sample)} has height and width {tuple(depth.shape[-2:])}, less than the crop {self.crop_size}."
            )
        return _to_output(*self.augment(image, depth), sample)


class DepthEvalTransform:
    """Turns one RGB-D sample into tensors without chance.

    Args:
        size (`int` or `(height, width)`, *optional*): the sample is resized until it just covers this size and cut to
            it at the centre; depth by nearest neighbour. By default the whole frame is kept.

    Call:
        Gives the same dictionary as [`DepthTrainTransform`].
    """

    def __init__(self, size: int | tuple[int, int] | None = None):
        self.size = None if size is None else _height_and_width(size)

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        image, depth = _to_tensors(sample)
        if self.size is not None:
            sides = depth.shape[-2:]
            scale = max(target / side for target, side in zip(self.size, sides))
            image, depth = _resize(image, depth, [round(side * scale) for side in sides])
            image, depth = (F.center_crop(tensor, list(self.size)) for tensor in (image, depth))
        return _to_output(image, depth, sample)


def cut_depth(
    image: torch.Tensor, depth: torch.Tensor, alpha: float, beta: float, p: float = 0.75, max_depth: float = 10.0
) -> torch.Tensor:
    """Vertical CutDepth: replaces a strip of the image's columns by depth.

    As in GLPDepth, the strip starts at column `l = floor(alpha * W)` and is
    `floor(max((W - alpha * W) * beta * p, 1))` columns wide. All three channels become `depth / max_depth`, clipped to
    [0, 1]; missing depth is black.

    GLPDepth's code writes depth in millimetres into an 8-bit image, where it overflows: what is left is the lowest
    byte, a sawtooth of 256 mm. The scaled depth here is what CutDepth (Ishii and Yamashita, arXiv:2107.07684)
    describes, and it stays in the range that the changes of colour expect.

    Args:
        image: float `(3, H, W)` in [0, 1].
        depth: float `(1, H, W)` in metres.
        alpha, beta: numbers in [0, 1), in training drawn uniformly.
        p: largest share of the columns from `l` on that the strip may cover.
        max_depth: depth in metres that becomes 1.
    """
    width = image.shape[-1]
    left = int(alpha * width)
    strip = slice(left, left + int(max((width - alpha * width) * beta * p, 1)))
    result = image.clone()
    result[..., strip] = (depth[..., strip] / max_depth).clamp(0, 1)
    return result


class RandomCutDepth(v2.Transform):
    """[`cut_depth`] of `(image, depth)` with a random strip."""

    def __init__(self, p: float = 0.75, max_depth: float = 10.0):
        super().__init__()
        if not 0 < p <= 1:
            raise ValueError(f"CutDepth's p must be above 0 and at most 1, not {p}.")
        self.p = p
        self.max_depth = max_depth

    def forward(self, image: tv_tensors.Image, depth: tv_tensors.Mask) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        alpha, beta = torch.rand(2).tolist()
        return tv_tensors.wrap(cut_depth(image, depth, alpha, beta, self.p, self.max_depth), like=image), depth


class _ColorTransform(v2.Transform):
    """Changes float images in [0, 1] and leaves depth alone."""

    _transformed_types = (tv_tensors.Image,)

    def transform(self, inpt: tv_tensors.Image, params: dict[str, float]) -> tv_tensors.Image:
        return tv_tensors.wrap(self.change(inpt.as_subclass(torch.Tensor), **params).clamp(0, 1), like=inpt)


class RandomBrightnessContrast(_ColorTransform):
    """`contrast * image + brightness` with contrast in [0.8, 1.2] and brightness in [-0.2, 0.2]."""

    def make_params(self, flat_inputs: list) -> dict[str, float]:
        return {"contrast": _uniform(0.8, 1.2), "brightness": _uniform(-0.2, 0.2)}

    def change(self, image: torch.Tensor, contrast: float, brightness: float) -> torch.Tensor:
        return contrast * image + brightness


class RandomGamma(_ColorTransform):
    """`image ** gamma` with gamma in [0.8, 1.2]."""

    def make_params(self, flat_inputs: list) -> dict[str, float]:
        return {"gamma": _uniform(0.8, 1.2)}

    def change(self, image: torch.Tensor, gamma: float) -> torch.Tensor:
        return image**gamma


class RandomHueSaturationValue(_ColorTransform):
    """Shifts hue by up to ±1/9 of the circle, saturation by up to ±30/255 and value by up to ±20/255.

    These are the ±20, ±30 and ±20 of an 8-bit HSV image, whose hue has 180 steps.
    """

    def make_params(self, flat_inputs: list) -> dict[str, float]:
        return {
            "hue": _uniform(-20 / 180, 20 / 180),
            "saturation": _uniform(-30 / 255, 30 / 255),
            "value": _uniform(-20 / 255, 20 / 255),
        }

    def change(self, image: torch.Tensor, hue: float, saturation: float, value: float) -> torch.Tensor:
        return shift_saturation_and_value(F.adjust_hue(image, hue), saturation, value)


def shift_saturation_and_value(image: torch.Tensor, saturation: float, value: float) -> torch.Tensor:
    """Adds to the saturation and value of an RGB image, both clipped to [0, 1], and keeps its hue.

    With value V (the largest channel) and saturation S, every channel is `V * (1 - S * k)` where k in [0, 1] depends
    on the hue only. Grey pixels have no hue and stay grey.

    Args:
        image: float `(3, H, W)` in [0, 1].
        saturation, value: what is added.
    """
    largest, smallest = image.amax(-3, keepdim=True), image.amin(-3, keepdim=True)
    spread = largest - smallest
    share = (largest - image) / spread.clamp_min(torch.finfo(image.dtype).tiny)
    new_saturation = (spread / largest.clamp_min(torch.finfo(image.dtype).tiny) + saturation).clamp(0, 1)
    return (largest + value).clamp(0, 1) * (1 - new_saturation * share)


def _apply_to_each(transform: Callable[[dict], dict], batch: dict[str, list]) -> dict[str, list]:
    samples = [transform(dict(zip(batch, values))) for values in zip(*batch.values())]
    return {key: [sample[key] for sample in samples] for key in samples[0]}


def _to_tensors(sample: dict[str, Any]) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """Gives the image as float (3, H, W) in [0, 1] and depth as float (1, H, W) in metres."""
    image, depth = np.asarray(sample["image"]), sample["depth"]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"{_name(sample)} has an image {image.dtype} {image.shape}; 8-bit RGB (H, W, 3) is needed.")
    if not isinstance(depth, np.ndarray) or depth.dtype != np.float32 or depth.ndim != 2:
        raise TypeError(f"{_name(sample)} has no depth as a float32 (H, W) array in metres.")
    if image.shape[:2] != depth.shape:
        raise ValueError(
            f"{_name(sample)} has an image of {image.shape[:2]} pixels, but depth of {depth.shape}."
            f"{swapped_sides(image.shape[:2], depth.shape)}"
        )
    pixels = torch.tensor(image).permute(2, 0, 1).to(torch.float32) / 255
    return tv_tensors.Image(pixels), tv_tensors.Mask(torch.tensor(depth)[None])


def _cut_columns(image: torch.Tensor, depth: torch.Tensor, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
    height, width = depth.shape[-2:]
    if not 0 <= start < stop <= width:
        raise ValueError(f"columns ({start}, {stop}) do not lie within the sample's {width} columns.")
    return F.crop(image, 0, start, height, stop - start), F.crop(depth, 0, start, height, stop - start)


def _resize(image: torch.Tensor, depth: torch.Tensor, size: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    # NEAREST, which torchvision takes for masks, looks half an output pixel up and left of the image's pixel centres.
    exact = F.resize(depth.as_subclass(torch.Tensor), size, interpolation=InterpolationMode.NEAREST_EXACT)
    return F.resize(image, size, antialias=True), tv_tensors.Mask(exact)


def _to_output(image: torch.Tensor, depth: torch.Tensor, sample: dict[str, Any]) -> dict[str, Any]:
    output = {
        "pixel_values": image.as_subclass(torch.Tensor).contiguous(),
        "labels": depth.as_subclass(torch.Tensor)[0].contiguous(),
    }
    return output | {"path": sample["path"]} if "path" in sample else output


def _height_and_width(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"A size must be at least one pixel, not {size}.")
    return height, width


def _uniform(low: float, high: float) -> float:
    return torch.empty(()).uniform_(low, high).item()


def _name(sample: dict[str, Any]) -> str:
    return f"Sample {sample['path']}" if "path" in sample else "The sample"
