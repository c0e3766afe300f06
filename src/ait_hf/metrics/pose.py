# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How far the joints of a pose lie from where they should be."""

import numpy as np
import torch


def pose_errors(prediction: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray) -> dict[str, torch.Tensor]:
    """
    Error of every pose over its known joints.

    Args:
        prediction: `(B, joints, 2)`, x and y in pixels.
        target: `(B, joints, 3)`, x and y in pixels and visibility; a joint is known where that is above 0.

    Returns:
        Tensors of shape `(B,)`: `joint_error`, the mean distance between predicted and true joints (pixels, float32),
        and `num_valid`, the number of known joints (int64). A pose without any has NaN and 0.

    Raises:
        ValueError: If the shapes are not these.
    """
    prediction, target = torch.as_tensor(prediction).float(), torch.as_tensor(target).float()
    if target.ndim != 3 or target.shape[2] != 3 or prediction.shape != (*target.shape[:2], 2):
        raise ValueError(
            "Poses must be predicted as (batch, joints, 2) and annotated as (batch, joints, 3), "
            f"got {tuple(prediction.shape)} and {tuple(target.shape)}."
        )
    known = target[..., 2] > 0
    num_valid = known.sum(1)
    distances = (prediction - target[..., :2]).norm(dim=2)
    return {"joint_error": distances.where(known, 0).sum(1) / num_valid, "num_valid": num_valid}
