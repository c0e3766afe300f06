# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Preprocessing of every convention against sums written out, at sizes beyond those of the golden cases."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strangers import run_as_stranger
from torch.nn import functional as F
from transformers import AutoImageProcessor

from ait_hf import VQTokenizer
from ait_hf.model.masks_ait import crop_masks
from ait_hf.tokens import CONVENTIONS, AiTTokenProcessor
from ait_hf.tokens.conventions import (
    PASTE_RULES,
    box_edges,
    opencv_nearest,
    resize_opencv_nearest,
    resize_pillow_nearest,
    resize_torch_nearest,
)


SIDES = st.integers(1, 90)


def nearest_exact(picture: np.ndarray, side: int) -> np.ndarray:
    """The centres of the pixels by float32."""
    return F.interpolate(torch.tensor(picture)[None, None], size=(side, side), mode="nearest-exact")[0, 0].numpy()


def random_mask(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)) < 0.4


def random_map(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(3, 2, (height, width)).astype(np.float32)


# Four ways to take the nearest pixel


def takes(resize, source: int, target: int = 320) -> list[int]:
    """Which of the source's columns each target column shows."""
    low, high = (np.tile(part.astype(np.uint8), (2, 1)) for part in np.divmod(np.arange(source), 256)[::-1])
    low, high = resize(low, target)[0].astype(int), resize(high, target)[0].astype(int)
    return (low + 256 * high).tolist()


def test_nearest_of_opencv_and_of_torch_where_they_are_not_the_exact_fraction():
    exact = {n: [i * n // 320 for i in range(320)] for n in range(64, 600)}
    opencv = [n for n in exact if opencv_nearest(n, 320).tolist() != exact[n]]
    listed = [72, 98, 104, 112, 144, 148, 196, 208, 218, 224, 238, 276, 288, 296, 316, 392]
    assert opencv[:16] == listed and {448, 576} <= set(opencv)
    sizes = [84, 144, 168, 224, 237, 336, 376, 640, 652, 672, 712, 752, 792, 320, 480, 1]
    differ = {n for n in sizes if takes(resize_torch_nearest, n) != takes(resize_opencv_nearest, n)}
    assert {84, 168, 336, 376, 652, 672, 712, 752, 792} <= differ and not {237, 640, 320, 480, 1} & differ


def test_nearest_of_pillow_and_of_torch_at_the_centres():
    for n in (1, 2, 77, 144, 237, 317, 320, 480, 640, 1080):
        place, shown = n / 640, []
        for _ in range(320):
            shown.append(math.floor(place))
            place += n / 320
        assert takes(resize_pillow_nearest, n) == shown, n
    assert takes(resize_pillow_nearest, 480) != takes(resize_opencv_nearest, 480)
    assert takes(nearest_exact, 480) == takes(resize_pillow_nearest, 480)
    for n in (128, 256, 384, 512, 768, 896, 1024, 1152):
        assert takes(nearest_exact, n) != takes(resize_pillow_nearest, n)


# Maps


@pytest.mark.parametrize("name", ["molmoact-depth", "molmoact2-depth", "aurora-depth"])
@settings(deadline=None, max_examples=50)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 99))
def test_maps_of_any_size(name, height, width, seed):
    values = random_map(seed, height, width)
    if values.min() == values.max():
        return
    spread = values.max() - values.min()
    if name != "aurora-depth":
        spread = spread + np.float32(1e-8)
    picture = np.floor((values - values.min()) / spread * np.float32(255))
    processor = AiTTokenProcessor(convention=name)
    shown = (processor(values).pixel_values[0, 0].numpy() * 255).round()
    assert shown.shape == (320, 320)
    if name == "molmoact-depth":
        assert picture.min() - 1 <= shown.min() and shown.max() <= picture.max() + 1
        assert abs(shown.mean() - _mean_of_bilinear(picture)) < 1
    else:
        choose = (lambda n: opencv_nearest(n, 320)) if name == "molmoact2-depth" else _pillow_places
        assert np.array_equal(shown, picture[choose(height)[:, None], choose(width)])
    assert torch.equal(processor([values, values]).pixel_values[1], processor(values).pixel_values[0])


def _pillow_places(n: int) -> np.ndarray:
    steps = np.full(320, n / 320)
    steps[0] = n / 640
    return np.floor(np.cumsum(steps)).astype(int).clip(max=n - 1)


def _mean_of_bilinear(picture: np.ndarray) -> float:
    rows, columns = (triangle_weights(n, 320) for n in picture.shape)
    return (rows @ picture @ columns.T).mean()


def triangle_weights(source: int, target: int) -> np.ndarray:
    """Antialiased bilinear resizing of one axis as a matrix `(target, source)`, from its definition."""
    scale = source / target
    support = max(scale, 1.0)
    centers = (np.arange(target) + 0.5) * scale
    distances = np.abs(np.arange(source) + 0.5 - centers[:, None]) / support
    weights = np.clip(1 - distances, 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


def test_a_network_that_gives_smaller_maps():
    """They are stretched to the picture before min-max: MolmoAct with aligned corners, Depth Anything without."""
    small = random_map(0, 9, 7)
    for name, aligned in (("molmoact2-depth", True), ("aurora-depth", False)):
        processor = AiTTokenProcessor(convention=name)
        stretched = torch.nn.functional.interpolate(
            torch.from_numpy(small)[None, None], size=(40, 33), mode="bilinear", align_corners=aligned
        )[0, 0]
        assert torch.equal(processor(small, image_sizes=[(40, 33)]).pixel_values, processor(stretched).pixel_values)


def test_what_a_map_may_be():
    processor = AiTTokenProcessor(convention="molmoact2-depth")
    picture = np.arange(48, dtype=np.uint8).reshape(6, 8)
    expected = processor(picture).pixel_values
    same = [Image.fromarray(picture), np.stack([picture] * 3, axis=-1), torch.from_numpy(picture), picture[None]]
    assert all(torch.equal(processor(other).pixel_values, expected) for other in same)
    assert processor([picture, picture[:3]]).pixel_values.shape == (2, 1, 320, 320)
    values = random_map(1, 6, 8)
    as_numbers = [values, torch.from_numpy(values), values.astype(np.float64), Image.fromarray(values)]
    assert all(torch.equal(processor(v).pixel_values, processor(values).pixel_values) for v in as_numbers)
    assert (processor(np.full((5, 5), 3.0)).pixel_values == 0).all()
    wide = processor(np.array([[0, 60000]], np.uint16)).pixel_values  # not a picture of 8 bits
    assert wide.max() > 0.99


@pytest.mark.parametrize(
    "name, sample, options, message",
    [
        ("molmoact2-depth", np.full((4, 4), np.nan), {}, "Map 1 has NaN"),
        ("molmoact2-depth", np.arange(48.0).reshape(4, 4, 3), {}, "Sample 1 is a picture in colours"),
        ("molmoact2-depth", np.ones((4, 4, 4, 1)), {}, r"\(height, width\), got \(4, 4, 1\)"),
        ("molmoact2-depth", np.arange(48, dtype=np.uint8).reshape(4, 4, 3), {}, "Sample 1 is a picture in colours"),
        ("molmoact2-depth", np.zeros((0, 4), np.float32), {}, "shape"),
        ("molmoact2-depth", [], {}, "at least one map or mask"),
        ("molmoact2-depth", np.ones((4, 4)), {"boxes": [[0, 0, 1, 1]]}, "no boxes"),
        ("molmoact2-depth", np.ones((4, 4)), {"image_sizes": [(4, 4)] * 2}, "got 2 for 1"),
        ("molmoact2-depth", np.ones((4, 4), np.uint8), {"image_sizes": [(8, 8)]}, "finished picture of 8 bits"),
        ("aurora-depth", np.full((4, 4), 2.0), {}, "same value 2.0 everywhere"),
        ("ait-depth", np.full((4, 4), -1.0), {}, "negative depths"),
        ("paligemma-mask", np.ones((4, 4), np.float32), {}, "Mask 1 is of float32: threshold it"),
        ("paligemma-mask", np.full((4, 4), 7), {}, "other than 0 and 1, or 0 and 255, such as 7"),
        ("paligemma-mask", np.zeros((4, 4), bool), {}, "Mask 1 is empty: leave it out"),
        ("paligemma-mask", np.zeros((4, 4), bool), {"boxes": [[0, 0, 1, 1]]}, "Mask 1 is empty: leave it out"),
        ("paligemma-mask", np.ones((4, 4), bool), {"boxes": [[0, 0, 1]]}, r"\(1, 4\) in all, got \(1, 3\)"),
        ("paligemma-mask", np.ones((4, 4), bool), {"boxes": [[0, 1.2, 1, 1.5]]}, r"Box 1 \(0, 1.2, 1, 1.5\).*4x4"),
        ("paligemma-mask", np.ones((4, 4), bool), {"boxes": [[0, -0.2, 1, 1]]}, "begins outside the image"),
        ("paligemma-mask", np.ones((4, 4), bool), {"boxes": [[0.5, 0.5, 0.5, 1]]}, "has no pixel in an image of 4x4"),
        ("paligemma-mask", np.ones((4, 4), bool), {"boxes": [[0, 0, np.nan, 1]]}, "NaN"),
        ("paligemma-mask", np.ones((4, 4), bool), {"image_sizes": [(4, 4)]}, "leave image_sizes out"),
        ("paligemma-mask", np.ones((2, 4, 4, 1), bool), {}, r"got \(4, 4, 1\)"),
    ],
)
def test_what_is_refused(name, sample, options, message):
    with pytest.raises(ValueError, match=message):
        AiTTokenProcessor(convention=name)(sample, **options)


def test_there_is_no_default():
    for arguments in ({}, {"convention": None}, {"convention": "depth"}):
        with pytest.raises(ValueError, match="Give the convention .* paligemma-mask, .* no default"):
            AiTTokenProcessor(**arguments)


# Masks


@settings(deadline=None, max_examples=50)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 99), data=st.data())
def test_masks_in_boxes_of_any_size(height, width, seed, data):
    mask = random_mask(seed, height, width)
    mask[0, 0] = True  # else a small one may be empty
    rows = sorted(data.draw(st.lists(st.integers(0, height), min_size=2, max_size=2, unique=True)))
    columns = sorted(data.draw(st.lists(st.integers(0, width), min_size=2, max_size=2, unique=True)))
    box = np.array([rows[0] / height, columns[0] / width, rows[1] / height, columns[1] / width], np.float32)
    inputs = AiTTokenProcessor(convention="paligemma-mask")(mask, boxes=box)
    crop = mask[slice(*rows), slice(*columns)].astype(float)
    down, across = (triangle_weights(n, 64) for n in crop.shape)
    np.testing.assert_allclose(inputs.pixel_values[0, 0].numpy(), down @ crop @ across.T, atol=1e-5)
    edges = box_edges(tuple(inputs.locations[0].tolist()), (height, width), PASTE_RULES["recommended"])
    assert list(edges) == [rows[0], columns[0], rows[1], columns[1]]  # exact up to 511 pixels
    # As TensorFlow rounds: the product of float32, halves to even.
    assert inputs.locations[0].tolist() == [round(float(np.float32(1023) * share)) for share in box]


