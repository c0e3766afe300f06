# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of a training run, never left half-written: everything gets a temporary name first and is then renamed."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator


_STEP = re.compile(r"^step-(\d+)$")


def write_text(path: Path, text: str) -> None:
    """Writes a whole file or nothing."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Replaces `folder` by what `write` puts into a temporary one."""
    temporary = _temporary(folder)
    write(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def write_into_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Adds the files that `write` puts into a temporary folder to `folder`, which keeps what else it holds."""
    temporary = _temporary(folder / "model")
    write(temporary)
    for path in sorted(temporary.iterdir()):
        if path.is_dir():  # which cannot replace a folder that holds files
            shutil.rmtree(folder / path.name, ignore_errors=True)
        os.replace(path, folder / path.name)
    temporary.rmdir()


def save_checkpoint(accelerator: Accelerator, checkpoints: Path, step: int, keep: int) -> Path:
    """
    Saves Accelerate's whole state as `checkpoints/step-<step>` and removes all but the newest `keep`. (Accelerate's
    own naming writes in place, and removes the old checkpoint before it writes the new one.) All processes call it.
    """
    folder = checkpoints / f"step-{step:08d}"
    temporary = folder.with_name(f".{folder.name}.tmp")
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
        for old in list_checkpoints(checkpoints)[:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return folder


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not checkpoints.is_dir():
        return []
    found = {int(match[1]): path for path in checkpoints.iterdir() if (match := _STEP.match(path.name))}
    return [found[step] for step in sorted(found)]


def checkpoint_to_resume(checkpoints: Path, resume: str) -> Path | None:
    """
    Args:
        checkpoints: Folder of the run's checkpoints; need not exist.
        resume: `"auto"` for the newest if there is one, `"never"`, or the path of a checkpoint.

    Raises:
        FileNotFoundError: The given checkpoint does not exist.
        ValueError: `"never"`, but there are checkpoints that a new run would mix with its own.
    """
    found = list_checkpoints(checkpoints)
    if resume == "auto":
        return found[-1] if found else None
    if resume == "never":
        if found:
            raise ValueError(f"{checkpoints} has checkpoints: remove it, choose another output_dir or resume=auto.")
        return None
    if not Path(resume).is_dir():
        raise FileNotFoundError(f"There is no checkpoint at {resume} to resume from.")
    return Path(resume)


def _temporary(folder: Path) -> Path:
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary
