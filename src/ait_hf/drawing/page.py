# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What all pages of pictures share: checks, sizes and the arrangement in columns."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont


SMALLEST_PICTURE = 320  # longer side in pixels at which words can be read
MARGIN, GAP, TITLE_HEIGHT, NOTE_HEIGHT = 10, 8, 26, 18


def check_image(image: np.ndarray, name: str = "An image") -> np.ndarray:
    """The image as an array; `ValueError` unless it is uint8 (height, width, 3)."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"{name} must be uint8 (height, width, 3), but is {image.dtype} {image.shape}.")
    return image


def check_rows(rows: Sequence[dict], fields: Sequence[str]) -> None:
    """What all galleries check, RGB pictures of one row per example: `ValueError` if there is no row or one lacks a
    field, and in drawing if a shape or value is wrong. `cell_size` is the longer side of each picture in them,
    pixels."""
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


def fit_picture(image: np.ndarray, longer_side: int) -> Image.Image:
    """As [`resize_picture`], but enlarged by a whole factor, so that the longer side has about so many pixels."""
    factor = longer_side / max(image.shape[:2])
    return resize_picture(image, round(factor) * max(image.shape[:2]) if factor > 1 else longer_side)


def readable_side(image: np.ndarray) -> int:
    """The longer side of an image in pixels, below 320 enlarged by a whole factor, so that words on it can be read."""
    longer_side = max(image.shape[:2])
    return longer_side * math.ceil(SMALLEST_PICTURE / longer_side)


def column_edges(num_columns: int, cell_width: int) -> list[int]:
    """Where the columns of [`arrange`] begin, in pixels from the first one."""
    return [column * (cell_width + GAP) for column in range(num_columns)]


def arrange(
    titles: Sequence[str],
    lines: Sequence[Sequence[Image.Image | np.ndarray]],
    cell_width: int,
    *,
    notes: tuple[int, Sequence[str]] | None = None,
    footer: Image.Image | None = None,
) -> Image.Image:
    """Pictures in columns with titles, from the top left on white, as an RGB picture.

    Args:
        titles: one per column.
        lines: rows of pictures, which may have fewer than there are columns. Arrays uint8 (height, width, 3) are
            resized until their longer side is as wide as a column.
        cell_width: width of a column, pixels.
        notes: a column, and what stands below its picture in each line.
        footer: a picture below all others, from the left edge of the first column on.
    """
    lines = [
        [cell if isinstance(cell, Image.Image) else resize_picture(check_image(cell), cell_width) for cell in line]
        for line in lines
    ]
    lefts = [MARGIN + edge for edge in column_edges(len(titles), cell_width)]
    below = NOTE_HEIGHT if notes else GAP
    heights = [max(picture.height for picture in line) + below for line in lines]
    end = TITLE_HEIGHT + sum(heights) + MARGIN
    page = Image.new("RGB", (lefts[-1] + cell_width + MARGIN, end + (footer.height if footer else 0)), "white")
    draw = ImageDraw.Draw(page)
    for left, title in zip(lefts, titles):
        draw.text((left + cell_width / 2, TITLE_HEIGHT / 2), title, "black", ImageFont.load_default(13), anchor="mm")
    top = TITLE_HEIGHT
    for number, (line, height) in enumerate(zip(lines, heights)):
        for left, picture in zip(lefts, line):
            page.paste(picture, (left + (cell_width - picture.width) // 2, top))
        top += height
        if notes:
            middle = (lefts[notes[0]] + cell_width / 2, top - NOTE_HEIGHT / 2)
            draw.text(middle, notes[1][number], "black", ImageFont.load_default(12), anchor="mm")
    if footer:
        page.paste(footer, (MARGIN, end))
    return page
