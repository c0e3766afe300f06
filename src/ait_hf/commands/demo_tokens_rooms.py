# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Rendered rooms as questions and answers in tokens, for `ait demo tokens`: what a language model is fine-tuned on."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import BatchFeature, ProcessorMixin

from ..data.rooms.depth import SyntheticDepth
from ..data.rooms.objects import SMALLEST_SHARE
from ..data.rooms.rendering import LABEL_CLASSES, ROOM_CLASSES
from ..model.tokenization_vq import VQTokenizer
from ..tokens import AiTTokenProcessor, TokenBlock, TokenFormat, TokenVocabulary, code_noise, get_preset, parse_text


SIZE = (64, 64)
CODE_NOISE = 0.5  # share of wrong codes in what the model reads while it learns


@dataclass
class Question:
    """
    Args:
        room: Its number.
        image: uint8 (height, width, 3).
        prompt: `"depth"` or `"segment"` and a class.
        answer: The text that is to be written.
        truth: Depth in metres, 0 unknown, or the mask of the class.
    """

    room: int
    image: np.ndarray
    prompt: str
    answer: str
    truth: np.ndarray


class Codec(ABC):
    """One kind of maps as text and back: a tokenizer, its preprocessing and its format."""

    token_format: ClassVar[TokenFormat]
    convention: ClassVar[str]

    def __init__(self, tokenizer: VQTokenizer):
        self.tokenizer = tokenizer.eval()
        self.processor = AiTTokenProcessor(convention=self.convention, side=tokenizer.map_size[0])

    @abstractmethod
    def images(self, maps: torch.Tensor, blocks: Sequence[TokenBlock]) -> list[np.ndarray]:
        """What a tokenizer decoded `(n, 1, side, side)` at the size of the image."""

    @torch.no_grad()
    def decode(self, blocks: Sequence[TokenBlock]) -> list[np.ndarray]:
        """The codes of blocks at the size of the image."""
        return self.images(self.tokenizer.detokenize(ids=torch.stack([block.ids for block in blocks])), blocks)

    def true_block(self, question: Question) -> TokenBlock:
        return parse_text(question.answer, self.token_format)[0]


class DepthCodec(Codec):
    token_format = TokenFormat(
        code="<depth{:03d}>", num_codes=128, grid=(4, 4), start="<depth_start>", end="<depth_end>"
    )
    convention = "ait-depth"

    def question(self, room: dict[str, np.ndarray], number: int) -> Question:
        ids = self.tokenizer.tokenize(self.processor(room["depth"]).pixel_values)
        return Question(number, room["image"], "depth", self.token_format.to_text(ids), room["depth"])

    def images(self, maps, blocks):
        return [depth.numpy() for depth in self.processor.post_process_maps(maps, [SIZE] * len(blocks))]


class MaskCodec(Codec):
    """All pixels of a class as one block, written as PaliGemma does: the locations of their box, 16 codes and the class."""

    token_format = get_preset("paligemma-mask").token_format
    convention = "paligemma-mask"

    def question(self, room: dict[str, np.ndarray], number: int, name: str) -> Question:
        mask = room["label_map"] == LABEL_CLASSES.index(name)
        inputs = self.processor(mask)
        answer = self.token_format.to_text(self.tokenizer.tokenize(inputs.pixel_values), inputs.locations, [name])
        return Question(number, room["image"], f"segment {name}", answer, mask)

    def images(self, maps, blocks):
        locations = [block.locations for block in blocks]
        return [mask.numpy() for mask in self.processor.post_process_masks(maps, locations, [SIZE] * len(blocks))]

    def boxes(self, blocks: Sequence[TokenBlock]) -> list[np.ndarray]:
        """The boxes of blocks as masks: bool (height, width)."""
        side = self.tokenizer.map_size[0]
        return self.images(torch.ones(len(blocks), 1, side, side), blocks)


def visible_classes(room: dict[str, np.ndarray]) -> list[str]:
    """Classes that cover at least 1 % of a room's image: of objects, and floor, ceiling and wall."""
    shares = np.bincount(room["label_map"].ravel(), minlength=len(LABEL_CLASSES)) / room["label_map"].size
    return [name for name in ROOM_CLASSES if shares[LABEL_CLASSES.index(name)] >= SMALLEST_SHARE]


class RoomLessons(Dataset):
    """Rooms by number, each asked for its depth and for all its classes."""

    def __init__(self, seed: int, count: int, depth: DepthCodec, mask: MaskCodec):
        self.rooms, self.count = SyntheticDepth("train", SIZE, seed), count
        self.depth, self.mask = depth, mask

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> list[Question]:
        room = self.rooms[number]
        masks = [self.mask.question(room, number, name) for name in visible_classes(room)]
        return [self.depth.question(room, number), *masks]


@dataclass
class LessonCollator:
    """
    A batch of rooms as the model's inputs and labels, half of the codes among the inputs being wrong ones: the model looks
    at the image rather than at the codes before. Only the answers' scores are computed.
    """

    processor: ProcessorMixin
    vocabularies: Sequence[TokenVocabulary]

    def __call__(self, rooms: Sequence[list[Question]]) -> BatchFeature:
        questions = [question for room in rooms for question in room]
        answers = [question.answer + self.processor.tokenizer.eos_token for question in questions]
        batch = self.processor(
            images=[question.image for question in questions],
            text=[f"<image>{question.prompt} {answer}" for question, answer in zip(questions, answers)],
            return_tensors="pt",
            padding=True,
        )
        lengths = torch.tensor([len(ids) for ids in self.processor.tokenizer(answers).input_ids])
        left = batch["attention_mask"].flip(1).cumsum(1).flip(1)  # tokens from here to the end of the text
        is_answer = (batch["attention_mask"] == 1) & (left <= lengths[:, None])
        kept = batch["input_ids"].shape[1] - int(is_answer.any(dim=0).nonzero()[0]) + 1
        batch["labels"] = batch["input_ids"].masked_fill(~is_answer, -100)[:, -kept:]
        batch["logits_to_keep"] = kept
        for vocabulary in self.vocabularies:
            batch["input_ids"] = code_noise(batch["input_ids"], vocabulary, CODE_NOISE)
        return batch
