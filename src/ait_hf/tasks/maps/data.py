# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data of dense tasks of one's own: images with maps of any number of channels, and surface normals."""

from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, Literal

import datasets
from torch.utils.data import Dataset

from ...data.map_transforms import MapEvalTransform, MapTrainTransform
from ...data.maps import MAP_COLUMN, UNIT_VECTOR, HubMaps, MapFolder, load_hub_maps
from ...data.pixels import depth_collator, height_and_width
from ...data.rgbd import load_rgbd
from ...data.rgbd_normals import load_rgbd_normals
from ...model.configuration_ait import AiTConfig
from ...model.image_reading_ait import read_picture_header
from ...recipes.from_folder import VALIDATION_NAMES, FineTuning, Section, covering, hub_splits, validation_split
from ...recipes.parsing import as_section, build, joined
from ...recipes.sources import Rooms, Shards
from ...recipes.streams import DataRecipe, Source, Stream
from ..base import ImageTransformRecipe


@as_section
class StoredMaps(Source):
    """What sources of one's own maps share."""

    # What the values are in, any word but the unit of another kind; "unit_vector" for directions in the camera's axes (right,
    # down, forward), of which a mirrored image negates the first.
    unit: str
    num_channels: int  # of a map
    scale: float = 1.0  # values are `stored * scale + offset`; a pixel that is stored as 0 in all channels is unknown
    offset: float = 0.0

    def validate_num_channels(self):
        fewest = 2 if self.unit == UNIT_VECTOR else 1
        if self.num_channels < fewest:
            raise ValueError(f"num_channels of {self.unit!r} must be at least {fewest}, got {self.num_channels}.")


@as_section
class FolderOfMaps(StoredMaps):
    """Files `path/SPLIT/images/NAME.*` with `path/SPLIT/maps/NAME.png` or `.npy`."""

    name: Literal["map_folder"] = "map_folder"
    path: str

    def maps(self, split: str) -> MapFolder:
        return MapFolder(f"{self.path}/{split}", self.scale, self.offset)


@as_section
class ShardsOfMaps(Shards, StoredMaps):
    """Arguments of [`~ait_hf.data.maps.load_hub_maps`]: any 🤗 data set with a column of images and one of maps."""

    name: Literal["map_hub"] = "map_hub"
    map_column: str
    image_column: str = "image"

    def maps(self, split: str) -> HubMaps | datasets.IterableDataset:
        columns = {"map_column": self.map_column, "image_column": self.image_column}
        values = {"scale": self.scale, "offset": self.offset}
        return load_hub_maps(self.path, split, streaming=self.streaming, **columns, **values)


@as_section
class RGBDFrames(Source):
    """Arguments of [`~ait_hf.data.rgbd.load_rgbd`]: your own frames from an index or a folder of pairs."""

    name: Literal["rgbd"] = "rgbd"
    index: str
    root: str | None = None
    depth_scale: float | None = None
    kinds: list[str] | None = None

    def depth(self, split: str, for_training: bool) -> datasets.Dataset:
        return load_rgbd(self.index, split, root=self.root, depth_scale=self.depth_scale, kinds=self.kinds)


@as_section
class RGBDNormals(RGBDFrames):
    """As [`RGBDFrames`], with what normals are computed by, see [`~ait_hf.data.rgbd_normals.load_rgbd_normals`]."""

    field_of_view: float
    window: int = 5

    def normals(self, split: str, for_training: bool, shorter_side: int | None) -> HubMaps:
        given = {name: value for name, value in asdict(self).items() if name != "name"}
        return load_rgbd_normals(split=split, shorter_side=shorter_side, **given)


@as_section
class MapTransformRecipe(ImageTransformRecipe):
    """Arguments of [`~ait_hf.data.map_transforms.MapTrainTransform`]; evaluation cuts `crop_size` at the centre."""

    normalize_by_default: ClassVar[bool] = False

    crop_size: int | list[int]  # height and width of what the model sees, pixels
    flip_p: float = 0.5  # share of mirrored samples
    color_p: float = 0.5  # probability of each of three changes of colour
    resize: int | None = None  # what the shorter side is resized to before the crop, pixels


