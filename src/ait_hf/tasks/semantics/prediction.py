# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""From photographs to the classes of their pixels, and these as files."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from ...drawing.picture_files import save_image
from ...inference.generating import generate_from_images
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTForDenseTokenGeneration
from ..writer import Writer
from .drawing import class_palette, draw_label_map


SEMANTIC_TASK = "semantic-segmentation"
LEAST_SHARE = 0.005  # of the pixels, of a class that a summary names
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
    """The class of every pixel of images: for every image `(H, W)` int64, numbers of the model's classes
    (`model.config.id2label`). Arguments and errors as of [`~ait_hf.inference.generating.generate_from_images`]."""
    outputs, sizes = generate_from_images(model, processor, images, task, ["semantic", "label_map"], **settings)
    return processor.post_process_semantic_segmentation(outputs, sizes)


class SemanticWriter(Writer):
    """`NAME_labels.png` (numbers of the model's classes, 8 bits with a palette) and `NAME_semantics.png`."""

    function = staticmethod(predict_semantics)

    def check(self, sizes):
        super().check(sizes)
        config = self.model.config
        self.names = [config.id2label[number] for number in range(config.num_classes)]
        if len(self.names) > LARGEST_TABLE:
            raise ValueError(f"The model has {len(self.names)} classes, but label maps hold {LARGEST_TABLE}.")

    def numbers(self, label_map):
        return {"labels": label_map.cpu().numpy()}

    def summary(self, label_map):
        shares = label_map.flatten().bincount() / label_map.numel()
        told = [
            f"{self.names[n]} {shares[n]:.0%}"
            for n in shares.argsort(descending=True).tolist()
            if shares[n] >= LEAST_SHARE
        ]
        return f"{', '.join(told)} of the pixels."

    def write(self, label_map, image, file):
        numbers = label_map.cpu().numpy()
        labels = Image.fromarray(numbers.astype(np.uint8))
        labels.putpalette(class_palette(len(self.names)).tobytes())
        picture = draw_label_map(np.asarray(image), numbers, self.names)
        save_image(labels, file("labels.png"))
        save_image(picture, file("semantics.png"))
        return picture
