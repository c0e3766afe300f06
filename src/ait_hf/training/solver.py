# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Training of the task-solver on one task or several, its tokenizers being fixed (AiT paper, section 3.3)."""

from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Any, Union

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from PIL import Image

from ..hub.remote_code import save_with_remote_code
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.objectives_ait import Objective
from ..recipes.parsing import as_section, build
from ..recipes.streams import Batch, EvaluationRecipe
from ..tasks.base import pair_task
from ..tasks.kinds import KINDS, check_unit
from .loop import Batches, Loaders, Recipe, Scalars, TrainingTask, train
from .lora import merged, save_adapters
from .solver_model import SolverModelRecipe, build_solver, normalize_as_weights
from .tokenizer import TokenizerRecipe


@as_section
class SolverRecipe(Recipe):
    """
    Recipe of a task-solver.

    Args:
        tasks (`dict`): Sections by the name of the task; the best model is chosen by the first.
        model (`SolverModelRecipe`): What to train.
    """

    tasks: dict[str, Union[KINDS]]  # noqa: UP007 (any of them)
    model: SolverModelRecipe = field(default_factory=SolverModelRecipe)

    def validate_tasks(self):
        if not any(task.every == 1 for task in self.tasks.values()):
            raise ValueError("At least one task must take part in every step (every: 1).")
        for name, task in self.tasks.items():
            check_unit(task.data, f"tasks.{name}.data")
            if self.model.pretrained is None:
                if task.codebook is not None and task.tokenizer is None:
                    raise ValueError(
                        f"tasks.{name} needs tokenizer (the folder of a trained one), unless model.pretrained (a whole "
                        "AiT model) is given."
                    )
                continue
            if task.codebook is not None and task.tokenizer is not None and not self.model.adapt:
                raise ValueError(
                    f"tasks.{name}.tokenizer has no effect with model.pretrained: leave it out, or set model.adapt to "
                    "replace the model's."
                )
            if task.settings != type(task.settings)():
                raise ValueError(f"tasks.{name}.settings has no effect with model.pretrained: leave it out.")


class SolverTraining(TrainingTask):
    """The model's own losses on annotated images of each task."""

    def __init__(self, recipe: SolverRecipe):
        self.recipe = recipe
        self.model = build_solver(recipe.tasks, recipe.model)
        self.parts = (self.model.get_encoder(), self.model.get_decoder())
        declared = {name: self.model.config.task(name) for name in recipe.tasks}
        self.objectives = self.model.objectives
        self.loss_weights = {name: task.loss_weight for name, task in declared.items()}
        given = (self.model.config, recipe.evaluation.split, None if recipe.model.adapt else recipe.model.pretrained)
        self.classes = {name: pair_task(task, *given) for name, task in recipe.tasks.items()}
        self.warnings = [warning for classes in self.classes.values() for warning in classes.warnings]
        self.warnings += normalize_as_weights(recipe.tasks, recipe.model, self.model.config)
        self.streams = {}
        for name, task in recipe.tasks.items():
            task.data.check_ground_truth(recipe.evaluation.split, recipe.evaluation.num_samples)
            trained = self.classes[name].trained
            stream = task.stream(declared[name], None if trained is None else trained.numbers)
            self.streams[name] = replace(stream, draft=partial(_draft, self.objectives[name]))
        self.processors = {name: task.processor() for name, task in recipe.tasks.items()}
        name, first = next(iter(recipe.tasks.items()))
        self.best_metric, self.lower_is_better = f"{name}/{first.best_metric}", first.lower_is_better
        if recipe.model.gradient_checkpointing:
            self.model.activation_checkpointing_enable()

    def counts(self, batches: Batches) -> Scalars:
        """Supervised tokens of every task."""
        return {name: self.objectives[name].drafted(batch["labels"]).num_tokens for name, batch in batches.items()}

    def loss(self, model: torch.nn.Module, batches: Batches, accelerator: Accelerator, divisors: Scalars) -> Scalars:
        """Every task's sum divided by its number of supervised tokens, weighted (reference §5)."""
        values, weighted = {}, []
        for name, losses in model(batches=batches).losses.items():
            mean = losses.pop("total") / divisors[name]
            del losses["num_tokens"]
            weighted.append(self.loss_weights[name] * mean)
            values |= {f"{name}/{key}": value for key, value in {"loss": mean, **losses}.items()}
        return {"loss": sum(weighted), **values}

    def evaluation_loaders(self, accelerator: Accelerator, options: EvaluationRecipe, num_workers: int) -> Loaders:
        loaders = {}
        for name, task in self.recipe.tasks.items():
            rows = task.data.examples(options.split, options.num_samples)
            loaders[name] = task.batches(rows, self.processors[name], accelerator, options.batch_size, num_workers)
        return loaders

    def evaluate(
        self, model: AiTForDenseTokenGeneration, loaders: Loaders, accelerator: Accelerator
    ) -> dict[str, float]:
        results = {}
        for name, task in self.recipe.tasks.items():
            given = (self.processors[name], loaders[name], self.recipe.evaluation, self.classes[name].evaluated)
            metrics = task.evaluate(model, *given, accelerator=accelerator)
            results |= {f"{name}/{key}": value for key, value in metrics.items()}
        return results

    def pictures(self, model: AiTForDenseTokenGeneration, options: EvaluationRecipe) -> dict[str, Image.Image]:
        pictures = {}
        for name, task in self.recipe.tasks.items():
            rows = list(task.data.examples(options.split, options.num_pictures))
            pictures[name] = task.gallery(model, self.processors[name], rows, self.classes[name].evaluated)
        return pictures

    def save(self, model: AiTForDenseTokenGeneration, folder: Path) -> None:
        """The first task's image processor lies beside the model; with several tasks each also in its own folder."""
        if self.recipe.model.lora is not None:
            if not self.recipe.model.adapt:  # else they would not fit the model that they are named after
                save_adapters(model, folder / "adapter")
            model = merged(model)
        save_with_remote_code(model, self.processors, folder)


def _draft(objective: Objective, batch: Batch) -> Batch:
    """Sequences are drafted where batches are made: by the data workers, whom no GPU waits for."""
    draft = objective.draft(batch["labels"], batch.get("seeds"))
    return {"pixel_values": batch["pixel_values"], "labels": draft}


def train_solver(recipe: SolverRecipe) -> list[dict[str, float]]:
    """Runs a recipe; result, files and errors as of [`~ait_hf.training.loop.train`]."""
    set_seed(recipe.seed)
    return train(SolverTraining(recipe), recipe)


AnyRecipe = SolverRecipe | TokenizerRecipe


def read_recipe(values: dict[str, Any]) -> AnyRecipe:
    """The recipe of a task-solver or of a tokenizer, whichever it is; `ValueError` for what is neither."""
    if not {"tasks", "data"} & values.keys():
        raise ValueError(
            "The recipe has neither tasks, as that of a task-solver has, nor data, as that of a tokenizer: its keys are "
            f"{', '.join(map(str, values)) or 'none'}."
        )
    return build(SolverRecipe if "tasks" in values else TokenizerRecipe, values)
