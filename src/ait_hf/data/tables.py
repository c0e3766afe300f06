# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""🤗 data sets, as tables or as streams: made of files that are checked as a whole, or any of the Hub, saved, or shards
in a folder, with the columns that a task takes; parts of them; and what is to be said about them."""

import difflib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from torch.utils.data import Dataset, Subset

from .tiles import ObjectTiles


logger = logging.getLogger(__name__)

AnyTable = datasets.Dataset | datasets.IterableDataset
Row = dict[str, Any]
_NUMBERS = (datasets.Value, datasets.List)  # and text; what is not decoded
_ROWS_CHECKED = 8
_NEAR = 0.7  # least likeness of a slip, 0..1


@cache
def warn_once(message: str) -> None:
    """A warning that a process gives once, however often data are loaded; none if there is no message."""
    if message:
        logger.warning("%s", message)


@dataclass
class TableConfig(datasets.BuilderConfig):
    """`made_of` is all that the rows depend on: another one makes a new table."""

    made_of: tuple = ()


class CheckedTable(datasets.GeneratorBasedBuilder):
    """`read` gives the rows, and what is to be said about them, which is kept with the table, one remark per line."""

    BUILDER_CONFIG_CLASS = TableConfig
    read: Callable[[], tuple[list[Row], Sequence[str]]]

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo()

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        rows, remarks = self.read()
        self.info.description = "\n".join(filter(None, remarks))
        return [datasets.SplitGenerator(name=datasets.Split.TRAIN, gen_kwargs={"rows": rows})]

    def _generate_examples(self, rows: list[Row]):
        yield from enumerate(rows)


def checked_table(
    name: str,
    features: datasets.Features,
    read: Callable[[], tuple[list[Row], Sequence[str]]],
    made_of: tuple,
    cache_dir: str | PathLike | None,
) -> tuple[datasets.Dataset, str]:
    """The table that is checked as a whole before its first row is written, made or, until what it is `made_of`
    changes, found in the cache, and the folder that it is kept in; logs the remarks, in either case."""
    folder = None if cache_dir is None else str(cache_dir)
    builder = CheckedTable(cache_dir=folder, dataset_name=name, features=features, made_of=made_of)
    builder.read = read
    builder.download_and_prepare()
    for remark in builder.info.description.splitlines():
        warn_once(remark)
    return builder.as_dataset(datasets.Split.TRAIN), builder.cache_dir


def load_any(
    path_or_repo: str | PathLike, split: str, streaming: bool, features: datasets.Features | None = None
) -> AnyTable:
    """Loads one split of a Hub repository, a folder that `load_dataset` understands, such as one of shards, or one
    that `save_to_disk` wrote; `streaming` gives an `IterableDataset`. `features` are what the columns are, where
    `load_dataset` would guess wrongly. `ValueError` if the split does not exist, or the folder holds one without its
    name."""
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
    """What the columns of a split are, where the parquet files of a folder name their classes in different orders:
    `load_dataset` would give all splits the names of the first one's. `None` where they agree; `ValueError` if files
    of the split itself do not."""
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


def _names_of_numbers(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of the classes by column, of columns of classes or of lists of them."""
    kinds = {name: kind.feature if isinstance(kind, datasets.List) else kind for name, kind in features.items()}
    return {name: kind.names for name, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)}


def stored_names(path_or_repo: str | PathLike, split: str, column: str) -> list[str] | None:
    """Names of the numbers in a column of lists, where the data set has them (a feature `ClassLabel`)."""
    feature = (load_any(path_or_repo, split, streaming=True).features or {}).get(column)
    return _names_of_numbers({column: feature}).get(column) if isinstance(feature, datasets.List) else None


def check_columns(dataset: AnyTable, columns: Iterable[str], name: str | PathLike, hint: str = "") -> None:
    """`ValueError` for the first of `columns` that the data set does not have; `name` is its own."""
    if dataset.features is None:
        raise ValueError(f"{name} does not say what its columns are; load it with streaming=False.")
    for column in columns:
        if column not in dataset.features:
            near = difflib.get_close_matches(column, dataset.features, n=1, cutoff=_NEAR)
            meant = f"did you mean {near[0]!r}? There" if near else "there"
            raise ValueError(f"{name} has no column {column!r}; {meant} are: {', '.join(dataset.features)}.{hint}")


