# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Values of JSON files, taken by their types: text that looks like a number is no number, and neither is `true`; and
whether boxes are of the format that they should have.

Every function gives the value, or raises `ValueError` with `what` (the file, the entry and the key) at the beginning.
"""

import json
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np


ODD_SHARE = 0.05  # of a file's boxes may be odd: annotators slip
_FEW = 3  # so many odd boxes without any reason are chance
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


def check_box_format(
    boxes: np.ndarray, sizes: np.ndarray, name: str, *, detected: bool = False, wanted: str = "x, y, width, height"
) -> None:
    """Refuses boxes of which too many leave their picture by more than a pixel or have a side under a pixel. (Boxes
    without area are left out elsewhere.)

    Args:
        boxes, sizes: float `(n, 4)`, x, y, width, height as they are meant, and `(n, 2)`, width and height of the
            picture of each, pixels.
        name, wanted: of the file, and what it has to hold, for the message, a `ValueError` with the likely reason.
        detected: whether they are those of a detector, which may well leave the picture: then only boxes are refused
            that make sense in another way, nearly all of them.
    """
    boxes, sizes = (np.asarray(values, dtype=np.float64) for values in (boxes, sizes))
    corners, extent = boxes[:, :2], boxes[:, 2:]
    leaves = ((corners < -1) | (corners + extent > sizes + 1)).any(axis=1)
    odd = leaves | ((extent > 0).all(axis=1) & (extent < 1).any(axis=1))
    if odd.sum() <= ODD_SHARE * len(boxes):
        return
    explained, share = (slice(None), 1 - ODD_SHARE) if detected else (odd, 0.5)
    reasons = {
        "they were shares of the picture's sides (0 to 1)": (boxes >= 0) & (boxes <= 1.001),
        "they were corners (x1, y1, x2, y2)": (corners >= -1) & (extent > corners) & (extent <= sizes + 1),
    }
    reason = next((text for text, fits in reasons.items() if fits.all(axis=1)[explained].mean() >= share), None)
    if reason is None and (detected or odd.sum() < _FEW):
        return
    raise ValueError(
        f"{name}: {odd.sum()} of {len(boxes)} boxes leave their picture by more than a pixel or are under a pixel, as if "
        f"{reason or 'they were drawn in pictures of another size'}; boxes must be {wanted} in pixels."
    )


def _finite(values: Any, count: int) -> list[float] | None:
    numbers = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(numbers, list | tuple) or len(numbers) != count:
        return None
    if set(map(type, numbers)) <= _NUMBERS or all(map(_is_number, numbers)):
        try:
            array = np.array(numbers, dtype=np.float64)
        except OverflowError:  # a whole number beyond what floats hold
            array = np.array(np.nan)
        if np.isfinite(array).all():
            return array.tolist()
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
