# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images with objects, or people with joints, in shards: rows as of [`~ait_hf.data.coco.load_coco`] and
[`~ait_hf.data.coco_keypoints.load_coco_keypoints`], as tables or as streams."""

import json
from collections import defaultdict
from functools import partial
from os import PathLike
from typing import Any

import datasets
import numpy as np

from .coco import BOX, COCO_FEATURES, IMAGE_FEATURES
from .coco_files import WITHOUT_AREA, WITHOUT_POLYGON
from .coco_keypoints import CROWDS, KEYPOINT_FEATURES, WITHOUT_JOINTS, has_joint_inside
from .json_values import ODD_SHARE, check_box_format, finite_number, finite_numbers, flag, pixel_count, whole_number
from .object_transforms import MIN_CROP_SIDE
from .segmentations import clean_segmentation, read_segmentation
from .tables import AnyTable, Row, checked_columns, load_any, some_rows, spread_rows, warn_once


OBJECT_FEATURES = {name: feature for name, feature in COCO_FEATURES.items() if name != "annotation_id"}
_OF_OBJECTS = ("boxes", "class_labels", "iscrowd", "area", "segmentation")
_OF_PEOPLE = ["path", "id", "box", "keypoints", "iscrowd"]
_OF_IMAGES = ("image_id", "height", "width")
_ROWS_OF_BOXES = 256  # of a table, spread over it (of a stream the first few), tell in which format boxes are


def load_coco_shards(
    path_or_repo: str | PathLike,
    split: str,
    num_classes: int | None,
    *,
    image_column: str = "image",
    json_column: str | None = None,
    with_images: bool = True,
    streaming: bool = False,
) -> AnyTable:
    """Loads images with their objects.

    Args:
        path_or_repo, split, streaming: as of [`~ait_hf.data.tables.load_any`].
        num_classes: number of classes; `None` if it is not known.
        image_column: column of the images; of WebDataset the files' ending, such as `"jpg"`.
        json_column: of WebDataset, the ending of the files that hold all other columns but `path` as a JSON object.
            Left out, these are columns of their own.
        with_images: `False` leaves out the images.

    Returns:
        Rows as of [`~ait_hf.data.coco.load_coco`], without `annotation_id`. Those that are not as they should be, see
        [`check_objects`], are among them, and so are objects that [`usable_objects`] leaves out.

    Raises:
        ValueError: if the split or a column does not exist, or none of the first rows can be used.
    """
    check = partial(check_objects, num_classes=num_classes)
    wanted = {name: feature for name, feature in OBJECT_FEATURES.items() if with_images or name != "image"}
    if json_column is None:
        hint, columns = " Shards are made of the rows of load_coco: see docs/data.md.", {"image": image_column}
        dataset = load_any(path_or_repo, split, streaming)
    else:
        hint, columns = "", {}
        dataset = _unpacked(path_or_repo, split, image_column, json_column, streaming)
    dataset = checked_columns(dataset, wanted, path_or_repo, columns, hint=hint, check=check)
    _check_first_boxes(dataset, path_or_repo)
    return dataset


def load_mask_shards(path_or_repo: str | PathLike, split: str, **options) -> AnyTable:
    """Loads every object by itself, for [`~ait_hf.data.object_transforms.CutMask`]; no crowds, no boxes thinner than
    two pixels.

    Arguments, among them as `options` `image_column`, `json_column` and `streaming`, and errors as in
    [`load_coco_shards`]; a row that is not as it should be raises `ValueError` on access.

    Returns:
        Rows with `path`, `height`, `width` (of the image, pixels), `box` (x1, y1, x2, y2, float32 pixels) and
        `segmentation` (JSON text).
    """

    def objects_of(row: Row) -> list[Row]:
        row = usable_objects(row, None)
        image = {name: row[name] for name in of_image}
        return [
            image | {"box": box, "segmentation": segmentation}
            for box, segmentation, is_crowd in zip(row["boxes"], row["segmentation"], row["iscrowd"])
            if segmentation and not is_crowd and min(box[2] - box[0], box[3] - box[1]) >= MIN_CROP_SIDE
        ]

    of_image = {name: IMAGE_FEATURES[name] for name in ("path", "height", "width")}
    features = datasets.Features(of_image | {"box": BOX, "segmentation": datasets.Value("string")})
    return spread_rows(load_coco_shards(path_or_repo, split, None, with_images=False, **options), objects_of, features)


def load_keypoint_shards(
    path_or_repo: str | PathLike, split: str, *, with_images: bool = True, streaming: bool = False
) -> AnyTable:
    """Loads people with joints.

    Args:
        path_or_repo, split, with_images, streaming: as in [`load_coco_shards`].

    Returns:
        Rows as of [`~ait_hf.data.coco_keypoints.load_coco_keypoints`], without people that nothing can be learnt from,
        who are left out as there.

    Raises:
        ValueError: if the split or a column does not exist, or none of the first rows can be read.
    """
    wanted = {name: feature for name, feature in KEYPOINT_FEATURES.items() if with_images or name != "image"}
    hint = " Shards are made of the rows of load_coco_keypoints: see docs/data.md."
    dataset = checked_columns(load_any(path_or_repo, split, streaming), wanted, path_or_repo, hint=hint)
    _check_first_boxes(dataset, path_or_repo)
    if streaming:
        undecoded = dataset.cast_column("image", datasets.Image(decode=False)) if with_images else dataset
        return spread_rows(undecoded, lambda row: [row] if _is_usable_person(row) else [], dataset.features)
    is_usable = lambda *values: _is_usable_person(dict(zip(_OF_PEOPLE, values)))  # noqa: E731
    people = dataset.filter(is_usable, input_columns=_OF_PEOPLE, desc="Looking at people")
    if len(people) < len(dataset):
        warn_once(
            f"{path_or_repo} ({split}): left out {len(dataset) - len(people)} people that nothing can be learnt from."
        )
    return people


def check_objects(row: Row, num_classes: int | None) -> None:
    """`ValueError`, which names the row's `path`, if a column is empty, the lists of its objects differ in length, a
    class is not among the `num_classes`, or a box ends before it begins or leaves the image."""
    where = f"Sample {row['path']}"
    for column in (*_OF_IMAGES, *_OF_OBJECTS):
        if row[column] is None:
            raise ValueError(f"{where} has no {column!r}.")
    lengths = {column: len(row[column]) for column in _OF_OBJECTS}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{where} has lists of different lengths: {lengths}.")
    for label in row["class_labels"]:
        if num_classes is not None and not 0 <= label < num_classes:
            raise ValueError(f"{where} has an object of class {label}, but there are classes 0 to {num_classes - 1}.")
    boxes = np.asarray(row["boxes"], dtype=np.float32).reshape(-1, 4)
    corner = np.array([row["width"], row["height"]], dtype=np.float32)
    good = (boxes[:, :2] >= 0) & (boxes[:, :2] <= boxes[:, 2:]) & (boxes[:, 2:] <= corner)
    if not good.all():
        box = boxes[~good.all(1)][0].tolist()
        raise ValueError(
            f"{where} has the box {box}, which is not x1, y1, x2, y2 inside its {row['width']} x {row['height']} pixels."
        )


def usable_objects(row: Row, num_classes: int | None) -> Row:
    """A row without the objects that nothing can be learnt from, as in files: boxes without area, and objects all of
    whose polygons have fewer than three points. What is left out of a row is logged once. `ValueError` as of
    [`check_objects`], or if a segmentation is neither polygons nor an RLE of the image's size."""
    check_objects(row, num_classes)
    where, kept, dropped = f"Sample {row['path']}", [], defaultdict(list)
    segmentations = list(row["segmentation"])
    for number, (box, text) in enumerate(zip(row["boxes"], segmentations)):
        own = f"{where}, object {number}"
        given = read_segmentation(text, own)
        if given is None:
            segmentations[number] = ""
        if min(box[2] - box[0], box[3] - box[1]) <= 0:
            dropped[WITHOUT_AREA].append(number)
        elif given is not None and not clean_segmentation(given, row["height"], row["width"], own):
            dropped[WITHOUT_POLYGON].append(number)
        else:
            kept.append(number)
    for reason, numbers in dropped.items():
        warn_once(f"{where}: left out {len(numbers)} {reason} (objects {', '.join(map(str, numbers))}).")
    columns = {column: row[column] for column in _OF_OBJECTS} | {"segmentation": segmentations}
    return row | {column: [values[number] for number in kept] for column, values in columns.items()}


