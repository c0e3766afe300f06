# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Trainings of a dense task of one's own: tokenizer and task-solver on files, and what recipes refuse."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from data_sections import data_section
from PIL import Image
from training_runs import TINY_RESNET
from transformers import AutoModel

from ait_hf import AiTForDenseTokenGeneration, VQTokenizer
from ait_hf.inference.loading import load_model_and_processor
from ait_hf.metrics.maps import map_errors
from ait_hf.recipes.parsing import load_recipe
from ait_hf.tasks.maps.task import Maps
from ait_hf.training.solver import SolverRecipe, train_solver
from ait_hf.training.solver_model import build_solver
from ait_hf.training.tokenizer import TokenizerRecipe, train_tokenizer


SHORT = [
    "evaluation={split: val, batch_size: 2}",
    "train={max_steps: 4, log_every: 2, trackers: []}",
]
TINY_TOKENIZER = {"downsample_ratio": 8, "base_channels": 2, "num_vq_embeddings": 16, "vq_embed_dim": 8}
TINY_SOLVER = [
    TINY_RESNET,
    "model.config={num_coordinate_bins: 0, num_classes: 0, d_model: 16, encoder_layers: 1, decoder_layers: 1, "
    "num_heads: 2, ffn_dim: 32, dropout: 0.0, drop_path_rate: 0.0, max_position_embeddings: 65}",
]
HEAT = {"name": "map_folder", "unit": "kelvin", "num_channels": 2, "batch_size": 2, "transform": {"crop_size": 32}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Six images of 36x40 pixels with a map of two channels each, the brightness of red and of green."""
    folder = tmp_path_factory.mktemp("heat")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "maps"):
            (folder / split / kind).mkdir(parents=True)
        for number in range(6):
            image = rng.integers(1, 256, (9, 10, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
            Image.fromarray(image).save(folder / f"{split}/images/{number}.png")
            np.save(folder / f"{split}/maps/{number}.npy", image[..., :2].astype(np.float32) / 100)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "tokenizer"
    overrides = [f"data={json.dumps(HEAT | {'path': str(folder)})}", f"model.config={json.dumps(TINY_TOKENIZER)}"]
    recipe = load_recipe("rooms_normals_tokenizer", TokenizerRecipe, [*SHORT, *overrides])
    recipe.output_dir = str(path)
    (*_, last) = train_tokenizer(recipe)
    assert 0 < last["eval_rmse"] < 3 and 1 <= last["eval_perplexity"] <= 16
    return path


def solver_recipe(folder: Path, tokenizer: Path, output: Path, *overrides: str, **task) -> SolverRecipe:
    section = {"kind": "map", "data": HEAT | {"path": str(folder)}, "tokenizer": str(tokenizer)} | task
    overrides = [f"tasks={json.dumps({'heat': section})}", f"output_dir={output}", *TINY_SOLVER, *overrides]
    return load_recipe("rooms_normals_aitp", SolverRecipe, [*SHORT, *overrides])


def test_a_tokenizer_takes_channels_and_unit_from_the_data(tokenizer):
    config = VQTokenizer.from_pretrained(tokenizer).config
    assert (config.in_channels, config.out_channels, config.unit, config.sample_size) == (2, 2, "kelvin", 32)


@pytest.mark.parametrize("parallel", [True, False])
def test_a_model_of_an_own_task(folder, tokenizer, tmp_path, parallel):
    history = train_solver(solver_recipe(folder, tokenizer, tmp_path, f"model.parallel={json.dumps(parallel)}"))
    assert 0 < history[-1]["eval_heat/rmse"] < 10 and "heat/auxiliary" in history[0]
    model, processor = load_model_and_processor(tmp_path, "heat")
    assert type(AutoModel.from_pretrained(tmp_path)) is AiTForDenseTokenGeneration
    assert model.config.codebooks == [["heat", 16]]
    assert model.config.task("heat").output_type == "map" and model.config.task("heat").grid_size == [4, 4]
    image = Image.open(folder / "val/images/0.png")
    inputs = processor(image, return_tensors="pt")
    assert model.generate(**inputs, task="heat").predicted_map.shape == (1, 2, 32, 32)


def test_evaluation_measures_what_generate_gives(folder, tokenizer, tmp_path):
    recipe = solver_recipe(folder, tokenizer, tmp_path)
    torch.manual_seed(0)
    model, task = build_solver(recipe.tasks, recipe.model).eval(), recipe.tasks["heat"]
    stream = task.stream(model.config.task("heat"))
    rows = stream.data.load("val")
    batch = stream.collate([stream.eval_transform(rows[number]) for number in range(6)])
    loader = [{key: values[part] for key, values in batch.items()} for part in (slice(0, 4), slice(4, 6))]
    with torch.no_grad():
        accelerator = Accelerator(cpu=True)
        result = task.evaluate(model, task.processor(), loader, recipe.evaluation, accelerator=accelerator)
        maps = model.generate(pixel_values=batch["pixel_values"], task="heat").predicted_map
    expected = map_errors(maps, batch["labels"], unit="kelvin")["rmse"]
    assert result["rmse"] == pytest.approx(expected.mean().item(), rel=1e-5)


def test_the_auxiliary_loss_may_be_left_out(folder, tokenizer, tmp_path):
    recipe = solver_recipe(folder, tokenizer, tmp_path, settings={"auxiliary_loss": None})
    assert build_solver(recipe.tasks, recipe.model).config.task("heat").auxiliary_loss is None


def test_unit_vectors_are_judged_by_angles():
    data = data_section(
        "map_folder", path="there", unit="unit_vector", num_channels=3, batch_size=1, transform={"crop_size": 32}
    )
    task = Maps(name="normals", data=data)
    assert (task.best_metric, task.codebook, task.unit) == ("mean_angle", "normals", "unit_vector")


def test_a_section_of_a_hub_data_set(tmp_path):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(1, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(2)]
    table = datasets.Dataset.from_dict({"photo": images, "heat": images})
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path)
    data = data_section(
        "map_hub",
        path=str(tmp_path),
        image_column="photo",
        map_column="heat",
        unit="kelvin",
        num_channels=3,
        scale=0.5,
        batch_size=1,
        transform={"crop_size": 8, "flip_p": 0.0, "color_p": 0.0},
    )
    stream = data.stream()
    sample = stream.train_transform(data.load_for_training()[1])
    torch.testing.assert_close(sample["labels"], sample["pixel_values"] * 127.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "metre"}, "unit 'metre' is that of depth"),
        ({"num_channels": 0}, "num_channels of 'kelvin' must be at least 1"),
        ({"unit": "unit_vector", "num_channels": 1}, "num_channels of 'unit_vector' must be at least 2"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"map_column": "heat"}, "Unknown key 'map_column' in section tasks.heat.data"),
        ({"name": "map_foldr"}, "tasks.heat.data.name must be one of .*map_folder"),
    ],
)
def test_bad_sections_are_refused(folder, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        solver_recipe(folder, tmp_path, tmp_path, data=HEAT | {"path": str(folder)} | changes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"unit": "pascal"}, "is of maps in 'kelvin'; this task needs one in 'pascal'"),
        ({"num_channels": 3}, r"tasks.heat.tokenizer has 2 channel\(s\), but the maps of tasks.heat.data have 3"),
        ({"transform": {"crop_size": 36}}, "must be a multiple of the tokenizer's 8 pixels per code"),
    ],
)
def test_a_tokenizer_of_something_else_is_refused(folder, tokenizer, tmp_path, data, message):
    recipe = solver_recipe(folder, tokenizer, tmp_path, data=HEAT | {"path": str(folder)} | data)
    with pytest.raises(ValueError, match=message):
        build_solver(recipe.tasks, recipe.model)


@pytest.mark.parametrize("name", ["depth", "labels", "two words", "1st"])
def test_names_that_are_taken_or_no_names(folder, name):
    tasks = {name: {"kind": "map", "data": HEAT | {"path": str(folder)}}}
    with pytest.raises(ValueError, match=f"In section tasks.{name}: {name!r} cannot be the name of an own task"):
        load_recipe("rooms_normals_aitp", SolverRecipe, [f"tasks={json.dumps(tasks)}"])
