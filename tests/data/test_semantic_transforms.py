# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from ait_hf import AiTImageProcessor
from ait_hf.data.semantic_transforms import (
    ClassMaskTransform,
    EndlessClassMasks,
    SemanticEvalTransform,
    SemanticTrainTransform,
)


FRAME = (32, 48)


def row(height=30, width=40, seed=0) -> dict:
    """An image whose red channel says the class: 60 * class; a strip of ignored pixels is white."""
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 4, (height // 10, width // 10)).astype(np.uint8)
    label_map = small.repeat(10, 0).repeat(10, 1)
    label_map[:4] = 255
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0] = np.where(label_map == 255, 255, label_map * 60)
    return {"image": image, "label_map": label_map, "path": "a.jpg"}


def test_evaluation_is_what_the_image_processor_makes():
    processor = AiTImageProcessor(
        size={"max_height": FRAME[0], "max_width": FRAME[1]},
        do_pad=True,
        pad_size={"height": FRAME[0], "width": FRAME[1]},
        do_normalize=True,
    )
    for size in ((30, 40), (20, 60), (70, 90)):
        example = row(*size)
        sample = SemanticEvalTransform(FRAME, normalize=True)(example)
        expected = processor(example["image"], return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(sample["pixel_values"], expected, rtol=0, atol=0)
        assert sample["labels"].dtype == torch.int64 and sample["labels"].shape == FRAME
        assert (sample["label_map"].numpy() == example["label_map"]).all() and sample["path"] == "a.jpg"
        height, width = processor.resized_size(*size)
        assert (sample["labels"][height:] == 255).all() and (sample["labels"][:, width:] == 255).all()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("flip_p", [0.0, 1.0])
def test_image_and_labels_move_together(scale, flip_p):
    transform = SemanticTrainTransform(FRAME, (scale, scale), flip_p, color_p=0.0, normalize=False)
    torch.manual_seed(0)
    sample = transform(row())
    red = (sample["pixel_values"][0] * 255).round().long()
    labels = sample["labels"]
    expected = torch.where(red == 255, 255, (red / 60).round().long())
    exact = (red % 60 == 0) | (red == 255)  # not at the borders of classes, where colours mix
    inside = torch.zeros(FRAME, dtype=torch.bool)
    height, width = min(FRAME[0], round(32 * scale)), min(FRAME[1], round(128 / 3 * scale))
    inside[:height, :width] = True
    assert (exact & inside).float().mean() > 0.5 * inside.float().mean()
    assert ((expected == labels) | ~exact | ~inside).float().mean() > 0.98
    assert (labels[~inside] == 255).all() and (sample["pixel_values"][:, ~inside] == 0).all()


def test_flip_is_a_mirror_and_twice_nothing():
    plain, mirrored = (
        SemanticTrainTransform((30, 40), (1.0, 1.0), flip_p, color_p=0.0)(row())["labels"] for flip_p in (0.0, 1.0)
    )
    assert (mirrored.flip(1) == plain).all()
    assert (plain.numpy() == row()["label_map"]).all()


def test_colours_change_the_image_only():
    plain = SemanticTrainTransform((30, 40), (1.0, 1.0), 0.0, color_p=0.0)(row())
    changed = SemanticTrainTransform((30, 40), (1.0, 1.0), 0.0, color_p=1.0)(row())
    assert (plain["labels"] == changed["labels"]).all()
    assert (plain["pixel_values"] != changed["pixel_values"]).any()


def test_the_models_numbers():
    for make in (SemanticTrainTransform, SemanticEvalTransform):
        labels = make((30, 40), first_class=80)(row())["labels"]
        assert labels.unique().tolist() == [80, 81, 82, 83, 255]


def test_samples_repeat_with_the_generator():
    transform = SemanticTrainTransform(FRAME)
    samples = []
    for _ in range(2):
        torch.manual_seed(3)
        samples.append(transform(row()))
    assert (samples[0]["pixel_values"] == samples[1]["pixel_values"]).all()


def test_bad_rows_are_named():
    transform = SemanticEvalTransform(FRAME)
    wrong = row()["label_map"][:20]
    with pytest.raises(
        ValueError, match=r"Sample a.jpg has an image of \(30, 40\) pixels, but a label map of \(20, 40\)"
    ):
        transform(row() | {"label_map": wrong})
    with pytest.raises(TypeError, match="label map int64"):
        transform(row() | {"label_map": row()["label_map"].astype(np.int64)})
    with pytest.raises(TypeError, match="an image uint8"):
        transform(row() | {"image": row()["image"][..., 0]})


def test_class_masks_squeeze_the_frame():
    example = row(30, 40)
    labels = SemanticEvalTransform((30, 60))(example)["labels"]
    for number in (0, 3):
        mask = ClassMaskTransform((30, 60), 30)({"label_map": example["label_map"], "class_number": number})["labels"]
        assert mask.dtype == torch.float32 and mask.shape == (30, 30)
        assert (mask == (labels[:, 1::2] == number)).all()  # every second column, at pixel centres
    empty = ClassMaskTransform((30, 60), 30)({"label_map": example["label_map"], "class_number": 9})["labels"]
    assert empty.sum() == 0


class Rows(Dataset):
    def __getitem__(self, index):
        return row(seed=index)


def test_endless_masks_are_of_classes_that_are_there():
    masks = EndlessClassMasks(Rows())
    numbers = set()
    for index in range(8):
        item = masks[index]
        assert (item["label_map"] == item["class_number"]).any() and item["class_number"] != 255
        numbers.add(item["class_number"])
    assert len(numbers) > 2
