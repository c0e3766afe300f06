# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""People with joints of a COCO keypoint file as a 🤗 data set: one row per person.

Boxes are x1, y1, x2, y2 in pixels of the image, pixel (row, column) covering column..column + 1, row..row + 1. Joints
are as annotated: whole numbers are the centres of pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from .coco_files import (
    annotated_images,
    box_corners,
    clipped_box,
    entries,
    files_digest,
    finite_numbers,
    log_dropped,
    read_annotations,
)
from .skeletons import COCO_SKELETON, Skeleton, skeleton


VISIBILITIES = (0, 1, 2)  # not annotated, hidden, seen

KEYPOINT_FEATURES = datasets.Features(
    {
        "image": datasets.Image(mode="RGB"),
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


@dataclass
class CocoKeypointsConfig(datasets.BuilderConfig):
    """Which files to read. The digest of the annotations' bytes makes a changed file a new table."""

    annotations: str = ""
    images: str = ""
    digest: str = ""
    skeleton: str = ""


class CocoKeypoints(datasets.GeneratorBasedBuilder):
    """Builds a table of paths and people; images are decoded on access."""

    BUILDER_CONFIG_CLASS = CocoKeypointsConfig

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=KEYPOINT_FEATURES)

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        # Everything is checked here, before the first row is written.
        config = self.config
        rows = _read_rows(Path(config.annotations), Path(config.images), skeleton(config.skeleton))
        return [datasets.SplitGenerator(name=datasets.Split.TRAIN, gen_kwargs={"rows": rows})]

    def _generate_examples(self, rows: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(rows)


def load_coco_keypoints(
    annotations: str | PathLike,
    images: str | PathLike,
    *,
    skeleton: str = COCO_SKELETON.name,
    cache_dir: str | PathLike | None = None,
) -> datasets.Dataset:
    """Loads the people of a COCO keypoint file, one row per person with at least one annotated joint.

    The file is checked as a whole, and that all images exist, when its table is built; the table is kept in the cache
    until the file changes. Boxes are clipped to their image. Left out, and logged with their numbers and first ids, are
    crowds and people that nothing can be learnt from: without an annotated joint inside their box, or whose box has no
    area or lies outside the image.

    Args:
        annotations: json file with the sections `images`, `annotations` and `categories`; one category has `keypoints`.
        images: folder that the image names start from.
        skeleton: name of the joints, see [`~ait_hf.data.skeletons.skeleton`].
        cache_dir: where the table is cached; by default that of 🤗 datasets.

    Returns:
        Rows with `image` (PIL, RGB), `path` (of the image), `image_id`, `height` and `width` (pixels), `id` (of the
        annotation), `box` (x1, y1, x2, y2, float32 pixels), `keypoints` (joints x 3 float32: x, y in pixels and
        visibility 0 not annotated, 1 hidden, 2 seen; where 0, all three are 0), `area` (of the person's mask, square
        pixels, which the evaluation measures distances by) and `iscrowd` (always false).

    Raises:
        FileNotFoundError: if the json file, the folder or an image does not exist.
        ValueError: if the file is malformed: not JSON, a section or key missing, an id given twice, an unknown image
            or category, no category with keypoints or several, joints of another skeleton, or a visibility other than
            0, 1, 2; if nobody is left; or if the skeleton is unknown.
    """
    annotations, images = Path(annotations).absolute(), Path(images).absolute()
    builder = CocoKeypoints(
        cache_dir=None if cache_dir is None else str(cache_dir),
        annotations=str(annotations),
        images=str(images),
        digest=files_digest(annotations, images),
        skeleton=skeleton,
    )
    builder.download_and_prepare()
    return builder.as_dataset(datasets.Split.TRAIN)


def person_category(content: dict[str, Any], name: str, joints: Skeleton) -> int:
    """Id of the category whose objects have joints.

    Args:
        content: a COCO dictionary, with the sections `categories`.
        name: of the file, for messages.
        joints: the skeleton that it must have.

    Raises:
        ValueError: no category has keypoints, several do, or they are of another skeleton.
    """
    found = [entry for entry in content["categories"] if "keypoints" in entry]
    if len(found) != 1:
        raise ValueError(
            f"{name} has {len(found)} categories with keypoints, but one is needed: give a file of person keypoints."
        )
    if list(found[0]["keypoints"]) != list(joints.joints):
        raise ValueError(
            f"{name} has the joints {found[0]['keypoints']}, which are not those of the skeleton {joints.name}: "
            f"{list(joints.joints)}."
        )
    return found[0]["id"]


@dataclass
class _Dropped:
    """Ids of the annotations that are left out, by reason."""

    crowds: list[int] = field(default_factory=list)
    without_joints: list[int] = field(default_factory=list)
    without_area: list[int] = field(default_factory=list)
    outside: list[int] = field(default_factory=list)

    def by_reason(self) -> dict[str, list[int]]:
        return {
            "crowds": self.crowds,
            "people without an annotated joint inside their box": self.without_joints,
            "boxes without area": self.without_area,
            "boxes outside their image": self.outside,
        }


def _read_rows(path: Path, folder: Path, joints: Skeleton) -> list[dict[str, Any]]:
    content = read_annotations(path)
    category_ids = [entry["id"] for entry in entries(content, "categories", path)]
    person = person_category(content, str(path), joints)
    dropped = _Dropped()
    rows = []
    for image, image_path, annotations in annotated_images(content, path, folder, category_ids):
        own = {"image": str(image_path), "path": str(image_path), "image_id": image["id"]}
        own |= {"height": image["height"], "width": image["width"]}
        for annotation in annotations:
            if annotation["category_id"] == person:
                found = _person(annotation, image, len(joints.joints), path, dropped)
                rows += [] if found is None else [own | found]
    log_dropped(path, dropped.by_reason())
    if not rows:
        raise ValueError(f"{path} has nobody with an annotated joint: there is nothing to learn or to measure.")
    return rows


def _person(
    annotation: dict[str, Any], image: dict[str, Any], num_joints: int, path: Path, dropped: _Dropped
) -> dict[str, Any] | None:
    """The columns' entries for one annotation; `None`, and its id in `dropped`, if it is left out."""
    where = f"{path}: annotation {annotation['id']}"
    if "keypoints" not in annotation:
        raise ValueError(f"{where} has no 'keypoints'.")
    joints = _joints(annotation["keypoints"], num_joints, where)
    area = finite_numbers([annotation["area"]], 1, f"{where} has an area")[0]
    if annotation.get("iscrowd", 0):
        dropped.crowds.append(annotation["id"])
        return None
    corners = box_corners(annotation, where)
    if corners is None:
        dropped.without_area.append(annotation["id"])
        return None
    box = clipped_box(corners, image)
    if box is None:
        dropped.outside.append(annotation["id"])
        return None
    centres = joints[:, :2] + 0.5  # of the pixels, where boxes count from their edges
    inside = ((centres >= box[:2]) & (centres <= box[2:])).all(1)
    if not (inside & (joints[:, 2] > 0)).any():
        dropped.without_joints.append(annotation["id"])
        return None
    return {"id": annotation["id"], "box": box, "keypoints": joints.tolist(), "area": area, "iscrowd": False}


def _joints(values: Any, num_joints: int, where: str) -> np.ndarray:
    """float64 `(joints, 3)`, zeros where not annotated."""
    if not isinstance(values, list) or len(values) != 3 * num_joints:
        count = len(values) / 3 if isinstance(values, list) else 0
        raise ValueError(f"{where} has {count:g} joints of three numbers, but the skeleton has {num_joints}.")
    joints = np.reshape(finite_numbers(values, 3 * num_joints, f"{where} has keypoints"), (num_joints, 3))
    if not np.isin(joints[:, 2], VISIBILITIES).all():
        raise ValueError(f"{where} has a joint whose visibility is not 0, 1 or 2.")
    return joints * (joints[:, 2:] > 0)
