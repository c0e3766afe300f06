# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""`DepthMap`: a 🤗 datasets feature that stores a depth file and decodes it to metres.

Like `datasets.Image`, the Arrow table keeps a path (or the file's bytes) and the file is read on access, so a table of
24,231 NYU frames stays a few megabytes.
"""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from datasets.table import array_cast
from numpy.lib.format import MAGIC_PREFIX

from ..model.image_reading_ait import ImageHeader, read_image_header
from .stored_images import open_array, open_numbers, register, stored_file, stored_numbers


# PIL's names for one channel of 16-bit or 32-bit integers; every other mode but "F" has 8 bits per channel or fewer.
FLOATS = "F"
_INTEGER_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_SATURATED = np.iinfo(np.uint16).max


def read_depth_header(path: str | Path) -> ImageHeader:
    """Reads the size of a 16-bit PNG, an integer or float TIFF, or a two-dimensional `.npy` array, checks that it can
    hold metric depth, and says as its mode whether it has floats (`"F"`). `ValueError` if the file cannot be read, has
    several channels, or has 8 bits per pixel."""
    if Path(path).suffix.lower() == ".npy":
        array = open_array(path)
        mode = FLOATS if _is_float_array(array, str(path)) else "I"
        return ImageHeader(*array.shape, orientation=1, mode=mode)
    header = read_image_header(path)
    _is_float_image(header.mode, str(path))
    return header


@dataclass
class DepthMap:
    """Depth map feature: on access a float32 array of shape `(height, width)` in metres, 0 = missing.

    Accepts as input a path, a dictionary with `path` or `bytes` and perhaps `depth_scale`, or an array: of metres if
    its numbers are floats, of whole numbers otherwise, (height, width), perhaps with one channel before or behind.
    Files are 16-bit PNG, integer or float TIFF, or two-dimensional `.npy`. In 16 bits the largest value, 65535, counts
    as missing like 0: 7-Scenes marks pixels without depth so, and elsewhere the sensor was saturated.

    Args:
        depth_scale (`float`, *optional*): Divisor from stored values to metres for examples that do not carry their
            own. Integer files need one; float files are metres (a divisor of 1) unless told otherwise.
        decode (`bool`, defaults to `True`):
            `False` gives the stored dictionary with `bytes`, `path` and `depth_scale`.

    Raises:
        ValueError: on access, naming the file, if it has 8 bits per pixel, no divisor, no valid pixel at all, or
            values that are negative or not finite.
    """

    depth_scale: float | None = None
    decode: bool = True
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "numpy.ndarray"
    pa_type: ClassVar[Any] = pa.struct({"bytes": pa.binary(), "path": pa.string(), "depth_scale": pa.float64()})
    _type: str = field(default="DepthMap", init=False, repr=False)

    def __call__(self) -> pa.DataType:
        return self.pa_type

    def encode_example(self, value: str | Path | dict | list | np.ndarray) -> dict[str, Any]:
        stored = {"bytes": None, "path": None, "depth_scale": self.depth_scale}
        if isinstance(value, dict):
            return {key: value.get(key, default) for key, default in stored.items()}
        if not isinstance(value, (list, np.ndarray)):  # streamed arrays come as lists of rows
            return stored | {"path": str(value)}
        array = np.asarray(value)
        if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):  # one channel, before or behind
            array = array[0] if array.shape[0] == 1 else array[..., 0]
        if array.dtype.kind not in "iu":
            # Floats are metres; so are decoded maps, which come back here after `Dataset.map`.
            array, stored["depth_scale"] = array.astype(np.float32), 1.0
        elif array.size and array.min() >= 0 and array.max() <= _SATURATED:
            array = array.astype(np.uint16)
        buffer = io.BytesIO()
        np.save(buffer, array)
        return stored | {"bytes": buffer.getvalue()}

    def decode_example(self, value: dict[str, Any], token_per_repo_id: dict | None = None) -> np.ndarray:
        name = value["path"] or "without a path"
        with stored_file(value) as file:
            is_array = file.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX
            file.seek(0)
            if is_array:
                stored = np.load(file, allow_pickle=False)
                is_float = _is_float_array(stored, name)
            else:
                with open_numbers(file, name) as image:
                    is_float = _is_float_image(image.mode, name)
                    stored = stored_numbers(image, name)
        scale = value["depth_scale"]
        if scale is None and not is_float:
            raise ValueError(f"Depth map {name} holds integers: give depth_scale, their divisor to metres.")
        if not is_float and stored.max() == _SATURATED:
            stored = np.where(stored == _SATURATED, 0, stored)
        metres = stored.astype(np.float32) / np.float32(1.0 if scale is None else scale)
        if not np.isfinite(metres).all() or metres.min() < 0:
            raise ValueError(f"Depth map {name} has negative or non-finite values: mark missing depth with 0.")
        if not metres.any():
            raise ValueError(f"Depth map {name} has no valid pixel: leave it out of the data set.")
        return metres

    def cast_storage(self, storage: pa.Array) -> pa.StructArray:
        """Takes over the storage of a `datasets.Image` column, which rewrites no file, or of arrays."""
        if _is_array_type(storage.type):
            maps = [None if rows is None else self.encode_example(rows) for rows in storage.to_pylist()]
            return pa.array(maps, self.pa_type)
        if not pa.types.is_struct(storage.type):
            raise TypeError(f"A depth column must store images or arrays (height, width), not {storage.type}.")
        names = [storage.type.field(i).name for i in range(storage.type.num_fields)]
        if "depth_scale" in names:
            return array_cast(storage, self.pa_type)
        scales = pa.array([self.depth_scale] * len(storage), pa.float64())
        columns = [storage.field("bytes"), storage.field("path"), scales]
        return pa.StructArray.from_arrays(columns, fields=list(self.pa_type), mask=storage.is_null())


def _is_array_type(kind: pa.DataType) -> bool:
    """Whether these are lists of lists of numbers, perhaps one level more."""
    levels = 0
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind, levels = kind.value_type, levels + 1
    return levels in (2, 3) and (pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _is_float_array(array: np.ndarray, name: str) -> bool:
    if array.ndim != 2:
        raise ValueError(f"Depth map {name} has shape {array.shape}; (height, width) is needed.")
    if array.dtype.kind not in "iuf" or array.dtype.itemsize == 1:
        raise ValueError(f"Depth map {name} has dtype {array.dtype}; metric depth needs floats or 16-bit integers.")
    return array.dtype.kind == "f"


def _is_float_image(mode: str, name: str) -> bool:
    if mode != FLOATS and mode not in _INTEGER_MODES:
        raise ValueError(
            f"Depth map {name} has Pillow mode {mode}, not one channel of 16 bits or of floats: "
            "an 8-bit picture of depth is not metric."
        )
    return mode == FLOATS


register(DepthMap)
