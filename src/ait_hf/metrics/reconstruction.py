# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How well a tokenizer rebuilds maps and poses, and how much of its codebook it uses."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from datasets import List, Value

from ..data.maps import UNIT_VECTOR
from ..model.tokenization_vq import IGNORED_LABEL
from .depth import depth_errors
from .maps import ANGLE_ERRORS, VALUE_ERRORS, map_errors
from .per_image import PerImageMetric, comparable


ReconstructionKind = Literal["depth", "mask", "label_map", "pose", "normals", "map"]


def code_usage(ids: torch.Tensor | np.ndarray, num_codes: int) -> dict[str, float]:
    """How evenly a codebook is used by `ids`, integers of any shape in `0..num_codes-1`.

    Returns:
        `perplexity`: exponential of the entropy (natural logarithm) of the codes' frequencies, 1..num_codes;
        `code_usage`: share of the codes that occur at all, 0..1.

    Raises:
        TypeError: If the ids are not integers.
        ValueError: If there are no ids, or one is outside the codebook.
    """
    ids = torch.as_tensor(ids).flatten()
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise TypeError(f"Code ids must be integers, got {ids.dtype}.")
    if ids.numel() == 0:
        raise ValueError("Code usage needs at least one code id, got none.")
    if ids.min() < 0 or ids.max() >= num_codes:
        raise ValueError(f"Code ids must be in 0..{num_codes - 1}, got {ids.min().item()}..{ids.max().item()}.")
    frequencies = torch.bincount(ids.long(), minlength=num_codes).cpu().double() / ids.numel()
    perplexity = torch.special.entr(frequencies).sum().exp()
    return {"perplexity": perplexity.item(), "code_usage": (frequencies > 0).double().mean().item()}


def depth_reconstruction_errors(
    reconstruction: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray, **pixels
) -> dict[str, torch.Tensor]:
    """`rmse` (metres), `abs_rel`, `delta1`, `mse` (square metres), `num_valid` of each map; see [`depth_errors`],
    which takes `pixels`: `min_depth`, `max_depth` and `crop`. The reconstruction may have its one channel, `(B, 1, H,
    W)`."""
    errors = depth_errors(_without_channel(reconstruction), target, **pixels)
    errors["mse"] = errors["rmse"].square()
    return {name: errors[name] for name in ("rmse", "abs_rel", "delta1", "num_valid", "mse")}


def mask_reconstruction_errors(
    reconstruction: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray
) -> dict[str, torch.Tensor]:
    """Errors of each rebuilt mask: `mse` over all pixels and `iou` (1 when both masks are empty), float32, and
    `num_valid` (H·W), int64; `(B,)`.

    Args:
        reconstruction: `(B, H, W)` or `(B, 1, H, W)`, about 0..1; a pixel of 0.5 or more is inside.
        target: `(B, H, W)`, 0..1 or boolean.

    Raises:
        ValueError: If shapes differ or are not `(B, H, W)`.
    """
    masks = comparable(_without_channel(reconstruction), target, "batch, height, width")
    reconstruction, target = (mask.float() for mask in masks)
    inside, inside_target = reconstruction >= 0.5, target >= 0.5
    intersection = (inside & inside_target).sum((1, 2))
    union = (inside | inside_target).sum((1, 2))
    return {
        "mse": (reconstruction - target).square().mean((1, 2)),
        "iou": torch.where(union > 0, intersection / union, 1.0),
        "num_valid": torch.full_like(union, target.shape[1] * target.shape[2]),
    }


def label_map_reconstruction_errors(
    reconstruction: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray
) -> dict[str, torch.Tensor]:
    """Errors of each rebuilt label map: `accuracy`, the share of pixels whose true class has the highest score,
    float32, NaN if no pixel counts, and `num_valid`, int64; `(B,)`.

    Args:
        reconstruction: `(B, classes, H, W)`, a score for every class.
        target: `(B, H, W)`, integers; pixels of 255 do not count.

    Raises:
        ValueError: If the shapes do not fit.
    """
    reconstruction, target = torch.as_tensor(reconstruction), torch.as_tensor(target)
    if reconstruction.ndim != 4 or (len(reconstruction), *reconstruction.shape[2:]) != target.shape:
        raise ValueError(
            "Label maps must be rebuilt as (batch, classes, height, width) for a target (batch, height, width), "
            f"got {tuple(reconstruction.shape)} and {tuple(target.shape)}."
        )
    counted = target != IGNORED_LABEL
    num_valid = counted.sum((1, 2))
    right = (reconstruction.argmax(1) == target) & counted
    return {"accuracy": right.sum((1, 2)) / num_valid, "num_valid": num_valid}


