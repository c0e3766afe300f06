# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a model in training predicts, as files and for trackers."""

from pathlib import Path

import numpy as np
from accelerate import Accelerator
from PIL import Image

from ..drawing.picture_files import save_image


def publish_pictures(accelerator: Accelerator, pictures: dict[str, Image.Image], folder: Path, step: int) -> None:
    """Writes pictures by name, and gives them to the trackers that take any: TensorBoard and Weights & Biases."""
    for name, picture in pictures.items():
        save_image(picture, folder / f"{name}-step-{step:08d}.png")
        for tracker in accelerator.trackers:
            if tracker.name == "tensorboard":
                values = {f"predictions/{name}": np.asarray(picture.convert("RGB"))[None]}
                tracker.log_images(values, step, dataformats="NHWC")
            elif tracker.name == "wandb":
                tracker.log_images({f"predictions/{name}": [picture]}, step)
