# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Quirks of pictures and of label maps through commands, trainings and pipelines."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from quirky_pictures import STORED_FOR, WIDE_GRAYS, encode, exif, write
from saved_model import picture, save_tiny_model
from tiny_dense import SEMANTICS, dense_config
from tiny_objects import object_config, object_model, object_processor
from tiny_pose import POSES, pose_config, pose_model, pose_processor
from transformers import pipeline

from ait_hf import VQTokenizer
from ait_hf.commands.evaluate import main as evaluate
from ait_hf.commands.finetune import fine_tuning_values
from ait_hf.data.skeletons import COCO_SKELETON
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.recipes.from_folder import FineTuning
from ait_hf.recipes.parsing import build
from ait_hf.training.tokenizer import TokenizerRecipe, TokenizerTraining


SIZE = (40, 56)
CLASSES = ["background", "crack"]
WIDE = WIDE_GRAYS["I;16"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of tiny models and tokenizers by what they are for."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny_model(folder / "depth")
    names = dict(enumerate(["cat", "dog", "cow", "cup", "car", "person"]))
    save_with_remote_code(object_model(object_config(id2label=names)), object_processor(), folder / "objects")
    save_with_remote_code(pose_model(pose_config()), pose_processor(), folder / "poses")
    torch.manual_seed(0)
    VQTokenizer(
        in_channels=2, out_channels=2, downsample_ratio=8, base_channels=2, num_vq_embeddings=16, vq_embed_dim=8,
        sample_size=32, unit="class", loss_type="cross_entropy",
    ).save_pretrained(folder / "labels")  # fmt: skip
    return folder


def refusal(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as caught:
        evaluate([str(argument) for argument in arguments])
    message = capsys.readouterr().err
    assert caught.value.code == 2 and message.strip().count("\n") == 0
    return message


def photograph(seed: int = 0) -> Image.Image:
    return picture(*SIZE, seed)


QUIRKS = {
    "half as large": (encode(photograph().resize((28, 20))), r"(20, 28)"),
    "stored sideways": (encode(photograph().transpose(STORED_FOR[3]), exif=exif(6)), "EXIF orientation"),
    "gray of 16 bits": (WIDE, "more than 8 bits"),
}


@pytest.mark.parametrize("quirk", QUIRKS)
def test_evaluation_of_pictures_that_are_not_what_their_annotations_say(models, quirk, tmp_path, capsys):
    content, message = QUIRKS[quirk]
    path = write(tmp_path / "images" / "a.png", content)
    image = {"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}
    joints = {"keypoints": [9, 9, 2] + [0] * 48, "num_keypoints": 1}
    own = {"bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0, "segmentation": [[5, 5, 25, 5, 25, 25]], **joints}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, **own}
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO_SKELETON.joints)}]
    content = {"images": [image], "annotations": [annotation], "categories": categories}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    data = ["--data", f"coco:{tmp_path / 'coco.json'}", "--images", tmp_path / "images"]
    for task, model in {"object-detection": "objects", POSES: "poses"}.items():
        found = refusal(
            capsys, "--task", task, "--model", models / model, *data, "--output", tmp_path / "metrics.json"
        )
        assert message in found and str(path) in found
    assert not (tmp_path / "metrics.json").exists()


def test_pictures_of_detected_boxes_are_compared_too(models, tmp_path, capsys):
    write(tmp_path / "images" / "a.png", encode(photograph()))
    path = write(tmp_path / "images" / "b.png", QUIRKS["half as large"][0])
    size = {"height": SIZE[0], "width": SIZE[1]}
    images = [{"id": number, "file_name": f"{name}.png", **size} for number, name in enumerate("ab", start=1)]
    joints = {"keypoints": [9, 9, 2] + [0] * 48, "num_keypoints": 1}
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0, **joints}
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO_SKELETON.joints)}]
    content = {"images": images, "annotations": [person], "categories": categories}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    boxes = [{"image_id": number, "category_id": 1, "bbox": [5, 5, 20, 20], "score": 0.9} for number in (1, 2)]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    data = ["--data", f"coco:{tmp_path / 'coco.json'}", "--images", tmp_path / "images", "--model", models / "poses"]
    data += ["--boxes", tmp_path / "boxes.json", "--output", tmp_path / "metrics.json"]
    found = refusal(capsys, "--task", POSES, *data)
    assert str(path) in found and "(20, 28)" in found


@pytest.mark.parametrize("quirk", QUIRKS)
def test_evaluation_of_depth(models, quirk, tmp_path, capsys):
    content, message = QUIRKS[quirk]
    write(tmp_path / "rgb" / "a.png", content)
    depth = np.full(SIZE, 1500, np.uint16)
    write(tmp_path / "depth" / "a.png", encode(Image.fromarray(depth)))
    arguments = ["--task", "depth", "--model", models / "depth", "--data", tmp_path, "--split", "train"]
    found = refusal(capsys, *arguments, "--depth-scale", 1000, "--output", tmp_path / "metrics.json")
    assert message in found and "rgb/a.png" in found


