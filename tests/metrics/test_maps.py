# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from ait_hf.metrics.maps import MapMetric, angles, map_errors


def tilted(degrees: float, size: int = 4) -> torch.Tensor:
    """Unit vectors (1, 3, size, size), so far away from straight ahead."""
    angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    vector = torch.stack([angle.sin(), torch.zeros(()), angle.cos()]).float()
    return vector.view(1, 3, 1, 1).expand(1, 3, size, size).clone()


@pytest.mark.parametrize("degrees", [0.0, 0.001, 11.2, 90.0, 179.999, 180.0])
def test_angles_are_exact_at_both_ends_and_do_not_see_lengths(degrees):
    assert angles(3 * tilted(degrees), 0.1 * tilted(0)) == pytest.approx(np.full((1, 4, 4), degrees), abs=2e-5)


def test_a_vector_without_length_is_at_right_angles():
    assert angles(torch.zeros(1, 3, 1, 1), tilted(20, 1)).item() == pytest.approx(90)


def test_unit_vectors_by_hand():
    prediction = torch.cat([tilted(degrees, 1) for degrees in (0, 11, 12, 29, 31)], dim=3)
    errors = map_errors(prediction, tilted(0, 1).expand(1, 3, 1, 5), unit="unit_vector")
    assert errors["mean_angle"].item() == pytest.approx(83 / 5, abs=1e-4)
    assert errors["median_angle"].item() == pytest.approx(12, abs=1e-4)
    assert [errors[name].item() for name in ("within_11_25", "within_22_5", "within_30")] == pytest.approx(
        [0.4, 0.6, 0.8]
    )
    assert errors["num_valid"].tolist() == [5]


def test_values_by_hand_and_no_angles():
    target = torch.tensor([[[1.0, 2.0]], [[0.0, -1.0]]])[None]  # two channels, two pixels
    prediction = target + torch.tensor([[[1.0, -1.0]], [[0.0, 3.0]]])[None]
    errors = map_errors(prediction, target, unit="newton")
    assert set(errors) == {"rmse", "mae", "num_valid"}
    assert errors["rmse"].item() == pytest.approx((11 / 4) ** 0.5)
    assert errors["mae"].item() == pytest.approx(5 / 4)


def test_unknown_pixels_do_not_count():
    target, prediction = tilted(0), tilted(10)
    target[..., 0, :] = 0
    prediction[..., 0, :] = torch.tensor([7.0, 8.0, 9.0])[:, None]
    errors = map_errors(prediction, target, unit="unit_vector")
    assert errors["median_angle"].item() == pytest.approx(10, abs=1e-4)
    assert errors["mean_angle"].item() == pytest.approx(10, abs=1e-4)
    assert errors["num_valid"].tolist() == [12]


def test_a_map_without_known_pixels_is_left_out_of_the_mean():
    metric = MapMetric("unit_vector", keep_in_memory=True)
    metric.add_maps(torch.cat([tilted(10), tilted(20)]), torch.cat([tilted(0), torch.zeros(1, 3, 4, 4)]))
    result = metric.compute()
    assert result["mean_angle"] == pytest.approx(10, abs=1e-4) and result["within_11_25"] == 1
    assert (result["num_images"], result["num_excluded"]) == (1, 1)


def test_the_metric_of_other_maps_has_no_angles():
    metric = MapMetric("newton", keep_in_memory=True)
    metric.add_maps(np.full((2, 1, 3, 3), 1.5), np.ones((2, 1, 3, 3)))
    assert metric.compute() == {"rmse": 0.5, "mae": 0.5, "num_images": 2, "num_excluded": 0}


@pytest.mark.parametrize("shapes", [((1, 3, 4, 4), (1, 3, 4, 5)), ((3, 4, 4), (3, 4, 4))])
def test_wrong_shapes_are_refused(shapes):
    with pytest.raises(ValueError, match=r"must both be \(batch, channels, height, width\)"):
        map_errors(*(torch.ones(shape) for shape in shapes), unit="newton")
