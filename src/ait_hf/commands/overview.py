# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""One picture of all that a model says about a photograph."""

from pathlib import Path

import numpy as np
from PIL import Image

from ..drawing.page import arrange, resize_picture
from ..drawing.picture_files import save_image


OVERVIEW_CELL = 320  # longer side of each picture, pixels


def write_overview(path: Path, image: Image.Image, pictures: dict[str, np.ndarray], output: Path) -> None:
    """`NAME_all.png`: the photograph and beside it the pictures of several tasks, by their names."""
    cells = [np.asarray(image), *pictures.values()]
    line = [resize_picture(cell, OVERVIEW_CELL) for cell in cells]
    save_image(arrange(["image", *pictures], [line], OVERVIEW_CELL), output / f"{path.stem}_all.png")
