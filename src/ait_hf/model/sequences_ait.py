# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Sequence grammar: which kind of token stands where in a task's sequence, and how targets become sequences."""

import math
from dataclasses import dataclass

import torch

from .configuration_ait import AiTConfig, AiTTaskConfig, Vocabulary


SPARSE_SLOTS = ("coordinate", "class")


@dataclass(frozen=True)
class TaskGrammar:
    """
    The sequence of one task: `num_groups` times the same group of slots.

    A slot is *sparse* (coordinate, class: one id is chosen) or *dense* (a code of a tokenizer: its whole distribution
    is kept as a soft token). Slot 0 is predicted from the task token; slot `p` is predicted from the token in slot
    `p - 1`, or, in a parallel model, from the parallel token if slot `p - 1` is dense (paper §3.5, Fig. 3b).

    Attributes:
        name (`str`), task (`AiTTaskConfig`): Of the task, its declaration.
        vocabulary (`Vocabulary`): Id ranges of the model.
        group (`tuple[str, ...]`): Slot kinds of one group, the dense block written out.
        parallel (`bool`): Whether dense slots are predicted from the parallel token.
    """

    name: str
    task: AiTTaskConfig
    vocabulary: Vocabulary
    group: tuple[str, ...]
    parallel: bool

    @classmethod
    def from_config(cls, config: AiTConfig, name: str) -> "TaskGrammar":
        """Grammar of the task called `name`; `ValueError` if the model does not have it."""
        task = config.task(name)
        lengths = [1 if slot in SPARSE_SLOTS else math.prod(task.grid_size) for slot in task.slots]
        group = tuple(slot for slot, length in zip(task.slots, lengths) for _ in range(length))
        return cls(name, task, config.vocabulary, group, config.parallel)

    @property
    def length(self) -> int:
        """Number of tokens of the whole sequence, without the task token."""
        return self.task.num_groups * len(self.group)

    @property
    def start_token_id(self) -> int:
        """Decoder input id of the task token."""
        return self.vocabulary.task_token_id(self.task.task_id)

    @property
    def codebook(self) -> str | None:
        """Name of the tokenizer whose codes fill the dense slots, `None` for a task without dense slots."""
        return next((slot for slot in self.group if slot not in SPARSE_SLOTS), None)

    @property
    def is_one_map(self) -> bool:
        """Whether there is but one dense block, of no group with a class: what is decoded needs no axis of groups."""
        return self.task.num_groups == 1 and "class" not in self.group

    @property
    def code_range(self) -> range:
        """Vocabulary ids of the dense slots."""
        return self.vocabulary.codebooks[self.codebook]

    @property
    def classes(self) -> range:
        """Vocabulary ids of the task's classes (without noise)."""
        every = self.vocabulary.classes
        return every if self.task.class_range is None else every[slice(*self.task.class_range)]

    @property
    def chooses_classes_once(self) -> bool:
        """Whether a class that was chosen is not chosen again: its mask shows all there is of it."""
        return self.task.output_type == "semantic"

    def slot_range(self, slot: str) -> range:
        """Ids that a slot of this kind may take (`"class"` without the noise class)."""
        return self.classes if slot == "class" else self.vocabulary.slot_range(slot)

    def group_end(self, position: int) -> int:
        """Position behind the group that a position of the sequence belongs to."""
        return (position // len(self.group) + 1) * len(self.group)

    def slot(self, position: int) -> str:
        """Kind of the slot at a position of the sequence (0 is the first token after the task token)."""
        return self.group[position % len(self.group)]

    def is_dense(self, position: int) -> bool:
        """Whether the slot at this position holds a code."""
        return self.slot(position) not in SPARSE_SLOTS

    def dense_mask(self, positions: torch.LongTensor) -> torch.BoolTensor:
        """Which positions of the sequence hold codes; computed on the device, as a list sent there makes the host wait."""
        return self.is_slot(positions % len(self.group), self.codebook)

    def is_slot(self, slots: torch.LongTensor, kind: str) -> torch.BoolTensor:
        """Which slots of a group are of a kind that is in it."""
        where = self._slots(kind)
        return (slots >= where.start) & (slots < where.stop)

    def _slots(self, kind: str) -> slice:
        """The slots of this kind within a group of codes or of a task with `output_type`, where they lie together."""
        positions = self.slot_positions(kind)
        return slice(positions[0], positions[-1] + 1)

    def block_length(self, position: int, limit: int) -> int:
        """
        How many slots from `position` on (at most up to `limit`, exclusive) one forward can predict: 1 in an
        autoregressive model; in a parallel model the run of dense slots and the sparse slot behind it.
        """
        end = position + 1
        while self.parallel and end < limit and self.is_dense(end - 1):
            end += 1
        return end - position

    def decoder_input_ids(self, tokens: torch.LongTensor) -> torch.LongTensor:
        """
        Decoder input for teacher forcing, from vocabulary ids (batch, length) without ignore index and as many: the
        task token, then all but the last one, with the parallel token in place of dense tokens in a parallel model.
        """
        start = torch.full_like(tokens[:, :1], self.start_token_id)
        return self.replace_dense_inputs(torch.cat([start, tokens[:, :-1]], dim=1))

    def replace_dense_inputs(self, input_ids: torch.LongTensor, start: int = 0) -> torch.LongTensor:
        """
        `input_ids` (batch, length), inputs `start`, `start + 1`, ... of the sequence (input 0 is the task token), with
        parallel tokens in dense places if parallel.
        """
        if not self.parallel:
            return input_ids
        inputs = range(start, start + input_ids.shape[1])
        if not any(p > 0 and self.is_dense(p - 1) for p in inputs):
            return input_ids
        dense = self._dense_inputs(inputs, input_ids.device)
        return input_ids.masked_fill(dense, self.vocabulary.parallel_token_id)

    def _dense_inputs(self, inputs: range, device: torch.device) -> torch.BoolTensor:
        """Which of the sequence's inputs hold codes; input 0 is the task token."""
        positions = torch.arange(inputs.start - 1, inputs.stop - 1, device=device)
        return self.dense_mask(positions) & (positions >= 0)

    def with_code_noise(self, input_ids: torch.LongTensor, share: float) -> torch.LongTensor:
        """Decoder inputs (batch, length) of a whole sequence, in which each code is, with a probability of `share`, another
        one, drawn from all alike by the device's generator."""
        dense = self._dense_inputs(range(input_ids.shape[1]), input_ids.device)
        drawn = torch.randint_like(input_ids, self.code_range.start, self.code_range.stop)
        return torch.where(dense & (torch.rand(input_ids.shape, device=input_ids.device) < share), drawn, input_ids)

    def codes_to_tokens(self, codes: torch.LongTensor) -> torch.LongTensor:
        """Codes, `(..., rows, columns)`, to vocabulary ids `(..., rows * columns)` in row-major order."""
        return codes.flatten(-2) + self.code_range.start

    def slot_positions(self, kind: str) -> list[int]:
        """Positions within one group of the slots of this kind (`"coordinate"`, `"class"` or a codebook's name)."""
        return [position for position, slot in enumerate(self.group) if slot == kind]

    def boxes_to_tokens(self, boxes: torch.Tensor) -> torch.LongTensor:
        """
        Coordinates in pixels of the task's frame, any shape, to coordinate ids: `round(bins * pixel / longer side)`,
        clamped (reference §4).
        """
        ids = torch.round(boxes / max(self.task.image_size) * self._num_bins).clamp(0, self._num_bins)
        return ids.long() + self.vocabulary.coordinates.start

    @property
    def _num_bins(self) -> int:
        return len(self.vocabulary.coordinates) - 1

    def tokens_to_boxes(self, tokens: torch.LongTensor) -> torch.Tensor:
        """Coordinate ids to pixels of the task's frame, float32."""
        return (tokens - self.vocabulary.coordinates.start) * (max(self.task.image_size) / self._num_bins)

    def objects_to_tokens(
        self,
        box_tokens: torch.LongTensor | None,
        class_tokens: torch.LongTensor,
        mask_tokens: torch.LongTensor | None = None,
    ) -> torch.LongTensor:
        """
        The sequences of tasks of groups, objects or classes, `(batch, groups * len(group))`, from vocabulary ids: of
        boxes (batch, groups, 4), classes (batch, groups) and masks (batch, groups, codes).
        """
        groups = class_tokens.new_empty(*class_tokens.shape, len(self.group))
        groups[..., self._slots("class")] = class_tokens[..., None]
        for slot, tokens in {"coordinate": box_tokens, self.codebook: mask_tokens}.items():
            if tokens is not None:
                groups[..., self._slots(slot)] = tokens
        return groups.flatten(1)

    def tokens_to_objects(self, tokens: torch.LongTensor) -> tuple[torch.Tensor, torch.LongTensor]:
        """
        Boxes (batch, objects, 4), pixels of the task's frame, float32, and classes, as of [`tokens_to_class_labels`],
        of whole groups (batch, objects * len(group)) of an object task.
        """
        return self.tokens_to_boxes(self.box_tokens(tokens)), self.tokens_to_class_labels(tokens)

    def box_tokens(self, tokens: torch.LongTensor) -> torch.LongTensor:
        """Coordinate ids (batch, objects, 4) of such groups."""
        return tokens.unflatten(1, (-1, len(self.group)))[..., self._slots("coordinate")]

    def tokens_to_class_labels(self, tokens: torch.LongTensor) -> torch.LongTensor:
        """Classes of whole groups (batch, groups * len(group)), (batch, groups), as numbers of the model's table."""
        (class_position,) = self.slot_positions("class")
        return tokens.unflatten(1, (-1, len(self.group)))[..., class_position] - self.vocabulary.classes.start
