# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pycocotools.mask
import pytest
import torch
from golden_data import load_case
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional as F

from ait_hf.model.masks_ait import crop_masks, masks_to_rle, paste_masks, paste_masks_one_by_one, rle_to_mask


def paste_on_the_whole_image(maps, boxes, height, width, threshold=0.5):
    """The published formula, everywhere at once."""
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)
    u = ((torch.arange(width) + 0.5 - x1) / (x2 - x1) * 2 - 1).nan_to_num(0, 0, 0)
    v = ((torch.arange(height) + 0.5 - y1) / (y2 - y1) * 2 - 1).nan_to_num(0, 0, 0)
    grid = torch.stack([u[:, None].expand(-1, height, -1), v[:, :, None].expand(-1, -1, width)], dim=-1)
    return F.grid_sample(maps[:, None], grid, align_corners=False)[:, 0] >= threshold


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_pasting_matches_the_released_model(golden_dir, kind):
    case, tensors = load_case(golden_dir, "04_insseg_decode")
    config = case["config"]
    coordinates = tensors["pred_tokens"].view(-1, 21)[:, :4]
    boxes = coordinates * config["norm_val"] / config["num_bins"] / torch.tensor(config["scale_factor"])
    pasted = paste_masks(tensors[f"mask64_{kind}"], boxes, *config["ori_shape"])
    assert torch.equal(pasted, tensors[f"masks_{kind}_fullimage"].bool())


# Quarters of pixels, as decoded coordinates are steps too; inverted, empty, and partly or wholly outside.
coordinates = st.integers(-60, 160).map(lambda quarters: quarters / 4)
boxes_of_any_kind = st.lists(st.tuples(coordinates, coordinates, coordinates, coordinates), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(boxes_of_any_kind, st.integers(0, 2**16), st.sampled_from([0.1, 0.5, 0.9]))
@example([(-15.0, -15.0, -5.0, -5.0)], 0, 0.5)
@example([(3.0, 0.0, 3.0, 20.0)], 0, 0.5)
@example([(3.5, 2.5, 3.5, 2.5)], 0, 0.1)
def test_pasting_equals_the_whole_image_formula(boxes, seed, threshold):
    boxes = torch.tensor(boxes)
    # Values beyond 1 reach over the border of the box, by at most half a cell.
    maps = torch.rand(len(boxes), 8, 8, generator=torch.Generator().manual_seed(seed)) * 3 - 0.5
    pasted = paste_masks(maps, boxes, 20, 30, threshold)
    assert torch.equal(pasted, paste_on_the_whole_image(maps, boxes, 20, 30, threshold))
    parts = list(paste_masks_one_by_one(maps, boxes, 20, 30, threshold))
    assert torch.equal(torch.stack([part.whole() for part in parts]), pasted)
    assert [part.rle() for part in parts] == masks_to_rle(pasted)


def test_a_pasted_mask_keeps_no_more_than_its_surroundings():
    (part,) = paste_masks_one_by_one(torch.ones(1, 8, 8), torch.tensor([[1000.0, 500, 1080, 548]]), 3000, 4000)
    assert part.window.shape == (48 + 2 * 3, 80 + 2 * 5)  # half a cell is 3 rows or 5 columns


def test_an_inverted_box_mirrors_the_map():
    maps = torch.zeros(1, 4, 4)
    maps[:, :, 0] = 1  # a stripe at the left
    straight, mirrored = (paste_masks(maps, torch.tensor([box]), 8, 8)[0] for box in ([0.0, 0, 8, 8], [8.0, 0, 0, 8]))
    assert straight[:, :2].all() and not straight[:, 3:].any()
    assert torch.equal(mirrored, straight.flip(1))


def test_what_was_cut_to_a_box_is_pasted_back():
    masks = torch.zeros(2, 40, 50, dtype=torch.uint8)
    masks[0, 5:25, 10:40] = 1
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(50), indexing="ij")
    masks[1] = ((rows - 20) / 15) ** 2 + ((columns - 25) / 20) ** 2 < 1
    boxes = torch.tensor([[10.0, 5, 40, 25], [5, 5, 46, 36]])
    pasted = paste_masks(crop_masks(masks, boxes, torch.arange(2), 64), boxes, 40, 50)
    union, intersection = (pasted | masks.bool()).sum((1, 2)), (pasted & masks.bool()).sum((1, 2))
    assert (intersection / union > 0.97).all()


def test_no_objects():
    assert paste_masks(torch.zeros(0, 64, 64), torch.zeros(0, 4), 5, 7).shape == (0, 5, 7)
    assert masks_to_rle(torch.zeros(0, 5, 7)) == []


def test_bad_thresholds_and_numbers_are_refused():
    with pytest.raises(ValueError, match="above 0, but is 0"):
        paste_masks(torch.zeros(1, 4, 4), torch.zeros(1, 4), 5, 7, threshold=0.0)
    with pytest.raises(ValueError, match="2 maps and 1 boxes"):
        paste_masks(torch.zeros(2, 4, 4), torch.zeros(1, 4), 5, 7)


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(deadline=None)
@given(shapes.flatmap(lambda shape: arrays(bool, shape)))
def test_run_lengths_are_those_of_coco(mask):
    (rle,) = masks_to_rle(torch.from_numpy(mask)[None])
    assert rle["size"] == list(mask.shape) and all(type(count) is int for count in rle["counts"])
    assert torch.equal(rle_to_mask(rle), torch.from_numpy(mask))
    compressed = pycocotools.mask.frPyObjects(rle, *mask.shape)
    np.testing.assert_array_equal(pycocotools.mask.decode(compressed), mask)
    assert pycocotools.mask.area(compressed) == mask.sum()
    assert compressed == pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def test_run_lengths_that_are_no_mask_are_refused():
    with pytest.raises(ValueError, match="hold 5 pixels, but the mask has 2x3"):
        rle_to_mask({"size": [2, 3], "counts": [1, 4]})
    with pytest.raises(ValueError, match="compressed"):
        rle_to_mask({"size": [2, 3], "counts": "03o"})
