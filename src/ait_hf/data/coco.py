# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""COCO annotations as a 🤗 data set: one row per image with all its objects. LVIS and other class lists work alike.

Boxes are x1, y1, x2, y2 in pixels of the image, pixel (row, column) covering column..column + 1, row..row + 1.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
from pycocotools import mask as coco_mask

from .classes import check_different
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
from .picture_sizes import check_pictures
from .remarks import log_remarks
from .stored_images import Picture


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


@dataclass
class CocoConfig(datasets.BuilderConfig):
    """Which files to read. The digest of the annotations' bytes makes a changed file a new table."""

    annotations: str = ""
    images: str = ""
    digest: str = ""
    keep_empty: bool = True


class Coco(datasets.GeneratorBasedBuilder):
    """Builds a table of paths and objects; images are decoded on access."""

    BUILDER_CONFIG_CLASS = CocoConfig

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=COCO_FEATURES)

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        # Everything is checked here, before the first row is written.
        rows = _read_rows(Path(self.config.annotations), Path(self.config.images), self.config.keep_empty)
        self.info.description = check_pictures(
            self.config.annotations, {row["path"]: (row["height"], row["width"]) for row in rows}
        )
        return [datasets.SplitGenerator(name=datasets.Split.TRAIN, gen_kwargs={"rows": rows})]

    def _generate_examples(self, rows: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(rows)


def load_coco(
    annotations: str | PathLike,
    images: str | PathLike,
    *,
    keep_empty: bool = True,
    cache_dir: str | PathLike | None = None,
) -> datasets.Dataset:
    """Loads the objects of a COCO json file, one row per image.

    The file is checked as a whole, and that all images exist and have the size that it says, when its table is built; the table is kept in the cache
    until the file changes. Boxes are clipped to their image. Left out, and logged with their numbers and first ids,
    are objects that nothing can be learnt from: boxes without area, boxes wholly outside the image, and objects all of
    whose polygons have fewer than three points.

    Args:
        annotations: json file with the sections `images`, `annotations` and `categories`. Category ids need not be
            contiguous. An image is named by `file_name` or, as in LVIS, by the last part of `coco_url`.
        images: folder that the image names start from.
        keep_empty: `False` leaves out images without objects.
        cache_dir: where the table is cached; by default that of 🤗 datasets.

    Returns:
        Rows with `image` (PIL, RGB), `path` (of the image), `image_id`, `height` and `width` (pixels), and one entry
        per object in: `boxes` (x1, y1, x2, y2, float32 pixels), `class_labels` (0..C-1, see [`coco_classes`]),
        `iscrowd` (bool), `area` (of the mask as annotated, float32 square pixels), `segmentation` (JSON text, see
        [`decode_segmentation`]; empty for an object that has only a box) and `annotation_id`.

    Raises:
        FileNotFoundError: if the json file, the folder or an image does not exist.
        ValueError: if the file is malformed: not JSON, a section or key missing, an id given twice, an unknown image
            or category, two categories of one name, a segmentation that is no polygon list nor RLE, an RLE or a picture of
            another size, or a picture that [`~ait_hf.image_reading_ait.read_image`] does not take.
    """
    annotations, images = Path(annotations).absolute(), Path(images).absolute()
    builder = Coco(
        cache_dir=None if cache_dir is None else str(cache_dir),
        annotations=str(annotations),
        images=str(images),
        digest=files_digest(annotations, images),
        keep_empty=keep_empty,
    )
    builder.download_and_prepare()
    log_remarks(builder)
    return builder.as_dataset(datasets.Split.TRAIN).cast_column("image", Picture())


def coco_classes(annotations: str | PathLike) -> tuple[list[str], list[int]]:
    """The classes of a COCO json file.

    Returns:
        Names and category ids, both in the order of the ids: entry k belongs to class label k.

    Raises:
        FileNotFoundError, ValueError: as in [`load_coco`], or two classes have one name.
    """
    names = _category_names(read_annotations(Path(annotations)), Path(annotations))
    return list(names.values()), list(names)


def shown_labels(rows: datasets.Dataset) -> set[int]:
    """The class labels that there are objects of."""
    labels = rows.with_format("arrow")["class_labels"]
    return set(pc.unique(pc.list_flatten(labels)).to_pylist())


def decode_segmentation(segmentation: str, height: int, width: int) -> np.ndarray:
    """The mask of one object.

    Args:
        segmentation: JSON text of a list of polygons `[x, y, x, y, ...]` in pixels, or of an RLE
            `{"size": [height, width], "counts": ...}`, compressed (a string) or not (a list).
        height, width: size of the image, pixels.

    Returns:
        uint8 `(height, width)`, 0 or 1; by pycocotools, so that training and evaluation see the same pixels.

    Raises:
        ValueError: if the object has no segmentation, or as [`check_segmentation`].
    """
    if not segmentation:
        raise ValueError("An object has only a box and no segmentation: leave out masks, or annotate them.")
    content = json.loads(segmentation)
    check_segmentation(content, height, width)
    if isinstance(content, list):
        return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(content, height, width)))
    if isinstance(content["counts"], list):
        return coco_mask.decode(coco_mask.frPyObjects(content, height, width))
    return coco_mask.decode({"size": [height, width], "counts": content["counts"].encode()})


