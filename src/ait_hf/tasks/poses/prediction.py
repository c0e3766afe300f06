# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""From images to the people in them and their joints, and these as files."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.ops import box_convert

from ...data.classes import clean_name
from ...data.files import name_key
from ...data.json_values import check_box_format, finite_numbers, read_json
from ...data.skeletons import COCO_SKELETON, Skeleton, skeleton
from ...data.writing import write_json
from ...drawing.picture_files import save_image
from ...inference.generating import check_frame, check_output_type
from ...inference.images import image_height_and_width, prepare_images
from ...inference.loading import load_processor
from ...model.configuration_ait import AiTConfig
from ...model.image_processing_ait import AiTImageProcessor
from ...model.image_processing_pose_ait import AiTPoseImageProcessor, Boxes
from ...model.image_reading_ait import read_picture_header
from ...model.modeling_ait import AiTForDenseTokenGeneration, AiTPoseEstimatorOutput
from ...model.poses_ait import mirrored_joints
from ..objects.prediction import OBJECT_TASKS, THRESHOLD, least_score, predict_objects
from ..writer import Writer
from .drawing import draw_poses


POSE_TASK = "keypoint-detection"
PERSON = "person"  # the class of objects that have poses
Pose = dict[str, torch.Tensor]  # as of `predict_poses`


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
) -> list[list[Pose]]:
    """Joints of people in images, in pixels of the images.

    Args:
        model, processor, images, settings: As for [`~ait_hf.inference.generating.generate_from_images`].
        boxes: One list per image of people's boxes `[x, y, width, height]`, pixels; it may be empty.
        task (`str`): Whose output is poses.
        flip_test (`bool`): Average with the prediction of the mirrored crop.
        skeleton ([`Skeleton`]): What the model's joints are; `flip_test` has to know left from right.
        batch_size (`int`): People at a time.

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
    """Poses of crops `(people, 3, height, width)`, in pixels of the crops: `pred_keypoints` `(people, joints, 2)` and
    `keypoint_scores` `(people, joints)`, averaged with those of the mirrored crops (the flip test) if `flip_order`
    says for every joint of a mirrored image which joint it was."""
    generate = partial(model.generate, task=task, **settings)
    outputs = generate(pixel_values)
    keypoints, scores = outputs.pred_keypoints, outputs.keypoint_scores
    if flip_order is not None:
        mirrored = generate(pixel_values.flip(-1))
        keypoints = (keypoints + mirrored_joints(mirrored.pred_keypoints, pixel_values.shape[-1], flip_order)) / 2
        scores = (scores + mirrored.keypoint_scores[:, flip_order]) / 2
    return AiTPoseEstimatorOutput(pred_keypoints=keypoints, keypoint_scores=scores)


def check_skeleton(model: AiTForDenseTokenGeneration, task: str, skeleton: Skeleton) -> None:
    """`ValueError` if the poses of the task have another number of joints."""
    check_joints("The model's poses have", model.config.tokenizer_of(task), "the", skeleton)


def check_joints(subject: str, config: Mapping[str, Any], whose: str, skeleton: Skeleton) -> None:
    """`ValueError`, a sentence of its `subject` and `whose` skeleton it is, if that has not the number of joints of a
    tokenizer's `config`, or others, or in another order, where that names them."""
    num_joints, names = config["num_joints"], config.get("joint_names")
    if num_joints != (expected := len(skeleton.joints)):
        raise ValueError(f"{subject} {num_joints} joints, but {whose} skeleton {skeleton.name} has {expected}.")
    if names is not None and tuple(map(clean_name, names)) != skeleton.joints:
        raise ValueError(
            f"{subject} the joints {', '.join(names)}, but {whose} skeleton {skeleton.name} has "
            f"{', '.join(skeleton.joints)}: name those as the skeleton, in this order."
        )


def person_tasks(config: AiTConfig) -> list[str]:
    """The model's own tasks that find people."""
    return [task for task in OBJECT_TASKS if task in config.tasks and PERSON in config.class_names(task)]


def person_task(config: AiTConfig) -> str:
    """The first of [`person_tasks`], for [`detect_people`]; `ValueError` if there is none."""
    for task in person_tasks(config):
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
    threshold: float = THRESHOLD,
    **settings,
) -> list[dict[str, torch.Tensor]]:
    """People that the model itself finds, for [`predict_poses`]: for every image `boxes` `(n, 4)`, x, y, width, height
    in pixels, cut to the image, and `scores` `(n,)`. Boxes of less than a pixel's width or height are left out. The
    `processor` is that of the task [`person_task`]; arguments and errors as of this and
    [`~ait_hf.tasks.objects.prediction.predict_objects`]."""
    found = predict_objects(model, processor, images, task=person_task(model.config), threshold=threshold, **settings)
    people = []
    for objects, image in zip(found, images):
        height, width = image_height_and_width(image)
        corners = objects["boxes"].clamp(min=0).minimum(objects["boxes"].new_tensor([width, height, width, height]))
        boxes = box_convert(corners, "xyxy", "xywh")
        is_person = torch.tensor([model.config.id2label[label] == PERSON for label in objects["labels"].tolist()])
        kept = is_person.bool().to(boxes.device) & (boxes[:, 2:] >= 1).all(1)
        people.append({"boxes": boxes[kept], "scores": objects["scores"][kept]})
    return people


