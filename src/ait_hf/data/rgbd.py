# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""RGB-D data sets as 🤗 datasets: from an `index.json`, a CSV file or a folder of pairs, checked against the files on
disk, or any data set with image and depth columns; and NYU Depth v2.

Every example is `{"image": PIL RGB, "depth": float32 (H, W) metres with 0 = missing, ...}`.
"""

import csv
import io
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path, PureWindowsPath
from typing import Any

import datasets

from .depth_feature import FLOATS, DepthMap, read_depth_header
from .files import FileFinder, paired_files
from .picture_sizes import check_maps
from .stored_images import Picture
from .tables import checked_columns, checked_table, load_any, warn_once


logger = logging.getLogger(__name__)

NYU_FRAMES = {"train": 24_231, "test": 654}  # of the published lists, which all published numbers use
IMAGE_FOLDERS = ("rgb", "images", "image")
INDEX_SUFFIXES = (".json", ".csv")
_DEPTH_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".npy"})
_TEXTS = ("split", "scene", "kind")


@dataclass(frozen=True)
class Frame:
    """One image and its depth file: absolute paths; the divisor from stored depth to metres, `None` if the index names
    none; the split, "train" where the index has none, as everywhere in 🤗 datasets; and free text of the index ("real"
    or "synthetic" for `kind`), empty where it has none."""

    rgb: str
    depth: str
    depth_scale: float | None = None
    split: str = "train"
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
        images, depths = (_one_subfolder(index, names) for names in (IMAGE_FOLDERS, ("depth", "depths")))
        pairs = paired_files(images, depths, _DEPTH_SUFFIXES)
        frames = [Frame(*map(str, pairs[stem])) for stem in sorted(pairs)]
    elif index.suffix.lower() in INDEX_SUFFIXES:
        read = _read_json if index.suffix.lower() == ".json" else _read_csv
        entries = read(index)
        without_split = [where for where, entry in entries if "split" not in entry]
        if 0 < len(without_split) < len(entries):
            raise ValueError(f"{without_split[0]}: no split, although other frames have one.")
        base = _default_root(index, entries) if root is None else Path(root).absolute()
        frames = [_frame(entry, where, base) for where, entry in entries]
    else:
        raise ValueError(f"RGB-D index {index} must be a .json file, a .csv file or a folder.")
    if not frames:
        raise ValueError(f"RGB-D index {index} lists no frames.")
    return frames


def select_frames(frames: list[Frame], split: str, kinds: Sequence[str] | None = None) -> list[Frame]:
    """Keeps the frames of one split and, if `kinds` is given, of these kinds ("real", "synthetic"); `ValueError` if
    the split or a kind does not occur, listing those that do."""
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
    """Gives frames without a divisor to metres this one; `ValueError` if it is not a positive number, or if every
    frame names its own, so that it would do nothing."""
    if depth_scale is None:
        return frames
    depth_scale = _positive_number(depth_scale, "The argument")
    if all(frame.depth_scale is not None for frame in frames):
        raise ValueError("depth_scale was given, but the index names a depth_scale for every frame: leave one out.")
    return [replace(f, depth_scale=depth_scale) if f.depth_scale is None else f for f in frames]


def check_frames(frames: list[Frame]) -> list[Frame]:
    """Checks, by file headers only, that every file is there, that image and depth have one size and that depth can be
    turned into metres: `FileNotFoundError` or `ValueError`, naming the first file, if not. Returns the frames with the
    files that their names mean, see [`~ait_hf.data.files.FileFinder`]."""
    finder = FileFinder()
    frames = [replace(f, rgb=_found(f.rgb, finder), depth=_found(f.depth, finder)) for f in frames]
    headers = [read_depth_header(frame.depth) for frame in frames]
    warn_once(check_maps(((frame.rgb, frame.depth, header) for frame, header in zip(frames, headers)), "depth"))
    for frame, header in zip(frames, headers):
        if frame.depth_scale is None and header.mode != FLOATS:
            raise ValueError(f"{frame.depth} holds integers: give depth_scale, their divisor to metres (NYU: 1000).")
    return frames


def load_rgbd(
    index: str | PathLike,
    split: str,
    *,
    root: str | PathLike | None = None,
    depth_scale: float | None = None,
    kinds: Sequence[str] | None = None,
    streaming: bool = False,
    cache_dir: str | PathLike | None = None,
) -> datasets.Dataset | datasets.IterableDataset:
    """Loads RGB-D pairs listed by an index or found in a folder. All files of the split are checked before anything
    else happens, by their headers.

    Args:
        index: an `index.json`, a CSV file or a folder of pairs; see [`read_index`].
        split: split to load; an index without splits has one, "train".
        root: folder that the index's relative paths start from; by default the index's own folder.
        depth_scale: divisor from stored depth to metres, for frames whose index names none.
        kinds: keeps only frames of these kinds, for example `["real"]`.
        streaming: `True` gives an `IterableDataset`.
        cache_dir: where the table of paths is cached; by default that of 🤗 datasets.

    Returns:
        Examples with `image` (PIL, RGB), `depth` (float32 `(H, W)` array, metres, 0 = missing), `path` (of the image)
        and `scene`. A 16-bit 65535 counts as missing. A depth map without any valid pixel raises `ValueError` when it
        is read.

    Raises:
        FileNotFoundError: if the index or a listed file does not exist.
        ValueError: if the index is malformed, the split or a kind is unknown, image and depth differ in size, depth
            has 8 bits, or integer depth has no divisor.
    """
    frames = select_frames(read_index(index, root), split, kinds)
    return load_frames(apply_depth_scale(frames, depth_scale), streaming=streaming, cache_dir=cache_dir)


def load_frames(
    frames: list[Frame], *, streaming: bool = False, cache_dir: str | PathLike | None = None
) -> datasets.Dataset | datasets.IterableDataset:
    """Checks frames of one split and makes a data set of them; arguments, result and errors as in [`load_rgbd`]."""
    frames = check_frames(frames)

    depth = [{"path": frame.depth, "depth_scale": frame.depth_scale} for frame in frames]
    rows = [{"image": f.rgb, "depth": own, "path": f.rgb, "scene": f.scene} for f, own in zip(frames, depth)]
    text = datasets.Value("string")
    features = datasets.Features({"image": Picture(), "depth": DepthMap(), "path": text, "scene": text})
    table, _ = checked_table("rgbd", features, lambda: (rows, []), tuple(frames), cache_dir)
    table = table.cast_column("image", Picture())
    # A shard each: streamed frames can be shuffled and shared out to workers one by one.
    return table.to_iterable_dataset(num_shards=len(frames)) if streaming else table


def load_nyu_depth(
    root: str | PathLike, split: str, file_list: str | PathLike | None = None, **options
) -> datasets.Dataset | datasets.IterableDataset:
    """Loads NYU Depth v2 in the folder layout and with the file lists that monocular depth estimation uses.

    ```
    root/sync/<scene>/rgb_00045.jpg, sync_depth_00045.png           training frames (also without the folder sync/)
    root/official_splits/test/<scene>/rgb_00045.jpg, ...            test frames
    root/train_list.txt, root/test_list.txt                         image, depth and perhaps focal length per line
    ```

    Args:
        root: folder with `sync/` (or the scenes themselves) and `official_splits/`.
        split: "train" (24,231 frames of 480×640 pixels in the published list) or "test" (654).
        file_list: text file with `image depth [focal length]` per line, relative to the split's folder, with or
            without a leading slash; by default `root/train_list.txt` or `root/test_list.txt`.
        options: `streaming` and `cache_dir` as of [`load_rgbd`].

    Returns:
        Examples as of [`load_rgbd`]. A number of frames other than the published one is logged as a warning, because
        published numbers then do not compare.

    Raises:
        FileNotFoundError: if the list or a listed file is missing.
        ValueError: if the split is unknown, a line of the list is malformed, or files cannot be used.
    """
    if split not in NYU_FRAMES:
        raise ValueError(f"Unknown split {split!r} of NYU Depth v2; there are: {', '.join(NYU_FRAMES)}.")
    root = Path(root).absolute()
    file_list = root / f"{split}_list.txt" if file_list is None else Path(file_list)
    if not file_list.is_file():
        raise FileNotFoundError(
            f"{file_list} does not exist: pass as file_list the {split} list that comes with the BTS or GLPDepth code."
        )
    folder = root / "official_splits" / "test" if split == "test" else root / "sync"
    if not folder.is_dir() and split == "train":
        folder = root
    pairs = parse_file_list(file_list.read_text(encoding="utf-8-sig"), str(file_list))
    if len(pairs) != NYU_FRAMES[split]:
        logger.warning(
            f"{file_list} lists {len(pairs)} frames where the published {split} split of NYU Depth v2 has "
            f"{NYU_FRAMES[split]}: do not compare with its numbers."
        )
    scenes = [PureWindowsPath(rgb).parent.name for rgb, _ in pairs]
    frames = [
        Frame(str(folder / rgb), str(folder / depth), 1000.0, split, scene, kind="real")  # millimetres
        for (rgb, depth), scene in zip(pairs, scenes)
    ]
    return load_frames(frames, **options)


def parse_file_list(text: str, name: str) -> list[tuple[str, str]]:
    """Parses lines of `image depth [focal length]` to pairs of relative paths; blank lines are skipped. `ValueError`,
    with the `name` of the list, if a line has another number of fields or the word None for a missing file, as lists
    of other data sets have, or if there is no line."""
    pairs = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) not in (2, 3):
            raise ValueError(f"{name}, line {number}: expected image, depth and perhaps focal length, found {line!r}.")
        if "None" in fields:
            raise ValueError(f"{name}, line {number}: None stands for a missing value in {line!r}: remove the line.")
        pairs.append((fields[0].lstrip("/\\"), fields[1].lstrip("/\\")))
    if not pairs:
        raise ValueError(f"{name} lists no frames.")
    return pairs


def load_hub_rgbd(
    path_or_repo: str | PathLike,
    split: str,
    image_column: str = "image",
    depth_column: str = "depth",
    depth_scale: float | None = None,
    streaming: bool = False,
) -> datasets.Dataset | datasets.IterableDataset:
    """Loads any 🤗 data set that has an image column and a depth column.

    Args:
        path_or_repo, split, streaming: as of [`~ait_hf.data.tables.load_any`].
        image_column, depth_column: names of the columns. The depth column stores images (16-bit PNG, TIFF) or arrays
            (height, width), perhaps with one channel before or behind.
        depth_scale: divisor from stored depth to metres; whole numbers need one, floats are metres without.

    Returns:
        Examples with `image` (PIL, RGB) and `depth` (float32 `(H, W)` array, metres, 0 = missing).

    Raises:
        ValueError: if the split or a column does not exist, or none of the first depth maps can be used.
        TypeError: if the depth column stores something else.
    """
    dataset = load_any(path_or_repo, split, streaming)
    stored = (dataset.features or {}).get(depth_column)
    if depth_scale is not None and stored and not (isinstance(stored, datasets.Image) or _are_whole(stored)):
        raise ValueError(f"Column {depth_column!r} stores no images but metres: leave out depth_scale.")
    features = {"image": Picture(), "depth": DepthMap(depth_scale=depth_scale)}
    return checked_columns(dataset, features, path_or_repo, {"image": image_column, "depth": depth_column})


def _are_whole(feature: Any) -> bool:
    """Whether a feature is arrays, or lists of lists, of whole numbers."""
    while isinstance(feature, (datasets.List, datasets.LargeList)):
        feature = feature.feature
    of_numbers = (datasets.Value, datasets.Array2D, datasets.Array3D)
    return isinstance(feature, of_numbers) and "int" in feature.dtype


def _found(path: str, finder: FileFinder) -> str:
    root = Path(Path(path).anchor)
    if (found := finder.find(root, path)) is None:
        hint = finder.hint(root, path)
        raise FileNotFoundError(
            f"{path} is listed but does not exist{hint}; if the list starts from another folder, pass it as root."
        )
    return str(found)


def _default_root(index: Path, entries: list[tuple[str, dict]]) -> Path:
    paths = [entry[key] for _, entry in entries for key in ("rgb", "depth") if isinstance(entry.get(key), str)]
    folder, beginnings = index.parent, (f"{index.parent.name}/", f"{index.parent.name}\\")
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
        for key in _TEXTS:
            if not isinstance(entry.get(key), str | None):
                raise ValueError(f"{where}: {key} must be text, not {entry[key]!r}.")
        if isinstance(scale := entry.get("depth_scale"), str | bool):  # of CSV it is text
            raise ValueError(f"{where}: depth_scale must be a positive number, not {scale!r}.")
    return [(where, {key: value for key, value in entry.items() if value is not None}) for where, entry in numbered]


def _read_csv(index: Path) -> list[tuple[str, dict]]:
    """Gives (place for error messages, entry) pairs; empty cells are left out."""
    reader = csv.reader(io.StringIO(_read_text(index), newline=""), strict=True)
    try:
        rows = [(f"{index}, line {reader.line_num}", row) for row in reader if row]
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
    scale = None if scale is None else _positive_number(scale, where)
    texts = {key: str(entry[key]) for key in _TEXTS if key in entry}
    return Frame(str(base / entry["rgb"]), str(base / entry["depth"]), scale, **texts)


def _positive_number(value: object, where: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{where}: depth_scale must be a positive number, not {value!r}.")
    return number
