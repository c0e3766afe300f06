# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data of depth: images with maps of one channel, in metres."""

from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import datasets
from huggingface_hub.dataclasses import strict
from torch.utils.data import Dataset

from ...data.collation import depth_collator
from ...data.depth_transforms import DepthEvalTransform, DepthTrainTransform
from ...data.nyu_depth import load_nyu_depth
from ...data.rgbd import load_hub_rgbd
from ...recipes.parsing import joined
from ...recipes.sources import Rooms, Shards
from ...recipes.streams import Source, Stream
from ..maps.data import MapData, MapTransformRecipe, RGBDFrames


@strict
@dataclass(kw_only=True)
class NYUDepth(Source):
    """NYU Depth v2 in the folder `root`, see [`~ait_hf.data.nyu_depth.load_nyu_depth`]."""

    name: Literal["nyu_depth"] = "nyu_depth"
    root: str

    def depth(self, split: str, for_training: bool) -> datasets.Dataset:
        return load_nyu_depth(self.root, split)


@strict
@dataclass(kw_only=True)
class ShardsOfDepth(Shards):
    """Arguments of [`~ait_hf.data.rgbd.load_hub_rgbd`]: any 🤗 data set with an image and a depth column."""

    name: Literal["hub"] = "hub"
    image_column: str = "image"
    depth_column: str = "depth"
    depth_scale: float | None = None

    def depth(self, split: str, for_training: bool) -> datasets.Dataset | datasets.IterableDataset:
        columns = {"image_column": self.image_column, "depth_column": self.depth_column}
        return load_hub_rgbd(self.path, split, depth_scale=self.depth_scale, streaming=self.streaming, **columns)


@strict
@dataclass
class DepthTransformRecipe(MapTransformRecipe):
    """As [`MapTransformRecipe`]; more arguments of [`~ait_hf.data.depth_transforms.DepthTrainTransform`]."""

    cut_depth_p: float = 0.75
    cut_depth_every: int | None = 4
    columns: list[int] | None = None


@strict
@dataclass(kw_only=True)
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

    def stream(self, every: int = 1) -> Stream:
        """Samples with `pixel_values` and `labels`, float32 `(height, width)`."""
        train_transform = DepthTrainTransform(**asdict(self.transform) | {"crop_size": self.image_size})
        return Stream(self, train_transform, DepthEvalTransform(self.image_size), depth_collator, every)
