# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images with label maps (the class of every pixel) in folders, as 🤗 data sets.

In a row, `label_map` counts classes 0..n-1 and 255 is ignored, whatever numbers the files use.
"""

import csv
from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path

import datasets
import pyarrow.compute as pc

from ..model.image_reading_ait import read_picture_header
from .checked_tables import Rows, checked_table
from .classes import check_different
from .files import is_hidden, paired_files
from .label_map_feature import MAX_CLASSES, LabelMap, LabelNumbers, label_numbers, numbers_in, read_label_map
from .picture_sizes import state_of_files, swapped_sides, turned_pictures
from .stored_images import Picture


ADE20K_SPLITS = {"train": "training", "validation": "validation"}
ADE20K_CLASSES_FILE = "objectInfo150.txt"
_LABEL_SUFFIXES = frozenset({".png"})
_PATHS_NAMED = 5  # how many empty label maps a warning names

_FEATURES = datasets.Features(
    {
        "image": Picture(),
        "label_map": datasets.Image(),
        "classes": datasets.List(datasets.Value("int64")),
        "path": datasets.Value("string"),
    }
)


def load_label_maps(
    images: str | PathLike,
    annotations: str | PathLike,
    num_classes: int,
    *,
    first_id: int = 0,
    ignored_ids: Sequence[int] | None = None,
    class_ids: Sequence[int] | None = None,
    cache_dir: str | PathLike | None = None,
) -> datasets.Dataset:
    """Loads images and label maps of two folders, whose files pair by stem.

    All files are checked, label maps pixel by pixel, when their table is built; the table is kept in the cache until a
    file changes. Label maps without any pixel of a class are left out, and logged.

    Args:
        images: folder of the images.
        annotations: folder of the label maps: PNG files with one channel of at most 8 bits, or with a palette.
        num_classes: number of classes, 1 to 255.
        first_id: number in the files of the first class (ADE20K: 1); the others follow.
        ignored_ids: numbers in the files of pixels that do not count; by default 255, unless that is a class's.
        class_ids: number in the files of every class, in their order, where these do not follow one another: 0 and 255 of
            black and white masks.
        cache_dir: where the table is cached; by default that of 🤗 datasets.

    Returns:
        Rows with `image` (PIL, RGB), `label_map` (uint8 array `(height, width)`, classes 0..n-1, 255 = ignored),
        `classes` (those in the label map, ascending) and `path` (of the image).

    Raises:
        FileNotFoundError: if a folder does not exist.
        ValueError: if an image has no label map or the other way round, the two differ in size, a label map is a
            colour picture, has more than 8 bits, or has a number that is neither a class nor ignored, no label map has
            a class at all, of several classes all but one are ignored, or the numbers make no sense.
    """
    images, annotations = Path(images).absolute(), Path(annotations).absolute()
    numbers = label_numbers(num_classes, first_id, ignored_ids, class_ids)
    both, pair = f"files of {images} and {annotations}", "(an image and a PNG label map)"
    pairs = list(paired_files(images, annotations, _LABEL_SUFFIXES, both, pair).values())
    if not pairs:
        raise ValueError(f"There are no images in {images}.")
    state = state_of_files(path for pair in pairs for path in pair)
    made_of = (str(images), str(annotations), state, numbers.class_ids, numbers.ignored_ids)
    read = partial(_read_rows, pairs, annotations, numbers)
    table, _ = checked_table("label_maps", _FEATURES, read, made_of, cache_dir)
    label_map = LabelMap(class_ids=numbers.class_ids, ignored_ids=numbers.ignored_ids)
    return table.cast_column("image", Picture()).cast_column("label_map", label_map)


def load_ade20k(root: str | PathLike, split: str, *, cache_dir: str | PathLike | None = None) -> datasets.Dataset:
    """Loads ADE20K's scene parsing benchmark (150 classes; number 0 in the files is ignored).

    Args:
        root: folder with `images/training`, `annotations/training`, the same for `validation`, and
            `objectInfo150.txt`; a sample without such subfolders is the split "train".
        split: "train" (20,210 images) or "validation" (2,000).

    Returns, raises: as [`load_label_maps`], and `ValueError` for an unknown split.
    """
    if split not in ADE20K_SPLITS:
        raise ValueError(f"Unknown split {split!r} of ADE20K; there are: {', '.join(ADE20K_SPLITS)}.")
    name = ADE20K_SPLITS[split] if (Path(root) / "images" / ADE20K_SPLITS[split]).is_dir() else split
    folders = split_folders(root, name)
    return load_label_maps(*folders, len(ade20k_classes(root)), first_id=1, ignored_ids=(0,), cache_dir=cache_dir)


def ade20k_classes(root: str | PathLike) -> list[str]:
    """Names of ADE20K's classes, of several names the first; errors as [`read_class_names`]."""
    path = Path(root) / ADE20K_CLASSES_FILE
    names = [name.partition(",")[0] for name in read_class_names(path)]
    check_different(names, str(path))
    return names


