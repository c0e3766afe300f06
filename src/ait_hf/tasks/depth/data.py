# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data of depth: images with maps of one channel, in metres."""

from dataclasses import asdict, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import datasets
from torch.utils.data import Dataset

from ...data.depth_transforms import DepthEvalTransform, DepthTrainTransform
from ...data.rgbd import IMAGE_FOLDERS, INDEX_SUFFIXES, apply_depth_scale, load_hub_rgbd, load_nyu_depth, read_index
from ...model.configuration_ait import AiTConfig
from ...model.image_reading_ait import read_picture_header
from ...recipes.from_folder import FineTuning, Section, covering, held_out, validation_split, write_data
from ...recipes.parsing import as_section, joined
from ...recipes.sources import Rooms, Shards
from ...recipes.streams import Source
from ..maps.data import MapData, MapTransformRecipe, RGBDFrames, shards_from_hub


@as_section
class NYUDepth(Source):
    """NYU Depth v2 in the folder `root`, see [`~ait_hf.data.rgbd.load_nyu_depth`]."""

    name: Literal["nyu_depth"] = "nyu_depth"
    root: str

    def depth(self, split: str, for_training: bool) -> datasets.Dataset:
        return load_nyu_depth(self.root, split)


@as_section
class ShardsOfDepth(Shards):
    """Arguments of [`~ait_hf.data.rgbd.load_hub_rgbd`]: any 🤗 data set with an image and a depth column."""

    name: Literal["hub"] = "hub"
    image_column: str = "image"
    depth_column: str = "depth"
    depth_scale: float | None = None

    def depth(self, split: str, for_training: bool) -> datasets.Dataset | datasets.IterableDataset:
        columns = {"image_column": self.image_column, "depth_column": self.depth_column}
        return load_hub_rgbd(self.path, split, depth_scale=self.depth_scale, streaming=self.streaming, **columns)


@as_section
class DepthTransformRecipe(MapTransformRecipe):
    """As [`MapTransformRecipe`]; more arguments of [`~ait_hf.data.depth_transforms.DepthTrainTransform`]."""

    cut_depth_p: float = 0.75
    cut_depth_every: int | None = 4
    columns: list[int] | None = None
    scale_range: list[float] = field(default_factory=lambda: [1.0, 1.0])


@as_section
class DepthData(MapData):
    """Images with depth in metres, 0 = missing."""

    column: ClassVar[str] = "depth"
    unit: ClassVar[str] = "metre"
    num_channels: ClassVar[int] = 1

    of: Literal["depth"] = "depth"
    source: Rooms | RGBDFrames | NYUDepth | ShardsOfDepth = joined()
    transform: DepthTransformRecipe

    def rows(self, split: str, for_training: bool = False) -> Dataset | datasets.Dataset | datasets.IterableDataset:
        return self.source.depth(split, for_training)

    def train_transform(self) -> DepthTrainTransform:
        return DepthTrainTransform(**self.transform.arguments() | {"crop_size": self.image_size})

    def eval_transform(self, size: tuple[int, int] | None = None) -> DepthEvalTransform:
        return DepthEvalTransform(size)


def depth_from_folder(request: FineTuning, config: AiTConfig, size: list[int]) -> tuple[Section, str]:
    """As [`~ait_hf.tasks.base.Kind.from_folder`]: frames in files, or shards and data sets of the Hub, read at
    random."""
    path = Path(request.data)
    if path.suffix.lower() not in INDEX_SUFFIXES and not any((path / name).is_dir() for name in IMAGE_FOLDERS):
        section = {"name": "hub", "path": request.data} | request.given("image_column", "depth_column", "depth_scale")
        data, validation = shards_from_hub(request, DepthData, section, size)
        return {"data": data}, validation
    # A new index gives each its split.
    frames = apply_depth_scale(read_index(request.data), request.depth_scale)
    validation = validation_split(frame.split for frame in frames)
    if validation is None:
        validation, held = "validation", held_out(len(frames), request.data)
        splits = ("validation" if number in held else "train" for number in range(len(frames)))
        frames = [replace(frame, split=split) for frame, split in zip(frames, splits)]
    sizes = {read_picture_header(frame.rgb).size for frame in frames}
    entries = [{key: value for key, value in asdict(frame).items() if value} for frame in frames]
    index = write_data(request, "index.json", entries)
    return {"data": {"name": "rgbd", "index": str(index), "transform": covering(size, sizes)}}, validation
