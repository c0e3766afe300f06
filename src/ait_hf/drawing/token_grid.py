# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Token ids as pictures."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def token_grid(ids: np.ndarray, cell_size: int = 32) -> np.ndarray:
    """Draw token ids, integers (rows, columns), at least 0, as coloured squares of `cell_size` pixels with their
    numbers: uint8 (rows * cell_size, columns * cell_size, 3). A code has the same colour in every picture. Numbers are
    left out where they would not fit. `ValueError` if `ids` is no such array, or `cell_size` is below 1."""
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer) or ids.min() < 0:
        raise ValueError(f"ids must be non-negative integers (rows, columns), but is {ids.dtype} {ids.shape}.")
    if cell_size < 1:
        raise ValueError(f"cell_size must be at least 1 pixel, but is {cell_size}.")
    codes, places = np.unique(ids, return_inverse=True)
    colors = np.array([_code_color(int(code)) for code in codes], dtype=np.uint8)
    grid = colors[places.reshape(ids.shape)].repeat(cell_size, axis=0).repeat(cell_size, axis=1)
    font = ImageFont.load_default(max(10, cell_size // 3))
    if font.getlength(str(ids.max())) > cell_size - 2:
        return grid
    picture = Image.fromarray(grid)
    draw = ImageDraw.Draw(picture)
    for (row, column), code in np.ndenumerate(ids):
        center = ((column + 0.5) * cell_size, (row + 0.5) * cell_size)
        ink = "black" if _code_color(int(code))[1] > 110 else "white"
        draw.text(center, str(code), ink, font, anchor="mm")
    return np.array(picture)


def _code_color(code: int) -> tuple[int, int, int]:
    """Two incommensurable steps, around the colour circle and from pale to dark, keep nearby codes apart."""
    hue, shade = code * 0.754878 % 1, code * 0.569840 % 1
    return tuple(round(255 * value) for value in colorsys.hsv_to_rgb(hue, 0.45 + 0.45 * shade, 0.95 - 0.35 * shade))
