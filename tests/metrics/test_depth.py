# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ait_hf.metrics import (
    DepthMetric,
    ReconstructionMetric,
    TokenDistanceMetric,
    code_usage,
    depth_errors,
    mask_reconstruction_errors,
    token_embedding_distance,
)
from ait_hf.metrics.depth import pooled_rmse


GOLDEN_NAMES = {"d1": "delta1", "d2": "delta2", "d3": "delta3"}


@pytest.fixture
def golden(golden_dir):
    """Prediction and ground truth (1, 480, 640) in metres, the published metrics and the number of valid pixels."""
    folder = golden_dir / "05_depth_metrics"
    tensors = load_file(folder / "io.safetensors")
    metrics = json.loads((folder / "case.json").read_text())["metrics"]
    prediction = tensors["pred_mm"].float() / 1000
    prediction[tuple(tensors["inf_at"].T)] = math.inf
    prediction[tuple(tensors["nan_at"].T)] = math.nan
    expected = {GOLDEN_NAMES.get(name, name): value for name, value in metrics.items()}
    return prediction[None], tensors["gt_mm"].float()[None] / 1000, expected, int(tensors["n_valid"])


def in_memory(metric_class, *args):
    """A metric that leaves no files behind."""
    return metric_class(*args, keep_in_memory=True)


def test_depth_errors_of_the_released_protocol(golden):
    prediction, target, expected, num_valid = golden
    errors = depth_errors(prediction, target, crop="eigen")
    assert errors.pop("num_valid").tolist() == [num_valid]
    assert {name: value.item() for name, value in errors.items()} == pytest.approx(expected, rel=1e-6)


def test_pooled_error_is_that_of_all_pixels_at_once():
    """Two images, of two and of four pixels, and one without any that counts, which changes nothing."""
    errors = [np.array([1.0, 3.0]), np.array([0.0, 2.0, 2.0, 4.0])]
    rmse = [math.sqrt((error**2).mean()) for error in errors]
    expected = math.sqrt((np.concatenate(errors) ** 2).mean())
    assert pooled_rmse([*rmse, math.nan], [2, 4, 0]) == pytest.approx(expected)


def test_depth_metric_of_the_released_protocol_from_arrays(golden):
    prediction, target, expected, _ = golden
    metric = in_memory(DepthMetric)
    metric.add_maps(prediction.numpy(), target.numpy(), crop="eigen")
    assert metric.compute() == pytest.approx(expected | {"num_images": 1, "num_excluded": 0}, rel=1e-6)


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((480, 640), (45, 471), (41, 601)),
        ((240, 320), (22, 236), (20, 300)),
        ((960, 1280), (90, 942), (82, 1202)),
    ],
)
def test_the_eigen_crop_of_any_size_of_that_shape(size, rows, columns):
    target = torch.full((1, *size), 20.0)  # too far to count
    target[:, slice(*rows), slice(*columns)] = 2.0
    errors = depth_errors(torch.full_like(target, 2.0), target, crop="eigen")
    assert errors["num_valid"].item() == (rows[1] - rows[0]) * (columns[1] - columns[0])
    everywhere = depth_errors(torch.full_like(target, 2.0), torch.full_like(target, 2.0), crop="eigen")
    assert everywhere["num_valid"].item() == errors["num_valid"].item()


def test_depth_errors_of_a_constant_factor():
    """With p = a·t every relative error is known: |a-1|, ln a, log10 a, and silog = ln a · sqrt(1/2)."""
    target = torch.rand(3, 8, 9).double() * 5 + 1
    errors = depth_errors(1.3 * target, target)
    ones = torch.ones(3)
    torch.testing.assert_close(errors["abs_rel"], 0.3 * ones)
    torch.testing.assert_close(errors["rmse_log"], math.log(1.3) * ones)
    torch.testing.assert_close(errors["log10"], math.log10(1.3) * ones)
    torch.testing.assert_close(errors["silog"], math.log(1.3) * math.sqrt(0.5) * ones)
    torch.testing.assert_close(errors["sq_rel"], 0.09 * target.mean((1, 2)).float())
    torch.testing.assert_close(errors["rmse"], 0.3 * target.square().mean((1, 2)).sqrt().float())
    assert errors["delta1"].tolist() == [0, 0, 0] and errors["delta2"].tolist() == [1, 1, 1]


