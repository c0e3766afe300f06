# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of original weights as tensors by name. Nothing pickled is ever run."""

import pickle
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file


def read_original_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """
    Tensors of an original file, without a leading `module.`: NumPy's `.npz`, `.safetensors`, or what `torch.save` wrote
    (any other name): `{"state_dict": ...}`, `{"weights": ...}` or the bare dictionary.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is truncated, is no checkpoint, or holds other objects than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint at {path}.")
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    content = readers.get(path.suffix, _read_torch)(path)
    if not isinstance(content, dict) or not content or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise ValueError(f"{path} holds no dictionary of tensors.")
    return {key.removeprefix("module."): tensor for key, tensor in content.items()}


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not isinstance(arrays, Mapping):
                raise ValueError("a single array")
            return {name: torch.from_numpy(arrays[name]) for name in arrays}
    except (ValueError, TypeError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is truncated or not an .npz file of numbers only.") from error


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a .safetensors file.") from error


def _read_torch(path: Path) -> Any:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise ValueError(f"{path} is truncated or not a checkpoint of tensors only.") from error
    for key in ("state_dict", "weights"):
        if isinstance(content, dict) and key in content:
            content = content[key]
    return content


def check_weights(given: Mapping[str, torch.Tensor], expected: Mapping[str, Collection[int]], whose: str) -> None:
    """`ValueError` that names the weights that are missing, unexpected or of another shape than is expected."""
    if missing := sorted(expected.keys() - given.keys()):
        raise ValueError(f"{whose} lacks {', '.join(missing)}.")
    if unexpected := sorted(given.keys() - expected.keys()):
        raise ValueError(f"{whose} has weights that its configuration does not: {', '.join(unexpected)}.")
    wrong = [
        f"{key} is {tuple(given[key].shape)}, not {tuple(shape)}"
        for key, shape in sorted(expected.items())
        if given[key].shape != shape
    ]
    if wrong:
        raise ValueError(f"{whose} does not fit its configuration: {'; '.join(wrong)}.")
