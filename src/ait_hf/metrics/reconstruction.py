# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How well a tokenizer rebuilds its maps, and how much of its codebook it uses."""

from typing import Literal

import numpy as np
import torch
from datasets import Features, List, Value

from .depth import depth_errors
from .per_image import PerImageMetric


MAP_ERRORS = {"depth": ("rmse", "abs_rel", "delta1", "mse"), "mask": ("mse", "iou")}


def code_usage(ids: torch.Tensor | np.ndarray, num_codes: int) -> dict[str, float]:
    """
    How evenly a codebook is used.

    Args:
        ids: Code numbers in `0..num_codes-1`, integers of any shape.
        num_codes: Size of the codebook.

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
    frequencies = torch.bincount(ids.long(), minlength=num_codes).double().cpu() / ids.numel()
    perplexity = torch.special.entr(frequencies).sum().exp()
    return {"perplexity": perplexity.item(), "code_usage": (frequencies > 0).double().mean().item()}


def depth_reconstruction_errors(
    reconstruction: torch.Tensor | np.ndarray,
    target: torch.Tensor | np.ndarray,
    *,
    min_depth: float = 1e-3,
    max_depth: float = 10.0,
) -> dict[str, torch.Tensor]:
    """`rmse` (metres), `abs_rel`, `delta1`, `mse` (square metres), `num_valid` of each map; see [`depth_errors`]."""
    errors = depth_errors(reconstruction, target, min_depth=min_depth, max_depth=max_depth)
    return {name: errors[name] for name in ("rmse", "abs_rel", "delta1", "num_valid")} | {
        "mse": errors["rmse"].square()
    }


def mask_reconstruction_errors(
    reconstruction: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray
) -> dict[str, torch.Tensor]:
    """
    Errors of each rebuilt mask.

    Args:
        reconstruction: `(B, H, W)`, about 0..1; a pixel of 0.5 or more is inside.
        target: `(B, H, W)`, 0..1 or boolean.

    Returns:
        `mse` over all pixels and `iou` (1 when both masks are empty), float32, and `num_valid` (H·W), int64; `(B,)`.

    Raises:
        ValueError: If shapes differ or are not `(B, H, W)`.
    """
    reconstruction, target = torch.as_tensor(reconstruction).float(), torch.as_tensor(target).float()
    if reconstruction.shape != target.shape or target.ndim != 3:
        raise ValueError(
            "Reconstruction and target must both be (batch, height, width), "
            f"got {tuple(reconstruction.shape)} and {tuple(target.shape)}."
        )
    inside, inside_target = reconstruction >= 0.5, target >= 0.5
    intersection = (inside & inside_target).sum((1, 2))
    union = (inside | inside_target).sum((1, 2))
    return {
        "mse": (reconstruction - target).square().mean((1, 2)),
        "iou": torch.where(union > 0, intersection / union, 1.0),
        "num_valid": torch.full_like(union, target.shape[1] * target.shape[2]),
    }


class ReconstructionMetric(PerImageMetric):
    """
    Quality of a tokenizer's reconstructions and the use of its codebook.

    Args:
        config_name: What the maps are. `"depth"`: metres, valid pixels only, `rmse`, `abs_rel`, `delta1`, `mse`;
            `"mask"`: `mse` and `iou`.

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

    description = "Errors of a tokenizer's reconstructions, averaged over images, and the use of its codebook."

    def __init__(self, config_name: Literal["depth", "mask"] = "depth", **kwargs):
        if config_name not in MAP_ERRORS:
            raise ValueError(f"Reconstructions are of {' or '.join(MAP_ERRORS)} maps, got {config_name!r}.")
        self.columns = (*MAP_ERRORS[config_name], "num_valid")
        super().__init__(config_name, **kwargs)

    def _input_features(self) -> Features:
        return Features(super()._input_features() | {"codes": List(Value("int64"))})

    def add_errors(self, errors, ids: torch.Tensor | np.ndarray) -> None:
        """Add the per-image values `{column: (n,)}` of n images, and their code ids `(n, ...)`."""
        ids = torch.as_tensor(ids)
        self.add_batch(predictions=self.rows(errors), codes=ids.reshape(len(ids), -1).cpu().numpy())

    def add_maps(
        self,
        reconstruction: torch.Tensor | np.ndarray,
        target: torch.Tensor | np.ndarray,
        ids: torch.Tensor | np.ndarray,
    ) -> None:
        """Add a batch of maps `(B, H, W)` with the code ids `(B, ...)` that they were rebuilt from."""
        errors = {"depth": depth_reconstruction_errors, "mask": mask_reconstruction_errors}[self.config_name]
        self.add_errors(errors(reconstruction, target), ids)

    def _compute(self, predictions, codes, num_codes: int) -> dict[str, float]:
        return super()._compute(predictions) | code_usage(np.concatenate(codes).astype(np.int64), num_codes)
