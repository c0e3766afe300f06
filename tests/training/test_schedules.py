# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Schedules against closed forms and against torch's own."""

import math

import pytest
import torch
from torch.optim import lr_scheduler

from ait_hf.training.optimizer import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    OneCycleSchedule,
    StepSchedule,
    build_schedule,
)


def optimizer_with_rates(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def rates(optimizer, scheduler, num_steps: int) -> list[list[float]]:
    """Learning rates that the steps 0, 1, ... use."""
    used = []
    for _ in range(num_steps):
        used.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return used


def test_released_depth_schedule():
    schedule = StepSchedule(milestones=[18_180], gamma=0.1, warmup_steps=500, warmup_ratio=0.1)
    expected = {0: 0.1, 1: 0.1 + 0.9 / 500, 250: 0.55, 499: 1 - 0.9 / 500, 500: 1, 18_179: 1, 18_180: 0.1, 25_249: 0.1}
    for step, factor in expected.items():
        assert schedule.factor(step, 25_250) == pytest.approx(factor, rel=1e-12)


def test_released_joint_schedule():
    """The warm-up multiplies a line that starts at step 0."""
    schedule = LinearSchedule(final_ratio=0.01, warmup_steps=12_115, warmup_ratio=0.1)
    total = 302_875
    line = [1 - 0.99 * step / total for step in (0, 6_057, 12_115, total)]
    expected = [0.1, (0.1 + 0.9 * 6_057 / 12_115) * line[1], line[2], 0.01]
    for step, factor in zip((0, 6_057, 12_115, total), expected):
        assert schedule.factor(step, total) == pytest.approx(factor, rel=1e-12)


def test_released_tokenizer_schedules():
    depth = ExponentialSchedule(gamma=0.98, every=500)
    assert [depth.factor(step, 60_580) for step in (0, 499, 500, 60_579)] == [1, 1, 0.98, pytest.approx(0.98**121)]
    mask = CosineSchedule(final_ratio=1e-6 / 3e-4, warmup_steps=500, warmup_ratio=1e-3)
    assert mask.factor(0, 10_000) == pytest.approx(1e-3)
    assert 3e-4 * mask.factor(10_000, 10_000) == pytest.approx(1e-6)
    middle = (3e-4 + 1e-6) / 2
    assert 3e-4 * mask.factor(5_000, 10_000) == pytest.approx(middle)


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (ConstantSchedule(), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        (StepSchedule(milestones=[7, 3], gamma=0.5), lambda o: lr_scheduler.MultiStepLR(o, [3, 7], gamma=0.5)),
        (ExponentialSchedule(gamma=0.9), lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
        (ExponentialSchedule(gamma=0.9, every=4), lambda o: lr_scheduler.StepLR(o, 4, 0.9)),
        (LinearSchedule(final_ratio=0.1), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.1, total_iters=40)),
        (CosineSchedule(), lambda o: lr_scheduler.CosineAnnealingLR(o, 40)),
        (
            ConstantSchedule(warmup_steps=10, warmup_ratio=0.2),
            lambda o: lr_scheduler.LinearLR(o, 0.2, 1.0, total_iters=10),
        ),
        (OneCycleSchedule(), lambda o: lr_scheduler.OneCycleLR(o, [1e-3, 2e-4], 40, cycle_momentum=False)),
        (
            OneCycleSchedule(rise=0.1, initial_ratio=0.1, final_ratio=0.01),
            lambda o: lr_scheduler.OneCycleLR(
                o, [1e-3, 2e-4], 40, pct_start=0.1, div_factor=10, final_div_factor=10, cycle_momentum=False
            ),
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_same_as_torch(schedule, make):
    ours, theirs = optimizer_with_rates(1e-3, 2e-4), optimizer_with_rates(1e-3, 2e-4)
    used = rates(ours, build_schedule(ours, schedule, 40), 40)
    torch.testing.assert_close(
        torch.tensor(used), torch.tensor(rates(theirs, make(theirs), 40)), rtol=1e-5, atol=1e-12
    )


def test_state_survives_a_resume():
    schedule = CosineSchedule(warmup_steps=3)
    whole = optimizer_with_rates(1.0)
    expected = rates(whole, build_schedule(whole, schedule, 10), 10)
    first = optimizer_with_rates(1.0)
    scheduler = build_schedule(first, schedule, 10)
    head = rates(first, scheduler, 4)
    second = optimizer_with_rates(1.0)
    resumed = build_schedule(second, schedule, 10)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    assert head + rates(second, resumed, 6) == expected


@pytest.mark.parametrize("total", [1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize(
    "schedule", [LinearSchedule(), CosineSchedule(warmup_steps=9), OneCycleSchedule(), OneCycleSchedule(rise=0.1)]
)
def test_short_trainings_have_usable_rates(schedule, total):
    factors = [schedule.factor(step, total) for step in range(total + 1)]
    assert all(math.isfinite(factor) and 0 <= factor <= 1 for factor in factors)
