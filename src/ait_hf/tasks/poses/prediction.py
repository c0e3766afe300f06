# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""From images to the people in them and their joints, and these as files."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...data.skeletons import COCO_SKELETON, Skeleton
from ...data.writing import write_json
from ...drawing.picture_files import save_image
from ...inference.generating import check_frame, check_output_type
from ...inference.images import image_height_and_width, prepare_images
from ...model.configuration_ait import AiTConfig
from ...model.image_processing_ait import AiTImageProcessor
from ...model.image_processing_pose_ait import AiTPoseImageProcessor, Boxes
from ...model.modeling_ait import AiTForDenseTokenGeneration, AiTPoseEstimatorOutput
from ...model.poses_ait import mirrored_joints
from ..objects.prediction import OBJECT_TASKS, predict_objects
from ..writer import Writer
from .drawing import draw_poses


POSE_TASK = "keypoint-detection"
PERSON = "person"  # the class of objects that have poses
# Per photograph, `boxes` (n, 4), x, y, width, height in pixels, and their `scores` (n,).
FindPeople = Callable[[Sequence[Path], Sequence[Image.Image]], list[dict[str, Any]]]


@torch.no_grad()
def predict_poses(
    model: AiTForDenseTokenGeneration,
    processor: AiTPoseImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    boxes: Boxes,
    *,
    task: str = POSE_TASK,
    flip_test: bool = False,
    skeleton: Skeleton = COCO_SKELETON,
    batch_size: int = 32,
    **settings,
) -> list[list[dict[str, torch.Tensor]]]:
    """
    Joints of people in images, in pixels of the images.

    Args:
        model ([`AiTForDenseTokenGeneration`]): In evaluation mode.
        processor ([`AiTPoseImageProcessor`]): The image processor of the task.
        images: As for [`~ait_hf.inference.generating.generate_from_images`].
        boxes: One list per image of people's boxes `[x, y, width, height]`, pixels; it may be empty.
        task (`str`): Whose output is poses.
        flip_test (`bool`): Average with the prediction of the mirrored crop.
        skeleton ([`Skeleton`]): What the model's joints are; `flip_test` has to know left from right.
        batch_size (`int`): People at a time.
        settings: Of `generate()`: `soft_solver`, `soft_detokenizer`, `soft_temperature`.

    Returns:
        For every image a list of people in the order of the boxes, as of
        [`~AiTPoseImageProcessor.post_process_pose_estimation`]: `keypoints` `(joints, 2)`, `scores` `(joints,)`,
        `labels` `(joints,)` and `bbox` `(4,)`.

    Raises:
        ValueError: There are no images, not as many lists of boxes, a box without area, the task is unknown or of
            another kind, the processor makes crops of another size than the model was trained on, or the model has
            not the skeleton's joints.
    """
    if not images:
        raise ValueError("There are no images to predict.")
    check_output_type(model, task, ("pose",))
    check_frame(model, processor, task)
    check_skeleton(model, task, skeleton)
    if len(boxes) != len(images):
        raise ValueError(f"One list of boxes per image is needed: got {len(boxes)} for {len(images)} images.")
    if not any(map(len, boxes)):
        return [[] for _ in images]
    crops = prepare_images(model, processor, images, boxes=boxes)
    flip_order = skeleton.flip_order if flip_test else None
    parts = [generate_poses(model, part, task, flip_order, **settings) for part in crops.split(batch_size)]
    outputs = AiTPoseEstimatorOutput(
        pred_keypoints=torch.cat([part.pred_keypoints for part in parts]),
        keypoint_scores=torch.cat([part.keypoint_scores for part in parts]),
    )
    return processor.post_process_pose_estimation(outputs, boxes)


