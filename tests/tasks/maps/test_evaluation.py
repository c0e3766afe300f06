# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Evaluation of dense tasks of one's own: against the errors of what `generate()` gives, and the command line."""

import json
import re

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny import tiny_config

from ait_hf import AiTForDenseTokenGeneration, AiTImageProcessor, VQTokenizer
from ait_hf.commands.evaluate import main as evaluate
from ait_hf.data.map_transforms import MapEvalTransform
from ait_hf.data.maps import MapFolder
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.metrics.maps import map_errors
from ait_hf.tasks.maps.evaluation import (
    evaluate_map_tokenizer,
    evaluate_maps,
    map_collator,
    map_gallery_rows,
    reconstruct_map,
    task_tokenizer,
)


SIZE = 32
TOKENIZER = {
    "in_channels": 3,
    "out_channels": 3,
    "downsample_ratio": 8,
    "base_channels": 2,
    "vq_embed_dim": 12,
    "num_vq_embeddings": 20,
    "num_res_blocks": 1,
    "sample_size": SIZE,
    "unit": "unit_vector",
}
TASK = {
    "task_id": 5,
    "slots": ["normals"],
    "output_type": "map",
    "grid_size": [4, 4],
    "image_size": [SIZE, SIZE],
    "auxiliary_loss": "smooth_l1",
}
DATA = {
    "name": "map_folder",
    "unit": "unit_vector",
    "num_channels": 3,
    "scale": 2 / 255,
    "offset": -1.0,
    "batch_size": 2,
    "transform": {"crop_size": SIZE},
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A folder whose split `val` has five images of two sizes with normals as pictures of 8 bits."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for kind in ("images", "maps"):
        (folder / "val" / kind).mkdir(parents=True)
    for number, size in enumerate([(40, 48), (40, 48), (32, 32), (40, 48), (32, 32)]):
        vectors = rng.normal(size=(*size, 3))
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        stored = np.maximum(((vectors + 1) * 127.5).round(), 1).astype(np.uint8)
        stored[: size[0] // 4] = 0
        Image.fromarray(stored).save(folder / f"val/maps/{number}.png")
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"val/images/{number}.png")
    return folder


@pytest.fixture(scope="module")
def samples(pairs):
    transform = MapEvalTransform("map", "unit_vector", 3)
    maps = MapFolder(pairs / "val", scale=2 / 255, offset=-1)
    return [transform(maps[number]) for number in range(len(maps))]


@pytest.fixture(scope="module")
def model_and_processor():
    torch.manual_seed(0)
    config = tiny_config(
        tokenizers={"normals": TOKENIZER},
        tasks={"normals": TASK},
        codebooks=[["normals", 20]],
        num_task_ids=6,
        parallel=True,
    )
    model = AiTForDenseTokenGeneration(config).eval()
    torch.nn.init.normal_(model.tokenizers["normals"].quantizer.embedding.weight)
    torch.nn.init.normal_(model.lm_head.weight)
    return model, AiTImageProcessor(size={"height": SIZE, "width": SIZE}, do_normalize=False)


@pytest.fixture(scope="module")
def tokenizer(model_and_processor):
    return model_and_processor[0].tokenizers["normals"]


@pytest.fixture(scope="module")
def saved(model_and_processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_with_remote_code(*model_and_processor, folder / "model")
    model_and_processor[0].tokenizers["normals"].save_pretrained(folder / "tokenizer")
    return folder


def test_errors_are_those_of_generated_maps_at_the_size_of_the_truth(model_and_processor, samples):
    model, processor = model_and_processor
    result = evaluate_maps(model, processor, [map_collator(samples[:3]), map_collator(samples[3:])], task="normals")
    errors = []
    for sample in samples:
        images = processor(sample["pixel_values"], do_rescale=False, return_tensors="pt")["pixel_values"]
        maps = model.generate(pixel_values=images, task="normals").predicted_map
        size = tuple(sample["labels"].shape[-2:])
        maps = torch.nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
        errors.append(map_errors(maps, sample["labels"][None], unit="unit_vector"))
    for name in ("rmse", "mae", "mean_angle", "median_angle", "within_30"):
        assert result[name] == pytest.approx(np.mean([error[name].item() for error in errors]), rel=1e-4)
    assert result["num_images"] == 5


def test_a_tokenizer_is_measured_by_what_it_rebuilds(tokenizer, samples):
    result = evaluate_map_tokenizer(tokenizer, [map_collator(samples)])
    errors, ids = [], []
    for sample in samples:
        codes = tokenizer.tokenize(sample["labels"][None])
        errors.append(map_errors(tokenizer.detokenize(ids=codes), sample["labels"][None], unit="unit_vector"))
        ids += codes.flatten().tolist()
    assert result["mean_angle"] == pytest.approx(np.mean([error["mean_angle"].item() for error in errors]), rel=1e-5)
    assert result["code_usage"] == len(set(ids)) / 20


@pytest.mark.parametrize("channels", [1, 3])
def test_maps_in_metres_are_measured_as_maps_by_whoever_asks_for_it(channels):
    tokenizer = VQTokenizer(**TOKENIZER | {"in_channels": channels, "out_channels": channels, "unit": "metre"}).eval()
    values = torch.rand(channels, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) + 0.1
    result = evaluate_map_tokenizer(tokenizer, [{"labels": [values]}])
    rebuilt, _ = reconstruct_map(tokenizer, values)
    assert result["mae"] == pytest.approx((rebuilt - values).abs().mean().item(), rel=1e-4)


def test_a_kind_says_how_its_maps_are_rebuilt(tokenizer, samples):
    perfect = evaluate_map_tokenizer(
        tokenizer, [map_collator(samples)], reconstruct=lambda values: (values, torch.tensor([[0, 1]]))
    )
    assert perfect["mean_angle"] < 0.1 and perfect["perplexity"] == pytest.approx(2)


def test_sizes_that_are_no_whole_codes_are_padded(tokenizer):
    values = torch.nn.functional.normalize(torch.randn(3, 21, 35, generator=torch.Generator().manual_seed(0)), dim=0)
    rebuilt, ids = reconstruct_map(tokenizer, values, (21, 35))
    assert rebuilt.shape == values.shape and ids.shape == (3, 5)
    rebuilt, ids = reconstruct_map(tokenizer, values, (SIZE, SIZE))
    assert rebuilt.shape == values.shape and ids.shape == (4, 4)


def test_gallery_rows_are_the_samples_beside_their_predictions(model_and_processor, samples):
    rows = map_gallery_rows(*model_and_processor, map_collator(samples[1:3]), task="normals")
    for row, sample in zip(rows, samples[1:3]):
        assert row["image"].dtype == np.uint8
        np.testing.assert_allclose(row["image"] / 255, sample["pixel_values"].permute(1, 2, 0), atol=1e-6)
        np.testing.assert_array_equal(row["truth"], sample["labels"].permute(1, 2, 0))
        assert row["prediction"].shape == row["truth"].shape and row["uncertainty"].shape == row["truth"].shape[:2]


def test_other_tasks_are_no_maps():
    model = AiTForDenseTokenGeneration(tiny_config())
    with pytest.raises(ValueError, match="The output of 'depth' is of the type 'depth', but map is needed"):
        task_tokenizer(model, "depth")


def write_recipe(path, pairs, task="normals", **changes):
    path.write_text(yaml.safe_dump({"tasks": {task: {"kind": "map", "data": DATA | {"path": str(pairs)} | changes}}}))
    return path


def test_the_command_line(saved, pairs, tmp_path):
    evaluate(
        [
            *("--model", str(saved / "model"), "--tokenizer", str(saved / "tokenizer"), "--task", "normals"),
            *("--data", str(write_recipe(tmp_path / "recipe.yaml", pairs)), "--split", "val", "--batch-size", "2"),
            *("--modes", "all", "--tokenizer-reconstruction"),
            *("--output", str(tmp_path / "metrics.json"), "--gallery", str(tmp_path / "gallery.png")),
        ]
    )
    results = json.loads((tmp_path / "metrics.json").read_text())["results"]
    assert list(results) == ["hard", "soft", "tokenizer", "the model's tokenizer"]
    assert results["tokenizer"] == results["the model's tokenizer"]
    assert all(0 < result["mean_angle"] < 180 and result["num_images"] == 5 for result in results.values())
    assert np.asarray(Image.open(tmp_path / "gallery.png")).std() > 10


def test_a_tokenizer_alone_with_its_own_recipe(saved, pairs, tmp_path):
    recipe = tmp_path / "tokenizer.yaml"
    recipe.write_text(yaml.safe_dump({"output_dir": "there", "data": DATA | {"path": str(pairs)}}))
    arguments = ["--tokenizer", saved / "tokenizer", "--task", "normals", "--data", recipe, "--split", "val"]
    evaluate([str(argument) for argument in [*arguments, "--limit", 2, "--output", tmp_path / "metrics.json"]])
    assert json.loads((tmp_path / "metrics.json").read_text())["results"]["tokenizer"]["num_images"] == 2


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (["--data", "synthetic", "--split", "val"], {}, "give --data RECIPE.yaml"),
        ([], {}, "Give the --split"),
        (["--split", "val", "--eigen-crop"], {}, "--eigen-crop has no meaning for"),
        (["--split", "test"], {}, "test/images does not exist"),
        (["--split", "val"], {"task": "heat"}, "no section tasks.normals; its tasks are: heat"),
        (["--split", "val"], {"num_channels": 1, "unit": "kelvin"}, "of 3 channel.s. in 'unit_vector', but the data"),
        (["--split", "val"], {"unit": "metre"}, "is that of depth"),
        (["--split", "val", "--task", "normal"], {}, "Unknown task 'normal': this model was built for .'normals'."),
    ],
)
def test_mistakes_on_the_command_line(saved, pairs, tmp_path, capsys, arguments, changes, message):
    recipe = write_recipe(tmp_path / "recipe.yaml", pairs, **changes)
    given = ["--model", str(saved / "model"), "--task", "normals", "--data", str(recipe), *arguments]
    with pytest.raises(SystemExit) as caught:
        evaluate([*given, "--output", str(tmp_path / "metrics.json")])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error)
    assert not (tmp_path / "metrics.json").exists()
