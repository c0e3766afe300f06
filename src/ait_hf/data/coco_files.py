# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""COCO's annotations as everything sees them that trains or measures: read, checked, and without what nothing can be
learnt from. There is one rule for all of them, so that what is trained on is what is measured."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from pycocotools import mask as coco_mask

from .classes import check_different
from .files import FileFinder, is_companion
from .json_values import (
    check_box_format,
    finite_number,
    finite_numbers,
    flag,
    name_text,
    pixel_count,
    read_json,
    whole_number,
)
from .segmentations import NONE_GIVEN, clean_segmentation, encoded


Entry = dict[str, Any]

# What is read of every section's entries. LVIS has neither `iscrowd` (nothing is one) nor `file_name`.
_REQUIRED = {
    "categories": ("id", "name"),
    "images": ("id", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area"),
}
_REQUIRED_IN_MEMORY = {"categories": ("id",), "images": ("id",), "annotations": ("image_id", "category_id")}

_IDS_NAMED = 5  # how many annotations a warning names
VISIBILITIES = (0, 1, 2)  # of joints: not annotated, hidden, seen
# An area of at most 1 cannot be that of a box of more than 4 square pixels: it was never measured, or is a share.
_LARGEST_ODD_AREA, _SMALLEST_BOX = 1.0, 4.0
_PERSON_SHARE = 0.53  # of its box that a person fills, as is usual where only joints are annotated

WITHOUT_AREA = "boxes without area"
OUTSIDE = "boxes outside their image"
WITHOUT_POLYGON = "objects whose polygons all have fewer than three points"
WITHOUT_MASK = "objects without a mask"
COMPANIONS = "annotations of ._ files, which are no pictures"


@dataclass
class CocoContent:
    """A COCO dictionary (its `name` is the file's, for messages) whose values have the right types; its `annotations`
    are cleaned, see [`clean_content`]: `dropped` has the ids of those that were left out, by reason, `mended_areas` of
    those whose area was not that of their box."""

    name: str
    content: Entry
    dropped: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    mended_areas: list[int] = field(default_factory=list)

    def by_image(self) -> list[tuple[Entry, list[Entry]]]:
        """Every image with its annotations."""
        annotations = defaultdict(list)
        for annotation in self.content["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        return [(image, annotations[image["id"]]) for image in self.content["images"]]

    def pictures(self, folder: Path) -> dict[int, Path]:
        """The picture of every image, by the image's id; `FileNotFoundError` if one does not exist, `ValueError` if an
        image has no name."""
        finder = FileFinder()
        names = {image["id"]: file_name(image, self.name) for image in self.content["images"]}
        found = {number: finder.find(folder, name) for number, name in names.items()}
        if missing := [number for number, path in found.items() if path is None]:
            name, more = names[missing[0]], f" ({len(missing)} are missing in all)" if len(missing) > 1 else ""
            raise FileNotFoundError(f"Image {folder / name} does not exist{finder.hint(folder, name)}{more}.")
        return found

    def has_pictures(self, folder: Path) -> bool:
        """Whether the first image's picture is in a folder."""
        images = self.content["images"]
        return bool(images) and FileFinder().find(folder, file_name(images[0], self.name)) is not None

    def messages(self) -> list[str]:
        """What was left out, and what was mended."""
        messages = []
        if dropped := [f"{len(ids)} {reason} ({_ids(ids)})" for reason, ids in self.dropped.items() if ids]:
            messages.append(f"{self.name}: left out {'; '.join(dropped)}.")
        if self.mended_areas:
            messages.append(
                f"{self.name}: {len(self.mended_areas)} areas are at most 1, although their boxes are larger: taken is the "
                f"area of the mask, else of the box (of people {_PERSON_SHARE} of it) ({_ids(self.mended_areas)})."
            )
        return messages


def check_is_file(path: Path) -> None:
    """`FileNotFoundError` if there is none."""
    if not path.is_file():
        raise FileNotFoundError(f"COCO annotations {path} do not exist.")


def read_annotations(path: Path) -> Entry:
    """The whole file as it is; `FileNotFoundError` if there is none, `ValueError` if it is no JSON object."""
    check_is_file(path)
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object with the sections {', '.join(_REQUIRED)}.")
    return content


def read_coco_file(path: Path, *, with_masks: bool = False) -> CocoContent:
    """A file as [`clean_content`] makes it; errors as there and in [`read_annotations`]."""
    return clean_content(read_annotations(path), str(path), with_masks=with_masks)


def clean_content(content: Entry, name: str, *, with_masks: bool = False, in_memory: bool = False) -> CocoContent:
    """Checks a COCO dictionary and leaves out what nothing can be learnt from: boxes without area or outside their
    image, objects all of whose polygons have fewer than three points, annotations of `._` files.

    Ids, sizes, boxes, areas, crowds, segmentations and joints are taken by their types. Joints in a category that has
    `keypoints` are counted anew; an empty list are as many that are not annotated.

    Args:
        content: Sections `images`, `annotations` and `categories`. It is not changed.
        name: Of the file, for messages.
        with_masks: Leave out objects without a segmentation, too.
        in_memory: Whether it was never a file: then entries need ids only, may be of other images and categories, a
            joint may have any visibility, and `num_keypoints` is not made up.

    Raises:
        ValueError: A section, an entry or a value is not what it should be, with the file, the id and the key; or too
            many boxes are odd, see [`~ait_hf.data.json_values.check_box_format`].
    """
    required = _REQUIRED_IN_MEMORY if in_memory else _REQUIRED
    categories, images, annotations = (entries(content, section, name, required[section]) for section in _REQUIRED)
    names = [str(image.get("file_name")).replace("\\", "/").rpartition("/")[2] for image in images]
    pictures = {image["id"]: image for image, own in zip(images, names) if not is_companion(own)}
    known = {image["id"] for image in images}
    with_joints = {entry["id"]: len(entry["keypoints"]) for entry in categories if _has_joints(entry, name)}
    category_ids = {entry["id"] for entry in categories}
    kept, boxes, sizes = [], [], []
    sections = {"categories": categories, "images": list(pictures.values()), "annotations": kept}
    result = CocoContent(name, content | sections)
    for number, annotation in enumerate(annotations):
        own_id = annotation.get("id", number)
        where = f"{name}: annotation {own_id}"
        is_known = annotation["image_id"] in known, annotation["category_id"] in category_ids
        if not all(is_known):
            if in_memory:
                continue
            key, section = ("category_id", "categories") if is_known[0] else ("image_id", "images")
            raise ValueError(f"{where} has {key} {annotation[key]}, which is not among the {section}.")
        if annotation["image_id"] not in pictures:
            result.dropped[COMPANIONS].append(own_id)
            continue
        image, num_joints = pictures[annotation["image_id"]], with_joints.get(annotation["category_id"])
        clean = _typed(annotation, image, num_joints, where, in_memory)
        if "bbox" in clean:
            boxes.append(clean["bbox"])
            sizes.append(_sides(image))
        if reason := _why_useless(clean, image, with_masks):
            result.dropped[reason].append(own_id)
            continue
        if (area := _mended_area(clean, image, is_person=num_joints is not None)) is not None:
            clean["area"] = area
            result.mended_areas.append(own_id)
        kept.append(clean)
    if not in_memory:
        check_box_format(np.array(boxes).reshape(-1, 4), np.array(sizes).reshape(-1, 2), name)
    return result


def entries(content: Entry, section: str, name: str | Path, required: Iterable[str] | None = None) -> list[Entry]:
    """The entries of one section, all with the keys that are read, ids and sizes of the right types, and no id twice."""
    found = content.get(section)
    if not isinstance(found, list):
        raise ValueError(f"{name} has no list {section!r}; COCO annotations have {', '.join(_REQUIRED)}.")
    ids, typed = set(), []
    for number, entry in enumerate(found):
        where = f"{name}: entry {number} of {section!r}"
        if not isinstance(entry, dict):
            raise ValueError(f"{where} is no JSON object.")
        for key in _REQUIRED[section] if required is None else required:
            if key not in entry:
                raise ValueError(f"{where} has no {key!r}.")
        own_id = "" if "id" not in entry else f" (id {entry['id']!r})"
        own = {
            key: read(entry[key], f"{where}{own_id if key != 'id' else ''} has {key}")
            for key, read in _TYPES[section].items()
            if key in entry
        }
        if own.get("id", number) in ids:
            raise ValueError(f"{name}: the id {own['id']} stands twice in {section!r}.")
        ids.add(own.get("id", number))
        typed.append(entry | own)
    return typed


_TYPES = {
    "categories": {"id": whole_number, "name": name_text},
    "images": {"id": whole_number, "height": pixel_count, "width": pixel_count},
    "annotations": {"id": whole_number, "image_id": whole_number, "category_id": whole_number},
}


def category_names(categories: list[Entry], name: str | Path) -> dict[int, str]:
    """Names by category id, in the order of the ids; `ValueError` if two are the same."""
    names = {entry["id"]: entry["name"].strip() for entry in categories}
    check_different(list(names.values()), str(name))
    return dict(sorted(names.items()))


def file_name(image: Entry, name: str) -> str:
    """The name of an image's file; `ValueError` if it has none. `name` is that of the annotations."""
    given, url = image.get("file_name"), image.get("coco_url")
    for key, value in {"file_name": given, "coco_url": url}.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
            raise ValueError(f"{name}: image {image['id']} has {key} {value!r}, no text.")
    if given not in (None, ""):
        return str(given)
    if not url:
        raise ValueError(f"{name}: image {image['id']} has neither file_name nor coco_url.")
    return unquote(urlsplit(str(url)).path).rpartition("/")[2]


def box_corners(annotation: Entry) -> list[float] | None:
    """x1, y1, x2, y2 in pixels as float32 holds them, or `None` for a box without area."""
    x, y, width, height = annotation["bbox"]
    with np.errstate(over="ignore"):
        # float32, as tables store it: a box that has no side left there has no area.
        left, top, right, bottom = np.array([x, y, x + width, y + height], dtype=np.float32).tolist()
    return None if right <= left or bottom <= top else [left, top, right, bottom]


def clipped_box(corners: list[float], image: Entry) -> list[float] | None:
    """The part of a box that lies in its image, or `None` if there is none."""
    left, top, right, bottom = corners
    width, height = _sides(image)
    box = [max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height)]
    return None if box[2] <= box[0] or box[3] <= box[1] else box


def _typed(annotation: Entry, image: Entry, num_joints: int | None, where: str, in_memory: bool) -> Entry:
    """The annotation with values of the right types; without `segmentation` if it has none, with `None` if nothing is
    left of it."""
    typed = annotation | {"iscrowd": int(flag(annotation.get("iscrowd", 0), f"{where} has iscrowd"))}
    if "bbox" in annotation:
        typed["bbox"] = finite_numbers(annotation["bbox"], 4, f"{where} has a bbox")
    if "area" in annotation:
        typed["area"] = finite_number(annotation["area"], f"{where} has an area")
    if annotation.get("segmentation") not in NONE_GIVEN:
        for key in ("height", "width"):
            if key not in image:
                raise ValueError(f"{where} has a segmentation, but its image {image['id']} has no {key!r}.")
        size = image["height"], image["width"]
        typed["segmentation"] = clean_segmentation(annotation["segmentation"], *size, where)
    else:
        typed.pop("segmentation", None)
    if "num_keypoints" in annotation:
        whole_number(annotation["num_keypoints"], f"{where} has num_keypoints")
    if num_joints is not None and "keypoints" in annotation:
        typed["keypoints"] = joints = _joints(annotation["keypoints"], num_joints, where)
        visible = joints[2::3]
        if not in_memory and not set(visible) <= set(VISIBILITIES):
            raise ValueError(f"{where} has a joint whose visibility is not 0, 1 or 2.")
        if not in_memory or "num_keypoints" in annotation:
            typed["num_keypoints"] = sum(visibility > 0 for visibility in visible)
    return typed


def _why_useless(annotation: Entry, image: Entry, with_masks: bool) -> str | None:
    """The reason why an annotation is left out, if there is one."""
    if "bbox" in annotation:
        corners = box_corners(annotation)
        if corners is None:
            return WITHOUT_AREA
        if clipped_box(corners, image) is None:
            return OUTSIDE
    if annotation.get("segmentation", "") is None:
        return WITHOUT_POLYGON
    return WITHOUT_MASK if with_masks and "segmentation" not in annotation else None


def _mended_area(annotation: Entry, image: Entry, is_person: bool) -> float | None:
    """Square pixels, of an annotation whose own area cannot be."""
    _, _, width, height = annotation.get("bbox", (0, 0, 0, 0))
    if annotation.get("area", math.inf) > _LARGEST_ODD_AREA or width * height <= _SMALLEST_BOX:
        return None
    if is_person:
        return _PERSON_SHARE * width * height
    if "segmentation" not in annotation:
        return width * height
    return float(coco_mask.area(encoded(annotation["segmentation"], image["height"], image["width"])))


def _joints(values: Any, num_joints: int, where: str) -> list[float]:
    """x, y and visibility of every joint; none of an empty list is annotated."""
    if values in (None, []):
        return [0.0] * (3 * num_joints)
    if not isinstance(values, list) or len(values) % 3:
        count = len(values) / 3 if isinstance(values, list) else 0
        raise ValueError(f"{where} has {count:g} joints of three numbers, but the skeleton has {num_joints}.")
    return finite_numbers(values, len(values), f"{where} has keypoints")


def _has_joints(category: Entry, name: str) -> bool:
    joints = category.get("keypoints")
    if joints is not None and not (isinstance(joints, list) and all(isinstance(joint, str) for joint in joints)):
        raise ValueError(f"{name}: category {category['id']} has keypoints {joints!r}, no list of names.")
    return bool(joints)


def _sides(image: Entry) -> tuple[float, float]:
    """Width and height, pixels; without end where a dictionary in memory does not say."""
    return image.get("width", math.inf), image.get("height", math.inf)


def _ids(ids: list[int]) -> str:
    return f"annotation ids {', '.join(map(str, ids[:_IDS_NAMED]))}{', ...' if len(ids) > _IDS_NAMED else ''}"
