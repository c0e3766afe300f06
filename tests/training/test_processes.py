# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Two processes with two forwards each learn what one forward learns from the whole batch."""

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from training_runs import run_in_processes, save_tokenizer, solver_recipe, tokenizer_recipe, weights, without_order

from ait_hf.training.solver import train_solver
from ait_hf.training.tokenizer import TokenizerTraining, train_tokenizer


IN_PARTS = "train.gradient_accumulation_steps=2"
NO_CHANCE = [  # dropout is drawn by each process
    "model.config.dropout=0.0",
    "model.config.drop_path_rate=0.0",
    "model.backbone_config.drop_path_rate=0.0",
]


def assert_same_curves(one: Path, two: Path, rtol: float) -> None:
    first, second = (json.loads((folder / "history.json").read_text()) for folder in (one, two))
    assert len(first) == len(second)
    for row, other in zip(first, second):
        assert row.keys() == other.keys()
        for key in without_order(row).keys() - {"samples_per_second", "cpu_seconds", "peak_memory_gb"}:
            assert other[key] == pytest.approx(row[key], rel=rtol, abs=1e-6), (row["step"], key)


def test_tokenizer_with_its_codebook(tmp_path):
    options = ["train.max_steps=30", "train.log_every=1", "optimizer.lr=1e-3"]  # later, rounding decides a code
    options += ["model.config.revival_threshold=0.5", "model.config.ema_decay=0.9"]
    train_tokenizer(tokenizer_recipe(tmp_path / "one", *options))
    run_in_processes(2, train_tokenizer, tokenizer_recipe(tmp_path / "two", *options, IN_PARTS))
    assert_same_curves(tmp_path / "one", tmp_path / "two", rtol=1e-5)
    torch.testing.assert_close(weights(tmp_path / "two"), weights(tmp_path / "one"), rtol=1e-4, atol=1e-5)
    rows = json.loads((tmp_path / "one" / "history.json").read_text())
    assert any(row["dead_codes"] > 0 for row in rows if "loss" in row)  # so some were revived


@pytest.mark.parametrize("loss_type", ["masked_mse", "mse"])
def test_parts_of_a_batch_with_unequal_holes_make_up_the_whole(tmp_path, loss_type):
    task, accelerator = (
        TokenizerTraining(tokenizer_recipe(tmp_path, f"model.config.loss_type={loss_type}")),
        Accelerator(),
    )
    model = task.model.eval()  # in which the codebook stays
    labels = torch.rand(4, 32, 32) + 1
    labels[0, :24] = 0
    losses, gradients = {}, {}
    for size in (4, 2):
        forwards = [{"samples": {"labels": part, "inputs": part}} for part in labels.split(size)]
        divisors = task.divisors(forwards, accelerator)
        losses[size] = sum(task.loss(model, batches, accelerator, divisors)["loss"] for batches in forwards) * size / 4
        gradients[size] = torch.autograd.grad(losses[size], [p for p in model.parameters() if p.requires_grad])
    torch.testing.assert_close(losses[2], losses[4])
    torch.testing.assert_close(gradients[2], gradients[4])


def test_solver(tmp_path):
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    options = [*NO_CHANCE, "train.max_steps=50", "train.log_every=1", "tasks.depth.settings.auxiliary_loss=null"]
    train_solver(solver_recipe(tmp_path / "one", tokenizer, *options))
    run_in_processes(2, train_solver, solver_recipe(tmp_path / "two", tokenizer, *options, IN_PARTS))
    assert_same_curves(tmp_path / "one", tmp_path / "two", rtol=1e-5)
    torch.testing.assert_close(weights(tmp_path / "two"), weights(tmp_path / "one"), rtol=1e-4, atol=1e-5)
