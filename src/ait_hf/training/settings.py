# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Sections that the recipes of tokenizers and task-solvers share."""

from dataclasses import field
from typing import Literal

from accelerate.tracking import get_available_trackers
from accelerate.utils import DynamoBackend

from ait_hf_cli.arguments import SEEDS

from ..hub.push import HubRecipe
from ..recipes.parsing import as_section
from ..recipes.streams import EvaluationRecipe
from .optimizer import ConstantSchedule, OptimizerRecipe, Schedule


RECIPE_VERSION = 2  # since batch_size is that of a whole step


@as_section
class TrainRecipe:
    """
    Args:
        max_steps (`int`): Optimiser steps.
        gradient_accumulation_steps (`int`): Forwards per optimiser step, which share its samples.
        max_grad_norm (`float`, *optional*): Gradients are clipped to this norm.
        mixed_precision (`str`, *optional*): `"no"`, `"fp16"` or `"bf16"`; by default what `accelerate launch` or its
            configuration file says, which is `"no"` without either. Of a task-solver it is that of the backbone; the rest
            computes in float32, as released.
        tf32 (`bool`): Products of float32 matrices may be rounded to TF32 on GPUs that have it.
        compile (`str`, *optional*): Backend of `torch.compile`, such as `"inductor"`, for encoder and decoder, each as one
            graph; by default what `accelerate launch` says, which is not to compile.
        ema_decay (`float`, *optional*): Evaluates and saves an exponential moving average of the weights instead of the
            last ones: after step n it keeps `min(ema_decay, n / (n + 9))` of itself.
        max_skipped_steps (`int`): Steps whose loss or gradients are not finite change nothing and are counted; more
            than so many in a row stop the run.
        max_loss_growth (`float`, *optional*): The run stops when the mean loss of three rows of the log in a row is above
            so many times its median in the rows before, see [`~ait_hf.training.monitoring.find_runaway`]; `None` for
            any loss that is finite.
        num_workers (`int`): Data worker processes per process and source of data; 0 for none. The result does not
            depend on it.
        log_every (`int`): Steps between rows of `history.json`, which hold means over these steps.
        eval_every (`int`, *optional*): Steps between evaluations; `None` for one at the end. The best model is
            kept in `output_dir/best` if set.
        save_every (`int`, *optional*): Steps between checkpoints to resume from; `None` for none.
        keep_checkpoints (`int`): How many of the newest checkpoints stay.
        resume (`str`): `"auto"` (the newest good checkpoint in `output_dir`, if any), `"never"` or a checkpoint's path.
        trackers (`list[str]`, *optional*): Names that Accelerate knows (tensorboard, wandb, ...); `[]` for none.
            TensorBoard by default, if it is installed.
    """

    max_steps: int
    gradient_accumulation_steps: int = 1
    max_grad_norm: float | None = None
    mixed_precision: Literal["no", "fp16", "bf16"] | None = None
    tf32: bool = True
    compile: str | None = None
    ema_decay: float | None = None
    max_skipped_steps: int = 10
    max_loss_growth: float | None = None
    num_workers: int = 0
    log_every: int = 50
    eval_every: int | None = None
    save_every: int | None = None
    keep_checkpoints: int = 2
    resume: str = "auto"
    trackers: list[str] | None = None

    def validate_ranges(self):
        counts = ("max_steps", "gradient_accumulation_steps", "log_every", "keep_checkpoints")
        rules = dict.fromkeys(counts, (lambda value: value >= 1, "at least 1"))
        never = lambda value: value >= 1, "at least 1, or null for never"
        rules |= {"eval_every": never, "save_every": never}
        rules["max_skipped_steps"] = lambda value: value >= 0, "at least 0"
        rules["max_loss_growth"] = lambda value: value > 1, "above 1, or null for no limit"
        rules["ema_decay"] = lambda value: 0 < value < 1, "above 0 and below 1, or null for none"
        for name, (holds, rule) in rules.items():
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise ValueError(f"{name} must be {rule}, got {value}.")

    def validate_compile(self):
        known = sorted(backend.value.lower() for backend in DynamoBackend if backend is not DynamoBackend.NO)
        if self.compile is not None and self.compile not in known:
            raise ValueError(f"compile must be one of {', '.join(known)}, or null, got {self.compile!r}.")

    def validate_trackers(self):
        known = {tracker if isinstance(tracker, str) else tracker.value for tracker in get_available_trackers()}
        if unknown := sorted(set(self.trackers or []) - known):
            raise ValueError(
                f"Trackers {unknown} are unknown or not installed; there are: {', '.join(sorted(known))}."
            )


@as_section
class Recipe:
    """
    What the recipes of tokenizers and task-solvers share; theirs add what to train on and a `model` section.

    Args:
        version (`int`): Of the meaning of keys; nobody has to write it. Saved recipes without are of version 1, in which
            `batch_size` was that of one forward of one process.
        hub (`HubRecipe`, *optional*): Where to publish the finished model with its card.
    """

    version: int = RECIPE_VERSION
    output_dir: str
    seed: int = 0
    optimizer: OptimizerRecipe
    schedule: Schedule = field(default_factory=ConstantSchedule)
    train: TrainRecipe
    evaluation: EvaluationRecipe
    hub: HubRecipe | None = None

    def validate_numbers(self):
        if self.version != RECIPE_VERSION:
            raise ValueError(
                f"version must be {RECIPE_VERSION} or left out, got {self.version}: batch_size is that of a whole step."
            )
        if self.seed not in SEEDS:
            raise ValueError(f"seed must be from 0 to {SEEDS[-1]}, got {self.seed}.")