def shown_classes(rows: datasets.Dataset) -> set[int]:
    """The classes that the rows of [`load_label_maps`] have pixels of."""
    return set(pc.unique(pc.list_flatten(rows.with_format("arrow")["classes"])).to_pylist())


def split_folders(root: str | PathLike, split: str) -> tuple[Path, Path]:
    """The folders of images and of label maps of one split: `images/SPLIT` and `annotations/SPLIT`, or, as in CamVid,
    `SPLIT` and `SPLITannot`; a folder whose `images` has no subfolders is the split "train".

    Raises:
        FileNotFoundError: if there are none of these.
        ValueError: if the split is not among those there are.
    """
    root = Path(root).absolute()
    images, annotations = root / "images", root / "annotations"
    if images.is_dir():
        splits = sorted(folder.name for folder in images.iterdir() if folder.is_dir() and not is_hidden(folder.name))
        folders = {name: (images / name, annotations / name) for name in splits} or {"train": (images, annotations)}
    else:
        suffix = "annot"
        found = sorted(path for path in root.glob(f"*{suffix}") if path.is_dir() and not is_hidden(path.name))
        folders = {
            label.name.removesuffix(suffix): (label.with_name(label.name.removesuffix(suffix)), label)
            for label in found
        }
    if not folders:
        raise FileNotFoundError(
            f"{root} needs the subfolders images/SPLIT and annotations/SPLIT, or SPLIT and SPLITannot."
        )
    if split not in folders:
        raise ValueError(f"Unknown split {split!r} in {root}; there are: {', '.join(folders)}.")
    return folders[split]


def read_class_names(path: str | PathLike, most: int | None = MAX_CLASSES) -> list[str]:
    """Class names of a text file: one per line, or the column `Name` of a table (`.csv`, or with tabs) with a header.

    Args:
        most: how many there may be; `None` for any number.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it has no names or too many, or one twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"The file of class names {path} does not exist.")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    header, *rows = csv.reader(lines, delimiter="," if path.suffix.lower() == ".csv" else "\t") if lines else [[]]
    columns = [name.lower() for name in header]
    if "name" in columns:
        names = [row[columns.index("name")] for row in rows if row]
    else:
        names = lines
    names = [name.strip() for name in names if name.strip()]
    check_class_names(names, str(path), most)
    return names


def check_class_names(names: Sequence[str], where: str, most: int | None = MAX_CLASSES) -> None:
    """`ValueError` if there are none or more than `most`, or one comes twice."""
    if not names or (most is not None and len(names) > most):
        wanted = "at least one class" if most is None else f"1 to {most} classes"
        raise ValueError(f"{where} must name {wanted}, but names {len(names)}.")
    check_different(names, where)


def _read_rows(pairs: list[tuple[Path, Path]], folder: Path, numbers: LabelNumbers) -> tuple[Rows, list[str]]:
    """The rows, and what is to be said about them."""
    rows, empty, found, headers = [], [], set(), []
    for image, label_map in pairs:
        header = read_picture_header(image)
        of_map = _numbers_of(image, header.size, label_map)
        classes = numbers.classes_of(of_map, str(label_map))
        found.update(of_map)
        headers.append((image, header))
        if classes:
            rows.append({"image": str(image), "label_map": str(label_map), "classes": classes, "path": str(image)})
        else:
            empty.append(str(label_map))
    if not rows:
        raise ValueError(
            f"None of the {len(pairs)} label maps has a pixel of a class: all are ignored, first {empty[0]}."
        )
    remarks = [numbers.check_found(found, folder), turned_pictures(headers)]
    if empty:
        names = ", ".join(empty[:_PATHS_NAMED]) + (", ..." if len(empty) > _PATHS_NAMED else "")
        remarks.append(f"Left out {len(empty)} images without a pixel of a class: {names}.")
    return rows, remarks


def _numbers_of(image: Path, size: tuple[int, int], label_map: Path) -> list[int]:
    """The numbers in a label map, whose image has that size."""
    numbers = read_label_map(label_map, str(label_map))
    if numbers.shape != size:
        raise ValueError(
            f"The label map {label_map} has {numbers.shape} pixels, but its image {image} has {size}: resize one to the other's "
            f"size."
            f"{swapped_sides(numbers.shape, size)}"
        )
    return numbers_in(numbers)
