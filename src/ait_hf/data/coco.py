# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""COCO annotations as a 🤗 data set: one row per image with all its objects. LVIS and other class lists work alike.

Boxes are x1, y1, x2, y2 in pixels of the image, pixel (row, column) covering column..column + 1, row..row + 1.
"""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path

import datasets
from datasets import List, Value

from .coco_files import (
    CocoContent,
    box_corners,
    category_names,
    check_is_file,
    clipped_box,
    entries,
    read_annotations,
    read_coco_file,
)
from .picture_sizes import check_changed_pictures
from .segmentations import decode_segmentation as decode_segmentation
from .stored_images import Picture
from .tables import Row, checked_table, warn_once


BOX = List(Value("float32"), length=4)
IMAGE_FEATURES = {"image": Picture(), "path": Value("string"), "image_id": Value("int64")}
IMAGE_FEATURES |= {"height": Value("int32"), "width": Value("int32")}
COCO_FEATURES = datasets.Features(
    IMAGE_FEATURES
    | {"boxes": List(BOX), "class_labels": List(Value("int64")), "iscrowd": List(Value("bool"))}
    | {"area": List(Value("float32")), "segmentation": List(Value("string")), "annotation_id": List(Value("int64"))}
)
RULES = "1.0.0"  # version of the rules of reading: other ones make a new table


def load_coco(
    annotations: str | PathLike,
    images: str | PathLike,
    *,
    keep_empty: bool = True,
    with_masks: bool = False,
    cache_dir: str | PathLike | None = None,
) -> datasets.Dataset:
    """Loads the objects of a COCO json file, one row per image.

    The file is checked as a whole when its table is built, which is kept in the cache until the file changes; and that
    all images exist and have the size that it says, whenever one of them has changed. Boxes are clipped to their
    image. Left out, and logged with their numbers and first ids, are objects that nothing can be learnt from, see
    [`~ait_hf.data.coco_files.clean_content`].

    Args:
        annotations: json file with the sections `images`, `annotations` and `categories`. Category ids need not be
            contiguous. An image is named by `file_name` or, as in LVIS, by the last part of `coco_url`; see
            [`~ait_hf.data.files.FileFinder`] for how names may differ from those of the files.
        images: folder that the image names start from.
        keep_empty: `False` leaves out images without objects.
        with_masks: `True` leaves out objects without a segmentation, too.
        cache_dir: where the table is cached; by default that of 🤗 datasets.

    Returns:
        Rows with `image` (PIL, RGB), `path` (of the image), `image_id`, `height` and `width` (pixels), and one entry
        per object in: `boxes` (x1, y1, x2, y2, float32 pixels), `class_labels` (0..C-1, see [`coco_classes`]),
        `iscrowd` (bool), `area` (of the mask as annotated, float32 square pixels), `segmentation` (JSON text, see
        [`decode_segmentation`]; empty for an object that has only a box) and `annotation_id`.

    Raises:
        FileNotFoundError: if the json file, the folder or an image does not exist.
        ValueError: if the file is malformed: not JSON, a section or key missing, an id given twice, an unknown image
            or category, two categories of one name, a value of another type than it should be, a segmentation that is
            no polygon list nor RLE, an RLE or a picture of another size, boxes that are not x, y, width, height in
            pixels, or a picture that [`~ait_hf.model.image_reading_ait.read_image`] does not take.
    """
    read = partial(_read_rows, keep_empty=keep_empty)
    options = (keep_empty, with_masks)
    return table_of_coco(annotations, images, COCO_FEATURES, read, options, cache_dir, with_masks=with_masks)


def table_of_coco(
    annotations: str | PathLike,
    images: str | PathLike,
    features: datasets.Features,
    read_rows: Callable[[CocoContent, Path], list[Row]],
    options: tuple,
    cache_dir: str | PathLike | None,
    *,
    with_masks: bool = False,
) -> datasets.Dataset:
    """A [`~ait_hf.data.tables.checked_table`] of an annotation file, whose pictures are checked, too, whenever one has
    changed: the rows, of at least the columns `image`, `path`, `height` and `width`, that `read_rows` makes of the
    content and the folder. `options` is what they depend on beside the files."""
    annotations, images = Path(annotations).absolute(), Path(images).absolute()
    check_is_file(annotations)
    if not images.is_dir():
        raise FileNotFoundError(f"Image folder {images} does not exist.")
    with annotations.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()

    def read() -> tuple[list[Row], list[str]]:
        content = read_coco_file(annotations, with_masks=with_masks)
        return read_rows(content, images), content.messages()

    made_of = (RULES, str(annotations), str(images), digest, *options)
    table, notes = checked_table("coco", features, read, made_of, cache_dir)
    paths, *sizes = (table.with_format("arrow")[column].to_pylist() for column in ("path", "height", "width"))
    warn_once(check_changed_pictures(annotations, dict(zip(paths, zip(*sizes))), notes))
    return table.cast_column("image", Picture())


def coco_classes(annotations: str | PathLike) -> tuple[list[str], list[int]]:
    """The classes of a COCO json file: names and category ids, both in the order of the ids, so that entry k belongs
    to class label k. `FileNotFoundError` and `ValueError` as in [`load_coco`], or if two classes have one name."""
    names = category_names(entries(read_annotations(Path(annotations)), "categories", annotations), annotations)
    return list(names.values()), list(names)


def image_columns(image: Row, path: Path) -> Row:
    """What the columns of `IMAGE_FEATURES` have of an image."""
    own = {"image": str(path), "path": str(path), "image_id": image["id"]}
    return own | {"height": image["height"], "width": image["width"]}


def _read_rows(content: CocoContent, folder: Path, keep_empty: bool) -> list[Row]:
    categories = category_names(content.content["categories"], content.name)
    labels = {category: label for label, category in enumerate(categories)}
    paths = content.pictures(folder)
    rows = []
    for image, objects in content.by_image():
        if keep_empty or objects:
            masks = [item.get("segmentation") for item in objects]
            rows.append(image_columns(image, paths[image["id"]]))
            rows[-1] |= {
                "boxes": [clipped_box(box_corners(item), image) for item in objects],
                "class_labels": [labels[item["category_id"]] for item in objects],
                "iscrowd": [bool(item["iscrowd"]) for item in objects],
                "area": [item["area"] for item in objects],
                "segmentation": ["" if mask is None else json.dumps(mask) for mask in masks],
                "annotation_id": [item["id"] for item in objects],
            }
    if not rows:
        raise ValueError(f"{content.name} lists no images{'' if keep_empty else ' with objects'}.")
    return rows
