# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""One run: a contestant trained with one seed on one data set, measured, and written down as one JSON file."""

import json
import logging
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from safetensors.torch import load_model

from ...data.writing import write_text
from ...inference.generating import decoding_modes
from ...inference.loading import load_model_and_processor, load_tokenizer
from ...recipes.parsing import build, read_values
from ...recipes.streams import EvaluationRecipe
from ...tasks.base import Kind, pair_split
from ...training.settings import Recipe
from ...training.solver import SolverRecipe, train_solver
from ...training.tokenizer import TokenizerRecipe, train_tokenizer
from .baselines import WEIGHTS, BaselineRecipe, train_baseline
from .contestants import BASELINES
from .data_sets import AIT, AIT_P, DATA_SETS, MINUTES, TOKENIZER, DataSet


logger = logging.getLogger(__name__)

# What makes a run one of some seconds that shows whether everything works.
FEW_TOKENIZER_STEPS, FEW_STEPS, FEW_SAMPLES = 40, 4, 4


@dataclass(frozen=True)
class Run:
    """
    Args:
        data: Name of the data set.
        root: Its folder.
        contestant: `"tokenizer"`, `"aitp"`, `"ait"` or a baseline.
        seed: Of the training.
        output: Folder of all runs: this one is trained in `DATA/CONTESTANT-SEED` and written down in `DATA/rows/`.
        minutes: What it is given on two CPU cores: so much longer or shorter than its recipe says.
        split: That is measured; by default the data set's.
        is_quick: A few steps and examples, to see whether everything works.
    """

    data: str
    root: Path
    contestant: str
    seed: int
    output: Path
    minutes: float = MINUTES
    split: str | None = None
    is_quick: bool = False

    @property
    def data_set(self) -> DataSet:
        return DATA_SETS[self.data]

    @property
    def measured_split(self) -> str:
        return self.split or self.data_set.split

    @property
    def command(self) -> str:
        """What does it again, those of the seeds before it included; in as many processes as its row says."""
        asked = {"data": self.data, "root": self.root, "runs": self.contestant, "seeds": self.seed + 1}
        asked |= {"minutes": f"{self.minutes:g}", "split": self.measured_split, "output": self.output}
        words = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
        return shlex.join(["ait", "benchmark", "real", *words, *(["--quick"] if self.is_quick else [])])

    @property
    def folder(self) -> Path:
        is_shared = self.contestant == TOKENIZER
        return self.output / self.data / (TOKENIZER if is_shared else f"{self.contestant}-{self.seed}")

    @property
    def row(self) -> Path:
        return self.output / self.data / "rows" / f"{self.folder.name}-{self.measured_split}.json"

    def recipe(self) -> Recipe:
        """What it trains: the recipe of the library, or of the baseline, on the data in `root`."""
        name = f"{self.data}_{self.contestant}"
        is_baseline = self.contestant in self.data_set.baselines
        path = resources.files(__package__) / "recipes" / f"{name}.yaml" if is_baseline else name
        values = moved(read_values(path), self.data_set.folder, str(self.root))
        values |= {"output_dir": str(self.folder), "seed": self.seed}
        if self.contestant in (AIT_P, AIT):
            values["tasks"][self.data_set.task]["tokenizer"] = str(self.folder.with_name(TOKENIZER))
        train = values["train"]
        if self.is_quick:
            few = FEW_TOKENIZER_STEPS if self.contestant == TOKENIZER else FEW_STEPS
            train |= {"max_steps": few, "log_every": 1, "eval_every": None, "save_every": None}
            if self.contestant != TOKENIZER:  # whose codes start from the samples of its first step
                values["tasks"][self.data_set.task]["data"]["batch_size"] = FEW_SAMPLES
            values["evaluation"] |= {"num_samples": FEW_SAMPLES, "pictures_every": None}
        elif self.contestant != TOKENIZER:
            train["max_steps"] = max(1, round(train["max_steps"] * self.minutes / MINUTES))
        kind = TokenizerRecipe if self.contestant == TOKENIZER else BaselineRecipe if is_baseline else SolverRecipe
        return build(kind, values)


def moved(values: Any, before: str, after: str) -> Any:
    """A recipe whose paths in the folder `before` are in `after`."""
    if isinstance(values, dict):
        return {key: moved(value, before, after) for key, value in values.items()}
    if isinstance(values, list):
        return [moved(value, before, after) for value in values]
    is_inside = isinstance(values, str) and (values == before or values.startswith(f"{before}/"))
    return after + values[len(before) :] if is_inside else values


