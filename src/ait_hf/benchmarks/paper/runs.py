# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The runs behind the tables: each variant with each seed, several at a time, one core each."""

import json
import logging
import multiprocessing
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from tqdm import tqdm

from ...inference.loading import load_model_and_processor, load_tokenizer
from ...recipes.parsing import build, read_values
from ...recipes.streams import EvaluationRecipe
from ...tasks.depth.evaluation import rgbd_collator
from ...tasks.depth.prediction import predict_depth
from ...tasks.maps.evaluation import reconstruct_map
from ...training.settings import Recipe
from ...training.solver import SolverRecipe, read_recipe
from ...training.tokenizer import TokenizerRecipe
from ..rows import Results, TrainedRun, do_run, measured_tasks, measured_tokenizer, with_task
from .tables import REBUILT, SOFT, SOFT_PARALLEL, Table
from .variants import DEPTH, VARIANTS, Variant


logger = logging.getLogger(__name__)

MINUTES = 10.0  # that the solvers' recipes take on one CPU core with nothing else to do
TOKENIZER_MINUTES = 3.0
NUM_SEEDS = 3
NUM_TEST_ROOMS = 256
QUICK_TOKENIZER_STEPS, QUICK_STEPS, QUICK_SAMPLES = 30, 3, 8
BATCH_SIZE = 32


@dataclass(frozen=True)
class Run(TrainedRun):
    """
    Args:
        name: Of the variant.
        seed, output, minutes, is_quick: As of [`TrainedRun`]; it is trained in `NAME-SEED`, and written down in `rows/`.
            `minutes` are those of solvers; tokenizers take two or three.
    """

    name: str
    seed: int
    output: Path
    minutes: float = MINUTES
    is_quick: bool = False

    @property
    def variant(self) -> Variant:
        return VARIANTS[self.name]

    @property
    def folder(self) -> Path:
        return self.output / f"{self.name}-{self.seed}"

    @property
    def row(self) -> Path:
        return self.output / "rows" / f"{self.name}-{self.seed}.json"

    @property
    def named(self) -> dict[str, Any]:
        return {"variant": self.name, "recipe": self.variant.recipe, "changes": list(self.variant.changes)}

    def recipe(self) -> Recipe:
        tokenizers = [
            f"tasks.{task}.tokenizer={self.output / f'{name}-{self.seed}'}"
            for task, name in self.variant.tokenizers.items()
        ]
        common = [f"output_dir={self.folder}", f"seed={self.seed}"]
        values = read_values(self.variant.recipe, [*self.variant.changes, *tokenizers, *common])
        train = values["train"]
        if self.is_quick:
            steps = QUICK_TOKENIZER_STEPS if self.variant.is_tokenizer else QUICK_STEPS
            train |= {"max_steps": steps, "log_every": 1, "eval_every": None, "save_every": None}
            values["evaluation"]["num_samples"] = QUICK_SAMPLES
            for section in (values.get("data"), *(task["data"] for task in values.get("tasks", {}).values())):
                if section is not None:
                    section |= {name: 8 for name in ("num_rooms", "num_images") if name in section}
        elif not self.variant.is_tokenizer:
            train["max_steps"] = max(1, round(train["max_steps"] * self.minutes / MINUTES))
        return read_recipe(values)

    def measured(self, recipe: Recipe, accelerator: Accelerator) -> tuple[Results, int]:
        """Metrics are called `TASK/METRIC`; on the test rooms, which are the same for all runs."""
        num_rooms = QUICK_SAMPLES if self.is_quick else NUM_TEST_ROOMS
        part = EvaluationRecipe(split="test", num_samples=num_rooms, batch_size=BATCH_SIZE)
        if isinstance(recipe, TokenizerRecipe):
            measured_on = VARIANTS[self.variant.of]
            (task,) = build(SolverRecipe, read_values(measured_on.recipe, measured_on.changes)).tasks.values()
            found, num_parameters = measured_tokenizer(self.folder, task, part, accelerator)
            results = {mode: with_task(task, metrics) for mode, metrics in found.items()}
        else:
            results, num_parameters = measured_tasks(self.folder, recipe.tasks.values(), part, accelerator)
            task = recipe.tasks.get(DEPTH)
        mode = next(mode for mode in (SOFT, SOFT_PARALLEL, REBUILT) if mode in results)
        if f"{DEPTH}/rmse" in results[mode]:
            rooms = list(task.data.examples(part.split, part.num_samples))
            results[mode][f"{DEPTH}/hole_rmse"] = self._hole_rmse(rooms, accelerator.device)
        return results, num_parameters

    @torch.no_grad()
    def _hole_rmse(self, rooms: Sequence[dict[str, Any]], device: torch.device) -> float:
        """Mean over the rooms of the error where the sensor saw nothing, with soft tokens; metres."""
        if self.variant.is_tokenizer:
            tokenizer = load_tokenizer(self.folder).to(device)
            seen = (torch.from_numpy(room["depth"])[None].to(device) for room in rooms)
            maps = [reconstruct_map(tokenizer, depth)[0][0] for depth in seen]
        else:
            model, processor = load_model_and_processor(self.folder, DEPTH, device)
            parts = [rooms[first : first + BATCH_SIZE] for first in range(0, len(rooms), BATCH_SIZE)]
            images = (rgbd_collator(part)["pixel_values"] for part in parts)
            maps = [found["predicted_depth"] for part in images for found in predict_depth(model, processor, part)]
        found = zip(maps, rooms, strict=True)
        errors = [(depth.cpu().numpy() - room["depth_complete"])[room["depth"] == 0] for depth, room in found]
        return statistics.mean(float(np.sqrt(np.square(error).mean())) for error in errors if error.size)


