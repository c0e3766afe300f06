# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
How a command ends that was given something wrong: one sentence, exit status 2. Errors of code keep their traceback.

The two are told apart by who raised: a `raise` of this package, or of the libraries that check what users give, was
written for the user, and so is whatever the operating system says of files. A `ValueError` out of numpy's or torch's
computations was not.
"""

import dis
import functools
import os
import sys
import time
from collections.abc import Callable
from types import TracebackType

import torch
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import StrictDataclassError


DEBUG = "AIT_DEBUG"  # environment variable: any value shows the traceback of every error
GRACE = 15  # seconds that the other processes of a run leave the main one, which mostly meets the same fault
_SPEAKERS = {"ait_hf", "accelerate", "datasets", "diffusers", "huggingface_hub", "peft", "transformers"}
_SAID = (ValueError, TypeError, FloatingPointError, ImportError, StrictDataclassError, DatasetsError)


class SampleError(ValueError):
    """
    Something is wrong with a sample of the data. May be raised in a worker of a `DataLoader`, which hands on the text of
    its traceback: of that the message is the last part.
    """

    def __init__(self, message: str):
        super().__init__(message.rpartition(f"{SampleError.__name__}: ")[2].strip())


_OF_THE_MACHINE = (OSError, torch.OutOfMemoryError)


def command(prog: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """
    Decorator of a command's `main`. `prog` is what the sentence begins with.

    With several processes the main one says it; another one does only if that is silent, as where one machine lacks
    the data.
    """

    def decorate(main: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(main)
        def run(*arguments, **options) -> None:
            try:
                main(*arguments, **options)
            except Exception as error:
                if os.environ.get(DEBUG) or not is_fault(error, main.__module__):
                    raise
                if os.environ.get("RANK", "0") != "0":
                    time.sleep(GRACE)  # whoever launched them ends it meanwhile
                print(f"{prog}: {sentence(error)}", file=sys.stderr)
                sys.exit(2)

        return run

    return decorate


def is_fault(error: Exception, command_module: str = "ait_hf") -> bool:
    """Whether an error speaks of what a command was given, or of its machine, and not of its code."""
    if isinstance(error, (SampleError, *_OF_THE_MACHINE)):
        return True
    return isinstance(error, _SAID) and _raiser(error.__traceback__) in {*_SPEAKERS, command_module.partition(".")[0]}


def sentence(error: Exception) -> str:
    """The message of an error in one line."""
    if isinstance(error, StrictDataclassError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, torch.OutOfMemoryError):
        return f"{' '.join(str(error).split('. ')[:2])}: take a smaller batch size."
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}."
    return " ".join(str(error).split()) or type(error).__name__


def _raiser(traceback: TracebackType) -> str | None:
    """Name of the package, or of the script, whose `raise` it was; `None` for an error out of compiled code."""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    if dis.opname[frame.f_code.co_code[traceback.tb_lasti]] != "RAISE_VARARGS":
        return None
    return frame.f_globals["__name__"].partition(".")[0]
