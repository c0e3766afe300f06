# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from ait_hf.tasks.semantics.drawing import class_palette, colorize_label_map, draw_label_map, semantic_gallery


NAMES = ["sky", "road", "car"]
IMAGE = np.full((40, 60, 3), 100, dtype=np.uint8)
LABELS = np.zeros((40, 60), dtype=np.uint8)
LABELS[20:], LABELS[:, 40:] = 1, 255


def test_palette_is_stable_and_distinct():
    palette = class_palette(150)
    assert palette.dtype == np.uint8 and len(np.unique(palette, axis=0)) == 150
    assert (class_palette(7) == palette[:7]).all() and (palette.sum(1) > 60).all()  # never black
    near = np.abs(palette[:20, None].astype(int) - palette[:20]).sum(-1) + 999 * np.eye(20)
    assert near.min() > 60


def test_label_maps_are_painted_by_class():
    picture = colorize_label_map(LABELS, 3)
    palette = class_palette(3)
    assert (picture[0, 0] == palette[0]).all() and (picture[30, 0] == palette[1]).all()
    assert (picture[:, 40:] == 0).all()


def test_overlay_leaves_ignored_pixels_and_names_what_is_there():
    picture = draw_label_map(IMAGE, LABELS, NAMES)
    assert picture.dtype == np.uint8 and picture.shape[1] == 360  # six times as large
    assert (picture[:240, 240:] == 100).all()
    blue, green = class_palette(2).astype(float)
    assert np.abs(picture[10, 10] - (0.4 * 100 + 0.6 * blue)).max() <= 1
    assert np.abs(picture[200, 10] - (0.4 * 100 + 0.6 * green)).max() <= 1
    legend = picture[240:].reshape(-1, 3)
    for number, present in enumerate((True, True, False)):
        assert (legend == class_palette(3)[number]).all(1).any() == present


def test_many_names_take_several_lines():
    names = [f"a rather long name {number}" for number in range(12)]
    labels = (np.arange(40)[:, None] * 12 // 40).repeat(60, 1)
    heights = [draw_label_map(IMAGE, np.minimum(labels, last), names).shape[0] for last in (0, 5, 11)]
    assert heights[0] < heights[1] < heights[2]


def test_gallery_shows_every_row():
    rows = [
        {"image": IMAGE, "truth": LABELS, "prediction": LABELS.clip(max=1), "uncertainty": np.full(LABELS.shape, 0.5)}
        for _ in range(3)
    ]
    heights = [semantic_gallery(rows[:count], NAMES, cell_size=120).height for count in (1, 2, 3)]
    assert heights[2] - heights[1] == heights[1] - heights[0] >= 80
    pixels = np.asarray(semantic_gallery(rows, NAMES, cell_size=120))
    assert pixels.shape[1] >= 4 * 120 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 4


def test_bad_input():
    row = {"image": IMAGE, "truth": LABELS, "prediction": LABELS, "uncertainty": np.zeros(LABELS.shape)}
    with pytest.raises(ValueError, match="at least one row"):
        semantic_gallery([], NAMES)
    with pytest.raises(ValueError, match="Row 1 of the gallery lacks truth"):
        semantic_gallery([row, {key: value for key, value in row.items() if key != "truth"}], NAMES)
    with pytest.raises(ValueError, match=r"label map of \(20, 60\) pixels does not fit its image of \(40, 60\)"):
        draw_label_map(IMAGE, LABELS[:20], NAMES)
    with pytest.raises(ValueError, match="Classes must be 0 to 2, but are 0 to 3"):
        draw_label_map(IMAGE, np.where(LABELS == 1, 3, LABELS), NAMES)
    with pytest.raises(ValueError, match="must be integers"):
        colorize_label_map(LABELS.astype(float), 3)
    with pytest.raises(ValueError, match="image must be uint8"):
        draw_label_map(IMAGE[..., 0], LABELS, NAMES)