class PoseWriter(Writer):
    """`NAME_keypoints.json` and `NAME_keypoints.png`, of people in given boxes or of those that the model itself finds."""

    def check(self, sizes):
        super().check(sizes)
        names = self.model.config.tokenizer_of(self.task)["joint_names"]
        self.skeleton = skeleton(self.options.skeleton or names or COCO_SKELETON.name)
        check_skeleton(self.model, self.task, self.skeleton)
        if self.options.boxes is not None:
            self.boxes = read_boxes(self.options.boxes, sizes)
        else:
            self.finder = load_processor(self.options.model, person_task(self.model.config))

    def predict(self, photographs):
        images = list(photographs.values())
        if self.options.boxes is not None:
            boxes = [self.boxes[path] for path in photographs]
            scores = [[1.0] * len(of_image) for of_image in boxes]
        else:
            found = detect_people(self.model, self.finder, images, threshold=least_score(self.options))
            boxes, scores = ([people[name].tolist() for people in found] for name in ("boxes", "scores"))
        common = {"task": self.task, "skeleton": self.skeleton, "flip_test": self.options.flip_test}
        return list(zip(predict_poses(self.model, self.processor, images, boxes, **common, **self.settings), scores))

    def numbers(self, people):
        poses, box_scores = people
        shapes = {"keypoints": (len(self.skeleton.joints), 2), "scores": (len(self.skeleton.joints),), "bbox": (4,)}
        numbers = {name: np.reshape([pose[name].numpy() for pose in poses], (-1, *shapes[name])) for name in shapes}
        return numbers | {"box_scores": np.array(box_scores)}

    def summary(self, people):
        scores = [pose["scores"].mean().item() for pose in people[0]]
        told = ", ".join(f"{score:.2f}" for score in scores)
        counted = "1 person" if len(scores) == 1 else f"{len(scores)} people"
        return f"{counted}, joints with a mean score of {told}." if scores else "Nobody was found."

    def write(self, people, image, file):
        records = [_pose_record(pose, score, self.skeleton) for pose, score in zip(*people, strict=True)]
        write_json(file("keypoints.json"), records)
        poses = [pose["keypoints"].numpy() for pose in people[0]]
        poses = np.reshape(poses, (-1, len(self.skeleton.joints), 2))
        boxes = np.reshape([record["box"] for record in records], (-1, 4))
        picture = draw_poses(np.asarray(image), poses, boxes=boxes, skeleton=self.skeleton)
        save_image(picture, file("keypoints.png"))
        return picture


def _pose_record(pose: Pose, box_score: float, skeleton: Skeleton) -> dict[str, Any]:
    joints = torch.cat([pose["keypoints"], pose["scores"][:, None]], dim=1).tolist()
    score, named = pose["scores"].mean().item() * box_score, dict(zip(skeleton.joints, joints, strict=True))
    return {"score": score, "box": pose["bbox"].tolist(), "keypoints": named}


def read_boxes(file: Path, sizes: Mapping[Path, tuple[int, int]]) -> dict[Path, list[list[float]]]:
    """Boxes x, y, width, height of the images by their names; every one shows a part of its image."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist.")
    content = read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f'{file} must hold {{"photo.jpg": [[x, y, width, height], ...], ...}}.')
    by_name = {name_key(name): found for name, found in content.items()}
    boxes = {}
    for path, (image_height, image_width) in sizes.items():
        boxes[path] = by_name.get(name_key(path.name))
        if not isinstance(boxes[path], list):
            raise ValueError(f"{file} has no list of boxes for {path.name}; give [] if nobody is in the image.")
        for number, box in enumerate(boxes[path]):
            x, y, width, height = finite_numbers(box, 4, f"{file}: box {number} of {path.name} is")
            if min(width, height) <= 0 or x >= image_width or y >= image_height or x + width <= 0 or y + height <= 0:
                is_turned = read_picture_header(path).orientation != 1
                hint = " Boxes are in the pixels of the picture as its EXIF orientation turns it." if is_turned else ""
                raise ValueError(f"{file}: box {number} of {path.name}, {box}, has no area inside of the image.{hint}")
    listed = [(*box, width, height) for path, (height, width) in sizes.items() for box in boxes[path]]
    numbers = np.reshape(listed, (-1, 6))
    check_box_format(numbers[:, :4], numbers[:, 4:], str(file), detected=True)
    return boxes
