# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    DepthEstimationPipeline,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import DepthEstimatorOutput

from ait_hf.image_processing_ait import AiTImageProcessor


SMALL = {"height": 18, "width": 20}


@pytest.fixture
def processor():
    return AiTImageProcessor(size=SMALL)


def random_array(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_defaults_are_those_of_the_depth_models():
    pixel_values = AiTImageProcessor()(Image.fromarray(random_array(48, 64)), return_tensors="pt").pixel_values
    assert pixel_values.shape == (1, 3, 480, 480) and pixel_values.dtype == torch.float32
    assert pixel_values.min() >= 0 and 0.5 < pixel_values.max() <= 1


def test_pixels_are_divided_by_255_and_nothing_else(processor):
    array = random_array(18, 20)
    pixel_values = processor(array, return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(pixel_values, torch.from_numpy(array).permute(2, 0, 1) / 255)


def test_resizing_is_bilinear_with_antialiasing():
    """Against Pillow's own bilinear reduction, which averages the area that a pixel comes from."""
    image = Image.fromarray(random_array(90, 100))
    pixel_values = AiTImageProcessor(size=SMALL)(image, return_tensors="pt").pixel_values[0]
    expected = np.asarray(image.resize((20, 18), Image.Resampling.BILINEAR)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(pixel_values.numpy(), expected, atol=1.01 / 255)


def test_pil_numpy_and_torch_inputs_agree(processor):
    array = random_array(30, 41)
    inputs = [Image.fromarray(array), array, array.transpose(2, 0, 1), torch.from_numpy(array).permute(2, 0, 1)]
    encoded = [processor(image, return_tensors="pt").pixel_values for image in inputs]
    for pixel_values in encoded:
        assert pixel_values.shape == (1, 3, 18, 20)
        assert torch.equal(pixel_values, encoded[0])


def test_a_list_of_different_sizes_becomes_one_batch(processor):
    images = [random_array(30, 41, seed=1), random_array(25, 19, seed=2), random_array(30, 41, seed=3)]
    batch = processor([Image.fromarray(image) for image in images], return_tensors="pt").pixel_values
    assert batch.shape == (3, 3, 18, 20)
    for image, pixel_values in zip(images, batch):
        assert torch.equal(processor(image, return_tensors="pt").pixel_values[0], pixel_values)


def test_grey_and_transparent_images_become_rgb(processor):
    grey, rgba = random_array(18, 20, 1), random_array(18, 20, 4)
    for image in (Image.fromarray(grey[..., 0]), Image.fromarray(rgba), grey, rgba):
        assert processor(image, return_tensors="pt").pixel_values.shape == (1, 3, 18, 20)


def test_four_channels_stay_when_conversion_is_off(processor):
    images = [random_array(30, 41, 4, seed=1), random_array(25, 19, 4, seed=2)]
    batch = processor(
        images, do_convert_rgb=False, do_normalize=True, image_mean=0.0, image_std=1.0,
        input_data_format="channels_last", return_tensors="pt",
    ).pixel_values  # fmt: skip
    assert batch.shape == (2, 4, 18, 20) and batch.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("do_rescale", [True, False])
@pytest.mark.parametrize("do_normalize", [True, False])
def test_output_is_float32_whatever_the_input(processor, dtype, do_rescale, do_normalize):
    image = torch.ones(3, 18, 20).to(dtype)
    original = image.clone()
    pixel_values = processor(image, do_rescale=do_rescale, do_normalize=do_normalize, return_tensors="pt").pixel_values
    expected = torch.full((3,), 1 / 255 if do_rescale else 1.0)
    if do_normalize:
        expected = (expected - torch.tensor(processor.image_mean)) / torch.tensor(processor.image_std)
    assert pixel_values.dtype == torch.float32
    torch.testing.assert_close(pixel_values[0, :, 7, 9], expected)
    assert torch.equal(image, original)


def test_casting_the_features(processor):
    features = processor([random_array(20, 20), random_array(30, 31)], return_tensors="pt")
    assert features.to(torch.float16).pixel_values.dtype == torch.float16
    assert features.to("cpu", torch.bfloat16).pixel_values.dtype == torch.bfloat16
    assert processor(random_array(20, 20), return_tensors="np").pixel_values.dtype == np.float32


def test_settings_of_the_coco_models():
    """Longer side 64, ImageNet statistics, zeros at the right and bottom."""
    processor = AiTImageProcessor(
        size={"max_height": 64, "max_width": 64},
        do_normalize=True,
        do_pad=True,
        pad_size={"height": 64, "width": 64},
    )
    wide, high = np.full((40, 80, 3), 255, np.uint8), np.full((128, 32, 3), 255, np.uint8)
    batch = processor([wide, high], return_tensors="pt").pixel_values
    white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(batch[0, :, :32], white[:, None, None].expand(3, 32, 64))
    torch.testing.assert_close(batch[1, :, :, :16], white[:, None, None].expand(3, 64, 16))
    assert batch[0, :, 32:].eq(0).all() and batch[1, :, :, 16:].eq(0).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_images_that_are_not_finite_are_refused(processor, bad, convert):
    image = np.full((3, 9, 9), 0.5, np.float32)
    image[1, 4, 4] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        processor([np.zeros((3, 9, 9), np.float32), convert(image)], return_tensors="pt")


@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 5, 3), np.uint8), torch.zeros(3, 4, 0), Image.new("RGB", (0, 7))],
    ids=["numpy", "torch", "pil"],
)
def test_empty_images_are_refused(processor, image):
    with pytest.raises(ValueError, match="empty"):
        processor(image, return_tensors="pt")