def write_masks(folder: Path, split: str) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[10:30, 20:50] = 255
    for number in range(2):
        write(folder / f"images/{split}/{number}.png", encode(photograph(number)))
        write(folder / f"annotations/{split}/{number}.png", encode(Image.fromarray(mask)))


def test_evaluation_of_black_and_white_masks(models, tmp_path, capsys):
    write_masks(tmp_path, "val")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    arguments = ["--task", "semantic-segmentation", "--tokenizer", models / "labels", "--data", f"labels:{tmp_path}"]
    arguments += ["--split", "val", "--classes", tmp_path / "classes.txt", "--output", tmp_path / "metrics.json"]
    assert "class_ids" in refusal(capsys, *arguments)
    evaluate([str(argument) for argument in (*arguments, "--class-ids", 0, 255)])
    (values,) = json.loads((tmp_path / "metrics.json").read_text())["results"].values()
    assert {"IoU/background", "IoU/crack"} <= set(values) and values["mIoU"] < 1


@pytest.mark.parametrize("name", ["label_maps", "label_map_masks"])
def test_training_of_tokenizers_on_black_and_white_masks(name, tmp_path):
    write_masks(tmp_path, "train")
    write_masks(tmp_path, "val")
    data = {"name": name, "root": str(tmp_path), "classes": CLASSES, "batch_size": 1, "transform": {"image_size": 32}}
    config = {"downsample_ratio": 8, "base_channels": 2, "num_vq_embeddings": 16, "vq_embed_dim": 8}
    values = {
        "output_dir": str(tmp_path / "run"),
        "model": {"config": config},
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "schedule": {"name": "constant"},
        "train": {"max_steps": 1},
        "evaluation": {"split": "val", "num_samples": 1, "batch_size": 1},
    }
    with pytest.raises(ValueError, match="class_ids"):
        TokenizerTraining(build(TokenizerRecipe, values | {"data": data}))
    training = TokenizerTraining(build(TokenizerRecipe, values | {"data": data | {"class_ids": [0, 255]}}))
    assert not training.warnings


def test_fine_tuning_passes_the_numbers_on(models, tmp_path):
    write_masks(tmp_path, "train")
    write_masks(tmp_path, "val")
    asked = {"task": "semantic-segmentation", "output": str(tmp_path / "out"), "classes": CLASSES}
    dense_config((SEMANTICS,)).save_pretrained(tmp_path / "model")
    request = FineTuning(
        model=str(tmp_path / "model"), data=str(tmp_path), class_ids=[0, 255], ignored_ids=[], **asked
    )
    section = fine_tuning_values(request)["tasks"]["semantic-segmentation"]["data"]
    assert section["class_ids"] == [0, 255] and section["ignored_ids"] == []
    with pytest.raises(ValueError, match="class_ids has no meaning"):
        fine_tuning_values(
            FineTuning(model=str(models / "depth"), task="depth", data="x", output="y", class_ids=[0, 1])
        )


@pytest.mark.parametrize("task", ["depth-estimation", "object-detection", "image-segmentation", "keypoint-estimation"])
def test_pipelines_see_what_everything_sees(models, task, tmp_path):
    kind = {"depth-estimation": "depth", "keypoint-estimation": "poses"}.get(task, "objects")
    people = {"boxes": [[5, 5, 20, 20]]} if task == "keypoint-estimation" else {}
    people |= {"threshold": 0.0} if kind == "objects" else {}
    run = pipeline(task, model=str(models / kind), device="cpu")
    rgb = np.asarray(photograph())
    alpha = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)
    plain = write(tmp_path / "plain.png", encode(Image.fromarray(rgb)))
    clear = write(tmp_path / "clear.png", encode(Image.fromarray(np.dstack([rgb, alpha]))))
    turned = write(tmp_path / "turned.png", encode(Image.fromarray(rgb).transpose(STORED_FOR[6]), exif=exif(6)))
    expected = comparable(run(str(plain), **people))
    for path in (clear, turned):
        assert comparable(run(str(path), **people)) == expected
        assert comparable(run(Image.open(path), **people)) == expected
    wide = write(tmp_path / "wide.png", WIDE)
    for image in (str(wide), Image.open(wide)):
        with pytest.raises(ValueError, match="more than 8 bits"):
            run(image, **people)


def comparable(result):
    """With numbers in the place of images and tensors."""
    if isinstance(result, dict):
        return {key: comparable(value) for key, value in result.items()}
    if isinstance(result, list):
        return [comparable(value) for value in result]
    return np.asarray(result).tolist() if isinstance(result, (Image.Image, torch.Tensor)) else result
