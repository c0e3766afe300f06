# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What rows say of claims, against means and deviations by hand."""

import math

import pytest

from ait_hf.benchmarks.paper.verdicts import Alike, Better, Cell


ERROR, SCORE = "depth/rmse", "instance-segmentation/segm_AP"


def better(metric):
    return Better("", Cell("a", "soft", metric), Cell("b", "soft", metric))


def alike(number=2):
    return Alike("", tuple(Cell(str(index), "soft", ERROR) for index in range(number)))


def seeds(*values):
    return dict(enumerate(values))


@pytest.mark.parametrize(
    ("first", "second", "answer"),
    [
        ((0.5, 0.6, 0.7), (0.6, 0.7, 0.8), "holds"),  # .1 apart with every seed, though the seeds are as far apart
        ((0.6, 0.7, 0.8), (0.5, 0.6, 0.7), "does not hold"),
        ((0.5, 0.6, 0.7), (0.5, 0.6, 0.7), "not decided"),  # a tie: 0 is not above its deviation of 0
        ((0.5, 0.5, 0.5), (0.6, 0.4, 0.55), "not decided"),  # .017 ± .104
        ((0.5, 0.6), (0.6, 0.7), "not decided"),  # two seeds
        ((0.5, 0.6, math.nan), (0.6, 0.7, 0.8), "not decided"),
        ((0.5, 0.6, 0.7, math.nan), (0.6, 0.7, 0.8, 0.1), "holds"),
        ((), (), "not decided"),
    ],
)
def test_better_means_by_more_than_the_spread_seed_by_seed(first, second, answer):
    assert better(ERROR).verdict(seeds(*first), seeds(*second)).answer == answer
    opposite = {"holds": "does not hold", "does not hold": "holds", "not decided": "not decided"}[answer]
    assert better(SCORE).verdict(seeds(*first), seeds(*second)).answer == opposite


def test_reasons_say_the_numbers_or_what_is_missing():
    verdict = better(ERROR).verdict(seeds(0.5, 0.6, 0.7), seeds(0.6, 0.7, 0.9))
    # Differences of .1, .1 and .2: mean .133, deviation of a sample .1 / sqrt 3.
    assert verdict == ("holds", "better by +0.133 ± 0.058")
    assert better(ERROR).verdict({0: 0.5, 2: 0.5}, {0: 0.6, 1: 0.7, 2: 0.8}).reason == "2 of 3 seeds"
    # Seeds that only one of them has do not count.
    assert better(ERROR).verdict({1: 1.0, 2: 1.0, 3: 1.0}, {0: 0.0, 1: 2.0, 2: 2.0, 3: 2.0}).answer == "holds"


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        (((0.50, 0.50, 0.50), (0.51, 0.51, 0.51)), "holds"),  # 2 %
        (((0.50, 0.50, 0.50), (0.60, 0.60, 0.60)), "does not hold"),  # 18 %
        (((0.50, 0.50, 0.50), (0.50, 0.60, 0.50)), "not decided"),  # 6.5 % ± 11 %
        (((0.50, 0.50, 0.50), (0.40, 0.60, 0.50)), "not decided"),  # 0 ± 20 %: too loose to say
        (((0.50, 0.50, 0.50), (0.50, 0.50, 0.50)), "holds"),
        (((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), "holds"),
        (((0.50, 0.50), (0.50, 0.50)), "not decided"),
        (((0.50, 0.50, math.nan), (0.50, 0.50, 0.5)), "not decided"),
    ],
)
def test_alike_means_within_five_per_cent(values, answer):
    assert alike().verdict(*(seeds(*one) for one in values)).answer == answer


def test_alike_goes_by_the_two_that_are_furthest_apart():
    verdict = alike(3).verdict(seeds(1.0, 1.0, 1.0), seeds(1.1, 1.1, 1.1), seeds(0.9, 0.9, 0.9))
    assert verdict == ("does not hold", "up to 20.0% ± 0.0% apart")
