# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring depth models and tokenizers over the batches of a data loader, in one process or several."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image

from ...inference.images import prepare_images
from ...metrics import DepthMetric, depth_errors, token_embedding_distance
from ...metrics.depth import pooled_rmse
from ...metrics.measuring import Batch, Row, evaluating, pictures_beside
from ...metrics.reconstruction import depth_reconstruction_errors
from ...metrics.uncertainty import mean_uncertainty_errors, uncertainty_errors
from ...model.generation_ait import AiTGenerateOutput
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTForDenseTokenGeneration
from ...model.quantization_ait import apply_temperature
from ...model.tokenization_vq import VQTokenizer
from ..maps.evaluation import evaluate_map_tokenizer, measure_maps, reconstruct_map
from .prediction import DEPTH_TASK, input_size, predict_depth


def rgbd_collator(samples: Sequence[dict[str, Any]]) -> Batch:
    """Whole RGB-D samples of any sizes, with `image` (PIL RGB or uint8 `(H, W, 3)`) and `depth` (float32 `(H, W)`,
    metres), as a batch `{"pixel_values": [uint8 (3, H, W), ...], "labels": [float32 (H, W), ...]}`; `ValueError` if
    the two differ in size."""
    images = pictures_beside(samples, "depth", "depth")
    return {
        "pixel_values": [torch.tensor(image).permute(2, 0, 1) for image in images],
        "labels": [torch.tensor(sample["depth"]) for sample in samples],
    }


def evaluate_depth(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    batches: Iterable[Batch],
    *,
    task: str = DEPTH_TASK,
    accelerator: Accelerator | None = None,
    tta: bool = False,
    min_depth: float = 1e-3,
    max_depth: float = 10.0,
    crop: Literal["eigen"] | None = None,
    description: str | None = None,
    **settings,
) -> dict[str, float]:
    """Errors of a model's depth, per image at the ground truth's size, then averaged: on every process the values of
    [`~ait_hf.metrics.DepthMetric`], `rmse_pooled` (over the pixels of all images), how the uncertainty goes with the error
    ([`~ait_hf.metrics.uncertainty.mean_uncertainty_errors`]) and, without `tta`, `token_distance`: the mean l2 distance
    between the code embeddings that the detokenizer reads and those of the true depth (paper, Table 1).

    Args:
        model, processor, accelerator, description: As of [`~ait_hf.tasks.base.Kind.evaluate`].
        batches: As of [`rgbd_collator`] or [`~ait_hf.data.pixels.depth_collator`].
        tta (`bool`): The published test protocol; see [`predict_depth`].
        min_depth, max_depth, crop: Which pixels count; see [`~ait_hf.metrics.depth_errors`].
        settings: Of `generate()`.

    Raises:
        ValueError: No image has a pixel that counts, the Eigen crop is asked of maps of another shape, or as
            [`predict_depth`].
    """
    size = tuple(model.config.task(task).image_size)
    pixels = {"min_depth": min_depth, "max_depth": max_depth, "crop": crop}

    def predict(batch: Batch) -> list[tuple[torch.Tensor, Row]]:
        images, labels = batch["pixel_values"], batch["labels"]
        if tta:
            predictions, rows = predict_depth(model, processor, images, tta=True, **settings), [{}] * len(images)
        else:
            outputs = model.generate(prepare_images(model, processor, images, size), task=task, **settings)
            predictions = processor.post_process_depth_estimation(outputs, [tuple(label.shape) for label in labels])
            distances = _token_distances(model.task_tokenizer(task), outputs, labels, size)
            rows = [{"token_distance": distance} for distance in distances]
        found = [(prediction["predicted_depth"], prediction["uncertainty"]) for prediction in predictions]
        return [
            (depth, row | uncertainty_errors(depth, label.to(depth.device), uncertainty, **pixels))
            for (depth, uncertainty), label, row in zip(found, labels, rows, strict=True)
        ]

    measuring = {"accelerator": accelerator, "description": description}
    with evaluating(model):
        return measure_depth(predict, batches, **pixels, **measuring)


