# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Lists of RGB-D frames: read from `index.json`, a CSV file or a folder, and checked against the files on disk."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .depth_feature import FLOATS, read_depth_header
from .files import FileFinder, paired_files
from .picture_sizes import check_maps
from .tables import warn_once


IMAGE_FOLDERS = ("rgb", "images", "image")
_DEPTH_FOLDERS = ("depth", "depths")
_DEPTH_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".npy"})
INDEX_SUFFIXES = (".json", ".csv")
_ONLY_SPLIT = "train"


@dataclass(frozen=True)
class Frame:
    """One image and its depth file.

    Args:
        rgb, depth: absolute paths.
        depth_scale: divisor from stored depth to metres; `None` if the index names none.
        split: "train" where the index has no splits, as everywhere in 🤗 datasets.
        scene, kind: free text of the index ("real" or "synthetic" for `kind`), empty where it has none.
    """

    rgb: str
    depth: str
    depth_scale: float | None = None
    split: str = _ONLY_SPLIT
    scene: str = ""
    kind: str = ""


def read_index(index: str | Path, root: str | Path | None = None) -> list[Frame]:
    """Reads the frames that an index lists, without touching the image files.

    Args:
        index: one of
            - `*.json`: a list of objects with `rgb` and `depth` and perhaps `depth_scale`, `split`, `scene`, `kind`;
            - `*.csv`: a header and rows with the same names;
            - a folder with the subfolders `rgb`, `images` or `image` and `depth` or `depths`, whose files pair by
              stem.
        root: folder that relative paths start from. By default the index's own folder, or that folder's parent if
            every path begins with the folder's name. Not for a folder.

    Raises:
        FileNotFoundError: if the index does not exist.
        ValueError: if it is malformed (with the line or entry) or lists nothing.
    """
    index = Path(index).absolute()
    if not index.exists():
        raise FileNotFoundError(f"RGB-D index {index} does not exist.")
    if index.is_dir():
        if root is not None:
            raise ValueError("root goes with a .json or .csv index; a folder of pairs has no relative paths.")
        frames = _read_folder(index)
    elif index.suffix.lower() in INDEX_SUFFIXES:
        read = _read_json if index.suffix.lower() == ".json" else _read_csv
        entries = read(index)
        _check_splits_are_complete(entries)
        base = _default_root(index, entries) if root is None else Path(root).absolute()
        frames = [_frame(entry, where, base) for where, entry in entries]
    else:
        raise ValueError(f"RGB-D index {index} must be a .json file, a .csv file or a folder.")
    if not frames:
        raise ValueError(f"RGB-D index {index} lists no frames.")
    return frames


def select_frames(frames: list[Frame], split: str, kinds: Sequence[str] | None = None) -> list[Frame]:
    """Keeps the frames of one split and, if `kinds` is given, of these kinds ("real", "synthetic").

    Raises:
        ValueError: if the split or a kind does not occur, listing those that do.
    """
    if isinstance(kinds, str):
        raise TypeError(f'kinds must be a list such as ["{kinds}"], not a string.')
    splits = sorted({frame.split for frame in frames})
    if split not in splits:
        raise ValueError(f"Unknown split {split!r}; there are: {', '.join(splits)}.")
    frames = [frame for frame in frames if frame.split == split]
    if kinds is None:
        return frames
    known = sorted({frame.kind for frame in frames})
    unknown = sorted(set(kinds) - set(known))
    if unknown or not kinds:
        raise ValueError(f"Unknown kinds {unknown} in split {split!r}; there are: {known}.")
    return [frame for frame in frames if frame.kind in kinds]


def apply_depth_scale(frames: list[Frame], depth_scale: float | None) -> list[Frame]:
    """Gives frames without a divisor to metres this one.

    Raises:
        ValueError: if it is not a positive number, or if every frame names its own, so that it would do nothing.
    """
    if depth_scale is None:
        return frames
    depth_scale = _positive_number(depth_scale, "The argument")
    if all(frame.depth_scale is not None for frame in frames):
        raise ValueError("depth_scale was given, but the index names a depth_scale for every frame: leave one out.")
    return [replace(f, depth_scale=depth_scale) if f.depth_scale is None else f for f in frames]


def check_frames(frames: list[Frame]) -> list[Frame]:
    """Checks that every file is there, that image and depth have one size and that depth can be turned into metres.

    Reads file headers only. Returns the frames with the files that their names mean, see
    [`~ait_hf.data.files.FileFinder`].

    Raises:
        FileNotFoundError: naming the first missing file.
        ValueError: naming the first file that cannot be used.
    """
    finder = FileFinder()
    frames = [replace(f, rgb=_found(f.rgb, finder), depth=_found(f.depth, finder)) for f in frames]
    headers = [read_depth_header(frame.depth) for frame in frames]
    warn_once(check_maps(((frame.rgb, frame.depth, header) for frame, header in zip(frames, headers)), "depth"))
    for frame, header in zip(frames, headers):
        if frame.depth_scale is None and header.mode != FLOATS:
            raise ValueError(f"{frame.depth} holds integers: give depth_scale, their divisor to metres (NYU: 1000).")
    return frames


