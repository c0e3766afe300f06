# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A small FastVLM learns from nothing to answer in tokens of depth and of masks, on rendered rooms: `ait demo tokens`."""

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import set_seed

from ..data.rooms.depth import SyntheticDepth, mean_depth
from ..data.rooms.objects import tight_box
from ..data.tables import examples
from ..data.writing import write_json
from ..drawing.colors import UNCERTAINTY_COLORS, color_bars, colorize_uncertainty, value_limits
from ..drawing.page import arrange, column_edges, resize_picture
from ..drawing.picture_files import save_image
from ..model.tokenization_vq import VQTokenizer
from ..recipes.parsing import load_recipe
from ..tasks.depth.drawing import DEPTH_COLORS, colorize_depth
from ..tasks.objects.drawing import draw_objects
from ..training.tokenizer import TokenizerRecipe, train_tokenizer
from .demo_tokens_model import SIZE, Answer, DepthCodec, MaskCodec, Question, RoomModel, visible_classes


Row = dict[str, Any]  # a line of a table: its `name` and the columns, `None` where there is nothing to say
WRITTEN = ("model/", "depth_tokenizer/", "mask_tokenizer/", "metrics.json", "answers.png")
NUM_TEST_ROOMS = 128
NUM_ROOMS_FOR_THE_MEAN = 512
MEAN = "mean of 512 training rooms"
NUM_DRAWN_ROOMS = 6
CELL = 192  # pixels of a picture's side
MODES = ("hard", "soft")
DEPTH_TITLES = ("depth: truth", "answer, hard", "answer, soft", "uncertainty")
TITLES = ("image", *DEPTH_TITLES, "segment: truth", "answer, soft", "answer, box given")
CODECS = {"depth": DepthCodec, "mask": MaskCodec}
# Columns of the table, their heads and digits; shares and IoU are 0 to 1. Where an answer is no whole block, depth counts as the
# mean map and masks as empty. "Box" is the filled box of the same answers, "given" where they begin with the true box.
COLUMNS = {"depth_valid": ("depth valid", 3), "depth_rmse": ("RMSE [m]", 3), "mask_valid": ("mask valid", 3)}
COLUMNS |= {"mask_iou": ("mask IoU", 3), "box_iou": ("box IoU", 3)}
COLUMNS |= {"given_mask_iou": ("given mask", 3), "given_box_iou": ("given box", 3)}


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
    depth, mask = (codec(trained_tokenizer(output, name, options)) for name, codec in CODECS.items())
    print(f"\n=== training: a FastVLM, {options.steps} steps ===", flush=True)
    set_seed(options.seed)
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
    lines = []
    for answer, number, line in zip(depths, chosen, maps):
        asked = exam.masks[number]
        pictures = [asked.image, *(colorize_depth(values, *limits) for values in line)]
        pictures.append(colorize_uncertainty(np.ones(SIZE) if answer is None else answer.uncertainty))
        masks = [asked.truth, *(getattr(answers[name][number], "soft", None) for name in ("masks", "given"))]
        pictures = [resize_picture(picture, CELL) for picture in pictures]
        lines.append(pictures + [draw_mask(asked, mask) for mask in masks])
    lefts = column_edges(len(TITLES), CELL)
    bars = [
        (lefts[1], lefts[3] + CELL, limits, DEPTH_COLORS, "depth in metres"),
        (lefts[4], lefts[4] + CELL, (0.0, 1.0), UNCERTAINTY_COLORS, "uncertainty"),
    ]
    return arrange(TITLES, lines, CELL, footer=color_bars(lefts[-1] + CELL, bars))


def draw_mask(asked: Question, mask: np.ndarray | None) -> Image.Image:
    """A class's mask and its box; the bare image where there is none."""
    masks = np.zeros((0, *SIZE), bool) if mask is None or not mask.any() else mask[None]
    name = asked.prompt.split()[-1]
    boxes = [tight_box(mask) for mask in masks]
    return draw_objects(asked.image, boxes, [0] * len(masks), masks=masks, class_names=[name], longer_side=CELL)
