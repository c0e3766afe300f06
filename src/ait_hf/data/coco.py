# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""COCO annotations as a 🤗 data set: one row per image with all its objects. LVIS and other class lists work alike.

Boxes are x1, y1, x2, y2 in pixels of the image, pixel (row, column) covering column..column + 1, row..row + 1.
"""

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from pycocotools import mask as coco_mask


logger = logging.getLogger(__name__)

# What is read of every section's entries. LVIS has neither `iscrowd` (nothing is one) nor `file_name`.
_REQUIRED = {
    "categories": ("id", "name"),
    "images": ("id", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area"),
}
_IDS_NAMED = 5  # how many dropped annotations a warning names

_FEATURES = datasets.Features(
    {
        "image": datasets.Image(mode="RGB"),
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
        return datasets.DatasetInfo(features=_FEATURES)

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        # Everything is checked here, before the first row is written.
        rows = _read_rows(Path(self.config.annotations), Path(self.config.images), self.config.keep_empty)
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

    The file is checked as a whole, and that all images exist, when its table is built; the table is kept in the cache
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
            or category, a segmentation that is no polygon list nor RLE, or an RLE of another size than its image.
    """
    annotations, images = Path(annotations).absolute(), Path(images).absolute()
    _check_is_file(annotations)
    if not images.is_dir():
        raise FileNotFoundError(f"Image folder {images} does not exist.")
    with annotations.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    builder = Coco(
        cache_dir=None if cache_dir is None else str(cache_dir),
        annotations=str(annotations),
        images=str(images),
        digest=digest,
        keep_empty=keep_empty,
    )
    builder.download_and_prepare()
    return builder.as_dataset(datasets.Split.TRAIN)


def coco_classes(annotations: str | PathLike) -> tuple[list[str], list[int]]:
    """The classes of a COCO json file.

    Returns:
        Names and category ids, both in the order of the ids: entry k belongs to class label k.

    Raises:
        FileNotFoundError, ValueError: as in [`load_coco`].
    """
    categories = _categories(_read_json(Path(annotations)), Path(annotations))
    return list(categories.values()), list(categories)


def decode_segmentation(segmentation: str, height: int, width: int) -> np.ndarray:
    """The mask of one object.

    Args:
        segmentation: JSON text of a list of polygons `[x, y, x, y, ...]` in pixels, or of an RLE
            `{"size": [height, width], "counts": ...}`, compressed (a string) or not (a list).
        height, width: size of the image, pixels.

    Returns:
        uint8 `(height, width)`, 0 or 1; by pycocotools, so that training and evaluation see the same pixels.

    Raises:
        ValueError: if the object has no segmentation or an RLE is of another size.
    """
    if not segmentation:
        raise ValueError("An object has only a box and no segmentation: leave out masks, or annotate them.")
    content = json.loads(segmentation)
    if isinstance(content, list):
        return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(content, height, width)))
    _check_rle(content, height, width)
    if isinstance(content["counts"], list):
        return coco_mask.decode(coco_mask.frPyObjects(content, height, width))
    return coco_mask.decode({"size": [height, width], "counts": content["counts"].encode()})


@dataclass
class _Dropped:
    """Ids of the annotations that are left out, by reason."""

    without_area: list[int] = field(default_factory=list)
    outside: list[int] = field(default_factory=list)
    without_polygon: list[int] = field(default_factory=list)

    def log(self, path: Path) -> None:
        reasons = {
            "boxes without area": self.without_area,
            "boxes outside their image": self.outside,
            "objects whose polygons all have fewer than three points": self.without_polygon,
        }
        parts = [
            f"{len(ids)} {reason} (annotation ids {', '.join(map(str, ids[:_IDS_NAMED]))}"
            f"{', ...' if len(ids) > _IDS_NAMED else ''})"
            for reason, ids in reasons.items()
            if ids
        ]
        if parts:
            logger.warning("%s: left out %s.", path, "; ".join(parts))


