# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""People with 17 joints in random rooms, seen from near; no download."""

import itertools
import math
import random
from operator import itemgetter
from typing import Any

import numpy as np

from .depth import NumberedPictures
from .objects import tight_box
from .people import Figure, draw_figure
from .rendering import Camera, Scene, render
from .rooms import (
    CAMERA_CLEARANCE,
    Extent,
    crowd,
    figure_fits,
    furniture,
    random_extent,
    random_light,
    room_structure,
    with_figures,
)


DISTANCE = (1.9, 4.2)  # metres from the camera to the person
EYE_HEIGHT = (0.8, 1.7)
NUM_OBJECTS = (0, 3)
COMPANION_SHARE = 0.25  # of the pictures with a second person
PERSON_CLEARANCE = 0.4  # metres from a person's middle to the walls
# Who covers less of the image, or shows fewer joints, stands behind furniture or beside the frame, and is drawn again.
SMALLEST_SHARE = 0.02
FEWEST_JOINTS = 6


def room_persons(room: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """The visible people with a known joint in a room of [`~ait_hf.data.rooms.depth.render_room`] with `people=True`, as
    rows like those of [`~ait_hf.data.coco_keypoints.load_coco_keypoints`]: `image` uint8 `(h, w, 3)`, `height`, `width`,
    `box` float32 `(4,)` (x1, y1, x2, y2 pixels, tight around what is seen of the person), `keypoints` float32 `(17, 3)`
    (x, y in pixels, whole numbers being the centres of pixels, and visibility: 2 seen; 1 hidden; 0 unknown, which are
    those outside the image and, as nobody could place them, hidden ones outside the box), `area` (visible pixels) and
    `iscrowd` (never)."""
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
    [`room_persons`] gives them, with `image_id` and `id` (both the number) and `path` (text that names the picture)."""

    def picture(self, index: int) -> dict[str, Any]:
        for attempt in itertools.count():
            rng = np.random.default_rng((*self.key, index, attempt))
            picture = render(portrait_scene(random.Random(rng.bytes(16))), self.size, rng, sensor=False)
            rows = [row for row in room_persons(picture) if row["area"] >= SMALLEST_SHARE * math.prod(self.size)]
            row = max(rows, key=itemgetter("area"), default=None)
            if row is not None and np.count_nonzero(row["keypoints"][:, 2]) >= FEWEST_JOINTS:
                return row | {"image_id": index, "id": index, "path": f"person {self.split}/{index}"}


def portrait_scene(rng: random.Random) -> Scene:
    """Draw a closed room, with joints, in which the camera looks at a person; there may be furniture, and another person."""
    room, person, camera = _meeting(rng)
    objects = furniture(room, camera, rng.randint(*NUM_OBJECTS), rng, others=person.parts(0))
    companions = []
    if rng.random() < COMPANION_SHARE:
        companions = crowd(room, camera, 1, [*objects, *person.parts(0)], rng)
    scene = Scene(camera, (*room_structure(room, rng), *objects), random_light(room, rng))
    return with_figures(scene, [person, *companions])


def _meeting(rng: random.Random) -> tuple[Extent, Figure, Camera]:
    """A room, a person in it, who is likelier to face the camera than not, and the camera."""
    figure = draw_figure(rng)
    while True:  # not every place in a room has another in the right distance, and not every posture fits there
        room = random_extent(rng)
        x, y = (rng.uniform(PERSON_CLEARANCE, length - PERSON_CLEARANCE) for length in room[:2])
        distance, angle = rng.uniform(*DISTANCE), rng.uniform(-math.pi, math.pi)
        eye = (x + distance * math.cos(angle), y + distance * math.sin(angle), rng.uniform(*EYE_HEIGHT))
        if any(not CAMERA_CLEARANCE < eye[axis] < room[axis] - CAMERA_CLEARANCE for axis in (0, 1)):
            continue
        person = figure.moved(x, y, angle + rng.triangular(-math.pi, math.pi))
        middle = 0.5 * person.points[:, 2].max()
        camera = Camera.looking(
            eye,
            yaw=angle + math.pi / 2 + rng.gauss(0, 0.08),
            pitch=math.atan2(middle - eye[2], distance) + rng.gauss(0, 0.06),
            roll=math.radians(rng.gauss(0, 2)),
            field_of_view=math.radians(rng.uniform(50, 68)),
        )
        if figure_fits(person, room, camera, ()):
            return room, person, camera
