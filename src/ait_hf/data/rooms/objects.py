# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The random rooms of [`~ait_hf.data.rooms.depth`] as images with objects (boxes, classes and masks), and people with
17 joints in such rooms, seen from near; no download."""

import itertools
import math
import random
from operator import itemgetter
from typing import Any

import numpy as np
import torch

from ...model.masks_ait import crop_masks
from ..object_transforms import MIN_CROP_SIDE, tight_box
from .depth import NumberedPictures, NumberedRooms, render_room
from .rendering import CLASS_NAMES, STRUCTURE, render
from .rooms import portrait_scene


PEOPLE_CLASSES = tuple(name for number, name in enumerate(CLASS_NAMES) if number != STRUCTURE)
OBJECT_CLASSES = PEOPLE_CLASSES[:-1]  # of rooms without people
# Of the image; what covers less is no object. At the sizes that a CPU trains on it is a handful of pixels, whose box no
# one can draw to half its overlap.
SMALLEST_SHARE = 0.01
# Who covers less of the image, or shows fewer joints, stands behind furniture or beside the frame, and is drawn again.
SMALLEST_PERSON_SHARE, FEWEST_JOINTS = 0.02, 6
CROPS_PER_ROOM = 3  # about what a room has: 2 to 8 objects, some of them hidden


def room_objects(room: dict[str, np.ndarray]) -> dict[str, Any]:
    """The objects of a room of [`~ait_hf.data.rooms.depth.render_room`] that cover at least 1 % of its image, as
    columns like those of [`~ait_hf.data.coco.load_coco`]: `image` uint8 `(h, w, 3)`, `height`, `width`, and of n
    objects `boxes` float32 `(n, 4)` (x1, y1, x2, y2 pixels, tight around the mask), `class_labels` int64 `(n,)`
    (indices into `PEOPLE_CLASSES`, of which `OBJECT_CLASSES` are the first), `iscrowd` bool `(n,)` (none is one) and
    `masks` uint8 `(n, h, w)`, 0 or 1."""
    masks = room["object_ids"] == np.arange(1, len(room["class_ids"]) + 1)[:, None, None]
    kept = masks.mean((1, 2)) >= SMALLEST_SHARE
    masks = masks[kept]
    return {
        "image": room["image"],
        "height": masks.shape[1],
        "width": masks.shape[2],
        "boxes": np.array([tight_box(mask) for mask in masks], dtype=np.float32).reshape(-1, 4),
        "class_labels": room["class_ids"][kept] - 1,  # class 0 is the structure, which is no object
        "iscrowd": np.zeros(len(masks), dtype=bool),
        "masks": masks.astype(np.uint8),
    }


class SyntheticObjects(NumberedRooms):
    """[`NumberedRooms`] with items as [`room_objects`] gives them, `image_id` (the number) and `path` (text that names
    the room). With people the classes are `PEOPLE_CLASSES`."""

    def picture(self, index: int) -> dict[str, Any]:
        row = room_objects(self.render(index, sensor=False))
        return row | {"image_id": index, "path": f"room {self.split}/{index}"}


class SyntheticMaskCrops(NumberedRooms):
    """Masks of objects in random rooms, cut to their boxes, by number and without end, for the mask tokenizer: items
    are `{"labels": float32 (mask_size, mask_size), 0 or 1}`. Arguments as of [`NumberedRooms`].

    Three crops in a row come from one room, which is rendered once if they are asked for one after the other. Which
    crop a number gives depends on nothing else.
    """

    def __init__(
        self,
        split: str,
        size: tuple[int, int],
        seed: int = 0,
        mask_size: int = 64,
        people: bool | float = False,
        num_rooms: int | None = None,
    ):
        super().__init__(split, size, seed, num_rooms, people)
        self.mask_size = mask_size
        self._latest: tuple[int, torch.Tensor] | None = None  # number of a room and its crops

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        number, place = divmod(index, CROPS_PER_ROOM)
        if self._latest is None or self._latest[0] != number:
            self._latest = (number, super().__getitem__(number))
        _, crops = self._latest
        return {"labels": crops[place % len(crops)]}

    def picture(self, index: int) -> torch.Tensor:
        """Crops of a room's objects in random order; float32 (n, mask_size, mask_size), at least one."""
        for attempt in itertools.count():  # very few rooms show no object; another takes their place
            room = render_room((*self.key, index, attempt), self.size, self.with_people(index), sensor=False)
            row = room_objects(room)
            wide = np.flatnonzero((row["boxes"][:, 2:] - row["boxes"][:, :2]).min(1) >= MIN_CROP_SIDE)
            if len(wide):
                break
        sources = torch.from_numpy(np.random.default_rng((*self.key, index)).permutation(wide)[:CROPS_PER_ROOM])
        boxes = torch.from_numpy(row["boxes"])[sources]
        return crop_masks(torch.from_numpy(row["masks"]), boxes, sources, self.mask_size)


def room_persons(room: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """The visible people with a known joint in a room of [`~ait_hf.data.rooms.depth.render_room`] with `people=True`,
    as rows like those of [`~ait_hf.data.coco_keypoints.load_coco_keypoints`]: `image` uint8 `(h, w, 3)`, `height`,
    `width`, `box` float32 `(4,)` (x1, y1, x2, y2 pixels, tight around what is seen of the person), `keypoints` float32
    `(17, 3)` (x, y in pixels, whole numbers being the centres of pixels, and visibility: 2 seen; 1 hidden; 0 unknown,
    which are those outside the image and, as nobody could place them, hidden ones outside the box), `area` (visible
    pixels) and `iscrowd` (never)."""
    height, width = room["object_ids"].shape
    rows = []
    for number, keypoints in zip(room["person_ids"], room["keypoints"], strict=True):
        mask = room["object_ids"] == number
        box = np.array(tight_box(mask), dtype=np.float32)
        centres = keypoints[:, :2] + 0.5  # of pixels, where boxes count from their edges
        is_known = ((centres >= box[:2]) & (centres <= box[2:])).all(1) | (keypoints[:, 2] == 2)
        keypoints = np.where(is_known[:, None], keypoints, 0).astype(np.float32)
        if keypoints[:, 2].any():
            row = {"image": room["image"], "height": height, "width": width, "box": box, "keypoints": keypoints}
            rows.append(row | {"area": float(mask.sum()), "iscrowd": False})
    return rows


class SyntheticPoses(NumberedPictures):
    """People by number, without end, each in a picture of its own that shows the person from near: items as
    [`room_persons`] gives them, with `image_id` and `id` (both the number) and `path` (text that names the
    picture)."""

    def picture(self, index: int) -> dict[str, Any]:
        for attempt in itertools.count():
            rng = np.random.default_rng((*self.key, index, attempt))
            picture = render(portrait_scene(random.Random(rng.bytes(16))), self.size, rng, sensor=False)
            rows = [
                row for row in room_persons(picture) if row["area"] >= SMALLEST_PERSON_SHARE * math.prod(self.size)
            ]
            row = max(rows, key=itemgetter("area"), default=None)
            if row is not None and np.count_nonzero(row["keypoints"][:, 2]) >= FEWEST_JOINTS:
                return row | {"image_id": index, "id": index, "path": f"person {self.split}/{index}"}
