# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Any 🤗 data set, as a table or as a stream, with the columns that a task takes: of the Hub, saved, or shards in a folder."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq


AnyTable = datasets.Dataset | datasets.IterableDataset
_NUMBERS = (datasets.Value, datasets.List)  # and text; what is not decoded
_ROWS_CHECKED = 8
_NEAR = 0.7  # least likeness of a slip, 0..1


def load_any(
    path_or_repo: str | PathLike, split: str, streaming: bool, features: datasets.Features | None = None
) -> AnyTable:
    """Loads one split.

    Args:
        path_or_repo: a Hub repository, a folder that `load_dataset` understands, or one that `save_to_disk` wrote.
        split: split to load.
        streaming: `True` gives an `IterableDataset`.
        features: what the columns are, where `load_dataset` would guess wrongly.

    Raises:
        ValueError: if the split does not exist, or the folder holds one without its name.
    """
    folder = Path(path_or_repo)
    if (folder / "state.json").is_file():
        raise ValueError(
            f"{folder} holds one saved split; pass its parent, saved as a DatasetDict, and split={split!r}."
        )
    if not (folder / "dataset_dict.json").is_file():
        if features is None and folder.is_dir():
            features = _named_as_stored(folder, split)
        return datasets.load_dataset(str(path_or_repo), split=split, streaming=streaming, features=features)
    saved = datasets.load_from_disk(str(folder))
    if split not in saved:
        raise ValueError(f"Unknown split {split!r} in {folder}; there are: {', '.join(saved)}.")
    return saved[split].to_iterable_dataset() if streaming else saved[split]


def _named_as_stored(folder: Path, split: str) -> datasets.Features | None:
    """
    What the columns of a split are, where the parquet files of a folder name their classes in different orders:
    `load_dataset` would give all splits the names of the first one's. `None` where they agree.

    Raises:
        ValueError: if files of the split itself do not agree.
    """
    files = datasets.load_dataset_builder(str(folder)).config.data_files or {}
    stored = {
        name: [datasets.Features.from_arrow_schema(pq.read_schema(file)) for file in of_split]
        for name, of_split in files.items()
        if all(str(file).endswith(".parquet") for file in of_split)
    }
    own = stored.get(split.partition("[")[0], [])
    first = [_names_of_numbers(found) for of_split in stored.values() for found in of_split][:1]
    names = [_names_of_numbers(found) for found in own]
    if all(found == first[0] for found in names):
        return None
    if any(found != names[0] for found in names):
        raise ValueError(
            f"The files of split {split!r} in {folder} name their classes in different orders: save it anew."
        )
    return own[0]


def _names_of_numbers(features: datasets.Features) -> dict[str, list[str]]:
    """Names of the classes by column, of columns of classes or of lists of them."""
    kinds = {
        name: feature.feature if isinstance(feature, datasets.List) else feature for name, feature in features.items()
    }
    return {name: kind.names for name, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)}


def stored_names(path_or_repo: str | PathLike, split: str, column: str) -> list[str] | None:
    """Names of the numbers in a column of lists, where the data set has them (a feature `ClassLabel`)."""
    feature = (load_any(path_or_repo, split, streaming=True).features or {}).get(column)
    is_named = isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.ClassLabel)
    return feature.feature.names if is_named else None


def check_columns(dataset: AnyTable, columns: Iterable[str], name: str | PathLike, hint: str = "") -> None:
    """`ValueError` for the first of `columns` that the data set does not have; `name` is its own."""
    if dataset.features is None:
        raise ValueError(f"{name} does not say what its columns are; load it with streaming=False.")
    for column in columns:
        if column not in dataset.features:
            near = difflib.get_close_matches(column, dataset.features, n=1, cutoff=_NEAR)
            meant = f"did you mean {near[0]!r}? There" if near else "there"
            raise ValueError(f"{name} has no column {column!r}; {meant} are: {', '.join(dataset.features)}.{hint}")


