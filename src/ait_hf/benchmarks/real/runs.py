# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""One run: a contestant trained with one seed on one data set, measured, and written down as one JSON file."""

import shlex
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_model

from ...recipes.parsing import build, read_values
from ...recipes.streams import EvaluationRecipe
from ...training.settings import Recipe
from ...training.solver import SolverRecipe
from ...training.tokenizer import TokenizerRecipe
from ..rows import Results, TrainedRun, measured_solver, measured_tokenizer, num_parameters
from .baselines import WEIGHTS, BaselineRecipe, train_baseline
from .contestants import BASELINES
from .data_sets import AIT, AIT_P, DATA_SETS, MINUTES, TOKENIZER, DataSet


# What makes a run one of some seconds that shows whether everything works.
FEW_TOKENIZER_STEPS, FEW_STEPS, FEW_SAMPLES = 40, 4, 4


@dataclass(frozen=True)
class Run(TrainedRun):
    """
    Args:
        data: Name of the data set.
        root: Its folder.
        contestant: `"tokenizer"`, `"aitp"`, `"ait"` or a baseline.
        seed: Of the training.
        output: Folder of all runs: this one is trained in `DATA/CONTESTANT-SEED` and written down in `DATA/rows/`.
        minutes: What it is given on one CPU core: so much longer or shorter than its recipe says.
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

    @property
    def named(self) -> dict[str, Any]:
        return {"data": self.data, "run": self.contestant, "command": self.command, "split": self.measured_split}

    def train(self, recipe: Recipe) -> list[dict[str, float]]:
        if isinstance(recipe, BaselineRecipe):
            return train_baseline(recipe, BASELINES[recipe.model])
        return super().train(recipe)

    def measured(self, recipe: Recipe, accelerator: Accelerator) -> tuple[Results, int]:
        part = EvaluationRecipe(
            split=self.measured_split,
            num_samples=recipe.evaluation.num_samples if self.is_quick else None,
            batch_size=recipe.evaluation.batch_size,
        )
        how = self.data_set.measuring
        if isinstance(recipe, TokenizerRecipe):
            values = moved(read_values(f"{self.data}_{AIT_P}"), self.data_set.folder, str(self.root))
            task = build(SolverRecipe, values).tasks[self.data_set.task]
            return measured_tokenizer(self.folder, task, part, accelerator, **how)
        task = recipe.tasks[self.data_set.task]
        if not isinstance(recipe, BaselineRecipe):
            return measured_solver(self.folder, task, part, accelerator, **how)
        model, processor = BASELINES[recipe.model](task), task.processor()
        load_model(model, str(self.folder / WEIGHTS))
        model.to(accelerator.device)
        rows = task.data.examples(part.split, part.num_samples)
        batches = task.batches(rows, processor, accelerator, part.batch_size)
        results = model.evaluate(task, processor, batches, part, accelerator=accelerator, **how)
        return {"": results}, num_parameters(model)


def moved(values: Any, before: str, after: str) -> Any:
    """A recipe whose paths in the folder `before` are in `after`."""
    if isinstance(values, dict):
        return {key: moved(value, before, after) for key, value in values.items()}
    if isinstance(values, list):
        return [moved(value, before, after) for value in values]
    is_inside = isinstance(values, str) and (values == before or values.startswith(f"{before}/"))
    return after + values[len(before) :] if is_inside else values
