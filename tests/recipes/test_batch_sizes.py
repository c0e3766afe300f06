# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The samples of a step, shared out over processes and forwards."""

import json
import logging
import re

import pytest
import torch
import yaml
from accelerate import Accelerator
from torch import nn
from training_runs import assert_equal_weights, run_in_processes, tokenizer_recipe

from ait_hf.recipes.parsing import flatten, read_values, to_values
from ait_hf.recipes.streams import shared_out
from ait_hf.training.checkpoints import MANIFEST, check_batch_sizes
from ait_hf.training.processes import share_statistics
from ait_hf.training.solver import SolverRecipe, read_recipe
from ait_hf.training.tokenizer import train_tokenizer
from ait_hf_cli.recipes import shipped_recipes


@pytest.mark.parametrize(
    ("sizes", "processes", "forwards", "shares"),
    [
        ({"depth": 24}, 8, 1, {"depth": 3}),
        ({"depth": 24}, 2, 3, {"depth": 4}),
        ({"objects": 60, "depth": 4}, 4, 1, {"objects": 15, "depth": 1}),
        ({"objects": 56, "depth": 8}, 8, 1, {"objects": 7, "depth": 1}),
    ],
)
def test_shares(sizes, processes, forwards, shares):
    assert shared_out(sizes, processes, forwards) == shares


