# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Types of arguments that several commands take; argparse makes a sentence of what they raise."""

from argparse import ArgumentTypeError
from collections.abc import Callable

import torch


SEEDS = range(2**32)  # what numpy takes


def device(text: str) -> torch.device:
    """A device that this machine has."""
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
