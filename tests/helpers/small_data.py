# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Small folders of pictures with their depth or their objects, to fine-tune on."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


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
