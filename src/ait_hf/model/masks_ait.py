# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Object masks: between whole images and the small square maps that the mask tokenizer reads, as run lengths, and as
segments of the objects that are kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional as F
from torchvision.ops import roi_align
from transformers.modeling_outputs import ModelOutput


PIXELS_AT_ONCE = 2**26  # of masks that come from a GPU in one copy


def crop_masks(masks: torch.Tensor, boxes: torch.Tensor, sources: torch.LongTensor, size: int) -> torch.Tensor:
    """
    Masks cut to boxes and resized: RoIAlign (aligned, adaptive sampling), thresholded at 0.5 (reference §4):
    `(m, size, size)`, float32, 0 or 1.

    Args:
        masks (`torch.Tensor` of shape `(n, height, width)`): 0 or 1, any dtype.
        boxes (`torch.Tensor` of shape `(m, 4)`): x1, y1, x2, y2 in pixels of the masks.
        sources (`torch.LongTensor` of shape `(m,)`): Which mask each box cuts, `0..n-1`.
        size (`int`): Side of the result, pixels.
    """
    if len(boxes) == 0:
        return boxes.new_zeros(0, size, size, dtype=torch.float32)
    regions = torch.cat([sources[:, None].float(), boxes.float()], dim=1)
    cropped = roi_align(masks[:, None].float(), regions, (size, size), sampling_ratio=0, aligned=True)
    return (cropped[:, 0] >= 0.5).float()


@dataclass
class PastedMask:
    """A mask of an image that is known to be empty outside of a window."""

    size: tuple[int, int]  # height and width of the image
    rows: slice  # of the window
    columns: slice
    window: torch.BoolTensor  # the mask in it

    def whole(self) -> torch.BoolTensor:
        """The mask `(height, width)`."""
        mask = torch.zeros(self.size, dtype=torch.bool, device=self.window.device)
        mask[self.rows, self.columns] = self.window
        return mask

    def rle(self) -> dict[str, list[int]]:
        """Run lengths as of [`masks_to_rle`], computed from the columns of the window only."""
        height, width = self.size
        strip = torch.zeros(height, self.window.shape[1], dtype=torch.bool, device=self.window.device)
        strip[self.rows] = self.window
        counts = _run_lengths(strip.t().flatten())
        counts[0] += self.columns.start * height
        if after := (width - self.columns.stop) * height:
            if len(counts) % 2 == 0:  # ends with ones
                counts.append(0)
            counts[-1] += after
        return {"size": [height, width], "counts": counts}


def paste_masks(
    maps: torch.Tensor, boxes: torch.Tensor, height: int, width: int, threshold: float = 0.5
) -> torch.BoolTensor:
    """
    Square maps stretched over their boxes on a whole image: bilinear sampling at pixel centres, zeros outside
    (reference §6).

    An inverted box mirrors its map. A side of a box without length shows the middle of the map all along the image, as
    the published sampling does. The masks are `(n, height, width)`. `ValueError` if
    `threshold` is not above 0 (every object would be all of the image), or there are not as many boxes.

    Args:
        maps (`torch.Tensor` of shape `(n, s, s)`): Values about 0..1.
        boxes (`torch.Tensor` of shape `(n, 4)`): x1, y1, x2, y2 in pixels of the image; may reach outside of it.
        height, width (`int`): Of the image.
        threshold (`float`): Least value that belongs to the object, above 0.
    """
    pasted = torch.zeros(len(maps), height, width, dtype=torch.bool)
    for mask, part in zip(pasted, paste_masks_one_by_one(maps, boxes, height, width, threshold), strict=True):
        mask[part.rows, part.columns] = part.window
    return pasted.to(maps.device, non_blocking=True)


def paste_masks_one_by_one(
    maps: torch.Tensor, boxes: torch.Tensor, height: int, width: int, threshold: float = 0.5
) -> Iterator[PastedMask]:
    """
    As [`paste_masks`], but one mask after the other, and each only where its map reaches (the box and half a cell of
    the map around it), as many masks of a large image would need gigabytes. They are on the CPU, where what asks for
    every single mask makes nobody wait; from a GPU they come many at a time.
    """
    if not threshold > 0:
        raise ValueError(f"The threshold of masks must be above 0, but is {threshold}.")
    if len(maps) != len(boxes):
        raise ValueError(f"Every map needs a box: got {len(maps)} maps and {len(boxes)} boxes.")
    boxes = boxes.float().cpu()
    columns = _places_in_box(boxes[:, 0], boxes[:, 2], width)
    rows = _places_in_box(boxes[:, 1], boxes[:, 3], height)
    parts = [(_reached(v, maps.shape[1]), _reached(u, maps.shape[2])) for v, u in zip(rows, columns)]
    places = zip(columns.to(maps.device, non_blocking=True), rows.to(maps.device, non_blocking=True))
    windows = (
        _sample(values, u[in_columns], v[in_rows]) >= threshold
        for values, (u, v), (in_rows, in_columns) in zip(maps.float(), places, parts)
    )
    for (in_rows, in_columns), window in zip(parts, _to_host(windows)):
        yield PastedMask((height, width), in_rows, in_columns, window)


