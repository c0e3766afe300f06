# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures: colours mean what they should, files come back as they were, bad input is refused."""

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from ait_hf import load_depth_png, save_depth_png
from ait_hf.drawing.colors import colorize_uncertainty
from ait_hf.drawing.curves import training_curves
from ait_hf.drawing.picture_files import save_image
from ait_hf.drawing.token_grid import code_overlay, token_grid
from ait_hf.tasks.depth.drawing import colorize_depth, colorize_error, depth_gallery


def color(cmap, value):
    return list(matplotlib.colormaps[cmap](value, bytes=True)[:3])


def test_depth_colors_follow_the_scale_and_missing_is_black():
    depth = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 9.0]])
    painted = colorize_depth(depth, vmin=1, vmax=3)
    assert painted.dtype == np.uint8 and painted.shape == (2, 3, 3)
    assert painted[0].tolist() == [color("turbo", 0.0), color("turbo", 0.5), color("turbo", 1.0)]
    assert painted[1].tolist() == [[0, 0, 0], [0, 0, 0], color("turbo", 1.0)]


def test_depth_scale_defaults_to_the_valid_range():
    depth = np.array([[0.0, 2.0, 4.0, 6.0]])
    np.testing.assert_array_equal(colorize_depth(depth), colorize_depth(depth, 2, 6))
    assert colorize_depth(depth, cmap="gray")[0, 1].tolist() == [0, 0, 0]
    assert colorize_depth(depth, cmap="gray")[0, 3].tolist() == [255, 255, 255]
    assert not colorize_depth(np.zeros((3, 4))).any()


def test_depth_takes_torch_tensors():
    depth = torch.rand(4, 5)
    np.testing.assert_array_equal(colorize_depth(depth), colorize_depth(depth.numpy()))


def test_error_is_symmetric_and_black_without_ground_truth():
    depth = np.array([[2.0, 2.0, 2.0, 0.0]])
    painted = colorize_error(np.array([[2.0, 1.5, 2.5, 7.0]]), depth, vmax=0.5, cmap="gray")
    assert painted[0].tolist() == [[0] * 3, [255] * 3, [255] * 3, [0] * 3]
    # The prediction where there is no ground truth must not stretch the scale.
    default = colorize_error(np.array([[2.0, 1.5, 2.5, 7.0]]), depth)
    assert default[0, 1].tolist() == color("Reds", 1.0) and default[0, 0].tolist() == color("Reds", 0.0)


