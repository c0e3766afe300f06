# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images with label maps (the class of every pixel), in folders or any 🤗 data set, and the feature that decodes them.

In a row, `label_map` counts classes 0..n-1 and 255 is ignored, whatever numbers the files use.
"""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import datasets
import numpy as np

from ..model.image_reading_ait import read_picture_header
from ..model.tokenization_vq import IGNORED_LABEL
from .classes import check_different
from .files import is_hidden, paired_files
from .picture_sizes import state_of_files, swapped_sides, turned_pictures
from .stored_images import Picture, open_numbers, register, stored_file, stored_name, stored_numbers
from .tables import AnyTable, Row, checked_columns, checked_table, load_any, numbers_shown, spread_rows, warn_once


ADE20K_SPLITS = {"train": "training", "validation": "validation"}
ADE20K_CLASSES_FILE = "objectInfo150.txt"
MAX_CLASSES = IGNORED_LABEL
_LARGEST = 255  # number in a file
_LABEL_MODES = ("1", "L", "P")  # one channel of at most 8 bits; the values of a palette's image are its class numbers
_LABEL_SUFFIXES = frozenset({".png"})
_PATHS_NAMED = 5  # how many empty label maps a warning names
_ROWS_LOOKED_AT = 64  # of a stream, which may have no end


@dataclass
class LabelMap(datasets.Image):
    """Label map feature: stored as `datasets.Image`, on access a uint8 array `(height, width)` of classes 0..n-1, 255
    = ignored.

    Args:
        class_ids: number in the files of every class, in the order of the classes.
        ignored_ids: numbers of pixels that do not count.

    Raises:
        ValueError: on access, naming the file, if it has not one channel of at most 8 bits, a number that is neither a
            class nor ignored, or no pixel of a class.
    """

    class_ids: Sequence[int] = (0,)
    ignored_ids: Sequence[int] = (IGNORED_LABEL,)
    dtype: ClassVar[str] = "numpy.ndarray"
    _type: str = field(default="LabelMap", init=False, repr=False)

    def decode_example(self, value: dict[str, Any], token_per_repo_id: dict | None = None) -> np.ndarray:
        name = stored_name(value)
        with stored_file(value) as file:
            numbers = read_label_map(file, name)
        class_of = np.full(_LARGEST + 1, -1, dtype=np.int16)
        class_of[list(self.class_ids)] = np.arange(len(self.class_ids))
        class_of[list(self.ignored_ids)] = IGNORED_LABEL
        labels = np.take(class_of, numbers, mode="clip")  # nothing is out of range; half the time of an index
        least = labels.min()
        if least < 0:
            self.classes_of(numbers_in(numbers), name)  # which says what is wrong
        if least == IGNORED_LABEL:
            raise ValueError(f"The label map {name} has no pixel of a class: leave it out of the data set.")
        return labels.astype(np.uint8)

    def classes_of(self, found: Collection[int], name: str) -> list[int]:
        """The classes that the numbers found in a label map are, ascending; `ValueError`, with its `name`, for one
        that is neither a class nor ignored."""
        for number in found:
            if number not in self.class_ids and number not in self.ignored_ids:
                raise ValueError(
                    f"The label map {name} has the number {number}, but classes are {_listed(self.class_ids)} and "
                    f"{list(self.ignored_ids)} are ignored: class_ids gives the number of every class in order, "
                    "ignored_ids those that do not count."
                )
        return [label for label, number in enumerate(self.class_ids) if number in found]

    def check_found(self, found: Collection[int], where: str | PathLike) -> str:
        """A remark, or nothing, about all numbers found in the label maps of `where`: with a single class nothing but
        ignored pixels are left beside it. `ValueError` if of several classes all but one are ignored: everything would
        be that class, and be right."""
        ignored = sorted(set(found) & set(self.ignored_ids))
        if not ignored or len(set(found) & set(self.class_ids)) > 1:
            return ""
        numbers = sorted(found)
        if len(self.class_ids) == 1:
            return (
                f"The label maps of {where} have the numbers {numbers}, of which {ignored} are ignored: every pixel that counts "
                f"is the one class, {self.class_ids[0]}. If the ignored ones are to be told from it, name them as a class, too."
            )
        example = f" (such as {numbers})" if len(numbers) == len(self.class_ids) else ""
        raise ValueError(
            f"The label maps of {where} have only the numbers {numbers}, of which {ignored} are ignored: of "
            f"{len(self.class_ids)} classes not even two would be left to tell apart. Give class_ids, the number of every "
            f"class in order{example}, and leave them out of ignored_ids."
        )


register(LabelMap)


def label_map_feature(
    num_classes: int,
    first_id: int = 0,
    ignored_ids: Sequence[int] | None = None,
    class_ids: Sequence[int] | None = None,
) -> LabelMap:
    """Arguments as of [`load_label_maps`]; `ValueError` if there are not so many numbers, one is given twice, or an
    ignored one is that of a class."""
    if class_ids is None:
        class_ids = range(first_id, first_id + num_classes)
        if not 1 <= num_classes <= MAX_CLASSES or first_id < 0 or class_ids[-1] > _LARGEST:
            raise ValueError(
                f"{num_classes} classes from number {first_id} on do not fit label maps of 8 bits: there are numbers 0 to "
                "255, one of them for pixels without a class."
            )
    elif first_id != 0:
        raise ValueError("class_ids says the number of every class: leave out first_id.")
    is_good = len(set(class_ids)) == len(class_ids) == num_classes <= MAX_CLASSES
    if not is_good or not all(0 <= number <= _LARGEST for number in class_ids):
        raise ValueError(
            f"class_ids must be {num_classes} different numbers of label maps (0 to 255), one for every class in order, "
            f"got {list(class_ids)}."
        )
    if ignored_ids is None:
        ignored_ids = {IGNORED_LABEL} - set(class_ids)
    for number in ignored_ids:
        if not 0 <= number <= _LARGEST or number in class_ids:
            wanted = f"numbers of label maps (0 to 255) that are no class ({_listed(class_ids)})"
            raise ValueError(f"ignored_ids must be {wanted}, got {number}.")
    return LabelMap(class_ids=tuple(class_ids), ignored_ids=tuple(ignored_ids))


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
        class_ids: number in the files of every class, in their order, where these do not follow one another: 0 and 255
            of black and white masks.
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
    label_map = label_map_feature(num_classes, first_id, ignored_ids, class_ids)
    both, pair = f"files of {images} and {annotations}", "(an image and a PNG label map)"
    pairs = list(paired_files(images, annotations, _LABEL_SUFFIXES, both, pair).values())
    if not pairs:
        raise ValueError(f"There are no images in {images}.")
    state = state_of_files(path for pair in pairs for path in pair)
    made_of = (str(images), str(annotations), state, label_map.class_ids, label_map.ignored_ids)
    features = {"image": Picture(), "label_map": datasets.Image(), "classes": datasets.List(datasets.Value("int64"))}
    features = datasets.Features(features | {"path": datasets.Value("string")})
    read = partial(_read_rows, pairs, annotations, label_map)
    table, _ = checked_table("label_maps", features, read, made_of, cache_dir)
    return table.cast_column("image", Picture()).cast_column("label_map", label_map)


def load_ade20k(root: str | PathLike, split: str, *, cache_dir: str | PathLike | None = None) -> datasets.Dataset:
    """Loads ADE20K's scene parsing benchmark (150 classes; number 0 in the files is ignored), "train" (20,210 images)
    or "validation" (2,000): result and errors as of [`load_label_maps`]. The folder `root` has `images/training`,
    `annotations/training`, the same for `validation`, and `objectInfo150.txt`; a sample without such subfolders is
    "train"."""
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


def split_folders(root: str | PathLike, split: str) -> tuple[Path, Path]:
    """The folders of images and of label maps of one split: `images/SPLIT` and `annotations/SPLIT`, or, as in CamVid,
    `SPLIT` and `SPLITannot`; a folder whose `images` has no subfolders is the split "train". `FileNotFoundError` if
    there are none of these, `ValueError` if the split is not among those there are."""
    root = Path(root).absolute()
    images, annotations, suffix = root / "images", root / "annotations", "annot"
    names = sorted(path.name for path in images.glob("*") if path.is_dir() and not is_hidden(path.name))
    folders = {name: (images / name, annotations / name) for name in names} or {"train": (images, annotations)}
    if not images.is_dir():
        found = sorted(path for path in root.glob(f"*{suffix}") if path.is_dir() and not is_hidden(path.name))
        folders = {path.name.removesuffix(suffix): (Path(str(path).removesuffix(suffix)), path) for path in found}
    if not folders:
        raise FileNotFoundError(
            f"{root} needs the subfolders images/SPLIT and annotations/SPLIT, or SPLIT and SPLITannot."
        )
    if split not in folders:
        raise ValueError(f"Unknown split {split!r} in {root}; there are: {', '.join(folders)}.")
    return folders[split]


def read_class_names(path: str | PathLike, most: int | None = MAX_CLASSES) -> list[str]:
    """Class names of a text file: one per line, or the column `Name` of a table (`.csv`, or with tabs) with a header.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it has no names or more than `most` (`None` for any number), or one twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"The file of class names {path} does not exist.")
    names = path.read_text(encoding="utf-8-sig").splitlines()
    header, *rows = csv.reader(names, delimiter="," if path.suffix.lower() == ".csv" else "\t") if names else [[]]
    columns = [name.lower() for name in header]
    if "name" in columns:
        names = [row[columns.index("name")] for row in rows if row]
    names = [name.strip() for name in names if name.strip()]
    check_class_names(names, str(path), most)
    return names


