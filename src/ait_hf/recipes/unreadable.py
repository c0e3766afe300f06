# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Training samples that cannot be read: skipped, counted and named, until there are too many of them.

Workers meet them and hand their names over with the batch; the process that trains keeps the account, so that it is the
same with any number of workers.
"""

import logging
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import datasets
from PIL.Image import DecompressionBombError
from torch.utils.data import Subset

from ..data.classes import enumerated
from .faults import SampleError


logger = logging.getLogger(__name__)

# What readers of files, and transforms that check what was read, raise for one bad sample: missing and truncated files,
# broken pictures, depth without a valid pixel, images smaller than the crop. Errors in code are none of these.
READING_ERRORS = (OSError, ValueError, EOFError, SyntaxError, struct.error, zlib.error, DecompressionBombError)
MOST_IN_A_ROW = 32  # so many one after the other, and it is not single files that are broken
SMALLEST_COUNT = 1000  # a share of fewer samples says nothing
_NUM_NAMED = 3


@dataclass(frozen=True)
class Unreadable:
    """One sample that cannot be read: what it is called, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


Sample = dict[str, Any]
Drawn = tuple[Sample, tuple[Unreadable, ...]]  # a sample, and those that could not be read in its place
Candidate = tuple[Callable[[], Sample], Callable[[], str]]  # what reads a sample, and what says how it is called


@dataclass
class UnreadableLog:
    """The account of one source of samples."""

    source: str  # name of the data section, for messages
    max_share: float  # more than this share of the samples drawn, counted as 1,000 at least, stops the run
    drawn: int = 0  # samples drawn by this process since it started
    count: int = 0  # how many of them could not be read, and were replaced
    named: dict[str, Unreadable] = field(default_factory=dict)

    def add(self, failures: Iterable[tuple[Unreadable, ...]]) -> None:
        """Takes account of what could not be read before each sample of a batch; `ValueError` for too much."""
        for met in failures:
            self.drawn += 1
            self.count += bool(met)
            for failure in met:
                if failure.name not in self.named:
                    self.named[failure.name] = failure
                    logger.warning("A sample of %s cannot be read, another takes its place: %s.", self.source, failure)
        if self.count > self.max_share * max(self.drawn, SMALLEST_COUNT):
            raise ValueError(
                f"{self.count} of {self.drawn} samples of {self.source} could not be read, more than its "
                f"max_unreadable_share of {self.max_share:g} allows: {enumerated(self.named.values(), _NUM_NAMED)}. Mend these files, "
                "leave them out, or allow more."
            )


def first_readable(candidates: Iterable[Candidate]) -> Drawn:
    """`SampleError` if so many cannot be read that looking for another sample makes no sense."""
    failures: list[Unreadable] = []
    for read, name in candidates:
        try:
            return read(), tuple(failures)
        except READING_ERRORS as error:
            failures.append(Unreadable(name(), str(error)))
        if len(failures) >= MOST_IN_A_ROW:
            raise SampleError(f"{len(failures)} samples in a row cannot be read: {enumerated(failures, _NUM_NAMED)}.")


def name_of(dataset: Any, index: int) -> str:
    """What to call an example that cannot be decoded: the path in its row, if it is one of a 🤗 data set."""
    if isinstance(dataset, Subset):
        return name_of(dataset.dataset, dataset.indices[index])
    if isinstance(dataset, datasets.Dataset):
        (row,) = dataset.with_format("arrow")[index : index + 1].to_pylist()
        return path_in(row) or f"row {index}"
    return f"sample {index}"


def path_in(row: Mapping[str, Any]) -> str | None:
    """The first path in a row that is not decoded, if it has any."""
    stored = (value.get("path") if isinstance(value, Mapping) else None for value in row.values())
    return row.get("path") or next((path for path in stored if path), None)
