# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Training objectives, one per kind of output: annotations become a token sequence, logits become a loss (paper §3.3).

The logits that an objective reads are those of the supervised tokens only, row by row in the order of the batch: most
tokens of an object sequence are noise that nobody supervises, and logits over the vocabulary are the largest tensors
of a training step.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from .loss_ait import IGNORE_INDEX, dice_loss, silog_loss
from .masks_ait import crop_masks
from .objects_ait import BAD, DUPLICATE, OBJECT, Draws, ObjectGroups, draw_object_groups
from .sequences_ait import TaskGrammar
from .tokenization_vq import VQTokenizer


@dataclass
class TrainingSequence:
    """
    Teacher-forced sequences of one batch.

    Args:
        tokens (`torch.LongTensor` of shape `(batch, length)`): What the decoder reads, from the second position on.
        labels (`torch.LongTensor` of shape `(batch, length)`): Vocabulary ids to predict, -100 where none is.
        target (`torch.Tensor`, *optional*): What the soft-decoded output is compared with: maps (batch, height,
            width), or the masks (objects, size, size) of all annotated objects in the order of the sequences.
        is_object (`torch.BoolTensor` of shape `(batch, length)`, *optional*): Tokens of annotated objects.
    """

    tokens: torch.LongTensor
    labels: torch.LongTensor
    target: torch.Tensor | None = None
    is_object: torch.BoolTensor | None = None

    @property
    def supervised(self) -> torch.BoolTensor:
        """Which tokens are predicted, (batch, length)."""
        return self.labels != IGNORE_INDEX


@dataclass
class ObjectiveOutput:
    """
    Loss of one task.

    Args:
        total (`torch.Tensor`): Sum over the supervised tokens, not yet weighted by the task's `loss_weight`.
        num_tokens (`torch.Tensor`): Number of supervised tokens, float32.
        parts (`dict[str, torch.Tensor]`): Detached means for the log.
        decoded (`torch.Tensor`, *optional*): Soft-decoded output, as the sequence's `target`.
    """

    total: torch.Tensor
    num_tokens: torch.Tensor
    parts: dict[str, torch.Tensor] = field(default_factory=dict)
    decoded: torch.Tensor | None = None


class Objective(ABC):
    """
    How one task is learned.

    Args:
        grammar ([`TaskGrammar`]): Sequence of the task.
    """

    def __init__(self, grammar: TaskGrammar):
        self.grammar = grammar
        self.task = grammar.task

    @abstractmethod
    def sequence(self, labels: Any, tokenizer: VQTokenizer | None) -> TrainingSequence:
        """Annotations of a batch to sequences; `ValueError` names what does not fit."""

    @abstractmethod
    def loss(self, logits: torch.Tensor, sequence: TrainingSequence, tokenizer: VQTokenizer | None) -> ObjectiveOutput:
        """Loss of the logits (supervised tokens, vocab_size) at `sequence.supervised`."""

    def _decode(self, logits: torch.Tensor, tokenizer: VQTokenizer) -> torch.Tensor:
        """Logits of whole dense blocks (blocks * codes, vocab_size) to soft-decoded maps (blocks, height, width)."""
        codes = self.grammar.code_range
        probabilities = logits[:, codes.start : codes.stop].float().softmax(-1)
        grid = probabilities.reshape(-1, *self.task.grid_size, probabilities.shape[-1])
        return tokenizer.detokenize(probabilities=grid, temperature=self.task.soft_temperature)[:, 0]


