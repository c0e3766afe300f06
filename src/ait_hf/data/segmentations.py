# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Masks of COCO annotations: checked, bounded and decoded, by pycocotools so that training and evaluation see the same
pixels."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from .json_values import finite_numbers


NONE_GIVEN = (None, [], {}, "")  # what files say of an object that has only a box
_STEPS = 5  # per pixel, that pycocotools follows outlines in
_LONGEST_OUTLINE = 2**22  # steps; pycocotools keeps each of them in memory
_FARTHEST = 1e12  # pixels; what lies farther is moved there, so that all numbers are exact


def clean_segmentation(segmentation: Any, height: int, width: int, where: str) -> list | dict[str, Any] | None:
    """A segmentation (polygons, RLE or `None`) that can be decoded, with the same pixels, or `None` if there is none.

    Polygons of fewer than three points are left out. Outlines that run far outside of the image (of that size,
    pixels), which pycocotools would follow step by step, become run lengths. `ValueError`, which begins with `where`,
    if it is neither polygons nor an RLE of the image's size.
    """
    if segmentation in NONE_GIVEN:
        return None
    if not isinstance(segmentation, list):
        if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), bytes):  # pycocotools' own
            segmentation = segmentation | {"counts": segmentation["counts"].decode()}
        _check_rle(segmentation, height, width, where)
        return segmentation | {"size": [height, width]}
    polygons = [polygon for polygon in segmentation if _is_polygon(polygon, where)]
    if any(_outline_steps(polygon) > _LONGEST_OUTLINE for polygon in polygons):
        mask = np.any([_polygon_mask(polygon, height, width) for polygon in polygons], axis=0)
        return encoded_mask(mask)
    return polygons or None


def decode_segmentation(segmentation: str, height: int, width: int) -> np.ndarray:
    """The mask of one object, uint8 `(height, width)` as the image, 0 or 1, from the JSON text of a list of polygons
    `[x, y, x, y, ...]` in pixels, or of an RLE `{"size": [height, width], "counts": ...}`, compressed (a string) or
    not (a list). `ValueError` if the object has no segmentation, or as [`clean_segmentation`]."""
    given = read_segmentation(segmentation, "The object")
    if given is None:
        raise ValueError("An object has only a box and no segmentation: leave out masks, or annotate them.")
    clean = clean_segmentation(given, height, width, "The object")
    if clean is None:
        raise ValueError("The object has no polygon of three points or more.")
    return coco_mask.decode(encoded(clean, height, width))


def read_segmentation(text: str, where: str) -> Any:
    """The content of a segmentation's JSON text, `None` for an object that has only a box; `ValueError`, which begins
    with `where`, if it is no JSON."""
    try:
        content = json.loads(text) if text else None
    except ValueError:
        raise ValueError(f"{where} has the segmentation {text[:40]!r}, which is no JSON text.") from None
    return None if content in NONE_GIVEN else content


def encoded(segmentation: list | dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """pycocotools' compressed RLE of what [`clean_segmentation`] gives."""
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, height, width)
    return {"size": [height, width], "counts": segmentation["counts"].encode()}


def encoded_mask(mask: np.ndarray) -> dict[str, Any]:
    """A mask `(height, width)`, 0 or 1, as a compressed RLE, as JSON files hold it."""
    return as_text(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)))


def as_text(rle: dict[str, Any]) -> dict[str, Any]:
    """A compressed RLE as JSON files hold it."""
    return {"size": [int(length) for length in rle["size"]], "counts": rle["counts"].decode()}


def _is_polygon(polygon: Any, where: str) -> bool:
    """Whether a polygon has three points or more; raises where it is no list of points at all."""
    if not isinstance(polygon, list) or len(polygon) % 2:
        raise ValueError(f"{where} has a polygon that is no list x, y, x, y, ...")
    finite_numbers(polygon, len(polygon), f"{where} has a polygon")
    return len(polygon) >= 6