def choose_columns(
    dataset: AnyTable, features: Mapping[str, Any], stored_as: Mapping[str, str] | None = None
) -> AnyTable:
    """The columns of `features`, as what these say, and no others; of a stream no row is decoded for that.

    Args:
        dataset: that has them, see [`check_columns`].
        features: 🤗 features by name.
        stored_as: what columns are called in `dataset`, where that is another name.

    Raises:
        ValueError: if a column of pictures holds something else.
    """
    names = {(stored_as or {}).get(column, column): column for column in features}
    dataset = dataset.select_columns(list(names))
    if isinstance(dataset, datasets.IterableDataset):  # which would decode every row, and encode it again, to rename
        dataset = dataset.decode(False)
    if renamed := {old: new for old, new in names.items() if old != new}:
        dataset = dataset.rename_columns(renamed)
    numbers = {column: feature for column, feature in features.items() if isinstance(feature, _NUMBERS)}
    if any(dataset.features[column] != feature for column, feature in numbers.items()):
        dataset = dataset.cast(datasets.Features(dataset.features | numbers))  # all at once, as it copies the table
    for column in features.keys() - numbers.keys():
        if isinstance(features[column], datasets.Image) and not _may_be_pictures(dataset.features[column]):
            raise ValueError(f"Column {column!r} holds {dataset.features[column]}, no pictures: name another column.")
        dataset = dataset.cast_column(column, features[column])
    return dataset


def _may_be_pictures(stored: Any) -> bool:
    """Whether pictures can be read from a column: images, files as they are, or paths."""
    if isinstance(stored, datasets.Value):
        return stored.dtype in ("string", "large_string", "binary", "large_binary")
    return isinstance(stored, datasets.Image) or (isinstance(stored, dict) and {"bytes", "path"} <= stored.keys())


def spread_rows(
    dataset: AnyTable, parts: Callable[[dict[str, Any]], list[dict[str, Any]]], features: datasets.Features
) -> AnyTable:
    """The parts of every row as rows of their own.

    Args:
        dataset: whose rows are not decoded.
        parts: from a row to its parts, which are not decoded either.
        features: what the columns of the parts are.
    """

    def spread(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        found = parts({column: value for column, (value,) in batch.items()})
        return {column: [part[column] for part in found] for column in features}

    spread_out = dataset.map(spread, batched=True, batch_size=1, remove_columns=list(dataset.features))
    if isinstance(dataset, datasets.IterableDataset):
        return spread_out.cast(features)
    return choose_columns(spread_out, features)


def first_rows(dataset: AnyTable, number: int) -> list[dict[str, Any]]:
    """So many rows, or all if there are fewer; not decoded."""
    if isinstance(dataset, datasets.IterableDataset):
        return list(dataset.decode(False).take(number))
    return dataset.with_format("arrow")[:number].to_pylist()


def some_rows(dataset: AnyTable, number: int) -> list[dict[str, Any]]:
    """So many rows at most, spread evenly over a table; of a stream the first few. Not decoded."""
    if isinstance(dataset, datasets.IterableDataset):
        return first_rows(dataset, min(number, _ROWS_CHECKED))
    chosen = range(0, len(dataset), max(1, len(dataset) // number))
    return dataset.with_format("arrow")[chosen].to_pylist()


def check_first_rows(dataset: AnyTable, check: Callable[[dict[str, Any]], None] = lambda row: None) -> None:
    """A wrong column or setting shows in the first examples, before long work starts. One broken file is none of these.

    Args:
        check: raises `ValueError` for a decoded row that is not as it should be.

    Raises:
        ValueError, OSError, SyntaxError: what the first row raised, if none of the first eight can be used.
    """
    first_error = None
    for row in first_rows(dataset, _ROWS_CHECKED):
        try:
            for column, feature in dataset.features.items():
                if isinstance(feature, datasets.Image) and row[column] is None:
                    raise ValueError(f"Column {column!r} has no picture in the first rows.")
            check(dataset.features.decode_example(row))
            return
        except (OSError, ValueError, SyntaxError) as error:
            first_error = first_error or error
    if first_error is not None:
        raise first_error