class MapObjective(Objective):
    """One dense map per image, such as depth: cross-entropy of its codes and SILog of the soft-decoded map."""

    def sequence(self, labels: torch.Tensor, tokenizer: VQTokenizer) -> TrainingSequence:
        """`labels`: (batch, height, width) in the tokenizer's unit, 0 where unknown."""
        expected = tuple(side * tokenizer.config.downsample_ratio for side in self.task.grid_size)
        if labels.ndim != 3 or tuple(labels.shape[1:]) != expected:
            raise ValueError(
                f"Labels of task {self.grammar.name!r} must be maps of shape (batch, {expected[0]}, {expected[1]}), "
                f"got {tuple(labels.shape)}."
            )
        tokens = self.grammar.codes_to_tokens(tokenizer.tokenize(labels[:, None]))
        return TrainingSequence(tokens, tokens, target=labels)

    def loss(self, logits: torch.Tensor, sequence: TrainingSequence, tokenizer: VQTokenizer) -> ObjectiveOutput:
        labels = sequence.labels.flatten()
        cross_entropy = F.cross_entropy(logits.float(), labels, reduction="sum")
        decoded = self._decode(logits, tokenizer)
        total, num_tokens = cross_entropy, labels.numel()
        parts = {"cross_entropy": cross_entropy.detach() / num_tokens}
        if self.task.auxiliary_loss == "silog":
            auxiliary = silog_loss(decoded, sequence.target)
            total = total + self.task.auxiliary_loss_weight * num_tokens * auxiliary
            parts["auxiliary"] = auxiliary.detach()
        total = self.task.dense_loss_weight * total
        return ObjectiveOutput(total, total.new_tensor(num_tokens, dtype=torch.float32), parts, decoded)


