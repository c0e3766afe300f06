# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Token ids as pictures."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .colors import colorize_uncertainty
from .page import check_image


TINT = 0.5  # share of the colour of a code that lies over an image


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


def code_overlay(
    image: np.ndarray,
    ids: np.ndarray,
    entropy: np.ndarray,
    box: Sequence[float],
    chosen: tuple[int, int] | None = None,
    longer_side: int = 800,
) -> Image.Image:
    """Draw the codes of a map over the image that they stand for, each with its number on the colour of its entropy.

    Args:
        image: uint8 (height, width, 3).
        ids: integers (rows, columns).
        entropy: (rows, columns), 0..1, in the colours of uncertainty.
        box: x1, y1, x2, y2 in pixels of the image, where the grid lies; what reaches beyond the image is cut off.
        chosen: row and column of a code that gets a white frame.
        longer_side: of the picture, pixels.

    Raises:
        ValueError: if a shape is wrong, the two grids differ, or the box has no area.
    """
    image, ids = check_image(image), np.asarray(ids)
    if ids.ndim != 2 or ids.shape != np.shape(entropy):
        raise ValueError(f"ids {ids.shape} and entropy {np.shape(entropy)} must have one shape (rows, columns).")
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"The box x1, y1, x2, y2 of a grid must have an area, but is {list(box)}.")
    picture = Image.fromarray(image)
    scale = longer_side / max(picture.size)
    picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.BICUBIC)
    left, top, right, bottom = (round(edge * scale) for edge in box)
    tint = Image.fromarray(colorize_uncertainty(entropy)).resize(
        (max(1, right - left), max(1, bottom - top)), Image.Resampling.NEAREST
    )
    tinted = picture.copy()
    tinted.paste(tint, (left, top))
    picture = Image.blend(picture, tinted, TINT)
    draw = ImageDraw.Draw(picture)
    rows, columns = ids.shape
    xs, ys = np.linspace(left, right, columns + 1), np.linspace(top, bottom, rows + 1)
    for x in xs:
        draw.line((x, top, x, bottom), fill="white")
    for y in ys:
        draw.line((left, y, right, y), fill="white")
    cell = min(xs[1] - xs[0], ys[1] - ys[0])
    font = ImageFont.load_default(max(10, min(20, cell / 2.5)))
    if font.getlength(str(ids.max())) <= cell - 4:
        for (row, column), code in np.ndenumerate(ids):
            center = ((xs[column] + xs[column + 1]) / 2, (ys[row] + ys[row + 1]) / 2)
            draw.text(center, str(code), "white", font, anchor="mm", stroke_width=2, stroke_fill="black")
    if chosen is not None:
        row, column = chosen
        corners = (xs[column], ys[row], xs[column + 1], ys[row + 1])
        draw.rectangle(corners, outline="black", width=7)
        draw.rectangle([c + d for c, d in zip(corners, (2, 2, -2, -2))], outline="white", width=3)
    return picture