def check_class_names(names: Sequence[str], where: str, most: int | None = MAX_CLASSES) -> None:
    """`ValueError` if there are none or more than `most`, or one comes twice."""
    if not names or (most is not None and len(names) > most):
        wanted = "at least one class" if most is None else f"1 to {most} classes"
        raise ValueError(f"{where} must name {wanted}, but names {len(names)}.")
    check_different(names, where)


def load_label_map_shards(
    path_or_repo: str | PathLike,
    split: str,
    num_classes: int,
    *,
    image_column: str = "image",
    label_map_column: str = "label_map",
    streaming: bool = False,
    **numbers,
) -> AnyTable:
    """Loads any 🤗 data set that has a column of images and one of label maps.

    Args:
        path_or_repo, split, streaming: as of [`~ait_hf.data.tables.load_any`].
        image_column, label_map_column: names of the columns; of WebDataset the files' endings.
        num_classes, numbers: `first_id`, `ignored_ids`, `class_ids` as in [`load_label_maps`], of what is stored.

    Returns:
        Examples with `image` (PIL, RGB) and `label_map` (uint8 array `(height, width)`, classes 0..n-1, 255 = ignored).

    Raises:
        ValueError: if the split or a column does not exist, the numbers make no sense, none of the first label maps
            can be used, or of several classes all but one are ignored (of a stream, in its first label maps).
    """
    features = {"image": Picture(), "label_map": label_map_feature(num_classes, **numbers)}
    columns = {"image": image_column, "label_map": label_map_column}
    return _load(path_or_repo, split, features, columns, streaming)


