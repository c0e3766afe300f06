# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Losses of the task-solver (paper §3.3 and §4.2)."""

import torch
import torch.nn.functional as F


IGNORE_INDEX = -100
MINIMUM_DEPTH = 1e-3  # metres; predictions are clipped there, as in the released code


def token_cross_entropy(logits: torch.Tensor, labels: torch.LongTensor) -> torch.Tensor:
    """
    Sum over all supervised tokens of the cross-entropy over the full vocabulary, float32, of logits (batch, length,
    vocab_size) and vocabulary ids (batch, length), of which -100 is ignored; 0 if nothing is supervised.
    """
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")


def silog_loss(
    prediction: torch.Tensor, target: torch.Tensor, variance_focus: float = 0.5, minimum: float = MINIMUM_DEPTH
) -> torch.Tensor:
    """
    Scale-invariant logarithmic loss `sqrt(mean(d^2) - λ mean(d)^2)`, `d = log target - log prediction`, over the valid
    pixels (target > 0) of the whole batch (Eigen et al. 2014; paper §4.2 with λ = `variance_focus`); 0 if no pixel is.
    Both are depth in metres, of one shape; the prediction is clipped below at `minimum`, the target 0 where unknown.
    """
    valid = target > 0
    count = valid.sum()
    # Masked sums, as a selection would make the host wait. Where nothing is valid both are 1, whose logarithm is 0.
    target, prediction = torch.where(valid, target, 1), torch.where(valid, prediction.clamp(min=minimum), 1)
    difference = torch.log(target) - torch.log(prediction)
    mean, mean_square = (total / count.clamp(min=1) for total in (difference.sum(), difference.square().sum()))
    square = mean_square - variance_focus * mean.square()
    return torch.where(count > 0, torch.sqrt(torch.where(count > 0, square, 1)), 0)


def dice_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """
    Mean over masks `(n, height, width)`, n at least 1, of `1 - (2 Σpt + 1) / (Σp + Σt + 1)`, in 0..1, the prediction
    clipped to [0, 1], the target 0 or 1 (reference §5).
    """
    prediction, target = prediction.flatten(1).clamp(0, 1), target.flatten(1)
    overlap = 2 * (prediction * target).sum(1) + 1
    return (1 - overlap / (prediction.sum(1) + target.sum(1) + 1)).mean()


def smooth_l1_loss(
    prediction: torch.Tensor, target: torch.Tensor, known: torch.BoolTensor, beta: float = 1.0
) -> torch.Tensor:
    """
    Mean over the known values of `d^2 / (2 beta)` where `d = |prediction - target| < beta`, else `d - beta / 2`; 0 if
    nothing is known. `known` broadcasts to the shape of both.
    """
    known = known.expand_as(target)
    # Where nothing is known the prediction is its own target: no loss and no gradient, whatever stands there.
    goal = torch.where(known, target, prediction.detach())
    return F.smooth_l1_loss(prediction, goal, reduction="sum", beta=beta) / known.sum().clamp(min=1)
