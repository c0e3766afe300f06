# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What all readers of COCO's annotation files share: the file's sections, checked, and the boxes of its objects."""

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


logger = logging.getLogger(__name__)

Entry = dict[str, Any]

# What is read of every section's entries. LVIS has neither `iscrowd` (nothing is one) nor `file_name`.
_REQUIRED = {
    "categories": ("id", "name"),
    "images": ("id", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area"),
}
_IDS_NAMED = 5  # how many dropped annotations a warning names


def files_digest(annotations: Path, images: Path) -> str:
    """Digest of the annotations' bytes.

    Raises:
        FileNotFoundError: the file or the folder of images does not exist.
    """
    check_is_file(annotations)
    if not images.is_dir():
        raise FileNotFoundError(f"Image folder {images} does not exist.")
    with annotations.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_is_file(path: Path) -> None:
    """`FileNotFoundError` if there is none."""
    if not path.is_file():
        raise FileNotFoundError(f"COCO annotations {path} do not exist.")


def read_annotations(path: Path) -> Entry:
    """The whole file; `FileNotFoundError` if there is none, `ValueError` if it is no JSON object."""
    check_is_file(path)
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:  # malformed JSON or text that is not Unicode
        raise ValueError(f"{path} is not a JSON file: {error}.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object with the sections {', '.join(_REQUIRED)}.")
    return content


def entries(content: Entry, section: str, path: Path) -> list[Entry]:
    """The entries of one section, all with the keys that are read, whole-number ids and none twice; else `ValueError`."""
    found = content.get(section)
    if not isinstance(found, list):
        raise ValueError(f"{path} has no list {section!r}; COCO annotations have {', '.join(_REQUIRED)}.")
    ids = set()
    for number, entry in enumerate(found):
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: entry {number} of {section!r} is no JSON object.")
        for key in _REQUIRED[section]:
            if key not in entry:
                raise ValueError(f"{path}: entry {number} of {section!r} has no {key!r}.")
            if (key == "id" or key.endswith("_id")) and type(entry[key]) is not int:
                raise ValueError(f"{path}: entry {number} of {section!r} has {key} {entry[key]!r}, no whole number.")
            if key in ("height", "width") and (type(entry[key]) is not int or entry[key] < 1):
                raise ValueError(f"{path}: entry {number} of {section!r} has {key} {entry[key]!r}, no pixel number.")
        if entry["id"] in ids:
            raise ValueError(f"{path}: the id {entry['id']} stands twice in {section!r}.")
        ids.add(entry["id"])
    return found


def annotated_images(
    content: Entry, path: Path, folder: Path, category_ids: Collection[int]
) -> list[tuple[Entry, Path, list[Entry]]]:
    """Every image with its file and its annotations.

    Raises:
        FileNotFoundError: an image does not exist.
        ValueError: an annotation is of an unknown image or a category not among `category_ids`, or as [`entries`].
    """
    images, annotations = (entries(content, section, path) for section in ("images", "annotations"))
    image_ids = {image["id"] for image in images}
    by_image = defaultdict(list)
    for annotation in annotations:
        where = f"{path}: annotation {annotation['id']}"
        if annotation["image_id"] not in image_ids:
            raise ValueError(f"{where} has image_id {annotation['image_id']}, which is not among the images.")
        if annotation["category_id"] not in category_ids:
            raise ValueError(
                f"{where} has category_id {annotation['category_id']}, which is not among the categories."
            )
        by_image[annotation["image_id"]].append(annotation)
    paths = [folder / _file_name(image, path) for image in images]
    _check_images(paths)
    return [(image, image_path, by_image[image["id"]]) for image, image_path in zip(images, paths)]


def box_corners(annotation: Entry, where: str) -> list[float] | None:
    """x1, y1, x2, y2 in pixels as float32 holds them, or `None` for a box without area; `ValueError` if it is no box."""
    x, y, width, height = finite_numbers(annotation["bbox"], 4, f"{where} has a bbox")
    # float32, as tables store it: a box that has no side left there has no area.
    left, top, right, bottom = np.array([x, y, x + width, y + height], dtype=np.float32).tolist()
    return None if right <= left or bottom <= top else [left, top, right, bottom]


def clipped_box(corners: list[float], image: Entry) -> list[float] | None:
    """The part of a box that lies in its image, or `None` if there is none."""
    left, top, right, bottom = corners
    box = [max(left, 0.0), max(top, 0.0), min(right, image["width"]), min(bottom, image["height"])]
    return None if box[2] <= box[0] or box[3] <= box[1] else box


def finite_numbers(values: Any, count: int, what: str) -> list[float]:
    """`ValueError`, which begins with `what`, if `values` are not so many finite numbers."""
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{what} {values}; {count} finite numbers are needed.")
    return numbers.tolist()


def log_dropped(path: Path, dropped: Mapping[str, list[int]]) -> None:
    """Warns of annotations that were left out: ids by reason."""
    parts = [
        f"{len(ids)} {reason} (annotation ids {', '.join(map(str, ids[:_IDS_NAMED]))}"
        f"{', ...' if len(ids) > _IDS_NAMED else ''})"
        for reason, ids in dropped.items()
        if ids
    ]
    if parts:
        logger.warning("%s: left out %s.", path, "; ".join(parts))


def _file_name(image: Entry, path: Path) -> str:
    name = image.get("file_name") or image.get("coco_url", "").rsplit("/", 1)[-1]
    if not name:
        raise ValueError(f"{path}: image {image['id']} has neither file_name nor coco_url.")
    return name


def _check_images(paths: Iterable[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f" ({len(missing)} are missing in all)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"Image {missing[0]} does not exist{more}.")