def _found(path: str, finder: FileFinder) -> str:
    found = finder.find(Path(Path(path).anchor), path)
    if found is None:
        hint = finder.hint(Path(Path(path).anchor), path)
        raise FileNotFoundError(
            f"{path} is listed but does not exist{hint}; if the list starts from another folder, pass it as root."
        )
    return str(found)


def _default_root(index: Path, entries: list[tuple[str, dict]]) -> Path:
    paths = [entry[key] for _, entry in entries for key in ("rgb", "depth") if isinstance(entry.get(key), str)]
    folder = index.parent
    beginnings = (f"{folder.name}/", f"{folder.name}\\")
    return folder.parent if paths and all(path.startswith(beginnings) for path in paths) else folder


def _read_json(index: Path) -> list[tuple[str, dict]]:
    """Gives (place for error messages, entry) pairs."""
    try:
        entries = json.loads(_read_text(index))
    except json.JSONDecodeError as error:
        raise ValueError(f"{index}, line {error.lineno}: not valid JSON ({error.msg}).") from error
    if not isinstance(entries, list):
        raise ValueError(f"{index} must hold a list of objects with rgb and depth, not one {type(entries).__name__}.")
    numbered = [(f"{index}, entry {number}", entry) for number, entry in enumerate(entries, start=1)]
    for where, entry in numbered:
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: {entry!r} is not an object with rgb and depth.")
        for key in ("split", "scene", "kind"):
            if not isinstance(entry.get(key), str | None):
                raise ValueError(f"{where}: {key} must be text, not {entry[key]!r}.")
        if isinstance(scale := entry.get("depth_scale"), str | bool):  # of CSV it is text
            raise ValueError(f"{where}: depth_scale must be a positive number, not {scale!r}.")
    return [(where, {key: value for key, value in entry.items() if value is not None}) for where, entry in numbered]


def _read_csv(index: Path) -> list[tuple[str, dict]]:
    """Gives (place for error messages, entry) pairs; empty cells are left out."""
    reader = csv.reader(io.StringIO(_read_text(index), newline=""), strict=True)
    rows = []
    try:
        for row in reader:
            if row:
                rows.append((f"{index}, line {reader.line_num}", row))
    except csv.Error as error:
        raise ValueError(f"{index}, line {reader.line_num}: not valid CSV ({error}).") from error
    if not rows:
        raise ValueError(f"{index} is empty: the first line must name the columns rgb and depth.")
    (where, header), *rows = rows
    if not {"rgb", "depth"} <= set(header) or len(set(header)) != len(header):
        raise ValueError(f"{where}: the columns must include rgb and depth, each name once, but are {header}.")
    for where, row in rows:
        if len(row) != len(header):
            raise ValueError(f"{where}: {len(row)} cells where the header names {len(header)}.")
    return [(where, {name: cell for name, cell in zip(header, row) if cell}) for where, row in rows]


def _read_folder(folder: Path) -> list[Frame]:
    images, depths = (_one_subfolder(folder, names) for names in (IMAGE_FOLDERS, _DEPTH_FOLDERS))
    pairs = paired_files(images, depths, _DEPTH_SUFFIXES)
    return [Frame(*map(str, pairs[stem])) for stem in sorted(pairs)]


def _one_subfolder(folder: Path, names: tuple[str, ...]) -> Path:
    found = [folder / name for name in names if (folder / name).is_dir()]
    if len(found) != 1:
        raise ValueError(f"{folder} must have exactly one of the subfolders {', '.join(names)}; it has {len(found)}.")
    return found[0]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets put a byte order mark before CSV
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}).") from error


def _frame(entry: dict, where: str, base: Path) -> Frame:
    for key in ("rgb", "depth"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise ValueError(f"{where}: {key} must be a path.")
    scale = entry.get("depth_scale")
    return Frame(
        rgb=str(base / entry["rgb"]),
        depth=str(base / entry["depth"]),
        depth_scale=None if scale is None else _positive_number(scale, where),
        split=str(entry.get("split", _ONLY_SPLIT)),
        scene=str(entry.get("scene", "")),
        kind=str(entry.get("kind", "")),
    )


def _check_splits_are_complete(entries: list[tuple[str, dict]]) -> None:
    without = [where for where, entry in entries if "split" not in entry]
    if without and len(without) < len(entries):
        raise ValueError(f"{without[0]}: no split, although other frames have one.")


def _positive_number(value: object, where: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{where}: depth_scale must be a positive number, not {value!r}.")
    return number
