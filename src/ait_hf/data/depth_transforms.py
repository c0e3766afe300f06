# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Augmentation of RGB-D samples for depth training, and the matching transform for evaluation.

A sample is `{"image": PIL RGB or uint8 (H, W, 3) array, "depth": float32 (H, W) array}`, depth in metres with
0 = missing: a map of one channel, see [`~ait_hf.data.map_transforms`].

The recipe is that of GLPDepth (Kim et al., 2022, arXiv:2201.07436), which AiT uses for NYU Depth v2: vertical
CutDepth, flip, crop, then brightness and contrast, gamma, hue and saturation, each with probability 1/2.
"""

from typing import Any

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from .map_transforms import MapEvalTransform, MapTrainTransform, as_tensors
from .pixels import Normalize, check_same_size, rgb_pixels, sample_name


DEPTH_MAP = ("depth", "metre", 1)  # column, unit and channels


class _DepthSamples:
    """Samples of depth: all of it may be missing, and it has no channel."""

    def tensors(self, sample: dict[str, Any]) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        name = sample_name(sample)
        image, depth = rgb_pixels(sample, name), sample["depth"]
        if not isinstance(depth, np.ndarray) or depth.dtype != np.float32 or depth.ndim != 2:
            raise TypeError(f"{name} has no depth as a float32 (H, W) array in metres.")
        check_same_size(image, depth, "depth", name)
        return as_tensors(image, depth[..., None])

    def output(self, image: torch.Tensor, values: torch.Tensor, sample: dict[str, Any]) -> dict[str, Any]:
        return super().output(image, values[0], sample)


class DepthEvalTransform(_DepthSamples, MapEvalTransform):
    """[`~ait_hf.data.map_transforms.MapEvalTransform`] of an RGB-D sample; gives what [`DepthTrainTransform`] does."""

    def __init__(self, size: int | tuple[int, int] | None = None):
        super().__init__(*DEPTH_MAP, size)


class DepthTrainTransform(_DepthSamples, MapTrainTransform):
    """Random augmentation of one RGB-D sample.

    Args:
        crop_size, flip_p, color_p, resize: as of [`~ait_hf.data.map_transforms.MapTrainTransform`].
        cut_depth_p (`float`): CutDepth's `p`, the largest share of the columns right of the strip's left edge that the
            strip may cover; see [`cut_depth`].
        cut_depth_every (`int`, *optional*): one sample in so many gets CutDepth; `None` for none. Every sample draws
            on its own with probability `1 / cut_depth_every`. The published code counts samples in each data worker
            instead, which gives the same share but would have to be saved to resume.
        cut_depth_max (`float`): depth in metres that CutDepth shows as white.
        columns (`(start, stop)`, *optional*): cuts image and depth to these columns first, as the depth tokenizer's
            recipe does with `(41, 601)` for NYU Depth v2.
        scale_range (`(low, high)`): the sample, after `resize`, is enlarged by a random factor of this range and its depth
            divided by it, as if the same camera stood nearer (Eigen et al., 2014, arXiv:1406.2283).

    Call:
        Gives `{"pixel_values": float32 (3, h, w), "labels": float32 (h, w) in metres, 0 = missing}`, and
        `path` where the sample has one.

    Raises:
        ValueError: if image and depth differ in size or the sample is smaller than the crop; or for a `scale_range` that
            is none.
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
        normalize: Normalize = False,
        scale_range: tuple[float, float] = (1.0, 1.0),
    ):
        super().__init__(*DEPTH_MAP, crop_size, flip_p, color_p, resize, normalize)
        self.columns, self.scale_range = columns, tuple(scale_range)
        if len(self.scale_range) != 2 or not 0 < self.scale_range[0] <= self.scale_range[1]:
            raise ValueError(f"scale_range must be two factors above 0, the lower first, not {scale_range}.")
        if cut_depth_every is None:
            return
        if cut_depth_every < 1:
            raise ValueError(f"cut_depth_every must be at least 1, or None for no CutDepth, not {cut_depth_every}.")
        cut = v2.RandomApply([RandomCutDepth(cut_depth_p, cut_depth_max)], p=1 / cut_depth_every)
        self.augment = v2.Compose([cut, *self.augment.transforms])

    def tensors(self, sample: dict[str, Any]) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        image, depth = super().tensors(sample)
        if self.columns is not None:
            (start, stop), (height, width) = self.columns, depth.shape[-2:]
            if not 0 <= start < stop <= width:
                raise ValueError(f"columns ({start}, {stop}) do not lie within the sample's {width} columns.")
            image, depth = (F.crop(tensor, 0, start, height, stop - start) for tensor in (image, depth))
        return image, depth

    def resized(self, image: tv_tensors.Image, values: tv_tensors.Mask) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        if self.scale_range == (1.0, 1.0):
            return super().resized(image, values)
        zoom = torch.empty(1).uniform_(*self.scale_range).item()
        image, depth = super().resized(image, values, zoom)
        return image, tv_tensors.wrap(depth / zoom, like=depth)


def cut_depth(
    image: torch.Tensor, depth: torch.Tensor, alpha: float, beta: float, p: float = 0.75, max_depth: float = 10.0
) -> torch.Tensor:
    """Vertical CutDepth: replaces a strip of the image's columns by depth.

    As in GLPDepth, the strip starts at column `l = floor(alpha * W)` and is `floor(max((W - alpha * W) * beta * p,
    1))` columns wide. All three channels become `depth / max_depth`, clipped to [0, 1]; missing depth is black.

    GLPDepth's code writes depth in millimetres into an 8-bit image, where it overflows: what is left is the lowest
    byte, a sawtooth of 256 mm. The scaled depth here is what CutDepth (Ishii and Yamashita, arXiv:2107.07684)
    describes, and it stays in the range that the changes of colour expect.

    The image is float `(3, H, W)` in [0, 1], depth float `(1, H, W)` and `max_depth` in metres; `alpha` and `beta` are
    in [0, 1), in training drawn uniformly; `p` is the largest share of the columns from `l` on that the strip may
    cover.
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
        self.p, self.max_depth = p, max_depth

    def forward(self, image: tv_tensors.Image, depth: tv_tensors.Mask) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        alpha, beta = torch.rand(2).tolist()
        return tv_tensors.wrap(cut_depth(image, depth, alpha, beta, self.p, self.max_depth), like=image), depth