def _sample(values: torch.Tensor, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """A map at columns `u` and rows `v`, from -1 to 1, bilinearly, `(len(v), len(u))`."""
    grid = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)
    if not grid.numel():  # which `grid_sample` on some devices does not take
        return values.new_zeros(grid.shape[:2])
    return F.grid_sample(values[None, None], grid[None], align_corners=False)[0, 0]


def _to_host(windows: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The same on the CPU, from elsewhere as many at a time as have [`PIXELS_AT_ONCE`]."""
    waiting: list[torch.Tensor] = []
    for window in windows:
        waiting.append(window)
        if window.device.type == "cpu":
            yield waiting.pop()
        elif sum(map(torch.Tensor.numel, waiting)) >= PIXELS_AT_ONCE:
            yield from _fetch(waiting)
            waiting = []
    if waiting:
        yield from _fetch(waiting)


def _fetch(windows: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    pixels = torch.cat([window.flatten() for window in windows]).cpu().split([window.numel() for window in windows])
    return (flat.view(window.shape) for flat, window in zip(pixels, windows))


def _places_in_box(start: torch.Tensor, end: torch.Tensor, length: int) -> torch.Tensor:
    """Where the pixel centres of an image's side lie in boxes: `(n, length)`, -1 at their start and 1 at their end."""
    centers = torch.arange(length, device=start.device) + 0.5
    places = (centers - start[:, None]) / (end - start)[:, None] * 2 - 1
    return places.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _reached(places: torch.Tensor, num_cells: int) -> slice:
    """The places, which are in order, where bilinear sampling of so many cells meets one that is not padding."""
    reached = (places.abs() <= 1 + 1 / num_cells).nonzero()[:, 0].tolist()
    return slice(reached[0], reached[-1] + 1) if reached else slice(0, 0)


def masks_to_rle(masks: torch.Tensor) -> list[dict[str, list[int]]]:
    """
    Masks `(n, height, width)`, boolean or 0 and 1, as COCO's uncompressed run lengths, column after column, beginning
    with the zeros: `{"size": [height, width], "counts": [int, ...]}` for each. `pycocotools.mask.frPyObjects(rle,
    height, width)` compresses one for the results format.
    """
    return [{"size": list(mask.shape), "counts": _run_lengths(mask.bool().t().flatten())} for mask in masks]


def _run_lengths(pixels: torch.BoolTensor) -> list[int]:
    changes = (pixels[1:] != pixels[:-1]).nonzero()[:, 0] + 1
    bounds = F.pad(changes, (1, 0))
    lengths = torch.diff(bounds, append=bounds.new_tensor([len(pixels)])).tolist()
    return [0, *lengths] if pixels[:1].any() else lengths


def rle_to_mask(rle: dict[str, list[int]]) -> torch.BoolTensor:
    """
    The mask `(height, width)` that [`masks_to_rle`] wrote. `ValueError` if the run lengths are compressed, or do
    not fill the mask.
    """
    (height, width), counts = rle["size"], rle["counts"]
    if not isinstance(counts, list):
        raise ValueError("The run lengths are compressed; pycocotools.mask.decode reads those.")
    if sum(counts) != height * width or min(counts) < 0:
        raise ValueError(f"The run lengths hold {sum(counts)} pixels, but the mask has {height}x{width}.")
    values = torch.arange(len(counts)) % 2 == 1
    return values.repeat_interleave(torch.tensor(counts)).view(width, height).t()


Paste = Callable[[torch.LongTensor], Iterator[PastedMask]]  # from objects' numbers to their masks, one by one


@dataclass
class ObjectPairs:
    """n pairs of an object and a class, of one image."""

    scores: torch.FloatTensor  # (n,), 0..1
    labels: torch.LongTensor  # (n,), classes, in the model's numbers
    objects: torch.LongTensor  # (n,), places of the objects in the model's output

    def best_first(self) -> "ObjectPairs":
        return self.select(self.scores.argsort(descending=True, stable=True))

    def at_least(self, threshold: float) -> "ObjectPairs":
        return self.select((self.scores >= threshold).nonzero()[:, 0])  # by number: one look at the device, not three

    def segments(self) -> list[dict]:
        """What the library says of every segment, but its `id`."""
        pairs = zip(self.labels.tolist(), self.scores.tolist())
        return [{"label_id": label, "was_fused": False, "score": score} for label, score in pairs]

    def select(self, which: torch.Tensor) -> "ObjectPairs":
        return ObjectPairs(self.scores[which], self.labels[which], self.objects[which])


def choose_pairs(outputs: ModelOutput, index: int, threshold: float, top_k: int | None) -> ObjectPairs:
    """
    What of the image of that index in a model's output has at least a score of `threshold`: every object with its
    chosen class, from `class_scores` and `class_labels` `(batch, objects)`, in the model's order; or, with `top_k`, so
    many of all pairs, those of the highest probabilities among the classes and noise, from `class_logits` or `logits`
    `(batch, objects, num_classes + 1)`, noise last, best first. Where the output has `box_scores` `(batch, objects)`,
    scores are multiplied by them. `ValueError` if `top_k` is below 1.
    """
    box_scores = getattr(outputs, "box_scores", None)
    certainty = 1.0 if box_scores is None else box_scores[index]
    if top_k is None:
        scores, labels = outputs.class_scores[index] * certainty, outputs.class_labels[index]
        return ObjectPairs(scores, labels, torch.arange(len(scores), device=scores.device)).at_least(threshold)
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}.")
    logits = getattr(outputs, "class_logits", None)  # a head has them where the library's detectors do
    logits = outputs.logits if logits is None else logits
    probabilities = (logits[index].float().softmax(-1)[:, :-1].T * certainty).T  # without noise
    scores, places = probabilities.flatten().topk(min(top_k, probabilities.numel()))
    pairs = ObjectPairs(scores, places % probabilities.shape[1], places // probabilities.shape[1])
    return pairs.select((scores > 0).nonzero()[:, 0]).at_least(threshold)  # other tasks' classes are impossible


def on_host(outputs: ModelOutput, top_k: int | None) -> SimpleNamespace:
    """What [`choose_pairs`] reads, on the CPU."""
    names = ("class_scores", "class_labels") if top_k is None else ("class_logits", "logits")
    names += ("box_scores",)
    values = {name: getattr(outputs, name, None) for name in names}
    return SimpleNamespace(**{name: value.cpu() for name, value in values.items() if value is not None})


def paste_objects(
    maps: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int], threshold: float, objects: torch.LongTensor
) -> Iterator[PastedMask]:
    """[`paste_masks_one_by_one`] of some of the objects."""
    return paste_masks_one_by_one(maps[objects.to(maps.device, non_blocking=True)], boxes[objects], *size, threshold)