def test_a_batch_is_its_images():
    prediction, target = torch.rand(4, 6, 7) * 8 + 0.1, torch.rand(4, 6, 7) * 12
    together = depth_errors(prediction, target)
    for index in range(4):
        alone = depth_errors(prediction[index : index + 1], target[index : index + 1])
        for name, value in alone.items():
            torch.testing.assert_close(together[name][index : index + 1], value)


def test_pixels_without_ground_truth_do_not_count():
    target = torch.full((1, 4, 4), 2.0)
    prediction = torch.full((1, 4, 4), 2.5)
    expected = depth_errors(prediction, target)
    target[0, 0] = torch.tensor([0.0, math.nan, math.inf, 10.0])
    prediction[0, 0] = torch.tensor([math.nan, -1.0, math.inf, 100.0])
    errors = depth_errors(prediction, target)
    assert errors.pop("num_valid").item() == 12
    for name, value in errors.items():
        torch.testing.assert_close(value, expected[name])


def test_predictions_are_bounded_below_but_not_above():
    target = torch.full((1, 1, 4), 1.0)
    errors = depth_errors(torch.tensor([[[-3.0, math.nan, math.inf, 25.0]]]), target)
    assert errors["abs_rel"].item() == pytest.approx((0.999 + 0.999 + 9 + 24) / 4)


def test_images_without_valid_pixels_are_counted_and_left_out():
    target = torch.stack([torch.full((2, 2), 2.0), torch.zeros(2, 2), torch.full((2, 2), 4.0)])
    metric = in_memory(DepthMetric)
    metric.add_maps(target + 1, target)
    result = metric.compute()
    assert (result["num_images"], result["num_excluded"]) == (2, 1)
    assert result["rmse"] == pytest.approx(1) and result["abs_rel"] == pytest.approx((1 / 2 + 1 / 4) / 2)

    metric.add_maps(torch.ones(1, 2, 2), torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match="None of the 1 images has a valid pixel"):
        metric.compute()


def test_the_metric_is_the_mean_over_images_whatever_the_batches(tmp_path):
    """Images of very different numbers of valid pixels weigh the same; on disk, as by default in evaluate."""
    prediction, target = torch.rand(5, 6, 7) * 8 + 0.1, torch.rand(5, 6, 7) * 12
    target[0, 1:] = 0
    metric = DepthMetric(cache_dir=str(tmp_path))
    metric.add_errors(depth_errors(prediction[:2], target[:2]))
    metric.add_batch(predictions=metric.rows(depth_errors(prediction[2:], target[2:])))
    result = metric.compute()
    assert result["rmse"] == pytest.approx(depth_errors(prediction, target)["rmse"].mean().item())
    assert result["num_images"] == 5


@pytest.mark.parametrize(
    "prediction, target, options, message",
    [
        ((1, 4, 4), (1, 4, 5), {}, "must both be"),
        ((4, 4), (4, 4), {}, "must both be"),
        ((1, 4, 4), (1, 4, 4), {"crop": "eigen"}, "480x640 maps, got 4x4"),
        ((1, 4, 4), (1, 4, 4), {"crop": "garg"}, "got 'garg'"),
        ((1, 4, 4), (1, 4, 4), {"min_depth": 0}, "0 < min_depth < max_depth"),
    ],
)
def test_depth_errors_refuses_bad_input(prediction, target, options, message):
    with pytest.raises(ValueError, match=message):
        depth_errors(torch.ones(prediction), torch.ones(target), **options)


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match="lack delta2, delta3"):
        in_memory(DepthMetric).add_errors({"delta1": torch.ones(1)})


