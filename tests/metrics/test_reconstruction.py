# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Reconstruction errors of poses, label maps and maps of several channels against values worked out by hand."""

import math

import pytest
import torch

from ait_hf.metrics.reconstruction import (
    ReconstructionErrors,
    ReconstructionMetric,
    label_map_reconstruction_errors,
    pose_errors,
)


IDS = torch.tensor([[0, 1], [2, 3]])


def test_pose_errors_are_mean_distances_of_known_joints():
    target = torch.tensor([[[10.0, 10.0, 1.0], [20.0, 20.0, 2.0], [0.0, 0.0, 0.0]], [[1.0, 2.0, 0.0]] * 3])
    prediction = target[..., :2] + torch.tensor([[3.0, 4.0], [0.0, 0.0], [50.0, 50.0]])
    errors = pose_errors(prediction, target)
    assert errors["joint_error"][0].item() == pytest.approx((5 + 0) / 2)
    assert math.isnan(errors["joint_error"][1]) and errors["num_valid"].tolist() == [2, 0]
    metric = ReconstructionMetric("pose", keep_in_memory=True)
    metric.add_maps(prediction, target, IDS)
    values = metric.compute(num_codes=8)
    assert values["joint_error"] == pytest.approx(2.5) and values["num_images"] == 1 and values["num_excluded"] == 1
    assert values["perplexity"] == pytest.approx(4) and values["code_usage"] == 0.5
    for wrong in (target, prediction[:1], prediction[:, :2]):
        with pytest.raises(ValueError, match=r"predicted as \(batch, joints, 2\)"):
            pose_errors(wrong, target)
    with pytest.raises(ValueError, match=r"annotated as \(batch, joints, 3\)"):
        pose_errors(prediction, prediction)


def test_label_map_accuracy_leaves_out_ignored_pixels():
    target = torch.tensor([[[0, 1], [2, 255]], [[255, 255], [255, 255]]])
    scores = torch.zeros(2, 3, 2, 2)
    scores[:, 0, 0] = scores[:, 2, 1] = 1  # class 0 above, 2 below
    errors = label_map_reconstruction_errors(scores, target)
    assert errors["accuracy"][0].item() == pytest.approx(2 / 3) and math.isnan(errors["accuracy"][1])
    assert errors["num_valid"].tolist() == [3, 0]
    metric = ReconstructionMetric("label_map", keep_in_memory=True)
    metric.add_maps(scores, target, IDS)
    assert metric.compute(num_codes=4)["accuracy"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="batch, classes, height, width"):
        label_map_reconstruction_errors(scores[:, 0], target)


def test_errors_of_maps_of_several_channels():
    target = torch.zeros(1, 3, 1, 3)
    target[0, 0, 0, :2] = 1  # right, right, unknown
    rebuilt = torch.tensor([[2.0, 1.0, 9.0], [0.0, 1.0, 9.0], [0.0, 0.0, 9.0]])[None, :, None]
    normals, others = (ReconstructionMetric(kind, keep_in_memory=True) for kind in ("normals", "map"))
    for metric in (normals, others):
        metric.add_maps(rebuilt, target, IDS[:1])
    normals, others = normals.compute(num_codes=4), others.compute(num_codes=4)
    assert normals["mean_angle"] == pytest.approx((0 + 45) / 2, rel=1e-5)
    assert "mean_angle" not in others
    for values in (normals, others):
        assert values["rmse"] == pytest.approx(math.sqrt((1 + 1) / 6)) and values["mae"] == pytest.approx(2 / 6)


def test_errors_of_ones_own():
    def largest(reconstruction, target):
        errors = (reconstruction - target).abs().flatten(1).amax(1)
        return {"largest": errors, "num_valid": torch.full_like(errors, target[0].numel())}

    metric = ReconstructionMetric(ReconstructionErrors(largest, ("largest",), "largest"), keep_in_memory=True)
    metric.add_maps(torch.tensor([[1.0, 4.0], [0.0, 2.0]]), torch.zeros(2, 2), IDS)
    assert metric.best == "largest" and metric.compute(num_codes=4)["largest"] == 3


def test_maps_of_one_channel_may_have_it():
    depth, mask = 1 + torch.rand(2, 4, 4), torch.rand(2, 4, 4).round()
    for kind, maps in (("depth", depth), ("mask", mask)):
        metric = ReconstructionMetric(kind, keep_in_memory=True)
        with_channel, without = metric.errors(maps[:, None] * 0.9, maps), metric.errors(maps * 0.9, maps)
        assert all(torch.equal(with_channel[name], without[name]) for name in without)
