# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_pose import NUM_JOINTS, person

from ait_hf.data.pose_transforms import PoseEvalTransform, PoseTrainTransform, pose_collator
from ait_hf.model.image_processing_pose_ait import AiTPoseImageProcessor


LEFT_WRIST, RIGHT_WRIST = 9, 10
STILL = {"scale_range": (1.0, 1.0), "shift": 0.0, "rotation": 0.0, "flip_p": 0.0}


def with_spots() -> dict:
    """Two spots, red at the left wrist and blue at the right one; the other joints are unknown."""
    rows, columns = np.mgrid[:80, :100]
    image = np.zeros((80, 100, 3))
    joints = np.zeros((NUM_JOINTS, 3), dtype=np.float32)
    for joint, channel, (x, y) in ((LEFT_WRIST, 0, (60, 30)), (RIGHT_WRIST, 2, (45, 48))):
        image[..., channel] = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
        joints[joint] = x, y, 2
    return person(size=(80, 100), image=image.round().astype(np.uint8), keypoints=joints, box=[30, 15, 70, 65])


def brightest(pixels: torch.Tensor) -> torch.Tensor:
    """x and y of the middle of the spot."""
    weights = pixels.clamp(min=0) ** 2 / (pixels.clamp(min=0) ** 2).sum()
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in pixels.shape), indexing="ij")
    return torch.stack([(weights * columns).sum(), (weights * rows).sum()])


@pytest.mark.parametrize("flip_p", [0.0, 1.0])
@pytest.mark.parametrize("image_size", [64, (96, 48)])
def test_labels_lie_where_the_image_shows_them(flip_p, image_size):
    """In a mirrored image the other wrist is the left one."""
    transform = PoseTrainTransform(image_size, rotation_p=1.0, flip_p=flip_p, normalize=False)
    torch.manual_seed(0)
    for _ in range(10):
        sample = transform(with_spots())
        labels = sample["labels"]
        for joint, channel in ((LEFT_WRIST, 0), (RIGHT_WRIST, 2)):
            spot = joint if flip_p == 0 else LEFT_WRIST + RIGHT_WRIST - joint
            if labels[spot, 2] > 0 and 4 < labels[spot, 0] < 40 and 4 < labels[spot, 1] < 60:
                found = brightest(sample["pixel_values"][channel])
                torch.testing.assert_close(found, labels[spot, :2], rtol=0, atol=0.6)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_flipping_is_mirroring_the_crop(seed):
    row = person(seed)
    straight = PoseTrainTransform(48, **STILL)(row)
    flipped = PoseTrainTransform(48, **STILL | {"flip_p": 1.0})(row)
    torch.testing.assert_close(flipped["pixel_values"], straight["pixel_values"].flip(-1), rtol=0, atol=1e-4)
    torch.testing.assert_close(flipped["labels"][5, 0], 47 - straight["labels"][6, 0], rtol=0, atol=1e-4)
    torch.testing.assert_close(flipped["labels"][5, 1:], straight["labels"][6, 1:], rtol=0, atol=1e-4)


BOXES = [[10, 5, 40, 45], [0, 0, 70, 50], [-5, -8, 30, 20], [50, 30, 70, 50], [3.3, 2.2, 6.6, 40.5]]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("normalize", [True, False])
def test_crops_are_those_of_the_image_processor(box, normalize):
    """Boxes inside the image, at its borders and beyond them."""
    row = person(box=box)
    size, box_scale = (48, 36), 1.4
    joints = row["keypoints"].copy()
    joints[0, :2] = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2  # so that one is inside
    sample = PoseEvalTransform(size, box_scale, normalize)(row | {"keypoints": joints})
    processor = AiTPoseImageProcessor(
        size={"height": size[0], "width": size[1]}, do_normalize=normalize, box_scale=box_scale
    )
    x1, y1, x2, y2 = box
    expected = processor(row["image"], boxes=[[[x1, y1, x2 - x1, y2 - y1]]], return_tensors="pt")["pixel_values"][0]
    assert torch.equal(sample["pixel_values"], expected)


def test_still_training_is_evaluation():
    row = person(3)
    training, evaluation = PoseTrainTransform(64, **STILL)(row), PoseEvalTransform(64)(row)
    assert torch.equal(training["pixel_values"], evaluation["pixel_values"])
    assert torch.equal(training["labels"], evaluation["labels"])
    assert evaluation["person"]["image_id"] == 3 and evaluation["person"]["id"] == 103


def test_a_part_without_joints_is_replaced():
    row = person(1)
    sample = PoseTrainTransform(64, **STILL | {"shift": 1000.0})(row)
    assert torch.equal(sample["labels"], PoseEvalTransform(64)(row)["labels"])


def test_chance_comes_from_torch():
    transform = PoseTrainTransform(32)
    samples = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        samples.append(transform(person(2)))
    assert torch.equal(samples[0]["pixel_values"], samples[1]["pixel_values"])
    assert not torch.equal(samples[0]["labels"], samples[2]["labels"])


def test_poses_alone_need_no_image():
    row = person(4)
    del row["image"]
    sample = PoseEvalTransform(64, with_images=False)(row)
    assert "pixel_values" not in sample and torch.equal(sample["labels"], PoseEvalTransform(64)(person(4))["labels"])


def test_batches():
    batch = pose_collator([PoseEvalTransform(32)(person(number)) for number in (1, 2)])
    assert batch["pixel_values"].shape == (2, 3, 32, 32) and batch["labels"].shape == (2, NUM_JOINTS, 3)
    assert [int(found["id"]) for found in batch["persons"]] == [101, 102]
    assert "persons" not in pose_collator([PoseTrainTransform(32)(person(1))])
    with pytest.raises(ValueError, match="crop or resize"):
        pose_collator([PoseTrainTransform(side)(person(1)) for side in (32, 33)])


def joints(**changes) -> np.ndarray:
    values = person()["keypoints"].copy()
    values[:, 2] = changes.get("visibility", 2)
    return values + changes.get("shift", 0)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"keypoints": joints(visibility=0)}, ValueError, "noise 0, person 100 has no known joint"),
        ({"keypoints": joints(shift=500)}, ValueError, "no known joint inside its crop"),
        ({"keypoints": joints()[:14]}, ValueError, r"keypoints \(14, 3\); the skeleton coco needs finite \(17, 3\)"),
        ({"keypoints": joints() * np.nan}, ValueError, "needs finite"),
        (
            {"box": [5, 5, 5, 9]},
            ValueError,
            r"person 100 has the box \[5.*9.0\], which is not x1, y1, x2, y2 with an area",
        ),
        ({"box": [5, 5, 9]}, ValueError, "x1, y1, x2, y2 are needed"),
        ({"image": np.zeros((50, 70), np.uint8)}, TypeError, "8-bit RGB"),
        ({"image": np.zeros((50, 71, 3), np.uint8)}, ValueError, "its annotations say"),
    ],
)
@pytest.mark.parametrize("kind", [PoseEvalTransform, PoseTrainTransform])
def test_bad_rows(kind, changes, error, message):
    with pytest.raises(error, match=message):
        kind(32)(person(**changes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size"),
        ({"image_size": (3, 4, 5)}, "image_size"),
        ({"box_scale": 0.0}, "box_scale"),
        ({"scale_range": (2.0, 1.0)}, "scale_range"),
        ({"shift": -1.0}, "shift and rotation"),
        ({"rotation_p": 1.5}, "rotation_p and flip_p"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        PoseTrainTransform(**{"image_size": 32} | arguments)
