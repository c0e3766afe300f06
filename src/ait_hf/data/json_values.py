# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Values of JSON files, taken by their types: text that looks like a number is no number, and neither is `true`.

Every function gives the value, or raises `ValueError` with `what` (the file, the entry and the key) at the beginning.
"""

import json
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np


_LARGEST_ID = 2**63 - 1  # what tables hold
_NUMBERS = {int, float}


def read_json(path: Path) -> Any:
    """The content of a file in UTF-8, with or without a byte order mark; `ValueError` if it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # malformed JSON or text that is not Unicode
        raise ValueError(f"{path} is not a JSON file: it is not valid JSON ({error}).") from None


def finite_numbers(values: Any, count: int, what: str) -> list[float]:
    """So many finite numbers."""
    if (numbers := _finite(values, count)) is None:
        raise ValueError(f"{what} {_shown(values)}; {count} finite numbers are needed.")
    return numbers


def finite_number(value: Any, what: str) -> float:
    """One finite number."""
    if (numbers := _finite([value], 1)) is None:
        raise ValueError(f"{what} {_shown(value)}; a finite number is needed.")
    return numbers[0]


def whole_number(value: Any, what: str) -> int:
    """A whole number of at most 64 bits, perhaps written with a fraction of zero (7.0), as tables of floats are saved."""
    if not _is_number(value) or not (isinstance(value, Integral) or float(value).is_integer()):
        raise ValueError(f"{what} {_shown(value)}, no whole number.")
    if abs(value) > _LARGEST_ID:
        raise ValueError(
            f"{what} {_shown(value)}, which has more than 64 bits: number the entries anew, in all files."
        )
    return int(value)


def pixel_count(value: Any, what: str) -> int:
    """A whole number above 0, of 31 bits."""
    if not _is_number(value) or not 1 <= value < 2**31 or value != int(value):
        raise ValueError(f"{what} {_shown(value)}, no pixel number.")
    return int(value)


def flag(value: Any, what: str) -> bool:
    """`true`, `false`, 0 or 1."""
    if not (isinstance(value, bool | np.bool_) or _is_number(value)) or value not in (0, 1):
        raise ValueError(f"{what} {_shown(value)}; it must be 0 or 1 (or false or true, without quotation marks).")
    return bool(value)


def name_text(value: Any, what: str) -> str:
    """Text, or the digits of a whole number."""
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"{what} {_shown(value)}, no text.")
    return value


def _finite(values: Any, count: int) -> list[float] | None:
    numbers = values.tolist() if isinstance(values, np.ndarray) else values
    if isinstance(numbers, list | tuple) and len(numbers) == count and _are_numbers(numbers):
        try:
            array = np.array(numbers, dtype=np.float64)
        except OverflowError:  # a whole number beyond what floats hold
            array = np.array(np.nan)
        if np.isfinite(array).all():
            return array.tolist()
    return None


def _are_numbers(values: Sequence[Any]) -> bool:
    return set(map(type, values)) <= _NUMBERS or all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
