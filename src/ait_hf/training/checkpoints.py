# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Checkpoints to resume from: Accelerate's whole state in a folder per step, sealed by a manifest that is written last.

(Accelerate's own naming writes in place, and removes the old checkpoint before it writes the new one.)
"""

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list, gather_object
from safetensors import SafetensorError

from ..data.writing import replace_folder, write_text


logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
# What writing to a full disk raises: torch and safetensors have errors of their own.
_WRITE_ERRORS = (OSError, SafetensorError, RuntimeError)
_STEP = re.compile(r"^step-\d+$")


class WriteError(OSError):
    """Something of a run could not be written; the message says what, why and what is left."""


def write_together(
    accelerator: Accelerator, what: str, write: Callable[[], None], *, everywhere: bool = False, intact: str = ""
) -> None:
    """Calls `write` on the main process, or on every one, and waits for all of them. All processes call it.
    `WriteError` on all of them, if it failed on one: it says `what` is written and where, and what is left
    (`intact`)."""
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


def save_checkpoint(
    accelerator: Accelerator, checkpoints: Path, step: int, keep: int, before: Path | None = None
) -> Path:
    """
    Saves Accelerate's whole state as `checkpoints/step-<step>` and then removes all but the newest `keep`. All processes
    call it.

    Of those that are not `before`, the run's checkpoint before this one, any that lie between the two are damaged, and
    later ones are of a run that was taken back: these are removed too. `WriteError` if it could not be written: the
    checkpoints before it are as they were, and nothing is left of it.
    """
    folder = checkpoints / f"step-{step:08d}"
    temporary = folder.with_name(f".{folder.name}.tmp")
    what, intact = f"Checkpoint {folder}", name_last_good(before)
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
    accelerator.wait_for_everyone()
    try:
        save = partial(accelerator.save_state, str(temporary))
        write_together(accelerator, what, save, everywhere=True, intact=intact)
        write_together(accelerator, what, partial(_seal, temporary, folder, step, accelerator), intact=intact)
    except WriteError:
        if accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    if accelerator.is_main_process:
        others = [path for path in list_checkpoints(checkpoints) if path != folder]
        earlier = [path for path in others if before is not None and path.name <= before.name]
        for old in set(others) - set(earlier[max(0, len(earlier) - keep + 1) :]):
            shutil.rmtree(old)
        for half_written in checkpoints.glob(".step-*"):  # by a run that was killed
            shutil.rmtree(half_written)
    accelerator.wait_for_everyone()
    return folder


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Checkpoints by their names, oldest first."""
    found = (path for path in checkpoints.glob("step-*") if _STEP.match(path.name))
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def name_last_good(checkpoint: Path | None) -> str:
    """A sentence for messages."""
    return "There is no checkpoint yet." if checkpoint is None else f"The last good checkpoint is {checkpoint}."


def checkpoint_to_resume(accelerator: Accelerator, checkpoints: Path, resume: str) -> Path | None:
    """
    All processes call it and get what the main process finds in the folder of a run's checkpoints, which need not
    exist.

    Args:
        resume: `"auto"` for the newest that is whole, if there are any, `"never"`, or the path of a checkpoint.

    Raises:
        FileNotFoundError: The given checkpoint does not exist.
        ValueError: The given checkpoint or all that there are are damaged; or `"never"`, but there are checkpoints
            that a new run would mix with its own; or it was saved with FSDP or DeepSpeed and this run is without, or
            the other way round.
    """
    found: list[Path | Exception | None] = [None]
    if accelerator.is_main_process:
        try:
            found = [_find(checkpoints, resume)]
        except (FileNotFoundError, ValueError) as error:
            found = [error]
    (result,) = broadcast_object_list(found)
    if isinstance(result, Exception):
        raise result
    if result is not None:
        manifest = json.loads((result / MANIFEST).read_text(encoding="utf-8"))
        saved_by, before, now = manifest["num_processes"], manifest["kind"], _kind(accelerator)
        if before != now:
            raise ValueError(f"{result} was saved with {before} and cannot be resumed with {now}: launch as before.")
        if saved_by != accelerator.num_processes and accelerator.is_main_process:
            logger.warning(
                "%s was saved by %d processes and is resumed by %d: random numbers, and batches of streamed data, will not "
                "be those of an uninterrupted run.",
                *(result, saved_by, accelerator.num_processes),
            )
    return result


def what_is_wrong(checkpoint: Path) -> str | None:
    """Says which file of a checkpoint is missing, truncated or changed; `None` if it is whole."""
    if not (checkpoint / MANIFEST).is_file():
        return f"{MANIFEST} is missing"
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        files, _ = manifest["files"], manifest["kind"]
    except (ValueError, KeyError):
        return f"{MANIFEST} is damaged"
    for name, expected in files.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["size"]:
            return f"{name} has {path.stat().st_size} of {expected['size']} bytes"
        if _digest(path) != expected["sha256"]:
            return f"{name} has changed"
    return None


def check_batch_sizes(before: Mapping[str, Any], now: Mapping[str, Any], resumed: Path) -> dict[str, Any]:
    """
    The values that a run was started with, `batch_size` being that of a step: from those of its saved recipe, where
    `version` is `None` if that does not say, and of the one that it is resumed with, both flattened. `ValueError` if
    the former are from when it was that of a process and forward, and the latter have another number than they made
    together, which the message has.
    """
    if before.get("version") is not None:
        return dict(before)
    num_processes = json.loads((resumed / MANIFEST).read_text(encoding="utf-8"))["num_processes"]
    forwards = before["train.gradient_accumulation_steps"]
    totals = {
        key: value * num_processes * forwards for key, value in before.items() if key.endswith("data.batch_size")
    }
    if differing := [f"{key}={total}" for key, total in totals.items() if now.get(key, total) != total]:
        raise ValueError(
            f"{resumed} was saved when batch_size was that of one process and forward; it now is that of a whole step, "
            f"of which this run had {num_processes} processes with {forwards} forwards each: to go on, write "
            f"{' '.join(differing)}."
        )
    return {**before, **totals, "version": now["version"]}


def _find(checkpoints: Path, resume: str) -> Path | None:
    found = list_checkpoints(checkpoints)
    if resume == "never" and found:
        raise ValueError(f"{checkpoints} has checkpoints: remove it, choose another output_dir or resume=auto.")
    if resume not in ("auto", "never"):
        if not Path(resume).is_dir():
            raise FileNotFoundError(f"There is no checkpoint at {resume} to resume from.")
        if problem := what_is_wrong(Path(resume)):
            raise ValueError(f"The checkpoint {resume} cannot be resumed from: {problem}.")
        return Path(resume)
    problems = {}
    for path in reversed(found):
        if (problem := what_is_wrong(path)) is None:
            for bad, reason in problems.items():
                logger.warning("%s is skipped: %s. %s is used instead.", bad, reason, path)
            return path
        problems[path] = problem
    if problems:
        listed = "; ".join(f"{path.name}: {problem}" for path, problem in problems.items())
        raise ValueError(f"No checkpoint in {checkpoints} is whole ({listed}): remove the folder to start anew.")
    return None


def _kind(accelerator: Accelerator) -> str:
    """What the files of a checkpoint are like: parts of FSDP or DeepSpeed, or whole weights."""
    names = {DistributedType.FSDP: "FSDP", DistributedType.DEEPSPEED: "DeepSpeed"}
    return names.get(accelerator.distributed_type, "whole weights")


def _seal(temporary: Path, folder: Path, step: int, accelerator: Accelerator) -> None:
    """Last of all: a folder with a manifest that agrees is a whole checkpoint."""
    paths = [path for path in sorted(temporary.rglob("*")) if path.is_file()]
    about = [{"size": path.stat().st_size, "sha256": _digest(path)} for path in paths]
    files = dict(zip((path.relative_to(temporary).as_posix() for path in paths), about))
    manifest = {"step": step, "num_processes": accelerator.num_processes, "kind": _kind(accelerator), "files": files}
    write_text(temporary / MANIFEST, json.dumps(manifest, indent=1))
    replace_folder(temporary, folder)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
