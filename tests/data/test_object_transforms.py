# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Object transforms: image, boxes and masks stay aligned, the frame is as documented, chance follows torch."""

import json
import logging
import pickle

import numpy as np
import PIL.Image
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from ait_hf.data.coco import load_coco
from ait_hf.data.object_transforms import (
    LargeScaleJitter,
    MaskCrops,
    ObjectEvalTransform,
    ObjectTrainTransform,
    fitted_size,
)
from ait_hf.data.pixels import object_collator
from ait_hf.model.image_processing_ait import AiTImageProcessor


LOGGER = "ait_hf.data.object_transforms"  # whose level a command that ran in this process before may have set
HEIGHT, WIDTH = 48, 64


def row_of(masks, image=None, **changes):
    """A row with these masks, tight boxes, and a random image."""
    masks = np.asarray(masks, dtype=np.uint8).reshape(-1, *np.shape(masks)[1:])
    height, width = masks.shape[1:]
    if image is None:
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    boxes = [
        (np.flatnonzero(m.any(0))[0], np.flatnonzero(m.any(1))[0], *(np.argwhere(m).max(0)[::-1] + 1)) for m in masks
    ]
    own = {"image": image, "path": "room.png", "image_id": 9, "height": height, "width": width, "masks": masks}
    own |= {"boxes": boxes, "class_labels": list(range(len(masks))), "iscrowd": [False] * len(masks)}
    return own | changes


def rectangle(left, top, right, bottom, height=HEIGHT, width=WIDTH):
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def random_row(seed, num_objects=4, height=HEIGHT, width=WIDTH):
    """Ellipses that may touch the border."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    masks = []
    while len(masks) < num_objects:
        centre_y, centre_x = generator.uniform(0, (height, width))
        radius_y, radius_x = generator.uniform(2, height / 2, size=2)
        mask = ((y - centre_y) / radius_y) ** 2 + ((x - centre_x) / radius_x) ** 2 < 1
        if mask.any():
            masks.append(mask)
    return row_of(masks)


def empty_row():
    return row_of(np.zeros((0, HEIGHT, WIDTH)))


def same(first, second):
    assert first.keys() == second.keys()
    torch.testing.assert_close(first["pixel_values"], second["pixel_values"], rtol=0, atol=0)
    for key in first["labels"].keys() - {"seed"}:
        torch.testing.assert_close(first["labels"][key], second["labels"][key], rtol=0, atol=0)


# Training


@pytest.mark.parametrize(("with_masks", "row"), [(True, random_row(1)), (False, random_row(1)), (True, empty_row())])
def test_output_convention(with_masks, row):
    torch.manual_seed(0)
    sample = ObjectTrainTransform((40, 56), scale_range=(0.8, 1.2), with_masks=with_masks)(row)
    labels = sample["labels"]
    assert sample["path"] == "room.png"
    assert sample["pixel_values"].shape == (3, 40, 56) and sample["pixel_values"].dtype == torch.float32
    number = len(labels["boxes"])
    assert labels["boxes"].shape == (number, 4) and labels["boxes"].dtype == torch.float32
    assert labels["class_labels"].shape == (number,) and labels["class_labels"].dtype == torch.int64
    assert labels["size"].shape == (2,) and labels["size"].dtype == torch.int64
    assert labels["seed"].shape == () and labels["seed"].dtype == torch.int64
    assert ("masks" in labels) == with_masks
    if with_masks:
        assert labels["masks"].shape == (number, 40, 56) and labels["masks"].dtype == torch.uint8
    assert all(type(value) is torch.Tensor for value in (sample["pixel_values"], *labels.values()))


@given(st.integers(0, 2**31), st.floats(0.1, 3), st.integers(8, 90), st.integers(8, 90))
@settings(max_examples=60, deadline=None)
def test_boxes_stay_around_their_masks_and_inside_the_image(seed, scale, frame_height, frame_width):
    torch.manual_seed(seed)
    transform = ObjectTrainTransform((frame_height, frame_width), scale_range=(scale, scale))
    sample = transform(random_row(seed))
    labels = sample["labels"]
    height, width = labels["size"].tolist()
    assert height <= frame_height and width <= frame_width
    for part in (sample["pixel_values"], labels["masks"]):
        assert not part[:, height:].any() and not part[:, :, width:].any()
    assert (labels["boxes"] >= 0).all() and (labels["boxes"] <= torch.tensor([width, height, width, height])).all()
    assert (labels["boxes"][:, 2:] - labels["boxes"][:, :2] >= 1).all()
    for box, mask in zip(labels["boxes"], labels["masks"]):
        rows, columns = mask.nonzero(as_tuple=True)
        if len(rows):
            tight = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            outside = torch.cat([box[:2] - tight[:2], tight[2:] - box[2:]])
            assert outside.max() <= 1, (box, tight)


@given(st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_masks_move_with_the_image(seed):
    """The image shows the mask: wherever jitter, crop and flip put it, both lie on the same pixels."""
    row = random_row(seed, num_objects=1)
    row["image"] = np.repeat(row["masks"][0][..., None] * np.uint8(255), 3, -1)
    torch.manual_seed(seed)
    sample = ObjectTrainTransform(60, scale_range=(0.5, 2), normalize=False)(row)
    if len(sample["labels"]["masks"]):
        shown, mask = sample["pixel_values"][0], sample["labels"]["masks"][0]
        # The image is interpolated, the mask is not: they may differ along the outline.
        disagree = (shown > 0.5) != (mask > 0)
        assert not (disagree & ((shown < 0.02) | (shown > 0.98))).any()


@given(st.integers(0, 2**31), st.floats(0.3, 3))
@settings(max_examples=20, deadline=None)
def test_parts_of_images_are_those_of_a_whole_resize(seed, scale):
    """Enlarged and made smaller, also at the image's border."""
    random = np.random.default_rng(seed)
    image = tv_tensors.Image(torch.from_numpy(random.integers(0, 256, (3, *random.integers(5, 150, 2)), np.uint8)))
    jitter = LargeScaleJitter(tuple(random.integers(4, 90, 2).tolist()), (scale, scale))
    torch.manual_seed(seed)
    params = jitter.make_params([image])
    part = jitter.transform(image, params)
    whole = F.resize(image, params["size"], antialias=True)
    expected = F.crop(whole, params["top"], params["left"], params["height"], params["width"])
    assert part.shape == expected.shape and type(part) is tv_tensors.Image
    assert torch.equal(part, expected)


