# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images with label maps as the model's input: random scale, crop, flip and colours for training, a plain fit into the
frame for evaluation; and the masks of single classes, for their tokenizer.

A row has `image` (8-bit RGB), `label_map` (uint8 `(h, w)`, classes 0..n-1, 255 = ignored) and perhaps `path`. Random
numbers come from torch's global generator only, so a restored generator state repeats a sample.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from ..model.tokenization_vq import IGNORED_LABEL
from .object_transforms import NUM_SEEDS, FitFrame, LargeScaleJitter
from .pixels import Normalize, check_same_size, pad_to_frame, pixel_values, rgb_pixels, sample_name, with_path


COLOR_JITTER = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.05}


class SemanticEvalTransform:
    """Resizes one image and its label map so that they just fit the frame, without chance; zeros, and ignored pixels,
    right and bottom.

    The pixels are those of `AiTImageProcessor(size={"max_height": H, "max_width": W}, do_pad=True,
    pad_size={"height": H, "width": W}, **processor_arguments(normalize))`.

    Args:
        image_size (`(height, width)`): the frame in pixels.
        normalize ([`~ait_hf.data.pixels.Normalize`]): by what pixels are normalised.
        first_class (`int`): number, in `labels`, of the first of the task's classes.
        class_numbers (`list[int]`, *optional*): for every class of the data set its number among the task's; by
            default the same.

    Call:
        Gives the same dictionary as [`SemanticTrainTransform`] without `seed`, with `label_map` uint8 `(h, w)`, that
        of the row.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        normalize: Normalize = True,
        first_class: int = 0,
        class_numbers: Sequence[int] | None = None,
    ):
        self.image_size, self.normalize = tuple(image_size), normalize
        numbers = torch.arange(IGNORED_LABEL) if class_numbers is None else torch.tensor(class_numbers)
        self.label_of = torch.full((IGNORED_LABEL + 1,), IGNORED_LABEL)  # every number in a row's label map
        self.label_of[: len(numbers)] = first_class + numbers
        self.augment = FitFrame(self.image_size)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        image, label_map = _image_and_labels(row)
        sample = self._in_frame(*self.augment(image, label_map))
        return with_path(row, sample | {"label_map": label_map.as_subclass(torch.Tensor)[0]})

    def _in_frame(self, image: tv_tensors.Image, label_map: tv_tensors.Mask) -> dict[str, torch.Tensor]:
        """Pixels as floats, labels in the model's numbers, both filled up to the frame."""
        labels = self.label_of[pad_to_frame(label_map, self.image_size, IGNORED_LABEL)[0].long()]
        return {"pixel_values": pad_to_frame(pixel_values(image, self.normalize), self.image_size), "labels": labels}


class SemanticTrainTransform(SemanticEvalTransform):
    """Random augmentation of one image with its label map.

    The image is resized by a random scale, of which 1 just fits it into the frame; what is larger than the frame is
    cut to a random part of the frame's size, then flipped at random, its colours changed at random. The rest of the
    frame, right and bottom, is zero in the image and ignored in the label map.

    Args:
        scale_range (`(lowest, highest)`): the scale is uniform in this range.
        flip_p (`float`): probability of a horizontal flip.
        color_p (`float`): probability of a change of brightness, contrast, saturation and hue.
        image_size, common: arguments of [`SemanticEvalTransform`].

    Call:
        Gives `{"pixel_values": float32 (3, H, W), "labels": int64 (H, W), 255 = ignored, "seed": int64 ()}`, with
        `path` where the row has one. The seed is random, for whatever else is drawn for this sample.

    Raises:
        TypeError: if the image is not 8-bit RGB or the label map not uint8 `(h, w)`.
        ValueError: if the two differ in size, or an argument makes no sense.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        scale_range: tuple[float, float] = (0.5, 2.0),
        flip_p: float = 0.5,
        color_p: float = 0.5,
        **common,
    ):
        super().__init__(image_size, **common)
        self.augment = v2.Compose(
            [
                LargeScaleJitter(self.image_size, scale_range),
                v2.RandomHorizontalFlip(flip_p),
                v2.RandomApply([v2.ColorJitter(**COLOR_JITTER)], p=color_p),
            ]
        )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        sample = self._in_frame(*self.augment(*_image_and_labels(row)))
        return with_path(row, sample | {"seed": torch.randint(NUM_SEEDS, ())})


class ClassMaskTransform:
    """The mask of one class in an augmented label map, squeezed into a square by nearest neighbour, as the model's
    objective does, for the tokenizer of such masks: takes `label_map` and `class_number`, gives `{"labels": float32
    (mask_size, mask_size), 0 or 1}`; all 0 if the class was cut away. Other arguments as in
    [`SemanticTrainTransform`]; the default of `scale_range` and `flip_p` is the plain fit."""

    def __init__(
        self,
        image_size: tuple[int, int],
        mask_size: int,
        scale_range: tuple[float, float] = (1.0, 1.0),
        flip_p: float = 0.0,
    ):
        self.image_size, self.mask_size = tuple(image_size), mask_size
        self.augment = v2.Compose([LargeScaleJitter(self.image_size, scale_range), v2.RandomHorizontalFlip(flip_p)])

    def __call__(self, row: dict[str, Any]) -> dict[str, torch.Tensor]:
        label_map = self.augment(tv_tensors.Mask(torch.tensor(row["label_map"])[None]))
        mask = (pad_to_frame(label_map, self.image_size, IGNORED_LABEL) == row["class_number"]).float()
        exact = InterpolationMode.NEAREST_EXACT
        return {"labels": F.resize(mask, [self.mask_size, self.mask_size], interpolation=exact)[0]}


class ClassMasks(Dataset):
    """Every class of every label map in rows of [`~ait_hf.data.label_maps.load_label_maps`], for
    [`ClassMaskTransform`]: items `{"label_map": uint8 (h, w), "class_number": int}`."""

    def __init__(self, dataset):
        self.rows = dataset.select_columns("label_map")
        classes = dataset.with_format(None)["classes"]
        self.pairs = [(row, number) for row, numbers in enumerate(classes) for number in numbers]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row, number = self.pairs[index]
        return {"label_map": self.rows[row]["label_map"], "class_number": number}


class EndlessClassMasks(Dataset):
    """One class of each of the label maps in a data set without end, as [`ClassMasks`]; classes that an image shows
    take turns."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __getitem__(self, index: int) -> dict[str, Any]:
        label_map = self.dataset[index]["label_map"]
        classes = np.setdiff1d(label_map, [IGNORED_LABEL])
        return {"label_map": label_map, "class_number": int(classes[index % len(classes)])}


def _image_and_labels(row: dict[str, Any]) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """uint8 `(3, h, w)` and `(1, h, w)`."""
    name = sample_name(row)
    image, label_map = rgb_pixels(row, name), row["label_map"]
    if label_map.dtype != np.uint8 or label_map.ndim != 2:
        raise TypeError(f"{name} has a label map {label_map.dtype} {label_map.shape}; uint8 (H, W) is needed.")
    check_same_size(image, label_map, "a label map", name)
    return tv_tensors.Image(torch.tensor(image).permute(2, 0, 1)), tv_tensors.Mask(torch.tensor(label_map)[None])
