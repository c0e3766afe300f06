# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The training loop of tokenizers and task-solvers, on 🤗 Accelerate."""

import copy
import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DynamoBackend, TorchDynamoPlugin, send_to_device, set_seed
from PIL import Image
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..data.writing import write_folder, write_into_folder, write_text
from ..drawing.picture_files import save_image
from ..hub.push import prepare_repository, push_folder
from ..recipes.parsing import build, dump_recipe, flatten, read_values, to_values
from ..recipes.streams import Batch, EvaluationRecipe, Stream, evaluation_batches, mixed_batches, shared_out
from . import processes
from .checkpoints import check_batch_sizes, checkpoint_to_resume, name_last_good, save_checkpoint, write_together
from .depthwise import depthwise_in_float32
from .monitoring import SKIPPED, Meter, Runaway, StepGuard, find_runaway, poison
from .optimizer import build_optimizer, build_schedule
from .settings import Recipe


logger = logging.getLogger(__name__)

Batches = Mapping[str, Batch]  # of one forward, by the names of the streams
Scalars = dict[str, torch.Tensor]
Loaders = dict[str, DataLoader]
RECIPE_FILE = "recipe.yaml"
# What may change when a run is resumed without making it another run.
_FREE_ON_RESUME = ("output_dir", "train.resume", "train.trackers", "train.num_workers", "train.max_steps", "hub")
_FREE_ON_RESUME += ("train.max_loss_growth", "hub.repo_id", "hub.private", "hub.license", "hub.message")


class TrainingTask(ABC):
    """What is particular to one kind of model."""

    model: nn.Module  # what is trained
    parts: Sequence[nn.Module]  # of it that `train.compile` makes graphs of, an encoder and a decoder
    streams: dict[str, Stream]  # of samples, by name
    best_metric: str  # name of the metric that the best model is chosen by
    lower_is_better: bool
    warnings: Sequence[str] = ()  # what the user should know before the training starts

    @abstractmethod
    def loss(self, model: nn.Module, batches: Batches, accelerator: Accelerator, divisors: Scalars) -> Scalars:
        """
        `"loss"` and other scalars to log, on every process the same names; `model` is `self.model` as Accelerate
        wrapped it, `batches` has a batch, on its device, of every stream that takes part in this step, `divisors` are its
        [`~TrainingTask.divisors`].
        """

    @abstractmethod
    def counts(self, batches: Batches) -> Scalars:
        """How many values the losses of one forward are over, by names; its batches are still on the host."""

    def divisors(self, forwards: Sequence[Batches], accelerator: Accelerator) -> Scalars:
        """
        What the losses of one step are divided by, so that accumulated gradients are those of one large batch: its
        counts, averaged over its forwards and over processes, and at least 1.
        """
        counts, means = [self.counts(batches) for batches in forwards], {}
        for name in counts[0]:
            mean = torch.stack([values[name] for values in counts]).mean()
            means[name] = accelerator.reduce(mean.to(accelerator.device, non_blocking=True), "mean").clamp(min=1)
        return means

    @contextmanager
    def step(self) -> Iterator[Scalars]:
        """
        What the loop opens around the forwards of one step. Yields a dictionary that afterwards has the scalars that
        belong to the step as a whole, to log as those of `loss`.
        """
        yield {}

    def evaluation_loaders(self, accelerator: Accelerator, options: EvaluationRecipe, num_workers: int) -> Loaders:
        """What is evaluated, by the names of the streams; errors of the data show here."""
        how = {"split": options.split, "num_samples": options.num_samples, "batch_size": options.batch_size}
        how["num_workers"] = num_workers
        return {name: evaluation_batches(stream, accelerator, **how) for name, stream in self.streams.items()}

    @abstractmethod
    def evaluate(self, model: nn.Module, loaders: Loaders, accelerator: Accelerator) -> dict[str, float]:
        """Metrics, `best_metric` among them, at least on the main process; all processes call it."""

    @abstractmethod
    def pictures(self, model: nn.Module, options: EvaluationRecipe) -> dict[str, Image.Image]:
        """Predictions beside the truth, drawn for every task by its name; called on the main process, if asked for."""

    @abstractmethod
    def save(self, model: nn.Module, folder: Path) -> None:
        """Writes what `from_pretrained` loads."""

    def start(self, model: nn.Module, forwards: Sequence[Batches]) -> None:  # noqa: B027 (most need none)
        """Called once before the first step with the batches of its forwards, but not when a run is resumed."""


