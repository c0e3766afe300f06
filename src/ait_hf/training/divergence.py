# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A loss that runs away while it stays finite, as the rows of a run's history show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median


PATIENCE = 3  # rows in a row that are too high end a run
WINDOW = 1000  # rows before them that say what is usual


@dataclass(frozen=True)
class Runaway:
    """
    Rows at the end of a history whose loss is above the limit.

    Args:
        first_step, last_step (`int`): Steps of the first and the last of these rows.
        loss (`float`): Of the last of them.
        usual (`float`): Median of the rows before.
        limit (`float`): What is too high.
        num_rows (`int`): 1 to `PATIENCE`.
    """

    first_step: int
    last_step: int
    loss: float
    usual: float
    limit: float
    num_rows: int

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

    Args:
        history: Rows of a run, oldest first; those without `step` and `loss` (mean since the row before) do not count.
        growth (`float`): Above 1.

    Returns:
        `None` if the last row is not too high, or has fewer than `2 * PATIENCE - 1` before it.
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
