# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Tiles of images with objects, against places and shares by hand."""

import json

import datasets
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from ait_hf.data.coco import COCO_FEATURES
from ait_hf.data.segmentations import encoded_mask
from ait_hf.data.tiles import ObjectTiles, share_inside, tile_starts
from ait_hf.tasks.objects.evaluation import coco_ground_truth


HEIGHT, WIDTH = 60, 100
# x1, y1, x2, y2. In tiles of 60 pixels that overlap by 20 (from x = 0 and x = 40): the first object lies in the first tile, of
# the second .8 (so that .2 is seen of it in the first tile), the third with a half in either.
BOXES = [(5, 5, 25, 25), (52, 10, 92, 30), (50, 40, 70, 50)]


def mask_of(box):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    x1, y1, x2, y2 = box
    mask[y1:y2, x1:x2] = 1
    return mask


@pytest.fixture(scope="module")
def rows():
    pixels = np.stack([*np.mgrid[:HEIGHT, :WIDTH], np.zeros((HEIGHT, WIDTH))], -1).astype(np.uint8)
    masks = [mask_of(box) for box in BOXES]
    row = {
        "image": Image.fromarray(pixels), "path": "a.png", "image_id": 7, "height": HEIGHT, "width": WIDTH,
        "boxes": [list(map(float, box)) for box in BOXES], "class_labels": [0, 1, 2], "iscrowd": [False] * 3,
        "area": [float(mask.sum()) for mask in masks], "annotation_id": [1, 2, 3],
        "segmentation": [json.dumps(encoded_mask(mask)) for mask in masks],
    }  # fmt: skip
    empty = (
        row
        | {"image_id": 8, "path": "b.png"}
        | dict.fromkeys(("boxes", "class_labels", "iscrowd", "area", "segmentation", "annotation_id"), [])
    )
    return datasets.Dataset.from_list([row, empty], features=COCO_FEATURES)


@pytest.mark.parametrize(
    ("length", "size", "overlap", "starts"),
    [
        (100, 60, 20, [0, 40]),
        (100, 50, 0, [0, 50]),
        (101, 50, 0, [0, 26, 51]),  # 25.5 to the even number
        (60, 60, 20, [0]),
        (30, 60, 20, [0]),
        (256, 128, 32, [0, 64, 128]),
        (1024, 128, 32, [0, 90, 179, 269, 358, 448, 538, 627, 717, 806, 896]),
    ],
)
def test_tiles_cover_a_side_evenly(length, size, overlap, starts):
    found = tile_starts(length, size, overlap)
    assert found == starts
    assert all(after - before <= size - overlap for before, after in zip(found, found[1:]))
    assert found[-1] + size >= length


def test_objects_are_of_the_tiles_that_have_half_of_them(rows):
    tiles = ObjectTiles(rows, 60, 20)
    assert len(tiles) == 4 and [tiles[k]["image_id"] for k in range(4)] == [1, 2, 3, 4]
    first, second = tiles[0], tiles[1]
    assert first["class_labels"] == [0, 1, 2] and first["iscrowd"] == [False, True, False]
    assert first["boxes"] == [[5, 5, 25, 25], [52, 10, 60, 30], [50, 40, 60, 50]]
    assert second["class_labels"] == [1, 2] and second["iscrowd"] == [False, False]
    assert second["boxes"] == [[12, 10, 52, 30], [10, 40, 30, 50]]
    assert first["area"] == [400, 160, 100] and second["area"] == [800, 200]


def test_pixels_and_masks_are_those_of_the_image(rows):
    tiles = ObjectTiles(rows, 60, 20)
    for tile, left in ((tiles[0], 0), (tiles[1], 40)):
        pixels = np.asarray(tile["image"])
        assert pixels.shape == (60, 60, 3) and pixels[3, 9].tolist() == [3, 9 + left, 0]
        for label, text in zip(tile["class_labels"], tile["segmentation"]):
            np.testing.assert_array_equal(
                coco_mask.decode(json.loads(text)), mask_of(BOXES[label])[:, left : left + 60]
            )


def test_boxes_are_those_of_the_part_of_the_mask_that_is_seen(rows):
    """A triangle: of its lower half the tile shows less width than of its box."""
    mask = np.tril(np.ones((40, 40), np.uint8))
    whole = np.zeros((HEIGHT, WIDTH), np.uint8)
    whole[10:50, 30:70] = mask
    row = rows[0] | {name: rows[0][name][:1] for name in ("class_labels", "iscrowd", "annotation_id")}
    row |= {"boxes": [[30.0, 10.0, 70.0, 50.0]], "area": [float(mask.sum())]}
    row |= {"segmentation": [json.dumps(encoded_mask(whole))]}
    tiles = ObjectTiles(datasets.Dataset.from_list([row], features=COCO_FEATURES), 60, 20)
    assert tiles[1]["boxes"] == [[0, 20, 30, 50]]  # from x = 40 on the triangle begins ten rows lower


def test_training_leaves_out_tiles_without_an_object(rows):
    assert [tile["image_id"] for tile in ObjectTiles(rows, 60, 20, keep_empty=False)] == [1, 2]
    assert len(ObjectTiles(rows, 200)) == 2 and ObjectTiles(rows, 200)[0]["iscrowd"] == [False] * 3


def test_ground_truth_needs_no_pictures(rows):
    tiles = ObjectTiles(rows, 60, 20)
    assert (
        "image"
        not in tiles.select_columns(["height", "width", "boxes", "class_labels", "iscrowd", "area", "segmentation"])[0]
    )
    truth = coco_ground_truth(tiles, [10, 20, 30])
    assert [image["id"] for image in truth["images"]] == [1, 2, 3, 4]
    assert [(entry["image_id"], entry["category_id"], entry["iscrowd"]) for entry in truth["annotations"]] == [
        (1, 10, 0), (1, 20, 1), (1, 30, 0), (2, 20, 0), (2, 30, 0),
    ]  # fmt: skip
    assert truth["annotations"][1]["bbox"] == [52, 10, 8, 20]


def test_share_is_of_the_box():
    boxes = np.array([[0, 0, 10, 10], [-5, -5, 5, 5], [20, 20, 30, 30]], float)
    assert share_inside(boxes, 0, 0, 10, 10).tolist() == [1, 0.25, 0]


@pytest.mark.parametrize("overlap", [-1, 60])
def test_overlaps_that_make_no_sense(rows, overlap):
    with pytest.raises(ValueError, match=f"can overlap by 0 to 59, but not by {overlap}"):
        ObjectTiles(rows, 60, overlap)
