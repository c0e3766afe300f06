# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from ait_hf.metrics.uncertainty import (
    TEMPERATURES,
    best_temperature,
    code_likelihoods,
    mean_uncertainty_errors,
    uncertainty_errors,
)


TARGET = torch.tensor([[2.0, 2.0, 2.0, 0.0]])
PREDICTION = torch.tensor([[5.0, 2.0, 3.0, 9.0]])  # off by 3, 0, 1 and unknown
ORACLE = {"ause_rmse": (0 + math.sqrt(1 / 2) + math.sqrt(10 / 3)) / 3, "ause_abs_rel": (0 + 0.25 + 2 / 3) / 3}
RANDOM = {"ause_rmse": math.sqrt(10 / 3), "ause_abs_rel": 2 / 3}
WORST = {"ause_rmse": (3 + math.sqrt(10 / 2) + math.sqrt(10 / 3)) / 3, "ause_abs_rel": (1.5 + 1 + 2 / 3) / 3}
TIED = {"ause_rmse": (math.sqrt(9 / 2) * 2 + math.sqrt(10 / 3)) / 3, "ause_abs_rel": (0.75 * 2 + 2 / 3) / 3}


@pytest.mark.parametrize(
    "uncertainty, curve",
    [
        ([3.0, 0.0, 1.0, 0.0], ORACLE),  # the error itself
        ([0.3, 0.1, 0.2, 9.0], ORACLE),  # only the order counts
        ([0.5, 0.5, 0.5, 0.0], RANDOM),
        ([0.0, 1.0, 0.5, 0.0], WORST),
        ([0.2, 0.2, 0.7, 0.0], TIED),  # the first two in either order
    ],
)
def test_area_is_that_between_the_curve_and_the_one_by_true_errors(uncertainty, curve):
    values = uncertainty_errors(PREDICTION, TARGET, torch.tensor([uncertainty]))
    for name, oracle in ORACLE.items():
        assert values[name] == pytest.approx(curve[name] - oracle, abs=1e-9)


def test_area_is_exactly_zero_for_the_error_and_the_same_in_any_order_of_pixels():
    generator = torch.Generator().manual_seed(0)
    target, noise = 1 + torch.rand(20, 30, generator=generator), torch.randn(20, 30, generator=generator)
    prediction = target + 0.1 * noise
    known = uncertainty_errors(prediction, target, (prediction - target).abs())
    assert known["ause_rmse"] == 0 and known["ause_abs_rel"] > 0
    coarse = (noise.abs() * 3).round()  # many are equal
    mirrored = uncertainty_errors(*(values.flip(0, 1) for values in (prediction, target, coarse)))
    straight = uncertainty_errors(prediction, target, coarse)
    assert mirrored["ause_rmse"] == pytest.approx(straight["ause_rmse"], rel=1e-9)
    np.testing.assert_allclose(mirrored["groups"], straight["groups"], rtol=1e-9)


def test_reliability_bins_hold_equal_numbers_of_the_pixels_of_all_images():
    errors = torch.arange(1000.0).reshape(10, 100) / 1000
    target = torch.full((10, 100), 2.0)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0)).reshape(10, 100)
    errors = errors.flatten()[order]
    halves = [uncertainty_errors(2 + e, t, 0.5 * e) for e, t in zip(errors.split([7, 3]), target.split([7, 3]))]
    result = mean_uncertainty_errors([*halves, {}])
    assert result["ause_rmse"] == pytest.approx(0, abs=1e-5)  # depth is float32
    for number in range(1, 11):
        middle = (number - 0.505) / 10
        assert result[f"reliability/{number}/error"] == pytest.approx(middle, abs=2e-3)
        assert result[f"reliability/{number}/uncertainty"] == pytest.approx(middle / 2, abs=1e-3)
    constant = [uncertainty_errors(2 + e, t, 0 * e) for e, t in zip(errors.split([7, 3]), target.split([7, 3]))]
    bins = [value for name, value in mean_uncertainty_errors(constant).items() if name.endswith("/error")]
    assert len(bins) == 10 and bins == pytest.approx([errors.mean().item()] * 10, rel=1e-5)
    assert mean_uncertainty_errors([{}]) == uncertainty_errors(target, 0 * target, target) == {}


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_temperature_of_probabilities_is_found_again(temperature):
    torch.manual_seed(0)
    logits = 2 * torch.randn(5000, 6)
    codes = torch.distributions.Categorical(logits=temperature * logits).sample()
    likelihoods = code_likelihoods(logits.softmax(-1), codes).mean(0).numpy()
    found, lowest = best_temperature(likelihoods)
    assert found == pytest.approx(temperature, rel=0.06)
    expected = torch.nn.functional.cross_entropy(found * logits, codes).item()
    assert lowest == pytest.approx(expected, rel=1e-4)
    assert likelihoods[60] == pytest.approx(torch.nn.functional.cross_entropy(logits, codes).item(), rel=1e-5)
    assert TEMPERATURES[60] == pytest.approx(1)


def test_temperature_at_an_end_is_refused():
    likely = torch.tensor([[0.9, 0.1]])
    for code in (0, 1):  # always right, always wrong
        with pytest.raises(ValueError, match="cannot be calibrated on these data"):
            best_temperature(code_likelihoods(likely, torch.tensor([code])).mean(0).numpy())
