# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images with a dense map of any kind, from any 🤗 data set or from two folders of files with the same names, and the
feature that decodes maps.

Every example is `{"image": PIL RGB, "map": float32 (H, W, C), "path": str}`; a pixel is unknown where all channels are 0.
"""

import io
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import datasets
import numpy as np
import pyarrow as pa
from torch.utils.data import Dataset

from ..model.image_reading_ait import ImageHeader, read_image, read_image_header
from .files import paired_files
from .picture_sizes import check_maps
from .stored_images import Picture, open_array, open_numbers, register, stored_file, stored_numbers
from .tables import check_columns, checked_columns, load_any, warn_once


MAP_COLUMN = "map"
UNIT_VECTOR = "unit_vector"  # unit of maps of directions, in the camera's axes: right, down, forward
_NUMBER_MODES = ("1", "L", "P", "I", "F", "RGB", "RGBA", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass
class StoredMap(datasets.Image):
    """Map feature: on access a float32 array `(height, width, channels)`, all channels 0 where unknown.

    Takes what `datasets.Image` does, and arrays `(H, W)` or `(H, W, C)`, which it keeps as `.npy`.

    Args:
        scale, offset (`float`): values are `stored * scale + offset`; `ValueError` on access, naming the file, if
            these are no numbers of a map.
    """

    scale: float = 1.0
    offset: float = 0.0
    dtype: ClassVar[str] = "numpy.ndarray"
    _type: str = field(default="StoredMap", init=False, repr=False)

    def encode_example(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, (list, np.ndarray)):
            return super().encode_example(value)
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(value))
        return {"bytes": buffer.getvalue(), "path": None}

    def decode_example(self, value: dict[str, Any], token_per_repo_id: dict | None = None) -> np.ndarray:
        name = value["path"] or "in a row"
        if value["bytes"] is not None and value["bytes"].startswith(np.lib.format.MAGIC_PREFIX):
            stored = np.load(io.BytesIO(value["bytes"]), allow_pickle=False)
        else:
            with stored_file(value) as file:
                stored = read_map(file, name)
        return decode_map(stored, self.scale, self.offset, f"The map {name}: ")

    def cast_storage(self, storage: pa.Array) -> pa.StructArray:
        """Takes over the storage of a `datasets.Image` column, which rewrites no file, or of arrays."""
        if pa.types.is_struct(storage.type):
            return super().cast_storage(storage)
        maps = [None if rows is None else self.encode_example(rows) for rows in storage.to_pylist()]
        return pa.array(maps, self.pa_type)


register(StoredMap)


def decode_map(stored: np.ndarray, scale: float = 1.0, offset: float = 0.0, where: str = "") -> np.ndarray:
    """Values of a stored map (numbers `(H, W)` or `(H, W, C)`), `stored * scale + offset`: float32 `(H, W, C)`. A
    pixel whose channels are all stored as 0 is unknown, whatever the offset, and all 0. `ValueError`, which begins
    with `where`, if it has another shape."""
    if stored.ndim not in (2, 3) or stored.dtype.kind not in "iuf":
        wanted = "numbers (height, width) or (height, width, channels)"
        raise ValueError(f"{where}A map must be {wanted}, got {stored.dtype} {stored.shape}.")
    stored = stored.reshape(*stored.shape[:2], -1)
    known = (stored != 0).any(2, keepdims=True)
    return np.where(known, stored.astype(np.float32) * np.float32(scale) + np.float32(offset), np.float32(0))


def read_map(source: str | PathLike | BinaryIO, name: str) -> np.ndarray:
    """The numbers `(H, W)` or `(H, W, C)` of a map that is stored as an image; `ValueError`, with its `name`, if they
    are none of a map."""
    with open_numbers(source, name) as image:
        if image.mode not in _NUMBER_MODES:
            raise ValueError(f"{name} has Pillow's mode {image.mode}, whose pixels are no values of a map.")
        return stored_numbers(image, name)


class HubMaps(Dataset):
    """Images with maps of a 🤗 data set, by number; see [`load_hub_maps`]."""

    def __init__(self, table: datasets.Dataset, image_column: str, map_column: str, scale: float, offset: float):
        self.table = table.cast_column(image_column, Picture())
        if isinstance(table.features[map_column], datasets.Image):
            self.table = self.table.cast_column(map_column, datasets.Image(decode=False))
        else:  # which come as lists of numbers
            self.table = self.table.with_format("numpy", columns=[map_column], output_all_columns=True)
        self.image_column, self.map_column, self.scale, self.offset = image_column, map_column, scale, offset

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.table[index]
        name, stored = f"row {index} of column {self.map_column!r}", row[self.map_column]
        if isinstance(stored, dict):  # an image
            with stored_file(stored) as file:
                stored = read_map(file, name)
        values = decode_map(np.asarray(stored), self.scale, self.offset, f"{name}: ")
        return {"image": row[self.image_column], MAP_COLUMN: values, "path": name}


def load_hub_maps(
    path_or_repo: str | PathLike,
    split: str,
    *,
    map_column: str,
    image_column: str = "image",
    scale: float = 1.0,
    offset: float = 0.0,
    streaming: bool = False,
) -> HubMaps | datasets.IterableDataset:
    """Images with maps of any 🤗 data set.

    Args:
        path_or_repo, split, streaming: As of [`~ait_hf.data.tables.load_any`].
        map_column: Column of the maps: arrays `(H, W)` or `(H, W, C)`, or images of 8, 16 or 32 bits.
        image_column: Column of the images.
        scale, offset: Values are `stored * scale + offset`; for surface normals in an 8-bit picture 2/255 and -1.

    Returns:
        Examples with `image` (PIL, RGB), `map` (float32 `(H, W, C)`) and, but in a stream, `path` (what errors call
        the row).

    Raises:
        ValueError: The split or a column does not exist, or the first map (of a stream: none of the first) can be read.
    """
    table = load_any(path_or_repo, split, streaming)
    if streaming:
        features = {"image": Picture(), MAP_COLUMN: StoredMap(scale=scale, offset=offset)}
        return checked_columns(table, features, path_or_repo, {"image": image_column, MAP_COLUMN: map_column})
    check_columns(table, (image_column, map_column), path_or_repo)
    maps = HubMaps(table.select_columns([image_column, map_column]), image_column, map_column, scale, offset)
    maps[0]  # a wrong column shows in the first example, before long work starts
    return maps


class MapFolder(Dataset):
    """Pairs `images/NAME.*` and `maps/NAME.png` or `maps/NAME.npy` of a folder, in the order of their names: items
    with `image` (PIL, RGB), `map` (float32 `(H, W, C)`, `stored * scale + offset`) and `path` (of the map).

    Raises:
        FileNotFoundError: The folder, or one of the two in it, does not exist.
        ValueError: A file has no partner, two have one name, there are none, or an image and its map differ in size.
    """

    def __init__(self, folder: str | PathLike, scale: float = 1.0, offset: float = 0.0):
        folder = Path(folder)
        pairs = paired_files(folder / "images", folder / "maps", (".png", ".npy"))
        self.pairs = [pairs[stem] for stem in sorted(pairs)]
        if not pairs:
            raise ValueError(f"{folder} has no pairs of images/NAME.jpg (or .png) and maps/NAME.png (or .npy).")
        warn_once(check_maps(((image, path, _map_header(path)) for image, path in self.pairs), "map"))
        self.scale, self.offset = scale, offset

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, path = self.pairs[index]
        stored = np.array(open_array(path)) if path.suffix.lower() == ".npy" else read_map(path, str(path))
        values = decode_map(stored, self.scale, self.offset)
        return {"image": read_image(image), MAP_COLUMN: values, "path": str(path)}


def _map_header(path: Path) -> ImageHeader:
    if path.suffix.lower() != ".npy":
        return read_image_header(path)
    shape = open_array(path).shape
    if len(shape) not in (2, 3):
        raise ValueError(f"{path} has the shape {shape}: a map is (height, width) or (height, width, channels).")
    return ImageHeader(*shape[:2], orientation=1, mode="")