def _unpacked(
    path_or_repo: str | PathLike, split: str, image_column: str, json_column: str, streaming: bool
) -> AnyTable:
    """WebDataset with the contents of its JSON files as columns. What these are is said, as it would be guessed from
    the first five files, where numbers may be whole by chance."""
    text = datasets.Value("string")
    packed = {image_column: datasets.Image(), json_column: datasets.Json(), "__key__": text, "__url__": text}
    dataset = load_any(path_or_repo, split, streaming, datasets.Features(packed))
    dataset = dataset.cast_column(image_column, datasets.Image(decode=False))

    def unpack(row: Row) -> list[Row]:
        for column in (image_column, json_column):
            if row[column] is None:
                raise ValueError(f"{path_or_repo} has no file {row['__key__']}.{column}.")
        stored = row[json_column]
        content = json.loads(stored) if isinstance(stored, str) else stored
        where = f"{path_or_repo}: {row['__key__']}.{json_column}"
        own = {name: _typed(content, name, where) for name in (*_OF_IMAGES, *_OF_OBJECTS)}
        return [own | {"image": row[image_column], "path": row[image_column]["path"]}]

    return spread_rows(dataset, unpack, datasets.Features(OBJECT_FEATURES))


def _typed(content: Any, column: str, where: str) -> Any:
    """A column's value of a JSON object, by its type: tables would turn the text "0" into `True`."""
    if not isinstance(content, dict):
        raise ValueError(f"{where} must hold a JSON object with the columns of a row.")
    value, what, read = content.get(column), f"{where} has {column}", _JSON_TYPES[column]
    if value is None or column in _OF_IMAGES:
        return None if value is None else read(value, what)
    if not isinstance(value, list):
        raise ValueError(f"{what} {value!r}, no list of one entry per object.")
    return [read(entry, what) for entry in value]


