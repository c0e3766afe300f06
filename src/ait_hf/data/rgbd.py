# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""RGB-D data sets as 🤗 datasets: from an index, a folder of pairs, or any data set with image and depth columns.

Every example is `{"image": PIL RGB, "depth": float32 (H, W) metres with 0 = missing, ...}`.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import datasets

from .depth_feature import DepthMap
from .rgbd_index import Frame, apply_depth_scale, check_frames, read_index, select_frames
from .stored_images import Picture
from .tables import Rows, check_columns, check_first_rows, checked_table, choose_columns, load_any


_FEATURES = datasets.Features(
    {
        "image": Picture(),
        "depth": DepthMap(),
        "path": datasets.Value("string"),
        "scene": datasets.Value("string"),
    }
)


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
    """Loads RGB-D pairs listed by an index or found in a folder.

    All files of the split are checked before anything else happens, by their headers.

    Args:
        index: an `index.json`, a CSV file or a folder of pairs; see [`~ait_hf.data.rgbd_index.read_index`].
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

    def read() -> tuple[Rows, list[str]]:
        depth = [{"path": frame.depth, "depth_scale": frame.depth_scale} for frame in frames]
        return [
            {"image": frame.rgb, "depth": own, "path": frame.rgb, "scene": frame.scene}
            for frame, own in zip(frames, depth)
        ], []

    table, _ = checked_table("rgbd", _FEATURES, read, tuple(frames), cache_dir)
    table = table.cast_column("image", Picture())
    # A shard each: streamed frames can be shuffled and shared out to workers one by one.
    return table.to_iterable_dataset(num_shards=len(frames)) if streaming else table


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
        path_or_repo: a Hub repository, a folder that `load_dataset` understands, or one that `save_to_disk` wrote.
        split: split to load.
        image_column, depth_column: names of the columns. The depth column stores images (16-bit PNG, TIFF) or arrays
            (height, width), perhaps with one channel before or behind.
        depth_scale: divisor from stored depth to metres; whole numbers need one, floats are metres without.
        streaming: `True` gives an `IterableDataset`.

    Returns:
        Examples with `image` (PIL, RGB) and `depth` (float32 `(H, W)` array, metres, 0 = missing).

    Raises:
        ValueError: if the split or a column does not exist, or none of the first depth maps can be used.
        TypeError: if the depth column stores something else.
    """
    dataset = load_any(path_or_repo, split, streaming)
    columns = {"image": image_column, "depth": depth_column}
    check_columns(dataset, columns.values(), path_or_repo)
    stored = dataset.features[depth_column]
    if depth_scale is not None and not (isinstance(stored, datasets.Image) or _are_whole(stored)):
        raise ValueError(f"Column {depth_column!r} stores no images but metres: leave out depth_scale.")
    features = {"image": Picture(), "depth": DepthMap(depth_scale=depth_scale)}
    dataset = choose_columns(dataset, features, columns)
    check_first_rows(dataset)
    return dataset


def _are_whole(feature: Any) -> bool:
    """Whether a feature is arrays, or lists of lists, of whole numbers."""
    while isinstance(feature, (datasets.List, datasets.LargeList)):
        feature = feature.feature
    of_numbers = (datasets.Value, datasets.Array2D, datasets.Array3D)
    return isinstance(feature, of_numbers) and "int" in feature.dtype
