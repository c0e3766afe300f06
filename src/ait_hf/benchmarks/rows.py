# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs of benchmarks that train, each written down as one JSON file, its row, so that none is done twice."""

import json
import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from ..data.writing import write_text
from ..inference.generating import decoding_modes
from ..inference.loading import load_model_and_processor, load_tokenizer
from ..recipes.streams import EvaluationRecipe
from ..tasks.base import Kind, pair_split
from ..training.settings import Recipe
from ..training.solver import train_solver
from ..training.tokenizer import TokenizerRecipe, train_tokenizer


Results = dict[str, dict[str, float]]  # metrics by the way to decode
Modes = Mapping[str, Mapping[str, bool]]  # settings of `generate()`, by what the way to decode is called


class TrainedRun(ABC):
    """
    What is trained with one seed, measured and written down. (Runs are frozen data classes with these fields.)

    Args:
        seed: Of the training.
        output: Folder of all runs.
        minutes: What it is given: so much longer or shorter than its recipe says.
        is_quick: A few steps and examples, to see whether everything works.
    """

    seed: int
    output: Path
    minutes: float
    is_quick: bool

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where it is trained."""

    @property
    @abstractmethod
    def row(self) -> Path:
        """Where it is written down."""

    @property
    @abstractmethod
    def named(self) -> dict[str, Any]:
        """What its row says of it first."""

    @abstractmethod
    def recipe(self) -> Recipe:
        """What it trains."""

    @abstractmethod
    def measured(self, recipe: Recipe, accelerator: Accelerator) -> tuple[Results, int]:
        """The metrics of every way to decode, of a tokenizer those of its reconstructions; and the number of parameters."""

    def train(self, recipe: Recipe) -> list[dict[str, float]]:
        return train_tokenizer(recipe) if isinstance(recipe, TokenizerRecipe) else train_solver(recipe)


def do_run(run: TrainedRun) -> None:
    """
    Trains what is not trained yet, from its newest checkpoint on, measures it and writes its row; all processes call it. A
    run whose row is there is left alone; `ValueError` if that is of another number of steps.
    """
    recipe = run.recipe()
    if _is_there(run, recipe):
        return
    AcceleratorState._reset_state()  # of the run before in this process, which may have another precision
    history = _trained(run, recipe)
    accelerator = Accelerator(mixed_precision=recipe.train.mixed_precision)
    results, num_parameters = run.measured(recipe, accelerator)
    if not accelerator.is_main_process:
        return
    row = {
        **run.named,
        "seed": run.seed,
        "quick": run.is_quick,
        "budget_minutes": run.minutes,
        "steps": recipe.train.max_steps,
        **effort(history, batch_size(recipe)),
        "curve": curve(history),
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "device": str(accelerator.device),
        "num_parameters": num_parameters,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "results": results,
    }
    run.row.parent.mkdir(parents=True, exist_ok=True)
    write_text(run.row, json.dumps(row, indent=2) + "\n")


def _is_there(run: TrainedRun, recipe: Recipe) -> bool:
    if not run.row.is_file():
        return False
    found = json.loads(run.row.read_text(encoding="utf-8"))
    if (found["steps"], found["quick"]) != (recipe.train.max_steps, run.is_quick):
        raise ValueError(
            f"{run.row} is of a run of {found['steps']} steps, but {recipe.train.max_steps} are asked for: remove it and "
            f"{run.folder}, or choose another --output."
        )
    return True


def _trained(run: TrainedRun, recipe: Recipe) -> list[dict[str, float]]:
    """The history of the training, which is done if it is not yet."""
    history = run.folder / "history.json"
    if history.is_file():  # written last, after the last evaluation
        rows = json.loads(history.read_text(encoding="utf-8"))
        if rows[-1]["step"] >= recipe.train.max_steps:
            return rows
    return run.train(recipe)


def effort(history: Sequence[dict[str, float]], samples_per_step: float) -> dict[str, float]:
    """
    What a training took, evaluation and saving apart, also where it was interrupted.

    Returns:
        `samples` seen, `minutes`, and `cpu_minutes` of all threads of all processes, `None` for a history of before they were
        counted.
    """
    rows, before = [], 0
    for row in history:
        if "samples_per_second" in row:
            samples = (row["step"] - before) * samples_per_step
            rows.append((samples, samples / row["samples_per_second"], row.get("cpu_seconds", math.nan)))
            before = row["step"]
    samples, seconds, cpu_seconds = map(sum, zip(*rows))
    cpu_minutes = None if math.isnan(cpu_seconds) else round(cpu_seconds / 60, 2)
    return {"samples": samples, "minutes": round(seconds / 60, 2), "cpu_minutes": cpu_minutes}


def curve(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """What was measured in the course of a training: its history's rows of evaluations, `step` and `eval_*`."""
    return [row for row in history if any(name.startswith("eval_") for name in row)]


def batch_size(recipe: Recipe) -> float:
    """Samples of a step, of all tasks."""
    if isinstance(recipe, TokenizerRecipe):
        return recipe.data.batch_size
    return sum(task.data.batch_size / task.every for task in recipe.tasks.values())


def measured_tasks(
    folder: Path, tasks: Iterable[Kind], part: EvaluationRecipe, accelerator: Accelerator, modes: Modes | None = None
) -> tuple[Results, int]:
    """As [`measured_solver`], of several tasks of the model; metrics are called `TASK/METRIC`."""
    results = defaultdict(dict)
    for task in tasks:
        found, number = measured_solver(folder, task, part, accelerator, modes)
        for mode, metrics in found.items():
            results[mode] |= with_task(task, metrics)
    return dict(results), number


def with_task(task: Kind, metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics under the names `TASK/METRIC`."""
    return {f"{task.name}/{name}": value for name, value in metrics.items()}


def measured_solver(
    folder: Path,
    task: Kind,
    part: EvaluationRecipe,
    accelerator: Accelerator,
    modes: Modes | None = None,
    **how: Any,
) -> tuple[Results, int]:
    """One task of the model in `folder`, by the functions of `ait evaluate`, in these ways to decode, or in all."""
    model, processor = load_model_and_processor(folder, task.name, accelerator.device)
    classes, _ = pair_split(task, part.split, model.config, str(folder), option="", by_order=False)
    batches = task.batches(task.data.examples(part.split, part.num_samples), processor, accelerator, part.batch_size)
    results = {
        mode: task.evaluate(
            model, processor, batches, part, classes, description=mode, accelerator=accelerator, **how, **decoding
        )
        for mode, decoding in (modes or decoding_modes(model.config.parallel)).items()
    }
    return results, num_parameters(model)


def measured_tokenizer(
    folder: Path, task: Kind, part: EvaluationRecipe, accelerator: Accelerator, **how: Any
) -> tuple[Results, int]:
    """On the examples, and in the frame, of the task: what a model that makes no mistake could reach."""
    tokenizer = load_tokenizer(folder).to(accelerator.device)
    rows, name = task.data.examples(part.split, part.num_samples), "reconstruction"
    given = {"image_size": task.data.image_size, "processor": task.processor(), "description": name, **how}
    results = task.evaluate_tokenizer(tokenizer, rows, part, accelerator=accelerator, **given)
    return {name: results}, num_parameters(tokenizer)


def num_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
