# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sections of recipes for dense tasks of one's own: images with maps of any number of channels."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import datasets
from huggingface_hub.dataclasses import strict

from ...data.collation import depth_collator
from ...data.map_feature import MAP_COLUMN
from ...data.map_transforms import MapEvalTransform, MapTrainTransform
from ...data.maps import UNIT_VECTOR, HubMaps, MapFolder, load_hub_maps
from ...data.pixels import height_and_width
from ...data.rgbd_normals import load_rgbd_normals
from ...data.rooms.normals import SyntheticNormals
from ...recipes.shards import Shards
from ...recipes.streams import DataRecipe, Stream


KNOWN_UNITS = {
    "metre": "depth",
    "mask": "masks",
    "pixel": "poses",
    "class": "label maps",
}  # what they are in; these have data sections of their own


@strict
@dataclass
class MapTransformRecipe:
    """
    Arguments of [`~ait_hf.data.map_transforms.MapTrainTransform`]; evaluation cuts `crop_size` at the centre.

    Args:
        crop_size (`int` or `list[int]`): Height and width of what the model sees, pixels.
        flip_p (`float`): Share of mirrored samples.
        color_p (`float`): Probability of each of three changes of colour.
        resize (`int`, *optional*): What the shorter side is resized to before the crop, pixels.
    """

    crop_size: int | list[int]
    flip_p: float = 0.5
    color_p: float = 0.5
    resize: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the model sees, pixels."""
        return height_and_width(self.crop_size)


@strict
@dataclass(kw_only=True)
class MapData(DataRecipe):
    """
    What all data sections for maps share. Each also says the maps' `unit` and `num_channels`.

    Args:
        transform (`MapTransformRecipe`): Augmentation.
    """

    column: ClassVar[str] = MAP_COLUMN

    transform: MapTransformRecipe

    @property
    def image_size(self) -> tuple[int, int]:
        return self.transform.size

    def stream(self, every: int = 1) -> Stream:
        """Samples with `pixel_values` and `labels`, float32 `(channels, height, width)`."""
        maps = (self.column, self.unit, self.num_channels)
        train_transform = MapTrainTransform(
            *maps,
            crop_size=self.image_size,
            flip_p=self.transform.flip_p,
            color_p=self.transform.color_p,
            resize=self.transform.resize,
        )
        return Stream(self, train_transform, MapEvalTransform(*maps, self.image_size), depth_collator, every)


@strict
@dataclass(kw_only=True)
class StoredMapData(MapData):
    """
    What the sections of one's own maps share.

    Args:
        unit (`str`): What the values are in, any word; `"unit_vector"` for directions in the camera's axes (right,
            down, forward), of which a mirrored image negates the first.
        num_channels (`int`): Channels of a map.
        scale, offset (`float`): Values are `stored * scale + offset`; a pixel that is stored as 0 in all channels is
            unknown.
    """

    unit: str
    num_channels: int
    scale: float = 1.0
    offset: float = 0.0

    def validate_unit(self):
        if self.unit in KNOWN_UNITS:
            raise ValueError(
                f"unit {self.unit!r} is that of {KNOWN_UNITS[self.unit]}, which have data sections of their own: use one "
                "of these, or another word."
            )

    def validate_num_channels(self):
        fewest = 2 if self.unit == UNIT_VECTOR else 1
        if self.num_channels < fewest:
            raise ValueError(f"num_channels of {self.unit!r} must be at least {fewest}, got {self.num_channels}.")


@strict
@dataclass(kw_only=True)
class HubMapData(Shards, StoredMapData):
    """Arguments of [`~ait_hf.data.maps.load_hub_maps`]: any 🤗 data set with a column of images and one of maps."""

    name: Literal["map_hub"] = "map_hub"
    map_column: str
    image_column: str = "image"

    def load(self, split: str) -> HubMaps | datasets.IterableDataset:
        return load_hub_maps(
            self.path,
            split,
            map_column=self.map_column,
            image_column=self.image_column,
            scale=self.scale,
            offset=self.offset,
            streaming=self.streaming,
        )


@strict
@dataclass(kw_only=True)
class MapFolderData(StoredMapData):
    """Files `path/SPLIT/images/NAME.*` with `path/SPLIT/maps/NAME.png` or `.npy`."""

    name: Literal["map_folder"] = "map_folder"
    path: str

    def load(self, split: str) -> MapFolder:
        return MapFolder(f"{self.path}/{split}", self.scale, self.offset)


@strict
@dataclass(kw_only=True)
class NormalsData(MapData):
    """What the sections of surface normals share: unit vectors in the camera's axes."""

    unit: ClassVar[str] = UNIT_VECTOR
    num_channels: ClassVar[int] = 3


@strict
@dataclass(kw_only=True)
class SyntheticNormalsData(NormalsData):
    """
    Surface normals of rooms rendered on the fly.

    Args:
        size (`list[int]`): Height and width in pixels.
        num_rooms (`int`, *optional*): Train on so many rooms again and again, rendered once: cheaper than ever new
            ones, which are the default.
        people (`bool`): With people in the rooms.
    """

    column: ClassVar[str] = "normals"

    name: Literal["synthetic_normals"] = "synthetic_normals"
    size: list[int]
    seed: int = 0
    num_rooms: int | None = None
    people: bool = False

    @property
    def is_endless(self) -> bool:
        return True

    def load(self, split: str) -> SyntheticNormals:
        return SyntheticNormals(split, tuple(self.size), self.seed, people=self.people)

    def load_for_training(self) -> SyntheticNormals:
        return SyntheticNormals(self.split, tuple(self.size), self.seed, self.num_rooms, self.people)


@strict
@dataclass(kw_only=True)
class RGBDNormalsData(NormalsData):
    """
    Arguments of [`~ait_hf.data.rgbd_normals.load_rgbd_normals`]: normals from the depth of your own RGB-D frames, which
    `transform.resize` shrinks before.
    """

    name: Literal["rgbd_normals"] = "rgbd_normals"
    index: str
    field_of_view: float
    window: int = 5
    root: str | None = None
    depth_scale: float | None = None
    kinds: list[str] | None = None

    def load(self, split: str) -> HubMaps:
        return load_rgbd_normals(
            self.index,
            split,
            field_of_view=self.field_of_view,
            shorter_side=self.transform.resize,
            window=self.window,
            root=self.root,
            depth_scale=self.depth_scale,
            kinds=self.kinds,
        )


AnyMapData = HubMapData | MapFolderData | SyntheticNormalsData | RGBDNormalsData