@pytest.mark.parametrize(
    ("sizes", "processes", "forwards", "message"),
    [
        (
            {"objects": 60, "depth": 4},
            8,
            1,
            "The 60 samples of 'objects' and the 4 samples of 'depth' cannot be shared out over 8 processes. A batch_size "
            "that can: 56 or 64 of 'objects'; 8 of 'depth'. Numbers of processes that fit as it is: 1, 2 or 4.",
        ),
        (
            {"depth": 24},
            5,
            2,
            "The 24 samples of 'depth' cannot be shared out over 5 processes with 2 forwards "
            "(train.gradient_accumulation_steps) each. A batch_size that can: 20 or 30 of 'depth'. Numbers of processes "
            "that fit as it is: 1, 2, 3, 4, 6 or 12.",
        ),
        (
            {"depth": 5},
            1,
            2,
            "The 5 samples of 'depth' cannot be shared out over 1 processes with 2 forwards "
            "(train.gradient_accumulation_steps) each. A batch_size that can: 4 or 6 of 'depth'.",
        ),
    ],
)
def test_what_cannot_be_shared_out_says_what_can(sizes, processes, forwards, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        shared_out(sizes, processes, forwards)


@pytest.mark.parametrize("path", shipped_recipes().values(), ids=lambda path: path.stem)
def test_recipes_fit_the_processes_that_they_name(path):
    recipe = read_recipe(read_values(path))
    sections = recipe.tasks if isinstance(recipe, SolverRecipe) else {"samples": recipe}
    sizes = {name: section.data.batch_size for name, section in sections.items()}
    base = yaml.safe_load(path.read_text()).get("base")
    text = path.read_text() + ("" if base is None else (path.parent / base).read_text())
    named = re.search(r"fits? ([\d, or]+) processes|As? two processes", text, re.IGNORECASE)
    counts = {1} if named is None else {int(count) for count in re.findall(r"\d+", named[0])} or {1, 2}
    for count in counts:
        assert sum(shared_out(sizes, count).values()) * count == sum(sizes.values())
    if (
        path.stem == "ait_swinv2_b_joint"
    ):  # whose batches eight cannot share, the division that they can is in a comment
        eight = {
            name: int(size) for name, size in re.findall(r"tasks\.([\w-]+)\.data\.batch_size=(\d+)", path.read_text())
        }
        assert eight.keys() == sizes.keys() and sum(eight.values()) == sum(sizes.values())
        shared_out(eight, 8)
    elif "published" in path.read_text().split("\n", 1)[0]:
        assert 8 in counts


def test_the_log_says_how_and_a_remainder_is_refused_before_anything_is_written(tmp_path, caplog):
    caplog.set_level(logging.INFO, "ait_hf")
    with pytest.raises(
        ValueError, match="4 samples of 'samples' cannot be shared out over 1 processes with 3 forwards"
    ):
        train_tokenizer(tokenizer_recipe(tmp_path / "run", "train.gradient_accumulation_steps=3"))
    assert not (tmp_path / "run").exists()
    train_tokenizer(tokenizer_recipe(tmp_path / "run", "train.gradient_accumulation_steps=2", "train.max_steps=1"))
    assert "A step has 4 of samples: processes x forwards x samples = 1 x 2 x 2." in caplog.text


def test_runs_of_the_former_meaning_go_on_with_all_samples_of_a_step(tmp_path):
    options = ["train.save_every=1", "train.gradient_accumulation_steps=2", "schedule={name: constant}"]
    train_tokenizer(tokenizer_recipe(tmp_path / "whole", *options, "train.max_steps=3"))
    train_tokenizer(tokenizer_recipe(tmp_path / "run", *options, "train.max_steps=1"))
    saved = tmp_path / "run" / "recipe.yaml"
    values = yaml.safe_load(saved.read_text())
    assert values.pop("version") == 2
    values["data"]["batch_size"] = 2  # of each of the two forwards
    saved.write_text(yaml.safe_dump(values))
    before = saved.read_text()
    with pytest.raises(
        ValueError, match=r"had 1 processes with 2 forwards each: to go on, write data\.batch_size=4\."
    ):
        train_tokenizer(tokenizer_recipe(tmp_path / "run", *options, "train.max_steps=3", "data.batch_size=2"))
    assert saved.read_text() == before
    for steps in (2, 3):  # the second time the saved recipe is of this version
        train_tokenizer(tokenizer_recipe(tmp_path / "run", *options, f"train.max_steps={steps}"))
    assert_equal_weights(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize(("processes", "forwards", "total"), [(1, 1, 4), (8, 1, 32), (2, 3, 24)])
def test_batch_sizes_of_the_former_meaning(tmp_path, processes, forwards, total):
    (tmp_path / MANIFEST).write_text(json.dumps({"num_processes": processes}))
    now = {"version": 2, "train.gradient_accumulation_steps": forwards, "tasks.depth.data.batch_size": total}
    before = {key: value for key, value in now.items() if key != "version"} | {"tasks.depth.data.batch_size": 4}
    assert check_batch_sizes(before, now, tmp_path) == now
    assert check_batch_sizes(before | {"version": 2}, now, tmp_path)["tasks.depth.data.batch_size"] == 4
    with pytest.raises(ValueError, match=rf"write tasks\.depth\.data\.batch_size={total}\."):
        check_batch_sizes(before, now | {"tasks.depth.data.batch_size": 5}, tmp_path)


def test_another_version_is_refused(tmp_path):
    with pytest.raises(ValueError, match="version must be 2 or left out, got 1: batch_size is that of a whole step"):
        tokenizer_recipe(tmp_path, "version=1")
    assert flatten(to_values(tokenizer_recipe(tmp_path)))["version"] == 2


def share_and_save(folder) -> None:
    accelerator = Accelerator()
    model = nn.ModuleList([nn.BatchNorm1d(2), nn.BatchNorm1d(2).eval()])
    for norm in model:
        norm.running_mean += 2.0 + accelerator.process_index
    share_statistics(model, accelerator)
    torch.save(model.state_dict(), folder / f"{accelerator.process_index}.pt")


def test_running_statistics_become_the_mean_over_processes(tmp_path):
    run_in_processes(2, share_and_save, tmp_path)
    for rank in range(2):
        state = torch.load(tmp_path / f"{rank}.pt")
        assert state["0.running_mean"].tolist() == [2.5, 2.5] and state["0.running_var"].tolist() == [1, 1]
        assert state["1.running_mean"].tolist() == [2.0 + rank] * 2  # fixed