@dataclass
class Progress:
    """Where a run stands; Accelerate saves and loads it with its checkpoints."""

    step: int = 0
    best: float | None = None  # value of the task's `best_metric`
    skipped: int = 0  # steps that were not finite, in all
    skipped_in_a_row: int = 0  # up to now
    history: list[dict[str, float]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        return vars(self) | {"history": list(self.history)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def train(task: TrainingTask, recipe: Recipe) -> list[dict[str, float]]:
    """
    Trains `task.model` and leaves in `recipe.output_dir`: the last model (`from_pretrained` loads the folder), the
    best one in `best/`, `checkpoints/`, `history.json`, `recipe.yaml` and `logs/` of file-based trackers.

    Args:
        task (`TrainingTask`): Its model has been built after `set_seed(recipe.seed)`.

    Returns:
        The history: rows with `step` and means since the row before of the losses, `lr` (the highest of all groups),
        `grad_norm`, `skipped_steps`, `unreadable_samples`, `samples_per_second`, `cpu_seconds` and `peak_memory_gb`; rows with `step`
        and `eval_*`.

    Raises:
        FloatingPointError: More steps in a row than the recipe allows were not finite, or the loss ran away; the message
            says when, and names the last good checkpoint.
        WriteError: A file could not be written; the message names the last good checkpoint.
        FileNotFoundError, ValueError: From the data or the checkpoint, before training starts.
    """
    return _Run(task, recipe).train()


class _Run:
    def __init__(self, task: TrainingTask, recipe: Recipe):
        self.task, self.recipe, self.options = task, recipe, recipe.train
        self.folder = Path(recipe.output_dir)
        self.checkpoints = self.folder / "checkpoints"
        self.progress, self.rate = Progress(), 0.0
        self.num_unreadable = 0  # of what this process has drawn
        self.accelerator = accelerator = processes.build_accelerator(recipe)
        if accelerator.is_main_process:
            for warning in task.warnings:
                logger.warning(warning)
        self.is_sharded = processes.is_sharded(task.model, accelerator)
        self._share_out()
        self.last_checkpoint = resumed = checkpoint_to_resume(accelerator, self.checkpoints, self.options.resume)
        self._check_resumed(resumed)
        self.loaders = task.evaluation_loaders(accelerator, recipe.evaluation, self.options.num_workers)
        if self.is_sharded:
            processes.set_up_sharding(task.model, accelerator)
            self.whole = copy.deepcopy(task.model).to(accelerator.device)
        optimizer = build_optimizer(task.model, recipe.optimizer)
        self.schedule = build_schedule(optimizer, recipe.schedule, self.options.max_steps)
        # Not prepared: Accelerate would step it once per process, and skip it with an overflowing fp16 step.
        accelerator.register_for_checkpointing(self.schedule, self.progress)
        self.model, self.optimizer = accelerator.prepare(task.model, optimizer)
        compiled = TorchDynamoPlugin(backend=self.options.compile)  # the recipe's backend, or the launch's
        if compiled.backend != DynamoBackend.NO:
            processes.compile_parts(task.parts, compiled)
        self.depthwise = depthwise_in_float32(task.model, accelerator)
        self.parameters = _trained(self.model)
        self.average = None
        if self.options.ema_decay is not None:
            self.average = processes.build_average(
                self.parameters, self.options.ema_decay, accelerator, self.is_sharded
            )
        set_seed(recipe.seed, device_specific=True)  # processes draw different dropout masks
        if resumed is not None:
            accelerator.load_state(str(resumed))
            logger.info("Resumed from %s.", resumed)
            if self.average is not None:
                self.average.to(accelerator.device)
        self.model.train()
        self.guard = StepGuard(self.model, self.optimizer, accelerator)
        pace = {"num_steps": self.options.max_steps, "done": self.progress.step}
        pace["forwards_per_step"] = self.options.gradient_accumulation_steps
        how = {"num_workers": self.options.num_workers, "seed": recipe.seed}
        self.batches = mixed_batches(task.streams, accelerator, **pace, **how)

    def _share_out(self) -> None:
        """Says how processes and forwards share the samples of a step; `ValueError` if they cannot."""
        shares = self.accelerator.num_processes, self.options.gradient_accumulation_steps
        totals = {name: stream.data.batch_size for name, stream in self.task.streams.items()}
        for name, size in shared_out(totals, *shares).items():
            if self.accelerator.is_main_process:
                said = "A step has %d of %s: processes x forwards x samples = %d x %d x %d."
                logger.info(said, totals[name], name, *shares, size)

    def _check_resumed(self, resumed: Path | None) -> None:
        """Says where the recipe is not the one that the run was started with; `ValueError` if its batches are others."""
        if resumed is None or not (path := resumed.resolve().parents[1] / RECIPE_FILE).is_file():
            return
        saved, now = read_values(path), flatten(to_values(self.recipe))
        before = to_values(build(type(self.recipe), saved))  # with the names and defaults of today
        before["version"] = saved.get("version")
        before = check_batch_sizes(flatten(before), now, resumed)
        differing = [key for key in before.keys() | now.keys() if before.get(key) != now.get(key)]
        differing = sorted(set(differing) - set(_FREE_ON_RESUME))
        if differing and self.accelerator.is_main_process:
            said = "%s is resumed with other values than it was started with: %s."
            logger.warning(said, resumed, ", ".join(differing))

    def train(self) -> list[dict[str, float]]:
        accelerator, options, progress = self.accelerator, self.options, self.progress
        is_done = progress.step >= options.max_steps  # resumed at its end
        # Data that cannot be read show before anything is written.
        first = [] if is_done else list(islice(self.batches, options.gradient_accumulation_steps))
        if accelerator.is_main_process and self.recipe.hub is not None:
            prepare_repository(self.recipe.hub)  # what is needed at the end is missed now, not after days
        self._write("The recipe", lambda: self._write_recipe(self.folder))
        if is_done:
            self._write_model()
        elif progress.step == 0:
            with processes.uncompiled():
                self.task.start(self._unwrapped(), send_to_device(first, accelerator.device))
        self.batches = chain(first, self.batches)
        tracked = {key: str(value) for key, value in flatten(to_values(self.recipe)).items()}  # flat and plain
        accelerator.init_trackers("ait_hf", config=tracked)
        span = {"total": options.max_steps, "initial": progress.step}
        bar = tqdm(**span, desc=self.folder.name, mininterval=1, disable=not accelerator.is_main_process)
        meter = Meter(accelerator, sum(stream.data.batch_size / stream.every for stream in self.task.streams.values()))
        for values in self._steps():
            meter.steps.append(values)
            progress.step += 1
            bar.update()
            last = progress.step == options.max_steps
            evaluates = last or _is_due(progress.step, options.eval_every)
            saves = options.save_every is not None and (last or _is_due(progress.step, options.save_every))
            if last or evaluates or saves or _is_due(progress.step, options.log_every):
                means, skipped = meter.read()
                self._log({**means, "lr": self.rate, "unreadable_samples": self._count_unreadable()})
                self._count_skipped(skipped)
                runaway = self._find_runaway()
                if "loss" in means:
                    bar.set_postfix(loss=f"{means['loss']:.4g}", refresh=False)
            with meter.paused():
                if last:  # before the evaluation, so that nothing that goes wrong there loses it
                    self._write_model()
                if evaluates:
                    self._evaluate()
                if _is_due(progress.step, self.recipe.evaluation.pictures_every):
                    self._draw()
                if saves and runaway is None:  # else it would be no good state to go on from
                    kept = options.keep_checkpoints, self.last_checkpoint
                    self.last_checkpoint = save_checkpoint(accelerator, self.checkpoints, progress.step, *kept)
        bar.close()
        if accelerator.is_main_process:
            name = self.task.best_metric
            measured = [row[f"eval_{name}"] for row in progress.history if f"eval_{name}" in row]
            logger.info("%s is trained%s.", self.folder, f", {name} is {measured[-1]:.4g}" if measured else "")
        if accelerator.is_main_process and self.recipe.hub is not None:
            logger.info("Pushed to %s.", push_folder(self.folder, **asdict(self.recipe.hub)))
        for tracker in accelerator.trackers:  # the processes stay together: there may be more to train, or to measure
            tracker.finish()
        return progress.history

    def _steps(self) -> Iterator[Scalars]:
        """One optimiser step per item, whose scalars stay on the device: nothing here waits for it."""
        accelerator = self.accelerator
        largest_norm = math.inf if self.options.max_grad_norm is None else self.options.max_grad_norm
        while forwards := list(islice(self.batches, self.options.gradient_accumulation_steps)):
            divisors, losses = self.task.divisors(forwards, accelerator), []
            self.guard.remember()
            with self.task.step() as of_step:
                for batches in forwards:  # of which one at a time is on the device
                    batches = send_to_device(batches, accelerator.device, non_blocking=True)
                    with accelerator.accumulate(self.model):
                        # Autocast, which Accelerate adds to the forward of whole models only.
                        with accelerator.autocast(), self.depthwise:
                            values = self.task.loss(self.model, batches, accelerator, divisors)
                        accelerator.backward(poison(values["loss"]))
                        losses.append({name: value.detach() for name, value in values.items()})
            processes.share_statistics(self.model, accelerator)
            if len(losses) > 1:
                losses = [{name: torch.stack([values[name] for values in losses]).mean() for name in losses[0]}]
            values = {**losses[0], **of_step}
            norm = accelerator.clip_grad_norm_(self.parameters, largest_norm)
            values["grad_norm"] = norm.full_tensor() if isinstance(norm, DTensor) else norm  # of all shards
            values[SKIPPED] = self.guard.judge(values["grad_norm"])
            self.rate = max(self.schedule.get_last_lr())
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            if self.average is not None:
                self.average.step(self.parameters)
            yield values

    def _count_unreadable(self) -> int:
        """How many samples others took the place of since the last call, on all processes."""
        counted = sum(stream.unreadable.count for stream in self.task.streams.values())
        new = torch.tensor(counted - self.num_unreadable, device=self.accelerator.device)
        self.num_unreadable = counted
        return int(self.accelerator.reduce(new, "sum"))

    def _count_skipped(self, skipped: list[bool]) -> None:
        """Takes note of whether the last steps were skipped; `FloatingPointError` if too many were in a row."""
        progress = self.progress
        progress.skipped += sum(skipped)
        for step, is_skipped in enumerate(skipped, start=progress.step - len(skipped) + 1):
            progress.skipped_in_a_row = progress.skipped_in_a_row + 1 if is_skipped else 0
            if progress.skipped_in_a_row > self.options.max_skipped_steps:
                raise FloatingPointError(
                    f"Loss or gradients were not finite in {progress.skipped_in_a_row} steps in a row, from step "
                    f"{step - progress.skipped_in_a_row + 1} on; none of them changed the model. Lower the learning "
                    "rate, clip gradients (train.max_grad_norm), or check the data; train.mixed_precision=no rules out "
                    f"overflow. {name_last_good(self.last_checkpoint)}"
                )
        if any(skipped) and self.accelerator.is_main_process:
            logger.warning("%d of the last %d steps were not finite and skipped.", sum(skipped), len(skipped))

    def _find_runaway(self) -> Runaway | None:
        """Whether the loss has been too high of late; `FloatingPointError` if for too long. The same on all processes."""
        growth = self.options.max_loss_growth
        runaway = None if growth is None else find_runaway(self.progress.history, growth)
        if runaway is not None and runaway.is_lasting:
            raise FloatingPointError(
                f"The loss ran away: {runaway}, as in all {runaway.num_rows} rows of the log since step "
                f"{runaway.first_step}. Lower the learning rate or clip gradients (train.max_grad_norm); if this recipe "
                "recovers from such a rise, set train.max_loss_growth higher, or train.log_every. "
                f"{name_last_good(self.last_checkpoint)}"
            )
        if runaway is not None and self.accelerator.is_main_process:
            logger.warning("The loss may run away: %s. Until it is back, no checkpoint is made.", runaway)
        return runaway

    def _evaluate(self) -> None:
        accelerator = self.accelerator
        with self._finished_model() as model:
            model.eval()
            with torch.no_grad():  # and without autocast: of the model as it is saved
                metrics = self.task.evaluate(model, self.loaders, accelerator)
            self.model.train()
            is_best = False
            if accelerator.is_main_process:
                self._log({f"eval_{name}": value for name, value in metrics.items()})
                value, best, lower = metrics[self.task.best_metric], self.progress.best, self.task.lower_is_better
                if not math.isnan(value) and (best is None or (value < best if lower else value > best)):
                    self.progress.best, is_best = value, self.options.eval_every is not None
            save = partial(self._save, model)
            self._write("The best model", lambda: is_best and write_folder(self.folder / "best", save))
        self._write("The history", lambda: self._write_history(self.folder))

    def _draw(self) -> None:
        with self._finished_model() as model:
            model.eval()
            is_main = self.accelerator.is_main_process
            pictures = self.task.pictures(model, self.recipe.evaluation) if is_main else {}
            self._write("Pictures", lambda: self._publish(pictures))
        self.model.train()

    def _publish(self, pictures: dict[str, Image.Image]) -> None:
        """Writes pictures by name, and gives them to the trackers that take any: TensorBoard and Weights & Biases."""
        step = self.progress.step
        for name, picture in pictures.items():
            save_image(picture, self.folder / "pictures" / f"{name}-step-{step:08d}.png")
            for tracker in self.accelerator.trackers:
                if tracker.name == "tensorboard":
                    values = {f"predictions/{name}": np.asarray(picture.convert("RGB"))[None]}
                    tracker.log_images(values, step, dataformats="NHWC")
                elif tracker.name == "wandb":
                    tracker.log_images({f"predictions/{name}": [picture]}, step)

    @contextmanager
    def _finished_model(self) -> Iterator[nn.Module]:
        """What is evaluated and saved: the whole model, with its averaged weights if there are any."""
        with processes.uncompiled():
            if self.is_sharded:
                options = StateDictOptions(full_state_dict=True)
                self.whole.load_state_dict(get_model_state_dict(self.model, options=options))
                if self.average is not None:
                    self.average.copy_to(_trained(self.whole))
                yield self.whole
            elif self.average is not None:
                self.average.store(self.parameters)
                self.average.copy_to(self.parameters)
                yield self._unwrapped()
                self.average.restore(self.parameters)
            else:
                yield self._unwrapped()

    def _unwrapped(self) -> nn.Module:
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    def _log(self, values: dict[str, float]) -> None:
        self.progress.history.append({"step": self.progress.step, **values})
        self.accelerator.log(values, step=self.progress.step)

    def _write(self, what: str, write: Callable[[], Any]) -> None:
        """On the main process, but every one calls it and hears of a failure."""
        what, intact = f"{what} in {self.folder}", name_last_good(self.last_checkpoint)
        write_together(self.accelerator, what, write, intact=intact)

    def _write_model(self) -> None:
        with self._finished_model() as model:
            self._write("The model", lambda: write_into_folder(self.folder, partial(self._save, model)))

    def _write_recipe(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / RECIPE_FILE, dump_recipe(self.recipe))

    def _write_history(self, folder: Path) -> None:
        write_text(folder / "history.json", json.dumps(self.progress.history, indent=1))

    def _save(self, model: nn.Module, folder: Path) -> None:
        self.task.save(model, folder)
        self._write_recipe(folder)
        self._write_history(folder)  # also beside the best model, whose card reads it


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
