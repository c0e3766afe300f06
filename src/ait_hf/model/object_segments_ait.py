# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Which of an image's objects are kept, in which classes, and what their masks become."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from transformers.modeling_outputs import ModelOutput

from .masks_ait import PastedMask, paste_masks_one_by_one


Paste = Callable[[torch.LongTensor], Iterator[PastedMask]]  # from objects' numbers to their masks, one by one


@dataclass
class ObjectPairs:
    """
    n pairs of an object and a class, of one image.

    Args:
        scores (`torch.FloatTensor` of shape `(n,)`): 0..1.
        labels (`torch.LongTensor` of shape `(n,)`): Classes, in the model's numbers.
        objects (`torch.LongTensor` of shape `(n,)`): Places of the objects in the model's output.
    """

    scores: torch.FloatTensor
    labels: torch.LongTensor
    objects: torch.LongTensor

    def best_first(self) -> "ObjectPairs":
        return self._select(self.scores.argsort(descending=True, stable=True))

    def at_least(self, threshold: float) -> "ObjectPairs":
        return self._select((self.scores >= threshold).nonzero()[:, 0])  # by number: one look at the device, not three

    def segments(self) -> list[dict]:
        """What the library says of every segment, but its `id`."""
        pairs = zip(self.labels.tolist(), self.scores.tolist())
        return [{"label_id": label, "was_fused": False, "score": score} for label, score in pairs]

    def _select(self, which: torch.Tensor) -> "ObjectPairs":
        return ObjectPairs(self.scores[which], self.labels[which], self.objects[which])


def choose_pairs(outputs: ModelOutput, index: int, threshold: float, top_k: int | None) -> ObjectPairs:
    """
    What is kept of one image of a model's output. `ValueError` if `top_k` is below 1.

    Args:
        outputs: With `class_scores` and `class_labels` `(batch, objects)`, or, for `top_k`, `class_logits` or `logits`
            `(batch, objects, num_classes + 1)`, noise last.
        index: Number of the image.
        threshold: Least score.
        top_k: `None` for every object with its chosen class, in the model's order; else how many of all pairs, those
            of the highest probabilities among the classes and noise, best first.
    """
    if top_k is not None:
        return _best_pairs(outputs, index, top_k).at_least(threshold)
    scores, labels = outputs.class_scores[index], outputs.class_labels[index]
    return ObjectPairs(scores, labels, torch.arange(len(scores), device=scores.device)).at_least(threshold)


def on_host(outputs: ModelOutput, top_k: int | None) -> SimpleNamespace:
    """What [`choose_pairs`] reads, on the CPU."""
    names = ("class_scores", "class_labels") if top_k is None else ("class_logits", "logits")
    values = {name: getattr(outputs, name, None) for name in names}
    return SimpleNamespace(**{name: value.cpu() for name, value in values.items() if value is not None})


def _best_pairs(outputs: ModelOutput, index: int, top_k: int) -> ObjectPairs:
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}.")
    logits = getattr(outputs, "class_logits", None)  # a head has them where the library's detectors do
    logits = outputs.logits if logits is None else logits
    probabilities = logits[index].float().softmax(-1)[:, :-1]  # without noise
    scores, places = probabilities.flatten().topk(min(top_k, probabilities.numel()))
    pairs = ObjectPairs(scores, places % probabilities.shape[1], places // probabilities.shape[1])
    return pairs._select((scores > 0).nonzero()[:, 0])  # other tasks' classes are impossible


def paste_objects(
    maps: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int], threshold: float, objects: torch.LongTensor
) -> Iterator[PastedMask]:
    """[`~ait_hf.model.masks_ait.paste_masks_one_by_one`] of some of the objects."""
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
    masks, segments = [], []
    candidates = masks_of_pairs(pairs.objects, paste, lambda mask: convert(mask) if mask.window.any() else None)
    for mask, segment in zip(candidates, pairs.segments()):
        if mask is not None:
            masks.append(mask)
            segments.append({"id": len(segments)} | segment)
    return masks, segments


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