def test_parts_that_show_no_object_are_drawn_again():
    row = row_of([rectangle(0, 0, 12, 12)])  # in a corner, and too thin for anything in the second one
    transform = ObjectTrainTransform(40, scale_range=(2.0, 3.0))
    torch.manual_seed(0)
    assert all(len(transform(row)["labels"]["boxes"]) == 1 for _ in range(30))
    assert not len(ObjectTrainTransform(40, scale_range=(0.05, 0.05))(row)["labels"]["boxes"])  # it never shows
    assert not len(transform(empty_row())["labels"]["boxes"])


def test_masks_are_those_of_a_whole_resize():
    height, width = 47, 63  # odd: no pixel centre falls on a border between pixels, where rounding would decide
    row = random_row(3, height=height, width=width)
    torch.manual_seed(5)
    sample = ObjectTrainTransform(50, scale_range=(2.6, 2.6), flip_p=0.0)(row)
    size = fitted_size(height, width, (50, 50), 2.6)
    resized = torch.nn.functional.interpolate(torch.tensor(row["masks"])[None], size=size, mode="nearest-exact")[0]
    windows = resized.unfold(1, 50, 1).unfold(2, 50, 1)  # (objects, tops, lefts, 50, 50)
    kept = windows[sample["labels"]["class_labels"]]
    matches = (kept == sample["labels"]["masks"][:, None, None]).flatten(3).all(3).all(0)
    assert len(kept) and matches.any()


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_flip_twice_is_identity(seed):
    row = random_row(seed)
    arguments = {"scale_range": (1.0, 1.0), "normalize": False}
    straight = ObjectTrainTransform((HEIGHT, WIDTH), flip_p=0.0, **arguments)
    flip = ObjectTrainTransform((HEIGHT, WIDTH), flip_p=1.0, **arguments)

    def as_row(sample):
        labels = sample["labels"]
        image = (sample["pixel_values"] * 255).round().byte().permute(1, 2, 0).numpy()
        boxes, classes = labels["boxes"].numpy(), labels["class_labels"].numpy()
        return row_of(labels["masks"].numpy(), image, boxes=boxes, class_labels=classes)

    same(flip(as_row(flip(row))), straight(row))
    np.testing.assert_array_equal(as_row(flip(row))["image"], row["image"][:, ::-1])


