# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Trained models that the package brings are found by name, wherever a model is asked for."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from saved_model import save_tiny_model
from transformers import pipeline

import ait_hf
from ait_hf.recipes.parsing import build
from ait_hf.training.solver_model import SolverModelRecipe
from ait_hf_cli import evaluate, finetune, main, models, predict


ARGUMENTS = {
    predict: ["--task", "depth", "--output", "out", "photo.jpg"],
    evaluate: ["--task", "depth", "--data", "synthetic"],
    finetune: ["--task", "depth", "--data", "frames", "--output", "out"],
}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package that brings a tiny model called toy."""
    folder = save_tiny_model(tmp_path / "package/checkpoints/toy")
    monkeypatch.setattr(models, "CHECKPOINTS", folder.parent)
    monkeypatch.chdir(tmp_path)
    return folder


def test_its_folder_is_what_pipelines_take(toy):
    estimate = pipeline("depth-estimation", model=ait_hf.pretrained("toy"))
    assert estimate.model.config.tasks.keys() == {"depth"}


def test_an_unknown_name_is_refused_with_those_that_there_are(toy):
    with pytest.raises(ValueError, match="The package brings no model 'rooom', but toy"):
        ait_hf.pretrained("rooom")


@pytest.mark.parametrize("verb", ARGUMENTS, ids=lambda verb: verb.__name__)
def test_every_command_takes_the_name(toy, verb):
    assert verb.parse_arguments(["--model", "toy", *ARGUMENTS[verb]], None).model == str(toy)
    assert verb.parse_arguments(["--model", "user/toy", *ARGUMENTS[verb]], None).model == "user/toy"


@pytest.mark.parametrize("verb", ARGUMENTS, ids=lambda verb: verb.__name__)
def test_a_folder_of_that_name_comes_first(toy, verb, tmp_path):
    (tmp_path / "toy").mkdir()
    assert verb.parse_arguments(["--model", "toy", *ARGUMENTS[verb]], None).model == "toy"


@pytest.mark.parametrize("key", ["pretrained", "initialize_from"])
def test_recipes_take_the_name(toy, key):
    assert getattr(build(SolverModelRecipe, {key: "toy"}), key) == str(toy)


def test_what_the_package_brings_is_not_calibrated(toy, capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--model", "toy", "--task", "depth", "--data", "synthetic", "--limit", "1", "--calibrate"])
    assert f"copy {toy} and give the copy" in capsys.readouterr().err


# Of 32 test rooms (without people, but of classes in every second one; of poses people), soft tokens; measured when the model was put into the package.
MEASURED = {
    "depth": ("synthetic", "rmse", 0.441),
    "instance-segmentation": ("synthetic", "segm_AP50", 0.853),
    "semantic-segmentation": ("rooms", "mIoU", 0.787),
    "keypoint-detection": ("rooms", "AP", 0.449),
}


@pytest.mark.parametrize("task", MEASURED)
def test_rooms_sees_test_rooms_as_well_as_when_it_was_trained(task, tmp_path):
    data, name, expected = MEASURED[task]
    output = tmp_path / "metrics.json"
    what = ["--task", task, "--data", data, "--split", "test", "--limit", "32", "--batch-size", "32"]
    main(["evaluate", "--model", "rooms", *what, "--output", str(output)])
    (measured,) = json.loads(output.read_text())["results"].values()
    assert measured[name] == pytest.approx(expected, rel=0.01)


def test_rooms_is_small_and_float32_and_has_no_code():
    folder = Path(ait_hf.pretrained("rooms"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files if path.name != "README.md") <= 5_000_000
    assert not [path for path in files if path.suffix == ".py" or "auto_map" in path.read_bytes().decode("latin-1")]
    weights = load_file(folder / "model.safetensors").values()
    assert {tensor.dtype for tensor in weights if tensor.is_floating_point()} == {torch.float32}
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "apache-2.0" and card.data.library_name == "transformers"
