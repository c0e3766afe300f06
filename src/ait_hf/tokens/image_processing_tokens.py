# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Maps and masks into a tokenizer, and what it decodes back to the images' sizes, by a named convention."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.processing_utils import ImagesKwargs
from transformers.utils import TensorType

from .conventions import (
    binary_mask,
    box_edges,
    finite_map,
    get_convention,
    get_paste_rule,
    location_numbers,
    paste_mask,
    stretch_map,
    tight_box,
)


class AiTTokenProcessorKwargs(ImagesKwargs, total=False):
    """
    convention (`str`):
        Which model's preprocessing, see [`AiTTokenProcessor`].
    side (`int`, *optional*):
        Height and width of what the tokenizer reads, pixels; that of the convention by default.
    """

    convention: str
    side: int


class AiTTokenProcessor(BaseImageProcessor):
    """
    What a tokenizer of maps or masks reads and what it gives back, exactly as the named model prepares it.

    | convention | samples | becomes |
    |---|---|---|
    | `paligemma-mask` | masks and boxes | crop, antialiased bilinear, 64×64, 0..1, not binary |
    | `molmoact-depth` | maps | min-max to 8 bits, antialiased bilinear on 8 bits, 320×320, 0..1 |
    | `molmoact2-depth` | maps | min-max to 8 bits, OpenCV's nearest, 320×320, 0..1 |
    | `molmoact2-depth-batched` | maps | the same with torch's nearest, as its script with a batch size above 1 |
    | `aurora-depth` | maps | min-max to 8 bits (without an epsilon), Pillow's nearest, 320×320, 0..1 |
    | `ait-depth` | metres, 0 unknown | nearest to 480×480 if it has another size, metres |
    | `ait-mask` | masks and boxes | RoIAlign, threshold 0.5, 64×64, 0 or 1 |

    Maps of the middle four are relative inverse depth: near is high. An array or a picture of 8 bits is taken for a map
    that was already brought to 8 bits; anything else is a map of values.

    `pixel_values` is what [`VQTokenizer.tokenize`] takes. Where the network sees -1..1, the tokenizer's `value_range`
    does the rest.

    ```python
    processor = AiTTokenProcessor(convention="molmoact2-depth")
    ids = tokenizer.tokenize(processor(depth_map).pixel_values)
    ```

    Args:
        convention (`str`): See the table. There is no default.
        side (`int`, *optional*): Another height and width than the convention's, for a tokenizer of your own.

    Raises:
        ValueError: There is no such convention.
    """

    valid_kwargs = AiTTokenProcessorKwargs
    convention = None
    side = None
    model_input_names = ["pixel_values"]

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._set_attributes(**kwargs)
        convention = get_convention(self.convention)
        self.side = convention.side if self.side is None else self.side
        if self.side < 1:
            raise ValueError(f"The side of what a tokenizer reads must be at least 1, got {self.side}.")

    def preprocess(
        self,
        images: Any,
        boxes: Any | None = None,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        return_tensors: str | TensorType | None = None,
    ) -> BatchFeature:
        """
        Maps or masks as the tokenizer reads them.

        Args:
            images: One map or mask `(height, width)`, or several: a list of different sizes, or an array with a first
                axis. PIL images, NumPy arrays or tensors. An array whose last axis is 3 is one picture, whose three
                channels must be equal.
            boxes: For masks: `(n, 4)`, one box of each mask, ymin, xmin, ymax, xmax as shares of height and width. By
                default the boxes of the masks' pixels. Borders at the right and below are cut off by the image.
            image_sizes: For maps: `(height, width)` of every picture, where a depth network gave its map in another
                size; the map is brought to it first, as that model does.
            return_tensors: As in transformers; PyTorch's by default.

        Returns:
            `pixel_values` float32 `(n, 1, side, side)`; for masks also `boxes` float32 `(n, 4)`, shares, and
            `locations` int64 `(n, 4)`, the numbers of PaliGemma's location tokens.

        Raises:
            ValueError: A map has NaN, a mask other values than two, a box has no pixel in the image, and so on; the
                message names the sample.
        """
        samples = _as_arrays(images)
        if get_convention(self.convention).is_mask:
            if image_sizes is not None:
                raise ValueError("Masks have the size of their image already: leave image_sizes out.")
            data = self._prepare_masks(samples, boxes)
        else:
            if boxes is not None:
                raise ValueError(f"The convention {self.convention} is of maps, which have no boxes.")
            if image_sizes is not None and len(image_sizes) != len(samples):
                raise ValueError(f"One image size per map is needed: got {len(image_sizes)} for {len(samples)} maps.")
            sizes = [None] * len(samples) if image_sizes is None else [(int(h), int(w)) for h, w in image_sizes]
            squares = [self._prepare_map(*pair, f"Map {n + 1}") for n, pair in enumerate(zip(samples, sizes))]
            data = {"pixel_values": torch.tensor(np.stack(squares))[:, None]}
        return BatchFeature(data=data, tensor_type=return_tensors)

    def _prepare_masks(self, samples: list[np.ndarray], boxes: Any | None) -> dict[str, torch.Tensor]:
        crop, masks = get_convention(self.convention).crop, []
        if boxes is not None:
            boxes = np.asarray(boxes.cpu() if isinstance(boxes, torch.Tensor) else boxes, dtype=np.float32)
            boxes = boxes[None] if boxes.ndim == 1 else boxes
            if boxes.shape != (len(samples), 4):
                needed = f"One box (ymin, xmin, ymax, xmax) per mask is needed, ({len(samples)}, 4) in all"
                raise ValueError(f"{needed}, got {boxes.shape}.")
        for number, sample in enumerate(samples, start=1):
            masks.append(binary_mask(sample, f"Mask {number}"))
            if not masks[-1].any():
                raise ValueError(f"Mask {number} is empty: leave it out, as there is no object.")
        boxes = np.stack([tight_box(mask) for mask in masks]) if boxes is None else boxes
        crops = [crop(*pair, self.side, f"Box {number}") for number, pair in enumerate(zip(masks, boxes), start=1)]
        pixels, locations = np.stack(crops)[:, None], location_numbers(boxes)
        named = {"pixel_values": pixels, "boxes": boxes, "locations": locations}
        return {name: torch.tensor(values) for name, values in named.items()}

    def _prepare_map(self, values: np.ndarray, size: tuple[int, int] | None, name: str) -> np.ndarray:
        convention = get_convention(self.convention)
        is_picture = convention.normalise is not None and values.dtype == np.uint8
        values = values if is_picture else finite_map(values, name)
        other_size = size if size != values.shape else None
        if convention.normalise is None and (values < 0).any():
            raise ValueError(f"{name} has negative depths: metres, with 0 where depth is unknown.")
        if convention.normalise is None and other_size is not None:
            raise ValueError(f"The convention {self.convention} takes maps at their picture's size, got {size}.")
        if is_picture and other_size is not None:
            raise ValueError(f"{name} is a finished picture of 8 bits {values.shape}, which is not resized to {size}.")
        if other_size is not None:
            values = stretch_map(values, size, convention.align_corners)
        if convention.normalise is not None and not is_picture:
            values = convention.normalise(values)
        if values.shape != (self.side, self.side):
            values = convention.resize(values, self.side)
        return values if convention.normalise is None else values.astype(np.float32) / np.float32(255)

    def post_process_maps(
        self, maps: torch.Tensor, target_sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[torch.Tensor]:
        """
        Decoded maps at the sizes of their images.

        Args:
            maps: `(n, 1, h, w)`, as [`VQTokenizer.detokenize`] gives them.
            target_sizes: `(height, width)` of every image; without it the maps keep their size.

        Returns:
            For every map `(height, width)`, float32, in the tokenizer's unit, resized bilinearly.
        """
        maps = _decoded(maps).float()
        if target_sizes is None:
            return list(maps)
        sizes = _sizes(target_sizes, len(maps), "maps")
        return [
            F.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
            for values, size in zip(maps, sizes)
        ]

    def post_process_pictures(self, maps: torch.Tensor) -> list[np.ndarray]:
        """
        Decoded maps as the 8-bit pictures that the model's own scripts draw: min-max of each map, whose scale is lost.

        Args:
            maps: `(n, 1, h, w)`, as [`VQTokenizer.detokenize`] gives them.

        Returns:
            For every map uint8 `(h, w)`.

        Raises:
            ValueError: The convention draws no pictures.
        """
        convention = get_convention(self.convention)
        if convention.picture is None:
            raise ValueError(f"The convention {self.convention} has no rule for pictures of its own.")
        maps = _decoded(maps).detach().float().cpu().numpy()
        return [convention.picture(values if convention.value_range is None else 2 * values - 1) for values in maps]

    def post_process_masks(
        self, masks: torch.Tensor, locations: Any, target_sizes: Sequence[tuple[int, int]], rule: str = "recommended"
    ) -> list[torch.Tensor]:
        """
        Decoded masks in their images.

        Args:
            masks: `(n, 1, side, side)`, about 0..1, as [`VQTokenizer.detokenize`] gives them.
            locations: `(n, 4)`, numbers of the location tokens ymin, xmin, ymax, xmax.
            target_sizes: `(height, width)` of every mask's image.
            rule: `"recommended"` gives back the box that was encoded; `"evaluator"` cuts edges off as Big Vision scores
                them; `"demo"` is the public demo's: shares of 1024, soft masks of 8 bits.

        Returns:
            For every mask `(height, width)`: bool, or float64 0..1 by the demo's rule. A box without a pixel leaves it
            empty.

        Raises:
            ValueError: There are not as many boxes and sizes as masks, a location is out of range, or there is no such
                rule.
        """
        chosen = get_paste_rule(rule)
        masks = _decoded(masks).detach().float().cpu().numpy()
        locations = torch.as_tensor(locations).reshape(-1, 4)
        if len(locations) != len(masks):
            raise ValueError(f"One box per mask is needed: got {len(locations)} boxes for {len(masks)} masks.")
        if ((locations < 0) | (locations > 1023)).any():
            raise ValueError("Locations are 0 to 1023.")
        sizes = _sizes(target_sizes, len(masks), "masks")
        return [
            torch.from_numpy(paste_mask(values, box_edges(tuple(box), size, chosen), size, chosen))
            for values, box, size in zip(masks, locations.tolist(), sizes)
        ]


def _as_arrays(images: Any) -> list[np.ndarray]:
    if isinstance(images, (list, tuple)):
        samples = list(images)
    elif isinstance(images, Image.Image):
        samples = [images]
    else:
        array = _array(images)
        samples = [array] if array.ndim < 3 or (array.ndim == 3 and array.shape[-1] == 3) else list(array)
    if not samples:
        raise ValueError("There is nothing to prepare: give at least one map or mask.")
    arrays = [_array(sample) for sample in samples]
    for number, array in enumerate(arrays, start=1):
        if array.ndim == 3 and array.shape[-1] == 3:
            if not (array == array[..., :1]).all():
                raise ValueError(
                    f"Sample {number} is a picture in colours: give the map or mask, or its grey picture."
                )
            arrays[number - 1] = array[..., 0]
    return arrays


def _array(sample: Any) -> np.ndarray:
    if isinstance(sample, torch.Tensor):
        sample = sample.detach().cpu()
        sample = sample.float() if sample.dtype == torch.bfloat16 else sample
    array = np.asarray(sample)
    return array[0] if array.ndim == 3 and array.shape[0] == 1 else array


def _decoded(maps: torch.Tensor) -> torch.Tensor:
    if maps.ndim == 3:
        return maps
    if maps.ndim != 4 or maps.shape[1] != 1:
        raise ValueError(f"Decoded maps have shape (n, 1, height, width), got {tuple(maps.shape)}.")
    return maps[:, 0]


def _sizes(target_sizes: Sequence, count: int, what: str) -> list[tuple[int, int]]:
    if len(target_sizes) != count:
        raise ValueError(f"One target size per image is needed: got {len(target_sizes)} sizes for {count} {what}.")
    return [(int(height), int(width)) for height, width in target_sizes]