def test_scale_one_in_a_frame_of_the_images_size_changes_nothing():
    row = random_row(2)
    sample = ObjectTrainTransform((HEIGHT, WIDTH), scale_range=(1.0, 1.0), flip_p=0.0, normalize=False)(row)
    np.testing.assert_array_equal((sample["pixel_values"] * 255).round().permute(1, 2, 0), row["image"])
    np.testing.assert_array_equal(sample["labels"]["masks"], row["masks"])
    np.testing.assert_array_equal(sample["labels"]["boxes"], row["boxes"])
    assert sample["labels"]["size"].tolist() == [HEIGHT, WIDTH]


def test_jitter_is_uniform_in_scale_and_place():
    jitter = LargeScaleJitter((100, 100), (0.1, 3.0))
    torch.manual_seed(0)
    image = torch.zeros(3, 50, 200)  # width limits: scale 1 is 25 x 100
    windows = [jitter.make_params([image]) for _ in range(2000)]
    scales = np.array([window["size"][1] for window in windows]) / 100
    assert scales.min() >= 0.1 and scales.max() <= 3.0
    assert np.histogram(scales, bins=10, range=(0.1, 3.0))[0].min() > 140
    for window in windows:
        height, width = window["size"]
        assert abs(height * 4 - width) <= 4
        assert (window["height"], window["width"]) == (min(height, 100), min(width, 100))
        assert 0 <= window["top"] <= max(height - 100, 0) and 0 <= window["left"] <= max(width - 100, 0)
    wide = [window for window in windows if 190 < window["size"][1] < 210]
    lefts = np.array([window["left"] / (window["size"][1] - 100) for window in wide])
    assert lefts.min() < 0.1 and lefts.max() > 0.9


def test_tiny_images_keep_a_pixel():
    sample = ObjectTrainTransform(10, scale_range=(0.1, 0.1))(row_of([rectangle(0, 0, 40, 1, 1, 40)]))
    assert sample["labels"]["size"].tolist() == [1, 1]


def test_chance_follows_torchs_generator():
    row = random_row(4)
    transform = ObjectTrainTransform(40)
    transform = pickle.loads(pickle.dumps(transform))  # as spawned data workers get it
    torch.manual_seed(1)
    first, other = transform(row), transform(row)
    torch.manual_seed(1)
    again = transform(row)
    same(first, again)
    assert first["labels"]["seed"] == again["labels"]["seed"] != other["labels"]["seed"]


def test_crowds_are_left_out():
    row = row_of([rectangle(0, 0, 9, 9), rectangle(5, 5, 30, 30)], iscrowd=[True, False])
    labels = ObjectTrainTransform(64, scale_range=(1.0, 1.0))(row)["labels"]
    assert labels["class_labels"].tolist() == [1] and len(labels["masks"]) == len(labels["boxes"]) == 1


@pytest.mark.parametrize(("min_size", "kept"), [(1.0, [0, 1]), (4.0, [0]), (11.0, [])])
def test_small_boxes_are_left_out(min_size, kept):
    row = row_of([rectangle(0, 0, 10, 20), rectangle(20, 0, 40, 3)])
    transform = ObjectTrainTransform((HEIGHT, WIDTH), scale_range=(1.0, 1.0), min_size=min_size)
    assert transform(row)["labels"]["class_labels"].tolist() == kept


def test_of_too_many_objects_the_largest_stay_in_order(caplog):
    sizes = [3, 9, 5, 12, 2]
    row = row_of([rectangle(0, 0, size, size) for size in sizes])
    transform = ObjectTrainTransform((HEIGHT, WIDTH), scale_range=(1.0, 1.0), max_objects=3)
    with caplog.at_level(logging.WARNING, logger=LOGGER):
        labels = transform(row)["labels"]
        transform(row)
    assert labels["class_labels"].tolist() == [1, 2, 3]
    assert labels["masks"].sum((1, 2)).tolist() == [81, 25, 144]
    assert transform.num_dropped == 4
    (message,) = caplog.messages
    assert "room.png has 5 objects, more than max_objects=3" in message


