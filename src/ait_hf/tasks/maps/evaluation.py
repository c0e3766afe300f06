# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring models and tokenizers of dense maps of any kind over the batches of a data loader."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from ...data.maps import UNIT_VECTOR
from ...inference.generating import check_output_type
from ...inference.images import prepare_images
from ...metrics.maps import MapMetric, map_errors
from ...metrics.measuring import Batch, Row, evaluating, measure_all
from ...metrics.reconstruction import ReconstructionMetric
from ...metrics.uncertainty import best_temperature, code_likelihoods
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTForDenseTokenGeneration
from ...model.tokenization_vq import VQTokenizer
from .prediction import predict_maps


def map_collator(samples: Sequence[dict[str, Any]]) -> Batch:
    """Whole samples of any sizes, with `pixel_values` float32 `(3, H, W)` in 0..1 and `labels` float32 `(C, H, W)`, as
    lists: what [`~ait_hf.data.map_transforms.MapEvalTransform`] makes without a size."""
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
    """Errors of a model's maps, per image at the ground truth's size, then averaged: on every process the values of
    [`~ait_hf.metrics.maps.MapMetric`] for the unit of the task's tokenizer.

    Args:
        model, processor, accelerator, description: As of [`~ait_hf.tasks.base.Kind.evaluate`].
        batches: Batches with `pixel_values`, images `(3, H, W)`, and `labels`, maps `(C, H, W)` that are 0 in all
            channels where unknown; tensors or lists, as [`map_collator`] makes them.
        settings: Of `generate()`.

    Raises:
        ValueError: No image has a known pixel, or as [`task_tokenizer`].
    """
    unit = task_tokenizer(model, task).config.unit

    def predict(batch: Batch) -> list[tuple[torch.Tensor, Row]]:
        predictions = predict_maps(model, processor, batch["pixel_values"], task=task, **settings)
        return [(prediction["predicted_map"], {}) for prediction in predictions]

    errors, metric = partial(map_errors, unit=unit), MapMetric(unit, keep_in_memory=True)
    measuring = {"accelerator": accelerator, "description": description}
    with evaluating(model):
        return measure_maps(batches, predict, errors, metric.mean_errors, **measuring)


def measure_maps(
    batches: Iterable[Batch],
    predict: Callable[[Batch], list[tuple[torch.Tensor, Row]]],
    errors: Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]],
    summarize: Callable[[list[Row]], dict[str, float]],
    **measuring,
) -> dict[str, float]:
    """Errors of maps that are made of batches, per image at the ground truth's size.

    Args:
        predict: Of every image of a batch the map, at the size of its label, and what else belongs into its row.
        errors: Of a batch of maps and their truth, by name.
        batches, summarize, measuring: As for [`~ait_hf.metrics.measuring.measure_all`].
    """

    def measure(batch: Batch) -> list[Row]:
        rows = []
        for (found, more), label in zip(predict(batch), batch["labels"], strict=True):
            values = errors(found[None], label.to(found.device)[None])
            rows.append(dict(zip(values, torch.cat(list(values.values())).tolist())) | more)
        return rows

    return measure_all(batches, measure, summarize, **measuring)


