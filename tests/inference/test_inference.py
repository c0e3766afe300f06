# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import json
import runpy
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_data import load_case, relative_error
from PIL import Image
from repository import SCRIPTS
from saved_model import picture, save_tiny_model, tiny_model
from tiny import mixed_config, tiny_config
from transformers import ViTImageProcessor, pipeline

from ait_hf import AiTForDenseTokenGeneration, AiTImageProcessor
from ait_hf.conversion.original import convert_original_checkpoint
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.inference.images import find_images
from ait_hf.inference.loading import load_model_and_processor
from ait_hf.model.image_reading_ait import read_image
from ait_hf.model.masks_ait import rle_to_mask
from ait_hf.tasks.depth.prediction import input_size, predict_depth
from ait_hf.tasks.objects.prediction import predict_objects


@pytest.fixture(scope="module")
def model_and_processor():
    return tiny_model()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def test_a_whole_image_is_squeezed_in_and_its_depth_stretched_back(model_and_processor):
    model, processor = model_and_processor
    image = picture(96, 96)
    stretched = torch.tensor(np.asarray(image)).permute(2, 0, 1) / 255
    expected = model.generate(pixel_values=stretched[None]).predicted_depth
    (prediction,) = predict_depth(model, processor, [image])
    torch.testing.assert_close(prediction["predicted_depth"], expected[0])
    # Constant blocks of 2x3 pixels are the same image again once they are squeezed in.
    enlarged = image.resize((288, 192), Image.Resampling.NEAREST)
    (prediction,) = predict_depth(model, processor, [enlarged])
    assert prediction["predicted_depth"].shape == prediction["uncertainty"].shape == (192, 288)
    resized = F.interpolate(expected[None], size=(192, 288), mode="bilinear", align_corners=False)[0, 0]
    assert (prediction["predicted_depth"] - resized).abs().mean() < 0.05 * resized.std()
    assert prediction["uncertainty"].min() >= 0 and prediction["uncertainty"].max() <= 1


@pytest.mark.parametrize("tta", [False, True])
def test_a_batch_of_mixed_sizes_equals_single_images(model_and_processor, tta):
    model, processor = model_and_processor
    images = [picture(96, 128, 1), picture(60, 60, 2), picture(96, 128, 3)]
    together = predict_depth(model, processor, images, tta=tta)
    for image, prediction in zip(images, together):
        (alone,) = predict_depth(model, processor, [image], tta=tta)
        assert prediction["predicted_depth"].shape == (image.height, image.width)
        for name in ("predicted_depth", "uncertainty"):
            torch.testing.assert_close(prediction[name], alone[name], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0]["predicted_depth"], together[2]["predicted_depth"], rtol=0, atol=3e-3)


def test_integer_tensors_hold_0_to_255_and_floats_0_to_1(model_and_processor):
    model, processor = model_and_processor
    pixels = torch.tensor(np.asarray(picture(96, 96))).permute(2, 0, 1)
    (from_integers,) = predict_depth(model, processor, [pixels])
    (from_floats,) = predict_depth(model, processor, [pixels / 255])
    torch.testing.assert_close(from_integers, from_floats)


