# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
The samples of a step, which processes and the forwards of each share.

`batch_size` in a recipe's data sections is the number of all of them, so that a recipe trains the same whatever it is
launched on. In recipes before version 2 it was that of one forward of one process.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .checkpoints import MANIFEST


def shared_out(
    batch_sizes: Mapping[str, int], num_processes: int, forwards: int = 1, unit: str = "processes"
) -> dict[str, int]:
    """
    Samples of each source in one forward of one process.

    Args:
        batch_sizes: Samples of a whole step by the name of their source.
        forwards (`int`): Of each process in a step.
        unit (`str`): What the message calls processes.

    Raises:
        ValueError: They cannot be shared out evenly; the message has batch sizes and numbers of processes that can.
    """
    parts = num_processes * forwards
    unfit = {name: size for name, size in batch_sizes.items() if size % parts}
    if not unfit:
        return {name: size // parts for name, size in batch_sizes.items()}
    listed = " and the ".join(f"{size} samples of {name!r}" for name, size in unfit.items())
    sizes = "; ".join(f"{_either(_multiples(size, parts))} of {name!r}" for name, size in unfit.items())
    common = math.gcd(*batch_sizes.values())
    counts = [count for count in range(1, common // forwards + 1) if common % (count * forwards) == 0]
    raise ValueError(
        f"The {listed} cannot be shared out over {num_processes} {unit}"
        + (f" with {forwards} forwards (train.gradient_accumulation_steps) each" if forwards > 1 else "")
        + f". A batch_size that can: {sizes}."
        + (f" Numbers of {unit} that fit as it is: {_either(counts)}." if counts else "")
    )


def check_batch_sizes(before: Mapping[str, Any], now: Mapping[str, Any], resumed: Path) -> dict[str, Any]:
    """
    The values that a run was started with, `batch_size` being that of a step.

    Args:
        before: Of the run's saved recipe, flattened.
        now: Of the recipe that it is resumed with, flattened.
        resumed: Its checkpoint.

    Raises:
        ValueError: `before` is from when `batch_size` was that of a process and forward, and `now` does not have the number
            that they made together; the message has it.
    """
    if "version" in before:
        return dict(before)
    num_processes = json.loads((resumed / MANIFEST).read_text(encoding="utf-8"))["num_processes"]
    forwards = before["train.gradient_accumulation_steps"]
    totals = {
        key: value * num_processes * forwards for key, value in before.items() if key.endswith("data.batch_size")
    }
    if differing := [f"{key}={total}" for key, total in totals.items() if now.get(key, total) != total]:
        raise ValueError(
            f"{resumed} was saved when batch_size was that of one process and forward; it now is that of a whole step, "
            f"of which this run had {num_processes} processes with {forwards} forwards each: to go on, write "
            f"{' '.join(differing)}."
        )
    return {**before, **totals, "version": now["version"]}


def _multiples(size: int, of: int) -> list[int]:
    """The two beside `size`, or one if it is less."""
    below = size // of * of
    return [below, below + of] if below else [of]


def _either(numbers: Sequence[int]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} or {last}" if others else last
