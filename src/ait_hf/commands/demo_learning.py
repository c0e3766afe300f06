# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What the two processes of `ait demo` do together: tokenizers and a model learn, and are measured."""

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, set_seed
from PIL import Image

from ..benchmarks.rows import measured_tasks, measured_tokenizer, with_task
from ..data.rooms.depth import mean_depth
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..recipes.parsing import read_values
from ..recipes.streams import EvaluationRecipe
from ..training.loop import Loaders, train
from ..training.solver import SolverRecipe, SolverTraining, read_recipe
from ..training.tokenizer import TokenizerRecipe, train_tokenizer
from .demo_pictures import OBJECT_TASK, Viewer
from .demo_tokens import Row, mean_rmse


SOLVER, PROBE = "joint", "probe"  # folders of the model, and of the steps that are only timed
TOKENIZERS = {"depth": "tokenizer", OBJECT_TASK: "mask_tokenizer"}  # folders of the tokenizers of its tasks
SMALLER = ["data.people=false", "data.num_rooms=3000"]
RECIPES = {  # of every folder: the recipe's name, and what differs
    "tokenizer": ["rooms_depth_tokenizer", *SMALLER, "train.max_steps=500"],
    "mask_tokenizer": ["rooms_mask_tokenizer", *SMALLER, "train.max_steps=700"],
    SOLVER: ["demo_joint"],
}
NUM_TEST_ROOMS, NUM_ROOMS_FOR_THE_MEAN = 128, 512
LADDER = (400, 500, 640, 800, 1000, 1250, 1600, 2000, 2500, 3200, 4000, 5000, 6400, 8000)  # steps
TRAINING_SECONDS = 420  # that the steps may take, without rendering and pictures
PROBE_STEPS, PROBE_ROOMS = 60, 160  # the last three quarters are timed, when all the rooms have been rendered
SECONDS_PER_FRAME = 60
QUICK_STEPS, QUICK_ROOMS = 4, 8


