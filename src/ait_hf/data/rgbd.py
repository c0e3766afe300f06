# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""RGB-D data sets as 🤗 datasets: from an index, a folder of pairs, or any data set with image and depth columns.

Every example is `{"image": PIL RGB, "depth": float32 (H, W) metres with 0 = missing, ...}`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import datasets

from .depth_feature import DepthMap
from .rgbd_index import Frame, apply_depth_scale, check_frames, read_index, select_frames


_FEATURES = datasets.Features(
    {
        "image": datasets.Image(mode="RGB"),
        "depth": DepthMap(),
        "path": datasets.Value("string"),
        "scene": datasets.Value("string"),
    }
)
_ROWS_CHECKED = 8


@dataclass
class RGBDConfig(datasets.BuilderConfig):
    """The frames of one split. They enter the cache key, so a changed index makes a new table."""

    frames: tuple[Frame, ...] = ()


class RGBD(datasets.GeneratorBasedBuilder):
    """Builds a table of paths from frames; images and depth maps are decoded on access.

    Example features: `image` (PIL, RGB), `depth` (float32 array `(H, W)`, metres, 0 = missing), `path` (of the image)
    and `scene`.
    """

    BUILDER_CONFIG_CLASS = RGBDConfig

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=_FEATURES)

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        # A list is what datasets shards by: streamed frames can be shuffled and shared out to workers one by one.
        frames = list(self.config.frames)
        return [datasets.SplitGenerator(name=frames[0].split, gen_kwargs={"frames": frames})]

    def _generate_examples(self, frames: list[Frame]) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, frame in enumerate(frames):
            depth = {"path": frame.depth, "depth_scale": frame.depth_scale}
            yield number, {"image": frame.rgb, "depth": depth, "path": frame.rgb, "scene": frame.scene}


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
        streaming: `True` gives an `IterableDataset` and writes no table.
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
    check_frames(frames)
    builder = RGBD(cache_dir=None if cache_dir is None else str(cache_dir), frames=tuple(frames))
    split = frames[0].split
    if streaming:
        return builder.as_streaming_dataset(split)
    builder.download_and_prepare()
    return builder.as_dataset(split)


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
        image_column, depth_column: names of the columns. The depth column stores images (16-bit PNG, TIFF) or
            two-dimensional arrays of metres.
        depth_scale: divisor from stored depth to metres; integer depth needs one, float depth is metres without.
        streaming: `True` gives an `IterableDataset`.

    Returns:
        Examples with `image` (PIL, RGB) and `depth` (float32 `(H, W)` array, metres, 0 = missing).

    Raises:
        ValueError: if the split or a column does not exist, or none of the first depth maps can be used.
        TypeError: if the depth column stores something else.
    """
    dataset = load_any(path_or_repo, split, streaming)
    features = dataset.features
    if features is None:
        raise ValueError(f"{path_or_repo} does not say what its columns are; load it with streaming=False.")
    for column in (image_column, depth_column):
        if column not in features:
            raise ValueError(f"{path_or_repo} has no column {column!r}; there are: {', '.join(features)}.")
    if depth_scale is not None and not isinstance(features[depth_column], datasets.Image):
        raise ValueError(f"Column {depth_column!r} stores no images but metres: leave out depth_scale.")
    dataset = dataset.select_columns([image_column, depth_column])
    if streaming:  # which would decode every row, and encode it again, to rename its columns
        dataset = dataset.decode(False)
    names = {image_column: "image", depth_column: "depth"}
    if names := {old: new for old, new in names.items() if old != new}:
        dataset = dataset.rename_columns(names)
    dataset = dataset.cast_column("image", datasets.Image(mode="RGB"))
    dataset = dataset.cast_column("depth", DepthMap(depth_scale=depth_scale))
    _check_first_rows(dataset)
    return dataset


def _check_first_rows(dataset: datasets.Dataset | datasets.IterableDataset) -> None:
    """A wrong column or divisor shows in the first examples, before long work starts. One broken file is none of these."""
    if isinstance(dataset, datasets.IterableDataset):
        rows = list(dataset.decode(False).take(_ROWS_CHECKED))
    else:
        rows = dataset.with_format("arrow")[:_ROWS_CHECKED].to_pylist()
    first_error = None
    for row in rows:
        try:
            dataset.features.decode_example(row)
            return
        except (OSError, ValueError, SyntaxError) as error:
            first_error = first_error or error
    if first_error is not None:
        raise first_error


def load_any(path_or_repo: str | PathLike, split: str, streaming: bool) -> datasets.Dataset | datasets.IterableDataset:
    folder = Path(path_or_repo)
    if (folder / "state.json").is_file():
        raise ValueError(
            f"{folder} holds one saved split; pass its parent, saved as a DatasetDict, and split={split!r}."
        )
    if not (folder / "dataset_dict.json").is_file():
        return datasets.load_dataset(str(path_or_repo), split=split, streaming=streaming)
    saved = datasets.load_from_disk(str(folder))
    if split not in saved:
        raise ValueError(f"Unknown split {split!r} in {folder}; there are: {', '.join(saved)}.")
    return saved[split].to_iterable_dataset() if streaming else saved[split]
