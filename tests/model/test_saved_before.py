# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What 0.1.0 saved is loaded, predicts the same and trains on; `tests/fixtures/save_checkpoint.py` wrote it."""

import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from strangers import run_as_stranger
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from ait_hf import AiTForDenseTokenGeneration, AiTImageProcessor, AiTPoseImageProcessor
from ait_hf.inference.loading import load_tokenizer
from ait_hf.recipes.parsing import load_recipe
from ait_hf.training.solver import SolverRecipe, train_solver


FIXTURE = Path(__file__).parents[1] / "fixtures/saved_by_0.1.0.zip"
CLOSE = {"rtol": 1e-6, "atol": 1e-6, "check_dtype": False}  # solvers compute in 64 bits here, tokenizers in 32
# What a stranger runs, who has the folder but not the package: its own code answers.
STRANGER = """
import sys
sys.modules["ait_hf"] = None
import torch
from transformers import AutoModel

folder, pixels, output = sys.argv[1:]
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
model.model.double(), model.lm_head.double()
outputs = {task: model.generate(pixel_values=torch.load(pixels).double(), task=task) for task in model.config.tasks}
tensors = {f"{task}/{key}": value for task in outputs for key, value in outputs[task].items()}
torch.save({key: value for key, value in tensors.items() if isinstance(value, torch.Tensor)}, output)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    zipfile.ZipFile(FIXTURE).extractall(folder)
    return folder


@pytest.fixture(scope="module")
def expected(saved) -> dict[str, torch.Tensor]:
    return load_file(saved / "predictions.safetensors")


def of(expected: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in expected.items() if key.startswith(prefix)}


@pytest.mark.parametrize("name", ["model", "parallel"])
def test_models_predict_the_same(saved, expected, name):
    model, report = AutoModel.from_pretrained(saved / name, output_loading_info=True)
    assert type(model) is AiTForDenseTokenGeneration
    assert not report["missing_keys"] and not report["unexpected_keys"]
    model.model.double(), model.lm_head.double()
    for task in model.config.tasks:
        outputs = model.generate(pixel_values=expected["pixel_values"].double(), task=task)
        for key, value in of(expected, f"{name}/{task}/").items():
            if key == "sequences":  # which begin with the start token since 0.2.0
                assert torch.equal(outputs.sequences[:, -value.shape[1] :], value), task
            elif key != "uncertainty":  # which was the entropy of the tokens
                torch.testing.assert_close(outputs[key], value, **CLOSE)


def test_the_code_that_travels_along_answers_where_there_is_no_package(saved, expected, tmp_path):
    torch.save(expected["pixel_values"], tmp_path / "pixels.pt")
    cache = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    theirs = run_as_stranger(STRANGER, tmp_path, saved / "model", tmp_path / "pixels.pt", **cache)
    wanted = {key: value for key, value in of(expected, "model/").items() if not key.startswith("tokenizers/")}
    assert theirs.keys() == wanted.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(theirs[key], value, **CLOSE)


def test_tokenizers_rebuild_the_same(saved, expected):
    model = AutoModel.from_pretrained(saved / "model")
    for name, inside in model.tokenizers.items():
        alone = load_tokenizer(str(saved / "model/tokenizers" / name))
        ids = expected[f"model/tokenizers/{name}/ids"]
        for tokenizer in (inside, alone):
            sample = tokenizer.detokenize(ids=ids)
            torch.testing.assert_close(sample, expected[f"model/tokenizers/{name}/sample"], **CLOSE)


def test_configuration_and_processors_are_found(saved):
    config = AutoConfig.from_pretrained(saved / "model")
    assert config.class_names("semantic-segmentation") == ["wall", "floor", "chair"]
    assert type(AutoImageProcessor.from_pretrained(saved / "model")) is AiTImageProcessor
    poses = AutoImageProcessor.from_pretrained(saved / "model", subfolder="image_processors/keypoint-detection")
    assert type(poses) is AiTPoseImageProcessor


def test_a_training_goes_on(saved, expected, monkeypatch):
    """From its checkpoint after two steps, with its own recipe; the loss of the next two is what it was."""
    monkeypatch.chdir(saved)
    history = train_solver(load_recipe("run/recipe.yaml", SolverRecipe))
    losses = {row["step"]: row["loss"] for row in history if "loss" in row}
    assert list(losses) == [2, 4]
    assert losses[4] == pytest.approx(expected["run/loss_of_step_4"].item(), rel=1e-5)
