# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Tables of rows that are checked as a whole before the first is written; 🤗 datasets keeps them in its cache until what they
were made of changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import datasets

from .remarks import log_remarks


Rows = list[dict[str, Any]]


@dataclass
class TableConfig(datasets.BuilderConfig):
    """`made_of` is all that the rows depend on: another one makes a new table."""

    made_of: tuple = ()


class CheckedTable(datasets.GeneratorBasedBuilder):
    """`read` gives the rows, and what is to be said about them."""

    BUILDER_CONFIG_CLASS = TableConfig
    read: Callable[[], tuple[Rows, Sequence[str]]]

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo()

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        rows, remarks = self.read()
        self.info.description = "\n".join(filter(None, remarks))
        return [datasets.SplitGenerator(name=datasets.Split.TRAIN, gen_kwargs={"rows": rows})]

    def _generate_examples(self, rows: Rows):
        yield from enumerate(rows)


def checked_table(
    name: str,
    features: datasets.Features,
    read: Callable[[], tuple[Rows, Sequence[str]]],
    made_of: tuple,
    cache_dir: str | PathLike | None,
) -> tuple[datasets.Dataset, str]:
    """The table, made or found in the cache, and the folder that it is kept in; logs the remarks, in either case."""
    cache = None if cache_dir is None else str(cache_dir)
    builder = CheckedTable(cache_dir=cache, dataset_name=name, features=features, made_of=made_of)
    builder.read = read
    builder.download_and_prepare()
    log_remarks(builder)
    return builder.as_dataset(datasets.Split.TRAIN), builder.cache_dir
