# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""DeepSpeed's ZeRO on two processes."""

import json
import math
import os
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import PartialState
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType
from repository import SCRIPTS
from torch.multiprocessing.spawn import ProcessRaisedException
from training_runs import (
    assert_equal_weights,
    run_in_processes,
    save_tokenizer,
    solver_recipe,
    weights,
    without_measurements,
    without_order,
)

from ait_hf.training.processes import DeepSpeedAccelerator, is_sharded
from ait_hf.training.solver import SolverTraining, train_solver


OPTIONS = ["model.config.dropout=0.0", "model.config.drop_path_rate=0.0", "model.backbone_config.drop_path_rate=0.0"]
OPTIONS += ["tasks.depth.data.batch_size=8", "train.gradient_accumulation_steps=2", "train.max_grad_norm=0.5"]
OPTIONS += ["optimizer.layer_decay=0.9", "train.ema_decay=0.9", "train.max_steps=6", "train.log_every=1"]
OPTIONS += ["train.eval_every=3", "train.save_every=2"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def under_deepspeed(train, recipe, **changes: str) -> None:
    """As if launched with deepspeed_zero2.yaml; Accelerate itself runs DeepSpeed on GPUs only."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = {}  # else it compiles faster messages between processes, which takes a minute
    PartialState(cpu=True)
    PartialState._shared_state |= {"distributed_type": DistributedType.DEEPSPEED, "_cpu": False}
    settings = load_config_from_file(str(SCRIPTS / "accelerate/deepspeed_zero2.yaml")).deepspeed_config
    os.environ |= {f"ACCELERATE_DEEPSPEED_{key.upper()}": str(value) for key, value in (settings | changes).items()}
    os.environ |= {"ACCELERATE_USE_CPU": "false", "ACCELERATE_USE_DEEPSPEED": "true"}
    train(recipe)


def train_with_a_bad_forward(recipe) -> None:
    """The loss of the fourth is NaN, on one process."""
    original, calls = SolverTraining.loss, []

    def loss(self, model, batches, accelerator, divisors):
        calls.append(None)
        values = original(self, model, batches, accelerator, divisors)
        is_bad = len(calls) == 4 and accelerator.process_index == 1
        return values | {"loss": values["loss"] * (math.nan if is_bad else 1)}

    SolverTraining.loss = loss
    train_solver(recipe)


def train_until_the_disk_is_full(recipe) -> None:
    """Of the second process, at its second checkpoint."""
    original, calls = torch.save, []

    def save(state, path, **keywords):
        calls.append(path)
        if len(calls) == 3 and os.environ["RANK"] == "1":  # it writes two files for each
            raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
        original(state, path, **keywords)

    torch.save = save
    train_solver(recipe)


def history(folder: Path) -> list[dict[str, float]]:
    return without_measurements(json.loads((folder / "history.json").read_text()))


def assert_learns_the_same_and_resumes(
    tmp_path, tokenizer, train, *options: str, rel: float = 1e-5, **changes
) -> None:
    whole, shared = (solver_recipe(tmp_path / name, tokenizer, *OPTIONS, *options) for name in ("whole", "shared"))
    run_in_processes(2, train, whole)
    run_in_processes(2, partial(under_deepspeed, **changes), train, shared)
    rows = history(tmp_path / "shared")
    for row, expected in zip(rows, history(tmp_path / "whole"), strict=True):
        assert without_order(row) == pytest.approx(without_order(expected), rel=rel)
    assert sum(row["skipped_steps"] for row in rows if "lr" in row) == (train is train_with_a_bad_forward)
    for part in ("", "best"):
        first, second = (weights(tmp_path / name / part) for name in ("shared", "whole"))
        torch.testing.assert_close(first, second, rtol=10 * rel, atol=rel)
    for part in ("best", "checkpoints/step-00000006"):
        shutil.rmtree(tmp_path / "shared" / part)
    (tmp_path / "shared").rename(tmp_path / "uninterrupted")
    shutil.copytree(tmp_path / "uninterrupted/checkpoints", tmp_path / "shared/checkpoints")
    run_in_processes(2, partial(under_deepspeed, **changes), train_solver, shared)  # goes on from step 4
    assert history(tmp_path / "shared") == rows
    assert_equal_weights(tmp_path / "shared", tmp_path / "uninterrupted")


def test_learns_what_whole_models_learn_and_resumes(tmp_path, tokenizer):
    assert_learns_the_same_and_resumes(tmp_path, tokenizer, train_with_a_bad_forward)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["1", "2"])
def test_stages_and_precision(tmp_path, tokenizer, stage):
    options = ["train.mixed_precision=bf16", "model.gradient_checkpointing=true", "train.ema_decay=null"]
    assert_learns_the_same_and_resumes(
        tmp_path / "bf16", tokenizer, train_solver, *options, rel=1e-3, zero_stage=stage
    )
    options = ["train.gradient_accumulation_steps=1", "train.max_grad_norm=null", "optimizer.name=adam"]
    assert_learns_the_same_and_resumes(tmp_path / "adam", tokenizer, train_solver, *options, zero_stage=stage)
    assert_learns_the_same_and_resumes(tmp_path / "bad", tokenizer, train_with_a_bad_forward, zero_stage=stage)


def test_a_full_disk_of_one_process_is_one_sentence(tmp_path, tokenizer):
    good = tmp_path / "checkpoints/step-00000002"
    recipe = solver_recipe(tmp_path, tokenizer, *OPTIONS, "train.eval_every=null")
    with pytest.raises(ProcessRaisedException, match=f"WriteError: Checkpoint .* The last good checkpoint is {good}"):
        run_in_processes(2, under_deepspeed, train_until_the_disk_is_full, recipe)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [good.name]


def test_what_does_not_go_with_deepspeed_is_refused(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    plugin = SimpleNamespace(zero_stage=2, offload_optimizer_device="none", offload_param_device="none")
    accelerator = SimpleNamespace(
        distributed_type=DistributedType.DEEPSPEED,
        num_processes=2,
        deepspeed_plugin=plugin,
        mixed_precision="bf16",
        state=SimpleNamespace(dynamo_plugin=SimpleNamespace(backend="NO")),
    )
    DeepSpeedAccelerator._check(accelerator)
    for part, name, value, message in [
        (accelerator.state.dynamo_plugin, "backend", "INDUCTOR", "models are not compiled"),
        (accelerator, "mixed_precision", "fp16", "must be bf16 or no, not fp16"),
        (plugin, "offload_optimizer_device", "cpu", "set offload_.*_device to none"),
        (plugin, "zero_stage", 3, "zero_stage 1 or 2, not 3"),
        (accelerator, "num_processes", 1, "on GPUs only"),
    ]:
        setattr(part, name, value)
        with pytest.raises(ValueError, match=message):
            DeepSpeedAccelerator._check(accelerator)
    model = SolverTraining(solver_recipe(tmp_path, tokenizer)).model
    assert not is_sharded(model, accelerator)
    with pytest.raises(ValueError, match="Tokenizers are small"):
        is_sharded(model.tokenizers["depth"], accelerator)


def test_checkpoints_of_others_are_refused(tmp_path):
    (tmp_path / "pytorch_model").mkdir()
    (tmp_path / "pytorch_model/zero_pp_rank_0_mp_rank_00_optim_states.pt").touch()
    with pytest.raises(ValueError, match="by 2 processes under DeepSpeed, as 1 saved it"):
        DeepSpeedAccelerator.load_state(SimpleNamespace(num_processes=2), str(tmp_path))
