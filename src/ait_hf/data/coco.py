# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""COCO annotations as a 🤗 data set: one row per image with all its objects. LVIS and other class lists work alike.

Boxes are x1, y1, x2, y2 in pixels of the image, pixel (row, column) covering column..column + 1, row..row + 1.
"""

import json
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import datasets
import pyarrow.compute as pc

from .checked_tables import Rows, checked_table
from .coco_files import (
    CocoContent,
    box_corners,
    category_names,
    clipped_box,
    entries,
    files_digest,
    read_annotations,
    read_coco_file,
)
from .picture_sizes import check_changed_pictures
from .remarks import warn_once
from .segmentations import decode_segmentation
from .stored_images import Picture


__all__ = ["COCO_FEATURES", "coco_classes", "decode_segmentation", "load_coco", "shown_labels", "table_of_coco"]


COCO_FEATURES = datasets.Features(
    {
        "image": Picture(),
        "path": datasets.Value("string"),
        "image_id": datasets.Value("int64"),
        "height": datasets.Value("int32"),
        "width": datasets.Value("int32"),
        "boxes": datasets.List(datasets.List(datasets.Value("float32"), length=4)),
        "class_labels": datasets.List(datasets.Value("int64")),
        "iscrowd": datasets.List(datasets.Value("bool")),
        "area": datasets.List(datasets.Value("float32")),
        "segmentation": datasets.List(datasets.Value("string")),
        "annotation_id": datasets.List(datasets.Value("int64")),
    }
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

    The file is checked as a whole when its table is built, which is kept in the cache until the file changes; and that all
    images exist and have the size that it says, whenever one of them has changed. Boxes are clipped to their image. Left out, and logged with their
    numbers and first ids, are objects that nothing can be learnt from, see
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
            or category, two categories of one name, a value of another type than it should be, a segmentation that is no
            polygon list nor RLE, an RLE or a picture of another size, boxes that are not x, y, width, height in pixels, or
            a picture that [`~ait_hf.model.image_reading_ait.read_image`] does not take.
    """
    annotations, images = Path(annotations).absolute(), Path(images).absolute()

    def read() -> tuple[Rows, list[str]]:
        content = read_coco_file(annotations, with_masks=with_masks)
        return _read_rows(content, images, keep_empty), content.messages()

    return table_of_coco(annotations, images, COCO_FEATURES, read, (keep_empty, with_masks), cache_dir)


def table_of_coco(
    annotations: Path,
    images: Path,
    features: datasets.Features,
    read: Callable[[], tuple[Rows, list[str]]],
    options: tuple,
    cache_dir: str | PathLike | None,
) -> datasets.Dataset:
    """
    A [`~ait_hf.data.checked_tables.checked_table`] of an annotation file, whose pictures are checked, too, whenever one has
    changed.

    Args:
        features: With the columns `image`, `path`, `height` and `width`.
        options: What rows depend on beside the files.
    """
    made_of = (RULES, str(annotations), str(images), files_digest(annotations, images), *options)
    table, notes = checked_table("coco", features, read, made_of, cache_dir)
    paths, *sizes = (table.with_format("arrow")[column].to_pylist() for column in ("path", "height", "width"))
    warn_once(check_changed_pictures(annotations, dict(zip(paths, zip(*sizes))), notes))
    return table.cast_column("image", Picture())


def coco_classes(annotations: str | PathLike) -> tuple[list[str], list[int]]:
    """The classes of a COCO json file.

    Returns:
        Names and category ids, both in the order of the ids: entry k belongs to class label k.

    Raises:
        FileNotFoundError, ValueError: as in [`load_coco`], or two classes have one name.
    """
    names = category_names(entries(read_annotations(Path(annotations)), "categories", annotations), annotations)
    return list(names.values()), list(names)


def shown_labels(rows: datasets.Dataset) -> set[int]:
    """The class labels that there are objects of."""
    labels = rows.with_format("arrow")["class_labels"]
    return set(pc.unique(pc.list_flatten(labels)).to_pylist())


def _read_rows(content: CocoContent, folder: Path, keep_empty: bool) -> list[dict[str, Any]]:
    labels = {category: label for label, category in enumerate(content.category_names)}
    paths = content.pictures(folder)
    rows = [
        _row(image, paths[image["id"]], [_object(annotation, image, labels) for annotation in annotations])
        for image, annotations in content.by_image()
        if keep_empty or annotations
    ]
    if not rows:
        raise ValueError(f"{content.name} lists no images{'' if keep_empty else ' with objects'}.")
    return rows


def _row(image: dict[str, Any], path: Path, objects: list[dict[str, Any]]) -> dict[str, Any]:
    columns = ("boxes", "class_labels", "iscrowd", "area", "segmentation", "annotation_id")
    own = {"image": str(path), "path": str(path), "image_id": image["id"]}
    own |= {"height": image["height"], "width": image["width"]}
    return own | {column: [item[column] for item in objects] for column in columns}


def _object(annotation: dict[str, Any], image: dict[str, Any], labels: dict[int, int]) -> dict[str, Any]:
    """The columns' entries for one annotation."""
    return {
        "boxes": clipped_box(box_corners(annotation), image),
        "class_labels": labels[annotation["category_id"]],
        "iscrowd": bool(annotation["iscrowd"]),
        "area": annotation["area"],
        "segmentation": json.dumps(annotation["segmentation"]) if "segmentation" in annotation else "",
        "annotation_id": annotation["id"],
    }
