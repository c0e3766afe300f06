# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Synthetic rooms as images with objects, and crops of their masks."""

import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from ait_hf.data.object_transforms import ObjectEvalTransform, ObjectTrainTransform
from ait_hf.data.pixels import object_collator
from ait_hf.data.rooms import depth
from ait_hf.data.rooms.depth import SyntheticDepth, SyntheticLabelMaps, SyntheticNormals, render_room
from ait_hf.data.rooms.objects import OBJECT_CLASSES, SyntheticMaskCrops, SyntheticObjects, room_objects
from ait_hf.data.rooms.rendering import CLASS_NAMES


SIZE = (48, 64)


def room_of(object_ids, class_ids):
    object_ids = np.array(object_ids, dtype=np.uint8)
    image = np.zeros((*object_ids.shape, 3), dtype=np.uint8)
    return {"image": image, "object_ids": object_ids, "class_ids": np.array(class_ids, dtype=np.int64)}


def test_objects_of_a_room_drawn_by_hand():
    ids = np.zeros((20, 20))
    ids[2:5, 7:9], ids[4, 7] = 1, 0
    ids[10, :3] = 2  # less than 1 % of the image
    ids[19, 16:] = 3
    row = room_objects(room_of(ids, [3, 1, 2]))
    np.testing.assert_array_equal(row["boxes"], [[7, 2, 9, 5], [16, 19, 20, 20]])
    assert [OBJECT_CLASSES[label] for label in row["class_labels"]] == ["cylinder", "sphere"]
    np.testing.assert_array_equal(row["masks"], [ids == 1, ids == 3])
    assert row["boxes"].dtype == np.float32 and row["masks"].dtype == np.uint8
    assert (row["height"], row["width"]) == (20, 20) and not row["iscrowd"].any()


@pytest.mark.parametrize("kinds", list(itertools.permutations((SyntheticDepth, SyntheticObjects, SyntheticNormals))))
def test_what_is_seen_of_a_room_does_not_depend_on_who_saw_it_before(kinds):
    """The latest rooms are remembered."""
    depth._latest.clear()
    rows = {kind: kind("test", SIZE, seed=5, people=True)[3] for kind in kinds}
    room = render_room((2, 5, 3), SIZE, people=True, normals=True)
    for row in rows.values():
        np.testing.assert_array_equal(row["image"], room["image"])
    np.testing.assert_array_equal(rows[SyntheticDepth]["depth"], room["depth"])
    np.testing.assert_array_equal(rows[SyntheticNormals]["normals"], room["normals"])
    np.testing.assert_array_equal(rows[SyntheticObjects]["masks"], room_objects(room)["masks"])


@pytest.mark.parametrize("share, numbers", [(0.5, {1, 3, 5, 7}), (0.25, {3, 7}), (1, set(range(8))), (0, set())])
def test_people_are_in_a_share_of_the_rooms(share, numbers):
    """The same share of the same rooms, whatever is seen of them."""
    for kind in (SyntheticDepth, SyntheticObjects, SyntheticLabelMaps):
        rooms = kind("test", SIZE, seed=5, people=share)
        for number in range(8):
            alone = render_room((2, 5, number), SIZE, people=number in numbers)
            np.testing.assert_array_equal(rooms[number]["image"], alone["image"])


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_of_rooms_with_people_is_between_none_and_all(share):
    with pytest.raises(ValueError, match="people must be true, false or a share"):
        SyntheticDepth("test", SIZE, people=share)


@pytest.mark.parametrize("shares", [(0.5, 0.4), (-0.1, 0.2), (0.5, 1.0), (0.5,)])
def test_shares_of_holes_that_are_none(shares):
    with pytest.raises(ValueError, match="hole_fraction must be two shares"):
        SyntheticDepth("test", SIZE, hole_fraction=shares)


def test_a_room_that_several_see_is_rendered_once(monkeypatch):
    rendered = []
    monkeypatch.setattr(
        depth, "render_room", lambda seed, *args, **what: rendered.append(seed) or render_room(seed, *args, **what)
    )
    depth._latest.clear()
    for rooms in (SyntheticDepth("train", SIZE), SyntheticObjects("train", SIZE), SyntheticLabelMaps("train", SIZE)):
        for number in range(4):
            rooms[number]
    assert rendered == [(0, 0, number) for number in range(4)]
    monkeypatch.setattr(depth, "LATEST_PIXELS", 10 * SIZE[0] * SIZE[1] + 1)
    for number in range(12):
        SyntheticDepth("train", SIZE)[number]
    assert len(depth._latest) == 10


