# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Trained models that the package brings are found by name, wherever a model is asked for."""

import pytest
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
