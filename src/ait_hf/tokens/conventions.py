# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
How maps and masks become what a tokenizer reads, and back, in each of the published models. Number for number: the models
were trained with these roundings. NumPy and Pillow alone.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision.ops import roi_align


def finite_map(values: np.ndarray, name: str) -> np.ndarray:
    """float32 `(height, width)`; `ValueError` if it is not a map of finite numbers."""
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"{name} must have shape (height, width), got {values.shape}.")
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{name} must hold numbers, got {values.dtype}.")
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinite values: fill them in before it is tokenized.")
    return values


def minmax_with_epsilon(values: np.ndarray) -> np.ndarray:
    """MolmoAct: float32 map to 8 bit, cut off; a constant map becomes 0, and a small range does not reach 255."""
    low, high = values.min(), values.max()
    return ((values - low) / (high - low + np.float32(1e-8)) * np.float32(255)).astype(np.uint8)


def minmax(values: np.ndarray) -> np.ndarray:
    """Depth Anything's grey picture, which Aurora reads: float32 map to 8 bit, cut off; the maximum is 255."""
    low, high = values.min(), values.max()
    if low == high:
        raise ValueError(f"The map has the same value {low} everywhere, of which Depth Anything makes no picture.")
    return ((values - low) / (high - low) * np.float32(255)).astype(np.uint8)


def opencv_nearest(source: int, target: int) -> np.ndarray:
    """Which of `source` rows OpenCV's INTER_NEAREST takes for each of `target`: the upper left, by doubles."""
    places = np.floor(np.arange(target) * (1.0 / (target / source))).astype(np.int64)
    return np.minimum(places, source - 1)


def resize_opencv_nearest(picture: np.ndarray, side: int) -> np.ndarray:
    rows, columns = (opencv_nearest(length, side) for length in picture.shape)
    return picture[rows[:, None], columns]


def resize_torch_nearest(picture: np.ndarray, side: int) -> np.ndarray:
    """Like OpenCV's, but by float32, which differs for some sizes."""
    return F.interpolate(torch.tensor(picture)[None, None], size=(side, side), mode="nearest")[0, 0].numpy()


def resize_pillow(picture: np.ndarray, side: int, how: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), how))


# The centres of the pixels, by a sum of doubles.
resize_pillow_nearest = partial(resize_pillow, how=Image.Resampling.NEAREST)
# Antialiased, and rounded after each axis where the picture has 8 bits.
resize_pillow_bilinear = partial(resize_pillow, how=Image.Resampling.BILINEAR)


def stretch_map(values: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """A depth network's output brought to the picture's size, bilinear without antialiasing."""
    maps = torch.tensor(values)[None, None]
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=align_corners)[0, 0].numpy()


def _relative(raw: np.ndarray) -> np.ndarray:
    """The raw output of the decoder as shares of its range."""
    low, high = raw.min(), raw.max()
    return (raw - low) / max(high - low, np.float32(1e-8))


def picture_rounded(raw: np.ndarray) -> np.ndarray:
    """MolmoAct 1: min-max, rounded half up."""
    return np.floor(255 * _relative(raw) + np.float32(0.5)).astype(np.uint8)


def picture_cut_off(raw: np.ndarray) -> np.ndarray:
    """MolmoAct 2: min-max, cut off; 0 where the map is all but constant."""
    if raw.max() - raw.min() < 1e-6:
        return np.zeros(raw.shape, np.uint8)
    return (255 * _relative(raw)).astype(np.uint8)


def binary_mask(mask: np.ndarray, name: str) -> np.ndarray:
    """
    A mask `(height, width)` as bool: from bool, or integers of 0 and 1 or of 0 and 255.

    Raises:
        ValueError: It has other values, is of floats, or has another shape.
    """
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"{name} must have shape (height, width), got {mask.shape}.")
    if mask.dtype == bool:
        return mask
    if mask.dtype.kind not in "iu":
        raise ValueError(f"{name} is of {mask.dtype}: threshold it and give bool, or integers of 0 and 255.")
    values = set(np.unique(mask).tolist())
    if not (values <= {0, 1} or values <= {0, 255}):
        raise ValueError(
            f"{name} has values other than 0 and 1, or 0 and 255, such as {sorted(values)[-1]}: threshold it, or take the "
            "pixels of one object."
        )
    return mask > 0


