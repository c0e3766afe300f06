# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from PIL import Image
from saved_model import picture, save_tiny_model
from transformers import pipeline

import ait_hf  # noqa: F401  (registers the Auto classes)
from ait_hf.inference import load_model_and_processor, predict_depth, read_image


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