def pose_errors(prediction: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray) -> dict[str, torch.Tensor]:
    """Error of every pose over its known joints: `joint_error` `(B,)`, the mean distance between predicted and true
    joints (pixels, float32), and `num_valid` `(B,)`, the number of known joints (int64). A pose without any has NaN
    and 0.

    Args:
        prediction: `(B, joints, 2)`, x and y in pixels.
        target: `(B, joints, 3)`, x and y in pixels and visibility; a joint is known where that is above 0.

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


class ReconstructionErrors(NamedTuple):
    """Errors of one kind of values, of reconstructions and targets, their names, and the one that a tokenizer is chosen by."""

    function: Callable[..., dict[str, torch.Tensor]]
    columns: Sequence[str]
    best: str
    lower_is_better: bool = True


_ERRORS = {
    "depth": ReconstructionErrors(depth_reconstruction_errors, ("rmse", "abs_rel", "delta1", "mse"), "rmse"),
    "mask": ReconstructionErrors(mask_reconstruction_errors, ("mse", "iou"), "mse"),
    "label_map": ReconstructionErrors(label_map_reconstruction_errors, ("accuracy",), "accuracy", False),
    "pose": ReconstructionErrors(pose_errors, ("joint_error",), "joint_error"),
    "normals": ReconstructionErrors(partial(map_errors, unit=UNIT_VECTOR), VALUE_ERRORS + ANGLE_ERRORS, "mean_angle"),
    "map": ReconstructionErrors(partial(map_errors, unit="any"), VALUE_ERRORS, "rmse"),
}


class ReconstructionMetric(PerImageMetric):
    """Quality of a tokenizer's reconstructions and the use of its codebook.

    Args:
        config_name: What is rebuilt. `"depth"`: metres, valid pixels only, `rmse`, `abs_rel`, `delta1`, `mse`;
            `"mask"`: `mse` and `iou`; `"label_map"`: `accuracy`; `"pose"`: `joint_error`, see [`pose_errors`];
            `"normals"` and any other `"map"`: the errors of [`map_errors`], with and without angles. Or
            [`ReconstructionErrors`] of something else.

    Attributes:
        best, lower_is_better: Which value says how good a tokenizer is, and its direction.

    Example:

    ```python
    >>> import torch
    >>> from ait_hf.metrics import ReconstructionMetric

    >>> metric = ReconstructionMetric("mask")
    >>> mask = torch.eye(4)[None]
    >>> metric.add_maps(mask, mask, ids=torch.tensor([[0, 1]]))
    >>> metric.compute(num_codes=4)
    {'mse': 0.0, 'iou': 1.0, 'num_images': 1, 'num_excluded': 0, 'perplexity': 2.0, 'code_usage': 0.5}
    ```
    """

    description = "Errors of a tokenizer's reconstructions, averaged over samples, and the use of its codebook."

    def __init__(self, config_name: ReconstructionKind | ReconstructionErrors = "depth", **kwargs):
        if isinstance(config_name, str) and config_name not in _ERRORS:
            raise ValueError(f"Reconstructions are of kind {', '.join(_ERRORS)}, got {config_name!r}.")
        self._errors = _ERRORS[config_name] if isinstance(config_name, str) else config_name
        self.columns = (*self._errors.columns, "num_valid")
        self.best, self.lower_is_better = self._errors.best, self._errors.lower_is_better
        super().__init__(config_name if isinstance(config_name, str) else "own", **kwargs)

    def _input_features(self) -> dict[str, List]:
        return super()._input_features() | {"codes": List(Value("int64"))}

    def errors(
        self, reconstruction: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray
    ) -> dict[str, torch.Tensor]:
        """Per-sample values `{column: (B,)}` of reconstructions as a tokenizer gives them and targets as it takes them."""
        return self._errors.function(reconstruction, target)

    def add_errors(self, errors, ids: torch.Tensor | np.ndarray) -> None:
        """Add the per-sample values `{column: (n,)}` of n samples, and their code ids `(n, ...)`."""
        ids = torch.as_tensor(ids)
        self.add_batch(predictions=self.rows(errors), codes=ids.reshape(len(ids), -1).cpu().numpy())

    def add_maps(
        self,
        reconstruction: torch.Tensor | np.ndarray,
        target: torch.Tensor | np.ndarray,
        ids: torch.Tensor | np.ndarray,
    ) -> None:
        """Add a batch of maps or poses with the code ids `(B, ...)` that they were rebuilt from."""
        self.add_errors(self.errors(reconstruction, target), ids)

    def _compute(self, predictions, codes, num_codes: int) -> dict[str, float]:
        return super()._compute(predictions) | code_usage(np.concatenate(codes).astype(np.int64), num_codes)


def _without_channel(maps: torch.Tensor | np.ndarray) -> torch.Tensor:
    """`(B, 1, H, W)`, as a tokenizer gives maps of one channel, to `(B, H, W)`; others as they are."""
    maps = torch.as_tensor(maps)
    return maps.squeeze(1) if maps.ndim == 4 else maps
