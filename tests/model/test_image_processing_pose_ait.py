# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ait_hf.model.image_processing_pose_ait import AiTPoseImageProcessor


BOXES = [[[10, 5, 30, 40], [0, 0, 12, 9]], [], [[20.5, 3.25, 20, 33]]]


def image(seed: int = 0, size: tuple[int, int] = (50, 70)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def processor(**changes) -> AiTPoseImageProcessor:
    return AiTPoseImageProcessor(**{"size": {"height": 32, "width": 24}} | changes)


def outputs(num_people: int, joints: int = 17) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(
        pred_keypoints=torch.rand(num_people, joints, 2, generator=generator) * 24,
        keypoint_scores=torch.rand(num_people, joints, generator=generator),
    )


def test_a_crop_per_box_in_order():
    images = [image(0), image(1), image(2)]
    crops = processor()(images, boxes=BOXES, return_tensors="pt")["pixel_values"]
    assert crops.shape == (3, 3, 32, 24) and crops.dtype == torch.float32
    alone = processor()(images[2], boxes=BOXES[2:], return_tensors="pt")["pixel_values"]
    assert torch.equal(crops[2:], alone)


def test_kinds_of_images_and_boxes_do_not_matter():
    picture = image()
    array = np.array(picture)
    expected = processor()(picture, boxes=BOXES[:1], return_tensors="pt")["pixel_values"]
    for same in (array, torch.tensor(array).permute(2, 0, 1)):
        found = processor()(same, boxes=[torch.tensor(BOXES[0])], return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    found = processor()(picture, boxes=[np.array(BOXES[0])], return_tensors="np")["pixel_values"]
    assert isinstance(found, np.ndarray)


def test_a_box_of_the_crops_aspect_without_margin_is_that_part_of_the_image():
    plain = processor(box_scale=1.0, do_normalize=False)
    (crop,) = plain(image(), boxes=[[[10, 5, 24, 32]]], return_tensors="pt")["pixel_values"]
    expected = torch.tensor(np.asarray(image())[5:37, 10:34]).permute(2, 0, 1) / 255
    torch.testing.assert_close(crop, expected, rtol=0, atol=1e-4)


def test_arguments_of_the_call():
    (whole,) = processor(do_normalize=False)(image(), boxes=[[[0, 0, 70, 50]]], return_tensors="pt")["pixel_values"]
    (near,) = processor()(
        image(), boxes=[[[0, 0, 70, 50]]], box_scale=1.0, do_normalize=False, size={"height": 16, "width": 16},
        return_tensors="pt",
    )["pixel_values"]  # fmt: skip
    assert near.shape == (3, 16, 16) and whole.shape == (3, 32, 24)
    assert (whole == 0).float().mean() > (near == 0).float().mean() > 0


def test_saved_and_loaded(tmp_path):
    processor(box_scale=1.5).save_pretrained(tmp_path)
    loaded = AiTPoseImageProcessor.from_pretrained(tmp_path)
    assert loaded.box_scale == 1.5 and loaded.frame_size() == (32, 24) and loaded.do_normalize is True


def test_structure_of_the_library():
    found = processor().post_process_pose_estimation(outputs(3), BOXES)
    assert list(map(len, found)) == [2, 0, 1]
    person = found[0][1]
    assert set(person) == {"keypoints", "scores", "labels", "bbox"}
    assert person["keypoints"].shape == (17, 2) and person["keypoints"].dtype == torch.float32
    assert person["labels"].tolist() == list(range(17)) and person["bbox"].tolist() == [0, 0, 12, 9]


def test_points_of_the_crop_come_back_to_the_image():
    """The crop's middle is the box's, its corners those of the enlarged box."""
    joints = torch.tensor([[[11.5, 15.5], [-0.5, -0.5], [23.5, 31.5]]])
    found = SimpleNamespace(pred_keypoints=joints, keypoint_scores=torch.ones(1, 3))
    ((person,),) = processor(box_scale=1.5).post_process_pose_estimation(found, [[[100, 60, 30, 40]]])
    expected = [[114.5, 79.5], [92, 49.5], [137, 109.5]]  # 45 x 60 pixels about (115, 80), counted from pixels' edges
    np.testing.assert_allclose(person["keypoints"], expected, atol=1e-4)


def test_threshold_and_relative_boxes():
    found = outputs(1)
    size = (50, 80)
    relative = [[[20 / 80, 10 / 50, 30 / 80, 20 / 50]]]
    ((expected,),) = processor().post_process_pose_estimation(found, [[[20, 10, 30, 20]]])
    ((person,),) = processor().post_process_pose_estimation(found, relative, threshold=0.5, target_sizes=[size])
    kept = found.keypoint_scores[0] > 0.5
    assert 0 < kept.sum() < 17 and torch.equal(person["labels"], torch.arange(17)[kept])
    torch.testing.assert_close(person["keypoints"], expected["keypoints"][kept])


def test_bad_input():
    with pytest.raises(ValueError, match="got 1 for 2 images"):
        processor()([image(), image()], boxes=BOXES[:1])
    with pytest.raises(ValueError, match="There are no boxes"):
        processor()(image(), boxes=[[]])
    with pytest.raises(ValueError, match="sides above 0"):
        processor()(image(), boxes=[[[5, 5, 0, 9]]])
    with pytest.raises(ValueError, match="People are cut out at a size"):
        processor()(image(), boxes=BOXES[:1], size={"shortest_edge": 32})
    with pytest.raises(ValueError, match="3 boxes were given, but the outputs have 2 people"):
        processor().post_process_pose_estimation(outputs(2), BOXES)
    with pytest.raises(ValueError, match="got 1 for 3 lists of boxes"):
        processor().post_process_pose_estimation(outputs(3), BOXES, target_sizes=[(50, 70)])
