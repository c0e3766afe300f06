# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
A model that is there, and one that learns, on rendered rooms: `ait demo`. This process and a second one train together, a
core each; this one also shows what happens.
"""

import argparse
import json
import logging
import multiprocessing
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import PartialState
from PIL import Image

from ait_hf_cli import call
from ait_hf_cli.models import pretrained

from ..data import object_transforms
from ..data.writing import write_text
from ..drawing.curves import training_curves
from ..drawing.picture_files import save_image
from . import demo_tokens
from .demo_learning import SOLVER, Learning
from .demo_page import FILMED, DemoPage, data_uri, frame
from .demo_pictures import OBJECT_TASK, Viewer, telling_rooms
from .demo_tokens import Row, print_table


MODEL = "rooms"  # that comes with the package
NUM_PROCESSES = 2  # whatever the machine, so that the same steps learn the same
NUM_GALLERY_ROOMS, NUM_FILM_ROOMS = 4, 4
RMSE, MASK_AP50 = "depth/rmse", f"{OBJECT_TASK}/segm_AP50"
# Columns of the table: keys, heads and digits.
COLUMNS = {RMSE: ("RMSE [m]", 3), "depth/delta1": ("delta1", 3), f"{OBJECT_TASK}/bbox_AP50": ("box AP50", 3)}
COLUMNS |= {MASK_AP50: ("mask AP50", 3)}
EXPLANATION = (
    "RMSE: root mean squared error of a room's depth, mean of all rooms; less is better. delta1: share of pixels within a factor "
    "of 1.25 of the true depth. AP50: COCO's average precision of boxes and of masks, which count if they overlap the true ones by "
    "half. Of delta1 and AP50 more is better, up to 1. Mean of every pixel: what one says of a room without a look at it. "
    "Tokenizers: what a model reaches whose tokens are all right."
)
CURVES = {"loss": "loss", f"eval_{RMSE}": "depth RMSE, m", f"eval_{MASK_AP50}": "mask AP50"}


def run(options: argparse.Namespace) -> None:
    if options.of_tokens:
        demo_tokens.run(options)
    elif "RANK" in os.environ:
        raise ValueError("ait demo starts its second process itself: run it without accelerate launch.")
    else:
        learning, show = prepared(options), Show(options)
        with beside_another(options):
            show.run(learning)


def prepared(options: argparse.Namespace) -> Learning:
    """What this process does, and nothing said of what is as it should be."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger(object_transforms.__name__).setLevel(logging.ERROR)  # some rooms have more than a model writes
    # Of axes of length one, along which nothing is strided.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
    return Learning(options)


@contextmanager
def beside_another(options: argparse.Namespace) -> Iterator[None]:
    """Inside, this process is the first of two, as `accelerate launch` would have started them, which takes seconds longer."""
    before = dict(os.environ)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    os.environ |= address | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(NUM_PROCESSES)}
    torch.set_num_threads(1)
    other = multiprocessing.get_context("spawn").Process(
        target=call, args=("demo", "second_process", options, "ait demo")
    )
    os.environ |= {"RANK": "1", "LOCAL_RANK": "1"}
    other.start()
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0"}
    try:
        yield
        other.join()
        PartialState().destroy_process_group()
    finally:
        other.terminate()
        os.environ.clear()
        os.environ.update(before)


def second_process(options: argparse.Namespace) -> None:
    """The same work without a word."""
    prepared(options).run(pretrained(MODEL))