def test_test_time_augmentation_of_a_square_image_is_the_mean_with_its_mirror(model_and_processor):
    model, processor = model_and_processor
    image = picture(96, 96)
    both = [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    straight, mirrored = (prediction["predicted_depth"] for prediction in predict_depth(model, processor, both))
    (augmented,) = predict_depth(model, processor, [image], tta=True)
    torch.testing.assert_close(augmented["predicted_depth"], (straight + mirrored.flip(-1)) / 2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["08_e2e_depth_ar", "08_e2e_depth_parallel"])
def test_the_published_protocol_matches_the_released_model(golden_dir, name):
    case, tensors = load_case(golden_dir, name)
    model, processors = convert_original_checkpoint(golden_dir / name / "checkpoint.pth", case["config"])
    (prediction,) = predict_depth(model, processors["depth"], list(tensors["image"]), tta=True)
    assert relative_error(prediction["predicted_depth"], tensors["depth_full"][0]) < 1e-4


def test_settings_reach_generate(model_and_processor):
    model, processor = model_and_processor
    image = picture(96, 96)
    soft, hard = (
        predict_depth(model, processor, [image], soft_detokenizer=soft)[0]["predicted_depth"] for soft in (True, False)
    )
    assert not torch.allclose(soft, hard)


def test_input_size():
    assert input_size([480, 480], (480, 640), tta=False) == (480, 480)
    assert input_size([480, 480], (480, 640), tta=True) == (480, 640)
    assert input_size([96, 96], (480, 640), tta=True) == (96, 128)
    assert input_size([96, 96], (50, 50), tta=True) == (96, 96)
    with pytest.raises(ValueError, match="higher .640. than wide .480."):
        input_size([480, 480], (640, 480), tta=True)
    with pytest.raises(ValueError, match="input is 96x128"):
        input_size([96, 128], (480, 640), tta=True)


def test_no_images_are_refused(model_and_processor):
    with pytest.raises(ValueError, match="no images"):
        predict_depth(*model_and_processor, [])


def test_find_images_takes_files_folders_and_globs(tmp_path):
    for name in ("b.png", "a.jpg", "more/c.jpeg", "more/d.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(4, 4).save(tmp_path / name)
    (tmp_path / "more" / "notes.txt").write_text("not an image")
    assert find_images([tmp_path / "b.png", tmp_path]) == [tmp_path / "b.png", tmp_path / "a.jpg"]
    assert find_images([tmp_path / "more"]) == [tmp_path / "more" / "c.jpeg", tmp_path / "more" / "d.webp"]
    assert find_images([str(tmp_path / "*.jpg")]) == [tmp_path / "a.jpg"]
    for pattern in ("missing.png", "*.bmp"):
        with pytest.raises(FileNotFoundError, match="does not exist|has no images"):
            find_images([str(tmp_path / pattern)])
    picture(4, 4).save(tmp_path / "more" / "a.png")
    with pytest.raises(ValueError, match="same stem"):
        find_images([tmp_path, tmp_path / "more"])


def test_read_image_turns_upright_and_refuses_what_is_no_photograph(tmp_path):
    image = picture(10, 20)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").size == (10, 20)
    image.convert("L").save(tmp_path / "gray.png")
    assert read_image(tmp_path / "gray.png").mode == "RGB"
    Image.fromarray(np.full((4, 4), 5000, dtype=np.uint16)).save(tmp_path / "depth.png")
    with pytest.raises(ValueError, match="more than 8 bits"):
        read_image(tmp_path / "depth.png")
    picture(60, 60).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    for name in ("broken.png", "text.jpg"):
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            read_image(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "missing.jpg")


def test_loading_gives_the_saved_model(saved, model_and_processor):
    model, processor = load_model_and_processor(saved)
    image = picture(70, 90)
    (before,), (after,) = predict_depth(*model_and_processor, [image]), predict_depth(model, processor, [image])
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)


def test_loading_in_bfloat16_keeps_the_codebook(saved):
    model, processor = load_model_and_processor(saved, dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    assert model.tokenizers["depth"].quantizer.embedding.weight.dtype == torch.float32
    (prediction,) = predict_depth(model, processor, [picture(70, 90)])
    assert prediction["predicted_depth"].dtype == torch.float32


def truncate(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def change_config(**changes):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


DAMAGES = {
    "truncated": (truncate, ValueError, "truncated or damaged"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), ValueError, "model.safetensors"),
    "no processor": (lambda folder: (folder / "preprocessor_config.json").unlink(), FileNotFoundError, "preprocessor"),
    "no config": (lambda folder: (folder / "config.json").unlink(), FileNotFoundError, "config.json"),
    "other processor": (ViTImageProcessor().save_pretrained, ValueError, "that of a ViTImageProcessor"),
    "broken config": (lambda folder: (folder / "config.json").write_text("{"), ValueError, "not a valid JSON"),
    "other architecture": (change_config(model_type="bert"), ValueError, "'bert' model"),
    "missing weights": (change_config(encoder_layers=3), ValueError, "16 missing keys"),
    "left-over weights": (change_config(encoder_layers=1), ValueError, "16 unexpected keys"),
    "other shapes": (change_config(ffn_dim=64), ValueError, "mismatched keys"),
    "impossible sizes": (change_config(d_model=33), ValueError, "divisible by num_heads"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoints_are_refused(saved, tmp_path, damage):
    function, error, message = DAMAGES[damage]
    folder = shutil.copytree(saved, tmp_path / "damaged")
    function(folder)
    with pytest.raises(error, match=message) as caught:
        load_model_and_processor(folder)
    assert "\n" not in str(caught.value)


def test_missing_folder_and_unknown_task_are_refused(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        load_model_and_processor(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="Unknown task 'pose'.*depth"):
        load_model_and_processor(saved, task="pose")


# Objects

FRAME = {"height": 96, "width": 96}
PADDED = {"size": {"max_height": 96, "max_width": 96}, "do_normalize": True, "do_pad": True, "pad_size": FRAME}


@pytest.fixture(scope="module")
def finder():
    """A random model of three tasks on 96x96 images, and the image processor of its objects."""
    torch.manual_seed(0)
    objects = {"output_type": "objects", "num_groups": 5, "image_size": [96, 96]}
    config = mixed_config(
        tasks={
            "object-detection": {"task_id": 0, "slots": ["coordinate"] * 4 + ["class"], **objects},
            "instance-segmentation": {
                "task_id": 1, "slots": ["coordinate"] * 4 + ["class", "mask"], "grid_size": [2, 2], **objects,
            },
            "depth": tiny_config().tasks["depth"],
        },
        tokenizers=mixed_config().tokenizers | tiny_config().tokenizers,
        id2label={number: f"thing {number}" for number in range(6)},
    )  # fmt: skip
    model = AiTForDenseTokenGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
        model.tokenizers["mask"].decoder.conv_out.bias.fill_(0.6)
    return model, AiTImageProcessor(**PADDED)


@pytest.fixture(scope="module")
def saved_finder(finder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "finder"
    model, processor = finder
    processors = {"object-detection": processor, "instance-segmentation": processor}
    save_with_remote_code(model, processors | {"depth": AiTImageProcessor(size=FRAME)}, folder)
    return folder


@pytest.mark.parametrize("task", ["object-detection", "instance-segmentation"])
def test_objects_are_those_generated_in_the_images_pixels(finder, task):
    model, processor = finder
    images = [picture(48, 96, 1), picture(120, 60, 2)]
    predictions = predict_objects(model, processor, images, task=task, threshold=0.0)
    pixel_values = processor(images, return_tensors="pt").pixel_values
    outputs = model.generate(pixel_values=pixel_values, task=task)
    # A pixel of the second image is 96 / 120 of one of the model's.
    for number, scale in enumerate([1.0, 120 / 96]):
        boxes = (outputs.pred_boxes[number] * 96 * scale).view(-1, 2, 2).sort(dim=1)[0].flatten(1)
        torch.testing.assert_close(predictions[number]["boxes"], boxes)
        assert torch.equal(predictions[number]["labels"], outputs.class_labels[number])
        assert torch.equal(predictions[number]["scores"], outputs.class_scores[number])
    for prediction, image in zip(predictions, images):
        assert ("masks" in prediction) == (task == "instance-segmentation")
        for rle in prediction.get("masks", ()):
            assert rle_to_mask(rle).shape == (image.height, image.width)
    least = predictions[0]["scores"].median().item() - 1e-4
    (fewer,) = predict_objects(model, processor, images[:1], task=task, threshold=least)
    assert len(fewer["scores"]) == 3 and fewer["scores"].min() >= least
    assert len(fewer.get("masks", fewer["boxes"])) == 3


def test_objects_need_the_processor_of_their_task(finder):
    model, processor = finder
    with pytest.raises(ValueError, match="takes images of 96x96 pixels, but this image processor makes 480x480"):
        predict_objects(model, AiTImageProcessor(), [picture(48, 96)], task="object-detection")
    with pytest.raises(ValueError, match="no images"):
        predict_objects(model, processor, [], task="object-detection")


def test_every_task_has_its_own_processor(saved_finder):
    assert load_model_and_processor(saved_finder, "depth")[1].size.height == 96
    assert load_model_and_processor(saved_finder, "instance-segmentation")[1].size.max_height == 96


def test_the_object_detection_pipeline(finder, saved_finder):
    model, processor = finder
    images = [picture(48, 96, 1), picture(120, 60, 2)]
    results = pipeline("object-detection", model=str(saved_finder), device="cpu")(images, threshold=0.0, batch_size=2)
    expected = predict_objects(model, processor, images, task="object-detection", threshold=0.0)
    for result, objects in zip(results, expected, strict=True):
        assert [found["label"] for found in result] == [f"thing {label}" for label in objects["labels"]]
        np.testing.assert_allclose([found["score"] for found in result], objects["scores"], rtol=1e-3)
        boxes = [list(found["box"].values()) for found in result]
        np.testing.assert_allclose(boxes, objects["boxes"], atol=1.01)  # the pipeline cuts decimals off


def test_the_image_segmentation_pipeline(finder, saved_finder):
    model, processor = finder
    images = [picture(48, 96, 1), picture(120, 60, 2)]
    segmenter = pipeline("image-segmentation", model=str(saved_finder), device="cpu")
    results = segmenter(images, threshold=0.0, overlap_mask_area_threshold=0.0, batch_size=2)
    expected = predict_objects(model, processor, images, task="instance-segmentation", threshold=0.0)
    for result, objects, image in zip(results, expected, images, strict=True):
        assert result
        best = objects["scores"].argsort(descending=True)
        masks = [rle_to_mask(objects["masks"][number]) for number in best]
        first = next(number for number, mask in zip(best, masks) if mask.any())
        assert result[0]["label"] == f"thing {objects['labels'][first]}"
        assert result[0]["score"] == pytest.approx(objects["scores"][first].item(), rel=1e-3)
        assert result[0]["mask"].size == image.size
        differing = np.asarray(result[0]["mask"]) != 255 * rle_to_mask(objects["masks"][first]).numpy()
        assert differing.mean() < 0.01


@pytest.fixture(scope="module")
def predict():
    return runpy.run_path(str(SCRIPTS / "predict.py"))["main"]


@pytest.mark.parametrize("task", ["object-detection", "instance-segmentation"])
def test_predict_writes_objects_and_draws_them(predict, saved_finder, tmp_path, task):
    images = {"wide": picture(48, 96, 1), "high": picture(120, 60, 2)}
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png")
    output = tmp_path / "out"
    arguments = ["--model", str(saved_finder), "--task", task, "--output", str(output), "--batch-size", "1"]
    predict([*arguments, "--threshold", "0.2", *(str(tmp_path / f"{name}.png") for name in images)])
    kinds = ("objects.json", "objects.png")
    assert {path.name for path in output.iterdir()} == {f"{name}_{kind}" for name in images for kind in kinds}
    model, processor = load_model_and_processor(saved_finder, task)
    for name, image in images.items():
        (expected,) = predict_objects(model, processor, [image], task=task, threshold=0.2)
        written = json.loads((output / f"{name}_objects.json").read_text())
        assert len(written) == len(expected["scores"]) > 0
        for number, found in enumerate(written):
            assert found["label"] == f"thing {expected['labels'][number]}"
            assert found["score"] == pytest.approx(expected["scores"][number].item())
            assert found["box"] == pytest.approx(expected["boxes"][number].tolist())
            assert found.get("segmentation") == (expected["masks"][number] if "masks" in expected else None)
        with Image.open(output / f"{name}_objects.png") as drawn:
            assert max(drawn.size) >= 320 and drawn.width * image.height == drawn.height * image.width
    predict([*arguments, "--threshold", "1", str(tmp_path / "wide.png")])
    assert json.loads((output / "wide_objects.json").read_text()) == []


def test_predict_refuses_what_does_not_fit_objects(predict, saved_finder, tmp_path, capsys):
    picture(48, 96).save(tmp_path / "a.png")
    folder = shutil.copytree(saved_finder, tmp_path / "model")
    AiTImageProcessor().save_pretrained(folder / "image_processors" / "instance-segmentation")
    cases = [
        (saved_finder, "instance-segmentation", ["--tta"], "--tta has no meaning for the task instance-"),
        (saved_finder, "depth", ["--threshold", "0.5"], "--threshold has no meaning for the task depth"),
        (saved_finder, "keypoints", [], "Unknown task 'keypoints'"),
        (folder, "instance-segmentation", [], "makes 480x480"),
    ]
    for model, task, options, message in cases:
        arguments = ["--model", str(model), "--task", task, "--output", str(tmp_path / "out"), *options]
        with pytest.raises(SystemExit) as caught:
            predict([*arguments, str(tmp_path / "a.png")])
        refusal = capsys.readouterr().err
        assert caught.value.code == 2 and message in refusal and refusal.count("\n") == 1
    with pytest.raises(SystemExit):
        predict(["--model", "x", "--task", "depth", "--output", "x", "a.png", "--threshold", "1.5"])
    assert "1.5 is not in 0..1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