class Learning:
    """
    The trainings of the demo, by the options of the command. Every process calls the same methods in the same order.

    Raises:
        ValueError: What the options say does not fit the recipes.
    """

    def __init__(self, options: argparse.Namespace):
        self.options, self.output = options, Path(options.output)
        self.num_rooms = QUICK_ROOMS if options.quick else NUM_TEST_ROOMS
        self.tokenizers: dict[str, TokenizerRecipe] = {folder: self._recipe(folder) for folder in TOKENIZERS.values()}
        self.solver: SolverRecipe = self._solver()

    def _recipe(self, folder: str, *changes: str) -> TokenizerRecipe | SolverRecipe:
        name, *own = RECIPES[folder]
        own += [f"output_dir={self.output / folder}", f"seed={self.options.seed}"]
        own += ["train.resume=never", "train.trackers=[]"]
        quick = [f"train.max_steps={QUICK_STEPS}", f"evaluation.num_samples={QUICK_ROOMS}"]
        return read_recipe(read_values(name, [*own, *(quick if self.options.quick else []), *changes]))

    def _solver(self, *changes: str) -> SolverRecipe:
        tokenizers = [f"tasks.{task}.tokenizer={self.output / folder}" for task, folder in TOKENIZERS.items()]
        return self._recipe(SOLVER, *tokenizers, *changes)

    def run(
        self,
        brought: str | Path | None,
        say: Callable[[str], None] = lambda status: None,
        film: Callable[..., dict[str, Image.Image]] | None = None,
    ) -> dict[str, Any]:
        """
        Args:
            brought: Folder of a model to compare with.
            say: Hears what comes next.
            film: Of the main process, see [`FilmedTraining`]; called about once a minute.

        Returns:
            `rows` of the table, see [`~Learning.measure`], and of how many rooms they are (`num_rooms`); the `history` of the
            model's training, whose evaluations are on `curve_rooms`, and its `training_minutes`; `seed`, `steps`, and
            `seconds_per_step` as measured before.
        """
        say("The tokenizers of depth and of masks learn.")
        for recipe in self.tokenizers.values():
            train_tokenizer(recipe)
        say("How fast is this machine? A few steps of the model.")
        seconds = self._seconds_per_step()
        steps = self.options.steps or (QUICK_STEPS if self.options.quick else chosen_steps(seconds))
        end = time.strftime("%H:%M", time.localtime(time.time() + steps * seconds))
        say(f"The model learns: {steps} steps of {seconds:.3f} s, until about {end}.")
        every = min(steps, max(1, round(SECONDS_PER_FRAME / seconds)))
        changes = [f"train.max_steps={steps}", f"train.eval_every={every}", f"evaluation.pictures_every={every}"]
        self.solver = self._solver(*changes)
        start = time.perf_counter()
        history = self._train(self.solver, partial(FilmedTraining, film=film))
        report = {"seed": self.options.seed, "steps": steps, "seconds_per_step": seconds}
        report["training_minutes"] = (time.perf_counter() - start) / 60
        say(f"Everything is measured on {self.num_rooms} test rooms.")
        report |= {"rows": self.measure(brought), "num_rooms": self.num_rooms}
        return report | {"history": history, "curve_rooms": self.solver.evaluation.num_samples}

    def _seconds_per_step(self) -> float:
        """What a step of the model takes here and now, on both processes the same number."""
        num_steps = QUICK_STEPS if self.options.quick else PROBE_STEPS
        short = [f"train.max_steps={num_steps}", f"train.log_every={num_steps // 4}", "evaluation.num_samples=2"]
        short += [f"tasks.{task}.data.num_rooms={PROBE_ROOMS}" for task in TOKENIZERS]
        recipe = self._solver(f"output_dir={self.output / PROBE}", *short)
        timed = [row for row in self._train(recipe, SolverTraining) if "loss" in row][1:]
        samples = sum(task.data.batch_size for task in recipe.tasks.values())
        seconds = [float(np.mean([samples / row["samples_per_second"] for row in timed]))]
        broadcast_object_list(seconds)
        if PartialState().is_main_process:
            shutil.rmtree(recipe.output_dir)
        return seconds[0]

    @staticmethod
    def _train(recipe: SolverRecipe, training: Callable[[SolverRecipe], SolverTraining]) -> list[Row]:
        set_seed(recipe.seed)
        return train(training(recipe), recipe)

    def measure(self, brought: str | None) -> list[Row]:
        """The lines of the table, on the test rooms: metrics by the names of task and metric; `brought` is the folder of a
        model to compare with."""
        depths = self._rows("depth")
        rooms = [depths[number]["depth"] for number in range(self.num_rooms)]
        mean = mean_depth(rooms[0].shape, QUICK_ROOMS if self.options.quick else NUM_ROOMS_FOR_THE_MEAN)
        rows = [{"name": "mean of every pixel", "depth/rmse": mean_rmse((mean - room)[room > 0] for room in rooms)}]
        rows.append({"name": "tokenizers", **self._measure_tokenizers()})
        given = self.solver.tasks.values(), self._part, Accelerator()
        trained, _ = measured_tasks(self.output / SOLVER, *given)
        rows += [{"name": f"trained now, {mode}", **values} for mode, values in trained.items()]
        if brought is not None:
            as_by_default, _ = measured_tasks(brought, *given, modes={"": {}})
            rows.append({"name": Path(brought).name, **as_by_default[""]})
        return rows

    def _rows(self, task: str) -> Sequence[Row]:
        return self.solver.tasks[task].data.examples("test", self.num_rooms)

    @property
    def _part(self) -> EvaluationRecipe:
        return EvaluationRecipe(split="test", num_samples=self.num_rooms)

    def _measure_tokenizers(self) -> Row:
        values = {}
        for name, folder in TOKENIZERS.items():
            found, _ = measured_tokenizer(self.output / folder, self.solver.tasks[name], self._part, Accelerator())
            values |= with_task(self.solver.tasks[name], found["reconstruction"])
        return values


class FilmedTraining(SolverTraining):
    """
    A training that is watched: `film` gets what looks at rooms by the model as it is, and the metrics of the evaluation before
    it, and returns pictures by their names.
    """

    def __init__(self, recipe: SolverRecipe, film: Callable[[Viewer, dict[str, float]], dict[str, Image.Image]]):
        super().__init__(recipe)
        self.film = film

    def evaluate(
        self, model: AiTForDenseTokenGeneration, loaders: Loaders, accelerator: Accelerator
    ) -> dict[str, float]:
        self.latest = super().evaluate(model, loaders, accelerator)
        return self.latest

    def pictures(self, model: AiTForDenseTokenGeneration, options: EvaluationRecipe) -> dict[str, Image.Image]:
        return self.film(Viewer(model, self.processors), self.latest)


def chosen_steps(seconds_per_step: float) -> int:
    """The highest rung of the ladder that is climbed in time, or the lowest one."""
    return max((steps for steps in LADDER if steps * seconds_per_step <= TRAINING_SECONDS), default=LADDER[0])