def test_room_without_objects():
    row = room_objects(room_of(np.zeros(SIZE), []))
    assert row["boxes"].shape == (0, 4) and row["masks"].shape == (0, *SIZE) and row["class_labels"].shape == (0,)
    labels = ObjectTrainTransform(32)(row)["labels"]
    assert labels["boxes"].shape == (0, 4) and labels["masks"].shape == (0, 32, 32)


def test_objects_are_those_of_the_rooms():
    rows = SyntheticObjects("test", SIZE, seed=3)
    for index in range(10):
        room, row = render_room((2, 3, index), SIZE), rows[index]
        assert row["image_id"] == index and row["path"] == f"room test/{index}"
        np.testing.assert_array_equal(row["image"], room["image"])
        pixels = np.bincount(room["object_ids"].reshape(-1), minlength=len(room["class_ids"]) + 1)[1:]
        assert row["masks"].sum((1, 2)).tolist() == pixels[pixels >= 0.01 * np.prod(SIZE)].tolist()
        named = [CLASS_NAMES[number] for number in room["class_ids"][pixels >= 0.01 * np.prod(SIZE)]]
        assert [OBJECT_CLASSES[label] for label in row["class_labels"]] == named
        assert row["masks"].sum(0).max(initial=0) <= 1  # what is seen is one object
        for mask, (left, top, right, bottom) in zip(row["masks"], row["boxes"].astype(int)):
            inside = mask[top:bottom, left:right]
            assert inside.sum() == mask.sum()
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_a_kept_room_comes_again_as_it_was():
    rows, endless = SyntheticObjects("train", SIZE, num_rooms=3), SyntheticObjects("train", SIZE)
    for index in (0, 1, 4, 7, 2):
        np.testing.assert_array_equal(rows[index]["image"], endless[index % 3]["image"])
        ObjectTrainTransform(32, scale_range=(1.0, 1.0), flip_p=1.0)(rows[index])  # changes nothing of the room
    assert rows[1] is rows[4] is rows[7]
    with pytest.raises(ValueError, match="num_rooms must be at least 1"):
        SyntheticObjects("train", SIZE, num_rooms=0)


def test_rooms_go_through_the_transforms():
    rows = SyntheticObjects("train", SIZE)
    torch.manual_seed(0)
    batch = object_collator([ObjectTrainTransform(64)(rows[index]) for index in range(4)])
    assert batch["pixel_values"].shape == (4, 3, 64, 64)
    sample = ObjectEvalTransform(SIZE, with_masks=True)(rows[1])
    np.testing.assert_array_equal(sample["labels"]["masks"], rows[1]["masks"])
    np.testing.assert_array_equal(sample["labels"]["boxes"], rows[1]["boxes"])
    assert sample["labels"]["image_id"] == 1 and sample["path"] == "room train/1"


def test_crops_depend_on_their_number_alone():
    crops = SyntheticMaskCrops("train", SIZE, seed=1, mask_size=32)
    forwards = [crops[index]["labels"] for index in range(30)]
    fresh = SyntheticMaskCrops("train", SIZE, seed=1, mask_size=32)
    for index in reversed(range(30)):
        assert torch.equal(fresh[index]["labels"], forwards[index])
    loader = DataLoader(Subset(crops, range(30)), batch_size=7, num_workers=1)
    assert torch.equal(torch.cat([batch["labels"] for batch in loader]), torch.stack(forwards))
    for crop in forwards:
        assert crop.shape == (32, 32) and crop.dtype == torch.float32
        assert set(crop.unique().tolist()) <= {0.0, 1.0} and crop.mean() > 0.2
    assert len({crop.numpy().tobytes() for crop in forwards}) > 20


def test_splits_and_seeds_give_other_crops():
    first = SyntheticMaskCrops("train", SIZE)
    for other in (SyntheticMaskCrops("test", SIZE), SyntheticMaskCrops("train", SIZE, seed=1)):
        assert any(not torch.equal(first[index]["labels"], other[index]["labels"]) for index in range(3))


@pytest.mark.parametrize("dataset", [SyntheticObjects, SyntheticMaskCrops])
def test_unknown_split(dataset):
    with pytest.raises(ValueError, match="Unknown split 'val' of synthetic rooms"):
        dataset("val", SIZE)
