# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Joints by heatmaps: a head that gives each joint a map, whose peak it is (Xiao et al., 2018, arXiv:1804.06208)."""

from types import SimpleNamespace

import segmentation_models_pytorch as smp
import torch

from ...metrics.measuring import evaluating
from ...recipes.streams import Batch
from ...tasks.base import Kind
from ...tasks.poses.evaluation import measure_poses
from .baselines import ENCODER, Baseline, padded, with_imagenet


STRIDE = 4  # pixels per step of a heatmap
SIGMA = 2.0  # steps; of the Gaussian around a joint
WEIGHT = 1000.0  # of the loss, whose values are small: most of a heatmap is 0


class JointHeatmaps(Baseline):
    """Heatmaps from a feature pyramid, learned by the squared difference to Gaussians around the known joints."""

    def __init__(self, task: Kind):
        super().__init__()
        self.network = smp.FPN(ENCODER, encoder_weights=None, classes=len(task.data.joints.joints), upsampling=1)
        with_imagenet(self.network.encoder)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Heatmaps `(batch, joints, height / 4, width / 4)`."""
        height, width = (side // STRIDE for side in pixel_values.shape[-2:])
        return self.network(padded(pixel_values))[..., :height, :width]

    def loss(self, outputs: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        joints = batch["labels"]
        known = (joints[..., 2] > 0)[..., None, None]
        errors = (outputs - gaussians(joints[..., :2], outputs.shape[-2:])).square() * known
        return {"mse": WEIGHT * errors.sum() / (known.sum().clamp(min=1) * outputs[0, 0].numel())}

    def evaluate(self, task, processor, batches, options, *, accelerator, **measuring) -> dict[str, float]:
        def predict(batch: Batch) -> SimpleNamespace:
            joints, scores = peaks(self(batch["pixel_values"].to(accelerator.device)))
            return SimpleNamespace(pred_keypoints=joints, keypoint_scores=scores)

        truth = task.data.ground_truth(options.split, options.num_samples)
        measuring |= {"skeleton": task.data.joints, "accelerator": accelerator}
        with evaluating(self):
            return measure_poses(predict, processor, batches, truth, **measuring)[0]


def gaussians(joints: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Heatmaps `(batch, joints, height, width)` with a peak of 1 at each joint `(batch, joints, 2)`, x and y in pixels."""
    places = (joints + 0.5) / STRIDE - 0.5
    rows, columns = (torch.arange(side, device=joints.device) for side in size)
    x, y = places[..., 0, None], places[..., 1, None]
    across, down = (
        torch.exp(-((steps - centre).square()) / (2 * SIGMA**2)) for steps, centre in ((columns, x), (rows, y))
    )
    return down[..., :, None] * across[..., None, :]


def peaks(heatmaps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Joints `(batch, joints, 2)`, x and y in pixels, and their scores `(batch, joints)`, 0..1: where a heatmap is highest, moved
    a quarter of a step to the higher neighbour.
    """
    height, width = heatmaps.shape[-2:]
    scores, places = heatmaps.flatten(2).max(-1)
    row, column = places // width, places % width
    flat = heatmaps.flatten(2)

    def towards(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        lower, higher = (flat.gather(2, at[..., None])[..., 0] for at in (before, after))
        return 0.25 * (higher - lower).sign()

    x = column + towards(row * width + (column - 1).clamp(min=0), row * width + (column + 1).clamp(max=width - 1))
    y = row + towards((row - 1).clamp(min=0) * width + column, (row + 1).clamp(max=height - 1) * width + column)
    return STRIDE * (torch.stack([x, y], -1) + 0.5) - 0.5, scores.clamp(0, 1)