def _segmentation_text(value: Any, what: str) -> str:
    if not isinstance(value, str | list | dict | None):
        raise ValueError(f"{what} {value!r}, no segmentation.")
    return value if isinstance(value, str) else json.dumps(value) if value else ""


_JSON_TYPES = {"image_id": whole_number, "height": pixel_count, "width": pixel_count, "class_labels": whole_number}
_JSON_TYPES |= {"iscrowd": flag, "area": finite_number, "segmentation": _segmentation_text}
_JSON_TYPES["boxes"] = lambda value, what: finite_numbers(value, 4, what)


def _check_first_boxes(dataset: AnyTable, name: str | PathLike) -> None:
    """`ValueError` if the boxes of some rows are no x1, y1, x2, y2 in pixels; rows that cannot be used are none of these."""
    rows = some_rows(dataset, _ROWS_OF_BOXES)
    boxes = [(box, row) for row in rows for box in ([row["box"]] if "box" in row else row["boxes"] or ())]
    boxes = [(box, (row["width"], row["height"])) for box, row in boxes if box and row["width"] and row["height"]]
    if not boxes:
        return
    corners, sizes = (np.array(values, dtype=np.float64) for values in zip(*boxes))
    backwards = (corners[:, 2:] < corners[:, :2]).any(axis=1)
    fits_as_extents = (corners[:, :2] + corners[:, 2:] <= sizes + 1).all(axis=1)
    if backwards.mean() > ODD_SHARE and fits_as_extents.mean() >= 1 - ODD_SHARE:
        raise ValueError(
            f"{name}: {backwards.sum()} of {len(boxes)} boxes end before they begin, as if they were x, y, width, height; "
            "boxes must be x1, y1, x2, y2 in pixels."
        )
    extents = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    check_box_format(extents, sizes, str(name), detected=True, wanted="x1, y1, x2, y2")


def _is_usable_person(row: Row) -> bool:
    """Whether something can be learnt from a person, else it is logged why not. Rows that are not as they should be
    are left to those who use them."""
    box, joints = row["box"], np.array(row["keypoints"] or [[0, 0, 0]], dtype=np.float64).reshape(-1, 3)
    if row["iscrowd"]:
        reason = CROWDS
    elif box is not None and min(box[2] - box[0], box[3] - box[1]) <= 0:
        reason = WITHOUT_AREA
    elif box is not None and not has_joint_inside(joints, box):
        reason = WITHOUT_JOINTS
    else:
        return True
    warn_once(f"Sample {row['path']}: left out 1 {reason} (person {row['id']}).")
    return False