def test_uncertainty_has_a_fixed_scale():
    painted = colorize_uncertainty(np.array([[0.0, 0.5, 1.0]]))
    assert painted[0].tolist() == [color("viridis", value) for value in (0.0, 0.5, 1.0)]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: colorize_depth(np.zeros((2, 3, 1))), "shape"),
        (lambda: colorize_depth(np.zeros((0, 3))), "shape"),
        (lambda: colorize_depth(np.array([[1.0, np.nan]])), "NaN"),
        (lambda: colorize_depth(np.array([[1.0, np.inf]])), "infinite"),
        (lambda: colorize_depth(np.ones((2, 2)), vmin=3, vmax=1), "vmax"),
        (lambda: colorize_depth(np.ones((2, 2)), cmap="no such map"), "no such map"),
        (lambda: colorize_error(np.ones((2, 2)), np.ones((2, 3))), "same shape"),
        (lambda: colorize_uncertainty(np.full((2, 2), 1.01)), "0..1"),
        (lambda: colorize_uncertainty(np.full((2, 2), -0.1)), "0..1"),
        (lambda: colorize_uncertainty(np.full((2, 2), np.nan)), "NaN"),
        (lambda: token_grid(np.zeros((2, 2))), "integers"),
        (lambda: token_grid(np.array([[-1]])), "non-negative"),
        (lambda: token_grid(np.arange(4)), "rows, columns"),
        (lambda: token_grid(np.array([[1]]), cell_size=0), "cell_size"),
        (lambda: depth_gallery([]), "row"),
        (lambda: depth_gallery([{"image": np.zeros((2, 2, 3), np.uint8)}]), "depth, prediction, uncertainty"),
        (lambda: training_curves({}), "nothing to draw"),
        (lambda: training_curves({"run": [{"step": 1}]}), "nothing to draw"),
        (lambda: training_curves({"run": [{"loss": 1.0}]}), "no step"),
        (lambda: training_curves({"run": [{"step": 3, "loss": float("nan")}]}), "loss of 'run' is nan at step 3"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def gallery_row(size, rng, **replaced):
    depth = rng.uniform(1, 5, size)
    row = {
        "image": rng.integers(0, 256, (*size, 3), dtype=np.uint8),
        "depth": depth,
        "prediction": depth + 0.25,
        "uncertainty": rng.random(size),
    }
    return row | replaced


def find(picture, patch):
    """Top left corners of where the enlarged patch stands in the picture, exactly."""
    height, width = patch.shape[:2]
    corner = (picture[: 1 - height or None, : 1 - width or None] == patch[0, 0]).all(-1)
    return [(y, x) for y, x in zip(*np.nonzero(corner)) if (picture[y : y + height, x : x + width] == patch).all()]


def test_gallery_shows_every_pixel_enlarged_in_rows_and_columns():
    rng = np.random.default_rng(0)
    rows = [gallery_row((16, 20), rng) for _ in range(2)]
    rows[0]["depth"][3:6, 4:9] = 0
    picture = np.asarray(depth_gallery(rows, cell_size=100))
    assert picture.dtype == np.uint8 and picture.shape[1] > 5 * 100 and picture.shape[0] > 2 * 80

    def enlarged(small):
        return small.repeat(5, axis=0).repeat(5, axis=1)

    valid = np.concatenate([row[field].ravel() for row in rows for field in ("depth", "prediction")])
    limits = valid[valid > 0].min(), valid.max()
    most = max(row["uncertainty"].max() for row in rows)
    columns = [
        [enlarged(row["image"]) for row in rows],
        [enlarged(colorize_depth(row["depth"], *limits)) for row in rows],
        [enlarged(colorize_depth(row["prediction"], *limits)) for row in rows],
        [enlarged(colorize_uncertainty(row["uncertainty"] / most)) for row in rows],
    ]
    places = [[find(picture, patch) for patch in column] for column in columns]
    assert all(len(place) == 1 for column in places for place in column)
    (first_x, second_x) = places[0][0][0][1], places[1][0][0][1]
    assert first_x < second_x
    for column in places:
        assert column[0][0][1] == column[1][0][1] and column[0][0][0] < column[1][0][0]


@pytest.mark.parametrize("size, cell", [((64, 64), (192, 192)), ((240, 320), (150, 200)), ((1, 1), (200, 200))])
def test_gallery_size_depends_on_the_cells_only(size, cell):
    rng = np.random.default_rng(0)
    one, three = (depth_gallery([gallery_row(size, rng) for _ in range(count)]) for count in (1, 3))
    assert one.mode == "RGB" and one.width == three.width
    assert 5 * cell[1] < one.width < 5 * cell[1] + 80
    assert (three.height - one.height) // 2 in range(cell[0], cell[0] + 40)


def test_gallery_without_any_ground_truth():
    row = gallery_row((8, 8), np.random.default_rng(0), depth=np.zeros((8, 8)))
    assert depth_gallery([row]).width > 0


@pytest.mark.parametrize(
    "replaced, words",
    [
        ({"prediction": np.zeros((8, 9))}, "prediction of row 1"),
        ({"image": np.zeros((8, 8, 3))}, "image of row 1"),
        ({"depth": np.full((8, 8), np.nan)}, "depth of row 1"),
        ({"uncertainty": np.full((8, 8), -2.0)}, "uncertainty"),
    ],
)
def test_gallery_names_what_is_wrong(replaced, words):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=words):
        depth_gallery([gallery_row((8, 8), rng), gallery_row((8, 8), rng, **replaced)])


def test_gallery_refuses_mixed_sizes_and_wrong_titles():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="one size"):
        depth_gallery([gallery_row((8, 8), rng), gallery_row((8, 9), rng)])
    with pytest.raises(ValueError, match="5 titles"):
        depth_gallery([gallery_row((8, 8), rng)], titles=["one"])


def test_training_curves_draw_every_run_in_its_color():
    records = [{"step": step, "loss": 3.0 * 0.9**step} for step in range(40)]
    shifted = [{"step": step, "loss": 1 + 3.0 * 0.9**step, "rmse": 1.0} for step in range(40)]
    both = training_curves({"first": records, "second": shifted})
    one = training_curves({"first": records})
    pixels = {tuple(pixel) for pixel in np.asarray(both).reshape(-1, 3)}
    assert (31, 119, 180) in pixels and (255, 127, 14) in pixels
    assert (255, 127, 14) not in {tuple(pixel) for pixel in np.asarray(one).reshape(-1, 3)}
    assert both.width == 2 * one.width and both.height == one.height


def test_training_curves_take_a_single_record():
    dot = np.asarray(training_curves({"run": [{"step": 1, "loss": 0.5}]}))
    assert (dot == (31, 119, 180)).all(-1).sum() > 20


def test_tokens_have_stable_colors():
    grid = token_grid(np.array([[5, 7], [7, 5]]), cell_size=8)
    assert grid.shape == (16, 16, 3) and grid.dtype == np.uint8
    np.testing.assert_array_equal(grid[:8, :8], grid[8:, 8:])
    assert (grid[0, 0] != grid[0, 8]).any()
    np.testing.assert_array_equal(token_grid(np.array([[900, 7]]), cell_size=4)[0, 4], grid[0, 8])
    colors = token_grid(np.arange(2048).reshape(32, 64), cell_size=1).reshape(-1, 3)
    assert len(np.unique(colors, axis=0)) > 1900
    assert len(np.unique(colors[:128], axis=0)) == 128


