# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How the uncertainty of depth goes with its error, and at what temperature the entropy of tokens is calibrated."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from .depth import valid_depth_pixels


AREAS = ("ause_rmse", "ause_abs_rel")
RELIABILITY = "reliability"
NUM_GROUPS = 100  # of an image's pixels, which stand for them in the curve of all images
NUM_BINS = 10
# From 0.1 to 10 in equal ratios, 1 in the middle.
TEMPERATURES = np.geomspace(0.1, 10, 121)


def uncertainty_errors(
    prediction: torch.Tensor,
    target: torch.Tensor,
    uncertainty: torch.Tensor,
    *,
    min_depth: float = 1e-3,
    max_depth: float = 10.0,
    crop: Literal["eigen"] | None = None,
) -> dict[str, Any]:
    """How one image's uncertainty goes with its error.

    The most uncertain pixels are left out one by one: the error of the rest falls as far as the uncertainty knows where the
    errors are. The area between this curve and that of the order by the true errors, over the share that is left out, is
    the area under the sparsification error (AUSE; Ilg et al. 2018, per image and not normalised as of Poggi et al. 2020).
    Pixels of equal uncertainty go in random order: what is expected of it.

    Args:
        prediction, target: Metres, `(H, W)`; min_depth, max_depth, crop: as of [`~ait_hf.metrics.depth_errors`].
        uncertainty: `(H, W)`, higher where less certain, in any unit.

    Returns:
        `ause_rmse` (metres) and `ause_abs_rel`, 0 for the order of the true errors; and `groups`, `(3, 100)` as lists: for
        groups of equal numbers of pixels, from the most certain, mean uncertainty, mean absolute error (metres) and number
        of pixels. Nothing for an image without pixels that count.
    """
    valid = valid_depth_pixels(target, min_depth, max_depth, crop)
    known = (values[valid].cpu().double().numpy() for values in (prediction, target, uncertainty))
    prediction, target, uncertainty = known
    if not len(target):
        return {}
    error = np.abs(np.nan_to_num(prediction, nan=min_depth, posinf=max_depth).clip(min_depth) - target)
    ones, (squared, relative) = np.ones(len(error)), (error**2, error / target)

    def remaining(order: np.ndarray, *values: np.ndarray) -> np.ndarray:
        """Means `(values, n)` of the 1, 2, ... values that are lowest in the order."""
        return _sums(order, values, ones, len(ones))[:, 1:] / np.arange(1, len(ones) + 1)

    groups = _bins(uncertainty, error, ones, NUM_GROUPS)
    squared_left, relative_left = remaining(uncertainty, squared, relative)
    areas = (
        np.sqrt(squared_left) - np.sqrt(remaining(squared, squared)[0]),
        relative_left - remaining(relative, relative)[0],
    )
    sizes = np.full(NUM_GROUPS, len(ones) / NUM_GROUPS)
    return {name: float(area.mean()) for name, area in zip(AREAS, areas)} | {"groups": [*map(list, (*groups, sizes))]}


def mean_uncertainty_errors(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of rows of [`uncertainty_errors`], one of an image each, of which some may have none: the mean areas, and the
    reliability curve: `reliability/K/uncertainty` and `reliability/K/error` (metres), means over the K-th tenth of the
    pixels of all images, the first of which is the most certain. Nothing if no row has any."""
    rows = [row for row in rows if "groups" in row]
    if not rows:
        return {}
    means = {name: float(np.mean([row[name] for row in rows])) for name in AREAS}
    curve = zip(*_bins(*np.concatenate([row["groups"] for row in rows], axis=1), NUM_BINS))
    for number, point in enumerate(curve, 1):
        means |= {f"{RELIABILITY}/{number}/{name}": float(v) for name, v in zip(("uncertainty", "error"), point)}
    return means


def _bins(order: np.ndarray, values: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Means of `order` and of `values` in so many bins of equal weight, from the lowest order."""
    return np.diff(_sums(order, (order, values), weights, count)) / (weights.sum() / count)


def _sums(order: np.ndarray, values: Sequence[np.ndarray], weights: np.ndarray, count: int) -> np.ndarray:
    """Weighted sums of each of the values, `(values, count + 1)`, that are lowest in the order, up to 0, 1/count, ..., 1 of the
    weight; among equal ones in proportion, which is what is expected of a random order."""
    ranks = np.argsort(order, kind="stable")
    ends = np.flatnonzero(np.diff(order[ranks], append=np.inf))
    at, *sums = (
        np.append(0, np.cumsum(summed[ranks])[ends]) for summed in (weights, *(weights * each for each in values))
    )
    shares = np.linspace(0, at[-1], count + 1)
    return np.stack([np.interp(shares, at, up_to) for up_to in sums])


def code_likelihoods(probabilities: torch.Tensor, codes: torch.LongTensor) -> torch.Tensor:
    """Negative log-likelihood, nats, of the true codes `(...)` under soft tokens `(..., K)` at each of the
    [`TEMPERATURES`]: `(..., 121)`, float64 on the CPU."""
    # A probability of 0 is one too small for float32: it is taken for the smallest.
    logs = probabilities.cpu().double().clamp_min(torch.finfo(torch.float32).tiny).log()
    true = logs.gather(-1, codes.cpu()[..., None])[..., 0]
    return torch.stack([(t * logs).logsumexp(-1) - t * true for t in TEMPERATURES.tolist()], dim=-1)


def best_temperature(likelihoods: np.ndarray) -> tuple[float, float]:
    """Where a curve over the [`TEMPERATURES`] `(121,)` is lowest, by a parabola through its three lowest points, and its
    value there. `ValueError` if that is an end, or the curve is flat."""
    lowest = int(np.argmin(likelihoods))
    if min(likelihoods[0], likelihoods[-1]) - likelihoods[lowest] < 1e-6:
        raise ValueError(
            "The uncertainty cannot be calibrated on these data: no temperature from 0.1 to 10 makes their true codes "
            "likeliest, as of a model that has not learned them, or is always right."
        )
    before, here, after = likelihoods[lowest - 1 : lowest + 2]
    offset = (before - after) / (2 * (before - 2 * here + after))
    step = math.log(TEMPERATURES[1] / TEMPERATURES[0])
    return float(TEMPERATURES[lowest] * math.exp(offset * step)), float(here - (before - after) * offset / 4)
