# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a model sees in rendered rooms, and what is there, as pictures of one size: for `ait demo` and for the README."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import BaseImageProcessor

from ..data.rooms.depth import SyntheticDepth
from ..data.rooms.objects import PEOPLE_CLASSES, room_objects
from ..data.rooms.rendering import LABEL_CLASSES
from ..data.skeletons import COCO_SKELETON
from ..drawing.colors import colorize_uncertainty
from ..inference.loading import load_model, load_processor
from ..metrics.measuring import evaluating
from ..model.masks_ait import rle_to_mask
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..tasks.depth.drawing import colorize_depth, colorize_error
from ..tasks.depth.prediction import DEPTH_TASK, predict_depth
from ..tasks.objects.drawing import draw_objects
from ..tasks.objects.prediction import predict_objects
from ..tasks.poses.drawing import draw_poses
from ..tasks.poses.prediction import PERSON, POSE_TASK, detect_people, predict_poses
from ..tasks.semantics.drawing import overlay_label_map
from ..tasks.semantics.prediction import SEMANTIC_TASK, predict_semantics


SIDE = 256  # of a picture, pixels: the rooms that are measured at 64 x 64, rendered larger
OBJECT_TASK = "instance-segmentation"
LARGEST_ERROR = 1.5  # of depth, metres: the darkest red
DRAWN_SCORE = 0.4  # least score of an object that is drawn
Pictures = dict[str, np.ndarray]  # uint8 (SIDE, SIDE, 3) by what they show


class Room:
    """A test room. (The same number shows the same room at every size, and the same furniture with people.)"""

    def __init__(self, number: int, people: bool = False):
        self.number = number
        self.rendered = SyntheticDepth("test", (SIDE, SIDE), people=people)[number]
        self.image = Image.fromarray(self.rendered["image"])
        self.depth = self.rendered["depth_complete"]
        self.depth_limits = float(self.depth.min()), float(self.depth.max())
        self.objects = room_objects(self.rendered)

    @cached_property
    def truth(self) -> Pictures:
        image, objects = self.rendered["image"], self.objects
        drawn = {"masks": objects["masks"], "class_names": PEOPLE_CLASSES, "longer_side": SIDE}
        pictures = {
            "depth": colorize_depth(self.depth, *self.depth_limits),
            "instances": np.asarray(draw_objects(image, objects["boxes"], objects["class_labels"], **drawn)),
            "classes": np.asarray(overlay_label_map(image, self.rendered["label_map"], len(LABEL_CLASSES), SIDE)),
        }
        if "keypoints" in self.rendered:
            pictures["poses"] = np.asarray(draw_poses(image, self.rendered["keypoints"], longer_side=SIDE))
        return pictures


class Viewer:
    """
    A model, which looks at rooms as `ait predict` does.

    Args:
        model: Of some of the tasks depth, instances, classes of pixels and poses.
        processors: The image processor of each of its tasks.
    """

    def __init__(self, model: AiTForDenseTokenGeneration, processors: Mapping[str, BaseImageProcessor]):
        self.model, self.processors = model, processors

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Viewer":
        model = load_model(folder)
        return cls(model, {task: load_processor(folder, task) for task in model.config.tasks})

    @property
    def knows_people(self) -> bool:
        return PERSON in self.model.config.id2label.values()

    def look(self, room: Room) -> Pictures:
        """What the model sees in a room: a picture for each of its tasks, and behind `depth` its `uncertainty` and `error`."""
        views = {DEPTH_TASK: self._depth, OBJECT_TASK: self._instances, SEMANTIC_TASK: self._classes}
        pictures: Pictures = {}
        with evaluating(self.model):
            for task, view in (views | {POSE_TASK: self._poses}).items():
                if task in self.processors:
                    pictures |= view(room, self.processors[task])
        return pictures

    def _depth(self, room: Room, processor: BaseImageProcessor) -> Pictures:
        (seen,) = predict_depth(self.model, processor, [room.image])
        depth, uncertainty = seen["predicted_depth"].numpy(), seen["uncertainty"].numpy().clip(0, 1)
        return {
            "depth": colorize_depth(depth, *room.depth_limits),
            "uncertainty": colorize_uncertainty(uncertainty),
            "error": colorize_error(depth, room.depth, LARGEST_ERROR),
        }

    def _instances(self, room: Room, processor: BaseImageProcessor) -> Pictures:
        (seen,) = predict_objects(self.model, processor, [room.image], task=OBJECT_TASK, threshold=DRAWN_SCORE)
        boxes, labels, scores = (seen[name].numpy() for name in ("boxes", "labels", "scores"))
        masks = np.array([rle_to_mask(rle).numpy() for rle in seen["masks"]]).reshape(-1, SIDE, SIDE)
        drawn = draw_objects(
            room.rendered["image"], boxes, labels, scores, masks, self.model.config.id2label, DRAWN_SCORE, SIDE
        )
        return {"instances": np.asarray(drawn)}

    def _classes(self, room: Room, processor: BaseImageProcessor) -> Pictures:
        (seen,) = predict_semantics(self.model, processor, [room.image])
        config = self.model.config
        numbers = np.zeros(config.num_classes, dtype=int)  # among the classes of rooms, whose colours they get
        for number, name in zip(config.classes(SEMANTIC_TASK), config.class_names(SEMANTIC_TASK), strict=True):
            numbers[number] = LABEL_CLASSES.index(name)
        drawn = overlay_label_map(room.rendered["image"], numbers[seen.numpy()], len(LABEL_CLASSES), SIDE)
        return {"classes": np.asarray(drawn)}

    def _poses(self, room: Room, processor: BaseImageProcessor) -> Pictures:
        """Of the people that the model itself finds."""
        (people,) = detect_people(self.model, self.processors[OBJECT_TASK], [room.image], threshold=DRAWN_SCORE)
        (poses,) = predict_poses(self.model, processor, [room.image], [people["boxes"].tolist()])
        joints = np.reshape([pose["keypoints"].numpy() for pose in poses], (-1, len(COCO_SKELETON.joints), 2))
        return {"poses": np.asarray(draw_poses(room.rendered["image"], joints, longer_side=SIDE))}


def telling_rooms(count: int, people: bool = False) -> list[Room]:
    """The first test rooms with more than one object."""
    rooms, number = [], 0
    while len(rooms) < count:
        room = Room(number, people)
        rooms += [room] * (len(room.objects["boxes"]) > 1)
        number += 1
    return rooms
