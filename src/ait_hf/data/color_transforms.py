# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Random changes of the colours of an image that leave its map alone, as of GLPDepth (Kim et al., 2022, arXiv:2201.07436)."""

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F


def random_colors(p: float) -> list[v2.Transform]:
    """Brightness and contrast; gamma; hue, saturation and value: each with this probability."""
    colors = (RandomBrightnessContrast(), RandomGamma(), RandomHueSaturationValue())
    return [v2.RandomApply([color], p=p) for color in colors]


class _ColorTransform(v2.Transform):
    """Changes float images in [0, 1] and leaves maps alone."""

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


def _uniform(low: float, high: float) -> float:
    return torch.empty(()).uniform_(low, high).item()
