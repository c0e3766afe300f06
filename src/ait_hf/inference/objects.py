# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""From images to the objects in them."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from ..model.image_processing_ait import AiTImageProcessor
from ..model.modeling_ait import AiTForDenseTokenGeneration
from .generating import generate_from_images
from .images import image_height_and_width


OBJECT_TASKS = ("object-detection", "instance-segmentation")


@torch.no_grad()
def predict_objects(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    *,
    task: str,
    threshold: float = 0.3,
    **settings,
) -> list[dict[str, Any]]:
    """
    Objects in images, in pixels of the images.

    Args:
        model ([`AiTForDenseTokenGeneration`]): In evaluation mode.
        processor ([`AiTImageProcessor`]): The image processor of the task.
        images: As for [`~ait_hf.inference.generating.generate_from_images`].
        task (`str`): "object-detection" or "instance-segmentation".
        threshold (`float`): Least score, 0..1, of an object that is kept.
        settings: Of `generate()`: `num_objects`, `do_sample`, `top_p`, `soft_solver`, `soft_detokenizer`,
            `soft_temperature`.

    Returns:
        For every image a dictionary of its n objects: `scores` and `labels` `(n,)`, `boxes` `(n, 4)` (x1 <= x2 and
        y1 <= y2, not clipped), and for instance segmentation `masks`, n run lengths of
        [`~ait_hf.model.masks_ait.masks_to_rle`].

    Raises:
        ValueError: As [`~ait_hf.inference.generating.generate_from_images`].
    """
    outputs = generate_from_images(model, processor, images, task, **settings)
    sizes = [image_height_and_width(image) for image in images]
    objects = processor.post_process_object_detection(outputs, threshold, sizes)
    if outputs.pred_masks is not None:
        masks = processor.object_masks_rle(outputs, sizes, score_threshold=threshold)
        objects = [found | {"masks": found_masks} for found, found_masks in zip(objects, masks)]
    return objects
