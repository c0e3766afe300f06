# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Small folders of pictures with their depth, objects, people or normals, to fine-tune on."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ait_hf.data.skeletons import COCO_SKELETON


JOINTS = COCO_SKELETON.joints


def write_rooms(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for kind in ("images", "depth"):
        (folder / kind).mkdir(parents=True)
    for name in range(12):
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(folder / f"images/{name:02d}.jpg")
        Image.fromarray(rng.integers(500, 5000, (60, 80), np.uint16)).save(folder / f"depth/{name:02d}.png")
    return folder


def write_objects(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(folder / f"images/{number}.jpg")
        images.append({"id": number, "file_name": f"{number}.jpg", "height": 60, "width": 80})
        polygon = [10, 10, 50, 10, 50, 40, 10, 40]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 7 + number % 2, "bbox": [10, 10, 40, 30], "area": 1200}
            | {"segmentation": [polygon], "iscrowd": 0}
        )
    categories = [{"id": 7, "name": "cat"}, {"id": 8, "name": "yak"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "objects.json").write_text(json.dumps(content))
    return folder


def write_people(folder: Path, joints: list[str] = JOINTS, count: int = 12, empty: int = 0) -> Path:
    """Images with one person each and, before them, some with nobody; joint k of person n at (10 + 2k, 12 + n)."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    images, people = [], []
    for number in range(empty + count):
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 60, "width": 80})
        if number >= empty:
            places = [value for name in joints for value in place(name, number)]
            own = {"bbox": [5, 5, 60, 50], "area": 1500.0, "iscrowd": 0, "category_id": 1}
            people.append(own | {"id": number, "image_id": number, "keypoints": places})
    category = {"id": 1, "name": "person", "keypoints": list(joints)}
    content = {"images": images, "annotations": people, "categories": [category]}
    (folder / "people.json").write_text(json.dumps(content))
    return folder


def place(joint: str, number: int) -> list[int]:
    return [10 + 2 * (JOINTS.index(joint) if joint in JOINTS else 0), 12 + number, 2]


def write_normals(folder: Path, *splits: str, size: tuple[int, int] = (100, 120)) -> Path:
    """All of them point towards the camera, but where nothing is known."""
    rng = np.random.default_rng(0)
    for split in splits:
        for kind in ("images", "maps"):
            (folder / split / kind).mkdir(parents=True)
        for number in range(4):
            normals = np.full((*size, 3), [128, 128, 0], np.uint8)
            normals[:10] = 0
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / split / f"images/{number}.jpg")
            Image.fromarray(normals).save(folder / split / f"maps/{number}.png")
    return folder
