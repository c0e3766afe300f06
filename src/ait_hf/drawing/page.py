# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What all pages of pictures share: checks, sizes and the arrangement in columns."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def check_image(image: np.ndarray) -> np.ndarray:
    """The image as an array; `ValueError` unless it is uint8 (height, width, 3)."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"An image must be uint8 (height, width, 3), but is {image.dtype} {image.shape}.")
    return image


def check_rows(rows: Sequence[dict], fields: Sequence[str]) -> None:
    """`ValueError` if there is no row of a gallery, or one lacks a field."""
    if not rows:
        raise ValueError("A gallery needs at least one row.")
    for number, row in enumerate(rows):
        if missing := [field for field in fields if field not in row]:
            raise ValueError(f"Row {number} of the gallery lacks {', '.join(missing)}.")


def resize_picture(image: np.ndarray, longer_side: int) -> Image.Image:
    """uint8 (height, width, 3) as a picture whose longer side has so many pixels; enlarged pixels stay squares."""
    picture = Image.fromarray(image)
    factor = longer_side / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS)


def arrange(titles: Sequence[str], lines: Sequence[Sequence[Image.Image]], cell_width: int) -> Image.Image:
    """Pictures in columns with titles, from the top left on white."""
    margin, gap, title_height = 10, 8, 26
    heights = [max(picture.height for picture in line) for line in lines]
    size = (
        2 * margin + len(titles) * (cell_width + gap) - gap,
        title_height + sum(heights) + len(lines) * gap + margin,
    )
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(13)
    for column, title in enumerate(titles):
        middle = margin + column * (cell_width + gap) + cell_width / 2
        draw.text((middle, title_height / 2), title, "black", font, anchor="mm")
    top = title_height
    for line, height in zip(lines, heights):
        for column, picture in enumerate(line):
            left = margin + column * (cell_width + gap) + (cell_width - picture.width) // 2
            page.paste(picture, (left, top))
        top += height + gap
    return page