def test_boxes_beyond_the_image_are_cut_and_boxes_of_masks_are_tight():
    mask = np.zeros((10, 20), bool)
    mask[3:9, 5:20] = True
    processor = AiTTokenProcessor(convention="paligemma-mask")
    beyond = processor(mask, boxes=[[0.3, 0.25, 1.4, 2.0]])
    assert torch.equal(beyond.pixel_values, processor(mask, boxes=[[0.3, 0.25, 1.0, 1.0]]).pixel_values)
    assert beyond.locations.tolist() == [[307, 256, 1023, 1023]]
    tight = processor([mask, mask[:, ::-1]])
    torch.testing.assert_close(tight.boxes, torch.tensor([[0.3, 0.25, 0.9, 1.0], [0.3, 0.0, 0.9, 0.75]]))
    assert (tight.pixel_values == 1).all()
    colours = Image.fromarray(mask).convert("RGB")
    assert torch.equal(processor(colours).pixel_values, processor(mask).pixel_values)
    assert torch.equal(processor(np.stack([mask, mask])).pixel_values, processor([mask, mask]).pixel_values)


def test_masks_of_ait_itself():
    masks = torch.from_numpy(np.stack([random_mask(seed, 40, 60) for seed in range(3)]))
    boxes = torch.tensor([[0.0, 0.0, 60.0, 40.0], [3.5, 2.0, 30.2, 39.0], [10.0, 10.0, 12.0, 11.0]])
    expected = crop_masks(masks, boxes, torch.arange(3), size=64)
    shares = boxes[:, [1, 0, 3, 2]] / torch.tensor([40.0, 60.0, 40.0, 60.0])
    got = AiTTokenProcessor(convention="ait-mask")(masks, boxes=shares).pixel_values[:, 0]
    assert (got != expected).float().mean() < 1e-3 and set(got.unique().tolist()) <= {0.0, 1.0}
    depth = torch.rand(480, 480) + 1
    processor = AiTTokenProcessor(convention="ait-depth")
    assert torch.equal(processor(depth).pixel_values[0, 0], depth)
    depth[5, 5] = 0
    assert set(processor(depth[:96, :64]).pixel_values.unique().tolist()) <= set(depth.unique().tolist())
    assert AiTTokenProcessor(convention="ait-depth", side=64)(depth).pixel_values.shape == (1, 1, 64, 64)


