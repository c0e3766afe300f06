# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images of any sizes through a model, each squeezed into its input."""

from collections.abc import Sequence

import torch
from PIL import Image

from ..model.generation_ait import AiTGenerateOutput
from ..model.image_processing_ait import AiTImageProcessor
from ..model.modeling_ait import AiTForDenseTokenGeneration
from .images import image_height_and_width, prepare_images


@torch.no_grad()
def generate_from_images(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    task: str,
    output_types: Sequence[str] | None = None,
    **settings,
) -> tuple[AiTGenerateOutput, list[tuple[int, int]]]:
    """What a model generates for images, and their heights and widths.

    Args:
        model, processor: The model, in evaluation mode, and the image processor of the task.
        images: A batch of PIL images or tensors `(3, H, W)`, of any sizes. Floating-point tensors hold 0..1, others
            0..255.
        task (`str`): A task of the model, whose output is of one of the `output_types`, if these are given.
        settings: Of `generate()`: `soft_solver`, `soft_detokenizer`, `soft_temperature`, ...

    Raises:
        ValueError: There are no images, the model has no such task or its output is of another type, or the processor
            makes images of another size than the model was trained on.
    """
    if output_types is not None:
        check_output_type(model, task, output_types)
    if len(images) == 0:
        raise ValueError("There are no images to predict.")
    check_frame(model, processor, task)
    outputs = model.generate(pixel_values=prepare_images(model, processor, images), task=task, **settings)
    return outputs, [image_height_and_width(image) for image in images]


def check_frame(model: AiTForDenseTokenGeneration, processor: AiTImageProcessor, task: str) -> None:
    """`ValueError` if the processor makes images of another size than the model was trained on, which boxes are relative to,
    or the model has no such task."""
    (height, width), expected = processor.frame_size(), tuple(model.config.task(task).image_size)
    if (height, width) != expected:
        raise ValueError(
            f"The task {task} takes images of {expected[0]}x{expected[1]} pixels, but this image processor makes "
            f"{height}x{width}: use the processor that was saved for it."
        )


def check_output_type(model: AiTForDenseTokenGeneration, task: str, output_types: Sequence[str]) -> None:
    """`ValueError` if the model has no such task, or its output is of none of these types."""
    output_type = model.config.task(task).output_type
    if output_type not in output_types:
        raise ValueError(
            f"The output of {task!r} is of the type {output_type!r}, but {' or '.join(output_types)} is needed."
        )


def decoding_modes(parallel: bool) -> dict[str, dict[str, bool]]:
    """Name -> settings of `generate()`, of every way to use hard or soft tokens (paper, Table 9)."""
    if parallel:  # nothing is fed back into the task-solver
        return {"hard": {"soft_detokenizer": False}, "soft": {"soft_detokenizer": True}}
    return {
        "hard": {"soft_solver": False, "soft_detokenizer": False},
        "soft in the detokenizer": {"soft_solver": False, "soft_detokenizer": True},
        "soft in the solver": {"soft_solver": True, "soft_detokenizer": False},
        "soft in both": {"soft_solver": True, "soft_detokenizer": True},
    }
