# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Learning-rate schedules: the rate of optimiser step `t` (from 0) is `factor(t)` times a parameter group's own rate.

They run on torch's `LambdaLR`. The factors are written out because the released recipes multiply the warm-up with the
regular schedule, which goes on counting from step 0; transformers' and timm's schedules start it after the warm-up or
warm up to one absolute rate, which layer decay does not have.
"""

import math
from bisect import bisect_right
from typing import Literal

import torch
from torch.optim.lr_scheduler import LambdaLR

from ..recipes.parsing import as_section


@as_section
class WarmupSchedule:
    """
    What the schedules below share.

    Args:
        warmup_steps (`int`): The factor rises linearly from `warmup_ratio` to 1 over the first so many steps; it
            multiplies the regular schedule.
        warmup_ratio (`float`): Factor of the very first step, 0..1.
    """

    warmup_steps: int = 0
    warmup_ratio: float = 0.0

    def validate_warmup(self):
        if self.warmup_steps < 0 or not 0 <= self.warmup_ratio <= 1:
            raise ValueError("warmup_steps must be at least 0 and warmup_ratio between 0 and 1.")

    def factor(self, step: int, max_steps: int) -> float:
        """Rate of a step, relative to the group's own."""
        factor = self.regular_factor(step, max_steps)
        if step < self.warmup_steps:
            factor *= 1 - (1 - step / self.warmup_steps) * (1 - self.warmup_ratio)
        return factor

    def regular_factor(self, step: int, max_steps: int) -> float:
        """The schedule without its warm-up."""
        return 1.0


@as_section
class ConstantSchedule(WarmupSchedule):
    """The same rate throughout."""

    name: Literal["constant"] = "constant"


@as_section
class StepSchedule(WarmupSchedule):
    """Times `gamma` at each of the steps `milestones`."""

    name: Literal["step"] = "step"
    milestones: list[int]
    gamma: float = 0.1

    def regular_factor(self, step: int, max_steps: int) -> float:
        return self.gamma ** bisect_right(sorted(self.milestones), step)


@as_section
class ExponentialSchedule(WarmupSchedule):
    """Times `gamma` every `every` steps."""

    name: Literal["exponential"] = "exponential"
    gamma: float
    every: int = 1

    def validate_every(self):
        if self.every < 1:
            raise ValueError(f"every must be at least 1 step, got {self.every}.")

    def regular_factor(self, step: int, max_steps: int) -> float:
        return self.gamma ** (step // self.every)


@as_section
class LinearSchedule(WarmupSchedule):
    """Straight from 1 to `final_ratio`."""

    name: Literal["linear"] = "linear"
    final_ratio: float = 0.0

    def regular_factor(self, step: int, max_steps: int) -> float:
        return 1 + (self.final_ratio - 1) * step / max_steps


@as_section
class CosineSchedule(WarmupSchedule):
    """Half a cosine from 1 to `final_ratio`."""

    name: Literal["cosine"] = "cosine"
    final_ratio: float = 0.0

    def regular_factor(self, step: int, max_steps: int) -> float:
        return _cosine(1.0, self.final_ratio, step / max_steps)


@as_section
class OneCycleSchedule:
    """
    Half a cosine up, half a cosine down: torch's `OneCycleLR` with its defaults, its peak being the group's own rate.

    Args:
        rise (`float`): Share of the steps until the peak.
        initial_ratio, final_ratio (`float`): Factors of the first and the last step.
    """

    name: Literal["one_cycle"] = "one_cycle"
    rise: float = 0.3
    initial_ratio: float = 0.04
    final_ratio: float = 4e-6

    def validate_rise(self):
        if not 0 < self.rise < 1:
            raise ValueError(f"rise is a share of the steps, above 0 and below 1, got {self.rise}.")

    def factor(self, step: int, max_steps: int) -> float:
        peak = self.rise * max_steps - 1
        if step < peak:
            return _cosine(self.initial_ratio, 1.0, step / peak)
        return _cosine(1.0, self.final_ratio, min(1.0, (step - peak) / (max_steps - 1 - peak)))


Schedule = ConstantSchedule | StepSchedule | ExponentialSchedule | LinearSchedule | CosineSchedule | OneCycleSchedule


def build_schedule(optimizer: torch.optim.Optimizer, schedule: Schedule, max_steps: int) -> LambdaLR:
    """Scheduler to step once per optimiser step, `max_steps` times; its factors multiply each group's `lr`."""
    return LambdaLR(optimizer, lambda step: schedule.factor(step, max_steps))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