@settings(deadline=None, max_examples=50)
@given(height=SIDES, width=SIDES, data=st.data())
def test_masks_back_in_their_images(height, width, data):
    corners = st.lists(st.integers(0, 1023), min_size=2, max_size=2, unique=True).map(sorted)
    (y1, y2), (x1, x2) = data.draw(corners), data.draw(corners)
    values = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(height * 100 + width))
    processor = AiTTokenProcessor(convention="paligemma-mask")
    for rule, divisor, pixel in (("recommended", 1023, round), ("evaluator", 1023, int), ("demo", 1024, round)):
        edges = [pixel(n / divisor * side) for n, side in zip((y1, x1, y2, x2), (height, width) * 2)]
        (mask,) = processor.post_process_masks(values, [[y1, x1, y2, x2]], [(height, width)], rule)
        inside = np.zeros((height, width), bool)
        inside[edges[0] : edges[2], edges[1] : edges[3]] = True
        assert not mask[torch.from_numpy(~inside)].any() and mask.shape == (height, width)
        if rule == "demo" or not inside.any():
            continue
        down, across = (triangle_weights(64, n) for n in (edges[2] - edges[0], edges[3] - edges[1]))
        expected = down @ (2 * values[0, 0].numpy().astype(float) - 1) @ across.T
        got = mask[edges[0] : edges[2], edges[1] : edges[3]].numpy()
        assert np.array_equal(got[np.abs(expected) > 1e-5], (expected > 0)[np.abs(expected) > 1e-5])


