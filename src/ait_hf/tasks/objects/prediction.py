# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""From images to the objects in them, and these as files."""

from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...data.writing import write_json
from ...drawing.picture_files import save_image
from ...inference.generating import generate_from_images
from ...model.image_processing_ait import AiTImageProcessor
from ...model.masks_ait import rle_to_mask
from ...model.modeling_ait import AiTForDenseTokenGeneration
from ..writer import Writer
from .drawing import draw_objects


OBJECT_TASKS = ("object-detection", "instance-segmentation")
THRESHOLD = 0.3  # least score of an object, unless another is wanted


@torch.no_grad()
def predict_objects(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    *,
    task: str,
    threshold: float = THRESHOLD,
    **settings,
) -> list[dict[str, Any]]:
    """Objects in images, in pixels of the images.

    Args:
        model, processor, images, settings: As for [`~ait_hf.inference.generating.generate_from_images`], with its errors;
            settings also `num_objects`, `do_sample`, `top_p`.
        task (`str`): "object-detection" or "instance-segmentation".
        threshold (`float`): Least score, 0..1, of an object that is kept.

    Returns:
        For every image a dictionary of its n objects: `scores` and `labels` `(n,)`, `boxes` `(n, 4)` (x1 <= x2 and
        y1 <= y2, not clipped), and for instance segmentation `masks`, n run lengths of
        [`~ait_hf.model.masks_ait.masks_to_rle`].
    """
    outputs, sizes = generate_from_images(model, processor, images, task, **settings)
    objects = processor.post_process_object_detection(outputs, threshold, sizes)
    if outputs.pred_masks is not None:
        masks = processor.object_masks_rle(outputs, sizes, score_threshold=threshold)
        objects = [found | {"masks": found_masks} for found, found_masks in zip(objects, masks)]
    return objects


class ObjectWriter(Writer):
    """`NAME_objects.json` and `NAME_objects.png`."""

    function = staticmethod(predict_objects)

    def predict(self, photographs):
        return super().predict(photographs, threshold=least_score(self.options))

    def numbers(self, prediction):
        masks = [rle_to_mask(rle).numpy() for rle in prediction.get("masks", ())]
        numbers = super().numbers({name: values for name, values in prediction.items() if name != "masks"})
        return numbers | ({"masks": np.stack(masks)} if masks else {})

    def summary(self, prediction):
        names = [self.model.config.id2label[label] for label in prediction["labels"].tolist()]
        counted = ", ".join(f"{count} × {name}" for name, count in Counter(names).most_common())
        return f"{counted or 'Nothing'} with a score of at least {least_score(self.options):g}."

    def write(self, objects, image, file):
        names = self.model.config.id2label
        boxes, scores, labels = (objects[name].tolist() for name in ("boxes", "scores", "labels"))
        columns = {"label": [names[label] for label in labels], "score": scores, "box": boxes}
        masks = None
        if "masks" in objects:
            columns["segmentation"] = objects["masks"]
            masks = [rle_to_mask(rle).numpy() for rle in objects["masks"]] or None
        write_json(file("objects.json"), [dict(zip(columns, values)) for values in zip(*columns.values())])
        picture = draw_objects(np.asarray(image), boxes, labels, scores, masks, names, least_score(self.options))
        save_image(picture, file("objects.png"))
        return picture


def least_score(options: Namespace) -> float:
    """Of an object that `ait predict` writes."""
    return THRESHOLD if options.threshold is None else options.threshold
