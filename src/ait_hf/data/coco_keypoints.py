# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""People with joints of a COCO keypoint file as a 🤗 data set: one row per person.

Boxes are x1, y1, x2, y2 in pixels of the image, pixel (row, column) covering column..column + 1, row..row + 1. Joints
are as annotated: whole numbers are the centres of pixels.
"""

from os import PathLike
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc

from . import skeletons
from .checked_tables import Rows
from .classes import ABSENT, DataClasses, clean_name, pair_joints
from .coco import table_of_coco
from .coco_files import CocoContent, box_corners, clipped_box, read_annotations, read_coco_file
from .skeletons import COCO_SKELETON, Skeleton
from .stored_images import Picture


CROWDS = "crowds"
WITHOUT_JOINTS = "people without an annotated joint inside their box"

KEYPOINT_FEATURES = datasets.Features(
    {
        "image": Picture(),
        "path": datasets.Value("string"),
        "image_id": datasets.Value("int64"),
        "height": datasets.Value("int32"),
        "width": datasets.Value("int32"),
        "id": datasets.Value("int64"),
        "box": datasets.List(datasets.Value("float32"), length=4),
        "keypoints": datasets.List(datasets.List(datasets.Value("float32"), length=3)),
        "area": datasets.Value("float32"),
        "iscrowd": datasets.Value("bool"),
    }
)


def load_coco_keypoints(
    annotations: str | PathLike,
    images: str | PathLike,
    *,
    skeleton: str = COCO_SKELETON.name,
    cache_dir: str | PathLike | None = None,
) -> datasets.Dataset:
    """Loads the people of a COCO keypoint file, one row per person with at least one annotated joint.

    The file is checked as a whole when its table is built, which is kept in the cache until the file changes; and that all
    images exist and have the size that it says, whenever one of them has changed. Boxes are clipped to their image. Left out, and logged with their
    numbers and first ids, are
    crowds and people that nothing can be learnt from: without an annotated joint inside their box, or as in
    [`~ait_hf.data.coco_files.clean_content`].

    Args:
        annotations: json file with the sections `images`, `annotations` and `categories`; one category has `keypoints`,
            the names of joints, which may be in any order.
        images: folder that the image names start from.
        skeleton: name of the joints, see [`~ait_hf.data.skeletons.skeleton`].
        cache_dir: where the table is cached; by default that of 🤗 datasets.

    Returns:
        Rows with `image` (PIL, RGB), `path` (of the image), `image_id`, `height` and `width` (pixels), `id` (of the
        annotation), `box` (x1, y1, x2, y2, float32 pixels), `keypoints` (joints x 3 float32: x, y in pixels and
        visibility 0 not annotated, 1 hidden, 2 seen; where 0, all three are 0; in the skeleton's order), `area` (of the
        person's mask, square pixels, which the evaluation measures distances by) and `iscrowd` (always false).

    Raises:
        FileNotFoundError: if the json file, the folder or an image does not exist.
        ValueError: if the file is malformed: not JSON, a section or key missing, an id given twice, an unknown image
            or category, a value of another type than it should be, boxes that are not x, y, width, height, no category
            with keypoints or several, a joint that the skeleton lacks, or a visibility other than 0, 1, 2; if nobody is
            left; or if the skeleton is unknown.
    """
    annotations, images = Path(annotations).absolute(), Path(images).absolute()

    def read() -> tuple[Rows, list[str]]:
        content = read_coco_file(annotations)
        return _read_rows(content, images, skeletons.skeleton(skeleton)), content.messages()

    return table_of_coco(annotations, images, KEYPOINT_FEATURES, read, (skeleton,), cache_dir)


def keypoint_classes(annotations: str | PathLike, rows: datasets.Dataset, joints: Skeleton) -> DataClasses:
    """The joints of a COCO keypoint file, and which of them the `rows` of it show, which are in the skeleton's order."""
    content = read_annotations(Path(annotations))
    _, numbers = person_category(content, str(annotations), joints)
    values = pc.list_flatten(pc.list_flatten(rows.with_format("arrow")["keypoints"]))
    seen = (values.to_numpy().reshape(-1, len(joints.joints), 3)[..., 2] > 0).any(0)
    shown = {k for k, number in enumerate(numbers) if number != ABSENT and seen[number]}
    return DataClasses(str(annotations), _joint_names(content), shown)


def with_joints_in_order(content: dict[str, Any], name: str, joints: Skeleton) -> dict[str, Any]:
    """The COCO dictionary with the joints of its people in the skeleton's order; arguments and errors as
    [`person_category`]."""
    person, numbers = person_category(content, name, joints)
    categories = [
        entry | {"keypoints": list(joints.joints)} if entry["id"] == person else entry
        for entry in content["categories"]
    ]
    annotations = [
        entry | {"keypoints": _in_order(entry["keypoints"], numbers, len(joints.joints))}
        if _has_joints(entry, person, len(numbers))
        else entry
        for entry in content["annotations"]
    ]
    return content | {"categories": categories, "annotations": annotations}


def person_category(content: dict[str, Any], name: str, joints: Skeleton) -> tuple[int, list[int]]:
    """
    The category whose objects have joints.

    Args:
        content: a COCO dictionary, with the sections `categories` and `annotations`.
        name: of the file, for messages.
        joints: the skeleton that its joints are of, in any order.

    Returns:
        Its id, and for every joint of the file its number in the skeleton, or -1 if it is not there (and annotated
        nowhere).

    Raises:
        ValueError: no category has keypoints, several do, a joint comes twice, or one is annotated that the skeleton does
            not have.
    """
    found = [entry for entry in content["categories"] if entry.get("keypoints")]
    if len(found) != 1:
        raise ValueError(
            f"{name} has {len(found)} categories with keypoints, but one is needed: give a file of person keypoints."
        )
    person, names = found[0]["id"], [str(joint) for joint in found[0]["keypoints"]]
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


def _joint_names(content: dict[str, Any]) -> list[str]:
    return [str(joint) for entry in content["categories"] for joint in entry.get("keypoints") or ()]


def _in_order(values: list[float], numbers: list[int], num_joints: int) -> list[float]:
    """x, y and visibility of every joint of the skeleton, one after the other; zeros for one that the file lacks."""
    ordered = np.zeros((num_joints, 3))
    for number, joint in zip(numbers, np.reshape(values, (len(numbers), 3))):
        if number != ABSENT:
            ordered[number] = joint
    return ordered.flatten().tolist()


def _read_rows(content: CocoContent, folder: Path, joints: Skeleton) -> list[dict[str, Any]]:
    person, numbers = person_category(content.content, content.name, joints)
    paths = content.pictures(folder)
    rows = []
    for image, annotations in content.by_image():
        path = str(paths[image["id"]])
        own = {"image": path, "path": path, "image_id": image["id"]}
        own |= {"height": image["height"], "width": image["width"]}
        for annotation in annotations:
            if annotation["category_id"] == person:
                found = _person(annotation, image, numbers, len(joints.joints), content)
                rows += [] if found is None else [own | found]
    if not rows:
        raise ValueError(
            f"{content.name} has nobody with an annotated joint: there is nothing to learn or to measure."
        )
    return rows


def _person(
    annotation: dict[str, Any], image: dict[str, Any], numbers: list[int], num_joints: int, content: CocoContent
) -> dict[str, Any] | None:
    """The columns' entries for one annotation; `None`, and its id in `content.dropped`, if it is left out."""
    where = f"{content.name}: annotation {annotation['id']}"
    if "keypoints" not in annotation:
        raise ValueError(f"{where} has no 'keypoints'; an empty list says that none is annotated.")
    if len(annotation["keypoints"]) != 3 * len(numbers):
        count = len(annotation["keypoints"]) // 3
        raise ValueError(f"{where} has {count} joints of three numbers, but the skeleton has {len(numbers)}.")
    joints = np.reshape(_in_order(annotation["keypoints"], numbers, num_joints), (num_joints, 3))
    if annotation["iscrowd"]:
        content.dropped[CROWDS].append(annotation["id"])
        return None
    joints = joints * (joints[:, 2:] > 0)
    box = clipped_box(box_corners(annotation), image)
    if not has_joint_inside(joints, box):
        content.dropped[WITHOUT_JOINTS].append(annotation["id"])
        return None
    own = {"id": annotation["id"], "box": box, "keypoints": joints.tolist()}
    return own | {"area": annotation["area"], "iscrowd": False}