def _read_rows(path: Path, folder: Path, keep_empty: bool) -> list[dict[str, Any]]:
    content = _read_json(path)
    labels = {category: label for label, category in enumerate(_categories(content, path))}
    images, annotations = (_entries(content, section, path) for section in ("images", "annotations"))
    image_ids = {image["id"] for image in images}
    by_image = defaultdict(list)
    for annotation in annotations:
        where = f"{path}: annotation {annotation['id']}"
        if annotation["image_id"] not in image_ids:
            raise ValueError(f"{where} has image_id {annotation['image_id']}, which is not among the images.")
        if annotation["category_id"] not in labels:
            raise ValueError(
                f"{where} has category_id {annotation['category_id']}, which is not among the categories."
            )
        by_image[annotation["image_id"]].append(annotation)
    paths = [folder / _file_name(image, path) for image in images]
    _check_images(paths)

    dropped = _Dropped()
    rows = []
    for image, image_path in zip(images, paths):
        objects = (_object(annotation, image, labels, path, dropped) for annotation in by_image[image["id"]])
        row = _row(image, image_path, [item for item in objects if item is not None])
        if keep_empty or row["boxes"]:
            rows.append(row)
    dropped.log(path)
    if not rows:
        raise ValueError(f"{path} lists no images{'' if keep_empty else ' with objects'}.")
    return rows


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
    x, y, width, height = _numbers(annotation["bbox"], 4, f"{where} has a bbox")
    # float32, as the table stores it: a box that has no side left there has no area.
    left, top, right, bottom = np.array([x, y, x + width, y + height], dtype=np.float32).tolist()
    if right <= left or bottom <= top:
        dropped.without_area.append(annotation["id"])
        return None
    box = [max(left, 0.0), max(top, 0.0), min(right, image["width"]), min(bottom, image["height"])]
    if box[2] <= box[0] or box[3] <= box[1]:
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
        "area": _numbers([annotation["area"]], 1, f"{where} has an area")[0],
        "segmentation": text,
        "annotation_id": annotation["id"],
    }


def _is_polygon(polygon: Any, where: str) -> bool:
    """Whether a polygon has three points or more; raises where it is no list of points at all."""
    if not isinstance(polygon, list) or len(polygon) % 2:
        raise ValueError(f"{where} has a polygon that is no list x, y, x, y, ...")
    _numbers(polygon, len(polygon), f"{where} has a polygon")
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


def _read_json(path: Path) -> dict[str, Any]:
    _check_is_file(path)
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:  # malformed JSON or text that is not Unicode
        raise ValueError(f"{path} is not a JSON file: {error}.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object with the sections {', '.join(_REQUIRED)}.")
    return content


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"COCO annotations {path} do not exist.")


def _categories(content: dict[str, Any], path: Path) -> dict[int, str]:
    categories = {entry["id"]: str(entry["name"]) for entry in _entries(content, "categories", path)}
    return dict(sorted(categories.items()))


def _entries(content: dict[str, Any], section: str, path: Path) -> list[dict[str, Any]]:
    """The entries of one section, all with the keys that are read, whole-number ids and none twice."""
    entries = content.get(section)
    if not isinstance(entries, list):
        raise ValueError(f"{path} has no list {section!r}; COCO annotations have {', '.join(_REQUIRED)}.")
    ids = set()
    for number, entry in enumerate(entries):
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
    return entries


def _file_name(image: dict[str, Any], path: Path) -> str:
    name = image.get("file_name") or image.get("coco_url", "").rsplit("/", 1)[-1]
    if not name:
        raise ValueError(f"{path}: image {image['id']} has neither file_name nor coco_url.")
    return name


def _check_images(paths: Iterable[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f" ({len(missing)} are missing in all)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"Image {missing[0]} does not exist{more}.")


def _numbers(values: Any, count: int, what: str) -> list[float]:
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{what} {values}; {count} finite numbers are needed.")
    return numbers.tolist()
