# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Persons cut out of images, and their joints taken into the crop and back, by one affine map per person.

Points are (x, y) in pixels, whole numbers being the centres of pixels, in images and in crops alike. Boxes count from
the edges of pixels: the first pixel's centre (0, 0) lies at (0.5, 0.5) of a box's coordinates.
"""

import math

import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as tvF


def crop_to_image(
    boxes: torch.Tensor, size: tuple[int, int], box_scale: float = 1.25, *, rotation: float = 0.0, flip: bool = False
) -> torch.Tensor:
    """
    Affine maps `(..., 2, 3)`, float64, for [`transform_points`], from the pixels of crops of that size (height, width)
    to those of the image.

    A crop shows a box `(..., 4)`, x1, y1, x2, y2 in pixels of the image, about its centre, `box_scale` times as large
    and made wider or higher, never narrower or lower, to the crop's aspect. Its frame is turned clockwise in the image
    by `rotation` degrees, and mirrored with `flip`. `ValueError` if a box has no area or is not finite.
    """
    boxes = boxes.double()
    sides = boxes[..., 2:] - boxes[..., :2]
    if not (torch.isfinite(boxes).all() and (sides > 0).all()):
        raise ValueError("A person's box must be finite and have sides above 0; leave out such boxes.")
    height, width = size
    # Pixels of the image per pixel of the crop, alike in both directions.
    step = box_scale * torch.maximum(sides[..., 0] / width, sides[..., 1] / height)
    cosine, sine = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    mirror = -1.0 if flip else 1.0
    turn = boxes.new_tensor([[mirror * cosine, -sine], [mirror * sine, cosine]])
    linear = step[..., None, None] * turn
    crop_center = boxes.new_tensor([(width - 1) / 2, (height - 1) / 2])
    image_center = (boxes[..., :2] + boxes[..., 2:]) / 2 - 0.5
    offset = image_center[..., None] - linear @ crop_center[:, None]
    return torch.cat([linear, offset], dim=-1)


def inverse(maps: torch.Tensor) -> torch.Tensor:
    """The affine maps `(..., 2, 3)` back."""
    linear = torch.linalg.inv(maps[..., :2])
    return torch.cat([linear, -linear @ maps[..., 2:]], dim=-1)


def transform_points(points: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Points `(..., n, 2)` through affine maps `(..., 2, 3)`; float64."""
    return points.double() @ maps[..., :2].mT + maps[..., None, :, 2]


def scale_points(points: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """Points, or corners of boxes, with x and y in turn along the last axis, scaled; nothing is sent to their device."""
    return torch.stack([points[..., ::2] * x, points[..., 1::2] * y], dim=-1).flatten(-2)


def cut_out(image: torch.Tensor, to_image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """
    The part of an image `(channels, height, width)` of any dtype that an affine map `(2, 3)` of [`crop_to_image`], on
    the CPU, shows at a size (height, width) in pixels, bilinear, and antialiased where it shrinks: `(channels,
    *size)`, float32, in the image's range of values; 0 outside of the image.
    """
    step = torch.linalg.det(to_image[:, :2]).abs().sqrt().item()
    if step > 1:  # shrunk first: bilinear sampling alone would skip pixels
        height, width = image.shape[-2:]
        small = tuple(max(1, math.ceil(side / step)) for side in (height, width))
        image = tvF.resize(image, small, antialias=True)
        ratio = to_image.new_tensor([[small[1] / width], [small[0] / height]])
        to_image = torch.cat([to_image[:, :2], to_image[:, 2:] + 0.5], dim=1) * ratio
        to_image = torch.cat([to_image[:, :2], to_image[:, 2:] - 0.5], dim=1)
    height, width = image.shape[-2:]
    rows, columns = torch.meshgrid(*map(torch.arange, size), indexing="ij")
    points = transform_points(torch.stack([columns, rows], dim=-1), to_image[None])
    # `grid_sample` wants the image's edges at -1 and 1. Not every device has 64-bit numbers.
    grid = ((2 * points + 1) / points.new_tensor([width, height]) - 1).float().to(image.device)
    return F.grid_sample(image[None].float(), grid[None], align_corners=False)[0]


def joints_in_crop(joints: torch.Tensor, to_image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """
    Annotated joints `(joints, 3)`, x and y in pixels of the image and visibility (0 unknown), in pixels of a crop of
    that size (height, width) by its map `(2, 3)` of [`crop_to_image`]; float32. Those unknown or outside of it are
    zeros.
    """
    points = transform_points(joints[:, :2], inverse(to_image))
    limits = points.new_tensor([size[1], size[0]]) - 0.5
    known = (joints[:, 2] > 0) & (points >= -0.5).all(1) & (points <= limits).all(1)
    return (torch.cat([points, joints[:, 2:]], dim=1) * known[:, None]).float()


def mirrored_joints(joints: torch.Tensor, width: int, flip_order: list[int]) -> torch.Tensor:
    """
    Joints `(..., joints, 2 or 3)` of the mirrored image: x, y in pixels, and perhaps visibility; unknown joints
    (visibility 0) stay zeros. `flip_order` has for every joint of the mirrored image the joint that it was.
    """
    mirrored = joints[..., flip_order, :].clone()
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    return mirrored * (mirrored[..., 2:] > 0) if mirrored.shape[-1] == 3 else mirrored
