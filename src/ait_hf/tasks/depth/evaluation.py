# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring depth models and tokenizers over the batches of a data loader, in one process or several."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image

from ...data.picture_sizes import swapped_sides
from ...data.pixels import picture_of
from ...inference.images import prepare_images
from ...metrics import (
    DepthMetric,
    ReconstructionMetric,
    TokenDistanceMetric,
    depth_errors,
    depth_reconstruction_errors,
    token_embedding_distance,
)
from ...metrics.measuring import Batch, Row, evaluating, measure_all
from ...model.generation_ait import AiTGenerateOutput
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTForDenseTokenGeneration
from ...model.quantization_ait import apply_temperature
from ...model.tokenization_vq import VQTokenizer
from .prediction import DEPTH_TASK, input_size, predict_depth


def rgbd_collator(samples: Sequence[dict[str, Any]]) -> Batch:
    """
    Whole RGB-D samples of any sizes as a batch for the functions below.

    Args:
        samples: Each with `image` (PIL RGB or uint8 `(H, W, 3)`) and `depth` (float32 `(H, W)`, metres).

    Returns:
        `{"pixel_values": [uint8 (3, H, W), ...], "labels": [float32 (H, W), ...]}`.

    Raises:
        ValueError: Depth has another size than its image.
    """
    images = [picture_of(sample) for sample in samples]
    for image, sample in zip(images, samples):
        if image.shape[:2] != sample["depth"].shape:
            raise ValueError(
                f"An image of {image.shape[:2]} pixels has depth of {sample['depth'].shape}: resize one of them."
                f"{swapped_sides(image.shape[:2], sample['depth'].shape)}"
            )
    return {
        "pixel_values": [torch.tensor(image).permute(2, 0, 1) for image in images],
        "labels": [torch.tensor(sample["depth"]) for sample in samples],
    }


def evaluate_depth(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    batches: Iterable[Batch],
    *,
    accelerator: Accelerator | None = None,
    tta: bool = False,
    min_depth: float = 1e-3,
    max_depth: float = 10.0,
    crop: Literal["eigen"] | None = None,
    description: str | None = None,
    **settings,
) -> dict[str, float]:
    """
    Errors of a model's depth, per image at the ground truth's size, then averaged.

    Args:
        model, processor: The model (not wrapped for training) and its image processor.
        batches: Batches with `pixel_values` and `labels`, tensors or lists, as [`rgbd_collator`] or
            [`~ait_hf.data.collation.depth_collator`] make them; with several processes a loader that
            `accelerator.prepare` has made.
        accelerator ([`Accelerator`], *optional*): With several processes, what prepared the loader.
        tta (`bool`): The published test protocol; see [`predict_depth`].
        min_depth, max_depth, crop: Which pixels count; see [`~ait_hf.metrics.depth_errors`].
        description (`str`, *optional*): Title of a progress bar; without it there is none.
        settings: Of `generate()`: `soft_solver`, `soft_detokenizer`, `soft_temperature`.

    Returns:
        On every process the values of [`~ait_hf.metrics.DepthMetric`] and, without `tta`, `token_distance`: the mean
        l2 distance between the code embeddings that the detokenizer reads and those of the true depth (paper, Table 1).

    Raises:
        ValueError: No image has a pixel that counts, the Eigen crop is asked of maps of another shape, or as
            [`predict_depth`].
    """

    def measure(batch: Batch) -> list[Row]:
        sizes = [tuple(label.shape) for label in batch["labels"]]
        if tta:
            distances = [{}] * len(sizes)
            predictions = predict_depth(model, processor, batch["pixel_values"], tta=True, **settings)
            predictions = [
                _resize(prediction["predicted_depth"], size) for prediction, size in zip(predictions, sizes)
            ]
        else:
            size = tuple(model.config.task(DEPTH_TASK).image_size)
            pixel_values = prepare_images(model, processor, batch["pixel_values"], size)
            outputs = model.generate(pixel_values=pixel_values, task=DEPTH_TASK, **settings)
            distances = [{"token_distance": d} for d in _token_distances(model, outputs, batch["labels"], size)]
            predictions = processor.post_process_depth_estimation(outputs, sizes)
            predictions = [prediction["predicted_depth"] for prediction in predictions]
        return [
            _row(depth_errors(prediction[None], label[None], min_depth=min_depth, max_depth=max_depth, crop=crop))
            | distance
            for prediction, label, distance in zip(predictions, _to(batch["labels"], model.device), distances)
        ]

    def summarize(rows: list[Row]) -> dict[str, float]:
        metric = DepthMetric(keep_in_memory=True)
        metric.add_errors({name: torch.tensor([row[name] for row in rows]) for name in metric.columns})
        result = metric.compute()
        if not tta:
            distance = TokenDistanceMetric(keep_in_memory=True)
            distance.add_batch(predictions=[row["token_distance"] for row in rows])
            result |= distance.compute()
        return result

    with evaluating(model):
        return measure_all(batches, measure, summarize, accelerator, description)


