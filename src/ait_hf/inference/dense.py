# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Photographs to the classes of their pixels and to maps of your own, at the photographs' sizes."""

from collections.abc import Sequence

import torch
from PIL import Image

from ..model.generation_ait import AiTGenerateOutput
from ..model.image_processing_ait import AiTImageProcessor
from ..model.modeling_ait import AiTForDenseTokenGeneration
from .predicting import SEMANTIC_TASK, check_frame, check_output_type, image_height_and_width, prepare_images


@torch.no_grad()
def predict_semantics(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    *,
    task: str = SEMANTIC_TASK,
    **settings,
) -> list[torch.LongTensor]:
    """
    The class of every pixel of images.

    Args:
        model ([`AiTForDenseTokenGeneration`]): In evaluation mode.
        processor ([`AiTImageProcessor`]): The image processor of the task.
        images: As for [`predict_depth`].
        task (`str`): Whose output is classes of pixels.
        settings: Of `generate()`: `soft_solver`, `soft_detokenizer`, `soft_temperature`.

    Returns:
        For every image `(H, W)` int64, numbers of the model's classes (`model.config.id2label`).

    Raises:
        ValueError: There are no images, the task is unknown or of another kind, or the processor makes images of
            another size than the model was trained on.
    """
    outputs = _predict_classes_or_maps(model, processor, images, task, ("semantic", "label_map"), settings)
    return processor.post_process_semantic_segmentation(outputs, [image_height_and_width(image) for image in images])


@torch.no_grad()
def predict_maps(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    *,
    task: str,
    **settings,
) -> list[dict[str, torch.Tensor]]:
    """
    Maps of a dense task of your own, at the images' sizes.

    Args:
        model, processor, images, settings: As for [`predict_semantics`].
        task (`str`): Whose output is a map.

    Returns:
        For every image `predicted_map` `(channels, H, W)`, float32, in the unit of the task's tokenizer, and
        `uncertainty` `(H, W)`, float32, 0..1.

    Raises:
        ValueError: As [`predict_semantics`].
    """
    outputs = _predict_classes_or_maps(model, processor, images, task, ("map",), settings)
    return processor.post_process_dense_prediction(outputs, [image_height_and_width(image) for image in images])


def _predict_classes_or_maps(
    model, processor, images, task: str, output_types: Sequence[str], settings: dict
) -> AiTGenerateOutput:
    if not images:
        raise ValueError("There are no images to predict.")
    check_output_type(model, task, output_types)
    check_frame(model, processor, task)
    pixel_values = prepare_images(model, processor, images)
    return model.generate(pixel_values=pixel_values, task=task, return_dict_in_generate=True, **settings)
