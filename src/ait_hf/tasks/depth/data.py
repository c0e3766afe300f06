# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sections of recipes for depth: images with depth maps."""

from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import datasets
from huggingface_hub.dataclasses import strict
from torch.utils.data import Dataset

from ...data.collation import depth_collator
from ...data.depth_transforms import DepthEvalTransform, DepthTrainTransform
from ...data.nyu_depth import load_nyu_depth
from ...data.pixels import height_and_width
from ...data.rgbd import load_hub_rgbd, load_rgbd
from ...data.rooms.depth import SPLITS, render_room
from ...recipes.shards import Shards
from ...recipes.streams import DataRecipe, Sample, Stream


class RandomRooms(Dataset):
    """The rooms of [`~ait_hf.data.rooms.depth.synthetic_rooms`] by number, without end."""

    def __init__(self, split: str, size: tuple[int, int], seed: int, people: bool = False):
        if split not in SPLITS:
            raise ValueError(f"Unknown split {split!r} of synthetic rooms; there are: {', '.join(SPLITS)}.")
        self.key = (SPLITS.index(split), seed)
        self.size = size
        self.people = people

    def __getitem__(self, index: int) -> Sample:
        return render_room((*self.key, index), self.size, people=self.people)


@strict
@dataclass
class TransformRecipe:
    """Arguments of [`~ait_hf.data.depth_transforms.DepthTrainTransform`]; evaluation cuts `crop_size` at the centre."""

    crop_size: int | list[int]
    flip_p: float = 0.5
    cut_depth_p: float = 0.75
    cut_depth_every: int | None = 4
    color_p: float = 0.5
    columns: list[int] | None = None
    resize: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the model sees, pixels."""
        return height_and_width(self.crop_size)


@strict
@dataclass(kw_only=True)
class DepthData(DataRecipe):
    """
    What all data sections for depth share; `load` gives examples with `image` and `depth`.

    Args:
        transform (`TransformRecipe`): Augmentation.
    """

    unit: ClassVar[str] = "metre"

    transform: TransformRecipe

    @property
    def image_size(self) -> tuple[int, int]:
        return self.transform.size

    def stream(self, every: int = 1) -> Stream:
        """Samples with `pixel_values` and `labels` (metres)."""
        transform = DepthTrainTransform(**asdict(self.transform) | {"crop_size": self.image_size})
        return Stream(self, transform, DepthEvalTransform(self.image_size), depth_collator, every)


@strict
@dataclass(kw_only=True)
class SyntheticData(DepthData):
    """
    Rooms rendered on the fly, `size` = height and width in pixels, with or without `people` in them; never the same room
    twice in training.
    """

    name: Literal["synthetic"] = "synthetic"
    size: list[int]
    seed: int = 0
    people: bool = False

    @property
    def is_endless(self) -> bool:
        return True

    def load(self, split: str) -> Dataset:
        return RandomRooms(split, tuple(self.size), self.seed, self.people)


@strict
@dataclass(kw_only=True)
class RGBDData(DepthData):
    """Arguments of [`~ait_hf.data.rgbd.load_rgbd`]: your own frames from an index or a folder of pairs."""

    name: Literal["rgbd"] = "rgbd"
    index: str
    root: str | None = None
    depth_scale: float | None = None
    kinds: list[str] | None = None

    def load(self, split: str) -> datasets.Dataset:
        return load_rgbd(self.index, split, root=self.root, depth_scale=self.depth_scale, kinds=self.kinds)


@strict
@dataclass(kw_only=True)
class NYUDepthData(DepthData):
    """NYU Depth v2 in the folder `root`, see [`~ait_hf.data.nyu_depth.load_nyu_depth`]."""

    name: Literal["nyu_depth"] = "nyu_depth"
    root: str

    def load(self, split: str) -> datasets.Dataset:
        return load_nyu_depth(self.root, split)


@strict
@dataclass(kw_only=True)
class HubData(Shards, DepthData):
    """Arguments of [`~ait_hf.data.rgbd.load_hub_rgbd`]: any 🤗 data set with an image and a depth column."""

    name: Literal["hub"] = "hub"
    image_column: str = "image"
    depth_column: str = "depth"
    depth_scale: float | None = None

    def load(self, split: str) -> datasets.Dataset | datasets.IterableDataset:
        return load_hub_rgbd(
            self.path,
            split,
            image_column=self.image_column,
            depth_column=self.depth_column,
            depth_scale=self.depth_scale,
            streaming=self.streaming,
        )


AnyDepthData = SyntheticData | RGBDData | NYUDepthData | HubData
