# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""From photographs to maps of their sizes, and these as files."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image

from ...data.writing import write_file
from ...drawing.picture_files import save_image
from ...inference.generating import generate_from_images
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
    """Maps of a dense task of your own, at the images' sizes: for every image `predicted_map` `(channels, H, W)`,
    float32, in the unit of the task's tokenizer, and `uncertainty` `(H, W)`, float32, in that unit. Arguments and errors as of
    [`~ait_hf.inference.generating.generate_from_images`]."""
    outputs, sizes = generate_from_images(model, processor, images, task, ["map"], **settings)
    return processor.post_process_dense_prediction(outputs, sizes)


class MapWriter(Writer):
    """`NAME_TASK.npy`, float32 `(height, width, channels)`, and `NAME_TASK.png`."""

    function = staticmethod(predict_maps)

    def summary(self, prediction):
        values, unit = prediction["predicted_map"], self.model.task_tokenizer(self.task).config.unit
        uncertainty = prediction["uncertainty"].mean()
        return (
            f"{len(values)} channel(s) in {unit}, from {values.min():.3g} to {values.max():.3g}; uncertain by "
            f"{uncertainty:.3g} on average."
        )

    def write(self, prediction, image, file):
        values = prediction["predicted_map"].permute(1, 2, 0).cpu().numpy()
        picture = colorize_map(values, self.model.config.tokenizer_of(self.task)["unit"])
        write_file(file(f"{self.task}.npy"), partial(np.save, arr=values))
        save_image(picture, file(f"{self.task}.png"))
        return picture