def test_bad_post_processing_is_refused():
    processor = AiTTokenProcessor(convention="paligemma-mask")
    values = torch.zeros(1, 1, 64, 64)
    for arguments, message in (
        ((values, [[0, 0, 9, 9]] * 2, [(9, 9)]), "got 2 boxes for 1 masks"),
        ((values, [[0, 0, 9, 1024]], [(9, 9)]), "0 to 1023"),
        ((values, [[0, 0, 9, 9]], [(9, 9)] * 2), "got 2 sizes for 1 masks"),
        ((values, [[0, 0, 9, 9]], [(9, 9)], "best"), "no rule 'best'"),
        ((values[0, 0], [[0, 0, 9, 9]], [(9, 9)]), r"\(n, 1, height, width\)"),
    ):
        with pytest.raises(ValueError, match=message):
            processor.post_process_masks(*arguments)
    with pytest.raises(ValueError, match="no rule for pictures"):
        processor.post_process_pictures(values)


def test_maps_back_at_the_sizes_of_their_images():
    processor = AiTTokenProcessor(convention="aurora-depth")
    maps = torch.rand(2, 1, 8, 8)
    assert torch.equal(torch.stack(processor.post_process_maps(maps)), maps[:, 0])
    sizes = [(5, 9), (20, 3)]
    for values, size, single in zip(processor.post_process_maps(maps, sizes), sizes, maps):
        expected = torch.nn.functional.interpolate(single[None], size=size, mode="bilinear", align_corners=False)
        assert torch.equal(values, expected[0, 0])