def load_class_mask_shards(
    path_or_repo: str | PathLike,
    split: str,
    num_classes: int,
    *,
    label_map_column: str = "label_map",
    streaming: bool = False,
    **numbers,
) -> AnyTable:
    """Loads the label maps of any 🤗 data set once for each of their classes, for
    [`~ait_hf.data.semantic_transforms.ClassMaskTransform`].

    Arguments and errors as in [`load_label_map_shards`]; the data set needs a column `classes`, the list of the
    classes in each label map (0..n-1), as [`load_label_maps`] makes it.

    Returns:
        Examples with `label_map`, as there, and `class_number`, one of its classes.
    """
    label_map, number = label_map_feature(num_classes, **numbers), datasets.Value("int64")
    features = {"classes": datasets.List(number), "label_map": label_map}
    dataset = _load(path_or_repo, split, features, {"label_map": label_map_column}, streaming)
    dataset = dataset.cast_column("label_map", datasets.Image(decode=False))

    def one_by_one(row: Row) -> list[Row]:
        return [{"label_map": row["label_map"], "class_number": number} for number in row["classes"]]

    return spread_rows(dataset, one_by_one, datasets.Features({"label_map": label_map, "class_number": number}))


def shown_in_label_maps(table: datasets.Dataset) -> set[int]:
    """The classes that some label map of [`load_label_map_shards`] has. They are read once, whole; 🤗 datasets keeps
    what it finds. Label maps that cannot be read count for nothing."""
    found = _numbers_found(table)
    return {label for label, number in enumerate(table.features["label_map"].class_ids) if number in found}


