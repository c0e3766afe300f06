# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring models and tokenizers of dense maps of any kind over the batches of a data loader."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from ...inference.generating import check_output_type
from ...metrics.maps import MapMetric, map_errors
from ...metrics.measuring import Batch, Row, evaluating, measure_all
from ...metrics.reconstruction import code_usage
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTForDenseTokenGeneration
from ...model.tokenization_vq import VQTokenizer
from .prediction import predict_maps


def map_collator(samples: Sequence[dict[str, Any]]) -> Batch:
    """
    Whole samples of any sizes as a batch for the functions below.

    Args:
        samples: Each with `pixel_values` float32 `(3, H, W)` in 0..1 and `labels` float32 `(C, H, W)`, as
            [`~ait_hf.data.map_transforms.MapEvalTransform`] without a size makes them.
    """
    return {key: [sample[key] for sample in samples] for key in ("pixel_values", "labels")}


def evaluate_maps(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    batches: Iterable[Batch],
    *,
    task: str,
    accelerator: Accelerator | None = None,
    description: str | None = None,
    **settings,
) -> dict[str, float]:
    """
    Errors of a model's maps, per image at the ground truth's size, then averaged.

    Args:
        model, processor: The model (not wrapped for training) and its image processor.
        batches: Batches with `pixel_values`, images `(3, H, W)`, and `labels`, maps `(C, H, W)` that are 0 in all
            channels where unknown; tensors or lists, as [`map_collator`] makes them. With several processes a loader
            that `accelerator.prepare` has made.
        task (`str`): A task of the model with the output type "map".
        accelerator ([`Accelerator`], *optional*): With several processes, what prepared the loader.
        description (`str`, *optional*): Title of a progress bar; without it there is none.
        settings: Of `generate()`: `soft_solver`, `soft_detokenizer`, `soft_temperature`.

    Returns:
        On every process the values of [`~ait_hf.metrics.maps.MapMetric`] for the unit of the task's tokenizer.

    Raises:
        ValueError: No image has a known pixel, or as [`task_tokenizer`].
    """
    unit = task_tokenizer(model, task).config.unit

    def measure(batch: Batch) -> list[Row]:
        labels = [label.to(model.device) for label in batch["labels"]]
        predictions = predict_maps(model, processor, batch["pixel_values"], task=task, **settings)
        return [
            _row(map_errors(prediction["predicted_map"][None], label[None], unit=unit))
            for prediction, label in zip(predictions, labels)
        ]

    def summarize(rows: list[Row]) -> dict[str, float]:
        return _mean_errors(rows, unit)

    with evaluating(model):
        return measure_all(batches, measure, summarize, accelerator, description)


def evaluate_map_tokenizer(
    tokenizer: VQTokenizer,
    batches: Iterable[Batch],
    *,
    accelerator: Accelerator | None = None,
    image_size: Sequence[int] | None = None,
    description: str | None = None,
) -> dict[str, float]:
    """
    How well a tokenizer rebuilds ground truth, and how evenly it uses its codes.

    Args:
        tokenizer ([`VQTokenizer`]): Of maps.
        batches, accelerator, description: As for [`evaluate_maps`]; only `labels` are read.
        image_size (*optional*): Height and width of a model's input: maps are first resized to it, and the
            reconstructions back, which gives the errors that the model could not go below. Without it maps keep their
            size.

    Returns:
        On every process the values of [`~ait_hf.metrics.maps.MapMetric`], `perplexity` and `code_usage`.
    """
    unit = tokenizer.config.unit

    def measure(batch: Batch) -> list[Row]:
        rows = []
        for label in batch["labels"]:
            label = label.to(tokenizer.device)
            size = tuple(label.shape[-2:]) if image_size is None else tuple(image_size)
            reconstruction, ids = reconstruct_map(tokenizer, label, size)
            errors = map_errors(reconstruction[None], label[None], unit=unit)
            rows.append(_row(errors) | {"ids": ids.flatten().tolist()})
        return rows

    def summarize(rows: list[Row]) -> dict[str, float]:
        ids = np.concatenate([row["ids"] for row in rows])
        return _mean_errors(rows, unit) | code_usage(ids, tokenizer.config.num_vq_embeddings)

    with evaluating(tokenizer):
        return measure_all(batches, measure, summarize, accelerator, description)


def reconstruct_map(
    tokenizer: VQTokenizer, values: torch.Tensor, size: tuple[int, int]
) -> tuple[torch.Tensor, torch.LongTensor]:
    """
    A map through the tokenizer and back.

    Args:
        values (`torch.Tensor` of shape `(channels, height, width)`): 0 in all channels where unknown.
        size: Height and width at which it is tokenized (by nearest neighbour: unknown pixels must not blend in); padded
            with unknown pixels to whole codes.

    Returns:
        Reconstruction `(channels, height, width)`, float32, and ids `(rows, columns)`.
    """
    resized = F.interpolate(values[None], size=size, mode="nearest-exact")
    ratio = tokenizer.config.downsample_ratio
    ids = tokenizer.tokenize(F.pad(resized, (0, -size[1] % ratio, 0, -size[0] % ratio)))
    reconstruction = tokenizer.detokenize(ids=ids)[..., : size[0], : size[1]].float()
    return F.interpolate(reconstruction, size=values.shape[-2:], mode="bilinear", align_corners=False)[0], ids[0]


def map_gallery_rows(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    samples: Sequence[dict[str, Any]],
    *,
    task: str,
    **settings,
) -> list[dict[str, np.ndarray]]:
    """
    Predictions of some samples, as one batch, as rows of [`~ait_hf.tasks.maps.drawing.map_gallery`].

    Args:
        samples: As for [`map_collator`].
        task, settings: As for [`evaluate_maps`].
    """
    batch = map_collator(samples)
    with evaluating(model):
        predictions = predict_maps(model, processor, batch["pixel_values"], task=task, **settings)
    return [
        {
            "image": (255 * image).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy(),
            "truth": label.permute(1, 2, 0).cpu().numpy(),
            "prediction": prediction["predicted_map"].permute(1, 2, 0).cpu().numpy(),
            "uncertainty": prediction["uncertainty"].clamp(0, 1).cpu().numpy(),
        }
        for image, label, prediction in zip(batch["pixel_values"], batch["labels"], predictions)
    ]


def task_tokenizer(model: AiTForDenseTokenGeneration, task: str) -> VQTokenizer:
    """
    The tokenizer of a task with maps.

    Raises:
        ValueError: The model has no such task, or its output is something else.
    """
    check_output_type(model, task, ("map",))
    return model.task_tokenizer(task)


def _mean_errors(rows: list[Row], unit: str) -> dict[str, float]:
    metric = MapMetric(unit, keep_in_memory=True)
    metric.add_errors({name: torch.tensor([row[name] for row in rows]) for name in metric.columns})
    return metric.compute()


def _row(errors: dict[str, torch.Tensor]) -> Row:
    """The errors of one image as numbers."""
    return dict(zip(errors, torch.cat(list(errors.values())).tolist()))
