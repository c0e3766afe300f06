# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from golden_data import load_case
from PIL import Image
from transformers import (
    DepthEstimationPipeline,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import DepthEstimatorOutput, SemanticSegmenterOutput

from ait_hf.model.image_processing_ait import AiTImageProcessor
from ait_hf.model.masks_ait import paste_masks, rle_to_mask


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


# Objects


def padded_processor(side=64):
    return AiTImageProcessor(
        size={"max_height": side, "max_width": side}, do_pad=True, pad_size={"height": side, "width": side}
    )


def object_outputs(boxes, scores, labels=None, masks=None):
    """Outputs for one image, as a model gives them."""
    boxes, scores = torch.tensor(boxes), torch.tensor(scores)
    labels = torch.arange(len(scores)) if labels is None else torch.tensor(labels)
    return SimpleNamespace(
        pred_boxes=boxes[None],
        class_scores=scores[None],
        class_labels=labels[None],
        pred_masks=masks if masks is None else masks[None],
    )


@pytest.mark.parametrize(
    "original, resized",
    [((40, 80), (32, 64)), ((100, 33), (64, 21)), ((100, 34), (64, 22)), ((90, 91), (63, 64)), ((1, 500), (1, 64))],
)
def test_sides_are_rounded_as_published(original, resized):
    """64 / 100 * 34 = 21.76, which the library would make 21; 64 / 91 * 90 = 63.3."""
    processor = padded_processor()
    assert processor.resized_size(*original) == resized
    image = Image.new("RGB", original[::-1], "white")
    pixel_values = processor(image, return_tensors="pt").pixel_values
    assert pixel_values.shape == (1, 3, 64, 64)
    assert torch.equal(pixel_values[0, 0].nonzero().amax(0) + 1, torch.tensor(resized))


def test_where_an_image_lies_in_the_input():
    fixed = AiTImageProcessor(size=SMALL)
    assert fixed.resized_size(100, 33) == (18, 20) and fixed.frame_size() == (18, 20)
    assert padded_processor().frame_size() == (64, 64)
    unscaled = AiTImageProcessor(do_resize=False, do_pad=True, pad_size=SMALL)
    assert unscaled.resized_size(10, 9) == (10, 9) and unscaled.frame_size() == (18, 20)
    for processor in (
        AiTImageProcessor(size={"max_height": 64, "max_width": 64}),
        AiTImageProcessor(do_pad=True),
        AiTImageProcessor(do_resize=False),
    ):
        with pytest.raises(ValueError, match="no fixed size"):
            processor.frame_size()
    with pytest.raises(ValueError, match="shortest_edge"):
        AiTImageProcessor(size={"shortest_edge": 64}).resized_size(10, 9)


@pytest.mark.parametrize("image_size", [(48, 96), (37, 23), (64, 64), (200, 301)])
@pytest.mark.parametrize("make", [padded_processor, lambda: AiTImageProcessor(size=SMALL)], ids=["padded", "fixed"])
def test_a_box_comes_back_to_what_it_was_drawn_around(make, image_size):
    """A bright rectangle is found in the processed picture; its box leads back to the original's."""
    processor, (height, width) = make(), image_size
    top, bottom, left, right = height // 4, height * 3 // 4, width // 3, width * 2 // 3
    image = np.zeros((height, width, 3), np.uint8)
    image[top:bottom, left:right] = 255
    pixels = processor(image, return_tensors="pt").pixel_values[0, 0]
    # The sums of the middle lines are the exact sides, blur or not; the centre of mass is the centre.
    frame = torch.tensor([pixels.shape[1], pixels.shape[0]])
    weights = torch.stack([pixels.sum(0), torch.nn.functional.pad(pixels.sum(1), (0, pixels.shape[1] - len(pixels)))])
    places = torch.arange(pixels.shape[1]) + 0.5
    center = (weights * places).sum(1) / weights.sum(1)
    sides = torch.stack([pixels.sum(1).max(), pixels.sum(0).max()])
    box = torch.cat([(center - sides / 2) / frame, (center + sides / 2) / frame])
    (result,) = processor.post_process_object_detection(object_outputs([box.tolist()], [1.0]), 0.5, [image_size])
    scale = max(height / 18, width / 20, 1)  # pixels of the original per pixel of the input
    torch.testing.assert_close(
        result["boxes"][0], torch.tensor([left, top, right, bottom]).float(), atol=scale, rtol=0
    )


def test_detection_keeps_sorts_and_leaves_unclipped():
    boxes = [[0.5, 0.75, 0.25, 0.25], [0.0, 0.0, 1.0, 1.0], [0.1, 0.1, 0.2, 0.2]]
    outputs = object_outputs(boxes, [0.9, 0.5, 0.49], labels=[4, 2, 7])
    (result,) = padded_processor().post_process_object_detection(outputs, 0.5, torch.tensor([[32, 128]]))
    assert result["labels"].tolist() == [4, 2]
    torch.testing.assert_close(result["scores"], torch.tensor([0.9, 0.5]))
    assert result["boxes"].tolist() == [[32, 32, 64, 96], [0, 0, 128, 128]]
    (relative,) = padded_processor().post_process_object_detection(outputs, 0.0)
    torch.testing.assert_close(relative["boxes"], torch.tensor([[0.25, 0.25, 0.5, 0.75], *boxes[1:]]))
    with pytest.raises(ValueError, match="got 2 sizes for 1 images"):
        padded_processor().post_process_object_detection(outputs, 0.5, [(3, 3), (3, 3)])


def golden_outputs(golden_dir):
    """The released example, the processor that prepares its image, and everything expected."""
    case, tensors = load_case(golden_dir, "04_insseg_decode")
    config = case["config"]
    tokens = tensors["pred_tokens"].view(-1, 21)
    height, width = config["img_shape"]
    frame = {"height": config["norm_val"], "width": config["norm_val"]}
    processor = AiTImageProcessor(size={"height": height, "width": width}, do_pad=True, pad_size=frame)
    outputs = object_outputs(
        (tokens[:, :4] / config["num_bins"]).tolist(),
        tensors["pred_scores"].tolist(),
        tensors["labels"].tolist(),
        tensors["mask64_soft"],
    )
    return processor, outputs, config["ori_shape"], tensors


def test_boxes_match_the_released_model(golden_dir):
    processor, outputs, size, tensors = golden_outputs(golden_dir)
    (result,) = processor.post_process_object_detection(outputs, 0.0, [size])
    expected = tensors["dets_hard"]
    corners = torch.cat([torch.minimum(expected[:, :2], expected[:, 2:4]), torch.maximum(expected[:, :2], expected[:, 2:4])], 1)  # fmt: skip
    torch.testing.assert_close(result["boxes"], corners)
    torch.testing.assert_close(result["scores"], expected[:, 4])
    assert torch.equal(result["labels"], tensors["labels"])
    (in_frame,) = processor.post_process_object_detection(outputs, 0.0)
    torch.testing.assert_close(in_frame["boxes"] * 128, tensors["dets_norescale"][:, :4].view(-1, 2, 2).sort(1)[0].flatten(1))  # fmt: skip


def test_masks_match_the_released_model(golden_dir):
    processor, outputs, size, tensors = golden_outputs(golden_dir)
    expected = tensors["masks_soft_fullimage"].bool()
    (rles,) = processor.object_masks_rle(outputs, [size])
    assert torch.equal(torch.stack([rle_to_mask(rle) for rle in rles]), expected)
    order = outputs.class_scores[0].argsort(descending=True)
    arguments = {"threshold": 0.0, "target_sizes": [size]}
    (binary,) = processor.post_process_instance_segmentation(outputs, **arguments, return_binary_maps=True)
    (coco,) = processor.post_process_instance_segmentation(outputs, **arguments, return_coco_annotation=True)
    assert torch.equal(binary["segmentation"], expected[order])
    assert coco["segmentation"] == [rles[index] for index in order]
    assert binary["segments_info"] == coco["segments_info"] == [
        {"id": number, "label_id": tensors["labels"][index].item(), "was_fused": False,
         "score": outputs.class_scores[0, index].item()}
        for number, index in enumerate(order)
    ]  # fmt: skip


@pytest.fixture
def three_squares():
    """In an image of 32x64: a small one of the second best score inside a large one, and a shifted one."""
    boxes = [[0.0, 0.0, 0.5, 0.5], [0.125, 0.125, 0.25, 0.25], [0.25, 0.0, 0.75, 0.5]]
    # A little above 1, so that the corners, which are partly padding, still reach 0.5.
    return object_outputs(boxes, [0.7, 0.8, 0.9], [5, 6, 7], torch.full((3, 8, 8), 1.3))


def test_higher_scores_win_the_map(three_squares):
    arguments = {"threshold": 0.6, "target_sizes": [(32, 64)]}
    (result,) = padded_processor().post_process_instance_segmentation(
        three_squares, **arguments, overlap_mask_area_threshold=0.3
    )
    expected = torch.full((32, 64), -1, dtype=torch.int32)
    expected[:, :32], expected[8:16, 8:16], expected[:, 16:48] = 2, 1, 0
    assert torch.equal(result["segmentation"], expected)
    assert [(info["id"], info["label_id"]) for info in result["segments_info"]] == [(0, 7), (1, 6), (2, 5)]
    # 448 of the 1024 pixels of the large one are free.
    (result,) = padded_processor().post_process_instance_segmentation(three_squares, **arguments)
    assert torch.equal(result["segmentation"], torch.where(expected == 2, -1, expected))
    assert [info["label_id"] for info in result["segments_info"]] == [7, 6]


def test_no_segments(three_squares):
    process = padded_processor().post_process_instance_segmentation
    (drawn,) = process(three_squares, threshold=0.95)
    assert drawn["segmentation"].shape == (64, 64) and drawn["segmentation"].eq(-1).all()
    (binary,) = process(three_squares, threshold=0.95, target_sizes=[(32, 64)], return_binary_maps=True)
    (coco,) = process(three_squares, threshold=0.95, target_sizes=[(32, 64)], return_coco_annotation=True)
    assert binary["segmentation"].shape == (0, 32, 64) and coco["segmentation"] == []
    assert drawn["segments_info"] == binary["segments_info"] == coco["segments_info"] == []
    three_squares.pred_masks = torch.zeros(1, 3, 8, 8)
    (empty,) = process(three_squares, target_sizes=[(32, 64)])
    assert empty["segments_info"] == []


def test_run_lengths_follow_the_order_of_the_detections(three_squares):
    processor = padded_processor()
    (everything,) = processor.object_masks_rle(three_squares, [(32, 64)])
    boxes = processor.post_process_object_detection(three_squares, 0.0, [(32, 64)])[0]["boxes"]
    expected = paste_masks(three_squares.pred_masks[0], boxes, 32, 64)
    assert torch.equal(torch.stack([rle_to_mask(rle) for rle in everything]), expected)
    (best,) = processor.object_masks_rle(three_squares, [(32, 64)], score_threshold=0.8)
    assert best == everything[1:]


def test_what_masks_need(three_squares):
    process = padded_processor().post_process_instance_segmentation
    with pytest.raises(ValueError, match="not for both"):
        process(three_squares, return_coco_annotation=True, return_binary_maps=True)
    with pytest.raises(ValueError, match="must be above 0"):
        process(three_squares, mask_threshold=0.0)
    with pytest.raises(ValueError, match="got 2 sizes for 1 images"):
        process(three_squares, target_sizes=[(3, 3), (3, 3)])
    three_squares.pred_masks = None
    with pytest.raises(ValueError, match="no masks"):
        process(three_squares)


# Several classes per object


@pytest.fixture
def guesses():
    """Three objects in each of two images, with their probabilities of 4 classes (the last: of another task)."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, generator=generator) * 2
    logits[..., 3] = -torch.inf
    probabilities = logits.softmax(-1)[..., :4]
    scores, labels = probabilities.max(-1)
    boxes = torch.rand(2, 3, 2, 2, generator=generator).sort(dim=2)[0].flatten(2)
    masks = torch.rand(2, 3, 8, 8, generator=generator) + 0.3
    outputs = SimpleNamespace(
        pred_boxes=boxes, class_scores=scores, class_labels=labels, pred_masks=masks, class_logits=logits
    )
    return outputs, probabilities


def expected_pairs(probabilities, top_k, threshold):
    """`(object, class, probability)` of one image, by sorting all of them."""
    pairs = [(number, label, row[label].item()) for number, row in enumerate(probabilities) for label in range(3)]
    pairs.sort(key=lambda pair: -pair[2])
    return [pair for pair in pairs[:top_k] if pair[2] >= threshold]


SIZES = [(40, 80), (32, 20)]


@pytest.mark.parametrize("top_k, threshold", [(1, 0.0), (4, 0.0), (4, 0.2), (100, 0.0), (100, 0.05)])
def test_top_k_are_the_likeliest_pairs_of_object_and_class(guesses, top_k, threshold):
    outputs, probabilities = guesses
    processor = padded_processor()
    everything = processor.post_process_object_detection(outputs, 0.0, SIZES)
    results = processor.post_process_object_detection(outputs, threshold, SIZES, top_k)
    masks = processor.object_masks_rle(outputs, SIZES, score_threshold=threshold, top_k=top_k)
    all_masks = processor.object_masks_rle(outputs, SIZES)
    for number, result in enumerate(results):
        expected = expected_pairs(probabilities[number], top_k, threshold)
        objects, labels, scores = zip(*expected)
        assert result["labels"].tolist() == list(labels)
        assert result["scores"].tolist() == pytest.approx(scores)
        assert torch.equal(result["boxes"], everything[number]["boxes"][list(objects)])
        assert masks[number] == [all_masks[number][which] for which in objects]


@pytest.mark.parametrize("threshold", [0.0, 0.1])
def test_scores_are_multiplied_by_those_of_boxes(guesses, threshold):
    outputs, probabilities = guesses
    processor = padded_processor()
    outputs.box_scores = torch.tensor([[1.0, 0.5, 0.25], [0.1, 0.9, 0.0]])
    for number, found in enumerate(processor.post_process_object_detection(outputs, threshold)):
        scores = outputs.class_scores[number] * outputs.box_scores[number]
        assert torch.equal(found["scores"], scores[scores >= threshold])
        assert torch.equal(found["boxes"], outputs.pred_boxes[number][scores >= threshold])
    weighted = probabilities * outputs.box_scores[..., None]
    for number, found in enumerate(processor.post_process_object_detection(outputs, threshold, top_k=4)):
        expected = [pair for pair in expected_pairs(weighted[number], 4, threshold) if pair[2] > 0]
        assert found["labels"].tolist() == [label for _, label, _ in expected]
        assert found["scores"].tolist() == pytest.approx([score for *_, score in expected])
    segments = processor.post_process_instance_segmentation(outputs, threshold=threshold, target_sizes=SIZES)
    assert threshold or all(found["segments_info"] for found in segments)
    for number, found in enumerate(segments):
        scores = (outputs.class_scores[number] * outputs.box_scores[number]).tolist()
        assert all(segment["score"] in scores for segment in found["segments_info"])


def test_a_heads_logits_are_as_good_as_generates(guesses):
    outputs, _ = guesses
    head = SimpleNamespace(**{name: value for name, value in vars(outputs).items() if name != "class_logits"})
    head.logits = outputs.class_logits
    process = padded_processor().post_process_object_detection
    for found, expected in zip(process(head, 0.0, SIZES, 5), process(outputs, 0.0, SIZES, top_k=5), strict=True):
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_top_k_of_segments(guesses):
    outputs, probabilities = guesses
    processor = padded_processor()
    arguments = {"threshold": 0.05, "target_sizes": SIZES, "top_k": 6}
    binary = processor.post_process_instance_segmentation(outputs, **arguments, return_binary_maps=True)
    coco = processor.post_process_instance_segmentation(outputs, **arguments, return_coco_annotation=True)
    drawn = processor.post_process_instance_segmentation(outputs, **arguments, overlap_mask_area_threshold=0.0)
    rles = processor.object_masks_rle(outputs, SIZES)
    for number, probability in enumerate(probabilities):
        masks = [rle_to_mask(rle) for rle in rles[number]]
        pairs = [pair for pair in expected_pairs(probability, 6, 0.05) if masks[pair[0]].any()]
        assert [info["label_id"] for info in binary[number]["segments_info"]] == [label for _, label, _ in pairs]
        assert binary[number]["segments_info"] == coco[number]["segments_info"]
        assert torch.equal(binary[number]["segmentation"], torch.stack([masks[which] for which, _, _ in pairs]))
        assert coco[number]["segmentation"] == [rles[number][which] for which, _, _ in pairs]
        expected, shown = torch.full(SIZES[number], -1, dtype=torch.int32), []
        for which, label, _ in pairs:
            visible = masks[which] & (expected < 0)
            if visible.any():
                expected[visible] = len(shown)
                shown.append(label)
        assert torch.equal(drawn[number]["segmentation"], expected)
        assert [info["label_id"] for info in drawn[number]["segments_info"]] == shown


def test_top_k_is_at_least_one(guesses):
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        padded_processor().post_process_object_detection(guesses[0], top_k=0)


# Classes and other maps of whole images


def class_outputs(class_maps):
    return SimpleNamespace(class_maps=torch.as_tensor(class_maps))


def test_classes_keep_the_maps_size_without_target_sizes():
    maps = torch.rand(2, 5, 6, 8, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    labels = padded_processor().post_process_semantic_segmentation(class_outputs(maps))
    assert all(label.dtype == torch.int64 for label in labels)
    assert torch.equal(torch.stack(labels), maps.argmax(1))


@pytest.mark.parametrize("convert", [list, torch.tensor])
def test_classes_are_decided_after_resizing(convert):
    """Against the library's way: all maps resized, then the arg-max."""
    maps = torch.rand(2, 5, 6, 8, generator=torch.Generator().manual_seed(0))
    sizes = [(30, 41), (3, 4)]
    results = AiTImageProcessor(size=SMALL).post_process_semantic_segmentation(class_outputs(maps), convert(sizes))
    for result, scores, size in zip(results, maps, sizes, strict=True):
        expected = torch.nn.functional.interpolate(scores[None], size=size, mode="bilinear")[0]
        assert result.shape == size
        chosen = expected.gather(0, result[None])[0]
        torch.testing.assert_close(chosen, expected.amax(0), atol=1e-5, rtol=0)  # equal but for rounding


def test_scores_of_classes_come_back_resized():
    maps = torch.rand(2, 5, 6, 8, generator=torch.Generator().manual_seed(0))
    sizes, processor = [(30, 41), (3, 4)], AiTImageProcessor(size=SMALL)
    labels = processor.post_process_semantic_segmentation(class_outputs(maps), sizes)
    results = processor.post_process_semantic_segmentation(class_outputs(maps), sizes, return_segmentation_scores=True)
    for result, expected, scores, size in zip(results, labels, maps, sizes, strict=True):
        assert torch.equal(result.segmentation, expected)
        resized = torch.nn.functional.interpolate(scores[None], size=size, mode="bilinear")[0]
        torch.testing.assert_close(result.segmentation_scores, resized, atol=1e-5, rtol=0)


def test_classes_of_a_model_that_gives_logits_alone():
    logits = torch.randn(2, 5, 6, 8, generator=torch.Generator().manual_seed(0))
    logits[:, 1] = 0.0
    outputs = SemanticSegmenterOutput(logits=logits)
    labels = padded_processor().post_process_semantic_segmentation(outputs)
    assert torch.equal(torch.stack(labels), logits.argmax(1))


@pytest.mark.parametrize("map_size", [64, 16, 10])
@pytest.mark.parametrize("image_size", [(40, 80), (80, 40), (64, 64), (90, 91), (100, 33)])
def test_padding_is_cut_off_before_resizing(map_size, image_size):
    """A picture whose right half is of another class, in a frame whose padding is of a third; only the cells on the
    border between the halves may be wrong."""
    processor, (height, width) = padded_processor(), image_size
    rows, columns = processor.resized_size(height, width)
    edges = torch.linspace(0, 64, map_size + 1)
    right = (edges[1:] - columns / 2).clamp(min=0) - (edges[:-1] - columns / 2).clamp(min=0)
    right = (right / (64 / map_size)).expand(map_size, map_size)
    is_padding = (edges[:-1] >= columns)[None] | (edges[:-1] >= rows)[:, None]
    maps = torch.stack([torch.zeros_like(right), 1 - right, right, torch.zeros_like(right)])
    maps[:, is_padding] = torch.tensor([0.0, 0.0, 0.0, 1.0])[:, None]
    (labels,) = processor.post_process_semantic_segmentation(class_outputs(maps[None]), [image_size])
    expected = torch.where(torch.arange(width) < width / 2, 1, 2)
    wrong = (labels != expected).nonzero()
    cell = 64 / map_size * width / columns  # in pixels of the image
    assert labels.shape == image_size and not labels.eq(3).any()
    assert ((wrong[:, 1] + 0.5 - width / 2).abs() <= cell / 2 + 1).all()


def test_a_class_that_is_nowhere_is_not_chosen():
    """Where every score is 0, a class of the image is, and not one of another task."""
    maps = torch.zeros(2, 4, 3, 3)
    maps[0, 2, 0, 0], maps[0, 3, 2, 2] = 0.5, 0.4
    first, second = padded_processor().post_process_semantic_segmentation(class_outputs(maps))
    assert first.tolist() == [[2, 2, 2], [2, 2, 2], [2, 2, 3]]
    assert second.eq(0).all()  # nothing is known at all


def test_maps_of_any_channels_come_back():
    """Ramps over the part of the frame that shows the image are ramps over the image."""
    processor = padded_processor()  # a 40x80 image fills the upper half
    ramp = (torch.arange(16) + 0.5) / 16
    maps = torch.stack([ramp.expand(16, 16), ramp[:, None].expand(16, 16), torch.ones(16, 16)])[None].clone()
    maps[:, :, 8:] = 77.0
    outputs = SimpleNamespace(predicted_map=maps.to(torch.float16), uncertainty=maps[:, 0].to(torch.float16))
    (result,) = processor.post_process_dense_prediction(outputs, [(40, 80)])
    assert result["predicted_map"].dtype == torch.float32 and result["predicted_map"].shape == (3, 40, 80)
    x = ((torch.arange(80) + 0.5) / 80).clamp(0.5 / 16, 15.5 / 16).expand(40, 80)
    y = ((torch.arange(40) + 0.5) / 80).clamp(0.5 / 16, 7.5 / 16)[:, None].expand(40, 80)
    expected = torch.stack([x, y, torch.ones(40, 80)])
    torch.testing.assert_close(result["predicted_map"], expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(result["uncertainty"], x, atol=1e-3, rtol=0)
    (unchanged,) = processor.post_process_dense_prediction(outputs)
    assert torch.equal(unchanged["predicted_map"], outputs.predicted_map[0].float())
    assert torch.equal(unchanged["uncertainty"], outputs.uncertainty[0].float())


def test_sizes_of_classes_and_maps_are_checked():
    maps = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match="got 1 sizes for 2 images of classes"):
        padded_processor().post_process_semantic_segmentation(class_outputs(maps), [(3, 3)])
    outputs = SimpleNamespace(predicted_map=maps, uncertainty=maps[:, 0])
    with pytest.raises(ValueError, match="got 1 sizes for 2 maps"):
        padded_processor().post_process_dense_prediction(outputs, [(3, 3)])
