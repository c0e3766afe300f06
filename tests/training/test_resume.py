# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A run that is killed at any time and started again ends as if nothing had happened, bit for bit."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from tokenizer_recipes import recipe
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException
from training_runs import (
    assert_equal_weights,
    run_in_processes,
    save_tokenizer,
    solver_recipe,
    start_processes,
    without_measurements,
)

from ait_hf.data import writing as files
from ait_hf.training import checkpoints
from ait_hf.training.checkpoints import list_checkpoints, what_is_wrong
from ait_hf.training.loop import Recipe
from ait_hf.training.solver import SolverTraining, train_solver
from ait_hf.training.tokenizer import train_tokenizer


# With dropout, stochastic depth and augmentation, data workers, accumulation, averaged weights and a best model.
OPTIONS = ["train.max_steps=6", "train.save_every=2", "train.eval_every=3", "train.gradient_accumulation_steps=2"]
OPTIONS += ["train.num_workers=1", "train.ema_decay=0.9", "optimizer.layer_decay=0.9"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def uninterrupted(request, tmp_path_factory, tokenizer) -> tuple[int, Path]:
    """Number of processes and folder of a run."""
    folder = tmp_path_factory.mktemp("whole")
    run_in_processes(request.param, train_solver, solver_recipe(folder, tokenizer, *OPTIONS))
    return request.param, folder


def kill_this_process(*_, **__) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train_until_forward(number: int, recipe: Recipe) -> None:
    original, calls = SolverTraining.loss, []

    def loss(self, *arguments):
        calls.append(None)
        return original(self, *arguments) if len(calls) < number else kill_this_process()

    SolverTraining.loss = loss
    train_solver(recipe)


def train_until_write(module, function: str, number: int, recipe: Recipe) -> None:
    """Until that function is called for the n-th time."""
    original, calls = getattr(module, function), []

    def called(*arguments, **keywords):
        calls.append(None)
        return original(*arguments, **keywords) if len(calls) < number else kill_this_process()

    setattr(module, function, called)
    train_solver(recipe)


def killed(number: int, function, *arguments) -> None:
    with pytest.raises((ProcessExitedException, ProcessRaisedException)):
        run_in_processes(number, function, *arguments)


def assert_same_run(whole: Path, resumed: Path) -> None:
    for part in ("", "best"):
        assert_equal_weights(whole / part, resumed / part)
        first, second = (json.loads((folder / part / "history.json").read_text()) for folder in (whole, resumed))
        assert without_measurements(first) == without_measurements(second)
    names = [[path.name for path in list_checkpoints(folder / "checkpoints")] for folder in (whole, resumed)]
    assert names[0] == names[1] and not list(resumed.rglob(".*.tmp")) and not list(resumed.rglob(".*.old"))


def test_killed_in_a_forward(tmp_path, tokenizer, uninterrupted):
    number, whole = uninterrupted
    recipe = solver_recipe(tmp_path, tokenizer, *OPTIONS)
    killed(number, train_until_forward, 10, recipe)  # the second one of step 5, after the evaluation of step 3
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-00000002", "step-00000004"]
    run_in_processes(number, train_solver, recipe)
    assert_same_run(whole, tmp_path)


@pytest.mark.parametrize("uninterrupted", [1], indirect=True, ids=["one process"])  # the main process writes
@pytest.mark.parametrize(
    ("module", "function", "number"),
    [
        (checkpoints, "_seal", 2),
        pytest.param(torch, "save", 7, marks=pytest.mark.slow),  # in the midst of the second checkpoint
        pytest.param(checkpoints, "replace_folder", 2, marks=pytest.mark.slow),
        pytest.param(files, "replace_folder", 1, marks=pytest.mark.slow),  # of the best model
    ],
)
def test_killed_in_the_writing_of_files(tmp_path, tokenizer, uninterrupted, module, function, number):
    processes, whole = uninterrupted
    recipe = solver_recipe(tmp_path, tokenizer, *OPTIONS)
    killed(processes, train_until_write, module, function, number, recipe)
    assert [what_is_wrong(path) for path in list_checkpoints(tmp_path / "checkpoints")] == [None]
    run_in_processes(processes, train_solver, recipe)
    assert_same_run(whole, tmp_path)


def train_and_count(forwards, recipe: Recipe) -> None:
    original = SolverTraining.loss

    def loss(self, *arguments):
        with forwards.get_lock():
            forwards.value += 1
        return original(self, *arguments)

    SolverTraining.loss = loss
    train_solver(recipe)


@pytest.mark.slow
def test_killed_at_random_times(tmp_path, tokenizer, uninterrupted):
    """Ten times: all processes are killed at any time after their start; prints when."""
    number, whole = uninterrupted
    chance = random.Random(number)
    for trial in range(10):
        folder, forwards = tmp_path / str(trial), multiprocessing.get_context("fork").Value("i", 0)
        recipe = solver_recipe(folder, tokenizer, *OPTIONS)
        started = time.monotonic()
        context = start_processes(number, train_and_count, forwards, recipe)
        while forwards.value == 0:  # how long the start takes says nothing
            time.sleep(0.001)
        begun = time.monotonic()
        time.sleep(chance.uniform(0, 3))
        for process in context.processes:
            process.kill()
            process.join()
        found = [path.name for path in list_checkpoints(folder / "checkpoints")]
        unfinished = [path.name for path in folder.rglob(".*.tmp")]
        print(
            f"processes {number}, trial {trial}: killed {time.monotonic() - begun:.2f} s after the first forward (start "
            f"{begun - started:.1f} s), {forwards.value / number:g} of 12 forwards begun, checkpoints {found}, "
            f"half-written {unfinished}"
        )
        assert all(what_is_wrong(folder / "checkpoints" / name) is None for name in found)
        run_in_processes(number, train_solver, recipe)
        assert_same_run(whole, folder)


def test_a_run_saved_by_former_names_of_its_data_is_the_same_run(tmp_path, caplog):
    def run(steps: int, *overrides: str) -> list[str]:
        caplog.clear()
        short = ["train.eval_every=null", "train.save_every=1", f"train.max_steps={steps}"]
        train_tokenizer(recipe("pose", tmp_path, *short, *overrides))
        return [record.getMessage() for record in caplog.records if "with other values" in record.getMessage()]

    run(1)
    saved = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert (saved["data"]["name"], saved["data"].pop("of")) == ("synthetic", "poses")
    saved["data"]["name"] = "synthetic_poses"
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(saved))
    assert run(2) == []
    (message,) = run(3, "data.seed=1")
    assert message.endswith("than it was started with: data.seed.")
