# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""From photographs to maps of their sizes, and these as files."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ...data.writing import write_file
from ...drawing.picture_files import save_image
from ...inference.generating import check_frame, check_output_type, generate_from_images
from ...inference.images import image_height_and_width
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTForDenseTokenGeneration
from ..writer import Writer
from .drawing import colorize_map


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
        model, processor, images: As for [`~ait_hf.inference.generating.generate_from_images`].
        task (`str`): Whose output is a map.
        settings: Of `generate()`: `soft_solver`, `soft_detokenizer`, `soft_temperature`.

    Returns:
        For every image `predicted_map` `(channels, H, W)`, float32, in the unit of the task's tokenizer, and
        `uncertainty` `(H, W)`, float32, 0..1.

    Raises:
        ValueError: The output is of another type, or as [`~ait_hf.inference.generating.generate_from_images`].
    """
    check_output_type(model, task, ("map",))
    outputs = generate_from_images(model, processor, images, task, **settings)
    return processor.post_process_dense_prediction(outputs, [image_height_and_width(image) for image in images])


def map_writer(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    task: str,
    options: Namespace,
    sizes: Mapping[Path, tuple[int, int]],
    **settings,
) -> Writer:
    """`NAME_TASK.npy`, float32 `(height, width, channels)`, and `NAME_TASK.png`."""
    check_frame(model, processor, task)
    unit = model.task_tokenizer(task).config.unit

    def predict(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[dict[str, torch.Tensor]]:
        return predict_maps(model, processor, images, task=task, **settings)

    def write(prediction: dict[str, torch.Tensor], image: Image.Image, file: Callable[[str], Path]) -> np.ndarray:
        values = prediction["predicted_map"].permute(1, 2, 0).cpu().numpy()
        picture = colorize_map(values, unit)
        write_file(file(f"{task}.npy"), partial(np.save, arr=values))
        save_image(picture, file(f"{task}.png"))
        return picture

    return Writer(predict, write)
