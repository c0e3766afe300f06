# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""`ait evaluate --calibrate`: the temperature of the uncertainty, fitted, saved and used."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from models_of_kinds import ROOMS, save_model
from saved_model import picture, save_tiny_model, tiny_model

from ait_hf import AiTConfig
from ait_hf.commands.evaluate import main
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.inference.loading import load_model_and_processor
from ait_hf.model.quantization_ait import apply_temperature
from ait_hf.recipes.parsing import build
from ait_hf.tasks.base import Kind
from ait_hf.tasks.depth.prediction import predict_depth
from ait_hf.tasks.depth.task import Depth
from ait_hf.tasks.maps.task import Maps
from ait_hf.training.solver_model import SolverModelRecipe, build_solver


DATA = {"name": "synthetic", "size": [96, 96], "batch_size": 1, "transform": {"crop_size": [96, 96]}}


def save_model_of_frequencies(folder: Path, name: str, task: Kind, num_samples: int, sharpness: float) -> Path:
    """A model that, whatever it sees, holds codes as likely as they are in the data, but not at temperature 1."""
    model, processor = load_model_and_processor(save_model(name, folder), task.name)
    tokenizer = model.task_tokenizer(task.name)
    labels = task.collate(list(task.data.examples("test", num_samples)), processor)["labels"]
    labels = [label.reshape(1, -1, *label.shape[-2:]) for label in labels]
    maps = torch.cat([torch.nn.functional.interpolate(label, size=(96, 96), mode="nearest-exact") for label in labels])
    tokenizer.init_codebook(maps)  # else one code is the nearest of all
    counts = tokenizer.tokenize(maps).flatten().bincount(minlength=tokenizer.config.num_vq_embeddings) + 1e-4
    codes = model.grammar(task.name).code_range
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.bias[codes.start : codes.stop] = sharpness * counts.log()
    save_with_remote_code(model, processor, folder)
    return folder


def calibrate(model: Path | str, folder: Path, *more: str) -> dict:
    given = ["--model", str(model), "--task", "depth", "--data", "synthetic", "--split", "test", "--limit", "4"]
    main([*given, "--output", str(folder / "metrics.json"), "--calibrate", *more])
    return json.loads((folder / "metrics.json").read_text())["results"]["as the checkpoint says"]


def test_temperature_is_fitted_saved_and_changes_the_uncertainty_alone(tmp_path, capsys):
    folder = save_model_of_frequencies(
        tmp_path / "model", "depth", build(Depth, {"name": "depth", "data": DATA}), 4, 2.0
    )
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    raw = load_model_and_processor(folder)
    # As of an earlier version: neither the configuration nor the code beside it knows the field.
    config = json.loads(before["config.json"])
    assert config["tasks"]["depth"].pop("entropy_temperature") == 1.0
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "configuration_ait.py").write_text("# of an earlier version\n")
    assert AiTConfig.from_pretrained(folder).task("depth").entropy_temperature == 1.0

    result = calibrate(folder, tmp_path)
    assert result["entropy_temperature"] == pytest.approx(0.5, rel=0.01)
    assert 0 < result["code_nll_calibrated"] < result["code_nll"]
    said = f"Wrote entropy_temperature {result['entropy_temperature']:.4g} "
    assert said in capsys.readouterr().out
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    expected = json.loads(before.pop("config.json"))
    expected["tasks"]["depth"]["entropy_temperature"] = result["entropy_temperature"]
    assert json.loads(after.pop("config.json")) == expected and after == before

    calibrated = load_model_and_processor(folder)
    images = [picture(96, 96)]
    (plain,), (fitted,) = predict_depth(*raw, images), predict_depth(*calibrated, images)
    assert torch.equal(plain["predicted_depth"], fitted["predicted_depth"])
    assert (fitted["uncertainty"] > plain["uncertainty"]).all()
    outputs = calibrated[0].generate(**calibrated[1](images, return_tensors="pt"))
    weights = apply_temperature(outputs.soft_tokens, result["entropy_temperature"])[0]
    values = calibrated[0].tokenizers["depth"].code_values()[:, 0]
    variance = (weights * (values - (weights @ values)[:, None]).square()).sum(-1)
    np.testing.assert_allclose(outputs.uncertainty[0, 16::32, 16::32].flatten(), variance.sqrt(), rtol=0.05)
    # Fitted again, it is the same: of the probabilities, not of what the last fit made of them.
    assert calibrate(folder, tmp_path)["entropy_temperature"] == result["entropy_temperature"]
    tuned = build_solver({"depth": build(Depth, {"name": "depth", "data": DATA})}, SolverModelRecipe(str(folder)))
    assert tuned.config.task("depth").entropy_temperature == 1.0  # of other weights


def test_own_maps_are_calibrated_too(tmp_path):
    section = {"kind": "map", "data": {"name": "synthetic_normals", "transform": {"crop_size": 96}, **ROOMS}}
    task = build(Maps, {"name": "normals", **section})
    model = save_model_of_frequencies(tmp_path / "model", "normals", task, 2, 0.5)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({"tasks": {"normals": section}}))
    result = calibrate(model, tmp_path, "--task", "normals", "--data", str(recipe), "--limit", "2")
    assert result["entropy_temperature"] == pytest.approx(2, rel=0.01)
    assert AiTConfig.from_pretrained(model).task("normals").entropy_temperature == result["entropy_temperature"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("calibration") / "model")


@pytest.mark.parametrize(
    "options, problem",
    [
        (["--modes", "all"], "--calibrate needs --model, and fits one mode: leave out --modes all"),
        (["--protocol", "tta"], "which windows do not share: leave out --protocol tta"),
        (["--model", "user/model"], "user/model is no folder with one to write into"),
        (["--task", "keypoint-detection"], "which keypoint-detection does not have"),
        (["--task", "object-detection"], "which object-detection does not have"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(options, problem, saved, tmp_path, capsys):
    config = (saved / "config.json").read_bytes()
    with pytest.raises(SystemExit):
        calibrate(saved, tmp_path, *options)
    assert problem in capsys.readouterr().err
    assert (saved / "config.json").read_bytes() == config and not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_is_positive_and_finite(temperature):
    values = tiny_model()[0].config.to_dict()
    values["tasks"]["depth"]["entropy_temperature"] = temperature
    with pytest.raises(Exception, match="entropy_temperature must be above 0 and finite"):
        AiTConfig.from_dict(values)
