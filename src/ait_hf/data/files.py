# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Files by their names, as lists and other files give them."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path


IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def name_key(name: str) -> str:
    """What two names of one file have in common: composed characters (é may be one character or two) and a suffix in
    lower case."""
    stem, dot, suffix = unicodedata.normalize("NFC", name).rpartition(".")
    return f"{stem}{dot}{suffix.lower()}"


def is_companion(name: str) -> bool:
    """Whether it is one of the files `._NAME` that some systems write beside every file; they are no pictures."""
    return name.startswith("._")


def is_hidden(name: str) -> bool:
    """Whether a name begins with a dot: [`is_companion`], checkpoints of notebooks, and the like."""
    return name.startswith(".")


def files_with_suffix(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files of a folder with one of the suffixes (lower case, with dot), sorted. Hidden ones are left out, see
    also [`is_companion`]."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not is_hidden(entry.name) and entry.is_file())
    return [folder / name for name in names if Path(name).suffix.lower() in suffixes]


def files_by_stem(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """The files of [`files_with_suffix`] by their stems (NFC); `ValueError` if two have the same stem."""
    files: dict[str, Path] = {}
    for path in files_with_suffix(folder, suffixes):
        stem = unicodedata.normalize("NFC", path.stem)
        if stem in files:
            raise ValueError(f"{path} and {files[stem]} have the same stem: keep one.")
        files[stem] = path
    return files


def paired_files(
    images: Path, others: Path, suffixes: Collection[str], who: str = "files", where: str = ""
) -> dict[str, tuple[Path, Path]]:
    """The images of one folder with the files of another, of these suffixes, that have the same stems, by these, in
    the order of the images' names. `FileNotFoundError` if a folder does not exist, `ValueError` if a file has no
    partner (`who` and `where` are what the message calls the files, and what a pair is, or where), or two have one
    stem."""
    for place in (images, others):
        if not place.is_dir():
            raise FileNotFoundError(f"The folder {place} does not exist.")
    first, second = files_by_stem(images, IMAGE_SUFFIXES), files_by_stem(others, suffixes)
    if unpaired := sorted(first.keys() ^ second.keys()):
        path = first.get(unpaired[0]) or second[unpaired[0]]
        where = where or f"in {images.parent}"
        raise ValueError(f"{len(unpaired)} {who} have no partner of the same stem {where}, first {path}.")
    return {stem: (path, second[stem]) for stem, path in first.items()}


class FileFinder:
    """Finds the files that a list names, also where a name is spelled in another way than the file's: with
    back-slashes, with é as one character instead of two (or the other way round), with a suffix in capitals, or
    without any. Folders are read once."""

    def __init__(self):
        self._folders: dict[Path, dict[str, list[str]]] = {}

    def find(self, folder: Path, name: str) -> Path | None:
        """The file that is meant by a name from `folder` on; `None` if there is none, or there are several."""
        path = folder / name
        if path.is_file():
            return path
        found, rest = self._walk(folder, name)
        return found if not rest and found.is_file() else None

    def hint(self, folder: Path, name: str) -> str:
        """For a message that a name leads nowhere: what there is instead."""
        found, _ = self._walk(folder, name)
        wanted = _bare(name.replace("\\", "/").rpartition("/")[2])
        near = [own for names in self._names(found).values() for own in names if _bare(own) == wanted]
        return f", but {found} has {' and '.join(map(repr, near))}" if near else ""

    def _walk(self, folder: Path, name: str) -> tuple[Path, list[str]]:
        """How far a name leads, and the parts of it that lead no further."""
        path = folder / name.replace("\\", "/")
        if not path.is_relative_to(folder):  # a drive of another machine, say
            return folder, [name]
        parts = list(path.relative_to(folder).parts)
        while parts:
            if not (folder / parts[0]).exists():
                matches = self._meant(folder, parts[0])
                if len(matches) != 1:
                    break
                parts[0] = matches[0]
            folder = folder / parts.pop(0)
        return folder, parts

    def _meant(self, folder: Path, part: str) -> list[str]:
        names, key = self._names(folder), name_key(part)
        if key in names or Path(part).suffix.lower() in IMAGE_SUFFIXES:
            return names.get(key, [])
        return [own for suffix in sorted(IMAGE_SUFFIXES) for own in names.get(f"{key}{suffix}", [])]

    def _names(self, folder: Path) -> dict[str, list[str]]:
        """The names in a folder by what they have in common with others."""
        if folder not in self._folders:
            by_key = defaultdict(list)
            for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
                if not is_companion(name):
                    by_key[name_key(name)].append(name)
            self._folders[folder] = dict(by_key)
        return self._folders[folder]


def _bare(name: str) -> str:
    """A name without what is easily lost or changed: its suffix, capitals, leading zeros."""
    return Path(name_key(name)).stem.casefold().lstrip("0")
