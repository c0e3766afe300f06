# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A part of a data set that stands for the whole."""

from collections.abc import Iterable, Sequence, Sized
from typing import Any

import datasets
import numpy as np
from torch.utils.data import Dataset, Subset


class EncodedRows(Dataset):
    """The rows of a finite stream, decoded when they are asked for."""

    def __init__(self, dataset: datasets.IterableDataset):
        self.rows = list(dataset.decode(False))
        self.features = dataset.features

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.features.decode_example(self.rows[index])


def evenly(samples: Sequence, count: int | None) -> Sequence:
    """`count` of the samples, spread evenly from the first to the last; all if `None` or too many."""
    if count is None or count >= len(samples):
        return samples
    return Subset(samples, np.linspace(0, len(samples) - 1, count).round().astype(int).tolist())


def examples(dataset: Dataset | datasets.Dataset | datasets.IterableDataset, count: int | None) -> Sequence | Dataset:
    """
    As [`evenly`]; of a stream, and of a data set without end (and so without length), the first `count`.

    Raises:
        ValueError: All are asked of a data set without end.
    """
    if isinstance(dataset, datasets.IterableDataset):
        return EncodedRows(dataset if count is None else dataset.take(count))
    if isinstance(dataset, Sized):
        return evenly(dataset, count)
    if count is None:
        raise ValueError("Set evaluation.num_samples (of a command --limit): synthetic rooms have no end.")
    return Subset(dataset, range(count))


def only_columns(rows: Iterable, columns: Sequence[str]) -> Iterable:
    """The same rows, but those of a table have only these columns: pictures that nobody looks at are not decoded."""
    if isinstance(rows, Subset):
        return Subset(only_columns(rows.dataset, columns), rows.indices)
    return rows.select_columns(list(columns)) if isinstance(rows, datasets.Dataset) else rows
