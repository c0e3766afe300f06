# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The poses of people in photographs as files."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...data.skeletons import Skeleton
from ...data.writing import write_json
from ...drawing.picture_files import save_image
from ...inference.generating import check_frame
from ...inference.poses import check_skeleton, detect_people, predict_poses
from ...model.image_processing_ait import AiTImageProcessor
from ...model.image_processing_pose_ait import AiTPoseImageProcessor
from ...model.modeling_ait import AiTForDenseTokenGeneration
from ..writer import Writer
from .drawing import draw_poses


# Per photograph, `boxes` (n, 4), x, y, width, height in pixels, and their `scores` (n,).
FindPeople = Callable[[Sequence[Path], Sequence[Image.Image]], list[dict[str, Any]]]


def pose_writer(
    model: AiTForDenseTokenGeneration,
    processor: AiTPoseImageProcessor,
    output: Path,
    *,
    task: str,
    find_people: FindPeople,
    skeleton: Skeleton,
    **settings,
) -> Writer:
    """`NAME_keypoints.json` and `NAME_keypoints.png`. Settings are those of [`~ait_hf.inference.poses.predict_poses`]."""
    check_frame(model, processor, task)
    check_skeleton(model, task, skeleton)
    predict = partial(predict_poses, model, processor, task=task, skeleton=skeleton, **settings)

    def write(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[np.ndarray]:
        pictures = []
        found = find_people(paths, images)
        poses = predict(images, [people["boxes"].tolist() for people in found])
        for path, image, image_poses, people in zip(paths, images, poses, found):
            records = [
                _pose_record(pose, box_score, skeleton)
                for pose, box_score in zip(image_poses, people["scores"].tolist(), strict=True)
            ]
            write_json(output / f"{path.stem}_keypoints.json", records)
            joints = np.zeros((0, len(skeleton.joints), 2))
            if image_poses:
                joints = np.stack([pose["keypoints"].numpy() for pose in image_poses])
            boxes = np.array([record["box"] for record in records]).reshape(-1, 4)
            picture = draw_poses(np.asarray(image), joints, boxes=boxes, skeleton=skeleton)
            pictures.append(np.asarray(picture))
            save_image(picture, output / f"{path.stem}_keypoints.png")
        return pictures

    return write


def _pose_record(pose: dict[str, torch.Tensor], box_score: float, skeleton: Skeleton) -> dict[str, Any]:
    joints = torch.cat([pose["keypoints"], pose["scores"][:, None]], dim=1).tolist()
    return {
        "score": pose["scores"].mean().item() * box_score,
        "box": pose["bbox"].tolist(),
        "keypoints": dict(zip(skeleton.joints, joints, strict=True)),
    }


def own_people(model: AiTForDenseTokenGeneration, processor: AiTImageProcessor, *, threshold: float) -> FindPeople:
    """The people that the model itself detects, see [`~ait_hf.inference.poses.detect_people`]."""

    def find(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[dict[str, torch.Tensor]]:
        return detect_people(model, processor, images, threshold=threshold)

    return find


def given_people(boxes: dict[Path, list[list[float]]]) -> FindPeople:
    """The boxes x, y, width, height of every photograph, each with the score 1."""

    def find(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[dict[str, torch.Tensor]]:
        given = [torch.tensor(boxes[path], dtype=torch.float64).reshape(-1, 4) for path in paths]
        return [{"boxes": of_image, "scores": torch.ones(len(of_image))} for of_image in given]

    return find
