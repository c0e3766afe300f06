# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a training says of its model is what `ait evaluate` says of it, of every kind."""

import json
from pathlib import Path

import pytest
from models_of_kinds import MEASURED, ROOMS, save_model
from tiny_objects import DETECTION, INSTANCES
from tiny_pose import POSES

from ait_hf.commands.evaluate import main as evaluate
from ait_hf.recipes.parsing import build
from ait_hf.training.solver import SolverRecipe, train_solver


def trained(folder: Path, task: str, section: dict, pretrained: Path, evaluation: dict) -> dict[str, float]:
    """What the last row of the history has of the task, after a step that hardly changes anything."""
    values = {
        "output_dir": str(folder),
        "tasks": {task: section},
        "model": {"pretrained": str(pretrained)},
        "optimizer": {"name": "adamw", "lr": 1e-6},
        "train": {"max_steps": 1, "trackers": [], "num_workers": 0, "log_every": 1},
        "evaluation": evaluation,
    }
    train_solver(build(SolverRecipe, values))
    last, start = json.loads((folder / "history.json").read_text())[-1], f"eval_{task}/"
    return {name.removeprefix(start): value for name, value in last.items() if name.startswith(start)}


@pytest.mark.parametrize("name", MEASURED)
def test_the_last_row_of_the_history_is_what_the_command_says(name, tmp_path):
    case = MEASURED[name]
    section = case.section | {"data": ROOMS | case.rooms}
    evaluation = {"split": "validation", "num_samples": 3, "batch_size": 2}
    pretrained, folder = save_model(name, tmp_path / "pretrained"), tmp_path / "run"
    history = trained(folder, case.task, section, pretrained, evaluation)
    given = ["--model", folder, "--task", case.task, "--data", folder / "recipe.yaml", "--split", "validation"]
    given += ["--limit", 3, "--batch-size", 2, "--output", tmp_path / "metrics.json"]
    evaluate([str(argument) for argument in given])
    (measured,) = json.loads((tmp_path / "metrics.json").read_text())["results"].values()
    assert measured == history and measured["num_images"] == 3
    if case.task not in (DETECTION, INSTANCES, POSES):  # of which random models find nothing; test_classes has others
        assert len(set(measured.values())) > 3
