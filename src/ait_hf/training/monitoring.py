# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What is measured of a run while it trains."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator


SKIPPED = "skipped_steps"


class Meter:
    """
    Collects the scalars of every step on the device and reads them all at once.

    Args:
        samples_per_step (`float`): Of all processes.
    """

    def __init__(self, accelerator: Accelerator, samples_per_step: float):
        self.accelerator = accelerator
        self.samples_per_step = samples_per_step
        self.steps: list[dict[str, torch.Tensor]] = []
        self.start = time.perf_counter()

    def add(self, values: dict[str, torch.Tensor]) -> None:
        """Scalars of one step, `SKIPPED` among them: 1 if it was skipped, else 0."""
        self.steps.append(values)

    def read(self) -> tuple[dict[str, float], list[bool]]:
        """
        Returns:
            Means over the steps since the last call, without skipped ones, and over processes; a scalar that not every
            step has is averaged over those that have it, and left out if none has. Beside them `SKIPPED`, their number,
            `samples_per_second` and `peak_memory_gb` (see [`peak_memory`]). And for each of these steps whether it was
            skipped.
        """
        columns: dict[str, dict[int, torch.Tensor]] = {}  # by the number of the step
        for number, values in enumerate(self.steps):
            for name, value in values.items():
                columns.setdefault(name, {})[number] = value.float()
        local = torch.stack([value for column in columns.values() for value in column.values()])
        tables = self.accelerator.reduce(local, "mean").cpu().split([len(column) for column in columns.values()])
        table = dict(zip(columns, tables))
        skipped = table[SKIPPED] > 0
        means = {}
        for name, column in table.items():
            counted = column[~skipped[list(columns[name])]]
            if len(counted):
                means[name] = counted.mean().item()
        means[SKIPPED] = int(skipped.sum())
        means["samples_per_second"] = len(self.steps) * self.samples_per_step / (time.perf_counter() - self.start)
        means["peak_memory_gb"] = peak_memory(self.accelerator.device) / 1e9
        self.steps = []
        self.start = time.perf_counter()
        return means, skipped.tolist()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time inside does not count."""
        start = time.perf_counter()
        yield
        self.start += time.perf_counter() - start


def peak_memory(device: torch.device) -> int:
    """
    The most bytes that this process has held at a time: tensors on a GPU, else all of its memory, without that of data
    worker processes.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