def choose_columns(dataset: AnyTable, features: Mapping[str, Any], stored_as: Mapping[str, str] = {}) -> AnyTable:
    """The columns of a data set that `features` (🤗 features by name) say, and no others; of a stream no row is decoded
    for that. `stored_as` says what columns are called there, where that is another name, see also [`check_columns`].
    `ValueError` if a column of pictures holds something else."""
    names = {stored_as.get(column, column): column for column in features}
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


def spread_rows(dataset: AnyTable, parts: Callable[[Row], list[Row]], features: datasets.Features) -> AnyTable:
    """The `parts` of every row as rows, with columns that are `features`; neither rows nor parts are decoded."""

    def spread(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        found = parts({column: value for column, (value,) in batch.items()})
        return {column: [part[column] for part in found] for column in features}

    spread_out = dataset.map(spread, batched=True, batch_size=1, remove_columns=list(dataset.features))
    if isinstance(dataset, datasets.IterableDataset):
        return spread_out.cast(features)
    return choose_columns(spread_out, features)


def some_rows(dataset: AnyTable, number: int) -> list[Row]:
    """So many rows at most, spread evenly over a table; of a stream the first few. Not decoded."""
    if isinstance(dataset, datasets.IterableDataset):
        return list(dataset.decode(False).take(min(number, _ROWS_CHECKED)))
    return dataset.with_format("arrow")[range(0, len(dataset), max(1, len(dataset) // number))].to_pylist()


def check_first_rows(dataset: AnyTable, check: Callable[[Row], None] = lambda row: None) -> None:
    """A wrong column or setting shows in the first examples, before long work starts: raises what the first row raised
    (`ValueError`, `OSError`, `SyntaxError`), if none of the first eight can be used. One broken file is none of these.
    `check` raises `ValueError` for a decoded row that is not as it should be."""
    is_stream, first_error = isinstance(dataset, datasets.IterableDataset), None
    rows = some_rows(dataset, _ROWS_CHECKED) if is_stream else dataset.with_format("arrow")[:_ROWS_CHECKED].to_pylist()
    for row in rows:
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


def checked_columns(
    dataset: AnyTable,
    features: Mapping[str, Any],
    name: str | PathLike,
    stored_as: Mapping[str, str] = {},
    *,
    hint: str = "",
    check: Callable[[Row], None] = lambda row: None,
) -> AnyTable:
    """The columns of [`choose_columns`], if these are there ([`check_columns`]) and some of the first rows can be used
    ([`check_first_rows`])."""
    check_columns(dataset, [stored_as.get(column, column) for column in features], name, hint)
    dataset = choose_columns(dataset, features, stored_as)
    check_first_rows(dataset, check)
    return dataset


def numbers_shown(rows: datasets.Dataset, column: str) -> set[int]:
    """All numbers in a column of lists of them."""
    return set(pc.unique(pc.list_flatten(rows.with_format("arrow")[column])).to_pylist())


class EncodedRows(Dataset):
    """The rows of a finite stream, decoded when they are asked for."""

    def __init__(self, dataset: datasets.IterableDataset):
        self.rows, self.features = list(dataset.decode(False)), dataset.features

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.features.decode_example(self.rows[index])


def evenly(samples: Sequence, count: int | None) -> Sequence:
    """`count` of the samples, spread evenly from the first to the last; all if `None` or too many."""
    if count is None or count >= len(samples):
        return samples
    return Subset(samples, np.linspace(0, len(samples) - 1, count).round().astype(int).tolist())


def examples(dataset: Dataset | datasets.Dataset | datasets.IterableDataset, count: int | None) -> Sequence | Dataset:
    """As [`evenly`]; of a stream, and of a data set without end (and so without length), the first `count`.
    `ValueError` if all are asked of a data set without end."""
    if isinstance(dataset, datasets.IterableDataset):
        return EncodedRows(dataset if count is None else dataset.take(count))
    if isinstance(dataset, Sized):
        return evenly(dataset, count)
    if count is None:
        raise ValueError("Set evaluation.num_samples (of a command --limit): synthetic rooms have no end.")
    return Subset(dataset, range(count))


def only_columns(rows: Iterable, columns: Sequence[str]) -> Iterable:
    """The same rows, but those of a table, or of its tiles, have only these columns: pictures that nobody looks at are
    not decoded."""
    if isinstance(rows, Subset):
        return Subset(only_columns(rows.dataset, columns), rows.indices)
    return rows.select_columns(list(columns)) if isinstance(rows, datasets.Dataset | ObjectTiles) else rows
