# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Files and folders, never left half-written: everything gets a temporary name first and is then renamed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write_file(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Writes the whole file that `write` puts into an open one, or nothing."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a whole text in UTF-8 or nothing."""
    write_file(path, lambda file: file.write(text.encode()))


def write_json(path: Path, values: Any) -> None:
    """Writes values as JSON, on one line, or nothing."""
    write_text(path, json.dumps(values) + "\n")


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Replaces `folder` by what `write` puts into a temporary one."""
    with_temporary(folder, write, lambda temporary: replace_folder(temporary, folder))


def write_into_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Adds the files that `write` puts into a temporary folder to `folder`, which keeps what else it holds."""

    def move(temporary: Path) -> None:
        for path in sorted(temporary.iterdir()):
            if path.is_dir():  # which cannot replace a folder that holds files
                replace_folder(path, folder / path.name)
            else:
                os.replace(path, folder / path.name)

    with_temporary(folder / "model", write, move)


def replace_folder(new: Path, folder: Path) -> None:
    """Renames `new` to `folder`. What was there goes last, so that nothing is lost whenever this is interrupted."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def with_temporary(folder: Path, write: Callable[[Path], None], then: Callable[[Path], None]) -> None:
    """Calls `write` and `then` with an empty folder beside `folder`, of which nothing is left, whatever happens."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        then(temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
