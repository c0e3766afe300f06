# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether measured numbers bear a claim out."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple


ENOUGH_SEEDS = 3
# Of the mean: what the paper itself calls no difference is up to 1.5 % (Tables 3 and 5).
NO_DIFFERENCE = 0.05
Answer = Literal["holds", "does not hold", "not decided"]
Values = Mapping[int, float]  # by seed


class Verdict(NamedTuple):
    """
    Attributes:
        answer: What the numbers say.
        reason: The numbers, or what they lack.
    """

    answer: Answer
    reason: str


class Cell(NamedTuple):
    """A number of a table: a variant, a way to decode it, and one of its metrics."""

    variant: str
    mode: str
    metric: str


# Metrics of which less is better.
ERRORS = {"depth/rmse", "depth/hole_rmse", "depth/token_distance"}


@dataclass(frozen=True)
class Better:
    """A claim: the first cell is better than the second."""

    text: str
    better: Cell
    worse: Cell

    @property
    def cells(self) -> tuple[Cell, ...]:
        return self.better, self.worse

    def verdict(self, better: Values, worse: Values) -> Verdict:
        """
        Holds if the mean over the seeds of the difference, seed by seed, is above its standard deviation; does not hold if
        it is as far below 0; is not decided in between, or with fewer than three seeds of both.
        """
        if (seeds := _known(better, worse)) is None:
            return _too_few(better, worse)
        sign = -1 if self.better.metric in ERRORS else 1
        differences = [sign * (better[seed] - worse[seed]) for seed in seeds]
        mean, deviation = statistics.mean(differences), statistics.stdev(differences)
        reason = f"better by {mean:+.3f} ± {deviation:.3f}"
        if abs(mean) <= deviation:
            return Verdict("not decided", reason)
        return Verdict("holds" if mean > 0 else "does not hold", reason)


@dataclass(frozen=True)
class Alike:
    """A claim: it makes no difference which of the cells it is, none being further than 5 % from another."""

    text: str
    cells: tuple[Cell, ...]

    def verdict(self, *values: Values) -> Verdict:
        """
        Of the two cells that are furthest apart: holds if the mean of the difference, seed by seed, and its standard
        deviation are within 5 % of the mean of all; does not hold if the difference is beyond by more than the deviation;
        is not decided in between, or with fewer than three seeds of all.
        """
        if (seeds := _known(*values)) is None:
            return _too_few(*values)
        level = abs(statistics.mean(one[seed] for one in values for seed in seeds)) or 1.0
        pairs = [[(a[seed] - b[seed]) / level for seed in seeds] for a, b in combinations(values, 2)]
        furthest = max(pairs, key=lambda pair: abs(statistics.mean(pair)))
        mean, deviation = abs(statistics.mean(furthest)), statistics.stdev(furthest)
        reason = f"up to {mean:.1%} ± {deviation:.1%} apart"
        if mean <= NO_DIFFERENCE and deviation <= NO_DIFFERENCE:
            return Verdict("holds", reason)
        return Verdict("does not hold" if mean - deviation > NO_DIFFERENCE else "not decided", reason)


Claim = Better | Alike


def _seeds(values: Sequence[Values]) -> list[int]:
    """Seeds of which all are known."""
    common = set.intersection(*(set(one) for one in values))
    return sorted(seed for seed in common if all(math.isfinite(one[seed]) for one in values))


def _known(*values: Values) -> list[int] | None:
    seeds = _seeds(values)
    return seeds if len(seeds) >= ENOUGH_SEEDS else None


def _too_few(*values: Values) -> Verdict:
    return Verdict("not decided", f"{len(_seeds(values))} of {ENOUGH_SEEDS} seeds")