def masks_of_pairs(objects: torch.LongTensor, paste: Paste, convert: Callable[[PastedMask], Any]) -> list:
    """The converted mask of every pair's object. Each object is pasted and converted once."""
    distinct, places = objects.unique(return_inverse=True)
    masks = [convert(mask) for mask in paste(distinct)]
    return [masks[place] for place in places.tolist()]


def overlapping_segments(
    pairs: ObjectPairs, paste: Paste, convert: Callable[[PastedMask], Any]
) -> tuple[list, list[dict]]:
    """Converted masks and segments of the objects that have a pixel."""
    masks = masks_of_pairs(pairs.objects, paste, lambda mask: convert(mask) if mask.window.any() else None)
    found = [(mask, segment) for mask, segment in zip(masks, pairs.segments()) if mask is not None]
    return [mask for mask, _ in found], [{"id": number} | segment for number, (_, segment) in enumerate(found)]


def draw_segments(segmentation: torch.Tensor, pairs: ObjectPairs, paste: Paste, least_share: float) -> list[dict]:
    """Writes the ids of objects, the best first, into the free pixels (-1) of a map; returns the segments it shows."""
    first = {}  # pair of every object: its others would find no free pixel
    for number, segment in zip(pairs.objects.tolist(), pairs.segments()):
        first.setdefault(number, segment)
    segments = []
    for mask, segment in zip(paste(pairs.objects.new_tensor(list(first))), first.values()):
        place = segmentation[mask.rows, mask.columns]
        visible = mask.window & (place < 0)
        if visible.sum() > least_share * mask.window.sum():  # never of an empty mask
            place[visible] = len(segments)
            segments.append({"id": len(segments)} | segment)
    return segments
