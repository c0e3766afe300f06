# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_objects import object_processor
from tiny_pose import NUM_JOINTS, POSES, people_finder_config, pose_config, pose_model, pose_processor
from transformers import pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from ait_hf import AiTForDenseTokenGeneration, AiTForPoseEstimation
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.inference.loading import load_model_and_processor
from ait_hf.tasks.poses.pipeline import KEYPOINT_PIPELINE, KeypointEstimationPipeline
from ait_hf.tasks.poses.prediction import detect_people, predict_poses


BOXES = [[10, 5, 30, 40], [0, 0, 12, 9]]
# Every class is a person: a random model's detections are of any.
PEOPLE = dict.fromkeys(range(6), "person")


def image(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("poses")
    save_with_remote_code(pose_model(pose_config()), pose_processor(), folder)
    return str(folder)


@pytest.fixture(scope="module")
def joint_folder(tmp_path_factory):
    """Detection comes first, so its processor lies beside the model."""
    folder = tmp_path_factory.mktemp("joint")
    model = pose_model(people_finder_config(id2label=PEOPLE), AiTForDenseTokenGeneration)
    save_with_remote_code(model, {"object-detection": object_processor(), POSES: pose_processor()}, folder)
    return str(folder)


@pytest.fixture(scope="module")
def estimator(folder):
    return pipeline("keypoint-estimation", model=folder, device="cpu")


def check(people: list[dict], expected: list[dict[str, torch.Tensor]]) -> None:
    assert len(people) == len(expected)
    for person, found in zip(people, expected):
        assert set(person) == {"score", "box", "keypoints"}
        assert [joint["label"] for joint in person["keypoints"]] == list(range(NUM_JOINTS))
        points = [[joint["x"], joint["y"]] for joint in person["keypoints"]]
        np.testing.assert_allclose(points, found["keypoints"], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(list(person["box"].values()), found["bbox"], rtol=1e-5)
        np.testing.assert_allclose([joint["score"] for joint in person["keypoints"]], found["scores"], rtol=1e-4)


def test_it_is_registered():
    assert PIPELINE_REGISTRY.check_task(KEYPOINT_PIPELINE)[1]["impl"] is KeypointEstimationPipeline


def test_people_in_boxes(folder, estimator):
    assert isinstance(estimator, KeypointEstimationPipeline) and isinstance(estimator.model, AiTForPoseEstimation)
    model, processor = load_model_and_processor(folder, POSES)
    ((expected),) = predict_poses(model, processor, [image()], [BOXES])
    people = estimator(image(), boxes=BOXES)
    check(people, expected)
    assert people[0]["box"] == {"xmin": 10, "ymin": 5, "xmax": 40, "ymax": 45}
    assert people[1]["score"] == pytest.approx(float(expected[1]["scores"].mean()))


def test_lists_of_images_and_files(estimator, tmp_path):
    image(1).save(tmp_path / "photo.png")
    together = estimator([image(0), str(tmp_path / "photo.png"), image(2)], boxes=[BOXES, BOXES[:1], []])
    assert [len(people) for people in together] == [2, 1, 0]
    assert together[1] == estimator(image(1), boxes=BOXES[:1])


def test_the_models_own_people(joint_folder):
    estimator = pipeline("keypoint-estimation", model=joint_folder, device="cpu")
    model, _ = load_model_and_processor(joint_folder, POSES)
    (found,) = detect_people(model, object_processor(), [image(3)], threshold=0.01)
    assert len(found["boxes"]) > 0
    (expected,) = predict_poses(model, pose_processor(), [image(3)], [found["boxes"]])
    people = estimator(image(3), threshold=0.01)
    check(people, expected)
    for person, pose, score in zip(people, expected, found["scores"].tolist()):
        assert person["score"] == pytest.approx(score * float(pose["scores"].mean()), rel=1e-3)
    assert estimator([image(3)], threshold=1.0) == [[]]


def test_bad_input(estimator, joint_folder):
    with pytest.raises(ValueError, match="finds no people by itself"):
        estimator(image())
    with pytest.raises(ValueError, match="got 1 for 2 images"):
        estimator([image(), image()], boxes=[BOXES])
    with pytest.raises(ValueError, match="leave it out beside boxes"):
        estimator(image(), boxes=BOXES, threshold=0.5)
    with pytest.raises(ValueError, match="sides above 0"):
        estimator(image(), boxes=[[3, 3, 0, 5]])


def test_a_model_from_memory_needs_its_processor():
    model = pose_model(pose_config())
    with pytest.raises(ValueError, match="pass the image processor of keypoint-detection"):
        KeypointEstimationPipeline(model)
    estimator = pipeline("keypoint-estimation", model=model, image_processor=pose_processor(), device="cpu")
    assert len(estimator(image(), boxes=BOXES)) == 2
