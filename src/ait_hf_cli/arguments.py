# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What the parsers of several verbs share; argparse makes a sentence of what types of arguments raise."""

import argparse
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from typing import Any

from .models import find_model, shipped_models
from .recipes import find_recipe


Arguments = Sequence[str] | None  # of a verb; those of the process by default
Options = argparse.Namespace
SEEDS = range(2**32)  # what numpy takes


def command_parser(description: str, prog: str | None) -> argparse.ArgumentParser:
    """
    Args:
        description: For `--help`, as it is laid out.
        prog: What the command is called; by default as the process was.
    """
    return argparse.ArgumentParser(
        prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def device(text: str) -> Any:
    """A `torch.device` that this machine has."""
    import torch  # which takes seconds: only whoever names a device waits for them

    try:
        found = torch.device(text)
        torch.zeros(1, device=found).tolist()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch raises all of them for lack of one
        raise ArgumentTypeError(f"{text} is no device of this machine ({str(error).splitlines()[0]})") from error
    return found


def seed(text: str) -> int:
    """A seed of all random generators."""
    if (value := int(text)) not in SEEDS:
        raise ArgumentTypeError(f"{text} is not in 0..{SEEDS[-1]}")
    return value


def recipe(text: str) -> str:
    """A recipe that is there; the text itself, so that the log can say what was found for it."""
    try:
        find_recipe(text)
    except FileNotFoundError as error:
        raise ArgumentTypeError(str(error)) from error
    return text


def add_model(
    parser: argparse.ArgumentParser,
    required: bool = True,
    what: str = "folder of a saved model",
    default: str | None = None,
) -> None:
    """`--model`: what is given, or the folder of the model of that name that the package brings."""
    brought = ", ".join(shipped_models())
    said = f"{what}, or one that the package brings: {brought}" if brought else what
    said += "" if default is None else f" (default: {default})"
    parser.add_argument("--model", type=find_model, required=required, default=default, metavar="DIR", help=said)


def positive(number: Callable[[str], float]) -> Callable[[str], float]:
    """A number above 0, of the type `number`."""

    def parse(text: str) -> float:
        value = number(text)
        if not value > 0:
            raise ArgumentTypeError(f"{text} is not positive")
        return value

    parse.__name__ = f"positive {number.__name__}"  # as argparse calls it
    return parse


def score(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text} is not in 0..1")
    return value


def add_tf32(parser: argparse.ArgumentParser) -> None:
    tf32 = "round products of float32 matrices to TF32 on a GPU that has it (default: yes)"
    parser.add_argument("--tf32", action=argparse.BooleanOptionalAction, default=True, help=tf32)