def test_at_most_a_hundred_objects_by_default(caplog):
    """As many as a published sequence holds."""
    sizes = np.random.default_rng(0).permutation(130) + 1  # of 130 objects, the 100 above 30 pixels are kept
    row = row_of([rectangle(0, 0, size, size, 130, 130) for size in sizes])
    transform = ObjectTrainTransform(130, scale_range=(1.0, 1.0), flip_p=0.0)
    with caplog.at_level(logging.WARNING, logger=LOGGER):
        labels = transform(row)["labels"]
    assert labels["masks"].sum((1, 2)).sqrt().tolist() == [size for size in sizes.tolist() if size > 30]
    assert len(labels["boxes"]) == 100 and transform.num_dropped == 30
    assert "130 objects, more than max_objects=100" in caplog.text


def test_normalized_pixels():
    row = random_row(5)
    arguments = {"scale_range": (1.0, 1.0), "flip_p": 0.0}
    plain = ObjectTrainTransform((HEIGHT, WIDTH), normalize=False, **arguments)(row)["pixel_values"]
    normalized = ObjectTrainTransform((HEIGHT, WIDTH), **arguments)(row)["pixel_values"]
    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    torch.testing.assert_close(normalized, (plain - mean) / std, rtol=1e-5, atol=1e-5)


