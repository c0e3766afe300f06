# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Time, memory and arithmetic of contestants that take turns."""

import contextlib
import ctypes
import gc
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm


MATRIX_SIZES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}
MEGABYTE = 2**20


@dataclass
class Suite:
    """
    What a suite compares.

    Args:
        contestants (`dict[str, Callable]`): Functions to time, by name, the first being the baseline.
        settings (`dict`): What they work on, for the report.
        learns (`bool`): They need gradients; otherwise everything runs in inference mode.
        images (`dict[str, int]`): Images that one call works on, where that is a number to report.
        details (`dict[str, Callable]`): Further numbers of a contestant, measured once before the rounds.
    """

    contestants: dict[str, Callable[[], Any]]
    settings: dict[str, Any]
    learns: bool = False
    images: dict[str, int] = field(default_factory=dict)
    details: dict[str, Callable[[], dict[str, float]]] = field(default_factory=dict)


@dataclass
class Result:
    """Measurements of one contestant: of every round, and those that one call is enough for."""

    times_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    gflop: float = 0.0
    peak_memory_mb: float | None = None
    details: dict[str, float] = field(default_factory=dict)


def run_suite(suite: Suite, *, repeats: int, warmup: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """
    Contestants take turns, so that whatever else the machine does meets all of them. A round of everything comes before
    the clock starts, in which operations and memory are counted.

    Returns:
        `dict`: `matrix_peak_gflops` of the machine at these rounds and `contestants`: see [`summarize`].
    """
    with contextlib.nullcontext() if suite.learns else torch.inference_mode():
        results = {name: Result() for name in suite.contestants}
        for name, run in suite.contestants.items():
            with FlopCounterMode(display=False) as counter:
                run()
            results[name].gflop = counter.get_total_flops() / 1e9
            results[name].peak_memory_mb = peak_memory(run, device)
            results[name].details = suite.details[name]() if name in suite.details else {}
            release_memory()
        peaks = []
        for number in tqdm(range(warmup + repeats), unit="round", disable=None):
            peak = matrix_peak(device, dtype)
            measured = {name: timed(run, device) for name, run in suite.contestants.items()}
            if number >= warmup:
                peaks.append(peak)
                for name, (wall, cpu) in measured.items():
                    results[name].times_ms.append(1000 * wall)
                    results[name].cpu_ms.append(1000 * cpu)
    peak = statistics.median(peaks)
    return {"matrix_peak_gflops": peak, "contestants": summarize(results, peak, suite.images)}


def timed(run: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Seconds of one call, and those of them that this process computed, in all its threads."""
    synchronize(device)
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    synchronize(device)
    return time.perf_counter() - wall, time.process_time() - cpu


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """GFLOP/s of the fastest of some square matrix products: what dense layers could reach here and now."""
    rates = []
    for size in MATRIX_SIZES[device.type]:
        multiply = partial(torch.mm, *torch.ones(2, size, size, device=device, dtype=dtype))
        timed(multiply, device)
        rates.append(2 * size**3 / timed(multiply, device)[0] / 1e9)
    return max(rates)


def peak_memory(run: Callable[[], Any], device: torch.device) -> float | None:
    """
    Megabytes that a call takes beyond what there was before: of the device, or of this process on Linux, where the
    kernel keeps the highest mark and forgets it on request. `None` elsewhere.
    """
    release_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / MEGABYTE
    if sys.platform != "linux":
        return None
    Path("/proc/self/clear_refs").write_text("5")
    before = _process_memory("VmRSS")
    run()
    return _process_memory("VmHWM") - before


def release_memory() -> None:
    """
    Gives freed memory back to the system. The allocator keeps it otherwise, which would hide what the next call takes,
    and after passes of several large models there might be none left.
    """
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _process_memory(name: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE).group(1)) / 1024


def saved_activations(run: Callable[[], Any], model: torch.nn.Module) -> float:
    """Megabytes of tensors other than parameters that a forward pass keeps for the backward pass."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = run()
    del outputs  # until here, so that no two of them had the same address
    return sum(storages.values()) / MEGABYTE


def summarize(results: dict[str, Result], peak: float, images: dict[str, int]) -> dict[str, dict[str, Any]]:
    """
    Of every contestant: `median_ms`, `cpu_ms` (median of the time that the process computed), `ratio_to_baseline` (median
    and quartiles of the rounds' ratios), `gflop`, `gflops` (a second), `share_of_peak`, `images_per_second`,
    `peak_memory_mb`, its details and `times_ms`.
    """
    baseline = next(iter(results.values())).times_ms
    summary = {}
    for name, result in results.items():
        ratios = [a / b for a, b in zip(result.times_ms, baseline)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        median = statistics.median(result.times_ms)
        summary[name] = {
            "median_ms": median,
            "cpu_ms": statistics.median(result.cpu_ms),
            "ratio_to_baseline": {"median": middle, "low": low, "high": high},
            "gflop": result.gflop,
            "gflops": 1000 * result.gflop / median,
            "share_of_peak": 1000 * result.gflop / median / peak,
            "peak_memory_mb": result.peak_memory_mb,
            **({"images_per_second": 1000 * images[name] / median} if name in images else {}),
            **result.details,
            "times_ms": result.times_ms,
        }
    return summary
