# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from ait_hf.tasks.maps.drawing import colorize_map, map_error, map_gallery


def pixel(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(1, 1, -1)


@pytest.mark.parametrize(
    ("vector", "color"),
    [
        ((0, 0, -1), (128, 128, 255)),  # faces the camera
        ((0, -1, 0), (128, 255, 128)),  # faces up
        ((1, 0, 0), (255, 128, 128)),
        ((-1, 0, 0), (0, 128, 128)),
        ((0, 0, -7), (128, 128, 255)),  # of any length
        ((0, 0, 0), (0, 0, 0)),  # unknown
    ],
)
def test_the_usual_colours_of_normals(vector, color):
    assert colorize_map(pixel(*vector), "unit_vector")[0, 0].tolist() == list(color)


def test_one_channel_goes_from_dark_blue_to_yellow_and_unknown_is_black():
    picture = colorize_map(np.array([[1.0, 5.0, 0.0]]), "newton")
    assert picture.tolist() == [[[68, 1, 84], [253, 231, 37], [0, 0, 0]]]


def test_several_channels_are_red_green_and_blue_over_their_own_ranges():
    values = np.array([[[1, 10, 5, 9], [2, 30, 5, 9], [1.5, 20, 5, 9]]])
    assert colorize_map(values, "other").tolist() == [[[0, 0, 0], [255, 255, 0], [128, 128, 0]]]
    two = colorize_map(values[..., :2], "other")
    assert two.shape == (1, 3, 3) and not two[..., 2].any()


def test_limits_are_kept():
    limits = (np.array([0.0]), np.array([10.0]))
    assert colorize_map(pixel(10), "newton", limits)[0, 0].tolist() == [253, 231, 37]
    assert colorize_map(pixel(-3), "newton", limits)[0, 0].tolist() == [68, 1, 84]


def test_errors_are_angles_or_distances():
    assert map_error(pixel(0, 2, 0), pixel(0, 0, 1), "unit_vector").item() == pytest.approx(90)
    assert map_error(pixel(3, 4), pixel(0.0001, 0), "newton").item() == pytest.approx(5, abs=1e-3)
    assert np.isnan(map_error(pixel(3, 4), pixel(0, 0), "newton")).all()


def row(size=(8, 12), **changes) -> dict:
    fields = {
        "image": np.full((*size, 3), 90, np.uint8),
        "truth": np.broadcast_to(pixel(0, 0, -1), (*size, 3)),
        "prediction": np.broadcast_to(pixel(0, -1, -1), (*size, 3)),
        "uncertainty": np.zeros(size),
    }
    return fields | changes


def test_gallery_shows_the_five_pictures():
    picture = np.asarray(map_gallery([row(), row((12, 8))], "unit_vector", cell_size=48))
    assert picture.shape[1] == 2 * 10 + 5 * 48 + 4 * 8
    top, middle = 26 + 16, 10 + 24
    colors = [picture[top, middle + column * 56].tolist() for column in range(5)]
    assert colors[0] == [90, 90, 90] and colors[1] == [128, 128, 255]
    assert colors[2] == [128, 218, 218]
    assert colors[3] == [103, 0, 12]  # the largest error there is: 45 degrees
    assert colors[4] == [68, 1, 84]


def test_a_gallery_of_unknown_pixels():
    nothing = row(truth=np.zeros((8, 12, 3)), prediction=np.zeros((8, 12, 3)))
    assert not np.asarray(map_gallery([nothing], "newton", cell_size=12))[26:34, 10 + 20 : 10 + 32].any()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one row"),
        ([{"image": 1}], "Row 0 of the gallery lacks truth, prediction, uncertainty"),
        ([row(prediction=np.ones((8, 11, 3)))], "must have the same shape"),
        ([row(truth=np.full((8, 12, 3), np.nan))], "truth has NaN"),
        ([row(truth=np.ones(3))], "must have the shape"),
    ],
)
def test_bad_galleries_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        map_gallery(rows, "unit_vector")
