# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Depth-estimation metrics of the NYU protocol, computed per image, then averaged over images; and the distance between
predicted and true tokens in the embedding space (paper, Table 1)."""

from collections.abc import Sequence
from typing import Literal

import evaluate
import numpy as np
import torch
from datasets import Value

from .per_image import PerImageMetric, comparable, metric_info


DEPTH_ERRORS = ("delta1", "delta2", "delta3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog")
EIGEN_IMAGE_SIZE = (480, 640)
EIGEN_CROP = (45, 471), (41, 601)  # first row and that after the last, and columns


def valid_depth_pixels(
    target: torch.Tensor, min_depth: float, max_depth: float, crop: Literal["eigen"] | None
) -> torch.Tensor:
    """Pixels that count: ground truth strictly between the bounds, and inside the crop. Boolean, target's shape."""
    valid = (target > min_depth) & (target < max_depth)
    if crop is None:
        return valid
    if crop != "eigen":
        raise ValueError(f'The crop is "eigen" or None, got {crop!r}.')
    (height, width), (whole_height, whole_width) = target.shape[-2:], EIGEN_IMAGE_SIZE
    if height * whole_width != width * whole_height:
        raise ValueError(
            f"The Eigen crop is defined on 480x640 maps, got {height}x{width}, which is no smaller or larger one of that "
            "shape; resize the maps first or pass crop=None."
        )
    rows, columns = (slice(*(round(end * height / whole_height) for end in ends)) for ends in EIGEN_CROP)
    inside = torch.zeros_like(valid)
    inside[..., rows, columns] = True
    return valid & inside


def depth_errors(
    prediction: torch.Tensor | np.ndarray,
    target: torch.Tensor | np.ndarray,
    *,
    min_depth: float = 1e-3,
    max_depth: float = 10.0,
    crop: Literal["eigen"] | None = None,
) -> dict[str, torch.Tensor]:
    """Depth errors of every image of a batch, as published for NYUv2 (with `crop="eigen"`).

    A prediction is raised to `min_depth` where it is lower or NaN, and set to `max_depth` where it is +inf; it is not
    clipped from above otherwise. The arithmetic is float32, as published, so that thresholds fall on the same side.

    Args:
        prediction: Metres, `(B, H, W)`, floating point.
        target: Metres, `(B, H, W)`. Pixels outside `(min_depth, max_depth)`, both excluded, and NaN do not count.
        min_depth: Metres, above 0.
        max_depth: Metres.
        crop: `"eigen"` counts rows 45 to 470 and columns 41 to 600 only, of 480×640 maps; of other sizes of that shape
            what is in proportion, such as rows 22 to 235 and columns 20 to 299 of 240×320.

    Returns:
        Tensors of shape `(B,)`: `delta1..3` (share of pixels with `max(p/t, t/p) < 1.25^k`, 0..1), `abs_rel`, `sq_rel`
        (metres), `rmse` (metres), `rmse_log`, `log10`, `silog` (`sqrt(mean(d²) - mean(d)²/2)` with `d = ln p - ln t`),
        all float32, and `num_valid`, int64. An image without valid pixels has NaN for all errors and `num_valid` 0.

    Raises:
        ValueError: If shapes differ or are not `(B, H, W)`, if the bounds are not `0 < min_depth < max_depth`, or if
            the Eigen crop is asked of maps of another shape than three to four.
    """
    prediction, target = (maps.float() for maps in comparable(prediction, target, "batch, height, width"))
    if not 0 < min_depth < max_depth:
        raise ValueError(f"Depth bounds must satisfy 0 < min_depth < max_depth, got {min_depth} and {max_depth}.")

    valid = valid_depth_pixels(target, min_depth, max_depth, crop)
    num_valid = valid.sum((1, 2))
    prediction = prediction.nan_to_num(nan=min_depth, posinf=max_depth, neginf=min_depth).clamp_min(min_depth)
    # Pixels that do not count become 1 m in both maps, which keeps logarithms and quotients finite.
    prediction, target = prediction.where(valid, 1.0), target.where(valid, 1.0)

    def mean(values: torch.Tensor) -> torch.Tensor:
        return (values * valid).sum((1, 2)) / num_valid

    difference = prediction - target
    log_difference = prediction.log() - target.log()
    ratio = torch.maximum(prediction / target, target / prediction)
    mean_squared_log = mean(log_difference.square())
    return {
        "delta1": mean(ratio < 1.25),
        "delta2": mean(ratio < 1.25**2),
        "delta3": mean(ratio < 1.25**3),
        "abs_rel": mean(difference.abs() / target),
        "sq_rel": mean(difference.square() / target),
        "rmse": mean(difference.square()).sqrt(),
        "rmse_log": mean_squared_log.sqrt(),
        "log10": mean((prediction.log10() - target.log10()).abs()),
        "silog": (mean_squared_log - 0.5 * mean(log_difference).square()).sqrt(),
        "num_valid": num_valid,
    }


