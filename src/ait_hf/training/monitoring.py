# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What is measured of a run while it trains; and steps whose loss or gradients are not finite pass without a trace."""

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from statistics import median

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import DistributedType
from torch import nn

from ..model.quantization_ait import EMACodebook


SKIPPED = "skipped_steps"
PATIENCE = 3  # rows of the log in a row whose loss is too high end a run
WINDOW = 1000  # rows before them that say what is usual


class Meter:
    """Collects the scalars of every step on the device, which the loop adds to `steps`, `SKIPPED` among them (1 if it
    was skipped, else 0), and reads them all at once. `samples_per_step` are of all processes."""

    def __init__(self, accelerator: Accelerator, samples_per_step: float):
        self.accelerator = accelerator
        self.samples_per_step = samples_per_step
        self.steps: list[dict[str, torch.Tensor]] = []
        self.start, self.cpu_start = time.perf_counter(), time.process_time()

    def read(self) -> tuple[dict[str, float], list[bool]]:
        """
        Returns:
            Means over the steps since the last call, without skipped ones, and over processes; a scalar that not every
            step has is averaged over those that have it, and left out if none has. Beside them `SKIPPED`, their number,
            `samples_per_second`, `cpu_seconds` of these steps, which all threads of all processes computed (data workers
            apart), and `peak_memory_gb` (see [`peak_memory`]). And for each of these steps whether it was skipped.
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
        cpu_seconds = torch.tensor(time.process_time() - self.cpu_start, device=self.accelerator.device)
        means["cpu_seconds"] = self.accelerator.reduce(cpu_seconds, "sum").item()
        means["peak_memory_gb"] = peak_memory(self.accelerator.device) / 1e9
        self.steps = []
        self.start, self.cpu_start = time.perf_counter(), time.process_time()
        return means, skipped.tolist()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time inside does not count."""
        start, cpu_start = time.perf_counter(), time.process_time()
        yield
        self.start += time.perf_counter() - start
        self.cpu_start += time.process_time() - cpu_start


def peak_memory(device: torch.device) -> int:
    """
    The most bytes that this process has held at a time: tensors on a GPU, else all of its memory, without that of data
    worker processes.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass(frozen=True)
class Runaway:
    """Rows at the end of a history whose loss is above the limit."""

    first_step: int
    last_step: int
    loss: float  # of the last of these rows
    usual: float  # median of the rows before
    limit: float  # what is too high
    num_rows: int  # 1 to `PATIENCE`

    @property
    def is_lasting(self) -> bool:
        """Whether the run should end."""
        return self.num_rows == PATIENCE

    def __str__(self) -> str:
        return (
            f"the mean loss at step {self.last_step} is {self.loss:.4g}, above the limit of {self.limit:.4g} that "
            f"train.max_loss_growth sets from its usual value, {self.usual:.4g}"
        )


def find_runaway(history: Sequence[dict[str, float]], growth: float) -> Runaway | None:
    """
    Looks at the last `PATIENCE` rows with a loss. The limit is `growth` times the median of the up to `WINDOW` rows
    before them, which one odd row, or the high values of the beginning, do not move.

    For losses that can be negative or near zero it is that median plus `growth - 1` times the median of their absolute
    values: the same for positive ones, and never close to what is usual, unless nearly all losses are 0.

    The history's oldest row is its first; those without `step` and `loss` (mean since the row before) do not count.
    `growth` is above 1. `None` if the last row is not too high, or has fewer than `2 * PATIENCE - 1` before it.
    """
    rows = list(islice((row for row in reversed(history) if "loss" in row), WINDOW + PATIENCE))
    last, before = rows[:PATIENCE], [row["loss"] for row in rows[PATIENCE:]]
    if len(before) < PATIENCE:
        return None
    usual = median(before)
    limit = usual + (growth - 1) * median(map(abs, before))
    num_rows = next((number for number, row in enumerate(last) if not row["loss"] > limit), PATIENCE)
    if num_rows == 0:
        return None
    return Runaway(last[num_rows - 1]["step"], last[0]["step"], last[0]["loss"], usual, limit, num_rows)


class StepGuard:
    """
    Undoes what a step with NaN or infinity would do to weights, optimiser, codebooks and running statistics.

    Nothing here asks the device whether a step was good, so it never has to wait: the optimiser is told by the tensor
    that torch's fused optimisers take for this (`found_inf`, as of gradient scaling), and all else that a forward
    changes is chosen from two copies. The model is in training mode, the optimiser one of torch's fused ones, both as
    Accelerate wrapped them.
    """

    def __init__(self, model: nn.Module, optimizer: AcceleratedOptimizer, accelerator: Accelerator):
        self.optimizer = optimizer.optimizer
        # A scaler and DeepSpeed tell the optimiser by themselves.
        self.tells = accelerator.scaler is None and accelerator.distributed_type != DistributedType.DEEPSPEED
        # Running statistics and codebooks. What is frozen is in evaluation mode and does not change.
        changing = [module for module in model.modules() if module.training]
        self.state = [module.embedding.weight for module in changing if isinstance(module, EMACodebook)]
        self.state += [b for module in changing for b in module.buffers(recurse=False) if b.is_floating_point()]
        self.before = [tensor.clone() for tensor in self.state]

    @torch.no_grad()
    def remember(self) -> None:
        """Before the first forward of a step."""
        for before, tensor in zip(self.before, self.state):
            before.copy_(tensor)

    @torch.no_grad()
    def judge(self, grad_norm: torch.Tensor) -> torch.Tensor:
        """Before the optimiser's step, from the norm of all gradients over all processes, of shape `()`: 1 if the step
        is skipped, else 0; float32 of shape `()`, the same on all processes."""
        skipped = torch.isfinite(grad_norm).logical_not()
        if self.tells:
            self.optimizer.found_inf = skipped.float()
        for before, tensor in zip(self.before, self.state):
            tensor.copy_(torch.where(skipped, before, tensor))
        return skipped.float()


def poison(loss: torch.Tensor) -> torch.Tensor:
    """
    The same loss, whose gradients are NaN if it is not finite. Gradients are shared by all processes, losses are not: so
    all learn of it without a further message. (A loss can be infinite while its gradients are finite.)
    """
    return loss * torch.where(torch.isfinite(loss.detach()), 1.0, torch.nan)