class Show:
    """What the demo says and draws: in the terminal, on the page and in files."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.output = options, Path(options.output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.page = DemoPage(self.output / "index.html", repeating(options, options.steps), MODEL)
        self.film_rooms = telling_rooms(NUM_FILM_ROOMS)

    def run(self, learning: Learning) -> None:
        folder = pretrained(MODEL)
        viewer = Viewer.from_folder(folder)
        self.page.show(viewer, telling_rooms(NUM_GALLERY_ROOMS, viewer.knows_people))
        self.say(f"What {MODEL} sees is on the page.", where=True)
        self.page.set_up_film(viewer, self.film_rooms)
        self.finish(learning.run(folder, self.say, self.film))

    @property
    def minutes(self) -> float:
        return (time.perf_counter() - self.options.start) / 60

    def say(self, status: str, where: bool = False) -> None:
        """In the terminal and on the page, and perhaps where that is."""
        self.page.write(status)
        address = f" {self.page.path.resolve().as_uri()}" if where else ""
        print(f"\n[{60 * self.minutes:.0f} s] {status}{address}", flush=True)

    def film(self, viewer: Viewer, metrics: dict[str, float]) -> dict[str, Image.Image]:
        """A look at the rooms by the model that learns: one more line on the page; pictures by name."""
        seen = [viewer.look(room) for room in self.film_rooms]
        note = f"RMSE {metrics[RMSE]:.2f} m, mask AP50 {metrics[MASK_AP50]:.2f}"
        self.page.film.append(frame(f"after {self.minutes:.1f} min", note, seen))
        self.page.write()
        return {
            f"room-{room.number}-{view}": Image.fromarray(pictures[view])
            for room, pictures in zip(self.film_rooms, seen)
            for view in FILMED
        }

    def finish(self, report: dict[str, Any]) -> None:
        """The curves, the table and what to do next; nothing changes any more."""
        steps, page = report["steps"], self.page
        curves = training_curves({"trained now": [on_curves(row) for row in report["history"]]})
        save_image(curves, self.output / "curves.png")
        page.curves, page.curve_rooms = data_uri(curves), report["curve_rooms"]
        page.columns, page.table = [head for head, _ in COLUMNS.values()], [table_cells(row) for row in report["rows"]]
        page.num_rooms, page.explanation = report["num_rooms"], EXPLANATION
        page.trained = f"{steps} steps in {report['training_minutes']:.1f} minutes, seed {self.options.seed}"
        page.commands = next_commands(self.output, steps, repeating(self.options, steps))
        report["minutes"], page.running = self.minutes, False
        write_text(self.output / "metrics.json", json.dumps(report, indent=2) + "\n")
        self.say(f"Done after {self.minutes:.1f} minutes.", where=True)
        print_table("", [dict.fromkeys(COLUMNS) | row for row in report["rows"]], COLUMNS)
        print(f"\nThe same again: {repeating(self.options, steps)}")


def on_curves(row: Row) -> Row:
    """What of a row of the history is drawn."""
    return {"step": row["step"]} | {head: row[key] for key, head in CURVES.items() if key in row}


def table_cells(row: Row) -> dict[str, Any]:
    """A row of the table as text."""
    cells = [f"{row[key]:.{digits}f}" if key in row else "" for key, (_, digits) in COLUMNS.items()]
    return {"name": row["name"], "cells": cells}


def repeating(options: argparse.Namespace, steps: int | None) -> str:
    """The command of a run of so many steps, or, if `None`, of as many as there is time for."""
    chosen = "" if steps is None else f" --steps {steps}"
    return f"ait demo{chosen} --seed {options.seed}{' --quick' if options.quick else ''}"


def next_commands(output: Path, steps: int, again: str) -> list[tuple[str, str]]:
    """What to do next, and the commands that do it; `again` repeats the run."""
    model = output / SOLVER
    return [
        (
            f"What {MODEL} sees in a picture of yours, as files (it has learned rendered rooms only):",
            f"ait predict --model {MODEL} --output seen photo.jpg",
        ),
        (
            "What the model sees that was trained here:",
            f"ait predict --model {model} --output seen photo.jpg",
        ),
        (
            "How good its depth is in other rooms:",
            f"ait evaluate --model {model} --task depth --data synthetic --split validation --limit 64",
        ),
        ("This run once more, with the same numbers:", again),
        (
            "The same model, trained four times as long:",
            f"ait train {model}/recipe.yaml train.max_steps={4 * steps} output_dir=runs/longer",
        ),
        ("A recipe for data of yours, and for everything else there is:", "ait train --list"),
        ("Which claims of the paper hold on such rooms (hours):", "ait benchmark paper --output runs/paper"),
    ]
