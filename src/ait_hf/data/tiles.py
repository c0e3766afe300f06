# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images with many small objects as tiles of one size, which overlap."""

import json
import math
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
from torch.utils.data import Dataset

from .object_transforms import tight_box
from .segmentations import decode_segmentation, encoded_mask


COUNTED_SHARE = 0.5  # of an object's box that lies in the tile


class ObjectTiles(Dataset):
    """The rows of [`~ait_hf.data.coco.load_coco`] cut into tiles, row by row from the top left.

    Tiles are as few as overlap by so many pixels at least, spread evenly from edge to edge; an image that is smaller than
    a tile is one. An object with at least half of its box in a tile is an object of that tile, cut to it, its box being that
    of the part of its mask, if it has one. What is seen of others is a crowd: nobody has to find it, and who does is
    not wrong. Training leaves crowds out.

    Args:
        rows (`datasets.Dataset`): rows of [`~ait_hf.data.coco.load_coco`].
        size, overlap (`int`): pixels of the image; the overlap is less than the size.
        keep_empty (`bool`): `False` leaves out tiles without an object.

    Items:
        As the rows, `image_id` being the number of the tile, from 1 on, among all of the rows.

    Raises:
        ValueError: the overlap is no less than the size, or below 0.
    """

    def __init__(self, rows: datasets.Dataset, size: int, overlap: int = 0, keep_empty: bool = True):
        if not 0 <= overlap < size:
            raise ValueError(f"Tiles of {size} pixels can overlap by 0 to {size - 1}, but not by {overlap}.")
        self.rows, self.size = rows, size
        columns = rows.select_columns(["height", "width", "boxes", "iscrowd"])
        self.places = []  # of every tile its row, number, top and left
        number = 0
        for index, row in enumerate(columns):
            for top in tile_starts(row["height"], size, overlap):
                for left in tile_starts(row["width"], size, overlap):
                    number += 1
                    if keep_empty or self._has_object(row, top, left):
                        self.places.append((index, number, top, left))

    def __len__(self) -> int:
        return len(self.places)

    def select_columns(self, columns: Sequence[str]) -> "ObjectTiles":
        """The same tiles without other columns of the rows, as of 🤗 data sets."""
        tiles = object.__new__(type(self))
        tiles.rows, tiles.size, tiles.places = self.rows.select_columns(list(columns)), self.size, self.places
        return tiles

    def __getitem__(self, index: int) -> dict[str, Any]:
        row_index, number, top, left = self.places[index]
        row = self.rows[row_index]
        height, width = min(self.size, row["height"]), min(self.size, row["width"])
        tile = {"image_id": number, "height": height, "width": width}
        tile |= {"path": row["path"]} if "path" in row else {}
        if "image" in row:
            tile["image"] = row["image"].crop((left, top, left + width, top + height))
        objects = [self._part(row, k, top, left, height, width) for k in range(len(row["boxes"]))]
        objects = [found for found in objects if found is not None]
        names = ("boxes", "class_labels", "iscrowd", "area", "segmentation")
        return tile | {name: [found[name] for found in objects] for name in names}

    def _has_object(self, row: dict[str, Any], top: int, left: int) -> bool:
        boxes = np.reshape(row["boxes"], (-1, 4)).astype(float)[~np.asarray(row["iscrowd"], dtype=bool)]
        return bool((share_inside(boxes, top, left, self.size, self.size) >= COUNTED_SHARE).any())

    def _part(
        self, row: dict[str, Any], number: int, top: int, left: int, height: int, width: int
    ) -> dict[str, Any] | None:
        """What is seen of an object in a tile, if anything is."""
        box = np.asarray(row["boxes"][number], dtype=float)
        share = float(share_inside(box[None], top, left, height, width)[0])
        if share == 0:
            return None
        part = (box - [left, top, left, top]).clip(0, [width, height, width, height])
        found = {"boxes": part.tolist(), "area": row["area"][number] * share, "segmentation": ""}
        if row["segmentation"][number]:
            whole = decode_segmentation(row["segmentation"][number], row["height"], row["width"])
            mask = whole[top : top + height, left : left + width]
            if not mask.any():
                return None
            found |= {"boxes": [float(corner) for corner in tight_box(mask)], "area": float(mask.sum())}
            found["segmentation"] = json.dumps(encoded_mask(mask))
        is_crowd = bool(row["iscrowd"][number]) or share < COUNTED_SHARE
        return found | {"iscrowd": is_crowd, "class_labels": row["class_labels"][number]}


def tile_starts(length: int, size: int, overlap: int) -> list[int]:
    """Where tiles begin along a side of an image, in pixels."""
    if length <= size:
        return [0]
    count = math.ceil((length - overlap) / (size - overlap))
    return np.linspace(0, length - size, count).round().astype(int).tolist()


def share_inside(boxes: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """Of boxes `(n, 4)`, x1, y1, x2, y2, the share of their area that lies in a tile, 0..1."""
    low, high = np.array([left, top]), np.array([left + width, top + height])
    sides = (np.minimum(boxes[:, 2:], high) - np.maximum(boxes[:, :2], low)).clip(min=0)
    return sides.prod(1) / (boxes[:, 2:] - boxes[:, :2]).prod(1).clip(min=1e-9)
