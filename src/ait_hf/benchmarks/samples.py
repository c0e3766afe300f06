# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""One training sample of every task, from an image file in memory to tensors: what a data worker does."""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from ..data.depth_transforms import DepthTrainTransform
from ..data.map_transforms import MapTrainTransform
from ..data.object_transforms import CutMask, ObjectTrainTransform
from ..data.pose_transforms import PoseTrainTransform
from ..data.semantic_transforms import SemanticTrainTransform


NUM_OBJECTS, NUM_POINTS = 7, 40  # of an image, and of an outline; those of COCO


def encoded_frame(height: int, width: int) -> tuple[io.BytesIO, np.ndarray]:
    """A JPEG of smooth colours, and a map of the same size, uint16."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, format="jpeg", quality=92)
    return file, (np.asarray(image)[..., 0].astype(np.uint16) + 20) * 30


def task_samples(size: int) -> dict[str, Callable[[], Any]]:
    """
    Makes a training sample, for every task by its name and for the tokenizer of masks.

    Args:
        size (`int`): Height of the images, which are a third wider, and side of the crops and frames, pixels.
    """
    height, width = size, size * 4 // 3
    file, values = encoded_frame(height, width)
    depth = values.astype(np.float32) / 1000
    normals = np.zeros((height, width, 3), np.float32)
    normals[..., 2] = 1
    row = {"height": height, "width": width, **_objects(height, width)}
    person = {"box": [width / 4, height / 4, width / 2, height * 3 / 4], "keypoints": _joints(height, width)}
    person |= {"image_id": 0, "id": 0, "height": height, "width": width}
    objects, instances = (ObjectTrainTransform(size, with_masks=with_masks) for with_masks in (False, True))
    pose, cut = PoseTrainTransform(256), CutMask(64)
    semantic, normal = SemanticTrainTransform((size, size)), MapTrainTransform("map", "unit_vector", 3, (size, size))
    to_depth = DepthTrainTransform(size)
    one = row | {"segmentation": row["segmentation"][0], "box": row["boxes"][0]}

    def image() -> Image.Image:
        return Image.open(io.BytesIO(file.getvalue())).convert("RGB")

    return {
        "depth": lambda: to_depth({"image": image(), "depth": depth}),
        "object-detection": lambda: objects(row | {"image": image()}),
        "instance-segmentation": lambda: instances(row | {"image": image()}),
        "keypoint-detection": lambda: pose(person | {"image": image()}),
        "semantic-segmentation": lambda: semantic({"image": image(), "label_map": (values % 150).astype(np.uint8)}),
        "normals": lambda: normal({"image": image(), "map": normals}),
        "masks": lambda: cut(one),
    }


def _objects(height: int, width: int) -> dict[str, Any]:
    """Ellipses of all sizes, as polygons."""
    angles = np.linspace(0, 2 * np.pi, NUM_POINTS, endpoint=False)
    boxes, outlines = [], []
    for number in range(NUM_OBJECTS):
        radius = (number + 1) / (2 * NUM_OBJECTS + 2)
        x, y = width * (0.5 + radius * np.cos(angles)), height * (0.5 + radius * np.sin(angles))
        boxes.append([float(x.min()), float(y.min()), float(x.max()), float(y.max())])
        outlines.append(json.dumps([np.stack([x, y], axis=1).flatten().tolist()]))
    numbers = {"class_labels": list(range(NUM_OBJECTS)), "iscrowd": [False] * NUM_OBJECTS}
    return {"boxes": boxes, "segmentation": outlines, **numbers}


def _joints(height: int, width: int) -> np.ndarray:
    spread = np.linspace(0.3, 0.7, 17)
    return np.stack([spread * width, spread * height, np.full(17, 2.0)], axis=1).astype(np.float32)
