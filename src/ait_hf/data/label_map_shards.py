# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images with label maps in any 🤗 data set, such as shards of what [`~ait_hf.data.label_maps.load_label_maps`] gives."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import datasets
import pyarrow.compute as pc

from .label_map_feature import LabelMap, LabelNumbers, label_numbers, numbers_in, read_label_map
from .remarks import warn_once
from .shards import AnyTable, check_columns, check_first_rows, choose_columns, load_any, spread_rows
from .stored_images import Picture, stored_file, stored_name


_ROWS_LOOKED_AT = 64  # of a stream, which may have no end


def load_label_map_shards(
    path_or_repo: str | PathLike,
    split: str,
    num_classes: int,
    *,
    image_column: str = "image",
    label_map_column: str = "label_map",
    first_id: int = 0,
    ignored_ids: Sequence[int] | None = None,
    class_ids: Sequence[int] | None = None,
    streaming: bool = False,
) -> AnyTable:
    """Loads any 🤗 data set that has a column of images and one of label maps.

    Args:
        path_or_repo: a Hub repository, a folder of shards or another that `load_dataset` understands, or one that
            `save_to_disk` wrote.
        split: split to load.
        num_classes, first_id, ignored_ids, class_ids: as in [`~ait_hf.data.label_maps.load_label_maps`], of the stored numbers.
        image_column, label_map_column: names of the columns; of WebDataset the files' endings.
        streaming: `True` gives an `IterableDataset`.

    Returns:
        Examples with `image` (PIL, RGB) and `label_map` (uint8 array `(height, width)`, classes 0..n-1, 255 = ignored).

    Raises:
        ValueError: if the split or a column does not exist, the numbers make no sense, none of the first label maps can be
            used, or of several classes all but one are ignored (of a stream, in its first label maps).
    """
    numbers = label_numbers(num_classes, first_id, ignored_ids, class_ids)
    columns = {"image": image_column, "label_map": label_map_column}
    return _load(path_or_repo, split, numbers, {"image": Picture()}, columns, streaming)


def load_class_mask_shards(
    path_or_repo: str | PathLike,
    split: str,
    num_classes: int,
    *,
    label_map_column: str = "label_map",
    first_id: int = 0,
    ignored_ids: Sequence[int] | None = None,
    class_ids: Sequence[int] | None = None,
    streaming: bool = False,
) -> AnyTable:
    """Loads the label maps of any 🤗 data set once for each of their classes, for
    [`~ait_hf.data.semantic_transforms.ClassMaskTransform`].

    Arguments and errors as in [`load_label_map_shards`]; the data set needs a column `classes`, the list of the classes in
    each label map (0..n-1), as [`~ait_hf.data.label_maps.load_label_maps`] makes it.

    Returns:
        Examples with `label_map`, as there, and `class_number`, one of its classes.
    """
    numbers = label_numbers(num_classes, first_id, ignored_ids, class_ids)
    others = {"classes": datasets.List(datasets.Value("int64"))}
    dataset = _load(path_or_repo, split, numbers, others, {"label_map": label_map_column}, streaming)
    label_map = dataset.features["label_map"]
    dataset = dataset.cast_column("label_map", datasets.Image(decode=False))
    features = datasets.Features({"label_map": label_map, "class_number": datasets.Value("int64")})
    return spread_rows(dataset, _one_by_one, features)


def shown_in_label_maps(table: datasets.Dataset) -> set[int]:
    """The classes that some label map of [`load_label_map_shards`] has. They are read once, whole; 🤗 datasets keeps what it
    finds. Label maps that cannot be read count for nothing."""
    found = _numbers_found(table)
    return {label for label, number in enumerate(table.features["label_map"].class_ids) if number in found}


def _load(
    path_or_repo: str | PathLike,
    split: str,
    numbers: LabelNumbers,
    others: dict[str, Any],
    stored_as: dict[str, str],
    streaming: bool,
) -> AnyTable:
    features = others | {"label_map": LabelMap(class_ids=numbers.class_ids, ignored_ids=numbers.ignored_ids)}
    dataset = load_any(path_or_repo, split, streaming)
    check_columns(dataset, [stored_as.get(column, column) for column in features], path_or_repo)
    dataset = choose_columns(dataset, features, stored_as)
    check_first_rows(dataset)
    warn_once(numbers.check_found(_numbers_found(dataset), path_or_repo))
    return dataset


def _numbers_found(dataset: AnyTable) -> set[int]:
    """All numbers in the label maps of a table, or in the first ones of a stream."""
    undecoded = dataset.select_columns("label_map").cast_column("label_map", datasets.Image(decode=False))
    if isinstance(dataset, datasets.IterableDataset):
        return set().union(*(_numbers_of(row)["numbers"] for row in undecoded.take(_ROWS_LOOKED_AT)))
    found = undecoded.map(
        _numbers_of,
        remove_columns="label_map",
        features=datasets.Features({"numbers": datasets.List(datasets.Value("uint8"))}),
        desc="Looking which numbers label maps have",
    )
    return set(pc.unique(pc.list_flatten(found.data.column("numbers"))).to_pylist())


def _numbers_of(row: dict[str, Any]) -> dict[str, list[int]]:
    stored = row["label_map"]
    try:
        with stored_file(stored) as file:
            return {"numbers": numbers_in(read_label_map(file, stored_name(stored)))}
    except (OSError, ValueError):
        return {"numbers": []}  # training names and counts it when it is drawn, evaluation ends with it


def _one_by_one(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The label map as often as it has classes."""
    return [{"label_map": row["label_map"], "class_number": number} for number in row["classes"]]
