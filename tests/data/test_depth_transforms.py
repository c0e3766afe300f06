# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Depth transforms: image and depth stay aligned, values stay what they were, chance follows torch's generator."""

import colorsys
import pickle

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

from ait_hf.data.depth_transforms import (
    DepthEvalTransform,
    DepthTrainTransform,
    RandomCutDepth,
    cut_depth,
)
from ait_hf.data.map_transforms import (
    RandomBrightnessContrast,
    RandomGamma,
    RandomHueSaturationValue,
    shift_saturation_and_value,
)
from ait_hf.data.pixels import depth_collator


HEIGHT, WIDTH = 60, 80


def coordinates():
    """Sample whose red and green and whose depth tell every pixel's row and column."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)
    return {"image": image, "depth": (1 + rows * 100 + columns).astype(np.float32)}


def rows_and_columns(output):
    """Rows and columns of origin as the image and as the depth of an output tell them."""
    image, depth = output["pixel_values"] * 255, output["labels"] - 1
    return image[:2], torch.stack([depth // 100, depth % 100])


def plain(crop_size, **kwargs):
    return DepthTrainTransform(crop_size, cut_depth_every=None, color_p=0.0, **{"flip_p": 0.0, **kwargs})


def random_sample(seed=0):
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return {"image": image, "depth": generator.uniform(0.5, 9, (HEIGHT, WIDTH)).astype(np.float32)}


def test_output_convention():
    output = DepthTrainTransform((32, 48))(random_sample() | {"path": "a.jpg"})
    assert output["pixel_values"].shape == (3, 32, 48) and output["pixel_values"].dtype == torch.float32
    assert output["labels"].shape == (32, 48) and output["labels"].dtype == torch.float32
    assert type(output["pixel_values"]) is torch.Tensor and type(output["labels"]) is torch.Tensor
    assert output["pixel_values"].min() >= 0 and output["pixel_values"].max() <= 1
    assert output["path"] == "a.jpg"


def test_pil_image_and_array_are_the_same():
    sample = random_sample()
    output = plain((HEIGHT, WIDTH))(sample | {"image": PIL.Image.fromarray(sample["image"])})
    # As image processors and all other transforms do it, so that tasks that see the same picture see the same numbers.
    np.testing.assert_array_equal(output["pixel_values"], sample["image"].transpose(2, 0, 1) * np.float32(1 / 255))
    np.testing.assert_array_equal(output["labels"], sample["depth"])


@pytest.mark.parametrize("seed", range(4))
def test_crop_and_flip_keep_image_and_depth_aligned(seed):
    torch.manual_seed(seed)
    image, depth = rows_and_columns(plain(32, flip_p=0.5)(coordinates()))
    torch.testing.assert_close(image, depth)


def test_crops_reach_every_corner():
    starts = torch.stack([rows_and_columns(plain((58, 78))(coordinates()))[1][:, 0, 0] for _ in range(200)])
    assert {tuple(start) for start in starts.long().tolist()} == {(r, c) for r in range(3) for c in range(3)}


def test_flip_twice_is_the_identity():
    sample, flip = random_sample(), plain((HEIGHT, WIDTH), flip_p=1.0)
    once = flip(sample)
    again = {
        "image": (once["pixel_values"] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy(),
        "depth": once["labels"].numpy(),
    }
    twice, straight = flip(again), plain((HEIGHT, WIDTH))(sample)
    assert not torch.equal(once["labels"], straight["labels"])
    torch.testing.assert_close(twice, straight)


def test_columns_are_cut_first():
    _, depth = rows_and_columns(plain((HEIGHT, 30), columns=(11, 41))(coordinates()))
    assert depth[1].unique().tolist() == list(range(11, 41))
    with pytest.raises(ValueError, match=r"columns \(41, 601\) do not lie within the sample's 80 columns"):
        plain(32, columns=(41, 601))(coordinates())


@pytest.mark.parametrize("transform", [plain(15, resize=15), DepthEvalTransform(15), DepthEvalTransform((10, 20))])
def test_resized_depth_is_aligned_and_never_interpolated(transform):
    image, depth = rows_and_columns(transform(coordinates()))
    torch.testing.assert_close(depth, depth.round())
    inner = (slice(None), slice(1, -1), slice(1, -1))  # antialiasing has no full window at the border
    assert (image[inner] - depth[inner]).abs().max() <= 0.51  # half a source pixel


def test_missing_depth_stays_missing_and_spreads_nowhere():
    sample = random_sample()
    sample["depth"][:, ::2] = 0
    for transform in (plain(20, resize=20), DepthEvalTransform(20), DepthTrainTransform(40, cut_depth_every=1)):
        labels = transform(sample)["labels"]
        assert (labels == 0).any()
        assert np.isin(labels.numpy(), sample["depth"]).all()


def test_eval_transform_keeps_or_centres_the_frame():
    output = DepthEvalTransform()(coordinates())
    assert output["labels"].shape == (HEIGHT, WIDTH)
    _, depth = rows_and_columns(DepthEvalTransform(HEIGHT)(coordinates()))
    assert depth[1].unique().tolist() == list(range(10, 70))


# CutDepth


@settings(max_examples=50, deadline=None)
@given(
    alpha=st.floats(0, 1, exclude_max=True),
    beta=st.floats(0, 1, exclude_max=True),
    p=st.floats(0.01, 1),
    width=st.integers(1, 90),
)
def test_cut_depth_strip_is_depth_and_the_rest_untouched(alpha, beta, p, width):
    image = torch.full((3, 4, width), 2.0)  # a value that depth never has
    depth = torch.rand(1, 4, width) * 10
    result = cut_depth(image, depth, alpha, beta, p, max_depth=10.0)
    cut = (result != 2.0).all(0).all(0)
    left, count = int(alpha * width), int(max((width - alpha * width) * beta * p, 1))
    expected = torch.zeros(width, dtype=torch.bool)
    expected[left : left + count] = True
    torch.testing.assert_close(cut, expected)
    torch.testing.assert_close(result[..., cut], (depth / 10)[..., cut].expand(3, -1, -1), rtol=0, atol=0)
    assert (result[..., ~cut] == 2.0).all() and (image == 2.0).all()


def test_cut_depth_moves_with_the_image_and_leaves_labels_alone():
    sample = random_sample()
    transform = DepthTrainTransform((HEIGHT, WIDTH), flip_p=1.0, cut_depth_every=1, color_p=0.0)
    output = transform(sample)
    original = plain((HEIGHT, WIDTH), flip_p=1.0)(sample)
    torch.testing.assert_close(output["labels"], original["labels"])
    changed = (output["pixel_values"] != original["pixel_values"]).any(0).any(0)
    assert 0 < changed.sum() <= 0.75 * WIDTH
    shown = output["pixel_values"][..., changed] * 10
    torch.testing.assert_close(shown, output["labels"][..., changed].expand(3, -1, -1))


def test_cut_depth_is_drawn_for_one_sample_in_so_many():
    sample = {"image": np.full((HEIGHT, WIDTH, 3), 255, np.uint8), "depth": np.ones((HEIGHT, WIDTH), np.float32)}
    transform = DepthTrainTransform((HEIGHT, WIDTH), color_p=0.0)
    torch.manual_seed(0)
    share = np.mean([bool((transform(sample)["pixel_values"] < 1).any()) for _ in range(800)])
    assert abs(share - 1 / 4) < 4 * np.sqrt(1 / 4 * 3 / 4 / 800)


@pytest.mark.parametrize("scale", [1.0, 1.25, 2.0])
def test_what_is_enlarged_is_nearer(scale):
    """A plane of one depth: all of the crop is that depth divided by the scale, and the image still lies on its depth."""
    sample = coordinates()
    plane = sample | {"depth": np.full((HEIGHT, WIDTH), 5.0, np.float32)}
    transform = plain((30, 40), scale_range=(scale, scale))
    assert torch.allclose(transform(plane)["labels"], torch.tensor(5.0 / scale))
    output = transform(sample)
    of_image, of_depth = rows_and_columns(output | {"labels": output["labels"] * scale})
    assert (of_image - of_depth).abs().max() < 1


def test_scales_are_drawn_from_their_range_and_unknown_depth_stays_unknown():
    holes = np.full((HEIGHT, WIDTH), 6.0, np.float32)
    holes[::7] = 0
    transform = plain((30, 40), scale_range=(1.0, 1.5))
    torch.manual_seed(0)
    labels = [transform(random_sample() | {"depth": holes})["labels"] for _ in range(40)]
    scales = torch.tensor([6 / values[values > 0].max() for values in labels])
    assert all(len(values.unique()) == 2 for values in labels)  # nothing between the hole's 0 and the depth
    assert 1 <= scales.min() < 1.1 and 1.4 < scales.max() <= 1.5


def test_a_sample_is_enlarged_beyond_what_resize_asks_for():
    """At half its size, and twice that: it is as before, and half as far away."""
    sample = random_sample()
    size = sample["depth"].shape
    before = plain(size)(sample)
    after = plain(size, resize=min(size) // 2, scale_range=(2.0, 2.0))(sample)
    assert torch.equal(after["pixel_values"], before["pixel_values"])
    assert torch.equal(after["labels"], before["labels"] / 2)


@pytest.mark.parametrize("scales", [(0.0, 1.0), (1.5, 1.0), (1.0,)])
def test_scales_that_are_no_range_are_refused(scales):
    with pytest.raises(ValueError, match="scale_range must be two factors above 0"):
        DepthTrainTransform(scale_range=scales)


@pytest.mark.parametrize("kwargs", [{"cut_depth_p": 0.0}, {"cut_depth_p": 1.5}, {"cut_depth_every": 0}])
def test_bad_cut_depth(kwargs):
    with pytest.raises(ValueError, match="CutDepth"):
        DepthTrainTransform(**kwargs)


# Colour


@pytest.mark.parametrize("transform", [RandomBrightnessContrast(), RandomGamma(), RandomHueSaturationValue()])
def test_colours_change_the_image_only_and_stay_in_range(transform):
    image, depth = tv_tensors.Image(torch.rand(3, 9, 9)), tv_tensors.Mask(torch.rand(1, 9, 9))
    new_image, new_depth = transform(image, depth)
    assert not torch.equal(new_image, image) and torch.equal(new_depth, depth)
    assert new_image.min() >= 0 and new_image.max() <= 1


def test_ranges_of_colour_changes():
    drawn = [t.make_params([]) for _ in range(300) for t in (RandomBrightnessContrast(), RandomHueSaturationValue())]
    limits = {
        "contrast": (0.8, 1.2),
        "brightness": (-0.2, 0.2),
        "hue": (-1 / 9, 1 / 9),
        "saturation": (-2 / 17, 2 / 17),
    }
    for key, (low, high) in limits.items():
        values = [params[key] for params in drawn if key in params]
        assert low <= min(values) < low + 0.02 and high - 0.02 < max(values) <= high


@settings(max_examples=60, deadline=None)
@given(rgb=st.tuples(*[st.integers(0, 255)] * 3), saturation=st.floats(-0.12, 0.12), value=st.floats(-0.08, 0.08))
def test_saturation_and_value_as_in_hsv_space(rgb, saturation, value):
    red, green, blue = (channel / 255 for channel in rgb)
    hue, old_saturation, old_value = colorsys.rgb_to_hsv(red, green, blue)
    # Grey has no hue, and must not take on the red that colorsys gives it.
    new_saturation = 0.0 if red == green == blue else min(max(old_saturation + saturation, 0), 1)
    expected = colorsys.hsv_to_rgb(hue, new_saturation, min(max(old_value + value, 0), 1))
    pixel = torch.tensor([red, green, blue], dtype=torch.float64).reshape(3, 1, 1)
    actual = shift_saturation_and_value(pixel, saturation, value).flatten()
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)


# Chance


def test_global_seed_repeats_the_augmentation():
    transform = DepthTrainTransform(32, cut_depth_every=2)
    outputs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        outputs.append([transform(random_sample())["pixel_values"] for _ in range(4)])
    torch.testing.assert_close(outputs[0], outputs[1])
    assert not torch.equal(torch.stack(outputs[0]), torch.stack(outputs[2]))


def test_restored_generator_state_continues_the_same_way():
    transform = DepthTrainTransform(32, cut_depth_every=2)
    transform(random_sample())
    state = torch.get_rng_state()
    expected = transform(random_sample())
    torch.set_rng_state(state)
    resumed = pickle.loads(pickle.dumps(DepthTrainTransform(32, cut_depth_every=2)))
    torch.testing.assert_close(resumed(random_sample()), expected)


# Bad samples


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"depth": np.ones((HEIGHT, WIDTH - 1), np.float32)}, ValueError, r"Sample a.jpg .*\(60, 80\).*\(60, 79\)"),
        ({"depth": np.ones((HEIGHT, WIDTH))}, TypeError, "Sample a.jpg has no depth as a float32"),
        ({"image": np.zeros((HEIGHT, WIDTH), np.uint8)}, TypeError, "8-bit RGB"),
        ({"image": np.zeros((HEIGHT, WIDTH, 3), np.float32)}, TypeError, "8-bit RGB"),
    ],
)
@pytest.mark.parametrize("transform", [DepthTrainTransform(32), DepthEvalTransform()])
def test_bad_samples(transform, change, error, message):
    with pytest.raises(error, match=message):
        transform(random_sample() | {"path": "a.jpg"} | change)


def test_sample_smaller_than_the_crop():
    with pytest.raises(ValueError, match=r"\(60, 80\), less than the crop \(480, 480\)"):
        DepthTrainTransform()(random_sample())
    with pytest.raises(ValueError, match="at least one pixel"):
        DepthTrainTransform(0)


# Batches


@pytest.mark.parametrize("key", ["pixel_values", "labels"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_collator_names_the_sample_that_is_not_finite(key, value):
    samples = [DepthEvalTransform()(random_sample()) for _ in range(2)]
    samples[1][key][..., 0, 0] = value
    with pytest.raises(ValueError, match=f"number 1 of the batch has NaN or infinite {key}"):
        depth_collator(samples)
    with pytest.raises(ValueError, match=f"Sample a.jpg has NaN or infinite {key}"):
        depth_collator([samples[0], samples[1] | {"path": "a.jpg"}])


def test_collator_refuses_other_sizes_and_nothing():
    samples = [DepthEvalTransform(size)(random_sample()) for size in (16, 20)]
    with pytest.raises(ValueError, match=r"\(3, 20, 20\), the first sample \(3, 16, 16\)"):
        depth_collator(samples)
    with pytest.raises(ValueError, match="at least one sample"):
        depth_collator([])


def test_random_cut_depth_alone_changes_the_image_only():
    image, depth = tv_tensors.Image(torch.ones(3, 5, 40)), tv_tensors.Mask(torch.full((1, 5, 40), 2.5))
    cut, same = RandomCutDepth()(image, depth)
    assert torch.equal(same, depth) and cut.unique().tolist() == [0.25, 1.0]
