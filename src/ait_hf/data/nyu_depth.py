# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""NYU Depth v2 in the folder layout and with the file lists that monocular depth estimation uses.

```
root/sync/<scene>/rgb_00045.jpg, sync_depth_00045.png           training frames (also without the folder sync/)
root/official_splits/test/<scene>/rgb_00045.jpg, ...            test frames
root/train_list.txt, root/test_list.txt                         lists: image, depth and perhaps focal length per line
```
"""

import logging
from os import PathLike
from pathlib import Path, PureWindowsPath

import datasets

from .rgbd import Frame, load_frames


logger = logging.getLogger(__name__)

DEPTH_SCALE = 1000.0  # stored millimetres to metres
NUM_FRAMES = {"train": 24_231, "test": 654}  # of the published lists, which all published numbers use


def load_nyu_depth(
    root: str | PathLike,
    split: str,
    file_list: str | PathLike | None = None,
    streaming: bool = False,
    cache_dir: str | PathLike | None = None,
) -> datasets.Dataset | datasets.IterableDataset:
    """Loads NYU Depth v2.

    Args:
        root: folder with `sync/` (or the scenes themselves) and `official_splits/`.
        split: "train" (24,231 frames of 480×640 pixels in the published list) or "test" (654).
        file_list: text file with `image depth [focal length]` per line, relative to the split's folder, with or
            without a leading slash; by default `root/train_list.txt` or `root/test_list.txt`.
        streaming: `True` gives an `IterableDataset`.
        cache_dir: where the table of paths is cached; by default that of 🤗 datasets.

    Returns:
        Examples as of [`~ait_hf.data.rgbd.load_rgbd`]: `image`, `depth` in metres, `path`, `scene`. A number of frames
        other than the published one is logged as a warning, because published numbers then do not compare.

    Raises:
        FileNotFoundError: if the list or a listed file is missing.
        ValueError: if the split is unknown, a line of the list is malformed, or files cannot be used.
    """
    if split not in NUM_FRAMES:
        raise ValueError(f"Unknown split {split!r} of NYU Depth v2; there are: {', '.join(NUM_FRAMES)}.")
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
    if len(pairs) != NUM_FRAMES[split]:
        logger.warning(
            f"{file_list} lists {len(pairs)} frames where the published {split} split of NYU Depth v2 has "
            f"{NUM_FRAMES[split]}: do not compare with its numbers."
        )
    scenes = [PureWindowsPath(rgb).parent.name for rgb, _ in pairs]
    frames = [
        Frame(str(folder / rgb), str(folder / depth), DEPTH_SCALE, split, scene, kind="real")
        for (rgb, depth), scene in zip(pairs, scenes)
    ]
    return load_frames(frames, streaming=streaming, cache_dir=cache_dir)


def parse_file_list(text: str, name: str) -> list[tuple[str, str]]:
    """Parses lines of `image depth [focal length]` to pairs of relative paths; blank lines are skipped. `ValueError`, with the
    `name` of the list, if a line has another number of fields or the word None for a missing file, as lists of other data
    sets have, or if there is no line."""
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
