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
    """What a suite compares."""

    contestants: dict[str, Callable[[], Any]]  # functions to time, by name, the first being the baseline
    settings: dict[str, Any]  # what they work on, for the report
    learns: bool = False  # whether they need gradients; otherwise everything runs in inference mode
    images: int | dict[str, int] = field(default_factory=dict)  # that one call works on, where that is to be reported
    # Further numbers of a contestant, measured once before the rounds.
    details: dict[str, Callable[[], dict[str, float]]] = field(default_factory=dict)

    def __post_init__(self):
        if isinstance(self.images, int):
            self.images = dict.fromkeys(self.contestants, self.images)


def run_suite(suite: Suite, *, repeats: int, warmup: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """
    Contestants take turns, so that whatever else the machine does meets all of them. A round of everything comes before
    the clock starts, in which operations and memory are counted.

    Returns:
        `dict`: `matrix_peak_gflops` of the machine at these rounds and `contestants`: see [`summarize`].
    """
    with contextlib.nullcontext() if suite.learns else torch.inference_mode():
        counted = {}
        for name, run in suite.contestants.items():
            # Operations are counted one by one; compiled contestants are compiled after that.
            with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
                run()
            run()
            counted[name] = {"gflop": counter.get_total_flops() / 1e9, "peak_memory_mb": peak_memory(run, device)}
            counted[name] |= suite.details[name]() if name in suite.details else {}
            release_memory()
        rounds = []
        for _ in tqdm(range(warmup + repeats), unit="round", disable=None):
            peak = matrix_peak(device, dtype)
            rounds.append((peak, {name: timed(run, device) for name, run in suite.contestants.items()}))
    rounds = rounds[warmup:]
    peak = statistics.median(peak for peak, _ in rounds)
    times = {name: [times[name] for _, times in rounds] for name in suite.contestants}
    return {"matrix_peak_gflops": peak, "contestants": summarize(times, counted, peak, suite.images)}


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
    Gives freed memory back to the system. The allocators keep it otherwise, which would hide what the next call takes,
    and after passes of several large models there might be none left.
    """
    gc.collect()
    torch.cuda.empty_cache()  # of no GPU, if there is none
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


def summarize(
    times: dict[str, list[tuple[float, float]]],
    counted: dict[str, dict[str, Any]],
    peak: float,
    images: dict[str, int],
) -> dict[str, dict[str, Any]]:
    """
    Of every contestant: `median_ms`, `cpu_ms` (median of the time that the process computed), `ratio_to_baseline` (median
    and quartiles of the rounds' ratios), `gflop`, `gflops` (a second), `share_of_peak`, `images_per_second`,
    `peak_memory_mb`, its details and `times_ms`. The baseline's times come first.
    """
    baseline = [wall for wall, _ in next(iter(times.values()))]
    summary = {}
    for name, pairs in times.items():
        walls, computing = zip(*pairs)
        low, middle, high = statistics.quantiles([a / b for a, b in zip(walls, baseline)], n=4, method="inclusive")
        median = statistics.median(walls)
        gflops = counted[name]["gflop"] / median
        summary[name] = {"median_ms": 1000 * median, "cpu_ms": 1000 * statistics.median(computing)}
        summary[name]["ratio_to_baseline"] = {"median": middle, "low": low, "high": high}
        summary[name] |= {"gflops": gflops, "share_of_peak": gflops / peak}
        summary[name] |= {"images_per_second": images[name] / median} if name in images else {}
        summary[name] |= counted[name] | {"times_ms": [1000 * wall for wall in walls]}
    return summary
