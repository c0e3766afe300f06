# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Errors of any dense map: of its values, and of directions if its pixels are unit vectors."""

import numpy as np
import torch
import torch.nn.functional as F

from ..data.maps import UNIT_VECTOR
from .per_image import PerImageMetric, comparable


VALUE_ERRORS = ("rmse", "mae")
# As surface normals are measured since Fouhey et al. (2013).
WITHIN_DEGREES = {"within_11_25": 11.25, "within_22_5": 22.5, "within_30": 30.0}
ANGLE_ERRORS = ("mean_angle", "median_angle", *WITHIN_DEGREES)


def angles(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Angles between the vectors of two maps `(B, C, H, W)`, of any lengths; `(B, H, W)`, degrees, 0..180. A vector of
    length 0 is at right angles to every other."""
    first, second = (F.normalize(vectors, dim=1) for vectors in (prediction, target))
    # Unlike the arc cosine this is exact for small angles in float32 (Kahan).
    return 2 * torch.rad2deg(torch.atan2((first - second).norm(dim=1), (first + second).norm(dim=1)))


def map_errors(
    prediction: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray, *, unit: str
) -> dict[str, torch.Tensor]:
    """Errors of every map of a batch over its known pixels.

    Args:
        prediction: `(B, C, H, W)`, floating point.
        target: `(B, C, H, W)`; a pixel is unknown where all channels are 0.
        unit: What the values are in. `"unit_vector"` also gives angles.

    Returns:
        Float32 tensors of shape `(B,)`: `rmse` and `mae` over pixels and channels, in the maps' unit; for unit vectors
        `mean_angle` and `median_angle` (degrees) and `within_11_25`, `within_22_5`, `within_30`, the shares of pixels
        (0..1) whose angle is less than so many degrees; and `num_valid`, the number of known pixels, int64. A map
        without any has NaN for all errors.

    Raises:
        ValueError: If shapes differ or are not `(B, C, H, W)`.
    """
    prediction, target = (maps.float() for maps in comparable(prediction, target, "batch, channels, height, width"))
    known = (target != 0).any(1)
    num_valid = known.sum((1, 2))

    def mean(values: torch.Tensor) -> torch.Tensor:
        return values.where(known, 0).sum((1, 2)) / num_valid

    difference = prediction - target
    errors = {"rmse": mean(difference.square().mean(1)).sqrt(), "mae": mean(difference.abs().mean(1))}
    if unit == UNIT_VECTOR:
        degrees = angles(prediction, target)
        errors["mean_angle"] = mean(degrees)
        errors["median_angle"] = degrees.where(known, torch.nan).flatten(1).nanmedian(1).values
        errors |= {name: mean((degrees < limit).float()) for name, limit in WITHIN_DEGREES.items()}
    return errors | {"num_valid": num_valid}


class MapMetric(PerImageMetric):
    """Errors of dense maps, per image and averaged over images; the values are those of [`map_errors`].

    Args:
        unit: What the maps' values are in.

    Example:

    ```python
    >>> import numpy as np
    >>> from ait_hf.metrics.maps import MapMetric

    >>> metric = MapMetric("unit_vector")
    >>> right, down = np.zeros((1, 3, 4, 4)), np.zeros((1, 3, 4, 4))
    >>> right[:, 0] = down[:, 1] = 1
    >>> metric.add_maps(right, down)
    >>> metric.compute()["mean_angle"]
    90.0
    ```
    """

    description = "Errors of dense maps, computed per image over known pixels and averaged over images."

    def __init__(self, unit: str, **kwargs):
        self.unit = unit
        self.columns = (*VALUE_ERRORS, *(ANGLE_ERRORS if unit == UNIT_VECTOR else ()), "num_valid")
        super().__init__(**kwargs)

    def add_maps(self, prediction: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray) -> None:
        """Add a batch of maps `(B, C, H, W)`; errors as of [`map_errors`]."""
        self.add_errors(map_errors(prediction, target, unit=self.unit))