def evaluate_tokenizer(
    tokenizer: VQTokenizer,
    batches: Iterable[Batch],
    *,
    accelerator: Accelerator | None = None,
    image_size: Sequence[int] | None = None,
    tta: bool = False,
    min_depth: float = 1e-3,
    max_depth: float = 10.0,
    crop: Literal["eigen"] | None = None,
    description: str | None = None,
) -> dict[str, float]:
    """
    How well a depth tokenizer rebuilds ground truth, and how evenly it uses its codes.

    Args:
        tokenizer ([`VQTokenizer`]): Of depth in metres.
        batches, accelerator, description: As for [`evaluate_depth`]; only `labels` are read.
        image_size (*optional*): Height and width of a model's input: maps are first resized to what the model would
            predict (see [`input_size`], also for `tta`), and the reconstructions back, which gives the errors that the
            model could not go below. Without it maps keep their size.
        tta (`bool`): See `image_size`.
        min_depth, max_depth, crop: Which pixels count; see [`~ait_hf.metrics.depth_errors`].

    Returns:
        On every process the values of [`~ait_hf.metrics.ReconstructionMetric`].
    """

    def measure(batch: Batch) -> list[Row]:
        rows = []
        for label in _to(batch["labels"], tokenizer.device):
            size = tuple(label.shape) if image_size is None else input_size(image_size, label.shape, tta)
            reconstruction, ids = reconstruct_depth(tokenizer, label, size)
            errors = depth_reconstruction_errors(
                reconstruction[None], label[None], min_depth=min_depth, max_depth=max_depth, crop=crop
            )
            rows.append(_row(errors) | {"ids": ids.flatten().tolist()})
        return rows

    def summarize(rows: list[Row]) -> dict[str, float]:
        metric = ReconstructionMetric("depth", keep_in_memory=True)
        for row in rows:  # images of different sizes have different numbers of codes
            metric.add_errors({name: torch.tensor([row[name]]) for name in metric.columns}, torch.tensor([row["ids"]]))
        return metric.compute(num_codes=tokenizer.config.num_vq_embeddings)

    with evaluating(tokenizer):
        return measure_all(batches, measure, summarize, accelerator, description)


def reconstruct_depth(
    tokenizer: VQTokenizer, depth: torch.Tensor, size: tuple[int, int]
) -> tuple[torch.Tensor, torch.LongTensor]:
    """
    A depth map through the tokenizer and back.

    Args:
        depth (`torch.Tensor` of shape `(height, width)`): Metres, 0 where unknown.
        size: Height and width at which it is tokenized; padded with unknown depth to whole codes.

    Returns:
        Reconstruction `(height, width)`, float32, metres, and ids `(rows, columns)`.
    """
    resized = _resize_labels([depth], size)
    ratio = tokenizer.config.downsample_ratio
    ids = tokenizer.tokenize(F.pad(resized, (0, -size[1] % ratio, 0, -size[0] % ratio)))
    reconstruction = tokenizer.detokenize(ids=ids)[0, 0, : size[0], : size[1]].float()
    return _resize(reconstruction, tuple(depth.shape)), ids[0]


def depth_gallery_rows(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    samples: Sequence[dict[str, Any]],
    *,
    tta: bool = False,
    **settings,
) -> list[dict[str, np.ndarray]]:
    """
    Predictions of some samples as rows of [`~ait_hf.tasks.depth.drawing.depth_gallery`], all of the first sample's size.

    Args:
        samples: RGB-D samples as for [`rgbd_collator`], predicted as one batch.
        tta, settings: As for [`predict_depth`].
    """
    batch = rgbd_collator(samples)
    size = tuple(batch["labels"][0].shape)
    with evaluating(model):
        predictions = predict_depth(model, processor, batch["pixel_values"], tta=tta, **settings)
    return [
        {
            "image": np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1])),
            "depth": _resize_labels([label], size)[0, 0].numpy(),
            "prediction": _resize(prediction["predicted_depth"], size).cpu().numpy(),
            "uncertainty": _resize(prediction["uncertainty"], size).clamp(0, 1).cpu().numpy(),
        }
        for image, label, prediction in zip(batch["pixel_values"], batch["labels"], predictions)
    ]


def _token_distances(
    model: AiTForDenseTokenGeneration,
    outputs: AiTGenerateOutput,
    labels: Sequence[torch.Tensor],
    size: tuple[int, int],
) -> list[float]:
    tokenizer = model.task_tokenizer(DEPTH_TASK)
    true_ids = tokenizer.tokenize(_resize_labels(_to(labels, model.device), size)).flatten(1)
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


def _to(labels: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    return [label.to(device) for label in labels]


def _row(errors: dict[str, torch.Tensor]) -> Row:
    """The errors of one image as numbers."""
    return dict(zip(errors, torch.cat(list(errors.values())).tolist()))