def test_tokens_have_numbers_only_where_they_fit():
    assert len(np.unique(token_grid(np.array([[12]]), cell_size=40).reshape(-1, 3), axis=0)) > 1
    assert len(np.unique(token_grid(np.array([[123456789]]), cell_size=40).reshape(-1, 3), axis=0)) == 1


def test_save_image_makes_folders_and_leaves_nothing_else(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / "new" / "folder" / "picture.png"
    save_image(picture, path)
    save_image(Image.fromarray(picture), path)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
    assert [entry.name for entry in path.parent.iterdir()] == ["picture.png"]


def test_failed_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "picture.jpg"
    save_image(np.zeros((4, 4, 3), np.uint8), path)
    before = path.read_bytes()
    with pytest.raises(OSError):
        save_image(Image.new("RGBA", (4, 4)), path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_save_image_refuses_other_endings_and_arrays(tmp_path):
    with pytest.raises(ValueError, match="ending"):
        save_image(np.zeros((4, 4, 3), np.uint8), tmp_path / "picture")
    with pytest.raises(ValueError, match="uint8"):
        save_image(np.zeros((4, 4, 3)), tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())


@settings(max_examples=40, deadline=None)
@given(
    levels=arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    scale=st.sampled_from([1000, 5000, 256]),
)
def test_depth_png_keeps_every_level(tmp_path_factory, levels, scale):
    path = tmp_path_factory.mktemp("depth") / "depth.png"
    depth = (levels / scale).astype(np.float32)
    save_depth_png(depth, path, scale)
    loaded = load_depth_png(path, scale)
    assert loaded.dtype == np.float32 and loaded.shape == depth.shape
    np.testing.assert_array_equal(loaded, depth)


def test_depth_png_is_a_16_bit_picture_in_millimetres(tmp_path):
    save_depth_png(np.array([[0.0, 1.2344, 1.2346], [-2.0, 65.535, 90.0]]), tmp_path / "depth.png")
    image = Image.open(tmp_path / "depth.png")
    assert image.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(image), [[0, 1234, 1235], [0, 65535, 65535]])


def test_depth_png_refuses_bad_input(tmp_path):
    with pytest.raises(ValueError, match="NaN"):
        save_depth_png(np.array([[np.nan]]), tmp_path / "depth.png")
    with pytest.raises(ValueError, match=r"\.png"):
        save_depth_png(np.ones((2, 2)), tmp_path / "depth.jpg")
    with pytest.raises(ValueError, match="scale"):
        save_depth_png(np.ones((2, 2)), tmp_path / "depth.png", scale=0)
    assert not list(tmp_path.iterdir())
    for mode in ("L", "RGB", "P"):
        Image.new(mode, (3, 3)).save(tmp_path / "eight.png")
        with pytest.raises(ValueError, match="16-bit"):
            load_depth_png(tmp_path / "eight.png")
    with pytest.raises(FileNotFoundError):
        load_depth_png(tmp_path / "missing.png")


def test_codes_lie_over_their_place_in_the_color_of_their_entropy():
    image = np.full((40, 80, 3), 200, np.uint8)
    entropy = np.array([[0.0, 1.0], [0.5, 0.25]])
    picture = np.asarray(code_overlay(image, np.zeros((2, 2), int), entropy, (40, 0, 80, 80), longer_side=160))
    assert picture.shape == (80, 160, 3) and (picture[:, :79] == 200).all()  # beside the box it stays what it was
    for column, value in enumerate(entropy[0]):  # the second row lies below the picture
        x = 80 + 40 * column + 5
        expected = (200 + np.array(color("viridis", value), float)) / 2
        np.testing.assert_allclose(picture[5, x], expected, atol=1)


def test_a_chosen_code_has_a_frame():
    image = np.zeros((60, 60, 3), np.uint8)
    grids = np.arange(9).reshape(3, 3), np.zeros((3, 3))
    plain, framed = (np.asarray(code_overlay(image, *grids, (0, 0, 60, 60), cell, 300)) for cell in (None, (1, 2)))
    rows, columns = np.nonzero((plain != framed).any(2))
    assert rows.min() >= 95 and rows.max() <= 205 and columns.min() >= 195


@pytest.mark.parametrize(
    "ids, entropy, box", [((2, 2), (2, 3), (0, 0, 9, 9)), ((4,), (4,), (0, 0, 9, 9)), ((2, 2), (2, 2), (5, 0, 5, 9))]
)
def test_codes_that_fit_no_picture_are_refused(ids, entropy, box):
    with pytest.raises(ValueError, match="must have"):
        code_overlay(np.zeros((9, 9, 3), np.uint8), np.zeros(ids, int), np.zeros(entropy), box)
