# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images in tables of 🤗 datasets: pictures, all by [`~ait_hf.model.image_reading_ait`], and images that hold numbers."""

import io
import re
import warnings
from dataclasses import dataclass
from os import PathLike
from typing import Any, BinaryIO

import datasets
import numpy as np
import PIL.Image
from datasets.utils.file_utils import is_local_path, xopen

from ..model.image_reading_ait import read_image, reading, upright_image


# How Pillow unpacks one channel of at most 8 bits, by the pixels' bits, and whether it turns black into white.
_PACKED = re.compile(r"(?:1|L)(?:;([24])?(I)?R?)?")
_STRETCH = {"2": 85, "4": 17}  # what Pillow multiplies such pixels by, so that they fill 8 bits


@dataclass
class Picture(datasets.Image):
    """Picture feature: on access an upright RGB image of 8 bits per channel, see [`~ait_hf.model.image_reading_ait.read_image`].

    Files and shards that are written from such a column call it `datasets.Image`, so that they can be read anywhere.

    Raises:
        FileNotFoundError, ValueError: on access, see there.
    """

    mode: str | None = "RGB"

    def decode_example(self, value: dict[str, Any], token_per_repo_id: dict | None = None) -> PIL.Image.Image:
        with stored_file(value) as file:
            return read_image(file, stored_name(value))


def register(feature: type) -> None:
    """Makes a class a feature of 🤗 datasets, by its name."""
    with warnings.catch_warnings():  # datasets calls that experimental at every call
        warnings.simplefilter("ignore", UserWarning)
        datasets.features.features.register_feature(feature, feature.__name__)


def stored_file(value: dict[str, Any]) -> BinaryIO:
    """The file of an image as it is in a table, with its `bytes` or else its `path`, which may be an address."""
    if value["bytes"] is not None:
        return io.BytesIO(value["bytes"])
    # What 🤗 datasets opens addresses with is slow for files.
    return open(value["path"], "rb") if is_local_path(value["path"]) else xopen(value["path"], "rb")


def open_array(path: str | PathLike) -> np.ndarray:
    """The array of a `.npy` file, read where it is used; `ValueError` if it holds none of numbers."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a NumPy array of numbers: {error}") from error


def stored_name(value: dict[str, Any]) -> str:
    """What errors call an image as it is in a table."""
    return value["path"] or "An image in a row"


def open_numbers(source: str | PathLike | BinaryIO, name: str) -> PIL.Image.Image:
    """An image for [`stored_numbers`], whose mode can be looked at before; `ValueError`, with its `name`, if it is none."""
    with reading(name):
        return PIL.Image.open(source)


def stored_numbers(image: PIL.Image.Image, name: str) -> np.ndarray:
    """The numbers that an image's file holds, not those that make a picture of them: Pillow stretches pixels of 2 and
    4 bits to 8, and makes white of 0 where a file says so. The image is as [`open_numbers`] gives it, not loaded yet;
    of a palette these are the numbers of its colours.

    Returns:
        `(height, width)` or `(height, width, channels)`, upright as the picture would be.

    Raises:
        ValueError: with the `name`: pixels are broken, missing, or of 16 bits of which Pillow would drop the lower 8.
    """
    is_cut, is_inverted, stretch = _packing(image)  # which loading forgets
    if is_cut:
        raise ValueError(f"{name} has pixels of 16 bits, of which Pillow keeps 8: store the numbers as .npy.")
    with reading(name):
        numbers = np.asarray(upright_image(image))
    if numbers.dtype == bool:
        numbers = numbers.astype(np.uint8)
    if is_inverted:
        numbers = (1 if image.mode == "1" else 255) - numbers
    if stretch != 1:
        numbers = np.round(numbers / stretch).astype(numbers.dtype)
    return numbers


def _packing(image: PIL.Image.Image) -> tuple[bool, bool, float]:
    """What Pillow makes of the numbers in a file: whether it drops the lower half of their bits, whether it inverts
    them, and what it multiplies them by."""
    if not image.tile:
        return False, False, 1
    codec, arguments = image.tile[0].codec_name, image.tile[0].args
    raw_mode, *others = [arguments] if isinstance(arguments, str) else arguments or [""]
    is_wide = image.mode.startswith("I")
    if codec in ("ppm", "ppm_plain") and others:  # stretched to all of 8 or 16 bits
        (most,) = others
        return most > 255 and not is_wide, False, (65535 if is_wide else 255) / most
    packed = _PACKED.fullmatch(str(raw_mode))
    if packed is None:
        return ";16" in str(raw_mode) and not is_wide, False, 1
    bits, inverted = packed.groups()
    return False, inverted is not None, _STRETCH.get(bits, 1)
