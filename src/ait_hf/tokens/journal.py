# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Long work, sample by sample, that goes on exactly where it was broken off."""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..data.writing import write_text


class Journal:
    """
    What was done so far, one JSON line for each sample, beside the file that all of it becomes.

    Args:
        output (`Path`): That file. The journal is `.NAME.journal`; it is removed in the end.
        job (`dict`): Says what is done to what. A journal of another job is not gone on with.

    Raises:
        ValueError: The journal is of another job.
    """

    def __init__(self, output: Path, job: dict[str, Any]):
        self.output = output
        self.path = output.with_name(f".{output.name}.journal")
        self.job = json.dumps(job, sort_keys=True)
        self.entries = self._read()

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # the last one may have been cut off
        if not whole:
            return []
        if whole[0].rstrip("\n") != self.job:
            raise ValueError(
                f"{self.path} is what is left of another job with this output: remove it, or run that job to its end."
            )
        if len(whole) < len(lines):
            write_text(self.path, "".join(whole))
        return [json.loads(line) for line in whole[1:]]

    def run(
        self, samples: Iterable[Any], batch_size: int, work: Callable[[list[Any]], list[dict[str, Any]]], total: int
    ) -> list[dict[str, Any]]:
        """
        `work` on all samples that are not done yet, in batches.

        Returns:
            Its entries of all samples, also of the earlier run, in their order.
        """
        self.output.parent.mkdir(parents=True, exist_ok=True)
        fresh = not self.entries
        with self.path.open("w" if fresh else "a", encoding="utf-8") as file:
            if fresh:
                file.write(self.job + "\n")
            with tqdm(total=total, initial=len(self.entries), unit="sample") as bar:
                for batch in _batches(islice(samples, len(self.entries), None), batch_size):
                    done = work(batch)
                    self.entries += done
                    file.writelines(json.dumps(entry) + "\n" for entry in done)
                    file.flush()
                    bar.update(len(done))
        return self.entries

    def finish(self, text: str) -> None:
        """Writes the output, all of it or nothing, and removes the journal."""
        write_text(self.output, text)
        self.path.unlink()


def _batches(samples: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(islice(samples, size)):
        yield batch
