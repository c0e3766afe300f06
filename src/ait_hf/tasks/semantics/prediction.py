# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""From photographs to the classes of their pixels, and these as files."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ...drawing.picture_files import save_image
from ...inference.generating import check_frame, check_output_type, generate_from_images
from ...inference.images import image_height_and_width
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTForDenseTokenGeneration
from ..writer import Writer
from .drawing import class_palette, draw_label_map


SEMANTIC_TASK = "semantic-segmentation"
LARGEST_TABLE = 256  # class numbers in 8 bits


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
        images: As for [`~ait_hf.inference.generating.generate_from_images`].
        task (`str`): Whose output is classes of pixels.
        settings: Of `generate()`: `soft_solver`, `soft_detokenizer`, `soft_temperature`.

    Returns:
        For every image `(H, W)` int64, numbers of the model's classes (`model.config.id2label`).

    Raises:
        ValueError: The output is of another type, or as [`~ait_hf.inference.generating.generate_from_images`].
    """
    check_output_type(model, task, ("semantic", "label_map"))
    outputs = generate_from_images(model, processor, images, task, **settings)
    return processor.post_process_semantic_segmentation(outputs, [image_height_and_width(image) for image in images])


def semantic_writer(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    task: str,
    options: Namespace,
    sizes: Mapping[Path, tuple[int, int]],
    **settings,
) -> Writer:
    """`NAME_labels.png` (numbers of the model's classes, 8 bits with a palette) and `NAME_semantics.png`."""
    check_frame(model, processor, task)
    names = [model.config.id2label[number] for number in range(model.config.num_classes)]
    if len(names) > LARGEST_TABLE:
        raise ValueError(f"The model has {len(names)} classes, but label maps hold {LARGEST_TABLE}.")

    def predict(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[torch.LongTensor]:
        return predict_semantics(model, processor, images, task=task, **settings)

    def write(label_map: torch.LongTensor, image: Image.Image, file: Callable[[str], Path]) -> np.ndarray:
        numbers = label_map.cpu().numpy()
        labels = Image.fromarray(numbers.astype(np.uint8))
        labels.putpalette(class_palette(len(names)).tobytes())
        picture = draw_label_map(np.asarray(image), numbers, names)
        save_image(labels, file("labels.png"))
        save_image(picture, file("semantics.png"))
        return picture

    return Writer(predict, write)
