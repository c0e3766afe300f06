# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Poses in pictures: joints and bones of people, beside the true ones."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ...data.skeletons import COCO_SKELETON, Skeleton
from ...drawing.page import arrange, check_image, check_rows, readable_side, resize_picture


LEFT, RIGHT, MIDDLE = (255, 140, 0), (30, 144, 255), (50, 220, 80)  # of the person
BOX = (255, 255, 0)
BACKGROUND = 48  # of poses without an image
SURROUNDINGS = 1.25  # of a person's box that galleries show


def draw_poses(
    image: np.ndarray,
    poses: np.ndarray,
    *,
    boxes: np.ndarray | None = None,
    skeleton: Skeleton = COCO_SKELETON,
    longer_side: int | None = None,
) -> Image.Image:
    """Draw people's joints and bones on an image, as an RGB picture: orange on their left, blue on their right, green
    between.

    Args:
        image: uint8 (height, width, 3).
        poses: (n, joints, 2 or 3), x and y in pixels of the image (whole numbers are the centres of pixels), and
            perhaps visibility: joints with 0 and their bones are left out.
        boxes: (n, 4), x1, y1, x2, y2 in pixels, drawn if given.
        skeleton: what the joints are.
        longer_side: of the picture, pixels. By default the image's own, but images below 320 pixels are enlarged by a
            whole factor.

    Raises:
        ValueError: if a shape is wrong.
    """
    image = check_image(image)
    poses = np.asarray(poses, dtype=float)
    if poses.ndim != 3 or poses.shape[1] != len(skeleton.joints) or poses.shape[2] not in (2, 3):
        raise ValueError(f"Poses must be (n, {len(skeleton.joints)}, 2 or 3), but are {poses.shape}.")
    boxes = np.zeros((0, 4)) if boxes is None else np.asarray(boxes, dtype=float)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"Boxes must be (n, 4), but are {boxes.shape}.")
    longer_side = readable_side(image) if longer_side is None else longer_side
    picture = resize_picture(image, longer_side)
    scale = np.array([picture.width / image.shape[1], picture.height / image.shape[0]])
    draw = ImageDraw.Draw(picture)
    for box in boxes * np.tile(scale, 2):
        draw.rectangle([*box[:2], *np.maximum(box[:2], box[2:] - 1)], outline=BOX)
    for pose in poses:
        visible = pose[:, 2] > 0 if pose.shape[1] == 3 else np.ones(len(pose), dtype=bool)
        _draw_pose(draw, (pose[:, :2] + 0.5) * scale, visible, skeleton, max(2, longer_side // 160))
    return picture


def _draw_pose(
    draw: ImageDraw.ImageDraw, points: np.ndarray, visible: np.ndarray, skeleton: Skeleton, width: int
) -> None:
    colors = [MIDDLE] * len(points)
    for left, right in skeleton.flip_pairs:
        colors[left], colors[right] = LEFT, RIGHT
    for first, second in skeleton.edges:
        if visible[first] and visible[second]:
            color = colors[first] if colors[first] == colors[second] else MIDDLE
            draw.line([*points[first], *points[second]], fill=color, width=width)
    for (x, y), color, is_visible in zip(points, colors, visible):
        if is_visible:
            draw.ellipse([x - width, y - width, x + width, y + width], fill=color, outline="black")


def pose_gallery(rows: Sequence[dict], skeleton: Skeleton = COCO_SKELETON, cell_size: int = 320) -> Image.Image:
    """Predicted poses beside the true ones, one row per person.

    Args:
        rows: dictionaries with `image` uint8 (height, width, 3), `box` (4,) (x1, y1, x2, y2 in pixels), `truth`
            (joints, 3) and `prediction` (joints, 2), as for [`draw_poses`].
        skeleton: what the joints are.
        cell_size: as for [`~ait_hf.drawing.page.check_rows`], with its errors.
    """
    check_rows(rows, ("image", "box", "truth", "prediction"))
    lines = []
    for row in rows:
        image, box = check_image(row["image"]), np.asarray(row["box"], dtype=float)
        part, origin = _surroundings(image, box)
        drawn = {"skeleton": skeleton, "longer_side": cell_size}
        lines.append([draw_poses(image, np.zeros((0, len(skeleton.joints), 2)), boxes=box[None], **drawn)])
        for pose in (np.array(row[side], dtype=float) for side in ("truth", "prediction")):
            pose[:, :2] -= origin
            lines[-1].append(draw_poses(part, pose[None], **drawn))
    return arrange(["image and box", "ground truth", "prediction"], lines, cell_size)


def _surroundings(image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of an image around a box, and the x and y where it begins."""
    center, sides = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * SURROUNDINGS
    limits = np.array([image.shape[1], image.shape[0]])
    first = np.clip(np.floor(center - sides / 2), 0, limits - 1).astype(int)
    last = np.clip(np.ceil(center + sides / 2), first + 1, limits).astype(int)
    return image[first[1] : last[1], first[0] : last[0]], first
