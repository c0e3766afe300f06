# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How many joints of a pose lie near enough to where they should be."""

import torch


def correct_joints(
    prediction: torch.Tensor, target: torch.Tensor, reference: tuple[int, int], share: float = 0.2
) -> dict[str, torch.Tensor]:
    """Counts for the percentage of correct keypoints (PCK, Yang and Ramanan 2013): joints that lie no farther from where
    they should be than a share of a reference length of their own person, such as the torso's. `num_correct` and
    `num_counted` joints `(B,)`, int64, both 0 for a person that lacks one of the reference's joints.

    Args:
        prediction: `(B, joints, 2)`, x and y in pixels.
        target: `(B, joints, 3)`, x and y in pixels and visibility; a joint is known where that is above 0.
        reference: Numbers of the two joints that the length lies between, in the target.
        share: Of that length, above 0.

    Raises:
        ValueError: If the shapes are not these, or the share is not above 0.
    """
    if target.ndim != 3 or target.shape[2] != 3 or prediction.shape != (*target.shape[:2], 2):
        raise ValueError(
            "Poses must be predicted as (batch, joints, 2) and annotated as (batch, joints, 3), "
            f"got {tuple(prediction.shape)} and {tuple(target.shape)}."
        )
    if not share > 0:
        raise ValueError(f"The share of the reference length must be above 0, got {share}.")
    known = target[..., 2] > 0
    known &= known[:, list(reference)].all(1)[:, None]
    first, second = (target[:, joint, :2] for joint in reference)
    near = (prediction - target[..., :2]).norm(dim=2) <= share * (first - second).norm(dim=1)[:, None]
    return {"num_correct": (known & near).sum(1), "num_counted": known.sum(1)}
