# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of a training run, never left half-written: everything gets a temporary name first and is then renamed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError


# What writing to a full disk raises: torch and safetensors have errors of their own.
_WRITE_ERRORS = (OSError, SafetensorError, RuntimeError)


class WriteError(OSError):
    """Something of a run could not be written; the message says what, why and what is left."""


def write_text(path: Path, text: str) -> None:
    """Writes a whole file or nothing."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def write_together(
    accelerator: Accelerator, what: str, write: Callable[[], None], *, everywhere: bool = False, intact: str = ""
) -> None:
    """
    Calls `write` on the main process, or on every one, and waits for all of them. All processes call it.

    Args:
        what: What is written and where, for the message.
        intact: A sentence on what is left if it fails.

    Raises:
        WriteError: On all processes, if it failed on one of them.
    """
    error = None
    if everywhere or accelerator.is_main_process:
        try:
            write()
        except _WRITE_ERRORS as failure:
            error = failure
    reasons = gather_object([None if error is None else " ".join(str(error).split()[:40])])
    if reason := next((reason for reason in reasons if reason is not None), None):
        raise WriteError(
            f"{what} could not be written ({reason.rstrip('.')}): see that the disk has room. {intact}".strip()
        ) from error