def test_an_empty_list_is_refused(processor):
    with pytest.raises(ValueError, match="list of images is empty"):
        processor([], return_tensors="pt")


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_pil_images_beyond_8_bits_are_refused(processor, mode):
    with pytest.raises(ValueError, match="convert it to 8 bits"):
        processor(Image.new(mode, (9, 9)), return_tensors="pt")


def test_json_holds_the_settings(processor):
    settings = json.loads(processor.to_json_string())
    assert settings["size"] == SMALL and settings["image_processor_type"] == "AiTImageProcessor"
    assert settings["do_normalize"] is False and settings["do_convert_rgb"] is True


def test_save_and_load_give_the_same_processor(tmp_path):
    processor = AiTImageProcessor(
        size=SMALL, do_normalize=True, image_mean=[0.1, 0.2, 0.3], do_pad=True, pad_size=SMALL
    )
    saved = processor.save_pretrained(tmp_path)
    loaded = AiTImageProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert AiTImageProcessor.from_json_file(saved[0]).to_dict() == processor.to_dict()
    assert AiTImageProcessor.from_pretrained(tmp_path, do_normalize=False).do_normalize is False
    image = random_array(30, 41)
    assert torch.equal(
        processor(image, return_tensors="pt").pixel_values, loaded(image, return_tensors="pt").pixel_values
    )


def test_depth_maps_keep_their_size_and_values_without_target_sizes(processor):
    outputs = DepthEstimatorOutput(predicted_depth=torch.rand(2, 6, 8).to(torch.bfloat16))
    results = processor.post_process_depth_estimation(outputs)
    assert [set(result) for result in results] == [{"predicted_depth"}] * 2
    for result, depth in zip(results, outputs.predicted_depth):
        assert torch.equal(result["predicted_depth"], depth.float())


@pytest.mark.parametrize("convert", [list, torch.tensor])
def test_depth_maps_are_resized_bilinearly_to_each_target(processor, convert):
    """A ramp d(x) = x + 1/2 at pixel centres stays a ramp inside, and is held at the borders."""
    ramp = (torch.arange(8) + 0.5).expand(1, 6, 8).repeat(2, 1, 1)
    outputs = SimpleNamespace(predicted_depth=ramp, uncertainty=ramp / 8)
    results = processor.post_process_depth_estimation(outputs, convert([(12, 16), (3, 1)]))
    expected = ((torch.arange(16) + 0.5) / 2).clamp(0.5, 7.5).expand(12, 16)
    torch.testing.assert_close(results[0]["predicted_depth"], expected)
    torch.testing.assert_close(results[0]["uncertainty"], expected / 8)
    assert results[1]["predicted_depth"].shape == (3, 1)
    assert all(result["uncertainty"].min() >= 0 and result["uncertainty"].max() <= 1 for result in results)


def test_as_many_target_sizes_as_images(processor):
    outputs = SimpleNamespace(predicted_depth=torch.rand(2, 6, 8), uncertainty=None)
    assert "uncertainty" not in processor.post_process_depth_estimation(outputs)[0]
    with pytest.raises(ValueError, match="got 1 sizes for 2 depth maps"):
        processor.post_process_depth_estimation(outputs, [(3, 3)])


class BrightnessDepthModel(PreTrainedModel):
    """Depth is the brightness of the processed image, so that the pipeline's answer is known."""

    config_class = PretrainedConfig
    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.post_init()

    def forward(self, pixel_values, **kwargs):
        return DepthEstimatorOutput(predicted_depth=self.scale * pixel_values.mean(1))


def test_the_depth_pipeline_of_transformers(processor):
    pipe = DepthEstimationPipeline(model=BrightnessDepthModel(PretrainedConfig()), image_processor=processor)
    ramp = np.tile(np.linspace(0, 255, 40, dtype=np.uint8)[None, :, None], (36, 1, 3))
    first, second = pipe([Image.fromarray(ramp), Image.fromarray(ramp[:, ::-1].copy())])
    assert first["predicted_depth"].shape == (36, 40) and first["depth"].size == (40, 36)
    np.testing.assert_allclose(first["predicted_depth"].detach().numpy(), ramp[..., 0] / 255, atol=0.02)
    torch.testing.assert_close(second["predicted_depth"], first["predicted_depth"].flip(-1), atol=0.01, rtol=0)
