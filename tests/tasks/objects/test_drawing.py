# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from PIL import Image

from ait_hf.data.rooms.depth import render_room
from ait_hf.data.rooms.rendering import CLASS_NAMES
from ait_hf.tasks.objects.drawing import draw_objects, object_gallery


GREY = np.full((64, 64, 3), 128, dtype=np.uint8)
SQUARE = [16, 16, 48, 48]


def drawn(*arguments, **settings) -> np.ndarray:
    picture = draw_objects(*arguments, **settings)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


def test_small_images_are_enlarged_by_a_whole_factor_and_large_ones_kept():
    room = render_room(0, (64, 64))["image"]
    enlarged = drawn(room, [], [])
    np.testing.assert_array_equal(enlarged, room.repeat(5, axis=0).repeat(5, axis=1))
    large = np.zeros((330, 400, 3), np.uint8)
    np.testing.assert_array_equal(drawn(large, [], []), large)
    assert drawn(large, [], [], longer_side=200).shape == (165, 200, 3)


def test_a_box_is_drawn_where_it_is():
    """Below the label, which hides part of the upper line."""
    changed = (drawn(GREY, [SQUARE], [0]) != 128).any(-1)
    rows, columns = changed[100:].nonzero()
    assert rows.max() + 100 == 48 * 5 - 1
    assert columns.min() == 16 * 5 and columns.max() == 48 * 5 - 1
    assert not changed[150, 83:237].any()  # two pixels of line
    np.testing.assert_array_equal(drawn(GREY, [[48, 48, 16, 16]], [0]), drawn(GREY, [SQUARE], [0]))


def test_a_mask_shines_through_in_the_colour_of_its_box():
    mask = np.zeros((1, 64, 64), bool)
    mask[:, 24:40, 24:40] = True
    picture = drawn(GREY, [SQUARE], [0], masks=torch.from_numpy(mask))
    color = picture[200, 80]
    np.testing.assert_allclose(picture[160, 160], 128 + 0.45 * (color - 128), atol=1)
    np.testing.assert_array_equal(picture[160, 120], color)  # outline
    np.testing.assert_array_equal(picture[160, 119], GREY[0, 0])


def test_objects_have_different_colours_and_the_best_lies_on_top():
    masks = np.ones((3, 64, 64), bool)
    boxes = [[0, 0, 64, 64]] * 3
    alone = [drawn(GREY, boxes[:1], [0], masks=masks[:1], scores=[0.9])[200, 160]]
    mixed = drawn(GREY, boxes, [0, 0, 0], masks=masks, scores=[0.4, 0.9, 0.5])[200, 160]
    color = (alone[0] - 128) / 0.45 + 128
    below = (mixed - 0.45 * color) / 0.55
    assert (below > -2).all() and (below < 257).all()  # the last layer is the best one's, with the first colour
    assert np.abs(below - 128).max() > 20
    pixels = drawn(GREY, [[0, 10, 20, 60], [22, 10, 40, 60], [42, 10, 64, 60]], [0, 1, 2])[200]
    lines = {tuple(pixel) for pixel in pixels[(pixels != 128).any(-1)]}
    assert len(lines) == 3


def test_the_threshold_leaves_objects_out_and_scores_and_names_are_written():
    both = drawn(GREY, [SQUARE, [0, 0, 9, 60]], [0, 1], scores=[0.9, 0.2], threshold=0.1)
    one = drawn(GREY, [SQUARE, [0, 0, 9, 60]], [0, 1], scores=[0.9, 0.2], threshold=0.5)
    np.testing.assert_array_equal(one, drawn(GREY, [SQUARE], [0], scores=[0.9]))
    assert (both != one).any()
    assert (drawn(GREY, [SQUARE], [0], scores=[0.9]) != drawn(GREY, [SQUARE], [0], scores=[0.8])).any()
    named = drawn(GREY, [SQUARE], [1], class_names=["box", "sphere"])
    np.testing.assert_array_equal(named, drawn(GREY, [SQUARE], [7], class_names={7: "sphere"}))
    assert (named != drawn(GREY, [SQUARE], [0], class_names=["box", "sphere"])).any()


def test_objects_at_and_beyond_the_border_are_drawn():
    boxes = [[-20, -20, 5, 5], [60, 60, 90, 90], [70, 70, 90, 90], [10, 10, 10, 10], [0, 0, 64, 64]]
    picture = drawn(GREY, boxes, range(5), scores=[0.5, 0.6, 0.7, 0.8, 0.9], class_names=["a long name"] * 5)
    assert picture.shape == (320, 320, 3) and (picture != 128).any()
    assert draw_objects(GREY[:1], [[3, 0, 9, 1]], [0]).size == (320, 5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((GREY / 255, [SQUARE], [0]), "uint8"),
        ((GREY, [SQUARE], [0, 1]), "2 objects need boxes"),
        ((GREY, [SQUARE], [0], [0.1, 0.2]), "as many scores"),
        ((GREY, [SQUARE], [0], [0.1], np.zeros((1, 32, 32))), "masks of its size"),
    ],
)
def test_wrong_shapes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_objects(*arguments)


def row(seed: int, **fields) -> dict:
    room = render_room(seed, (48, 64))
    masks = np.stack([room["object_ids"] == number + 1 for number in range(len(room["class_ids"]))])
    boxes = [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] for ys, xs in map(np.nonzero, masks)]
    truth = {"boxes": boxes, "labels": room["class_ids"] - 1, "masks": masks}
    prediction = truth | {"scores": np.linspace(0.9, 0.1, len(masks))}
    return {"image": room["image"], "truth": truth, "prediction": prediction, "class_names": CLASS_NAMES[1:]} | fields


def cell(page: Image.Image, number: int, line: int = 0) -> np.ndarray:
    """A picture of 160x120 on a page of such."""
    left, top = 10 + number * 168, 26 + line * 128
    return np.asarray(page.crop((left, top, left + 160, top + 120))).astype(int)


def test_object_gallery_shows_truth_and_prediction():
    rows = [row(0), row(1)]
    page = object_gallery(rows, threshold=0.5, cell_size=160)
    assert page.size == (3 * 168 + 12, 26 + 2 * 128 + 10)
    for line, shown in enumerate(rows):
        for number, side in enumerate(["truth", "prediction"]):
            expected = drawn(
                shown["image"], **shown[side], class_names=shown["class_names"], threshold=0.5, longer_side=160
            )
            np.testing.assert_array_equal(cell(page, number + 1, line), expected)


def test_galleries_without_rows_or_fields_are_refused():
    with pytest.raises(ValueError, match="at least one row"):
        object_gallery([])
    with pytest.raises(ValueError, match="Row 0 of the gallery lacks truth"):
        object_gallery([{name: value for name, value in row(0).items() if name != "truth"}])
