# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
What objectives have in common, one of which there is per type of output: annotations become a token sequence, logits
become a loss (paper §3.3), soft tokens become what a task predicts.

The logits that an objective reads are those of the supervised tokens only, row by row in the order of the batch: most
tokens of an object sequence are noise that nobody supervises, and logits over the vocabulary are the largest tensors
of a training step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .generation_ait import AiTGenerateOutput, AiTGenerationMixin
from .sequences_ait import TaskGrammar
from .tokenization_pose import PoseTokenizer
from .tokenization_vq import VQTokenizer


Tokenizer = VQTokenizer | PoseTokenizer


@dataclass
class SequenceDraft:
    """
    What can be said of the sequences of a batch without a tokenizer and without the model, wherever the annotations lie:
    on the host, best by the workers that read them, it costs the device nothing. Each objective adds its own fields,
    tensors and lists of them.
    """

    num_tokens: torch.Tensor  # of the supervised tokens, float32

    def to(self, device: torch.device, non_blocking: bool = False) -> "SequenceDraft":
        """The same on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "SequenceDraft":
        """The same in memory from which a copy to a GPU makes nobody wait; `DataLoader` calls it."""
        return self._map(torch.Tensor.pin_memory)

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "SequenceDraft":
        values = {n: [*map(function, v)] if isinstance(v, list) else function(v) for n, v in vars(self).items()}
        return type(self)(**values)


@dataclass
class TrainingSequence:
    """Teacher-forced sequences of one batch."""

    tokens: torch.LongTensor  # (batch, length), what the decoder reads, from the second position on
    labels: torch.LongTensor  # (batch, length), vocabulary ids to predict, -100 where none is
    # What the soft-decoded output is compared with: maps or poses as annotated, or the masks (groups, size, size) of
    # all annotated objects or classes in the order of the sequences.
    target: torch.Tensor | None = None
    places: torch.LongTensor | None = None  # of the supervised tokens, counted over the batch; `None` if all are
    mask_rows: torch.LongTensor | None = None  # which of the supervised tokens show the `target`

    def select(self, values: torch.Tensor) -> torch.Tensor:
        """Of `values` (batch, length, ...) those at the supervised tokens; the host need not know how many there are."""
        values = values.flatten(0, 1)
        return values if self.places is None else values[self.places]


@dataclass
class ObjectiveOutput:
    """Loss of one task."""

    total: torch.Tensor  # sum over the supervised tokens, not yet weighted by the task's `loss_weight`
    num_tokens: torch.Tensor  # of the supervised tokens, float32
    parts: dict[str, torch.Tensor]  # detached means for the log
    decoded: torch.Tensor | None = None  # soft-decoded output, as the sequence's `target`


class Objective:
    """
    How one task, of that grammar, is learned and predicted. The subclass of each `output_type` goes by its rules in
    `configuration_ait.OUTPUT_RULES`; this one is of tasks that declare none, whose codes can be decoded and no more.
    """

    output_type: str | None = None

    def __init__(self, grammar: TaskGrammar):
        self.grammar = grammar
        self.task = grammar.task

    def draft(self, labels: Any, seeds: torch.LongTensor | None = None) -> SequenceDraft:
        """
        What of the sequences of a batch needs no tokenizer; `ValueError` names what does not fit in the annotations.
        `seeds` (batch,) are of what is drawn for every image, where its labels hold none; without, torch's CPU generator
        draws.
        """
        raise ValueError(
            f"Task {self.grammar.name!r} declares no output_type, so there is nothing to learn from its labels."
        )

    def complete(self, draft: SequenceDraft, tokenizer: Tokenizer | None) -> TrainingSequence:
        """The sequences, on the device of the draft; nothing here waits for it."""
        raise NotImplementedError

    def drafted(self, labels: Any) -> SequenceDraft:
        """Annotations, or what was made of them before, to what is made of them."""
        return labels if isinstance(labels, SequenceDraft) else self.draft(labels)

    def loss(self, logits: torch.Tensor, sequence: TrainingSequence, tokenizer: Tokenizer | None) -> ObjectiveOutput:
        """Loss of the logits (supervised tokens, vocab_size)."""
        raise NotImplementedError

    def predict(self, outputs: AiTGenerateOutput, model: AiTGenerationMixin) -> None:
        """Fills the fields of a complete output that this type of output has."""

    def decode(self, probabilities: torch.Tensor, tokenizer: Tokenizer, temperature: float) -> torch.Tensor:
        """
        Soft tokens of sequences (batch, dense slots, codes) to maps (batch, [groups,] [channels,] height, width), or to
        poses (batch, joints, 2); `temperature` is `tau` in `softmax(tau * logits)`.
        """
        maps = self._decode_blocks(probabilities, tokenizer, temperature).unflatten(0, (probabilities.shape[0], -1))
        maps = maps.squeeze(2) if maps.shape[2] == 1 else maps
        return maps.squeeze(1) if self.grammar.is_one_map else maps

    def _decode_blocks(self, probabilities: torch.Tensor, tokenizer: Tokenizer, temperature: float) -> torch.Tensor:
        """Soft tokens of whole dense blocks (..., codes) to what the tokenizer decodes (blocks, ...)."""
        grid = probabilities.reshape(-1, *self.task.grid_size, probabilities.shape[-1])
        return tokenizer.detokenize(probabilities=grid, temperature=temperature)

    def _decode_logits(self, logits: torch.Tensor, tokenizer: Tokenizer) -> torch.Tensor:
        """The same of logits (blocks * codes, vocab_size), at the task's temperature."""
        codes = self.grammar.code_range
        probabilities = logits[:, codes.start : codes.stop].float().softmax(-1)
        return self._decode_blocks(probabilities, tokenizer, self.task.soft_temperature)
