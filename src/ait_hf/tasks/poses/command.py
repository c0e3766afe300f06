# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What [`~ait_hf.commands.evaluate`] does for keypoint detection."""

import argparse
import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch.utils.data import DataLoader

from ...data.classes import DataClasses, measuring_warnings, pair_joints
from ...data.coco_files import read_coco_file
from ...data.coco_keypoints import keypoint_classes, load_coco_keypoints, person_category
from ...data.picture_sizes import check_pictures
from ...data.rooms.depth import EVALUATION_EXAMPLES
from ...data.rooms.poses import SyntheticPoses
from ...data.skeletons import COCO_SKELETON
from ...data.subset import evenly
from ...data.writing import write_text
from ...drawing.picture_files import save_image
from ...inference.generating import decoding_modes
from ...inference.loading import load_model_and_processor
from ...model.image_reading_ait import read_image
from ...model.tokenization_pose import PoseTokenizer
from .drawing import pose_gallery
from .evaluation import (
    BoxRow,
    PersonRow,
    evaluate_pose_tokenizer,
    evaluate_poses,
    person_collator,
    pose_gallery_rows,
    pose_ground_truth,
    read_detections,
)


logger = logging.getLogger(__name__)

COCO_PREFIX = "coco:"
GALLERY_ROWS = 6
PICTURE_SIZE = (96, 96)  # height and width of the synthetic pictures that people are cut from


@dataclass
class PoseData:
    """What is evaluated: people with joints by number, the boxes that the model sees, the ground truth, and its joints."""

    people: Sequence[PersonRow]
    boxes: Sequence[BoxRow]
    ground_truth: dict[str, Any]
    image_ids: Sequence[int]
    joints: DataClasses


class DetectedBoxes(Sequence):
    """The boxes of a detector by number, with their images, which are read when asked for."""

    def __init__(self, boxes: Sequence[dict[str, Any]]):
        self.boxes = boxes

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, number: int) -> BoxRow:
        box = self.boxes[number]
        return box | {"image": read_image(box["path"])}


def evaluate_pose_task(
    options: argparse.Namespace, tokenizer: PoseTokenizer | None, accelerator: Accelerator
) -> dict[str, dict[str, float]]:
    """The values of every mode of the model and of every tokenizer, by name; writes results and gallery."""
    tokenizers = {} if tokenizer is None else {"tokenizer": tokenizer}
    model = processor = None
    if options.model is not None:
        model, processor = load_model_and_processor(options.model, options.task, accelerator.device, options.dtype)
        if options.tokenizer_reconstruction:
            tokenizers["the model's tokenizer"] = model.task_tokenizer(options.task)
    data = _load_data(options)
    if accelerator.is_main_process:
        pairs = pair_joints(COCO_SKELETON.joints, data.joints, COCO_SKELETON.name)
        for warning in measuring_warnings(pairs, data.joints, f"the skeleton {COCO_SKELETON.name}"):
            logger.warning(warning)

    results, found = {}, []
    if model is not None:
        collator = partial(person_collator, processor=processor)
        loader = accelerator.prepare(DataLoader(data.boxes, batch_size=options.batch_size, collate_fn=collator))
        modes = decoding_modes(model.config.parallel) if options.modes == "all" else {"as the checkpoint says": {}}
        common = {"task": options.task, "flip_test": options.flip_test, "image_ids": data.image_ids}
        for mode, settings in modes.items():
            results[mode], found = evaluate_poses(
                model,
                processor,
                loader,
                data.ground_truth,
                accelerator=accelerator,
                description=mode,
                **common,
                **settings,
            )
    crops = {} if processor is None else {"box_scale": processor.box_scale}
    for name, measured in tokenizers.items():
        results[name] = evaluate_pose_tokenizer(
            measured, data.people, accelerator=accelerator, batch_size=options.batch_size, description=name, **crops
        )
    if accelerator.is_main_process:
        if options.results is not None:
            write_text(options.results, json.dumps(found) + "\n")
        if options.gallery is not None:
            chosen = evenly(data.people, GALLERY_ROWS)
            people = [chosen[number] for number in range(len(chosen))]
            rows = pose_gallery_rows(model, processor, people, task=options.task, flip_test=options.flip_test)
            save_image(pose_gallery(rows), options.gallery)
    return results


def _load_data(options: argparse.Namespace) -> PoseData:
    if options.data.startswith(COCO_PREFIX):
        return _load_coco(options)
    pictures = SyntheticPoses(options.split, PICTURE_SIZE)
    people = [pictures[number] for number in range(options.limit or EVALUATION_EXAMPLES)]
    truth = pose_ground_truth(people)
    joints = DataClasses("The data set of synthetic people", COCO_SKELETON.joints)
    return PoseData(people, people, truth, [image["id"] for image in truth["images"]], joints)


def _load_coco(options: argparse.Namespace) -> PoseData:
    """`--limit` counts images: who is left out of an image would have been missed."""
    path = Path(options.data.removeprefix(COCO_PREFIX))
    people = load_coco_keypoints(path, options.images)
    content = read_coco_file(path)  # what it leaves out was logged with the people
    truth = content.content
    category, _ = person_category(truth, str(path), COCO_SKELETON)
    joints = keypoint_classes(path, people, COCO_SKELETON)
    files = {image_id: str(file) for image_id, file in content.pictures(Path(options.images)).items()}
    image_ids = list(evenly(list(files), options.limit))
    by_image = defaultdict(list)
    for number, image_id in enumerate(people["image_id"]):
        by_image[image_id].append(number)
    people = people.select([number for image_id in image_ids for number in by_image[image_id]])
    if not len(people):
        raise ValueError(f"The chosen images of {path} show nobody with joints: choose more by --limit.")
    boxes = people
    if options.boxes is not None:
        detected = read_detections(options.boxes, truth, category)
        sizes = {files[image["id"]]: (image["height"], image["width"]) for image in truth["images"]}
        check_pictures(path, sizes)  # also of those that show nobody
        boxes = DetectedBoxes(
            [
                box | {"image_id": image_id, "path": files[image_id]}
                for image_id in image_ids
                for box in detected[image_id]
            ]
        )
        if not boxes:
            raise ValueError(f"{options.boxes} has no person in the chosen images.")
    return PoseData(people, boxes, truth, image_ids, joints)
