# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Files that the processes of a run write together."""

from collections.abc import Callable

from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError


# What writing to a full disk raises: torch and safetensors have errors of their own.
_WRITE_ERRORS = (OSError, SafetensorError, RuntimeError)


class WriteError(OSError):
    """Something of a run could not be written; the message says what, why and what is left."""


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
