# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Batches of depth samples and of object samples."""

from collections.abc import Sequence
from typing import Any

import torch


def depth_collator(samples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Stacks the samples that the transforms of depth and of other maps give.

    Args:
        samples: each with `pixel_values` float32 `(3, H, W)` in [0, 1], `labels` float32 `(H, W)` in metres with
            0 = missing, or `(C, H, W)`, and perhaps `path`, which errors name.

    Returns:
        `{"pixel_values": float32 (B, 3, H, W), "labels": float32 (B, H, W)}`.

    Raises:
        ValueError: if there is no sample, a sample has NaN or infinite values, or sizes differ.
    """
    return {key: _stack(samples, key) for key in ("pixel_values", "labels")}


def object_collator(
    samples: Sequence[dict[str, Any]], first_class: int = 0
) -> dict[str, torch.Tensor | list[dict[str, torch.Tensor]]]:
    """Stacks the images that the object transforms give; labels differ in length and stay a list.

    Args:
        samples: each with `pixel_values` float32 `(3, H, W)`, `labels` (a dictionary, see
            [`~ait_hf.data.object_transforms.ObjectTrainTransform`]) and perhaps `path`, which errors name.
        first_class: what is added to `class_labels`, for models of several tasks with classes of their own.

    Returns:
        `{"pixel_values": float32 (B, 3, H, W), "labels": list of B dictionaries}`.

    Raises:
        ValueError: if there is no sample, a sample has NaN or infinite pixels, or sizes differ.
    """
    pixel_values, labels = _stack(samples, "pixel_values"), [sample["labels"] for sample in samples]
    if first_class:
        labels = [
            image | {"class_labels": image["class_labels"] + first_class} if "class_labels" in image else image
            for image in labels
        ]
    return {"pixel_values": pixel_values, "labels": labels}


def _stack(samples: Sequence[dict[str, Any]], key: str) -> torch.Tensor:
    if not samples:
        raise ValueError("A batch needs at least one sample.")
    for number, sample in enumerate(samples):
        name = sample.get("path", f"number {number} of the batch")
        if not torch.isfinite(sample[key]).all():
            raise ValueError(f"Sample {name} has NaN or infinite {key}.")
        if sample[key].shape != samples[0][key].shape:
            shapes = f"{tuple(sample[key].shape)}, the first sample {tuple(samples[0][key].shape)}"
            raise ValueError(f"Sample {name} has {key} of shape {shapes}: crop or resize all to one size.")
    return torch.stack([sample[key] for sample in samples])
