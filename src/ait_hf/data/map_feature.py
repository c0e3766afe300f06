# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""`StoredMap`: a 🤗 datasets feature that stores a dense map of any kind, as an image or an array, and decodes its values."""

import io
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, BinaryIO, ClassVar

import datasets
import numpy as np
import pyarrow as pa

from .stored_images import open_numbers, register, stored_file, stored_numbers


MAP_COLUMN = "map"
_NUMBER_MODES = ("1", "L", "P", "I", "F", "RGB", "RGBA", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass
class StoredMap(datasets.Image):
    """Map feature: on access a float32 array `(height, width, channels)`, all channels 0 where unknown.

    Takes what `datasets.Image` does, and arrays `(H, W)` or `(H, W, C)`, which it keeps as `.npy`.

    Args:
        scale, offset (`float`): values are `stored * scale + offset`.

    Raises:
        ValueError: on access, naming the file, if these are no numbers of a map.
    """

    scale: float = 1.0
    offset: float = 0.0
    dtype: ClassVar[str] = "numpy.ndarray"
    _type: str = field(default="StoredMap", init=False, repr=False)

    def encode_example(self, value: Any) -> dict[str, Any]:
        """Gives the dictionary that the Arrow table stores."""
        if not isinstance(value, (list, np.ndarray)):
            return super().encode_example(value)
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(value))
        return {"bytes": buffer.getvalue(), "path": None}

    def decode_example(self, value: dict[str, Any], token_per_repo_id: dict | None = None) -> np.ndarray:
        """Reads the file and gives its values."""
        name = value["path"] or "in a row"
        if value["bytes"] is not None and value["bytes"].startswith(np.lib.format.MAGIC_PREFIX):
            stored = np.load(io.BytesIO(value["bytes"]), allow_pickle=False)
        else:
            with stored_file(value) as file:
                stored = read_map(file, name)
        try:
            return decode_map(stored, self.scale, self.offset)
        except ValueError as error:
            raise ValueError(f"The map {name}: {error}") from error

    def cast_storage(self, storage: pa.Array) -> pa.StructArray:
        """Takes over the storage of a `datasets.Image` column, which rewrites no file, or of arrays."""
        if pa.types.is_struct(storage.type):
            return super().cast_storage(storage)
        return pa.array(
            [None if rows is None else self.encode_example(rows) for rows in storage.to_pylist()], self.pa_type
        )


def decode_map(stored: np.ndarray, scale: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """
    Values of a stored map, `stored * scale + offset`.

    Args:
        stored: Numbers `(H, W)` or `(H, W, C)`. A pixel whose channels are all stored as 0 is unknown, whatever the
            offset.

    Returns:
        Float32 `(H, W, C)`, all channels 0 where unknown.

    Raises:
        ValueError: It has another shape.
    """
    if stored.ndim not in (2, 3) or stored.dtype.kind not in "iuf":
        raise ValueError(
            f"A map must be numbers (height, width) or (height, width, channels), got {stored.dtype} {stored.shape}."
        )
    stored = stored.reshape(*stored.shape[:2], -1)
    known = (stored != 0).any(2, keepdims=True)
    return np.where(known, stored.astype(np.float32) * np.float32(scale) + np.float32(offset), np.float32(0))


def read_map(source: str | PathLike | BinaryIO, name: str) -> np.ndarray:
    """The numbers `(H, W)` or `(H, W, C)` of a map that is stored as an image; `ValueError`, with its `name`, if they are none
    of a map."""
    with open_numbers(source, name) as image:
        if image.mode not in _NUMBER_MODES:
            raise ValueError(f"{name} has Pillow's mode {image.mode}, whose pixels are no values of a map.")
        return stored_numbers(image, name)


register(StoredMap)
