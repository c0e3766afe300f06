# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
The samples of a step, which processes and the forwards of each share.

`batch_size` in a recipe's data sections is the number of all of them, so that a recipe trains the same whatever it is
launched on.
"""

import math
from collections.abc import Iterable, Mapping


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
    fitting = {name: [size // parts * parts, (size // parts + 1) * parts] for name, size in unfit.items()}
    sizes = "; ".join(f"{_either(filter(None, beside))} of {name!r}" for name, beside in fitting.items())
    common = math.gcd(*batch_sizes.values())
    counts = [count for count in range(1, common // forwards + 1) if common % (count * forwards) == 0]
    raise ValueError(
        f"The {listed} cannot be shared out over {num_processes} {unit}"
        + (f" with {forwards} forwards (train.gradient_accumulation_steps) each" if forwards > 1 else "")
        + f". A batch_size that can: {sizes}."
        + (f" Numbers of {unit} that fit as it is: {_either(counts)}." if counts else "")
    )


def _either(numbers: Iterable[int]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} or {last}" if others else last
