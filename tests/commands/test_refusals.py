# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a user can give wrong ends every command in one sentence, before long work, and leaves nothing behind."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from repository import SCRIPTS
from safetensors.torch import load_file, save_file
from saved_model import save_tiny_model
from tiny_pose import pose_config, pose_model, pose_processor

from ait_hf import VQTokenizer
from ait_hf.commands.evaluate import main as evaluate
from ait_hf.hub.remote_code import save_with_remote_code


COMMON = ["train.max_steps=2", "train.num_workers=0", "train.trackers=[]", "train.save_every=null"]
TOKENIZER = "model.config={downsample_ratio: 8, base_channels: 2, num_vq_embeddings: 16, vq_embed_dim: 8}"
BACKBONE = (
    "model.backbone_config={model_type: resnet, embedding_size: 8, hidden_sizes: [8, 16], depths: [1, 1], "
    "layer_type: basic, out_features: [stage2]}"
)
CONFIG = (
    "model.config={num_coordinate_bins: 0, num_classes: 0, d_model: 16, encoder_layers: 1, decoder_layers: 1, "
    "num_heads: 2, ffn_dim: 32, max_position_embeddings: 65}"
)


def load_main(name: str):
    if name == "evaluate":
        return evaluate
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.main


def write_rooms(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("rgb", "depth"):
        (folder / kind).mkdir(parents=True)
    for name in range(3):
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(folder / f"rgb/{name}.png")
        Image.fromarray(rng.integers(500, 5000, (48, 64), np.uint16)).save(folder / f"depth/{name}.png")


def write_objects(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(folder / "images/0.png")
    content = {
        "images": [{"id": 1, "file_name": "0.png", "height": 48, "width": 64}],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (folder / "empty.json").write_text(json.dumps(content))


def write_tokenizers(folder: Path) -> None:
    torch.manual_seed(0)
    tiny = {"downsample_ratio": 8, "base_channels": 2, "num_vq_embeddings": 16, "vq_embed_dim": 8, "sample_size": 32}
    VQTokenizer(**tiny).save_pretrained(folder / "tokenizer")
    VQTokenizer(**tiny, value_range=[0.0, 1.0], unit="mask", loss_type="mse").save_pretrained(folder / "masks")
    weights = "diffusion_pytorch_model.safetensors"
    for name in ("cut", "lacking", "other", "text"):
        shutil.copytree(folder / "tokenizer", folder / name)
    (folder / "cut" / weights).write_bytes((folder / "cut" / weights).read_bytes()[:999])
    tensors = load_file(folder / "lacking" / weights)
    del tensors["encoder.conv_out.bias"]
    save_file(tensors, folder / "lacking" / weights)
    config = json.loads((folder / "other/config.json").read_text())
    (folder / "other/config.json").write_text(json.dumps(config | {"vq_embed_dim": 4}))
    (folder / "text/config.json").write_text("no JSON")


def write_models(folder: Path) -> None:
    save_tiny_model(folder / "model")
    shutil.copytree(folder / "model", folder / "cut_model")
    weights = folder / "cut_model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:3000])
    shutil.copytree(folder / "model", folder / "nameless_model")
    (folder / "nameless_model/config.json").unlink()
    (folder / "bert").mkdir()
    (folder / "bert/config.json").write_text('{"model_type": "bert"}')
    save_with_remote_code(pose_model(pose_config()), pose_processor(), folder / "poses")


@pytest.fixture(scope="module")
def w(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrong")
    write_rooms(folder / "rooms")
    write_objects(folder / "objects")
    write_tokenizers(folder)
    write_models(folder)
    (folder / "nothing").mkdir()
    (folder / "file").write_text("a file")
    (folder / "broken.yaml").write_text("a: [1, 2\n")
    (folder / "latin.yaml").write_bytes("output_dir: café".encode("latin-1"))
    (folder / "broken.png").write_bytes((folder / "rooms/rgb/0.png").read_bytes()[:200])
    for name, boxes in BOXES.items():
        (folder / f"{name}.json").write_text(boxes)
    return folder


BOXES = {
    "words": "here and there",
    "word": '{"0.png": "here"}',
    "word_in_box": '{"0.png": [["left", 1, 2, 3]]}',
    "three": '{"0.png": [[1, 2, 3]]}',
    "flat": '{"0.png": [1, 2, 3, 4]}',
}


def tokenizer(w, *changes):
    data = [f"data.index={w}/rooms", "data.depth_scale=1000", "data.batch_size=1"]
    data += ["data.transform.resize=48", "data.transform.crop_size=32", "evaluation.split=train", TOKENIZER]
    return ["sample_rgbd_tokenizer", *data, *COMMON, f"output_dir={w}/out", *changes]


def depth(w, *changes):
    data = {"index": w / "rooms", "depth_scale": 1000, "batch_size": 1, "transform.resize": 48}
    data = [f"tasks.depth.data.{key}={value}" for key, value in (data | {"transform.crop_size": 32}).items()]
    data += [f"tasks.depth.tokenizer={w}/tokenizer", BACKBONE, CONFIG, "evaluation.split=train"]
    return ["sample_rgbd_aitp", *data, *COMMON, f"output_dir={w}/out", *changes]


def on_model(w, name, *changes):
    changes = ["tasks.depth.tokenizer=null", "tasks.depth.settings={}", f"model={{pretrained: {name}}}", *changes]
    return depth(w, *changes)


def on_backbone(w, name):
    return depth(w, "model.backbone_config={}", f"model.backbone={name}")


def masks(w, annotations, images):
    data = f"data.train={{annotations: {annotations}, images: {images}}}"
    return ["sample_coco_mask_tokenizer", data, TOKENIZER, *COMMON, f"output_dir={w}/out"]


def poses(w, boxes):
    model = ["--model", w / "poses", "--task", "keypoint-detection", "--output", w / "out"]
    return [*model, "--boxes", w / f"{boxes}.json", w / "rooms/rgb/0.png"]


def predict(w, *arguments, model="model"):
    return ["--model", w / model, "--task", "depth", "--output", w / "out", *arguments]


def measure(w, *arguments):
    data = ["--data", w / "rooms", "--split", "train", "--depth-scale", "1000", "--output", w / "metrics.json"]
    return ["--task", "depth", *data, *arguments]


def tune(w, *arguments, model="model", data="rooms"):
    folders = ["--model", model if "/" in str(model) else w / model, "--data", w / data, "--output", w / "out"]
    return [*folders, "--depth-scale", "1000", *(arguments or ("--task", "depth"))]


# (command, its arguments, what its one line has to name)
CASES = {
    "no recipe": ("train", lambda w: ["/nowhere.yaml"], "no recipe at /nowhere.yaml"),
    "a folder for a recipe": ("train", lambda w: [w], "no recipe at"),
    "broken YAML": ("train", lambda w: [w / "broken.yaml"], "broken.yaml is not valid YAML"),
    "a recipe in Latin-1": ("train", lambda w: [w / "latin.yaml"], "latin.yaml is not UTF-8"),
    "an unknown key": ("train", lambda w: depth(w, "train.max_stepz=1"), "did you mean max_steps"),
    "a word for a number": ("train", lambda w: depth(w, "optimizer.lr=fast"), "'lr' expected float, got str"),
    "a seed below 0": ("train", lambda w: depth(w, "seed=-1"), "seed must be from 0"),
    "no data": ("train", lambda w: depth(w, "tasks.depth.data.index=/nowhere"), "/nowhere does not exist"),
    "an unknown split": ("train", lambda w: depth(w, "tasks.depth.data.split=night"), "Unknown split 'night'"),
    "an unknown split to evaluate": ("train", lambda w: depth(w, "evaluation.split=night"), "Unknown split 'night'"),
    "no tokenizer": ("train", lambda w: depth(w, "tasks.depth.tokenizer=nowhere"), "no tokenizer at nowhere"),
    "a file for a tokenizer": ("train", lambda w: depth(w, f"tasks.depth.tokenizer={w}/file"), "file is a file"),
    "an empty tokenizer": ("train", lambda w: depth(w, f"tasks.depth.tokenizer={w}/nothing"), "nothing/config.json"),
    "a model for a tokenizer": (
        "train",
        lambda w: depth(w, f"tasks.depth.tokenizer={w}/model"),
        "model is not that of",
    ),
    "a tokenizer of masks": ("train", lambda w: depth(w, f"tasks.depth.tokenizer={w}/masks"), "needs one in 'metre'"),
    "a cut tokenizer": ("train", lambda w: depth(w, f"tasks.depth.tokenizer={w}/cut"), "cut cannot be loaded"),
    "a tokenizer without a weight": (
        "train",
        lambda w: depth(w, f"tasks.depth.tokenizer={w}/lacking"),
        "lacking does not fit its config.json: 1 missing keys, first encoder.conv_out.bias",
    ),
    "a tokenizer of other sizes": ("train", lambda w: depth(w, f"tasks.depth.tokenizer={w}/other"), "other cannot be"),
    "a tokenizer's torn config": ("train", lambda w: depth(w, f"tasks.depth.tokenizer={w}/text"), "text cannot be"),
    "a Hub name of a tokenizer": ("train", lambda w: depth(w, "tasks.depth.tokenizer=you/typo"), "you/typo cannot be"),
    "no model": ("train", lambda w: on_model(w, w / "nowhere"), "nowhere does not exist"),
    "a Hub name of a model": ("train", lambda w: on_model(w, "you/typo"), "you/typo cannot be loaded"),
    "a cut model": ("train", lambda w: on_model(w, w / "cut_model"), "cut_model are truncated or damaged"),
    "a model without config": ("train", lambda w: on_model(w, w / "nameless_model"), "nameless_model/config.json"),
    "another model": ("train", lambda w: on_model(w, w / "bert"), "a 'bert' model, not an AiT model"),
    "a tokenizer for a model": ("train", lambda w: on_model(w, w / "tokenizer"), "tokenizer cannot be loaded"),
    "no backbone": ("train", lambda w: on_backbone(w, w / "nowhere"), "nowhere does not exist"),
    "an empty backbone": ("train", lambda w: on_backbone(w, w / "nothing"), "nothing/config.json does not exist"),
    "a file for a backbone": ("train", lambda w: on_backbone(w, w / "file"), "file is a file"),
    "a Hub name of a backbone": ("train", lambda w: on_backbone(w, "you/typo"), "you/typo cannot be loaded"),
    "a backbone of words": ("train", lambda w: on_backbone(w, w / "bert"), "bert cannot be loaded as a backbone"),
    "an unknown backbone": (
        "train",
        lambda w: depth(w, "model.backbone_config={model_type: resnett}"),
        "'resnett' of section model.backbone_config is no backbone's: did you mean resnet?",
    ),
    "an unknown key of a backbone": (
        "train",
        lambda w: depth(w, "model.backbone_config={model_type: resnet, dephts: [1]}"),
        "did you mean depths?",
    ),
    "a file for the output": ("train", lambda w: depth(w, f"output_dir={w}/file"), "file could not be written"),
    "an output nobody can write": ("train", lambda w: depth(w, "output_dir=/proc/x"), "/proc/x could not be written"),
    "a name that is no repository's": (
        "train",
        lambda w: [*depth(w), "--push_to_hub", "typo"],
        "user/name, got 'typo'",
    ),
    "a Hub out of reach": ("train", lambda w: [*depth(w), "--push_to_hub", "you/new"], "HF_HUB_OFFLINE=1"),
    "no data for a tokenizer": ("train_tokenizer", lambda w: tokenizer(w, "data.index=/nowhere"), "/nowhere"),
    "no tokenizer to go on with": (
        "train_tokenizer",
        lambda w: tokenizer(w, f"model={{pretrained: {w}/nowhere}}"),
        "nowhere does not exist",
    ),
    "a tokenizer of other data": (
        "train_tokenizer",
        lambda w: tokenizer(w, f"model={{pretrained: {w}/masks}}"),
        "unit 'mask'",
    ),
    "maps that codes do not fill": (
        "train_tokenizer",
        lambda w: tokenizer(w, "data.transform.crop_size=[32, 36]"),
        "36 pixels wide, must be a multiple of the 8 pixels",
    ),
    "annotations without objects": (
        "train_tokenizer",
        lambda w: masks(w, w / "objects/empty.json", w / "objects/images"),
        "empty.json",
    ),
    "no annotations": (
        "train_tokenizer",
        lambda w: masks(w, w / "nowhere.json", w / "objects/images"),
        "nowhere.json do not exist",
    ),
    "no pictures": (
        "train_tokenizer",
        lambda w: masks(w, w / "objects/empty.json", w / "none"),
        "none does not exist",
    ),
    "a mistyped Hub name": ("finetune", lambda w: tune(w, model="you/typo"), "you/typo cannot be loaded"),
    "a task of another model": ("finetune", lambda w: tune(w, "--task", "poses"), "was not trained for 'poses'"),
    "no data to tune on": ("finetune", lambda w: tune(w, data="nowhere"), "nowhere"),
    "text for boxes": ("predict", lambda w: poses(w, "words"), "words.json is not a JSON file"),
    "a word for boxes": ("predict", lambda w: poses(w, "word"), "no list of boxes for 0.png"),
    "a word in a box": ("predict", lambda w: poses(w, "word_in_box"), "box 0 of 0.png"),
    "three numbers for a box": ("predict", lambda w: poses(w, "three"), "box 0 of 0.png"),
    "one box for all boxes": ("predict", lambda w: poses(w, "flat"), "box 0 of 0.png"),
    "no picture": ("predict", lambda w: predict(w, w / "none.png"), "none.png does not exist"),
    "a broken picture": ("predict", lambda w: predict(w, w / "broken.png"), "broken.png cannot be read"),
    "a file for predictions": (
        "predict",
        lambda w: [*predict(w, w / "rooms/rgb/0.png"), "--output", w / "file"],
        "file: File exists",
    ),
    "a tokenizer to predict with": (
        "predict",
        lambda w: predict(w, w / "rooms/rgb/0.png", model="tokenizer"),
        "tokenizer cannot be loaded as a saved AiT model",
    ),
    "a tokenizer of masks for depth": (
        "evaluate",
        lambda w: measure(w, "--tokenizer", w / "masks"),
        "is of 'mask', but depth needs one of 'metre'",
    ),
    "a cut tokenizer to measure": ("evaluate", lambda w: measure(w, "--tokenizer", w / "cut"), "cut cannot be loaded"),
    "a folder for results": (
        "evaluate",
        lambda w: [*measure(w, "--model", w / "model"), "--output", w],
        "is a folder: give the name of a file in it",
    ),
    "no recipe to plan": ("plan", lambda w: ["/nowhere.yaml"], "no recipe at /nowhere.yaml"),
    "a plan without its tokenizer": ("plan", lambda w: depth(w, "tasks.depth.tokenizer=none/x"), "none/x"),
    "a file to publish": ("push_to_hub", lambda w: ["--folder", w / "file", "--repo", "you/new"], "no folder"),
    "a cut model to publish": (
        "push_to_hub",
        lambda w: ["--folder", w / "cut_model", "--repo", "you/new"],
        "model.safetensors is damaged",
    ),
    "no checkpoint to convert": (
        "convert_original_checkpoint",
        lambda w: ["--original", w / "none.pth", "--original-config", w / "none.json", "--output", w / "out"],
        "none.json",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_sentence(w, name, capsys, monkeypatch):
    command, arguments, expected = CASES[name]
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", w / "cache")
    before = {path for path in w.rglob("*") if "cache" not in path.parts}
    with pytest.raises(SystemExit) as caught:
        load_main(command)([str(argument) for argument in arguments(w)])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and "Traceback" not in error
    sentence = error.splitlines()[-1]
    assert sentence.startswith(f"{command}.py: ") and expected in sentence, error
    assert {path for path in w.rglob("*") if "cache" not in path.parts} == before


ARGUMENTS = {
    "an unknown device": ("predict", ["--device", "tpu9"], "tpu9 is no device of this machine"),
    "a device that is not there": ("predict", ["--device", "mps"], "mps is no device of this machine"),
    "a batch of nothing": ("predict", ["--batch-size", "0"], "0 is not positive"),
    "a seed of words": ("train", ["--seed", "lucky"], "invalid seed value: 'lucky'"),
    "a seed below 0 for predictions": ("predict", ["--seed", "-1"], "-1 is not in 0..4294967295"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_alone(name, capsys):
    command, arguments, expected = ARGUMENTS[name]
    given = ["demo_ait"] if command == "train" else ["--model", "m", "--task", "depth", "--output", "o", "photo.jpg"]
    with pytest.raises(SystemExit, match="2"):
        load_main(command)([*given, *arguments])
    assert expected in capsys.readouterr().err
