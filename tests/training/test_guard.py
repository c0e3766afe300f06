# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Steps that are not finite are skipped without a trace, counted, and stop the run if there are too many."""

import json
import math

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from training_runs import run_in_processes, save_tokenizer, solver_recipe, tokenizer_recipe, weights

from ait_hf.model.quantization_ait import EMACodebook
from ait_hf.training.monitoring import StepGuard, poison
from ait_hf.training.optimizer import OptimizerRecipe, build_optimizer
from ait_hf.training.solver import SolverTraining, train_solver
from ait_hf.training.tokenizer import TokenizerTraining, train_tokenizer


class Net(nn.Module):
    """With running statistics, a codebook, and a frozen part, as models have them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm2d(4)
        self.codebook = EMACodebook(5, 4, revival_threshold=0.3)
        self.frozen = nn.BatchNorm2d(4).requires_grad_(False)

    def forward(self, x):
        states = self.linear(self.conv(x).transpose(1, 3)).transpose(1, 3)
        return self.frozen(self.codebook(self.norm(states)).quantized)


@pytest.mark.parametrize("kind", ["adam", "adamw", "muon"])
@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_skipped_step_changes_nothing(kind, bad):
    torch.manual_seed(0)
    accelerator = Accelerator()
    net = Net().train()
    net.frozen.eval()
    recipe = OptimizerRecipe(name=kind, lr=0.1, weight_decay=0.1, matrix_lr=0.1 if kind == "muon" else None)
    optimizer = build_optimizer(net, recipe)
    net, optimizer = accelerator.prepare(net, optimizer)
    guard = StepGuard(net, optimizer, accelerator)

    def step(x, factor=1.0):
        guard.remember()
        accelerator.backward(poison(net(x).square().sum() * factor))
        skipped = guard.judge(accelerator.clip_grad_norm_(net.parameters(), math.inf))
        optimizer.step()
        optimizer.zero_grad()
        return skipped.item()

    def state():
        moments = [values for parameter in optimizer.state.values() for values in parameter.values()]
        floats = [value for value in net.state_dict().values() if value.is_floating_point()]
        return [value.clone() for value in [*floats, *moments]]

    x = torch.randn(2, 3, 4, 4)
    assert step(x) == 0
    before = state()
    assert step(torch.full_like(x, math.nan) if bad == "gradient" else x, math.inf if bad == "loss" else 1.0) == 1
    torch.testing.assert_close(state(), before, rtol=0, atol=0)
    assert step(x) == 0
    assert all(not torch.equal(new, old) for new, old in zip(state()[:2], before))


def test_infinite_losses_with_finite_gradients_are_noticed():
    x = torch.ones(2, requires_grad=True)
    (x.sum() + math.inf).backward()
    assert x.grad.isfinite().all()
    poison(x.sum() + math.inf).backward()
    assert x.grad.isnan().all()
    y = torch.ones(2, requires_grad=True)
    assert poison(0 * y.sum()).item() == 0
    poison(3 * y.sum()).backward()
    assert y.grad.tolist() == [3, 3]


def spoil(task_class, forwards: set[int], rank: int = 0) -> None:
    """Makes the input of these forwards NaN, on one process."""
    original, calls = task_class.loss, []

    def loss(self, model, batches, accelerator, divisors):
        calls.append(None)
        if len(calls) in forwards and accelerator.process_index == rank:
            batches = {
                name: {
                    key: torch.full_like(value, math.nan) if key in ("inputs", "pixel_values") else value
                    for key, value in batch.items()
                }
                for name, batch in batches.items()
            }
        return original(self, model, batches, accelerator, divisors)

    task_class.loss = loss


@pytest.fixture
def spoiled(monkeypatch):
    for task_class in (TokenizerTraining, SolverTraining):
        monkeypatch.setattr(task_class, "loss", task_class.loss)  # put back afterwards
    return spoil


def test_bad_batches_are_counted_and_the_model_stays_whole(tmp_path, spoiled):
    spoiled(TokenizerTraining, {3, 5, 6})
    options = ["train.max_steps=8", "train.log_every=2", "train.eval_every=3", "train.save_every=3"]
    history = train_tokenizer(tokenizer_recipe(tmp_path, *options, "train.max_skipped_steps=2"))
    assert {row["step"]: row["skipped_steps"] for row in history if "lr" in row} == {2: 0, 3: 1, 4: 0, 6: 2, 8: 0}
    assert "loss" not in next(row for row in history if row["step"] == 3)  # of no good step
    assert all(math.isfinite(value) for row in history for value in row.values())
    for folder in (tmp_path, tmp_path / "best", *(tmp_path / "checkpoints").iterdir()):
        assert all(tensor.isfinite().all() for tensor in weights(folder).values())
    assert json.loads((tmp_path / "history.json").read_text()) == history


def test_too_many_in_a_row_stop_the_run(tmp_path, spoiled):
    spoiled(TokenizerTraining, {2, 4, 5, 6})
    options = ["train.max_steps=8", "train.save_every=3", "train.log_every=100", "train.max_skipped_steps=2"]
    good = tmp_path / "checkpoints" / "step-00000003"
    with pytest.raises(FloatingPointError, match=f"3 steps in a row, from step 4 on;.*last good checkpoint is {good}"):
        train_tokenizer(tokenizer_recipe(tmp_path, *options))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [good.name]
    assert not (tmp_path / "config.json").exists()


def test_those_in_a_row_are_counted_across_rows_and_runs(tmp_path, spoiled):
    spoiled(TokenizerTraining, {3, 4, 5, 6})
    options = ["train.max_steps=8", "train.save_every=2", "train.log_every=1", "train.max_skipped_steps=3"]
    with pytest.raises(FloatingPointError, match="4 steps in a row, from step 3 on"):
        train_tokenizer(tokenizer_recipe(tmp_path, *options))
    spoiled(TokenizerTraining, set(range(100)))  # step 5 is the third
    with pytest.raises(FloatingPointError, match="4 steps in a row, from step 3 on"):
        train_tokenizer(tokenizer_recipe(tmp_path, *options))


def train_spoiled(recipe) -> None:
    spoil(SolverTraining, {2}, rank=1)
    train_solver(recipe)


def test_one_bad_process_skips_the_step_of_all(tmp_path):
    """Its weights after the bad second step are those after the first."""
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    options = ["train.max_steps=2", "train.log_every=1", "tasks.depth.data.batch_size=2"]
    run_in_processes(2, train_spoiled, solver_recipe(tmp_path / "bad", tokenizer, *options))
    rows = [row for row in json.loads((tmp_path / "bad/history.json").read_text()) if "lr" in row]
    assert [row["skipped_steps"] for row in rows] == [0, 1]
    run_in_processes(2, train_solver, solver_recipe(tmp_path / "good", tokenizer, *options, "train.save_every=1"))
    after_first = weights(tmp_path / "good/checkpoints/step-00000001")
    for name, tensor in weights(tmp_path / "bad").items():
        torch.testing.assert_close(tensor, after_first[name], rtol=0, atol=0)
