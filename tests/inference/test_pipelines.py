# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from PIL import Image
from saved_model import picture, save_tiny_model
from tiny import tiny_config
from tiny_dense import SEMANTICS, dense_config
from tiny_objects import DETECTION, INSTANCES, NUM_OBJECTS, object_config, object_model, object_processor
from transformers import pipeline

import ait_hf
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.inference.loading import load_model_and_processor
from ait_hf.model.image_reading_ait import read_image
from ait_hf.model.masks_ait import rle_to_mask
from ait_hf.tasks.depth.prediction import predict_depth
from ait_hf.tasks.objects.prediction import predict_objects
from ait_hf.tasks.semantics.prediction import predict_semantics


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def estimator(folder):
    return pipeline("depth-estimation", model=str(folder), device="cpu")


def check_structure(result: dict, image: Image.Image) -> None:
    """What the library's documentation of the pipeline promises."""
    assert set(result) == {"predicted_depth", "depth"}
    assert isinstance(result["predicted_depth"], torch.Tensor) and isinstance(result["depth"], Image.Image)
    assert result["predicted_depth"].shape == (image.height, image.width)
    assert result["depth"].size == image.size and result["depth"].mode == "L"


def test_depth_estimation_of_a_photograph(folder, estimator, data_dir):
    path = next((data_dir / "rgbd" / "nyu_metric3d").rglob("rgb/*.jpg"))
    image = read_image(path)
    result = estimator(str(path))
    check_structure(result, image)
    (prediction,) = predict_depth(*load_model_and_processor(folder), [image])
    # The pipeline stretches depth by bicubic interpolation, we bilinearly.
    difference = (result["predicted_depth"] - prediction["predicted_depth"]).abs()
    assert difference.mean() < 0.1 * prediction["predicted_depth"].std()


def test_depth_estimation_of_a_list_in_batches(estimator):
    images = [picture(50, 70, 1), picture(96, 96, 2), picture(80, 40, 3)]
    together = estimator(images, batch_size=2)
    for image, result in zip(images, together, strict=True):
        check_structure(result, image)
        alone = estimator(image)
        torch.testing.assert_close(result["predicted_depth"], alone["predicted_depth"], rtol=1e-3, atol=1e-3)
    assert np.asarray(together[0]["depth"]).std() > 0


NAMES = ["person", "bicycle", "car", "dog", "cup", "chair"]


@pytest.fixture(scope="module")
def objects_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    model = object_model(object_config(id2label=dict(enumerate(NAMES))))
    save_with_remote_code(model, object_processor(), folder)
    return folder


@pytest.fixture(scope="module")
def photograph(data_dir):
    return sorted((data_dir / "coco_tiny" / "train2017").glob("*.jpg"))[0]


def check_objects(result: list[dict], prediction: dict) -> None:
    """What the library promises, and that it is what our own function predicts."""
    for found in result:
        assert isinstance(found["label"], str) and isinstance(found["score"], float)
    assert [found["label"] for found in result] == [NAMES[label] for label in prediction["labels"].tolist()]
    np.testing.assert_allclose([found["score"] for found in result], prediction["scores"], rtol=1e-4)


def test_object_detection_of_a_photograph(objects_folder, photograph):
    detector = pipeline("object-detection", model=str(objects_folder), device="cpu")
    result = detector(str(photograph), threshold=0.0)
    assert len(result) == NUM_OBJECTS and all(set(found) == {"score", "label", "box"} for found in result)
    model, processor = load_model_and_processor(objects_folder, DETECTION)
    (prediction,) = predict_objects(model, processor, [read_image(photograph)], task=DETECTION, threshold=0.0)
    check_objects(result, prediction)
    for found, box in zip(result, prediction["boxes"].tolist()):
        assert list(found["box"]) == ["xmin", "ymin", "xmax", "ymax"]
        assert all(isinstance(value, int) for value in found["box"].values())
        assert found["box"]["xmin"] <= found["box"]["xmax"] and found["box"]["ymin"] <= found["box"]["ymax"]
        np.testing.assert_allclose(list(found["box"].values()), box, atol=1)  # the library cuts the fractions off
    lowest, second, _ = sorted(found["score"] for found in result)
    assert len(detector(str(photograph), threshold=(lowest + second) / 2)) == NUM_OBJECTS - 1


def test_image_segmentation_of_a_photograph(objects_folder, photograph):
    segment = pipeline("image-segmentation", model=str(objects_folder), device="cpu")
    image = read_image(photograph)
    settings = {"threshold": 0.0, "overlap_mask_area_threshold": 0.0}
    result = segment(str(photograph), **settings)
    assert result and all(set(found) == {"score", "label", "mask"} for found in result)
    assert [found["score"] for found in result] == sorted((found["score"] for found in result), reverse=True)
    free = np.ones((image.height, image.width), dtype=bool)
    model, processor = load_model_and_processor(objects_folder, INSTANCES)
    (prediction,) = predict_objects(model, processor, [image], task=INSTANCES, threshold=0.0)
    best_first = prediction["scores"].argsort(descending=True).tolist()
    masks = [rle_to_mask(prediction["masks"][index]).numpy() for index in best_first]
    shown = {}
    for index, mask in zip(best_first, masks):
        if (mask & free).any():
            shown[index] = mask & free
            free &= ~mask
    chosen = list(shown)
    check_objects(result, {"labels": prediction["labels"][chosen], "scores": prediction["scores"][chosen]})
    for found, expected in zip(result, shown.values(), strict=True):
        assert isinstance(found["mask"], Image.Image) and found["mask"].mode == "L"
        assert found["mask"].size == image.size
        mask = np.asarray(found["mask"])
        assert set(np.unique(mask)) == {0, 255}
        np.testing.assert_array_equal(mask == 255, expected)
    again = segment([str(photograph)], subtask="instance", **settings)
    assert again[0] == result