def _check_rle(rle: Any, height: int, width: int, where: str) -> None:
    if not isinstance(rle, dict) or not {"size", "counts"} <= rle.keys():
        raise ValueError(f"{where} has a segmentation that is neither a list of polygons nor an RLE.")
    if rle["size"] != [height, width]:
        raise ValueError(f"{where} has an RLE of size {rle['size']}, but its image is {[height, width]}.")
    counts = rle["counts"]
    lengths = list(_uncompressed(counts, where)) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not all(type(length) is int and length >= 0 for length in lengths):
        raise ValueError(f"{where} has an RLE whose counts are neither whole numbers nor a compressed string.")
    # pycocotools would leave pixels that no run covers as they happen to lie in memory.
    if sum(lengths) != height * width:
        raise ValueError(f"{where} has an RLE of {sum(lengths)} pixels, but its image has {height * width}.")


def _uncompressed(counts: str, where: str) -> Iterator[int]:
    """Run lengths of a compressed RLE: base-32 digits, low ones first; from the fourth on, differences to two before."""
    earlier, value, shift, number = [0, 0], 0, 0, 0
    for character in counts:
        digit = ord(character) - 48
        if not 0 <= digit < 64:
            raise ValueError(
                f"{where} has an RLE whose counts have the character {character!r}: they are not an RLE's."
            )
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            value -= (digit & 16) << (shift - 4)  # the last digit's highest bit is the sign
            value += earlier[0] if number > 2 else 0
            yield value
            earlier = [earlier[1], value]
            value, shift, number = 0, 0, number + 1
    if shift:
        raise ValueError(f"{where} has an RLE whose counts end in the middle of a number.")


def _vertices(polygon: list[float]) -> np.ndarray:
    """float64 `(points + 1, 2)`, x and y in pycocotools' steps, the last point being the first."""
    points = np.clip(np.reshape(np.array(polygon, dtype=np.float64), (-1, 2)), -_FARTHEST, _FARTHEST)
    return np.trunc(_STEPS * np.concatenate([points, points[:1]]) + 0.5)


def _outline_steps(polygon: list[float]) -> float:
    """How many pycocotools would take; 0 for few."""
    if len(polygon) * _STEPS * (max(polygon) - min(polygon)) <= _LONGEST_OUTLINE:  # as nearly always
        return 0.0
    return np.abs(np.diff(_vertices(polygon), axis=0)).max(axis=1).sum()


def _polygon_mask(polygon: list[float], height: int, width: int) -> np.ndarray:
    """The mask bool `(height, width)` of a polygon, the pixels being those of pycocotools (`rleFrPoly`).

    It follows every edge in steps along its longer side, and notes at which height the edge enters each column of
    pixels; between an odd and an even one of these heights lies the object. Here only the steps that enter a column of
    the image are computed, wherever the edge begins.
    """
    vertices = _vertices(polygon)
    entered = _STEPS * np.arange(width) + 2.0  # the step before that in which an edge passes a column's centre
    crossings = []
    for start, end in zip(vertices[:-1], vertices[1:]):
        run, rise = np.abs(end - start)
        if run == 0:
            continue
        axis = 0 if run >= rise else 1
        (x, y), (end_x, end_y) = (start, end) if start[axis] <= end[axis] else (end, start)
        columns = np.flatnonzero((entered >= min(x, end_x)) & (entered + 1 <= max(x, end_x)))
        before = entered[columns]
        if axis == 0:
            steps = np.stack([before, before + 1]) - x
            tops = np.trunc(y + (end_y - y) / run * steps + 0.5).min(axis=0)
        else:
            slope = (end_x - x) / rise
            target = before + 1 if slope > 0 else before
            guess = np.ceil((target - 0.5 + (slope <= 0) - x) / slope) + np.arange(-2.0, 3.0)[:, None]
            reached = np.trunc(x + slope * guess + 0.5)
            reached = reached >= target if slope > 0 else reached <= target
            tops = y + guess[reached.argmax(axis=0), np.arange(len(columns))] - 1
        rows = np.ceil(np.clip((tops + 0.5) / _STEPS - 0.5, 0, height))
        crossings.append(columns * height + rows.astype(np.int64))
    counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *crossings]), minlength=height * width + 1)
    return (counts.cumsum()[: height * width] % 2 == 1).reshape(width, height).T