@as_section
class MapData(DataRecipe):
    """Images with maps, whose `unit` and `num_channels` are as of [`StoredMaps`]."""

    column: ClassVar[str] = MAP_COLUMN  # which field of a row is the map

    of: Literal["map"] = "map"
    source: FolderOfMaps | ShardsOfMaps = joined()
    transform: MapTransformRecipe

    @property
    def unit(self) -> str:
        return self.source.unit

    @property
    def num_channels(self) -> int:
        return self.source.num_channels

    @property
    def image_size(self) -> tuple[int, int]:
        return height_and_width(self.transform.crop_size)

    def rows(self, split: str, for_training: bool = False) -> Dataset | datasets.IterableDataset:
        return self.source.maps(split)

    def train_transform(self) -> MapTrainTransform:
        settings = self.transform.arguments() | {"crop_size": self.image_size}
        return MapTrainTransform(self.column, self.unit, self.num_channels, **settings)

    def eval_transform(self, size: tuple[int, int] | None = None) -> MapEvalTransform:
        """Cut to `size` (height, width); whole without it."""
        return MapEvalTransform(self.column, self.unit, self.num_channels, size)

    def stream(self, every: int = 1) -> Stream:
        """Samples with `pixel_values` and `labels`, float32 `(channels, height, width)`; depth has no channels."""
        return Stream(self, self.train_transform(), self.eval_transform(self.image_size), depth_collator, every)


@as_section
class NormalsData(MapData):
    """Images with surface normals: unit vectors in the camera's axes. Those of RGB-D frames are computed after
    `transform.resize` has shrunk the frames."""

    unit: ClassVar[str] = UNIT_VECTOR
    num_channels: ClassVar[int] = 3

    of: Literal["normals"] = "normals"
    source: Rooms | RGBDNormals = joined()

    @property
    def column(self) -> str:
        return "normals" if self.is_endless else MAP_COLUMN

    def rows(self, split: str, for_training: bool = False) -> Dataset:
        return self.source.normals(split, for_training, self.transform.resize)


AnyMapData = MapData | NormalsData


def maps_from_folder(request: FineTuning, config: AiTConfig, size: list[int]) -> tuple[Section, str]:
    """As [`~ait_hf.tasks.base.Kind.from_folder`]: maps in files, or shards and data sets of the Hub, which are read at
    random. Their unit and channels are those of the model's tokenizer."""
    tokenizer, path = config.tokenizers[request.task], Path(request.data)
    common = {"unit": tokenizer["unit"], "num_channels": tokenizer["in_channels"]} | request.given("scale", "offset")
    splits = [folder.name for folder in path.iterdir() if (folder / "maps").is_dir()] if path.is_dir() else []
    if splits or (path / "maps").is_dir():
        columns, validation = request.given("image_column", "map_column"), validation_split(splits)
        if columns:
            raise ValueError(
                f"{request.data} is a folder of files, which has no columns: leave out {', '.join(columns)}."
            )
        if validation is None or "train" not in splits:
            raise ValueError(
                f"{request.data} needs train/images and train/maps, and the same of a split to evaluate on "
                f"({', '.join(VALIDATION_NAMES)}); it has the splits {sorted(splits)}."
            )
        pairs = MapFolder(path / "train").pairs
        sizes = {read_picture_header(image).size for image, _ in pairs}
        section = {"name": "map_folder", "path": request.data} | common
        return {"kind": "map", "data": section | {"transform": covering(size, sizes)}}, validation
    if request.map_column is None:
        raise ValueError(
            f"{request.data} has no folders SPLIT/maps; of a 🤗 data set name the column of maps (map_column)."
        )
    section = {"name": "map_hub", "path": request.data} | common | request.given("image_column", "map_column")
    data, validation = shards_from_hub(request, MapData, section, size)
    return {"kind": "map", "data": data}, validation


def shards_from_hub(
    request: FineTuning, view: type[MapData], section: Section, size: list[int]
) -> tuple[Section, str]:
    """A section of shards, or of a data set of the Hub, with its split and transform, and the split to evaluate on."""
    train, validation = hub_splits(request)
    first = build(view, section | {"batch_size": 1, "transform": {"crop_size": size}}).load(train)[0]["image"]
    return section | {"split": train, "transform": covering(size, [(first.height, first.width)])}, validation