class ObjectObjective(Objective):
    """
    Objects with a box, a class and perhaps a mask: cross-entropy, and DICE + mse of the soft-decoded masks.

    The random draws of an image (see [`draw_object_groups`]) follow from `seed` in its labels, or come from torch's
    CPU generator where there is none.
    """

    def sequence(self, labels: list[dict[str, torch.Tensor]], tokenizer: VQTokenizer | None) -> TrainingSequence:
        """
        `labels`: one dictionary per image with `boxes` (n, 4), pixels of the frame, `class_labels` (n,), `masks`
        (n, height, width) if the task has masks, and optionally `size` (height, width of the image inside the frame;
        the whole frame by default) and `seed`.
        """
        groups = [self._groups(image) for image in labels]
        return self.sequence_of_groups(groups, [image.get("masks") for image in labels], tokenizer)

    def _groups(self, image: dict[str, torch.Tensor]) -> ObjectGroups:
        self._check(image)
        generator = torch.Generator().manual_seed(int(image["seed"])) if "seed" in image else None
        size = image["size"].tolist() if "size" in image else self.task.image_size
        return draw_object_groups(self.grammar, image["boxes"], image["class_labels"], size, Draws(generator))

    def _check(self, image: dict[str, torch.Tensor]) -> None:
        boxes, labels, masks = image["boxes"], image["class_labels"], image.get("masks")
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not torch.isfinite(boxes).all():
            raise ValueError(f"boxes must be finite numbers of shape (objects, 4), got shape {tuple(boxes.shape)}.")
        if labels.shape != boxes.shape[:1]:
            raise ValueError(
                f"class_labels must have shape ({len(boxes)},) as there are boxes, got {tuple(labels.shape)}."
            )
        if self.grammar.codebook is None:
            return
        if masks is None or masks.ndim != 3 or len(masks) != len(boxes):
            shape = None if masks is None else tuple(masks.shape)
            raise ValueError(
                f"Task {self.grammar.name!r} needs masks of shape ({len(boxes)}, height, width) in the labels of every "
                f"image, got {shape}."
            )

    def sequence_of_groups(
        self, groups: list[ObjectGroups], masks: list[torch.Tensor | None], tokenizer: VQTokenizer | None
    ) -> TrainingSequence:
        """Sequences of drawn groups, one per image, and the masks (n, height, width) of the annotated objects."""
        boxes = self.grammar.boxes_to_tokens(torch.stack([group.boxes for group in groups]))
        kinds = torch.stack([group.kinds for group in groups])
        mask_tokens = target = None
        if self.grammar.codebook is not None:
            mask_tokens, target = self._mask_tokens(groups, masks, tokenizer)
        full = self.grammar.objects_to_tokens(boxes, torch.stack([g.class_tokens for g in groups]), mask_tokens)
        read = self.grammar.objects_to_tokens(boxes, torch.stack([g.input_class_tokens for g in groups]), mask_tokens)
        return TrainingSequence(
            tokens=read,
            labels=full.masked_fill(~self._supervised(kinds), IGNORE_INDEX),
            target=target,
            is_object=(kinds == OBJECT).repeat_interleave(len(self.grammar.group), dim=1),
        )

    def _mask_tokens(
        self, groups: list[ObjectGroups], masks: list[torch.Tensor | None], tokenizer: VQTokenizer
    ) -> tuple[torch.LongTensor, torch.Tensor]:
        """Codes of every group's mask, (batch, groups, codes), all-zero for bad boxes; and the objects' masks."""
        size = tokenizer.config.sample_size
        kinds = torch.stack([group.kinds for group in groups])
        crops = torch.cat(
            [
                crop_masks(image_masks, group.boxes[group.kinds != BAD], group.sources[group.kinds != BAD], size)
                for group, image_masks in zip(groups, masks)
            ]
        )
        nothing = crops.new_zeros(1, size, size)  # what all bad boxes show
        codes = self.grammar.codes_to_tokens(tokenizer.tokenize(torch.cat([nothing, crops])[:, None]))
        tokens = codes[:1].repeat(kinds.numel(), 1).unflatten(0, kinds.shape)
        tokens[kinds != BAD] = codes[1:]
        return tokens, crops[kinds[kinds != BAD] == OBJECT]

    def _supervised(self, kinds: torch.LongTensor) -> torch.BoolTensor:
        """Which tokens are learned, (batch, length), from the kinds of the groups (batch, groups)."""
        supervised = torch.zeros(*kinds.shape, len(self.grammar.group), dtype=torch.bool, device=kinds.device)
        supervised[..., self.grammar.slot_positions("class")] = True
        supervised[..., self.grammar.slot_positions("coordinate")] = (kinds == OBJECT)[..., None]
        if self.grammar.codebook is not None:
            learned = {"none": (), "objects": (OBJECT,), "duplicates": (OBJECT, DUPLICATE)}[self.task.mask_supervision]
            has_mask = torch.isin(kinds, kinds.new_tensor(learned))
            supervised[..., self.grammar.slot_positions(self.grammar.codebook)] = has_mask[..., None]
        return supervised.flatten(1)

    def loss(self, logits: torch.Tensor, sequence: TrainingSequence, tokenizer: VQTokenizer | None) -> ObjectiveOutput:
        supervised = sequence.supervised
        cross_entropy = F.cross_entropy(logits.float(), sequence.labels[supervised], reduction="none")
        slots = torch.arange(supervised.shape[1], device=supervised.device) % len(self.grammar.group)
        slots = slots.expand_as(supervised)[supervised]

        def at(kind: str) -> torch.BoolTensor:
            return torch.isin(slots, slots.new_tensor(self.grammar.slot_positions(kind)))

        kinds = {"box": at("coordinate"), "class": at("class")}
        weights = {"box": 1.0, "class": self.task.class_loss_weight, "mask": self.task.dense_loss_weight}
        if self.grammar.codebook is not None:
            kinds["mask"] = at(self.grammar.codebook)
        sums = {name: cross_entropy[chosen].sum() for name, chosen in kinds.items()}
        total, decoded = sum(weights[name] * value for name, value in sums.items()), None
        parts = {name: value.detach() / kinds[name].sum().clamp(min=1) for name, value in sums.items()}
        if self.task.auxiliary_loss == "dice_mse":
            auxiliary = total.new_zeros(())  # stays where no mask is learned; the log has it all the same
            if self.task.mask_supervision != "none" and len(sequence.target):
                decoded = self._decode(logits[kinds["mask"] & sequence.is_object[supervised]], tokenizer)
                auxiliary = dice_loss(decoded, sequence.target) + F.mse_loss(decoded, sequence.target)
                weight = self.task.auxiliary_loss_weight * self.task.dense_loss_weight
                total = total + weight * kinds["mask"].sum() * auxiliary
            parts["auxiliary"] = auxiliary.detach()
        return ObjectiveOutput(total, supervised.sum().float(), parts, decoded)


def build_objective(grammar: TaskGrammar) -> Objective | None:
    """The objective of a task by its output type, `None` for a task whose output means nothing in particular."""
    if grammar.task.output_type == "depth":
        return MapObjective(grammar)
    if grammar.task.output_type == "objects":
        return ObjectObjective(grammar)
    return None


__all__ = ["MapObjective", "ObjectObjective", "Objective", "ObjectiveOutput", "TrainingSequence", "build_objective"]
