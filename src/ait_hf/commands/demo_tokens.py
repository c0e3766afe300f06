# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
A small FastVLM learns from nothing to answer in tokens of depth and of masks, on rendered rooms: `ait demo tokens`. Rooms as
questions and answers, a model of the library that learns to write these, what it writes, and how it is marked.
"""

import argparse
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch.nn import functional as F
from torch.utils.data import Dataset

from ..data.object_transforms import tight_box
from ..data.rooms.depth import SyntheticDepth, mean_depth
from ..data.rooms.objects import SMALLEST_SHARE
from ..data.rooms.rendering import LABEL_CLASSES, ROOM_CLASSES
from ..data.tables import examples
from ..data.writing import write_json
from ..drawing.colors import UNCERTAINTY_COLORS, color_bars, colorize_uncertainty, value_limits
from ..drawing.page import arrange, column_edges, resize_picture
from ..drawing.picture_files import save_image
from ..model.tokenization_vq import VQTokenizer
from ..recipes.parsing import load_recipe
from ..tasks.depth.drawing import DEPTH_COLORS, colorize_depth
from ..tasks.maps.drawing import largest_uncertainty
from ..tasks.objects.drawing import draw_objects
from ..tokens import (
    AiTTokenProcessor,
    TokenBlock,
    TokenFormat,
    TokenFormatLogitsProcessor,
    TokenVocabulary,
    add_tokens,
    code_noise,
    get_preset,
    parse_text,
    soft_decode,
)
from ..training.tokenizer import TokenizerRecipe, train_tokenizer


Row = dict[str, Any]  # a line of a table: its `name` and the columns, `None` where there is nothing to say
WRITTEN = ("model/", "depth_tokenizer/", "mask_tokenizer/", "metrics.json", "answers.png")
NUM_TEST_ROOMS = 128
NUM_ROOMS_FOR_THE_MEAN = 512
MEAN = "mean of 512 training rooms"
NUM_DRAWN_ROOMS = 6
CELL = 192  # pixels of a picture's side
MODES = ("hard", "soft")
TITLES = ("image", "depth: truth", "answer, hard", "answer, soft", "uncertainty")
TITLES += ("segment: truth", "answer, soft", "answer, box given")
# Columns of the table, their heads and digits; shares and IoU are 0 to 1. Where an answer is no whole block, depth counts as the
# mean map and masks as empty. "Box" is the filled box of the same answers, "given" where they begin with the true box.
COLUMNS = {"depth_valid": ("depth valid", 3), "depth_rmse": ("RMSE [m]", 3), "mask_valid": ("mask valid", 3)}
COLUMNS |= {"mask_iou": ("mask IoU", 3), "box_iou": ("box IoU", 3)}
COLUMNS |= {"given_mask_iou": ("given mask", 3), "given_box_iou": ("given box", 3)}
SIZE = (64, 64)
CODE_NOISE = 0.5  # share of wrong codes in what the model reads while it learns
WORDS = ["<pad>", "<eos>", "<unk>", "<image>", "depth", "segment", *ROOM_CLASSES]
WIDTH = 128
PATCH_SIZE = 16
ROOMS_PER_STEP = 8  # with about six answers each
LEARNING_RATE = 1e-3
LONGEST_ANSWER = 24  # tokens; a mask has 22: four locations, 16 codes, its name and the end


@dataclass
class Question:
    """What is asked of an image, and the text that is to be written."""

    room: int  # its number
    image: np.ndarray  # uint8 (height, width, 3)
    prompt: str  # "depth", or "segment" and a class
    answer: str
    truth: np.ndarray  # depth in metres, 0 unknown, or the mask of the class


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

    processor: transformers.ProcessorMixin
    vocabularies: Sequence[TokenVocabulary]

    def __call__(self, rooms: Sequence[list[Question]]) -> transformers.BatchFeature:
        questions = [question for room in rooms for question in room]
        answers = [question.answer + self.processor.tokenizer.eos_token for question in questions]
        images = [question.image for question in questions]
        text = [f"<image>{question.prompt} {answer}" for question, answer in zip(questions, answers)]
        batch = self.processor(images=images, text=text, return_tensors="pt", padding=True)
        lengths = torch.tensor([len(ids) for ids in self.processor.tokenizer(answers).input_ids])
        left = batch["attention_mask"].flip(1).cumsum(1).flip(1)  # tokens from here to the end of the text
        is_answer = (batch["attention_mask"] == 1) & (left <= lengths[:, None])
        kept = batch["input_ids"].shape[1] - int(is_answer.any(dim=0).nonzero()[0]) + 1
        batch["labels"] = batch["input_ids"].masked_fill(~is_answer, -100)[:, -kept:]
        batch["logits_to_keep"] = kept
        for vocabulary in self.vocabularies:
            batch["input_ids"] = code_noise(batch["input_ids"], vocabulary, CODE_NOISE)
        return batch


@dataclass
class Answer:
    """A whole block, decoded hard and soft: depth in metres or a mask, at the size of the image."""

    block: TokenBlock
    hard: np.ndarray
    soft: np.ndarray
    uncertainty: np.ndarray


class RoomModel:
    """An untrained FastVLM with the tokens of depth and masks in its vocabulary."""

    def __init__(self, depth: DepthCodec, mask: MaskCodec):
        self.depth, self.mask = depth, mask
        self.processor, self.model = build_processor(), build_model()
        self.vocabularies = {
            codec: add_tokens(self.processor.tokenizer, self.model, codec.token_format, codec.tokenizer)
            for codec in (depth, mask)
        }

    def train(self, output: Path, steps: int, seed: int) -> list[dict[str, float]]:
        """As one fine-tunes any model of the library; saves model and processor. Returns what the trainer logged."""
        rate = {"learning_rate": LEARNING_RATE, "lr_scheduler_type": "cosine", "warmup_steps": 0.1}
        decay = {"weight_decay": 0.05, "adam_beta2": 0.95}
        size = {"max_steps": steps, "per_device_train_batch_size": ROOMS_PER_STEP, "dataloader_num_workers": 1}
        log = {"logging_steps": 25, "save_strategy": "no", "report_to": "none"}
        where = {"remove_unused_columns": False, "seed": seed, "use_cpu": True}
        arguments = transformers.TrainingArguments(str(output), **rate, **decay, **size, **log, **where)
        lessons = RoomLessons(seed, steps * ROOMS_PER_STEP, self.depth, self.mask)
        collate = LessonCollator(self.processor, list(self.vocabularies.values()))
        trainer = transformers.Trainer(self.model, arguments, collate, lessons)
        trainer.train()
        self.model.eval()
        for part in (self.model, self.processor):
            part.save_pretrained(output)
        return trainer.state.log_history

    @torch.no_grad()
    def answer(
        self, codec: Codec, questions: Sequence[Question], constrained: bool, box_given: bool = False
    ) -> list[Answer | None]:
        """
        What is answered to questions with prompts of as many words each, read and decoded: `None` where the model
        wrote anything but one whole block. The answers may be `constrained` to that, and begin with the true
        locations.
        """
        vocabulary, prompts = self.vocabularies[codec], [f"<image>{question.prompt}" for question in questions]
        inputs = self.processor([question.image for question in questions], prompts, return_tensors="pt")
        length, given = inputs["input_ids"].shape[1], 0
        if box_given:
            boxes = torch.tensor([codec.true_block(question).locations for question in questions])
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor(vocabulary.locations)[boxes]], dim=1)
            given = boxes.shape[1]
            inputs["attention_mask"] = F.pad(inputs["attention_mask"], (0, given), value=1)
        limits = {"max_blocks": 1, "prompt_length": length, "max_length": length + LONGEST_ANSWER}
        rule = TokenFormatLogitsProcessor(list(self.vocabularies.values()), **limits)
        how = {"do_sample": False, "output_logits": True, "return_dict_in_generate": True}
        how |= {"max_new_tokens": LONGEST_ANSWER - given, "logits_processor": [rule] if constrained else []}
        outputs = self.model.generate(**inputs, **how)
        # Tokens (questions, steps) and their logits (questions, steps, vocabulary), 0 for what is given.
        sequences, logits = outputs.sequences[:, length:], F.pad(torch.stack(outputs.logits, dim=1), (0, 0, given, 0))
        found = [whole_block(tokens, vocabulary) for tokens in sequences]
        valid = [number for number, block in enumerate(found) if block is not None]
        answers: list[Answer | None] = [None] * len(questions)
        if valid:
            blocks = [found[number] for number in valid]
            soft = soft_decode(logits[valid], vocabulary, codec.tokenizer, sequences=sequences[valid])
            images = codec.decode(blocks), codec.images(soft.sample, blocks), soft.uncertainty.numpy()
            for number, *parts in zip(valid, blocks, *images, strict=True):
                answers[number] = Answer(*parts)
        return answers


def whole_block(tokens: torch.LongTensor, vocabulary: TokenVocabulary) -> TokenBlock | None:
    """The block of an answer that has just one, exactly as the format says."""
    blocks = vocabulary.parse(tokens, strict=False)
    whole = [block for block in blocks if block.ids is not None and not block.repairs and block.damage is None]
    return whole[0] if len(whole) == len(blocks) == 1 else None


def build_processor() -> transformers.LlavaProcessor:
    """The library's processor of LLaVA and FastVLM around a text tokenizer of a few words."""
    backend = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    special = {f"{name}_token": f"<{name}>" for name in ("pad", "eos", "unk")}
    special["model_input_names"] = ["input_ids", "attention_mask"]
    special["extra_special_tokens"] = {"image_token": "<image>"}
    text_tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    images = transformers.SiglipImageProcessor(size={"height": SIZE[0], "width": SIZE[1]})
    return transformers.LlavaProcessor(images, text_tokenizer, PATCH_SIZE, vision_feature_select_strategy="full")