class DepthMetric(PerImageMetric):
    """Depth errors averaged over images; `abs_rel` is the papers' REL.

    Example:

    ```python
    >>> import numpy as np
    >>> from ait_hf.metrics import DepthMetric

    >>> metric = DepthMetric()
    >>> metric.add_maps(np.full((1, 480, 640), 2.2), np.full((1, 480, 640), 2.0), crop="eigen")
    >>> round(metric.compute()["rmse"], 3)
    0.2
    ```
    """

    columns = (*DEPTH_ERRORS, "num_valid")
    description = "Depth-estimation errors (NYU protocol), computed per image and averaged over images."

    def add_maps(self, prediction: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray, **pixels) -> None:
        """Add a batch of maps `(B, H, W)` in metres; arguments and errors are those of [`depth_errors`]."""
        self.add_errors(depth_errors(prediction, target, **pixels))


def pooled_rmse(rmse: Sequence[float], num_valid: Sequence[int]) -> float:
    """The root of the mean squared error over the pixels of all images, as older papers have it, in metres; of every image
    its own `rmse` and the number of its pixels that count, which may be 0."""
    return float(np.sqrt(np.average(np.nan_to_num(rmse) ** 2, weights=num_valid)))


def token_embedding_distance(predicted: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray) -> torch.Tensor:
    """Mean Euclidean distance between the tokens of each sample, `(B,)`, float32.

    Args:
        predicted: `(B, N, D)`; of a soft token its expected embedding, of a hard token its code's embedding.
        target: `(B, N, D)`; embeddings of the true codes.

    Raises:
        ValueError: If shapes differ or are not `(B, N, D)`.
    """
    predicted, target = (tokens.float() for tokens in comparable(predicted, target, "batch, tokens, dimension"))
    return torch.linalg.vector_norm(predicted - target, dim=-1).mean(-1)


class TokenDistanceMetric(evaluate.Metric):
    """Mean over samples of [`token_embedding_distance`]; `predictions` are per-sample distances `(n,)`.

    Example:

    ```python
    >>> import torch
    >>> from ait_hf.metrics import TokenDistanceMetric

    >>> metric = TokenDistanceMetric()
    >>> metric.add_tokens(torch.zeros(1, 2, 2), torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]))
    >>> metric.compute()
    {'token_distance': 2.5}
    ```
    """

    def _info(self) -> evaluate.MetricInfo:
        description = "Mean Euclidean distance between predicted and true token embeddings."
        return metric_info(description, "predictions: one distance per sample.", predictions=Value("float64"))

    def add_tokens(self, predicted: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray) -> None:
        """Add a batch of embeddings `(B, N, D)`."""
        self.add_batch(predictions=token_embedding_distance(predicted, target).detach().cpu().numpy())

    def _compute(self, predictions) -> dict[str, float]:
        return {"token_distance": float(np.mean(predictions))}