@pytest.mark.parametrize("task", ["object-detection", "image-segmentation"])
def test_nobody_is_asked_whether_to_run_the_folders_code(objects_folder, task, monkeypatch):
    """With `ait_hf` at hand there is no need; a pipeline looks for a video processor beside the image processor."""
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "n")
    pipeline(task, model=str(objects_folder), device="cpu")
    assert not asked


@pytest.mark.parametrize("task", ["object-detection", "image-segmentation", "depth-estimation"])
def test_only_heads_of_other_tasks_are_said_to_be_wrong(objects_folder, folder, task, monkeypatch):
    """Which the library says of all classes that are not its own."""
    said = []
    monkeypatch.setattr("transformers.pipelines.base.logger.error", said.append)
    heads = {objects_folder: ait_hf.AiTForInstanceSegmentation, folder: ait_hf.AiTForDepthEstimation}
    right, wrong = heads if task != "depth-estimation" else reversed(heads)
    pipeline(task, model=str(right), device="cpu")
    assert not said
    processor = ait_hf.AiTImageProcessor.from_pretrained(right)
    pipeline(task, model=heads[wrong].from_pretrained(wrong), image_processor=processor, device="cpu")
    assert len(said) == 1 and f"{heads[wrong].__name__}' is not supported for {task}" in said[0]


def test_joint_folders_work_in_every_pipeline(tmp_path, photograph):
    """The folder's own image processor is that of the first task; others get that of their task, or one given by hand."""
    model = object_model(object_config(tasks=[DETECTION, INSTANCES, "depth"], parallel=True))
    depth_processor = ait_hf.AiTImageProcessor(size={"height": 96, "width": 96})
    processors = {DETECTION: object_processor(), INSTANCES: object_processor(), "depth": depth_processor}
    save_with_remote_code(model, processors, tmp_path)
    assert len(pipeline("object-detection", model=str(tmp_path), device="cpu")(str(photograph), threshold=0.0)) == 3
    own = ait_hf.AiTImageProcessor.from_pretrained(tmp_path, subfolder="image_processors/depth")
    estimate = pipeline("depth-estimation", model=str(tmp_path), image_processor=own, device="cpu")
    check_structure(estimate(str(photograph)), read_image(photograph))
    given, found = estimate, pipeline("depth-estimation", model=str(tmp_path), device="cpu")
    assert torch.equal(found(str(photograph))["predicted_depth"], given(str(photograph))["predicted_depth"])
    other = ait_hf.AiTImageProcessor(size={"height": 64, "width": 64})
    assert (
        pipeline("depth-estimation", model=str(tmp_path), image_processor=other, device="cpu").image_processor is other
    )


def test_one_folder_segments_instances_and_classes(tmp_path, photograph):
    instances, classes = object_config(tasks=[INSTANCES], parallel=True), dense_config((SEMANTICS,), parallel=True)
    codebooks = [*instances.codebooks, *classes.codebooks]
    both = {"tasks": instances.tasks | classes.tasks, "tokenizers": instances.tokenizers | classes.tokenizers}
    config = tiny_config(**both, codebooks=codebooks, num_task_ids=6, parallel=True)
    square = ait_hf.AiTImageProcessor(size={"height": 96, "width": 96})
    save_with_remote_code(object_model(config), {INSTANCES: object_processor(), SEMANTICS: square}, tmp_path)
    model, processor = load_model_and_processor(tmp_path, SEMANTICS)
    image = read_image(photograph)
    (expected,) = predict_semantics(model, processor, [image])
    label = pipeline("image-segmentation", model=str(tmp_path), subtask="semantic", device="cpu")
    segment = pipeline("image-segmentation", model=str(tmp_path), device="cpu")
    for parts in (label(str(photograph)), segment(str(photograph), subtask="semantic")):
        drawn = {model.config.id2label[number]: expected.numpy() == number for number in np.unique(expected)}
        assert {part["label"] for part in parts} == set(drawn)
        assert all((np.asarray(part["mask"]) == 255).tolist() == drawn[part["label"]].tolist() for part in parts)
    for parts in (segment(str(photograph), threshold=0.0), label(str(photograph), threshold=0.0, subtask="instance")):
        assert len(parts) == NUM_OBJECTS and all(part["score"] is not None for part in parts)
    with pytest.raises(ValueError, match="panoptic"):
        segment(str(photograph), subtask="panoptic")
