# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether pictures fit what belongs to them, which has to be in the pixels of the upright picture."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from os import PathLike

from ..image_reading_ait import BrokenImageError, ImageHeader, read_picture_header


_READERS = 16  # headers read at a time, for disks that are far away


def check_pictures(annotations: str | PathLike, sizes: Mapping[str, tuple[int, int]]) -> str:
    """
    Compares pictures, by their headers, with the sizes that their annotations are for. Files that are no images are left to
    those who decode them.

    Args:
        annotations: file, for messages.
        sizes: height and width by the pictures' paths.

    Returns:
        A remark, see [`turned_pictures`], or nothing.

    Raises:
        ValueError: a picture has another size, is too large, or has one channel of more than 8 bits.
    """
    turned = []
    with ThreadPoolExecutor(_READERS) as pool:
        for (path, size), header in zip(sizes.items(), pool.map(_header, sizes)):
            if header is None:
                continue
            if header.size != size:
                raise ValueError(
                    f"{path} has height and width {header.size}, but {annotations} says {size}."
                    f"{swapped_sides(header.size, size)}"
                )
            turned.append((path, header))
    return turned_pictures(turned)


def swapped_sides(size: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """What an error adds where two sizes (height, width) differ in their order only; else nothing."""
    if tuple(size) != tuple(expected)[::-1]:
        return ""
    return (
        " The sides are swapped, as by an EXIF orientation: pictures are turned upright, as viewers show them, and what "
        "belongs to them has to fit the upright picture."
    )


def turned_pictures(pictures: Iterable[tuple[str | PathLike, ImageHeader]]) -> str:
    """A remark, or nothing if there is no reason for one: an EXIF orientation that leaves the size as it is does not show
    where what belongs to the pictures was made for them as they are stored."""
    turned = [str(path) for path, header in pictures if header.is_turned_in_silence]
    if not turned:
        return ""
    return (
        f"{len(turned)} pictures, first {turned[0]}, have an EXIF orientation that turns or mirrors them without a change "
        "of size. They are read upright, as viewers show them: make sure that what belongs to them is in the pixels of the "
        "upright pictures."
    )


def _header(path: str) -> ImageHeader | None:
    try:
        return read_picture_header(path)
    except BrokenImageError:
        return None