def generate_poses(
    model: AiTForDenseTokenGeneration,
    pixel_values: torch.Tensor,
    task: str = POSE_TASK,
    flip_order: Sequence[int] | None = None,
    **settings,
) -> AiTPoseEstimatorOutput:
    """
    Poses of crops, in pixels of the crops.

    Args:
        pixel_values: `(people, 3, height, width)`.
        flip_order (*optional*): Average with the prediction of the mirrored crops (the flip test); for every joint of
            a mirrored image the joint that it was.

    Returns:
        `pred_keypoints` `(people, joints, 2)` and `keypoint_scores` `(people, joints)`.
    """

    def generate(crops: torch.Tensor):
        return model.generate(pixel_values=crops, task=task, return_dict_in_generate=True, **settings)

    outputs = generate(pixel_values)
    keypoints, scores = outputs.pred_keypoints, outputs.keypoint_scores
    if flip_order is not None:
        mirrored = generate(pixel_values.flip(-1))
        keypoints = (keypoints + mirrored_joints(mirrored.pred_keypoints, pixel_values.shape[-1], flip_order)) / 2
        scores = (scores + mirrored.keypoint_scores[:, flip_order]) / 2
    return AiTPoseEstimatorOutput(pred_keypoints=keypoints, keypoint_scores=scores)


def check_skeleton(model: AiTForDenseTokenGeneration, task: str, skeleton: Skeleton) -> None:
    """`ValueError` if the poses of the task have another number of joints."""
    num_joints = model.task_tokenizer(task).config.num_joints
    if num_joints != len(skeleton.joints):
        raise ValueError(
            f"The model's poses have {num_joints} joints, but the skeleton {skeleton.name} has {len(skeleton.joints)}."
        )


def person_task(config: AiTConfig) -> str:
    """
    The model's own task that finds people for [`detect_people`].

    Raises:
        ValueError: It has none.
    """
    for task in OBJECT_TASKS:
        if task in config.tasks and PERSON in config.class_names(task):
            return task
    raise ValueError(
        f"This model finds no people by itself (it needs the task {' or '.join(OBJECT_TASKS)} with a class {PERSON!r}): "
        "give their boxes."
    )


def detect_people(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    *,
    threshold: float = 0.3,
    **settings,
) -> list[dict[str, torch.Tensor]]:
    """
    People that the model itself finds, for [`predict_poses`].

    Args:
        model, images, threshold, settings: As for [`~ait_hf.tasks.objects.prediction.predict_objects`].
        processor ([`AiTImageProcessor`]): The image processor of the task [`person_task`].

    Returns:
        For every image `boxes` `(n, 4)`, x, y, width, height in pixels, cut to the image, and `scores` `(n,)`. Boxes
        of less than a pixel's width or height are left out.

    Raises:
        ValueError: As [`~ait_hf.tasks.objects.prediction.predict_objects`] and [`person_task`].
    """
    found = predict_objects(model, processor, images, task=person_task(model.config), threshold=threshold, **settings)
    people = []
    for objects, image in zip(found, images):
        height, width = image_height_and_width(image)
        corners = objects["boxes"].clamp(min=0).minimum(objects["boxes"].new_tensor([width, height, width, height]))
        boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)
        is_person = torch.tensor([model.config.id2label[label] == PERSON for label in objects["labels"].tolist()])
        kept = is_person.bool().to(boxes.device) & (boxes[:, 2:] >= 1).all(1)
        people.append({"boxes": boxes[kept], "scores": objects["scores"][kept]})
    return people


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
    """`NAME_keypoints.json` and `NAME_keypoints.png`. Settings are those of [`~ait_hf.tasks.poses.prediction.predict_poses`]."""
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
    """The people that the model itself detects, see [`~ait_hf.tasks.poses.prediction.detect_people`]."""

    def find(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[dict[str, torch.Tensor]]:
        return detect_people(model, processor, images, threshold=threshold)

    return find


def given_people(boxes: dict[Path, list[list[float]]]) -> FindPeople:
    """The boxes x, y, width, height of every photograph, each with the score 1."""

    def find(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[dict[str, torch.Tensor]]:
        given = [torch.tensor(boxes[path], dtype=torch.float64).reshape(-1, 4) for path in paths]
        return [{"boxes": of_image, "scores": torch.ones(len(of_image))} for of_image in given]

    return find