def test_code_usage_closed_forms():
    assert code_usage(torch.arange(8), 8) == pytest.approx({"perplexity": 8, "code_usage": 1})
    assert code_usage(np.zeros((3, 4), dtype=np.int32), 8) == pytest.approx({"perplexity": 1, "code_usage": 1 / 8})
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert code_usage(torch.tensor([5, 5, 1, 5]), 16)["perplexity"] == pytest.approx(math.exp(entropy))


@pytest.mark.parametrize(
    "ids, error, message",
    [
        (torch.tensor([0.0]), TypeError, "integers"),
        (torch.tensor([], dtype=torch.long), ValueError, "at least one"),
        (torch.tensor([0, 4]), ValueError, r"0\.\.3, got 0\.\.4"),
        (torch.tensor([-1, 2]), ValueError, r"got -1\.\.2"),
    ],
)
def test_code_usage_refuses_bad_ids(ids, error, message):
    with pytest.raises(error, match=message):
        code_usage(ids, 4)


def test_depth_reconstruction():
    target = torch.stack([torch.full((4, 4), 2.0), torch.full((4, 4), 4.0)])
    target[:, 0] = 0
    metric = in_memory(ReconstructionMetric)
    metric.add_maps(target[:1] + 1, target[:1], ids=torch.tensor([[0, 1, 2, 3]]))
    metric.add_maps(target[1:] - 3, target[1:], ids=np.array([[[0, 1], [2, 3]]]))
    assert metric.compute(num_codes=8) == pytest.approx(
        {
            "rmse": (1 + 3) / 2,
            "abs_rel": (1 / 2 + 3 / 4) / 2,
            "delta1": 0,
            "mse": (1 + 9) / 2,
            "num_images": 2,
            "num_excluded": 0,
            "perplexity": 4,
            "code_usage": 0.5,
        }
    )


def test_mask_reconstruction():
    masks = torch.zeros(3, 4, 4)
    masks[:2, :2] = 1  # upper half; the third mask is empty
    rebuilt = masks.clone()
    rebuilt[1] = 0.0
    rebuilt[1, :, :2] = 0.5  # left half, just inside
    errors = mask_reconstruction_errors(rebuilt, masks.bool())
    torch.testing.assert_close(errors["iou"], torch.tensor([1, 1 / 3, 1]))
    torch.testing.assert_close(errors["mse"], torch.tensor([0, (4 * 0.25 + 4 * 0.25 + 4) / 16, 0]))

    metric = in_memory(ReconstructionMetric, "mask")
    metric.add_maps(rebuilt, masks, ids=torch.zeros(3, 2, dtype=torch.long))
    result = metric.compute(num_codes=2)
    assert result["iou"] == pytest.approx((1 + 1 / 3 + 1) / 3) and result["num_images"] == 3
    assert result["code_usage"] == 0.5 and "rmse" not in result


def test_reconstruction_of_unknown_maps_is_refused():
    with pytest.raises(ValueError, match="depth, mask, label_map, pose, normals, map, got 'sound'"):
        ReconstructionMetric("sound")


def test_token_distance():
    predicted = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    distance = token_embedding_distance(predicted, torch.zeros(2, 2, 2))
    torch.testing.assert_close(distance, torch.tensor([2.5, math.sqrt(2)]))

    metric = in_memory(TokenDistanceMetric)
    metric.add_tokens(predicted[:1], np.zeros((1, 2, 2)))
    metric.add_batch(predictions=distance[1:])
    assert metric.compute() == pytest.approx({"token_distance": (2.5 + math.sqrt(2)) / 2})

    with pytest.raises(ValueError, match="must both be"):
        token_embedding_distance(predicted, torch.zeros(2, 2, 3))


def test_the_expected_embedding_is_nearer_than_a_wrong_code():
    """Table 1's finding in its simplest form: hedging between two codes halves the distance of the wrong one."""
    codebook = torch.eye(2)
    truth = codebook[0][None, None]
    soft = (torch.tensor([[[0.5, 0.5]]]) @ codebook, codebook[1][None, None])
    soft_distance, hard_distance = (token_embedding_distance(tokens, truth) for tokens in soft)
    torch.testing.assert_close(soft_distance, hard_distance / 2)
