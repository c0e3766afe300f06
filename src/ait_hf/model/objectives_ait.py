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
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from .generation_ait import AiTGenerateOutput, AiTGenerationMixin
from .loss_ait import IGNORE_INDEX, dice_loss
from .sequences_ait import TaskGrammar
from .tokenization_pose import PoseTokenizer
from .tokenization_vq import VQTokenizer


Tokenizer = VQTokenizer | PoseTokenizer


@dataclass
class SequenceDraft:
    """
    What can be said of the sequences of a batch without a tokenizer and without the model, wherever the annotations lie:
    on the host, best by the workers that read them, it costs the device nothing. Each objective adds its own fields.

    Args:
        num_tokens (`torch.Tensor`): Number of supervised tokens, float32.
    """

    num_tokens: torch.Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> "SequenceDraft":
        """The same on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "SequenceDraft":
        """The same in memory from which a copy to a GPU makes nobody wait; `DataLoader` calls it."""
        return self._map(torch.Tensor.pin_memory)

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "SequenceDraft":
        def apply(value):
            if isinstance(value, list):
                return [apply(item) for item in value]
            return function(value) if isinstance(value, torch.Tensor) else value

        return type(self)(**{name: apply(value) for name, value in vars(self).items()})


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
        places (`torch.LongTensor` of shape `(supervised tokens,)`, *optional*): Of the supervised tokens, counted over
            the batch; `None` if all are.
        mask_rows (`torch.LongTensor`, *optional*): Which of the supervised tokens show the `target`.
    """

    tokens: torch.LongTensor
    labels: torch.LongTensor
    target: torch.Tensor | None = None
    is_object: torch.BoolTensor | None = None
    places: torch.LongTensor | None = None
    mask_rows: torch.LongTensor | None = None

    @property
    def supervised(self) -> torch.BoolTensor:
        """Which tokens are predicted, (batch, length)."""
        return self.labels != IGNORE_INDEX

    def select(self, values: torch.Tensor) -> torch.Tensor:
        """Of `values` (batch, length, ...) those at the supervised tokens; the host need not know how many there are."""
        values = values.flatten(0, 1)
        return values if self.places is None else values[self.places]


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


class Objective:
    """
    How one task is learned and predicted. The subclass of each `output_type` goes by its rules in
    `configuration_ait.OUTPUT_RULES`; this one is of tasks that declare none, whose codes can be decoded and no more.

    Args:
        grammar ([`TaskGrammar`]): Sequence of the task.
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

    def sequence(self, labels: Any, tokenizer: Tokenizer | None) -> TrainingSequence:
        """Annotations of a batch to sequences."""
        return self.complete(self.draft(labels), tokenizer)

    def loss(self, logits: torch.Tensor, sequence: TrainingSequence, tokenizer: Tokenizer | None) -> ObjectiveOutput:
        """Loss of the logits (supervised tokens, vocab_size) at `sequence.supervised`."""
        raise NotImplementedError

    def predict(self, outputs: AiTGenerateOutput, model: AiTGenerationMixin) -> None:
        """Fills the fields of a complete output that this type of output has."""

    def decode(self, probabilities: torch.Tensor, tokenizer: Tokenizer, temperature: float) -> torch.Tensor:
        """
        Soft tokens of sequences (batch, dense slots, codes) to maps (batch, [groups,] [channels,] height, width), or to
        poses (batch, joints, 2); `temperature` is `tau` in `softmax(tau * logits)`.
        """
        maps = self._decode_blocks(probabilities, tokenizer, temperature).unflatten(0, (len(probabilities), -1))
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


@dataclass
class GroupDraft(SequenceDraft):
    """
    Sequences of groups without their masks, on the host.

    Args:
        class_tokens (`torch.LongTensor` of shape `(batch, groups)`): Vocabulary ids to predict.
        input_class_tokens (`torch.LongTensor` of shape `(batch, groups)`): What the decoder reads in their place.
        supervised, is_object (`torch.BoolTensor` of shape `(batch, length)`), places, mask_rows: As of
            [`TrainingSequence`].
    """

    class_tokens: torch.LongTensor
    input_class_tokens: torch.LongTensor
    supervised: torch.BoolTensor
    is_object: torch.BoolTensor
    places: torch.LongTensor
    mask_rows: torch.LongTensor


class GroupObjective(Objective):
    """What tasks of groups (objects, classes) share: cross-entropy weighted by kind of slot, DICE + mse of masks."""

    def _places(self, supervised: torch.BoolTensor, is_object: torch.BoolTensor) -> dict[str, torch.Tensor]:
        """What of a [`GroupDraft`] follows from which tokens (batch, length) are learned and which are of objects."""
        places = supervised.flatten().nonzero()[:, 0]
        shows_mask = is_object.flatten()[places]
        if self.grammar.codebook is not None:
            shows_mask = shows_mask & self.grammar.dense_mask(places)
        return {
            "num_tokens": torch.tensor(float(len(places))),
            "supervised": supervised,
            "is_object": is_object,
            "places": places,
            "mask_rows": shows_mask.nonzero()[:, 0],
        }

    def _sequence(
        self,
        draft: GroupDraft,
        box_tokens: torch.LongTensor | None,
        mask_tokens: torch.LongTensor | None,
        masks: torch.Tensor | None,
    ) -> TrainingSequence:
        """From the tokens of boxes and masks, as of [`TaskGrammar.objects_to_tokens`], and the masks of objects."""
        tokens, targets = (
            self.grammar.objects_to_tokens(box_tokens, class_tokens, mask_tokens)
            for class_tokens in (draft.input_class_tokens, draft.class_tokens)
        )
        labels = targets.masked_fill(~draft.supervised, IGNORE_INDEX)
        return TrainingSequence(tokens, labels, masks, draft.is_object, draft.places, draft.mask_rows)

    def loss(self, logits: torch.Tensor, sequence: TrainingSequence, tokenizer: Tokenizer | None) -> ObjectiveOutput:
        cross_entropy = F.cross_entropy(logits.float(), sequence.select(sequence.labels), reduction="none")
        slots = sequence.places % len(self.grammar.group)
        weights = {"box": 1.0, "class": self.task.class_loss_weight, "mask": self.task.dense_loss_weight}
        names = {"box": "coordinate", "class": "class", "mask": self.grammar.codebook}
        kinds = {name: self.grammar.is_slot(slots, slot) for name, slot in names.items() if slot in self.grammar.group}
        sums = {name: torch.where(chosen, cross_entropy, 0).sum() for name, chosen in kinds.items()}
        total, decoded = sum(weights[name] * value for name, value in sums.items()), None
        parts = {name: value.detach() / kinds[name].sum().clamp(min=1) for name, value in sums.items()}
        if self.task.auxiliary_loss == "dice_mse":
            auxiliary = total.new_zeros(())  # stays where no mask is learned; the log has it all the same
            if self.task.mask_supervision != "none" and len(sequence.target):
                decoded = self._decode_logits(logits[sequence.mask_rows], tokenizer)[:, 0]
                auxiliary = dice_loss(decoded, sequence.target) + F.mse_loss(decoded, sequence.target)
                weight = self.task.auxiliary_loss_weight * self.task.dense_loss_weight
                total = total + weight * kinds["mask"].sum() * auxiliary
            parts["auxiliary"] = auxiliary.detach()
        num_tokens = total.new_full((), len(sequence.places), dtype=torch.float32)
        return ObjectiveOutput(total, num_tokens, parts, decoded)