def build_model() -> transformers.FastVlmForConditionalGeneration:
    """Three layers above a small ResNet, which learns from nothing in a fraction of the images that a transformer needs."""
    text = {f"{name}_token_id": WORDS.index(f"<{name}>") for name in ("pad", "eos")}
    text |= {"model_type": "qwen2", "vocab_size": len(WORDS), "initializer_range": WIDTH**-0.5}
    text |= {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "max_position_embeddings": 128}
    text |= {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    vision = {"model_type": "resnet", "embedding_size": WIDTH // 8, "hidden_sizes": [WIDTH // 4, WIDTH // 2, WIDTH]}
    vision |= {"depths": [2, 2, 2], "layer_type": "basic", "hidden_size": WIDTH}
    tokens = {"image_token_index": WORDS.index("<image>"), "tie_word_embeddings": True}
    config = transformers.FastVlmConfig(text_config=text, vision_config=vision, **tokens)
    return transformers.FastVlmForConditionalGeneration(config)


@dataclass
class Exam:
    """The questions of the test rooms: of every room its depth, and all its classes."""

    depth: list[Question]
    masks: list[Question]
    mean: np.ndarray

    def rmse(self, maps: Sequence[np.ndarray]) -> float:
        pairs = zip(maps, self.depth, strict=True)
        return mean_rmse((values - asked.truth)[asked.truth > 0] for values, asked in pairs)

    def iou(self, masks: Sequence[np.ndarray]) -> float:
        pairs = [(mask, asked.truth) for mask, asked in zip(masks, self.masks, strict=True)]
        return float(np.mean([(mask & truth).sum() / (mask | truth).sum() for mask, truth in pairs]))


def mean_rmse(errors: Iterable[np.ndarray]) -> float:
    """Mean over images of the root of the mean squared error of their pixels."""
    return float(np.mean([np.sqrt(np.mean(error**2)) for error in errors]))


def print_table(title: str, rows: list[Row], columns: dict[str, tuple[str, int]]) -> None:
    """The title stands above the names of the rows. Of every column: its key in these, its head, its digits."""
    print(f"\n{title:38}" + "".join(f"{head:>11}" for head, _ in columns.values()))
    for row in rows:
        cells = ("" if row[key] is None else f"{row[key]:.{digits}f}" for key, (_, digits) in columns.items())
        print(f"{row['name']:38}" + "".join(f"{cell:>11}" for cell in cells))


def run(options: argparse.Namespace) -> None:
    start = time.perf_counter()
    output = Path(options.output)
    depth = DepthCodec(trained_tokenizer(output, "depth", options))
    mask = MaskCodec(trained_tokenizer(output, "mask", options))
    print(f"\n=== training: a FastVLM, {options.steps} steps ===", flush=True)
    transformers.set_seed(options.seed)
    model = RoomModel(depth, mask)
    losses = model.train(output / "model", options.steps, options.seed)
    print("\n=== evaluation ===", flush=True)
    rooms = list(examples(SyntheticDepth("test", SIZE), NUM_TEST_ROOMS))
    asked = [mask.question(room, number, name) for number, room in enumerate(rooms) for name in visible_classes(room)]
    of_depth = [depth.question(room, number) for number, room in enumerate(rooms)]
    exam = Exam(of_depth, asked, mean_depth(SIZE, NUM_ROOMS_FOR_THE_MEAN))
    rows = baselines(exam, depth, mask)
    for name, constrained in (("unconstrained", False), ("constrained", True)):
        answers = {"depth": model.answer(depth, exam.depth, constrained)}
        answers["masks"] = model.answer(mask, exam.masks, constrained)
        answers["given"] = model.answer(mask, exam.masks, constrained, box_given=True)
        rows += [mark(exam, answers, mask, name, mode) for mode in MODES]
    save_image(answers_page(exam, answers), output / "answers.png")
    minutes = (time.perf_counter() - start) / 60
    write_json(output / "metrics.json", {"rows": rows, "losses": losses, "minutes": minutes})
    print_table("", rows, COLUMNS)
    print(f"\nWritten to {output}: {', '.join(WRITTEN)} ({minutes:.1f} min).")


def trained_tokenizer(output: Path, name: str, options: argparse.Namespace) -> VQTokenizer:
    folder = output / f"{name}_tokenizer"
    print(f"\n=== training: {name} tokenizer ===", flush=True)
    changes = [f"output_dir={folder}", f"seed={options.seed}", "train.resume=never"]
    if options.tokenizer_steps is not None:
        changes.append(f"train.max_steps={options.tokenizer_steps}")
    train_tokenizer(load_recipe(f"demo_tokens_{name}_tokenizer", TokenizerRecipe, changes))
    return VQTokenizer.from_pretrained(folder)


def baselines(exam: Exam, depth: DepthCodec, mask: MaskCodec) -> list[Row]:
    """What needs no language model: the mean map, and the true codes."""
    blocks = [mask.true_block(question) for question in exam.masks]
    true = {"mask_iou": exam.iou(mask.decode(blocks)), "box_iou": exam.iou(mask.boxes(blocks))}
    true["depth_rmse"] = exam.rmse(depth.decode([depth.true_block(question) for question in exam.depth]))
    rows = {MEAN: {"depth_rmse": exam.rmse([exam.mean] * len(exam.depth))}, "the true codes": true}
    return [dict.fromkeys(COLUMNS) | {"name": name} | row for name, row in rows.items()]


def mark(exam: Exam, answers: dict[str, list[Answer | None]], mask: MaskCodec, name: str, mode: str) -> Row:
    """The line of one way to write and one to decode."""
    maps = [exam.mean if answer is None else getattr(answer, mode) for answer in answers["depth"]]
    row = {"name": f"{name}, {mode}", "depth_rmse": exam.rmse(maps)}
    for key, kind in (("depth_valid", "depth"), ("mask_valid", "masks")):
        row[key] = float(np.mean([answer is not None for answer in answers[kind]]))
    nothing = np.zeros(SIZE, bool)
    for prefix, kind in (("", "masks"), ("given_", "given")):
        masks = [nothing if answer is None else getattr(answer, mode) for answer in answers[kind]]
        boxes = [nothing if answer is None else mask.boxes([answer.block])[0] for answer in answers[kind]]
        row |= {f"{prefix}mask_iou": exam.iou(masks), f"{prefix}box_iou": exam.iou(boxes)}
    return row


def answers_page(exam: Exam, answers: dict[str, list[Answer | None]]) -> Image.Image:
    """The first rooms: depth and one class, another one in each, as answered and beside the truth."""
    rooms = range(min(NUM_DRAWN_ROOMS, len(exam.depth)))
    classes = [[number for number, asked in enumerate(exam.masks) if asked.room == room] for room in rooms]
    chosen = [numbers[room % len(numbers)] for room, numbers in zip(rooms, classes)]
    depths = answers["depth"]
    maps = [(exam.depth[room].truth, *(getattr(depths[room], mode, exam.mean) for mode in MODES)) for room in rooms]
    limits = value_limits(np.concatenate([values[values > 0] for line in maps for values in line]), None, None)
    doubt = largest_uncertainty(depths[room].uncertainty for room in rooms if depths[room] is not None)
    lines = []
    for answer, number, line in zip(depths, chosen, maps):
        asked = exam.masks[number]
        pictures = [asked.image, *(colorize_depth(values, *limits) for values in line)]
        pictures.append(colorize_uncertainty(np.ones(SIZE) if answer is None else answer.uncertainty / doubt))
        masks = [asked.truth, *(getattr(answers[name][number], "soft", None) for name in ("masks", "given"))]
        pictures = [resize_picture(picture, CELL) for picture in pictures]
        lines.append(pictures + [draw_mask(asked, mask) for mask in masks])
    lefts = column_edges(len(TITLES), CELL)
    bars = [
        (lefts[1], lefts[3] + CELL, limits, DEPTH_COLORS, "depth in metres"),
        (lefts[4], lefts[4] + CELL, (0.0, doubt), UNCERTAINTY_COLORS, "uncertainty in metres"),
    ]
    return arrange(TITLES, lines, CELL, footer=color_bars(lefts[-1] + CELL, bars))


def draw_mask(asked: Question, mask: np.ndarray | None) -> Image.Image:
    """A class's mask and its box; the bare image where there is none."""
    masks = np.zeros((0, *SIZE), bool) if mask is None or not mask.any() else mask[None]
    name = asked.prompt.split()[-1]
    boxes = [tight_box(mask) for mask in masks]
    return draw_objects(asked.image, boxes, [0] * len(masks), masks=masks, class_names=[name], longer_side=CELL)
