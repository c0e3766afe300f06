# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Objects in pictures: boxes, masks, classes and scores, beside the truth or their mask tokens."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...data.pixels import without_channel
from ...drawing.page import arrange, check_image, check_rows, readable_side, resize_picture


MASK_OPACITY = 0.45
INSIDE = 220  # of a mask that is drawn alone, which white would not set off from the page


def draw_objects(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[int],
    scores: Sequence[float] | None = None,
    masks: np.ndarray | None = None,
    class_names: Sequence[str] | dict[int, str] | None = None,
    threshold: float = 0.3,
    longer_side: int | None = None,
) -> Image.Image:
    """Draw objects on an image, each in its own colour, as an RGB picture; those of higher scores lie on top.

    Args:
        image: uint8 (height, width, 3).
        boxes: (n, 4), x1, y1, x2, y2 in pixels of the image; may reach outside of it.
        labels: n class numbers.
        scores: n scores, 0..1; written behind the class.
        masks: (n, height, width), boolean or 0 and 1.
        class_names: names of the classes by their number, a list or a dictionary; the numbers are written without it.
        threshold: objects of lower scores are left out (none without scores).
        longer_side: as for [`~ait_hf.tasks.poses.drawing.draw_poses`].

    Raises:
        ValueError: if a shape is wrong or the numbers of objects differ.
    """
    image = check_image(image)
    boxes, labels, scores, masks = _check_objects(image, boxes, labels, scores, masks)
    longer_side = readable_side(image) if longer_side is None else longer_side
    picture = resize_picture(image, longer_side)
    scale = np.array([picture.width / image.shape[1], picture.height / image.shape[0]] * 2)
    order = [number for number in np.argsort(scores, kind="stable") if not scores[number] < threshold]
    colors = {number: _color(place) for place, number in enumerate(reversed(order))}
    if masks is not None:
        picture = _paint_masks(picture, {number: masks[number] for number in order}, colors)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(10, min(16, longer_side // 32)))
    for number in order:
        draw.rectangle(_corners(boxes[number] * scale, picture.size), outline=colors[number], width=2)
    taken = []
    for number in reversed(order):  # the best label gets the best place
        name = str(labels[number]) if class_names is None else class_names[labels[number]]
        text = name if np.isinf(scores[number]) else f"{name} {scores[number]:.2f}"
        taken.append(_write_label(draw, text, font, boxes[number] * scale, colors[number], taken))
    return picture


def _check_objects(image, boxes, labels, scores, masks):
    """Objects as arrays; without scores all of them are infinite."""
    labels = [int(label) for label in labels]
    boxes = np.asarray(boxes, dtype=float) if len(boxes) else np.zeros((0, 4))
    if boxes.shape != (len(labels), 4):
        raise ValueError(f"{len(labels)} objects need boxes ({len(labels)}, 4), but they are {boxes.shape}.")
    scores = np.full(len(labels), np.inf) if scores is None else np.asarray(scores, dtype=float)
    if scores.shape != (len(labels),):
        raise ValueError(f"{len(labels)} objects need as many scores, but they are {scores.shape}.")
    if masks is not None:
        masks = np.asarray(masks).astype(bool)
        if masks.shape != (len(labels), *image.shape[:2]):
            raise ValueError(
                f"{len(labels)} objects on an image {image.shape[:2]} need masks of its size, but they are "
                f"{masks.shape}."
            )
    return boxes, labels, scores, masks


def _color(number: int) -> tuple[int, int, int]:
    """Steps of the golden ratio around the colour circle keep the colours of few objects far apart."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + number * 0.618034) % 1, 0.85, (1.0, 0.8)[number // 5 % 2])
    return round(255 * red), round(255 * green), round(255 * blue)


def _paint_masks(picture: Image.Image, masks: dict[int, np.ndarray], colors: dict[int, tuple]) -> Image.Image:
    pixels = np.asarray(picture).astype(float)
    for number, mask in masks.items():
        mask = np.asarray(Image.fromarray(mask).resize(picture.size, Image.Resampling.NEAREST))
        color = np.array(colors[number])
        pixels[mask] += MASK_OPACITY * (color - pixels[mask])
        padded = np.pad(mask, 1)
        surrounded = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        pixels[mask & ~surrounded] = color
    return Image.fromarray(pixels.round().astype(np.uint8))


def _corners(box: np.ndarray, size: tuple[int, int]) -> tuple[float, ...]:
    """Sorted corners inside the picture; the line lies inside the box."""
    (left, right), (top, bottom) = sorted(box[0::2]), sorted(box[1::2])
    limit = np.array([size[0] - 1, size[1] - 1] * 2)
    left, top, right, bottom = np.clip([left, top, max(left, right - 1), max(top, bottom - 1)], 0, limit).round()
    return left, top, right, bottom


def _write_label(draw, text, font, box, color, taken) -> tuple[float, ...]:
    """Write above the box, inside it or below it, where no other label is yet if possible. Returns the place."""
    left, top, right, bottom = _corners(box, draw.im.size)
    _, _, width, height = font.getbbox(text)
    width, height = width + 4, height + 3
    left = max(0, min(left, draw.im.size[0] - width))
    places = [(left, y, left + width, y + height) for y in (top - height, top + 1, bottom - height, bottom + 1)]
    inside = [place for place in places if place[1] >= 0 and place[3] <= draw.im.size[1]] or places[1:2]
    place = next((place for place in inside if not any(_overlap(place, other) for other in taken)), inside[0])
    draw.rectangle(place, fill=color)
    ink = "black" if np.dot(color, (0.3, 0.59, 0.11)) > 120 else "white"
    draw.text((place[0] + 2, place[1] + 1), text, ink, font)
    return place


def _overlap(first: Sequence[float], second: Sequence[float]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def colorize_mask(mask: np.ndarray) -> np.ndarray:
    """A mask (height, width) or (1, height, width) of values about 0..1 in greys, as uint8 (height, width, 3)."""
    grey = (INSIDE * without_channel(mask).clip(0, 1)).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def object_gallery(rows: Sequence[dict], threshold: float = 0.3, cell_size: int = 320) -> Image.Image:
    """Predicted objects beside the true ones, one row per example.

    Args:
        rows: dictionaries with `image` uint8 (height, width, 3); `prediction` and `truth`, each a dictionary with
            `boxes`, `labels` and, where there are any, `scores` and `masks`, as for [`draw_objects`]; `class_names`.
        threshold: least score of a predicted object that is drawn.
        cell_size: as for [`~ait_hf.drawing.page.check_rows`], with its errors.
    """
    check_rows(rows, ("image", "prediction", "truth"))
    lines = [[row["image"]] for row in rows]
    for row, line in zip(rows, lines):
        chosen = {"class_names": row.get("class_names"), "threshold": threshold, "longer_side": cell_size}
        line += [draw_objects(row["image"], **row[side], **chosen) for side in ("truth", "prediction")]
    return arrange(["image", "ground truth", "prediction"], lines, cell_size)
