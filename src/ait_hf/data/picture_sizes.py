# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether pictures fit what belongs to them, which has to be in the pixels of the upright picture."""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path

from ..model.image_reading_ait import BrokenImageError, ImageHeader, read_picture_header
from .files import FileFinder


_READERS = 16  # headers read at a time, for disks that are far away


def check_pictures(annotations: str | PathLike, sizes: Mapping[str, tuple[int, int]]) -> str:
    """Compares pictures, by their headers, with the sizes (height and width by the pictures' paths) that their
    annotations, a file that messages name, are for; gives a remark, see [`turned_pictures`], or nothing. Files that
    are no images are left to those who decode them. `ValueError` if a picture has another size, is too large, or has
    one channel of more than 8 bits."""
    with ThreadPoolExecutor(_READERS) as pool:
        headers = {path: header for path, header in zip(sizes, pool.map(_header, sizes)) if header is not None}
    for path, header in headers.items():
        if header.size != sizes[path]:
            raise ValueError(
                f"{path} has height and width {header.size}, but {annotations} says {sizes[path]}: give the pictures that "
                f"were annotated.{swapped_sides(header.size, sizes[path])}"
            )
    return turned_pictures(headers.items())


def check_changed_pictures(
    annotations: str | PathLike, sizes: Mapping[str, tuple[int, int]], notes: str | PathLike
) -> str:
    """As [`check_pictures`], but headers are read only where a file is another one than when they were read last,
    which the folder `notes` remembers. `FileNotFoundError` if a picture does not exist."""
    note = Path(notes) / f"pictures-{state_of_files(sizes)}.txt"
    if not note.is_file():
        note.write_text(check_pictures(annotations, sizes), encoding="utf-8")
    return note.read_text(encoding="utf-8")


def state_of_files(paths: Iterable[str | PathLike]) -> str:
    """A digest of files' names, sizes and times of change, in their order; `FileNotFoundError` if one is missing."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(_READERS) as pool:
        for name in pool.map(_state, paths):
            digest.update(name.encode(errors="surrogateescape"))
    return digest.hexdigest()


def check_maps(maps: Iterable[tuple[str | PathLike, str | PathLike, ImageHeader]], what: str) -> str:
    """Compares pictures, by their headers, with the maps that belong to them (picture, file of its map, and the map's
    header); gives a remark, see [`turned_pictures`], or nothing. `ValueError`, which calls a map `what`, if one has
    another size than its picture."""
    turned = []
    for picture, path, of_map in maps:
        header = read_picture_header(picture)
        if header.size != of_map.size:
            raise ValueError(
                f"{picture} has height and width {header.size}, but its {what} {path} has {of_map.size}: resize one to the "
                f"other's size.{swapped_sides(header.size, of_map.size)}"
            )
        if header.orientation != of_map.orientation:
            turned.append((picture, header))
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
    """A remark, or nothing if there is no reason for one: an EXIF orientation that leaves the size as it is does not
    show where what belongs to the pictures was made for them as they are stored."""
    turned = [str(path) for path, header in pictures if header.is_turned_in_silence]
    if not turned:
        return ""
    return (
        f"{len(turned)} pictures, first {turned[0]}, have an EXIF orientation that turns or mirrors them without a change "
        "of size. They are read upright, as viewers show them: make sure that what belongs to them is in the pixels of the "
        "upright pictures."
    )


def _state(path: str | PathLike) -> str:
    try:
        stat = Path(path).stat()
    except FileNotFoundError:
        hint = FileFinder().hint(Path(path).parent, Path(path).name)
        raise FileNotFoundError(f"Image {path} does not exist{hint}.") from None
    return f"{path} {stat.st_size} {stat.st_mtime_ns}\n"


def _header(path: str) -> ImageHeader | None:
    try:
        return read_picture_header(path)
    except BrokenImageError:
        return None
