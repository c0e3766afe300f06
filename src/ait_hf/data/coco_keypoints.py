# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""People with joints of a COCO keypoint file as a 🤗 data set: one row per person.

Boxes are x1, y1, x2, y2 in pixels of the image, pixel (row, column) covering column..column + 1, row..row + 1. Joints
are as annotated: whole numbers are the centres of pixels.
"""

from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
from datasets import List, Value

from . import skeletons
from .classes import ABSENT, DataClasses, clean_name, pair_joints
from .coco import BOX, IMAGE_FEATURES, image_columns, table_of_coco
from .coco_files import CocoContent, box_corners, clipped_box, read_annotations
from .skeletons import COCO_SKELETON, Skeleton, category_with_joints
from .tables import Row


CROWDS = "crowds"
WITHOUT_JOINTS = "people without an annotated joint inside their box"
KEYPOINT_FEATURES = datasets.Features(
    IMAGE_FEATURES
    | {"id": Value("int64"), "box": BOX, "keypoints": List(List(Value("float32"), length=3))}
    | {"area": Value("float32"), "iscrowd": Value("bool")}
)


def load_coco_keypoints(
    annotations: str | PathLike,
    images: str | PathLike,
    *,
    skeleton: str | Sequence[str] = COCO_SKELETON.name,
    cache_dir: str | PathLike | None = None,
) -> datasets.Dataset:
    """Loads the people of a COCO keypoint file, one row per person with at least one annotated joint.

    File, table, pictures and boxes are treated as by [`~ait_hf.data.coco.load_coco`]. Left out, and logged with their
    numbers and first ids, are crowds and people that nothing can be learnt from: without an annotated joint inside
    their box, or as in [`~ait_hf.data.coco_files.clean_content`].

    Args:
        annotations: json file with the sections `images`, `annotations` and `categories`; one category has
            `keypoints`, the names of joints, which may be in any order.
        images: folder that the image names start from.
        skeleton: what the joints are, see [`~ait_hf.data.skeletons.skeleton`].
        cache_dir: where the table is cached; by default that of 🤗 datasets.

    Returns:
        Rows with `image` (PIL, RGB), `path` (of the image), `image_id`, `height` and `width` (pixels), `id` (of the
        annotation), `box` (x1, y1, x2, y2, float32 pixels), `keypoints` (joints x 3 float32: x, y in pixels and
        visibility 0 not annotated, 1 hidden, 2 seen; where 0, all three are 0; in the skeleton's order), `area` (of
        the person's mask, square pixels, which the evaluation measures distances by) and `iscrowd` (always false).

    Raises:
        FileNotFoundError, ValueError: as [`~ait_hf.data.coco.load_coco`]; and `ValueError` if there is no category
            with keypoints or several, a joint that the skeleton lacks, or a visibility other than 0, 1, 2; if nobody
            is left; or if the skeleton is unknown.
    """
    joints = skeletons.skeleton(skeleton)
    read_rows = partial(_read_rows, skeleton=joints)
    return table_of_coco(annotations, images, KEYPOINT_FEATURES, read_rows, joints.joints, cache_dir)


def keypoint_classes(annotations: str | PathLike, rows: datasets.Dataset, joints: Skeleton) -> DataClasses:
    """The joints of a COCO keypoint file, and which of them the `rows` of it show, which are in the skeleton's order."""
    content = read_annotations(Path(annotations))
    _, numbers = person_category(content, str(annotations), joints)
    values = pc.list_flatten(pc.list_flatten(rows.with_format("arrow")["keypoints"]))
    seen = (values.to_numpy().reshape(-1, len(joints.joints), 3)[..., 2] > 0).any(0)
    shown = {k for k, number in enumerate(numbers) if number != ABSENT and seen[number]}
    names = [str(joint) for entry in content["categories"] for joint in entry.get("keypoints") or ()]
    return DataClasses(str(annotations), names, shown)


def with_joints_in_order(content: dict[str, Any], name: str, joints: Skeleton) -> dict[str, Any]:
    """The COCO dictionary with the joints of its people in the skeleton's order; arguments and errors as
    [`person_category`]."""
    person, numbers = person_category(content, name, joints)
    categories, annotations = list(content["categories"]), list(content["annotations"])
    for k, entry in enumerate(categories):
        if entry["id"] == person:
            categories[k] = entry | {"keypoints": list(joints.joints)}
    for k, entry in enumerate(annotations):
        if _has_joints(entry, person, len(numbers)):
            annotations[k] = entry | {"keypoints": _in_order(entry["keypoints"], numbers, joints).flatten().tolist()}
    return content | {"categories": categories, "annotations": annotations}


def person_category(content: dict[str, Any], name: str, joints: Skeleton) -> tuple[int, list[int]]:
    """The category of a COCO dictionary (of the file `name`, for messages) whose objects have the joints of a
    skeleton, in any order: its id, and for every joint of the file its number in the skeleton, or -1 if it is not
    there (and annotated nowhere). `ValueError` if no category has keypoints, several do, a joint comes twice, or one
    is annotated that the skeleton does not have."""
    category = category_with_joints(content, name)
    person, names = category["id"], [str(joint) for joint in category["keypoints"]]
    if not set(map(clean_name, names)) & set(joints.joints):
        raise ValueError(
            f"{name} has the joints {names}, which are not those of the skeleton {joints.name}: {list(joints.joints)}."
        )
    values = [entry["keypoints"] for entry in content["annotations"] if _has_joints(entry, person, len(names))]
    shown = {k for k in range(len(names)) if any(joint_values[3 * k + 2] for joint_values in values)}
    return person, list(pair_joints(joints.joints, DataClasses(name, names, shown), joints.name).numbers)


def has_joint_inside(joints: np.ndarray, box: list[float]) -> bool:
    """Whether one of the joints, `(n, 3)`, is annotated and lies in the box x1, y1, x2, y2."""
    centres = joints[:, :2] + 0.5  # of the pixels, where boxes count from their edges
    inside = ((centres >= box[:2]) & (centres <= box[2:])).all(1)
    return bool((inside & (joints[:, 2] > 0)).any())


def _has_joints(annotation: dict[str, Any], person: int, num_joints: int) -> bool:
    values = annotation.get("keypoints")
    return annotation.get("category_id") == person and isinstance(values, list) and len(values) == 3 * num_joints


def _in_order(values: list[float], numbers: list[int], skeleton: Skeleton) -> np.ndarray:
    """x, y and visibility of every joint of the skeleton, float64 `(joints, 3)`; zeros for one that the file lacks."""
    ordered = np.zeros((len(skeleton.joints), 3))
    known = np.array(numbers) != ABSENT
    ordered[np.array(numbers)[known]] = np.reshape(values, (len(numbers), 3))[known]
    return ordered


def _read_rows(content: CocoContent, folder: Path, skeleton: Skeleton) -> list[Row]:
    person, numbers = person_category(content.content, content.name, skeleton)
    paths = content.pictures(folder)
    rows = []
    for image, annotations in content.by_image():
        own = image_columns(image, paths[image["id"]])
        for annotation in annotations:
            if annotation["category_id"] == person:
                where = f"{content.name}: annotation {annotation['id']}"
                if "keypoints" not in annotation:
                    raise ValueError(f"{where} has no 'keypoints'; an empty list says that none is annotated.")
                count = len(annotation["keypoints"]) // 3  # of three numbers each, as is checked on reading
                if count != len(numbers):
                    raise ValueError(
                        f"{where} has {count} joints of three numbers, but the skeleton has {len(numbers)}."
                    )
                joints = _in_order(annotation["keypoints"], numbers, skeleton)
                joints *= joints[:, 2:] > 0
                box = clipped_box(box_corners(annotation), image)
                if annotation["iscrowd"] or not has_joint_inside(joints, box):
                    reason = CROWDS if annotation["iscrowd"] else WITHOUT_JOINTS
                    content.dropped[reason].append(annotation["id"])
                else:
                    row = {"id": annotation["id"], "box": box, "keypoints": joints.tolist()}
                    rows.append(own | row | {"area": annotation["area"], "iscrowd": False})
    if not rows:
        raise ValueError(
            f"{content.name} has nobody with an annotated joint: there is nothing to learn or to measure."
        )
    return rows