def read_label_map(source: str | PathLike | BinaryIO, name: str) -> np.ndarray:
    """The numbers in a label map, uint8 `(height, width)`; `ValueError`, with its `name`, if it has not one channel of
    at most 8 bits."""
    with open_numbers(source, name) as image:
        if image.mode not in _LABEL_MODES:
            raise ValueError(
                f"{name} is no label map: it has the mode {image.mode}, where one channel of 8 bits, or of fewer, or a palette, "
                "has to hold class numbers."
            )
        return stored_numbers(image, name)


def numbers_in(label_map: np.ndarray) -> list[int]:
    """The numbers that occur in a uint8 array, ascending."""
    return np.flatnonzero(np.bincount(label_map.reshape(-1), minlength=_LARGEST + 1)).tolist()


def _read_rows(pairs: list[tuple[Path, Path]], folder: Path, meaning: LabelMap) -> tuple[list[Row], list[str]]:
    """The rows, and what is to be said about them."""
    rows, empty, found, headers = [], [], set(), []
    for image, label_map in pairs:
        header, numbers = read_picture_header(image), read_label_map(label_map, str(label_map))
        if numbers.shape != header.size:
            raise ValueError(
                f"The label map {label_map} has {numbers.shape} pixels, but its image {image} has {header.size}: resize one to "
                f"the other's size.{swapped_sides(numbers.shape, header.size)}"
            )
        of_map = numbers_in(numbers)
        classes = meaning.classes_of(of_map, str(label_map))
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
    remarks = [meaning.check_found(found, folder), turned_pictures(headers)]
    if empty:
        names = ", ".join(empty[:_PATHS_NAMED]) + (", ..." if len(empty) > _PATHS_NAMED else "")
        remarks.append(f"Left out {len(empty)} images without a pixel of a class: {names}.")
    return rows, remarks


def _load(
    path_or_repo: str | PathLike, split: str, features: dict[str, Any], stored_as: dict[str, str], streaming: bool
) -> AnyTable:
    dataset = checked_columns(load_any(path_or_repo, split, streaming), features, path_or_repo, stored_as)
    warn_once(features["label_map"].check_found(_numbers_found(dataset), path_or_repo))
    return dataset


def _numbers_found(dataset: AnyTable) -> set[int]:
    """All numbers in the label maps of a table, or in the first ones of a stream."""
    undecoded = dataset.select_columns("label_map").cast_column("label_map", datasets.Image(decode=False))
    if isinstance(dataset, datasets.IterableDataset):
        return set().union(*(_numbers_of(row)["numbers"] for row in undecoded.take(_ROWS_LOOKED_AT)))
    features = datasets.Features({"numbers": datasets.List(datasets.Value("uint8"))})
    settings = {"remove_columns": "label_map", "desc": "Looking which numbers label maps have"}
    return numbers_shown(undecoded.map(_numbers_of, features=features, **settings), "numbers")


def _numbers_of(row: Row) -> dict[str, list[int]]:
    stored = row["label_map"]
    try:
        with stored_file(stored) as file:
            return {"numbers": numbers_in(read_label_map(file, stored_name(stored)))}
    except (OSError, ValueError):
        return {"numbers": []}  # training names and counts it when it is drawn, evaluation ends with it


def _listed(numbers: Sequence[int]) -> str:
    if list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return str(list(numbers))