# Evaluation


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("size", [(47, 61), (100, 33), (64, 64), (11, 90)])
def test_evaluation_pixels_are_the_image_processors(size, normalize):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    processor = AiTImageProcessor(
        size={"max_height": 64, "max_width": 80},
        do_normalize=normalize,
        do_pad=True,
        pad_size={"height": 64, "width": 80},
    )
    row = row_of(np.zeros((0, *size)), PIL.Image.fromarray(image))
    sample = ObjectEvalTransform((64, 80), normalize=normalize)(row)
    expected = processor(image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(sample["pixel_values"], expected, rtol=0, atol=0)


def test_evaluation_labels():
    row = row_of([rectangle(8, 4, 32, 40)])
    state = torch.get_rng_state()
    labels = ObjectEvalTransform((24, 100), with_masks=True)(row)["labels"]
    assert torch.equal(torch.get_rng_state(), state)
    assert labels["boxes"].tolist() == [[4, 2, 16, 20]]
    np.testing.assert_array_equal(labels["masks"], [rectangle(4, 2, 16, 20, 24, 100)])
    assert labels["size"].tolist() == [24, 32]
    assert labels["orig_size"].tolist() == [HEIGHT, WIDTH] and labels["orig_size"].dtype == torch.int64
    assert labels["image_id"] == 9 and labels["image_id"].dtype == torch.int64
    assert "masks" not in ObjectEvalTransform(24)(row)["labels"]


@pytest.mark.parametrize(
    ("size", "frame", "expected"),
    [((480, 640), (640, 640), (480, 640)), ((427, 640), (640, 640), (427, 640)), ((333, 500), (640, 640), (426, 640))],
)
def test_fitted_size(size, frame, expected):
    assert fitted_size(*size, frame) == expected


# Real data, through COCO rows


def test_coco_rows(data_dir, tmp_path):
    folder = data_dir / "coco_tiny"
    path = folder / "annotations" / "instances_train2017.json"
    dataset = load_coco(path, folder / "train2017", cache_dir=tmp_path)
    torch.manual_seed(0)
    samples = [ObjectTrainTransform(128)(dataset[index]) for index in range(0, 50, 7)]
    batch = object_collator(samples)
    assert batch["pixel_values"].shape == (8, 3, 128, 128) and len(batch["labels"]) == 8
    row = dataset[2]
    labels = ObjectEvalTransform((row["height"], row["width"]), with_masks=True)(row)["labels"]
    annotations = {item["id"]: item for item in json.loads(path.read_text())["annotations"]}
    areas = [
        annotations[number]["area"] for number, is_crowd in zip(row["annotation_id"], row["iscrowd"]) if not is_crowd
    ]
    # Polygon areas and counted pixels differ along the outlines.
    np.testing.assert_allclose(labels["masks"].sum((1, 2)), areas, rtol=0.2, atol=40)

    crops = MaskCrops(dataset)
    assert len(crops) == sum(not is_crowd for crowds in dataset["iscrowd"] for is_crowd in crowds)
    crop = crops[len(crops) - 1]["labels"]
    assert crop.shape == (64, 64) and crop.dtype == torch.float32 and set(crop.unique().tolist()) == {0.0, 1.0}


# Mask crops


def coco_rows(*objects, width=WIDTH):
    """A table of one image with objects (box, segmentation, is crowd)."""
    boxes, segmentations, crowds = zip(*objects)
    columns = {"boxes": boxes, "iscrowd": crowds, "segmentation": [json.dumps(item) for item in segmentations]}
    columns |= {"path": "a.png", "height": HEIGHT, "width": width}
    return Dataset.from_list([columns])


def test_crops_fill_their_boxes_and_leave_out_crowds_and_thin_boxes():
    square, lower_half = [[8, 8, 24, 8, 24, 24, 8, 24]], [[8, 16, 24, 16, 24, 24, 8, 24]]
    box = [8, 8, 24, 24]
    rows = coco_rows(
        (box, square, True), (box, square, False), ([8, 8, 9.9, 24], square, False), (box, lower_half, False)
    )
    crops = MaskCrops(rows, size=16)
    assert len(crops) == 2
    assert crops[0]["labels"].eq(1).all()
    torch.testing.assert_close(crops[1]["labels"], (torch.arange(16) >= 8).float()[:, None].expand(16, 16))


def test_nothing_to_crop():
    with pytest.raises(ValueError, match="no object with a box of at least two pixels"):
        MaskCrops(coco_rows(([0, 0, 1, 1], [[0, 0, 1, 0, 1, 1]], False)))


def test_object_without_segmentation_is_named():
    rows = coco_rows(([0, 0, 9, 9], [], False)).map(lambda row: {"segmentation": [""]})
    with pytest.raises(ValueError, match="a.png, object 0: An object has only a box"):
        MaskCrops(rows)[0]


def test_mask_flip():
    mask = torch.eye(8)
    assert torch.equal(v2.RandomHorizontalFlip(1.0)({"labels": mask})["labels"], mask.flip(1))
    assert torch.equal(v2.RandomHorizontalFlip(0.0)({"labels": mask})["labels"], mask)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size must be at least one pixel"),
        ({"image_size": 8, "scale_range": (0.0, 1.0)}, "scale_range must be"),
        ({"image_size": 8, "scale_range": (2.0, 1.0)}, "scale_range must be"),
        ({"image_size": 8, "max_objects": 0}, "max_objects must be at least 1"),
        ({"image_size": 8, "min_size": 0.5}, "min_size must be >= 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ObjectTrainTransform(**arguments)


def test_bad_rows():
    transform = ObjectTrainTransform(32)
    with pytest.raises(ValueError, match=r"room.png has \(48, 64\) pixels, but its annotations say \(48, 99\)"):
        transform(random_row(0) | {"width": 99})
    with pytest.raises(TypeError, match="room.png has an image float32"):
        transform(random_row(0) | {"image": np.zeros((HEIGHT, WIDTH, 3), dtype=np.float32)})


def test_collator_names_the_bad_sample():
    good = ObjectTrainTransform(32)(random_row(0))
    with pytest.raises(ValueError, match="at least one sample"):
        object_collator([])
    for value in (float("nan"), float("inf")):
        bad = good | {"pixel_values": torch.full((3, 32, 32), value), "path": "bad.png"}
        with pytest.raises(ValueError, match="Sample bad.png has NaN or infinite pixel_values"):
            object_collator([good, bad])
    other = ObjectTrainTransform(40)(random_row(0)) | {"path": "large.png"}
    with pytest.raises(ValueError, match=r"large.png has pixel_values of shape \(3, 40, 40\)"):
        object_collator([good, other])