def check_segmentation(segmentation: Any, height: int, width: int, where: str = "The object") -> None:
    """`ValueError`, which begins with `where`, if a segmentation is neither polygons of three points or more nor an RLE of
    the image's size."""
    if not isinstance(segmentation, list):
        _check_rle(segmentation, height, width, where)
    elif not segmentation or not all(_is_polygon(polygon, where) for polygon in segmentation):
        raise ValueError(f"{where} has a polygon of fewer than three points.")


@dataclass
class _Dropped:
    """Ids of the annotations that are left out, by reason."""

    without_area: list[int] = field(default_factory=list)
    outside: list[int] = field(default_factory=list)
    without_polygon: list[int] = field(default_factory=list)

    def by_reason(self) -> dict[str, list[int]]:
        return {
            "boxes without area": self.without_area,
            "boxes outside their image": self.outside,
            "objects whose polygons all have fewer than three points": self.without_polygon,
        }


def _read_rows(path: Path, folder: Path, keep_empty: bool) -> list[dict[str, Any]]:
    content = read_annotations(path)
    labels = {category: label for label, category in enumerate(_category_names(content, path))}
    dropped = _Dropped()
    rows = []
    for image, image_path, annotations in annotated_images(content, path, folder, labels):
        objects = (_object(annotation, image, labels, path, dropped) for annotation in annotations)
        row = _row(image, image_path, [item for item in objects if item is not None])
        if keep_empty or row["boxes"]:
            rows.append(row)
    log_dropped(path, dropped.by_reason())
    if not rows:
        raise ValueError(f"{path} lists no images{'' if keep_empty else ' with objects'}.")
    return rows


def _category_names(content: dict[str, Any], path: Path) -> dict[int, str]:
    """Names by category id, in the order of the ids; `ValueError` if two are the same."""
    names = {entry["id"]: str(entry["name"]).strip() for entry in entries(content, "categories", path)}
    check_different(names.values(), str(path))
    return dict(sorted(names.items()))


def _row(image: dict[str, Any], path: Path, objects: list[dict[str, Any]]) -> dict[str, Any]:
    columns = ("boxes", "class_labels", "iscrowd", "area", "segmentation", "annotation_id")
    own = {"image": str(path), "path": str(path), "image_id": image["id"]}
    own |= {"height": image["height"], "width": image["width"]}
    return own | {column: [item[column] for item in objects] for column in columns}


def _object(
    annotation: dict[str, Any], image: dict[str, Any], labels: dict[int, int], path: Path, dropped: _Dropped
) -> dict[str, Any] | None:
    """The columns' entries for one annotation; `None`, and its id in `dropped`, if it is left out."""
    where = f"{path}: annotation {annotation['id']}"
    corners = box_corners(annotation, where)
    if corners is None:
        dropped.without_area.append(annotation["id"])
        return None
    box = clipped_box(corners, image)
    if box is None:
        dropped.outside.append(annotation["id"])
        return None
    segmentation = annotation.get("segmentation") or []
    if isinstance(segmentation, list):
        polygons = [polygon for polygon in segmentation if _is_polygon(polygon, where)]
        if segmentation and not polygons:
            dropped.without_polygon.append(annotation["id"])
            return None
        text = json.dumps(polygons) if polygons else ""
    else:
        _check_rle(segmentation, image["height"], image["width"], where)
        text = json.dumps(segmentation)
    return {
        "boxes": box,
        "class_labels": labels[annotation["category_id"]],
        "iscrowd": bool(annotation.get("iscrowd", 0)),
        "area": finite_numbers([annotation["area"]], 1, f"{where} has an area")[0],
        "segmentation": text,
        "annotation_id": annotation["id"],
    }


def _is_polygon(polygon: Any, where: str) -> bool:
    """Whether a polygon has three points or more; raises where it is no list of points at all."""
    if not isinstance(polygon, list) or len(polygon) % 2:
        raise ValueError(f"{where} has a polygon that is no list x, y, x, y, ...")
    finite_numbers(polygon, len(polygon), f"{where} has a polygon")
    return len(polygon) >= 6


def _check_rle(rle: Any, height: int, width: int, where: str = "The object") -> None:
    if not isinstance(rle, dict) or not {"size", "counts"} <= rle.keys():
        raise ValueError(f"{where} has a segmentation that is neither a list of polygons nor an RLE.")
    if rle["size"] != [height, width]:
        raise ValueError(f"{where} has an RLE of size {rle['size']}, but its image is {[height, width]}.")
    counts = rle["counts"]
    lengths = list(_uncompressed(counts)) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not all(type(length) is int and length >= 0 for length in lengths):
        raise ValueError(f"{where} has an RLE whose counts are neither whole numbers nor a compressed string.")
    # pycocotools would leave pixels that no run covers as they happen to lie in memory.
    if sum(lengths) != height * width:
        raise ValueError(f"{where} has an RLE of {sum(lengths)} pixels, but its image has {height * width}.")


def _uncompressed(counts: str) -> Iterator[int]:
    """Run lengths of a compressed RLE: base-32 digits, low ones first; from the fourth on, differences to two before."""
    earlier = [0, 0]
    value = shift = number = 0
    for character in counts:
        digit = ord(character) - 48
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            value -= (digit & 16) << (shift - 4)  # the last digit's highest bit is the sign
            value += earlier[0] if number > 2 else 0
            yield value
            earlier = [earlier[1], value]
            value, shift, number = 0, 0, number + 1