def do_runs(runs: Sequence[Run], jobs: int) -> None:
    """
    All runs whose row is not there, tokenizers first, `jobs` at a time, each with one thread. What
    fails, or is interrupted, leaves the rows of the others; the next call goes on.
    """
    logger.info(said_left(runs))
    left = [run for run in runs if not run.row.is_file()]
    os.environ["TQDM_DISABLE"] = "1"  # of the processes to come: their bars would write over each other
    for is_tokenizer in (True, False):
        todo = [run for run in left if run.variant.is_tokenizer == is_tokenizer]
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
            futures = {pool.submit(_do_alone, run): run for run in todo}
            what = "tokenizers" if is_tokenizer else "solvers"
            for future in tqdm(as_completed(futures), total=len(todo), desc=what, smoothing=0):
                try:
                    future.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise


def _do_alone(run: Run) -> None:
    torch.set_num_threads(1)
    do_run(run)


def runs_of(tables: Iterable[Table], num_seeds: int, **common: Any) -> list[Run]:
    """All that the tables need, seed by seed, so that every table has something to say early; `common` as of [`Run`]."""
    names = dict.fromkeys(name for table in tables for name in table.variants)
    return [Run(name, seed, **common) for seed in range(num_seeds) for name in names]


def said_left(runs: Sequence[Run]) -> str:
    """How many runs are done, and how long the others take."""
    num_done = sum(run.row.is_file() for run in runs)
    return f"{num_done} of {len(runs)} runs are done; about {hours_left(runs):.1f} CPU hours left."


def hours_left(runs: Sequence[Run]) -> float:
    """CPU hours that the runs without a row take: as long as those of the same recipe took, or as their recipe says."""
    taken = defaultdict(list)
    for run in runs:
        if run.row.is_file():
            taken[run.variant.recipe].append(json.loads(run.row.read_text(encoding="utf-8"))["cpu_minutes"])
    expected = {
        run: statistics.mean(
            taken[run.variant.recipe] or [TOKENIZER_MINUTES if run.variant.is_tokenizer else run.minutes]
        )
        for run in runs
        if not run.row.is_file()
    }
    return sum(expected.values()) / 60
