# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""FSDP2 on two processes, and the configuration files of Accelerate."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType
from accelerate.utils.dataclasses import get_module_class_from_name
from sharded_runs import CONFIGS, train_sharded
from torch.distributed import checkpoint
from training_runs import run_in_processes, save_tokenizer, solver_recipe, weights, without_measurements, without_order

from ait_hf.training.processes import AVERAGE, check_optimizer, is_sharded
from ait_hf.training.solver import SolverTraining, train_solver


OPTIONS = ["model.config.dropout=0.0", "model.config.drop_path_rate=0.0", "model.backbone_config.drop_path_rate=0.0"]
OPTIONS += ["train.log_every=1", "train.eval_every=2", "train.save_every=2", "train.max_grad_norm=1.0"]


def history(folder) -> list[dict[str, float]]:
    return without_measurements(json.loads((folder / "history.json").read_text()))


@pytest.mark.parametrize("averaged", [False, True], ids=["last weights", "averaged weights"])
def test_shards_learn_what_whole_models_learn_and_resume(tmp_path, averaged):
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    options = OPTIONS + averaged * ["train.ema_decay=0.6", "schedule={name: constant}", "optimizer.lr=1e-3"]
    whole, sharded = (solver_recipe(tmp_path / name, tokenizer, *options) for name in ("whole", "sharded"))
    run_in_processes(2, train_solver, whole)
    for _ in range(2):
        run_in_processes(2, train_sharded, sharded)
        for row, expected in zip(history(tmp_path / "sharded"), history(tmp_path / "whole"), strict=True):
            assert without_order(row) == pytest.approx(without_order(expected), rel=1e-5)
        for folder in ("", "best"):
            torch.testing.assert_close(weights(tmp_path / "sharded" / folder), weights(tmp_path / "whole" / folder))
        if averaged:
            assert_same_averages(*(tmp_path / name / "checkpoints/step-00000004" for name in ("sharded", "whole")))
        shutil.rmtree(tmp_path / "sharded/checkpoints/step-00000004")  # then goes on from step 2


def assert_same_averages(sharded: Path, whole: Path) -> None:
    """Of checkpoints; shards are put together by one process, which has not written them. They are not the weights."""
    expected = torch.load(whole / "custom_checkpoint_2.pkl")
    state = {"optimization_step": 0, "shadow_params": [torch.zeros_like(part) for part in expected["shadow_params"]]}
    checkpoint.load(state, checkpoint_id=sharded / AVERAGE, no_dist=True)
    assert state["optimization_step"] == expected["optimization_step"] == 4
    torch.testing.assert_close(state["shadow_params"], expected["shadow_params"], rtol=1e-5, atol=1e-5)
    assert len(list((sharded / AVERAGE).glob("*.distcp"))) == 2
    last, averaged = weights(whole), weights(whole.parents[1])
    assert max((last[name] - averaged[name]).abs().max() for name in averaged) > 2e-4


@pytest.mark.slow
def test_precision_and_skipped_steps_of_shards(tmp_path):
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    options = [*OPTIONS, "train.mixed_precision=bf16"]
    whole, sharded = (solver_recipe(tmp_path / name, tokenizer, *options) for name in ("whole", "sharded"))
    run_in_processes(2, train_solver, whole)
    run_in_processes(2, train_sharded, sharded, 3)
    rows, expected = history(tmp_path / "sharded"), history(tmp_path / "whole")
    assert [row["skipped_steps"] for row in rows if "lr" in row] == [0, 0, 1, 0]
    for number in range(2):
        assert without_order(rows[number]) == pytest.approx(without_order(expected[number]), rel=1e-3)
    assert rows[3].keys() == {"step", "lr", "skipped_steps", "unreadable_samples"}  # nothing was learned from it
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "sharded").values())


def test_what_does_not_go_with_shards_is_refused(tmp_path):
    model = SolverTraining(solver_recipe(tmp_path, save_tokenizer(tmp_path / "tokenizer"))).model

    class Sharded:
        distributed_type = DistributedType.FSDP
        is_fsdp2 = True

    with pytest.raises(ValueError, match="Tokenizers are small"):
        is_sharded(model.tokenizers["depth"], Sharded())
    Sharded.is_fsdp2 = False
    with pytest.raises(ValueError, match="fsdp_version: 2"):
        is_sharded(model, Sharded())
    with pytest.raises(ValueError, match="optimizer.name muon needs whole matrices"):
        check_optimizer("muon", Sharded())
    check_optimizer("adamw", Sharded())


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_configuration_files_are_what_accelerate_reads(path):
    arguments = launch_command_parser().parse_args(["--config_file", str(path), "scripts/train.py", "recipe.yaml"])
    arguments, config, precision_is_set = _validate_launch_command(arguments)
    assert arguments.mixed_precision == config.mixed_precision == "bf16" and precision_is_set
    processes, machines = {"one": (1, 1), "two": (16, 2)}.get(path.stem.partition("_")[0], (8, 1))
    assert (arguments.num_processes, arguments.num_machines) == (processes, machines)
    assert arguments.multi_gpu == (config.distributed_type == "MULTI_GPU")
    assert arguments.use_fsdp == (path.stem == "fsdp2")
    assert arguments.use_deepspeed == (path.stem == "deepspeed_zero2")


def test_classes_to_wrap_are_those_of_the_model(tmp_path):
    model = SolverTraining(solver_recipe(tmp_path, save_tokenizer(tmp_path / "tokenizer"))).model
    names = load_config_from_file(str(CONFIGS / "fsdp2.yaml")).fsdp_config["fsdp_transformer_layer_cls_to_wrap"]
    assert all(get_module_class_from_name(model, name) is not None for name in names.split(","))
