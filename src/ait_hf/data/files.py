# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Files that belong together by their names."""

from collections.abc import Collection
from pathlib import Path


def files_by_stem(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """
    The files of a folder with one of the suffixes (lower case, with dot) by their stems, sorted.

    Raises:
        ValueError: Two of them have the same stem.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes:
            if path.stem in files:
                raise ValueError(f"{path} and {files[path.stem]} have the same stem: keep one.")
            files[path.stem] = path
    return files
