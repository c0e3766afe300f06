# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Pictures of what a model in training predicts: the galleries of `scripts/evaluate.py`. A module of its own, because
drawing needs packages that training does not.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from accelerate import Accelerator
from PIL import Image

from ..data.classes import Pairs
from ..data.subset import evenly
from ..drawing.picture_files import save_image
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..recipes.streams import DataRecipe
from ..tasks.base import Kind
from ..tasks.depth.drawing import depth_gallery
from ..tasks.depth.evaluation import depth_gallery_rows
from ..tasks.depth.task import Depth
from ..tasks.maps.drawing import map_gallery
from ..tasks.maps.evaluation import map_gallery_rows
from ..tasks.objects.drawing import object_gallery
from ..tasks.objects.evaluation import object_gallery_rows
from ..tasks.objects.task import Objects
from ..tasks.poses.drawing import pose_gallery
from ..tasks.poses.evaluation import pose_gallery_rows
from ..tasks.poses.task import Poses
from ..tasks.semantics.drawing import semantic_gallery
from ..tasks.semantics.evaluation import semantic_gallery_rows
from ..tasks.semantics.task import Semantics


def picture_rows(data: DataRecipe, split: str, number: int) -> list[dict[str, Any]]:
    """So many examples, spread evenly over a split; the first ones of a stream and of data without end."""
    dataset = data.load(split)
    if isinstance(dataset, datasets.IterableDataset):
        return list(islice(dataset, number))
    if data.is_endless:
        return [dataset[index] for index in range(number)]
    chosen = evenly(dataset, number)
    return [chosen[index] for index in range(len(chosen))]


def draw_predictions(
    task: Kind, model: AiTForDenseTokenGeneration, rows: Sequence[dict[str, Any]], classes: Pairs | None = None
) -> Image.Image:
    """
    The model's predictions beside the truth.

    Args:
        task: Section of the recipe.
        rows: Examples of its data, one line of the picture each.
        classes: Those of the rows, paired with the model's; `None` if they are the same, or for a task without any.
    """
    processor = task.processor()
    names = task.class_names() if classes is None else classes.names
    numbers = {"class_numbers": None if classes is None else classes.numbers}
    match task:
        case Depth():
            return depth_gallery(depth_gallery_rows(model, processor, rows))
        case Objects():
            rows = object_gallery_rows(model, processor, rows, task=task.name, class_names=names, **numbers)
            return object_gallery(rows)
        case Poses():
            skeleton = task.data.joints
            return pose_gallery(pose_gallery_rows(model, processor, rows, task=task.name, skeleton=skeleton), skeleton)
        case Semantics():
            return semantic_gallery(semantic_gallery_rows(model, processor, rows, task=task.name, **numbers), names)
        case _:
            samples = [task.data.stream().eval_transform(row) for row in rows]
            return map_gallery(map_gallery_rows(model, processor, samples, task=task.name), task.data.unit)


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