def tight_box(mask: np.ndarray) -> np.ndarray:
    """The box of a mask's pixels, of which there are some, as shares of the sides, float32 `(4,)`: ymin, xmin, ymax, xmax."""
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    height, width = mask.shape
    edges = np.array([rows[0] / height, columns[0] / width, (rows[-1] + 1) / height, (columns[-1] + 1) / width])
    return edges.astype(np.float32)


def crop_edges(box: np.ndarray, size: tuple[int, int], name: str) -> tuple[int, int, int, int]:
    """
    PaliGemma: the pixels y1, x1, y2, x2 (ends exclusive) of a box in shares, rounded half to even in float32, cut at the
    right and lower border.

    Raises:
        ValueError: Nothing is left, or the box begins before the image.
    """
    shown = f"{name} ({', '.join(f'{value:.4g}' for value in box)})"
    if not np.isfinite(box).all():
        raise ValueError(f"{shown} has NaN or infinite corners.")
    y1, x1, y2, x2 = np.rint(np.array([*size, *size], np.float32) * box.astype(np.float32)).astype(np.int64).tolist()
    y2, x2 = min(y2, size[0]), min(x2, size[1])
    if min(box[:2]) < 0:
        raise ValueError(f"{shown} begins outside the image: ymin and xmin are shares from 0 to 1.")
    if y2 <= y1 or x2 <= x1:
        raise ValueError(f"{shown} (ymin, xmin, ymax, xmax) has no pixel in an image of {size[0]}x{size[1]}.")
    return y1, x1, y2, x2


def crop_antialiased(mask: np.ndarray, box: np.ndarray, side: int, name: str) -> np.ndarray:
    """PaliGemma: the crop of the box's pixels, bilinear and antialiased to float32 `(side, side)` of 0..1, not binary."""
    y1, x1, y2, x2 = crop_edges(box, mask.shape, name)
    crop = Image.fromarray(mask[y1:y2, x1:x2].astype(np.float32) * 255)
    return np.asarray(crop.resize((side, side), Image.Resampling.BILINEAR)) / np.float32(255)


def crop_roi_align(mask: np.ndarray, box: np.ndarray, side: int, name: str) -> np.ndarray:
    """AiT: RoIAlign of the box, thresholded at 0.5; 0 or 1."""
    crop_edges(box, mask.shape, name)
    height, width = mask.shape
    y1, x1, y2, x2 = (box.astype(np.float32) * np.array([height, width] * 2, np.float32)).tolist()
    pixels, region = torch.tensor(mask)[None, None].float(), torch.tensor([[0.0, x1, y1, x2, y2]])
    cropped = roi_align(pixels, region, (side, side), sampling_ratio=0, aligned=True)
    return (cropped[0, 0] >= 0.5).float().numpy()


def location_numbers(boxes: np.ndarray) -> np.ndarray:
    """PaliGemma: numbers of the location tokens of boxes in shares `(n, 4)`: rounded half to even, cut to 0..1023."""
    return np.clip(np.rint(np.asarray(boxes, np.float32) * np.float32(1023)), 0, 1023).astype(np.int64)


class PasteRule(NamedTuple):
    """How location tokens become pixels, and a square map a mask in them."""

    divisor: int  # a location's share of the side is its number divided by this
    to_pixel: Callable[[float], int]  # share times side to a whole pixel
    soft: bool = False  # whether the mask stays soft (8 bits, bicubic) instead of being thresholded (bilinear)


PASTE_RULES = {
    "recommended": PasteRule(1023, round),  # gives back the edges that were encoded
    "evaluator": PasteRule(1023, int),  # Big Vision's, for scoring: edges move up to a pixel to the left and up
    # The public demo's: above 512 pixels boxes do not reach the right and lower border.
    "demo": PasteRule(1024, round, soft=True),
}


