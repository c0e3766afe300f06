# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures as files."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.writing import write_file
from .page import check_image


def save_image(image: Image.Image | np.ndarray, path: str | os.PathLike) -> None:
    """Write a picture, PIL or uint8 (height, width, 3), whose format the ending of `path` chooses (.png, .jpg, ...);
    the file appears complete or not at all, and missing folders are made. `ValueError` if the array is not such a
    picture or the ending is not a known one."""
    path = Path(path)
    formats = Image.registered_extensions()
    if path.suffix.lower() not in formats:
        raise ValueError(f"{path} has no picture's ending; use .png or .jpg.")
    if not isinstance(image, Image.Image):
        image = Image.fromarray(check_image(image))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, lambda file: image.save(file, format=formats[path.suffix.lower()]))
