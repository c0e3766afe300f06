# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A small COCO file of people in four pictures, with changes."""

import json
from pathlib import Path
from typing import Any

from ait_hf.data.skeletons import COCO_SKELETON


HEIGHT, WIDTH = 60, 80
JOINTS = [number for joint in range(17) for number in (12 + joint, 14 + joint, 2)]
PERSON, CAR = 4, 9


def person(number: int, **changes) -> dict:
    entry = {"id": number, "image_id": number, "category_id": PERSON, "bbox": [10, 12, 30, 40], "area": 700.5}
    entry |= {"iscrowd": 0, "segmentation": [[10, 12, 40, 12, 40, 52, 10, 52]]}
    return entry | {"keypoints": JOINTS, "num_keypoints": 17} | changes


def content(*changes: dict) -> dict:
    """Four people, one in each picture, the first ones with `changes`."""
    changes = [*changes, *[{}] * (4 - len(changes))]
    return {
        "images": [{"id": k, "file_name": f"{k}.png", "height": HEIGHT, "width": WIDTH} for k in range(1, 5)],
        "annotations": [person(number, **change) for number, change in enumerate(changes, 1)],
        "categories": [
            {"id": CAR, "name": "car", "keypoints": []},
            {"id": PERSON, "name": "person", "keypoints": list(COCO_SKELETON.joints)},
        ],
    }


def write(folder: Path, what: Any, name: str = "people.json") -> Path:
    path = folder / name
    path.write_bytes(what if isinstance(what, bytes) else json.dumps(what).encode())
    return path
