# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The training loop of tokenizers and task-solvers, on 🤗 Accelerate."""

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import (
    GradientAccumulationPlugin,
    ProjectConfiguration,
    is_tensorboard_available,
    set_seed,
)
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..hub import HubRecipe, prepare_repository, push_run
from .data import Batch, Stream, evaluation_batches, mixed_batches
from .files import checkpoint_to_resume, save_checkpoint, write_folder, write_into_folder, write_text
from .optimizer import OptimizerRecipe, build_optimizer
from .recipes import dump_recipe, flatten, read_values, to_values
from .schedules import ConstantSchedule, Schedule, build_schedule


logger = logging.getLogger(__name__)

RECIPE_FILE = "recipe.yaml"
# What may change when a run is resumed without making it another run.
_FREE_ON_RESUME = ("output_dir", "train.resume", "train.trackers", "train.num_workers", "train.max_steps", "hub")
_FREE_ON_RESUME += ("hub.repo_id", "hub.private", "hub.license", "hub.message")


@strict
@dataclass(kw_only=True)
class TrainRecipe:
    """
    Args:
        max_steps (`int`): Optimiser steps.
        gradient_accumulation_steps (`int`): Forwards per optimiser step.
        max_grad_norm (`float`, *optional*): Gradients are clipped to this norm.
        mixed_precision (`str`): `"no"`, `"fp16"` or `"bf16"`.
        num_workers (`int`): Data worker processes per process and source of data; 0 for none. The result does not
            depend on it.
        log_every (`int`): Steps between rows of `history.json`, which hold means over these steps.
        eval_every (`int`, *optional*): Steps between evaluations; `None` for one at the end. The best model is
            kept in `output_dir/best` if set.
        save_every (`int`, *optional*): Steps between checkpoints to resume from; `None` for none.
        keep_checkpoints (`int`): How many of the newest checkpoints stay.
        resume (`str`): `"auto"` (the newest checkpoint in `output_dir`, if any), `"never"` or a checkpoint's path.
        trackers (`list[str]`, *optional*): Names that Accelerate knows (tensorboard, wandb, ...); `[]` for none.
            TensorBoard by default, if it is installed.
    """

    max_steps: int
    gradient_accumulation_steps: int = 1
    max_grad_norm: float | None = None
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    num_workers: int = 0
    log_every: int = 50
    eval_every: int | None = None
    save_every: int | None = None
    keep_checkpoints: int = 2
    resume: str = "auto"
    trackers: list[str] | None = None

    def validate_counts(self):
        for name in ("max_steps", "gradient_accumulation_steps", "log_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("eval_every", "save_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, or null for never, got {getattr(self, name)}.")

    def validate_trackers(self):
        known = {tracker if isinstance(tracker, str) else tracker.value for tracker in get_available_trackers()}
        if unknown := sorted(set(self.trackers or []) - known):
            raise ValueError(
                f"Trackers {unknown} are unknown or not installed; there are: {', '.join(sorted(known))}."
            )


@strict
@dataclass(kw_only=True)
class EvaluationRecipe:
    """
    Args:
        split (`str`): Split to evaluate on.
        num_samples (`int`, *optional*): How many of its samples, spread evenly; all if `None`.
        batch_size (`int`): Samples per batch of one process.
    """

    split: str
    num_samples: int | None = None
    batch_size: int = 32


@strict
@dataclass(kw_only=True)
class Recipe:
    """
    What the recipes of tokenizers and task-solvers share; theirs add what to train on and a `model` section.

    Args:
        hub (`HubRecipe`, *optional*): Where to publish the finished model with its card.
    """

    output_dir: str
    seed: int = 0
    optimizer: OptimizerRecipe
    schedule: Schedule = field(default_factory=ConstantSchedule)
    train: TrainRecipe
    evaluation: EvaluationRecipe
    hub: HubRecipe | None = None


class TrainingTask(ABC):
    """
    What is particular to one kind of model.

    Attributes:
        model: What is trained.
        streams: Sources of samples by name.
        best_metric: Name of the metric that the best model is chosen by.
        lower_is_better: Whether the best is the lowest.
    """

    model: nn.Module
    streams: dict[str, Stream]
    best_metric: str
    lower_is_better: bool

    @abstractmethod
    def loss(
        self,
        model: nn.Module,
        batches: Mapping[str, Batch],
        accelerator: Accelerator,
        divisors: Mapping[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """
        `"loss"` and other scalars to log, on every process the same names; `model` is `self.model` as Accelerate
        wrapped it, `batches` has a batch of every stream that takes part in this step, `divisors` are its
        [`~TrainingTask.divisors`].
        """

    def divisors(self, forwards: Sequence[Mapping[str, Batch]], accelerator: Accelerator) -> dict[str, torch.Tensor]:
        """
        What the losses of one step are divided by, from the batches of all its forwards, so that accumulated gradients
        are those of one large batch. None by default, for losses that are means over samples of one size.
        """
        return {}

    @abstractmethod
    def evaluate(
        self, model: nn.Module, loaders: Mapping[str, DataLoader], accelerator: Accelerator
    ) -> dict[str, float]:
        """Metrics, `best_metric` among them, at least on the main process; all processes call it."""

    @abstractmethod
    def save(self, model: nn.Module, folder: Path) -> None:
        """Writes what `from_pretrained` loads."""

    def start(self, model: nn.Module, batches: Mapping[str, Batch]) -> None:  # noqa: B027 (most models need no start)
        """Called once before the first step with its batches, but not when a run is resumed."""


@dataclass
class Progress:
    """Where a run stands; Accelerate saves and loads it with its checkpoints."""

    step: int = 0
    best: float | None = None  # value of the task's `best_metric`
    history: list[dict[str, float]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "best": self.best, "history": list(self.history)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.best, self.history = state["step"], state["best"], list(state["history"])


def train(task: TrainingTask, recipe: Recipe) -> list[dict[str, float]]:
    """
    Trains `task.model` and leaves in `recipe.output_dir`: the last model (`from_pretrained` loads the folder), the
    best one in `best/`, `checkpoints/`, `history.json`, `recipe.yaml` and `logs/` of file-based trackers.

    Args:
        task (`TrainingTask`): Its model has been built after `set_seed(recipe.seed)`.

    Returns:
        The history: rows with `step` and means since the row before of the losses, `lr` (the highest of all groups),
        `grad_norm` and `samples_per_second`; rows with `step` and `eval_*`.

    Raises:
        FloatingPointError: The loss became NaN or infinite; the message names the step.
        FileNotFoundError, ValueError: From the data or the checkpoint, before training starts.
    """
    return _Run(task, recipe).train()


class _Run:
    def __init__(self, task: TrainingTask, recipe: Recipe):
        self.task = task
        self.recipe = recipe
        self.options = recipe.train
        self.folder = Path(recipe.output_dir)
        self.checkpoints = self.folder / "checkpoints"
        self.progress = Progress()
        self.rate = 0.0
        resumed = checkpoint_to_resume(self.checkpoints, self.options.resume)
        self.accelerator = accelerator = _build_accelerator(recipe)
        if accelerator.is_main_process:
            if recipe.hub is not None:  # a wrong token shows now, not after days
                prepare_repository(recipe.hub)
            self.folder.mkdir(parents=True, exist_ok=True)
            _warn_of_differences(self.folder / RECIPE_FILE, recipe, resumed)
            write_text(self.folder / RECIPE_FILE, dump_recipe(recipe))
        self.loaders = {
            name: evaluation_batches(
                stream,
                accelerator,
                split=recipe.evaluation.split,
                num_samples=recipe.evaluation.num_samples,
                batch_size=recipe.evaluation.batch_size,
                num_workers=self.options.num_workers,
            )
            for name, stream in task.streams.items()
        }
        optimizer = build_optimizer(task.model, recipe.optimizer)
        self.schedule = build_schedule(optimizer, recipe.schedule, self.options.max_steps)
        # Not prepared: Accelerate would step it once per process, and skip it with an overflowing fp16 step.
        accelerator.register_for_checkpointing(self.schedule, self.progress)
        self.model, self.optimizer = accelerator.prepare(task.model, optimizer)
        set_seed(recipe.seed, device_specific=True)  # processes draw different dropout masks
        if resumed is not None:
            accelerator.load_state(str(resumed))
            logger.info("Resumed from %s.", resumed)
        self.batches = mixed_batches(
            task.streams,
            accelerator,
            num_steps=self.options.max_steps,
            done=self.progress.step,
            forwards_per_step=self.options.gradient_accumulation_steps,
            num_workers=self.options.num_workers,
            seed=recipe.seed,
        )

    def train(self) -> list[dict[str, float]]:
        accelerator, options, progress = self.accelerator, self.options, self.progress
        if progress.step == 0:
            first = next(self.batches)
            self.task.start(accelerator.unwrap_model(self.model), first)
            self.batches = chain([first], self.batches)
        accelerator.init_trackers("ait_hf", config=_tracked_config(self.recipe))
        bar = tqdm(
            total=options.max_steps,
            initial=progress.step,
            desc=self.folder.name,
            mininterval=1,
            disable=not accelerator.is_main_process,
        )
        samples_per_forward = sum(stream.data.batch_size / stream.every for stream in self.task.streams.values())
        meter = _Meter(accelerator, samples_per_forward * options.gradient_accumulation_steps)
        self.model.train()
        for values in self._steps():
            meter.add(values)
            progress.step += 1
            bar.update()
            last = progress.step == options.max_steps
            evaluates = last or _is_due(progress.step, options.eval_every)
            saves = options.save_every is not None and (last or _is_due(progress.step, options.save_every))
            if last or evaluates or saves or _is_due(progress.step, options.log_every):
                means = meter.means(progress.step)
                self._log({**means, "lr": self.rate})
                bar.set_postfix(loss=f"{means['loss']:.4g}", refresh=False)
            if evaluates:
                with meter.paused():
                    self._evaluate()
            if saves:
                with meter.paused():
                    save_checkpoint(accelerator, self.checkpoints, progress.step, options.keep_checkpoints)
        bar.close()
        self._finish()
        return progress.history

    def _steps(self) -> Iterator[dict[str, torch.Tensor]]:
        """One optimiser step per item, whose scalars stay on the device: nothing here waits for it."""
        accelerator, parameters = self.accelerator, [p for p in self.model.parameters() if p.requires_grad]
        while forwards := list(islice(self.batches, self.options.gradient_accumulation_steps)):
            divisors, losses = self.task.divisors(forwards, accelerator), []
            for batches in forwards:
                with accelerator.accumulate(self.model):
                    values = self.task.loss(self.model, batches, accelerator, divisors)
                    accelerator.backward(values["loss"])
                    losses.append({name: value.detach() for name, value in values.items()})
                    if not accelerator.sync_gradients:
                        continue
                    values = _mean(losses)
                    if self.options.max_grad_norm is not None:
                        values["grad_norm"] = accelerator.clip_grad_norm_(parameters, self.options.max_grad_norm)
                    self.rate = max(self.schedule.get_last_lr())
                    self.optimizer.step()
                    self.optimizer.zero_grad()
                    self.schedule.step()
            yield values

    def _evaluate(self) -> None:
        accelerator, model = self.accelerator, self.accelerator.unwrap_model(self.model)
        model.eval()
        with torch.no_grad(), accelerator.autocast():
            metrics = self.task.evaluate(model, self.loaders, accelerator)
        self.model.train()
        if accelerator.is_main_process:
            self._log({f"eval_{name}": value for name, value in metrics.items()})
            if self._is_best(metrics[self.task.best_metric]) and self.options.eval_every is not None:
                write_folder(self.folder / "best", self._save)
            self._write_history(self.folder)
        accelerator.wait_for_everyone()

    def _is_best(self, value: float) -> bool:
        """Whether it is better than all before; remembers it then."""
        best = self.progress.best
        is_best = best is None or (value < best if self.task.lower_is_better else value > best)
        if is_best:
            self.progress.best = value
        return is_best

    def _log(self, values: dict[str, float]) -> None:
        self.progress.history.append({"step": self.progress.step, **values})
        self.accelerator.log(values, step=self.progress.step)

    def _write_history(self, folder: Path) -> None:
        write_text(folder / "history.json", json.dumps(self.progress.history, indent=1))

    def _save(self, folder: Path) -> None:
        self.task.save(self.accelerator.unwrap_model(self.model), folder)
        write_text(folder / RECIPE_FILE, dump_recipe(self.recipe))
        self._write_history(folder)  # also beside the best model, whose card reads it

    def _finish(self) -> None:
        if self.accelerator.is_main_process:
            write_into_folder(self.folder, self._save)
            self._write_history(self.folder)
            if self.recipe.hub is not None:
                logger.info("Pushed to %s.", push_run(self.folder, self.recipe.hub))
        self.accelerator.end_training()


class _Meter:
    """Collects the scalars of every step on the device and reads them all at once."""

    def __init__(self, accelerator: Accelerator, samples_per_step: float):
        self.accelerator = accelerator
        self.samples_per_step = samples_per_step * accelerator.num_processes
        self.steps: list[dict[str, torch.Tensor]] = []
        self.start = time.perf_counter()

    def add(self, values: dict[str, torch.Tensor]) -> None:
        self.steps.append(values)

    def means(self, step: int) -> dict[str, float]:
        """
        Means over the steps since the last call, the last of which was number `step`, and over processes. A scalar
        that not every step has is averaged over those that have it.
        """
        columns: dict[str, list[torch.Tensor]] = {}
        for values in self.steps:
            for name, value in values.items():
                columns.setdefault(name, []).append(value.float())
        local = torch.stack(list(chain.from_iterable(columns.values())))
        tables = self.accelerator.reduce(local, "mean").cpu().split([len(column) for column in columns.values()])
        table = dict(zip(columns, tables))
        finite = torch.isfinite(table["loss"])
        if not finite.all():
            bad = step - len(self.steps) + 1 + int(finite.logical_not().nonzero()[0])
            raise FloatingPointError(
                f"The loss of step {bad} is not finite. Lower the learning rate, clip gradients (train.max_grad_norm), "
                "or check the data; train.mixed_precision=no rules out overflow."
            )
        elapsed = time.perf_counter() - self.start
        means = {name: column.mean().item() for name, column in table.items()}
        means["samples_per_second"] = len(self.steps) * self.samples_per_step / elapsed
        self.steps = []
        self.start = time.perf_counter()
        return means

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time inside does not count."""
        start = time.perf_counter()
        yield
        self.start += time.perf_counter() - start


def _build_accelerator(recipe: Recipe) -> Accelerator:
    trackers = recipe.train.trackers
    if trackers is None:
        trackers = ["tensorboard"] if is_tensorboard_available() else []
    return Accelerator(
        mixed_precision=recipe.train.mixed_precision,
        # Forwards alone say when a step is done: streams of data may end before the training does.
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=recipe.train.gradient_accumulation_steps, sync_with_dataloader=False
        ),
        log_with=trackers or None,
        project_config=ProjectConfiguration(recipe.output_dir, logging_dir=str(Path(recipe.output_dir) / "logs")),
    )


def _warn_of_differences(path: Path, recipe: Recipe, resumed: Path | None) -> None:
    """Says where the recipe of a resumed run is not the one it was started with."""
    if resumed is None or not path.is_file():
        return
    before, now = flatten(read_values(path)), flatten(to_values(recipe))
    differing = [key for key in before.keys() | now.keys() if before.get(key) != now.get(key)]
    if differing := sorted(set(differing) - set(_FREE_ON_RESUME)):
        logger.warning("%s is resumed with other values than it was started with: %s.", resumed, ", ".join(differing))


def _tracked_config(recipe: Recipe) -> dict[str, str]:
    """Trackers take flat dictionaries of plain values."""
    return {key: str(value) for key, value in flatten(to_values(recipe)).items()}


def _mean(forwards: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    if len(forwards) == 1:
        return forwards[0]
    return {name: torch.stack([values[name] for values in forwards]).mean() for name in forwards[0]}


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