def do_run(run: Run) -> None:
    """
    Trains what is not trained yet, from its newest checkpoint on, measures it and writes its row; all processes call it. A
    run whose row is there is left alone.
    """
    recipe = run.recipe()
    if run.row.is_file():
        found = json.loads(run.row.read_text(encoding="utf-8"))
        if (found["steps"], found["quick"]) != (recipe.train.max_steps, run.is_quick):
            raise ValueError(
                f"{run.row} is of a run of {found['steps']} steps, but {recipe.train.max_steps} are asked for: remove it and "
                f"{run.folder}, or choose another --output."
            )
        logger.info("%s is there.", run.row)
        return
    history = trained(run, recipe)
    accelerator = Accelerator()
    results, num_parameters = measured(run, recipe, accelerator)
    if not accelerator.is_main_process:
        return
    row = {
        "data": run.data,
        "run": run.contestant,
        "seed": run.seed,
        "command": run.command,
        "quick": run.is_quick,
        "split": run.measured_split,
        "budget_minutes": run.minutes,
        "steps": recipe.train.max_steps,
        **effort(history, batch_size(recipe)),
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "device": str(accelerator.device),
        "num_parameters": num_parameters,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "results": results,
    }
    run.row.parent.mkdir(parents=True, exist_ok=True)
    write_text(run.row, json.dumps(row, indent=2) + "\n")


def trained(run: Run, recipe: Recipe) -> list[dict[str, float]]:
    """The history of the training, which is done if it is not yet."""
    history = run.folder / "history.json"
    if history.is_file():  # written last, after the last evaluation
        rows = json.loads(history.read_text(encoding="utf-8"))
        if rows[-1]["step"] >= recipe.train.max_steps:
            return rows
    if isinstance(recipe, TokenizerRecipe):
        return train_tokenizer(recipe)
    if isinstance(recipe, SolverRecipe):
        return train_solver(recipe)
    return train_baseline(recipe, BASELINES[recipe.model])


def effort(history: Sequence[dict[str, float]], samples_per_step: int) -> dict[str, float]:
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


def batch_size(recipe: Recipe) -> int:
    return recipe.data.batch_size if isinstance(recipe, TokenizerRecipe) else _task(recipe).data.batch_size


def measured(run: Run, recipe: Recipe, accelerator: Accelerator) -> tuple[dict[str, dict[str, float]], int]:
    """
    The metrics of every way to decode, of a tokenizer those of its reconstructions, of a baseline those of its predictions;
    and the number of parameters. By the functions of `ait evaluate`.
    """
    part = EvaluationRecipe(
        split=run.measured_split,
        num_samples=recipe.evaluation.num_samples if run.is_quick else None,
        batch_size=recipe.evaluation.batch_size,
    )
    how = {"accelerator": accelerator, **run.data_set.measuring}
    if isinstance(recipe, TokenizerRecipe):
        return _measured_tokenizer(run, part, how)
    task = _task(recipe)
    rows = task.data.examples(part.split, part.num_samples)
    if isinstance(recipe, BaselineRecipe):
        model, processor = BASELINES[recipe.model](task), task.processor()
        load_model(model, str(run.folder / WEIGHTS))
        model.to(accelerator.device)
        batches = task.batches(rows, processor, accelerator, part.batch_size)
        results = {"": model.evaluate(task, processor, batches, part, **how)}
        return results, _num_parameters(model)
    model, processor = load_model_and_processor(run.folder, task.name, accelerator.device)
    classes, _ = pair_split(task, part.split, model.config, str(run.folder), option="", by_order=False)
    batches = task.batches(rows, processor, accelerator, part.batch_size)
    results = {
        mode: task.evaluate(model, processor, batches, part, classes, description=mode, **how, **decoding)
        for mode, decoding in decoding_modes(model.config.parallel).items()
    }
    return results, _num_parameters(model)


def _measured_tokenizer(
    run: Run, part: EvaluationRecipe, how: dict[str, Any]
) -> tuple[dict[str, dict[str, float]], int]:
    """On the examples, and in the frame, of AiT-P: what a model that makes no mistake could reach."""
    values = moved(read_values(f"{run.data}_{AIT_P}"), run.data_set.folder, str(run.root))
    task = _task(build(SolverRecipe, values))
    tokenizer = load_tokenizer(run.folder).to(how["accelerator"].device)
    rows, name = task.data.examples(part.split, part.num_samples), "reconstruction"
    given = {"image_size": task.data.image_size, "processor": task.processor(), "description": name, **how}
    return {name: task.evaluate_tokenizer(tokenizer, rows, part, **given)}, _num_parameters(tokenizer)


def _task(recipe: SolverRecipe | BaselineRecipe) -> Kind:
    (task,) = recipe.tasks.values()
    return task


def _num_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
