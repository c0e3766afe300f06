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
from ..evaluation import depth_gallery_rows
from ..map_evaluation import map_gallery_rows
from ..map_visualization import map_gallery
from ..modeling_ait import AiTForDenseTokenGeneration
from ..object_evaluation import object_gallery_rows
from ..object_visualization import object_gallery
from ..pose_evaluation import pose_gallery_rows
from ..pose_visualization import pose_gallery
from ..semantic_evaluation import semantic_gallery_rows
from ..semantic_visualization import semantic_gallery
from ..visualization import depth_gallery, save_image
from .data import DataRecipe
from .depth_task import DepthTask
from .object_task import ObjectTask
from .pose_task import PoseTask
from .semantic_task import SemanticTask
from .tasks import AnyTask


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
    task: AnyTask, model: AiTForDenseTokenGeneration, rows: Sequence[dict[str, Any]], classes: Pairs | None = None
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
        case DepthTask():
            return depth_gallery(depth_gallery_rows(model, processor, rows))
        case ObjectTask():
            rows = object_gallery_rows(model, processor, rows, task=task.name, class_names=names, **numbers)
            return object_gallery(rows)
        case PoseTask():
            skeleton = task.data.joints
            return pose_gallery(pose_gallery_rows(model, processor, rows, task=task.name, skeleton=skeleton), skeleton)
        case SemanticTask():
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