def calibrate_entropy(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    batches: Iterable[Batch],
    *,
    task: str,
    accelerator: Accelerator | None = None,
    description: str | None = None,
    **settings,
) -> dict[str, float]:
    """Fits a task's `entropy_temperature`, as Guo et al. (2017) calibrate classifiers: the one at which the true codes of the
    maps are likeliest under the model's soft tokens. Changes nothing.

    Args:
        model, processor, accelerator, description, settings: As of [`evaluate_maps`].
        batches: Images of any sizes and their maps `(H, W)` or `(C, H, W)`, 0 where unknown. A code in whose place nothing
            is known does not count.

    Returns:
        `entropy_temperature`, and the mean negative log-likelihood of a code, nats: `code_nll` at 1 and
        `code_nll_calibrated` at the temperature.

    Raises:
        ValueError: No map has a known pixel, or no temperature within 0.1 to 10 is best.
    """
    declared, tokenizer = model.config.task(task), model.task_tokenizer(task)
    ratio = tokenizer.config.downsample_ratio
    map_size = [side * ratio for side in declared.grid_size]

    def measure(batch: Batch) -> list[Row]:
        pixel_values = prepare_images(model, processor, batch["pixel_values"], tuple(declared.image_size))
        soft_tokens = model.generate(pixel_values=pixel_values, task=task, **settings).soft_tokens
        labels = (label.reshape(1, -1, *label.shape[-2:]).to(model.device) for label in batch["labels"])
        maps = torch.cat([F.interpolate(label, size=map_size, mode="nearest-exact") for label in labels])
        known = F.max_pool2d((maps != 0).any(1, keepdim=True).float(), ratio).flatten(1).cpu() > 0
        likelihoods = code_likelihoods(soft_tokens, tokenizer.tokenize(maps).flatten(1))
        return [
            {"sums": one[seen].sum(0).tolist(), "num_codes": int(seen.sum())} for one, seen in zip(likelihoods, known)
        ]

    def summarize(rows: list[Row]) -> dict[str, Any]:
        count = sum(row["num_codes"] for row in rows)
        return {"num_codes": count, "sums": np.sum([row["sums"] for row in rows], axis=0)}

    with evaluating(model):
        found = measure_all(batches, measure, summarize, accelerator, description)
    if not found["num_codes"]:
        raise ValueError("None of the images has a known pixel to calibrate the uncertainty on.")
    likelihoods = found["sums"] / found["num_codes"]
    temperature, lowest = best_temperature(likelihoods)
    return {
        "entropy_temperature": temperature,
        "code_nll": float(likelihoods[len(likelihoods) // 2]),
        "code_nll_calibrated": lowest,
    }


def evaluate_map_tokenizer(
    tokenizer: VQTokenizer,
    batches: Iterable[Batch],
    *,
    image_size: Sequence[int] | None = None,
    reconstruct: Callable[[torch.Tensor], tuple[torch.Tensor, torch.LongTensor]] | None = None,
    errors: Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]] | None = None,
    kind: str | None = None,
    **measuring,
) -> dict[str, float]:
    """How well a tokenizer rebuilds ground truth, and how evenly it uses its codes: on every process the values of
    [`~ait_hf.metrics.ReconstructionMetric`].

    Args:
        batches, measuring: As for [`measure_maps`]; only `labels` are read.
        image_size (*optional*): Height and width of a model's input: maps are first resized to it, and the
            reconstructions back, which gives the errors that the model could not go below. Without it maps keep their
            size.
        reconstruct (*optional*): What makes of a map `(channels, height, width)` its reconstruction and codes; by
            default [`reconstruct_map`] at `image_size`.
        errors (*optional*): Of rebuilt maps `(1, channels, height, width)` and their truth; by default the metric's.
        kind (*optional*): Of the metric; by default [`map_reconstruction`] of the tokenizer's unit.
    """
    metric = ReconstructionMetric(kind or map_reconstruction(tokenizer.config.unit), keep_in_memory=True)
    reconstruct = reconstruct or partial(reconstruct_map, tokenizer, size=image_size)

    def rebuild(batch: Batch) -> list[tuple[torch.Tensor, Row]]:
        maps = [label.to(tokenizer.device).reshape(-1, *label.shape[-2:]) for label in batch["labels"]]
        return [(values, {"ids": ids.flatten().tolist()}) for values, ids in map(reconstruct, maps)]

    def summarize(rows: list[Row]) -> dict[str, float]:
        for row in rows:  # images of different sizes have different numbers of codes
            metric.add_errors({name: torch.tensor([row[name]]) for name in metric.columns}, torch.tensor([row["ids"]]))
        return metric.compute(num_codes=tokenizer.config.num_vq_embeddings)

    with evaluating(tokenizer):
        return measure_maps(batches, rebuild, errors or metric.errors, summarize, **measuring)


def map_reconstruction(unit: str) -> str:
    """What [`~ait_hf.metrics.ReconstructionMetric`] calls maps in a unit."""
    return "normals" if unit == UNIT_VECTOR else "map"


def reconstruct_map(
    tokenizer: VQTokenizer, values: torch.Tensor, size: Sequence[int] | None = None
) -> tuple[torch.Tensor, torch.LongTensor]:
    """A map `(channels, height, width)`, 0 in all channels where unknown, through the tokenizer and back: as float32
    of its size, and ids `(rows, columns)`. It is tokenized at `size` (height, width), its own by default, by nearest
    neighbour, as unknown pixels must not blend in; padded with unknown pixels to whole codes."""
    size = tuple(size or values.shape[-2:])
    resized = F.interpolate(values[None], size=size, mode="nearest-exact")
    ratio = tokenizer.config.downsample_ratio
    ids = tokenizer.tokenize(F.pad(resized, (0, -size[1] % ratio, 0, -size[0] % ratio)))
    reconstruction = tokenizer.detokenize(ids=ids)[..., : size[0], : size[1]].float()
    return F.interpolate(reconstruction, size=values.shape[-2:], mode="bilinear", align_corners=False)[0], ids[0]


def map_gallery_rows(
    model: AiTForDenseTokenGeneration, processor: AiTImageProcessor, batch: Batch, *, task: str, **settings
) -> list[dict[str, np.ndarray]]:
    """Predictions of a batch as rows of [`~ait_hf.tasks.maps.drawing.map_gallery`]; arguments as for [`evaluate_maps`]."""
    with evaluating(model):
        predictions = predict_maps(model, processor, batch["pixel_values"], task=task, **settings)
    return [
        {
            "image": (255 * image).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy(),
            "truth": label.permute(1, 2, 0).cpu().numpy(),
            "prediction": prediction["predicted_map"].permute(1, 2, 0).cpu().numpy(),
            "uncertainty": prediction["uncertainty"].cpu().numpy(),
        }
        for image, label, prediction in zip(batch["pixel_values"], batch["labels"], predictions)
    ]


def task_tokenizer(model: AiTForDenseTokenGeneration, task: str) -> VQTokenizer:
    """The tokenizer of a task with maps; `ValueError` if the model has no such task, or its output is something else."""
    check_output_type(model, task, ("map",))
    return model.task_tokenizer(task)
