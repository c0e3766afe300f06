# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A loss that runs away, while it stays finite, ends the run with the last good checkpoint."""

import math
import random
from pathlib import Path

import pytest
from accelerate.state import PartialState
from training_runs import run_in_processes, tokenizer_recipe

from ait_hf.training.checkpoints import list_checkpoints
from ait_hf.training.monitoring import PATIENCE, find_runaway
from ait_hf.training.tokenizer import TokenizerTraining, train_tokenizer


OPTIONS = ["train.max_steps=16", "train.log_every=1", "train.save_every=2", "train.max_loss_growth=20"]


def rows(losses, every: int = 10) -> list[dict[str, float]]:
    return [{"step": every * number, "loss": loss} for number, loss in enumerate(losses, start=1)]


def first_stop(losses, growth: float) -> int | None:
    """Number of the row, from 1 on, that ends a run."""
    for number in range(1, len(losses) + 1):
        runaway = find_runaway(rows(losses[:number]), growth)
        if runaway is not None and runaway.is_lasting:
            return number
    return None


def learning_curve(start: float, end: float, noise: float) -> list[float]:
    chance = random.Random(0)
    return [end + (start - end) / number + chance.gauss(0, noise) for number in range(1, 201)]


def test_what_is_found():
    history = rows([2, 1, 1.5, 9, 1, 4, 5, 6])  # the median of the first five is 1.5
    found = find_runaway(history, 2.5)
    assert (found.first_step, found.last_step, found.loss, found.usual, found.limit) == (60, 80, 6, 1.5, 3.75)
    assert found.is_lasting
    found = find_runaway(history, 3)
    assert (found.first_step, found.num_rows, found.limit) == (70, 2, 4.5) and not found.is_lasting
    assert find_runaway(history, 4) is None
    assert find_runaway(rows([2, 1, 1.5, 9, 1, 4, 6, 3.7]), 2.5) is None
    assert find_runaway(history[3:], 1.1) is None  # too few to say what is usual
    below = find_runaway(rows([-2, -1, -1.5, -9, -1, 4, 5, 6]), 2.5)
    assert (below.usual, below.limit) == (-1.5, 0.75)


@pytest.mark.parametrize(("start", "end", "noise"), [(7, 2, 0.3), (400, 0.01, 0.002), (1, -5, 0.3), (3, 0, 0.05)])
def test_learning_is_not_stopped_and_every_kind_of_runaway_is(start, end, noise):
    """Of losses that stay positive, become negative, or end at zero and go to and fro there."""
    curve = learning_curve(start, end, noise)
    scale = sorted(map(abs, curve))[len(curve) // 2]
    assert first_stop(curve, 10) is None
    jump = [loss + 30 * scale for loss in curve[:20]]
    assert first_stop(curve + jump, 10) == 200 + PATIENCE
    slow = [curve[-1] + scale * 1.02**number for number in range(600)]
    assert 300 < first_stop(curve + slow, 10) < 700
    assert first_stop(curve[:100] + jump[: PATIENCE - 1] + curve[100:], 10) is None  # it recovers


def test_from_the_beginning_on():
    doubling = [2.0**number for number in range(60)]
    assert first_stop(doubling, 3) == 2 * PATIENCE
    assert first_stop([1.0] * 50, 1.01) is None and first_stop([0.0] * 50, 1.01) is None
    assert first_stop([5.0] * 50, 1.01) is None


def test_rows_without_losses_do_not_count():
    curve = rows([2, 1, 1.5, 9, 1, 4, 5, 6])
    mixed = [row for one in curve for row in ({"step": one["step"], "eval_rmse": 1e9}, one, {"step": 1, "lr": 1e9})]
    assert find_runaway(mixed, 2.5) == find_runaway(curve, 2.5)


def multiply_losses(factors: dict[int, float], rank: int = 0) -> None:
    """The losses of these forwards become so many times as large, on one process."""
    original, calls = TokenizerTraining.loss, []

    def loss(self, model, batches, accelerator, divisors):
        calls.append(None)
        values = original(self, model, batches, accelerator, divisors)
        factor = factors.get(len(calls), 1) if accelerator.process_index == rank else 1
        return values | {"loss": factor * values["loss"]}

    TokenizerTraining.loss = loss


@pytest.fixture
def spoiled(monkeypatch):
    monkeypatch.setattr(TokenizerTraining, "loss", TokenizerTraining.loss)  # put back afterwards
    return multiply_losses


def names(folder: Path) -> list[str]:
    return [path.name for path in list_checkpoints(folder / "checkpoints")]


def test_a_run_ends_with_its_last_good_checkpoint(tmp_path, spoiled):
    spoiled(dict.fromkeys(range(10, 17), 1e4))
    good = tmp_path / "checkpoints" / "step-00000008"  # not that of step 10, after which the run went on
    with pytest.raises(FloatingPointError) as failure:
        train_tokenizer(tokenizer_recipe(tmp_path, *OPTIONS))
    message = str(failure.value)
    assert "mean loss at step 12" in message and "since step 10" in message and message.endswith(f"{good}.")
    assert names(tmp_path) == ["step-00000006", good.name] and not (tmp_path / "config.json").exists()
    stated = [
        float(part.split(",")[0].split(" ")[0]) for part in message.split("is ", 1)[1].split("above the limit of ")
    ]
    assert stated[0] > stated[1] > 0 and math.isfinite(stated[0])


def test_a_run_that_recovers_goes_on_and_so_does_one_without_a_limit(tmp_path, spoiled, caplog):
    spoiled({10: 1e4, 11: 1e4})
    with caplog.at_level("WARNING"):
        train_tokenizer(tokenizer_recipe(tmp_path / "recovers", *OPTIONS, "train.keep_checkpoints=9"))
    assert names(tmp_path / "recovers") == [f"step-{step:08d}" for step in (2, 4, 6, 8, 12, 14, 16)]
    assert caplog.text.count("The loss may run away: the mean loss at step 1") == 2
    spoiled(dict.fromkeys(range(8, 17), 1e4))
    options = [*OPTIONS, "train.max_loss_growth=null", "train.keep_checkpoints=9"]
    assert train_tokenizer(tokenizer_recipe(tmp_path / "no_limit", *options))[-1]["step"] == 16
    assert len(names(tmp_path / "no_limit")) == 8


def test_what_was_usual_survives_a_resumption(tmp_path, spoiled):
    """All rows after it are too high."""
    train_tokenizer(tokenizer_recipe(tmp_path, *OPTIONS, "train.max_steps=8"))
    spoiled(dict.fromkeys(range(1, 9), 1e4))
    with pytest.raises(FloatingPointError, match="mean loss at step 11.*since step 9.*step-00000008"):
        train_tokenizer(tokenizer_recipe(tmp_path, *OPTIONS))


def train_and_report(recipe, folder: Path) -> None:
    multiply_losses(dict.fromkeys(range(8, 17), 1e5), rank=1)
    with pytest.raises(FloatingPointError) as failure:
        train_tokenizer(recipe)
    (folder / f"{PartialState().process_index}.txt").write_text(str(failure.value))


def test_processes_agree(tmp_path):
    """Though the loss of only one of them runs away."""
    recipe = tokenizer_recipe(tmp_path / "run", *OPTIONS, "data.batch_size=2")
    run_in_processes(2, train_and_report, recipe, tmp_path)
    first, second = ((tmp_path / f"{rank}.txt").read_text() for rank in range(2))
    assert first == second and "mean loss at step 10" in first and first.endswith("step-00000006.")
