# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The classes of pixels in pictures: label maps over images, with their names, beside the truth."""

import colorsys
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...drawing.colors import colorize_uncertainty
from ...drawing.page import arrange, check_image, check_rows, column_edges, readable_side, resize_picture
from ...model.tokenization_vq import IGNORED_LABEL


OPACITY = 0.6
TITLES = ("image", "ground truth", "prediction", "uncertainty")
LINE_HEIGHT, SWATCH = 20, 12  # of the names, pixels


def class_palette(num_classes: int) -> np.ndarray:
    """A colour for every class, uint8 (num_classes, 3), the same for a class however many there are.

    Steps of the golden ratio around the colour circle keep neighbouring numbers far apart; lightness and saturation
    take turns. Black is no class.
    """
    colors = []
    for number in range(num_classes):
        lightness, saturation = ((0.5, 0.9), (0.7, 0.75), (0.35, 0.8))[number % 3]
        colors.append(colorsys.hls_to_rgb((0.58 + number * 0.618034) % 1, lightness, saturation))
    return np.round(255 * np.array(colors).reshape(-1, 3)).astype(np.uint8)


def colorize_label_map(label_map: np.ndarray, num_classes: int) -> np.ndarray:
    """Paint a label map: integers (height, width) in 0..num_classes-1, 255 (no class) black, as uint8 (height, width,
    3); `ValueError` if the shape is wrong or there is no such class."""
    label_map = np.asarray(label_map)
    if label_map.ndim != 2 or label_map.size == 0 or not np.issubdtype(label_map.dtype, np.integer):
        raise ValueError(f"A label map must be integers (height, width), but is {label_map.dtype} {label_map.shape}.")
    colors = np.zeros((max(num_classes, IGNORED_LABEL) + 1, 3), dtype=np.uint8)
    colors[:num_classes] = class_palette(num_classes)
    known = label_map[label_map != IGNORED_LABEL]
    if known.size and not 0 <= known.min() <= known.max() < num_classes:
        raise ValueError(f"Classes must be 0 to {num_classes - 1}, but are {known.min()} to {known.max()}.")
    return colors[label_map]


def draw_label_map(image: np.ndarray, label_map: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """A label map over its image, and the names of its classes below: uint8 (h, w, 3), below 320 pixels enlarged by a
    whole factor.

    Args:
        image: uint8 (height, width, 3).
        label_map: integers (height, width), 255 = no class, left as it is.
        class_names: names of the classes in the order of their numbers.

    Raises:
        ValueError: if a shape is wrong, the two differ in size, or there is no such class.
    """
    image = check_image(image)
    picture = overlay_label_map(image, label_map, len(class_names), readable_side(image))
    legend = class_legend([label_map], class_names, picture.width)
    page = Image.new("RGB", (picture.width, picture.height + legend.height), "white")
    page.paste(picture, (0, 0))
    page.paste(legend, (0, picture.height))
    return np.asarray(page)


def semantic_gallery(rows: Sequence[dict], class_names: Sequence[str], cell_size: int = 320) -> Image.Image:
    """Predicted classes of pixels beside the true ones, one row per example, and their names below.

    Every row states the share of its pixels that are right. Pixels without a true class stay as they are in the truth.

    Args:
        rows: dictionaries with `image` uint8 (height, width, 3), `truth` and `prediction`, integers (height, width), 255
            = no class, and `uncertainty` (height, width), 0..1.
        class_names: names of the classes in the order of their numbers.
        cell_size: as for [`~ait_hf.drawing.page.check_rows`], with its errors.
    """
    check_rows(rows, ("image", "truth", "prediction", "uncertainty"))
    sides = ("truth", "prediction")
    lines = []
    for row in rows:
        image = check_image(row["image"])
        overlays = (overlay_label_map(image, row[side], len(class_names), cell_size) for side in sides)
        lines.append([image, *overlays, colorize_uncertainty(row["uncertainty"])])
    label_maps = [row[side] for row in rows for side in sides]
    legend = class_legend(label_maps, class_names, column_edges(len(TITLES), cell_size)[-1] + cell_size)
    return arrange(TITLES, lines, cell_size, notes=(2, [_accuracy_note(row) for row in rows]), footer=legend)


def _accuracy_note(row: dict) -> str:
    truth, prediction = np.asarray(row["truth"]), np.asarray(row["prediction"])
    known = truth != IGNORED_LABEL
    return f"{(truth == prediction)[known].mean():.0%} of the pixels" if known.any() else "no ground truth"


def overlay_label_map(image: np.ndarray, label_map: np.ndarray, num_classes: int, longer_side: int) -> Image.Image:
    """A label map over its image, as an RGB picture whose longer side has so many pixels; arguments and errors as of
    [`draw_label_map`]."""
    label_map = np.asarray(label_map)
    colors = colorize_label_map(label_map, num_classes)
    if label_map.shape != image.shape[:2]:
        raise ValueError(f"A label map of {label_map.shape} pixels does not fit its image of {image.shape[:2]}.")
    opacity = OPACITY * (label_map != IGNORED_LABEL)[..., None]
    return resize_picture((image + opacity * (colors - image.astype(float))).round().astype(np.uint8), longer_side)


def class_legend(label_maps: Sequence[np.ndarray], class_names: Sequence[str], width: int) -> Image.Image:
    """A coloured square and the name of each class that occurs in label maps (integers of any shapes, 255 = no class),
    in as many lines as they need, as an RGB picture `width` pixels wide."""
    font, palette = ImageFont.load_default(13), class_palette(len(class_names))
    places, left, line = {}, 0, 0
    for number in sorted(set().union(*(np.unique(labels).tolist() for labels in label_maps)) - {IGNORED_LABEL}):
        needed = SWATCH + 5 + math.ceil(font.getlength(class_names[number])) + 14
        if left and left + needed > width:
            left, line = 0, line + 1
        places[number] = (left, line * LINE_HEIGHT)
        left += needed
    legend = Image.new("RGB", (width, (line + 1) * LINE_HEIGHT), "white")
    draw = ImageDraw.Draw(legend)
    for number, (left, top) in places.items():
        middle = top + LINE_HEIGHT / 2
        color = tuple(palette[number].tolist())
        draw.rectangle((left, middle - SWATCH / 2, left + SWATCH, middle + SWATCH / 2), fill=color)
        draw.text((left + SWATCH + 5, middle), class_names[number], "black", font, anchor="lm")
    return legend