def test_pictures_of_all_but_constant_maps():
    flat = torch.full((1, 1, 4, 4), 0.25)
    for name in ("molmoact-depth", "molmoact2-depth"):
        assert not AiTTokenProcessor(convention=name).post_process_pictures(flat)[0].any()
    ramp = torch.linspace(-1, 3, 16).view(1, 1, 4, 4)
    rounded = AiTTokenProcessor(convention="molmoact-depth").post_process_pictures(ramp)[0]
    cut = AiTTokenProcessor(convention="molmoact2-depth").post_process_pictures((ramp + 1) / 2)[0]
    assert rounded.flatten().tolist() == [math.floor(255 * i / 15 + 0.5) for i in range(16)]
    assert np.abs(cut.flatten().astype(int) - [math.floor(255 * i / 15 + 1e-4) for i in range(16)]).max() <= 1


# Files


STRANGER = """
import sys
sys.modules["ait_hf"] = None
import numpy, torch
from transformers import AutoImageProcessor

folder, output = sys.argv[1:]
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
torch.save(processor(numpy.arange(48.0).reshape(6, 8), return_tensors="pt").pixel_values, output)
"""


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_processor_as_a_file(name, tmp_path):
    AiTTokenProcessor(convention=name).save_pretrained(tmp_path)
    loaded = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(loaded) is AiTTokenProcessor and loaded.convention == name
    assert loaded.side == CONVENTIONS[name].side
    content = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert set(content) == {"convention", "side", "image_processor_type"} | set(content) - {"convention"}


def test_a_stranger_loads_the_processor(tmp_path):
    from ait_hf.hub.remote_code import save_processor_with_code

    processor = AiTTokenProcessor(convention="molmoact2-depth")
    save_processor_with_code(processor, tmp_path / "folder")
    cache = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    theirs = run_as_stranger(STRANGER, tmp_path, tmp_path / "folder", **cache)
    assert torch.equal(theirs, processor(np.arange(48.0).reshape(6, 8)).pixel_values)


def test_masks_through_tokens_keep_what_the_tokenizer_keeps():
    """What is lost between mask and mask is lost by the tokenizer alone, not by boxes and resizing."""
    torch.manual_seed(0)
    tokenizer = VQTokenizer(
        downsample_ratio=16,
        base_channels=2,
        num_res_blocks=1,
        vq_embed_dim=8,
        sample_size=64,
        value_range=(0, 1),
        unit="mask",
        loss_type="mse",
    ).eval()
    processor = AiTTokenProcessor(convention="paligemma-mask")
    rows, columns = np.mgrid[:300, :400]
    masks = [
        ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 <= 1 for y, x, a, b in ((100, 90, 60, 50), (40, 380, 30, 60))
    ]
    inputs = processor(masks)
    sizes = [mask.shape for mask in masks]
    untouched = processor.post_process_masks(inputs.pixel_values, inputs.locations, sizes)
    for mask, back in zip(masks, untouched):
        assert (mask & back.numpy()).sum() / (mask | back.numpy()).sum() > 0.98
    decoded = tokenizer.detokenize(ids=tokenizer.tokenize(inputs.pixel_values))
    single = [tokenizer.detokenize(ids=tokenizer.tokenize(one[None])) for one in inputs.pixel_values]
    torch.testing.assert_close(torch.cat(single), decoded)
