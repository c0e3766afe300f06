# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Every pipeline gives for lists, generators and data sets, in batches or not, what it gives for each image alone."""

from collections.abc import Callable, Iterable
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from saved_model import picture, save_tiny_model
from tiny_dense import SEMANTICS, SIZE, dense_config, dense_model
from tiny_objects import DETECTION, INSTANCES, object_config, object_model, object_processor
from tiny_pose import POSES, people_finder_config, pose_model, pose_processor
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from ait_hf import AiTForDenseTokenGeneration, AiTForSemanticSegmentation, AiTImageProcessor
from ait_hf.hub.remote_code import save_with_remote_code


NAMES = dict(enumerate(["person", "bicycle", "car", "dog", "cup", "chair"]))
IMAGES = [picture(50, 70, 1), picture(96, 96, 2), picture(80, 40, 3)]
BOXES = [[[10, 5, 30, 40], [0, 0, 12, 9]], [], [[3, 3, 20, 60]]]


def save_objects(folder):
    model = object_model(object_config((DETECTION, INSTANCES), id2label=NAMES, parallel=True))
    save_with_remote_code(model, {DETECTION: object_processor(), INSTANCES: object_processor()}, folder)


def save_semantics(folder):
    model = dense_model(dense_config((SEMANTICS,), id2label=NAMES, parallel=True), AiTForSemanticSegmentation)
    save_with_remote_code(model, AiTImageProcessor(size={"height": SIZE, "width": SIZE}), folder)


def save_people(folder):
    config = people_finder_config(id2label=dict.fromkeys(range(6), "person"), parallel=True)
    model = pose_model(config, AiTForDenseTokenGeneration)
    save_with_remote_code(model, {DETECTION: object_processor(), POSES: pose_processor()}, folder)


def save_depth(folder):
    save_tiny_model(folder, parallel=True)


MODELS = {"depth": save_depth, "objects": save_objects, "semantics": save_semantics, "people": save_people}
# name: (pipeline, model, settings of a call)
PIPELINES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "depth": ("depth-estimation", "depth", {}),
    "objects": ("object-detection", "objects", {"threshold": 0.0}),
    "instances": ("image-segmentation", "objects", {"threshold": 0.0, "subtask": "instance"}),
    "semantics": ("image-segmentation", "semantics", {"subtask": "semantic"}),
    "people": ("keypoint-estimation", "people", {"threshold": 0.01}),
}


def rows() -> datasets.Dataset:
    table = {"image": IMAGES, "boxes": BOXES}
    features = {"image": datasets.Image(), "boxes": datasets.List(datasets.List(datasets.Value("float32")))}
    return datasets.Dataset.from_dict(table, features=datasets.Features(features))


WAYS: dict[str, Callable[[], Iterable]] = {
    "list": lambda: list(IMAGES),
    "generator": lambda: (image for image in IMAGES),
    "data set": lambda: KeyDataset(rows(), "image"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) / "model" for name in MODELS}
    for name, folder in folders.items():
        MODELS[name](folder)
    return folders


def alike(one: Any, other: Any) -> None:
    """Equal but for the rounding of sums that a batch orders in another way."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            alike(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for pair in zip(one, other):
            alike(*pair)
    elif isinstance(one, Image.Image):
        assert one.size == other.size and one.mode == other.mode
        difference = np.asarray(one).astype(int) - np.asarray(other)
        assert (np.abs(difference) > 1).mean() < 0.002
    elif isinstance(one, (float, torch.Tensor)):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    else:
        assert one == other


@pytest.mark.parametrize("name", PIPELINES)
def test_many_as_each_alone(folders, name):
    task, folder, settings = PIPELINES[name]
    pipe = pipeline(task, model=str(folders[folder]), device="cpu")
    alone = [pipe(image, **settings) for image in IMAGES]
    assert len(alone[0]) > 0
    for way, batch_size in (("list", 2), ("generator", 2), ("data set", 2), ("generator", 1)):
        found = pipe(WAYS[way](), batch_size=batch_size, **settings)
        assert isinstance(found, list) == (way == "list")
        alike(list(found), alone)


def test_people_with_boxes(folders):
    pipe = pipeline("keypoint-estimation", model=str(folders["people"]), device="cpu")
    alone = [pipe(image, boxes=boxes) for image, boxes in zip(IMAGES, BOXES)]
    assert [len(people) for people in alone] == [2, 0, 1]
    for images in WAYS.values():
        alike(list(pipe(images(), boxes=BOXES, batch_size=2)), alone)
    alike(list(pipe((image for image in IMAGES), boxes=iter(BOXES))), alone)
    for batch_size in (1, 2):  # rows of a data set bring their boxes
        alike(list(pipe(rows(), batch_size=batch_size)), alone)
        alike(list(pipe(iter(rows()), batch_size=batch_size)), alone)
    assert pipe({"image": IMAGES[0], "boxes": BOXES[0]}) == alone[0]
    assert len(pipe(rows())) == 3
    # Some known, others to be found.
    mixed = [{"image": IMAGES[0], "boxes": BOXES[0]}, IMAGES[1]]
    alike(pipe(mixed, batch_size=2), [alone[0], pipe(IMAGES[1])])


def test_what_makes_no_sense_is_said(folders):
    pipe = pipeline("keypoint-estimation", model=str(folders["people"]), device="cpu")
    with pytest.raises(ValueError, match="got 2 for 3 images"):
        pipe(KeyDataset(rows(), "image"), boxes=BOXES[:2])
    with pytest.raises(ValueError, match=r"shorter than|longer than"):
        list(pipe((image for image in IMAGES), boxes=BOXES[:2]))
    with pytest.raises(ValueError, match="needs an image under the key 'image'; this one has photo"):
        pipe({"photo": IMAGES[0]})
