# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
What training objectives have in common, one of which there is per kind of output: annotations become a token sequence,
logits become a loss (paper §3.3).

The logits that an objective reads are those of the supervised tokens only, row by row in the order of the batch: most
tokens of an object sequence are noise that nobody supervises, and logits over the vocabulary are the largest tensors
of a training step.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from .loss_ait import IGNORE_INDEX, dice_loss
from .sequences_ait import TaskGrammar
from .tokenization_pose import PoseTokenizer
from .tokenization_vq import VQTokenizer


Tokenizer = VQTokenizer | PoseTokenizer


@dataclass
class TrainingSequence:
    """
    Teacher-forced sequences of one batch.

    Args:
        tokens (`torch.LongTensor` of shape `(batch, length)`): What the decoder reads, from the second position on.
        labels (`torch.LongTensor` of shape `(batch, length)`): Vocabulary ids to predict, -100 where none is.
        target (`torch.Tensor`, *optional*): What the soft-decoded output is compared with: maps or poses as annotated,
            or the masks (groups, size, size) of all annotated objects or classes in the order of the sequences.
        is_object (`torch.BoolTensor` of shape `(batch, length)`, *optional*): Tokens of annotated objects or classes.
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
    def sequence(self, labels: Any, tokenizer: Tokenizer | None) -> TrainingSequence:
        """Annotations of a batch to sequences; `ValueError` names what does not fit."""

    @abstractmethod
    def num_tokens(self, labels: Any) -> int:
        """How many tokens of the sequences of these annotations are supervised, without building them."""

    @abstractmethod
    def loss(self, logits: torch.Tensor, sequence: TrainingSequence, tokenizer: Tokenizer | None) -> ObjectiveOutput:
        """Loss of the logits (supervised tokens, vocab_size) at `sequence.supervised`."""

    def _decode(self, logits: torch.Tensor, tokenizer: Tokenizer) -> torch.Tensor:
        """Logits of whole dense blocks (blocks * codes, vocab_size) to what the tokenizer decodes (blocks, ...)."""
        codes = self.grammar.code_range
        probabilities = logits[:, codes.start : codes.stop].float().softmax(-1)
        grid = probabilities.reshape(-1, *self.task.grid_size, probabilities.shape[-1])
        return tokenizer.detokenize(probabilities=grid, temperature=self.task.soft_temperature)


class GroupObjective(Objective):
    """What tasks of groups (objects, classes) share: cross-entropy weighted by kind of slot, DICE + mse of masks."""

    def loss(self, logits: torch.Tensor, sequence: TrainingSequence, tokenizer: Tokenizer | None) -> ObjectiveOutput:
        supervised = sequence.supervised
        cross_entropy = F.cross_entropy(logits.float(), sequence.labels[supervised], reduction="none")
        slots = torch.arange(supervised.shape[1], device=supervised.device) % len(self.grammar.group)
        slots = slots.expand_as(supervised)[supervised]
        weights = {"box": 1.0, "class": self.task.class_loss_weight, "mask": self.task.dense_loss_weight}
        names = {"box": "coordinate", "class": "class", "mask": self.grammar.codebook}
        positions = {name: self.grammar.slot_positions(slot) for name, slot in names.items()}
        kinds = {name: torch.isin(slots, slots.new_tensor(where)) for name, where in positions.items() if where}
        sums = {name: cross_entropy[chosen].sum() for name, chosen in kinds.items()}
        total, decoded = sum(weights[name] * value for name, value in sums.items()), None
        parts = {name: value.detach() / kinds[name].sum().clamp(min=1) for name, value in sums.items()}
        if self.task.auxiliary_loss == "dice_mse":
            auxiliary = total.new_zeros(())  # stays where no mask is learned; the log has it all the same
            if self.task.mask_supervision != "none" and len(sequence.target):
                decoded = self._decode(logits[kinds["mask"] & sequence.is_object[supervised]], tokenizer)[:, 0]
                auxiliary = dice_loss(decoded, sequence.target) + F.mse_loss(decoded, sequence.target)
                weight = self.task.auxiliary_loss_weight * self.task.dense_loss_weight
                total = total + weight * kinds["mask"].sum() * auxiliary
            parts["auxiliary"] = auxiliary.detach()
        return ObjectiveOutput(total, supervised.sum().float(), parts, decoded)


__all__ = ["GroupObjective", "Objective", "ObjectiveOutput", "Tokenizer", "TrainingSequence"]