def get_paste_rule(name: str) -> PasteRule:
    if name not in PASTE_RULES:
        raise ValueError(f"There is no rule {name!r} for boxes; there are {', '.join(PASTE_RULES)}.")
    return PASTE_RULES[name]


def box_edges(locations: tuple[int, int, int, int], size: tuple[int, int], rule: PasteRule) -> tuple[int, ...]:
    """Pixels y1, x1, y2, x2 (ends exclusive) of location tokens in an image of that height and width."""
    return tuple(rule.to_pixel(number / rule.divisor * side) for number, side in zip(locations, [*size, *size]))


def paste_mask(values: np.ndarray, edges: tuple[int, ...], size: tuple[int, int], rule: PasteRule) -> np.ndarray:
    """
    A square map of a mask in its image.

    Args:
        values: float32 `(side, side)`, about 0..1, as a tokenizer with `value_range` (0, 1) decodes it.
        edges: Of [`box_edges`].
        size: Height and width of the image.

    Returns:
        bool `(height, width)`; float64 0..1 for a soft rule, empty where the box has no pixel.
    """
    y1, x1, y2, x2 = edges
    whole = np.zeros(size, np.float64 if rule.soft else bool)
    if y2 <= y1 or x2 <= x1:
        return whole
    if rule.soft:
        picture = Image.fromarray((np.clip(values, 0, 1) * np.float32(255)).astype(np.uint8))
        whole[y1:y2, x1:x2] = np.asarray(picture.resize((x2 - x1, y2 - y1))) / 255.0
    else:
        # Around 0, as the network gives it: a threshold at 0 loses nothing to rounding.
        picture = Image.fromarray(2 * values.astype(np.float32) - 1)
        whole[y1:y2, x1:x2] = np.asarray(picture.resize((x2 - x1, y2 - y1), Image.Resampling.BILINEAR)) > 0
    return whole


class Convention(NamedTuple):
    """How maps or masks become what a tokenizer reads, and its output a picture."""

    side: int  # of the square that the tokenizer reads, pixels
    is_mask: bool = False  # whether it is of masks in boxes; of maps otherwise
    normalise: Callable[[np.ndarray], np.ndarray] | None = None  # float32 to 8 bits; `None` if maps keep their values
    resize: Callable[[np.ndarray, int], np.ndarray] | None = None  # 8-bit picture, or map, to the square
    align_corners: bool = True  # how a map is brought to its picture's size first
    crop: Callable[..., np.ndarray] | None = None  # mask, box and side to the square
    picture: Callable[[np.ndarray], np.ndarray] | None = None  # raw output of the decoder to an 8-bit picture
    value_range: tuple[float, float] | None = (0.0, 1.0)  # what the network sees as -1 and 1; `None`: as they are


_PICTURE = partial(Convention, 320, picture=picture_cut_off)
CONVENTIONS = {
    "paligemma-mask": Convention(64, is_mask=True, crop=crop_antialiased),
    "molmoact-depth": Convention(
        320, normalise=minmax_with_epsilon, resize=resize_pillow_bilinear, picture=picture_rounded, value_range=None
    ),
    "molmoact2-depth": _PICTURE(normalise=minmax_with_epsilon, resize=resize_opencv_nearest),
    # What the same annotation script does with a batch size above 1.
    "molmoact2-depth-batched": _PICTURE(normalise=minmax_with_epsilon, resize=resize_torch_nearest),
    "aurora-depth": _PICTURE(normalise=minmax, resize=resize_pillow_nearest, align_corners=False),
    "ait-depth": Convention(480, resize=resize_torch_nearest, value_range=None),
    "ait-mask": Convention(64, is_mask=True, crop=crop_roi_align),
}


def get_convention(name: str | None) -> Convention:
    """`ValueError` that lists the names, if there is no convention of this one."""
    if name not in CONVENTIONS:
        raise ValueError(
            f"Give the convention by which maps and masks are prepared, one of {', '.join(CONVENTIONS)}; got {name!r}. "
            "There is no default, because the same map gives other codes in each."
        )
    return CONVENTIONS[name]