def measure_depth(
    predict: Callable[[Batch], list[tuple[torch.Tensor, Row]]],
    batches: Iterable[Batch],
    *,
    accelerator: Accelerator | None = None,
    description: str | None = None,
    **pixels,
) -> dict[str, float]:
    """As [`evaluate_depth`], of whatever predicts depth.

    Args:
        predict: Of every image of a batch its depth `(H, W)` in metres, at the size of its label, and what else belongs
            into its row, which may be `token_distance` and values of
            [`~ait_hf.metrics.uncertainty.uncertainty_errors`].
        pixels: `min_depth`, `max_depth` and `crop`.
    """

    def summarize(rows: list[Row]) -> dict[str, float]:
        distances = [row["token_distance"] for row in rows if "token_distance" in row]
        values = DepthMetric(keep_in_memory=True).mean_errors(rows)
        values["rmse_pooled"] = pooled_rmse(*([row[name] for row in rows] for name in ("rmse", "num_valid")))
        values |= mean_uncertainty_errors(rows)
        return values | ({"token_distance": float(np.mean(distances))} if distances else {})

    measuring = {"accelerator": accelerator, "description": description}
    return measure_maps(batches, predict, partial(depth_errors, **pixels), summarize, **measuring)


def evaluate_tokenizer(
    tokenizer: VQTokenizer,
    batches: Iterable[Batch],
    *,
    image_size: Sequence[int] | None = None,
    tta: bool = False,
    min_depth: float = 1e-3,
    max_depth: float = 10.0,
    crop: Literal["eigen"] | None = None,
    **measuring,
) -> dict[str, float]:
    """As [`~ait_hf.tasks.maps.evaluation.evaluate_map_tokenizer`], of depth in metres.

    Args:
        image_size, tta (*optional*): See [`input_size`], which says at what size maps are tokenized.
        min_depth, max_depth, crop: Which pixels count; see [`~ait_hf.metrics.depth_errors`].
    """

    def reconstruct(values: torch.Tensor) -> tuple[torch.Tensor, torch.LongTensor]:
        size = image_size and input_size(image_size, tuple(values.shape[-2:]), tta)
        return reconstruct_map(tokenizer, values, size)

    errors = partial(depth_reconstruction_errors, min_depth=min_depth, max_depth=max_depth, crop=crop)
    return evaluate_map_tokenizer(
        tokenizer, batches, reconstruct=reconstruct, errors=errors, kind="depth", **measuring
    )


def depth_gallery_rows(
    model: AiTForDenseTokenGeneration, processor: AiTImageProcessor, samples: Sequence[dict[str, Any]], **settings
) -> list[dict[str, np.ndarray]]:
    """Predictions of RGB-D samples, in one batch, as rows of [`~ait_hf.tasks.depth.drawing.depth_gallery`], all of the
    first sample's size; `settings` as for [`predict_depth`]."""
    batch = rgbd_collator(samples)
    size = tuple(batch["labels"][0].shape)
    with evaluating(model):
        predictions = predict_depth(model, processor, batch["pixel_values"], **settings)
    return [
        {
            "image": np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1])),
            "depth": _resize_labels([label], size)[0, 0].numpy(),
            "prediction": _resize(prediction["predicted_depth"], size).cpu().numpy(),
            "uncertainty": _resize(prediction["uncertainty"], size).cpu().numpy(),
        }
        for image, label, prediction in zip(batch["pixel_values"], batch["labels"], predictions)
    ]


def _token_distances(
    tokenizer: VQTokenizer, outputs: AiTGenerateOutput, labels: Sequence[torch.Tensor], size: tuple[int, int]
) -> list[float]:
    true_ids = tokenizer.tokenize(_resize_labels(labels, size).to(tokenizer.device)).flatten(1)
    codes = tokenizer.quantizer.embedding
    if outputs.soft_detokenizer:
        probabilities = apply_temperature(outputs.soft_tokens, outputs.soft_temperature)
        predicted = tokenizer.quantizer.expected_embedding(probabilities)
    else:
        predicted = codes(outputs.soft_tokens.argmax(-1))
    return token_embedding_distance(predicted, codes(true_ids)).tolist()


def _resize_labels(labels: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    """Depth maps (H, W) as one tensor (batch, 1, *size), by nearest neighbour: unknown pixels must not blend in."""
    return torch.cat([F.interpolate(label[None, None], size=size, mode="nearest-exact") for label in labels])


def _resize(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
