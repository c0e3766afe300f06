# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""docs/new_task.md, from its first command to its last: files as they stand there, trainings of two steps."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from snippets import read_snippets, run

from ait_hf.metrics.maps import ANGLE_ERRORS


SNIPPETS = read_snippets("docs/new_task.md")
FEW_STEPS = ["train={max_steps: 2, trackers: []}", "evaluation.num_samples=2"]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Runs the whole guide. Gives its folder and what every script or snippet printed, by the task's name in it."""
    folder = tmp_path_factory.mktemp("guide")
    write_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for snippet in SNIPPETS:
            if snippet.kind == "yaml":
                Path(re.match(r"# (\S+)\n", snippet.code)[1]).write_text(snippet.code, encoding="utf-8")
            for command in snippet.commands() if snippet.kind == "bash" else ():
                few = ["2" if before == "--limit" else word for before, word in zip(["", *command], command)]
                run(few, *(FEW_STEPS if command[1] == "train" else ()))
    return folder


def write_data(folder: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (72, 100, 3), dtype=np.uint8)).save(folder / "photo.jpg")
    for split, number in (("train", 20), ("val", 3)):
        for kind in ("images", "maps"):
            (folder / "my-reflectance" / split / kind).mkdir(parents=True)
        for name in range(number):
            reflectance = rng.integers(1, 256, (4, 4, 3), dtype=np.uint8).repeat(18, axis=0).repeat(20, axis=1)
            light = rng.uniform(0.3, 1.0, reflectance.shape[:2])[..., None]
            Image.fromarray((reflectance * light).astype(np.uint8)).save(
                folder / f"my-reflectance/{split}/images/{name}.jpg"
            )
            Image.fromarray(reflectance).save(folder / f"my-reflectance/{split}/maps/{name}.png")


def read_results(path: Path) -> dict[str, dict[str, float]]:
    return json.loads(path.read_text())["results"]


def test_models_and_tokenizers_are_there(output):
    for folder in ("rooms/normals_tokenizer", "rooms/normals_aitp", "reflectance/tokenizer", "reflectance/model"):
        assert (output / "runs" / folder / "recipe.yaml").is_file()


def test_normals_are_drawn(output):
    assert np.asarray(Image.open(output / "normals.png")).std() > 10


def test_reflectance_is_measured_and_drawn(output):
    results = read_results(output / "metrics.json")
    model, tokenizer = results["as the checkpoint says"], results["the model's tokenizer"]
    assert not set(ANGLE_ERRORS) & set(model)
    assert 0 < model["rmse"] < 1 and 0 < tokenizer["rmse"] < 1 and 1 <= tokenizer["perplexity"] <= 128
    assert np.asarray(Image.open(output / "reflectance.png")).std() > 10


def test_predictions_have_the_size_of_the_photograph(output):
    values = np.load(output / "predictions/photo_reflectance.npy")
    picture = np.asarray(Image.open(output / "predictions/photo_reflectance.png"))
    assert sorted(values.shape) == [3, 72, 100] and picture.shape == (72, 100, 3)


def test_python(output, monkeypatch, capsys):
    monkeypatch.chdir(output)
    (snippet,) = (snippet for snippet in SNIPPETS if snippet.kind == "python")
    snippet.run_python()
    assert capsys.readouterr().out == "torch.Size([3, 72, 100]) torch.Size([72, 100])\n"
