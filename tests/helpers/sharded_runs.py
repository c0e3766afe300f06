# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Trainings whose parameters lie in shards on their processes (FSDP2)."""

import math

from accelerate.commands.config.config_args import load_config_from_file
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from repository import SCRIPTS

from ait_hf.training import processes
from ait_hf.training.solver import SolverTraining, train_solver


CONFIGS = SCRIPTS / "accelerate"


def train_sharded(recipe, spoiled_forward: int | None = None) -> None:
    """As if launched with fsdp2.yaml; Accelerate itself knows FSDP on accelerators only, torch also on the CPU."""
    settings = load_config_from_file(str(CONFIGS / "fsdp2.yaml")).fsdp_config
    original, loss, calls = processes.build_accelerator, SolverTraining.loss, []

    def build(recipe):
        accelerator = original(recipe)
        for state in (AcceleratorState, PartialState):
            state._shared_state["distributed_type"] = DistributedType.FSDP
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=settings["fsdp_version"],
            auto_wrap_policy=settings["fsdp_auto_wrap_policy"].lower(),
            transformer_cls_names_to_wrap=settings["fsdp_transformer_layer_cls_to_wrap"].split(","),
            reshard_after_forward=settings["fsdp_reshard_after_forward"],
            cpu_ram_efficient_loading=settings["fsdp_cpu_ram_efficient_loading"],
            state_dict_type=settings["fsdp_state_dict_type"],
        )
        if accelerator.mixed_precision != "no":
            plugin.set_mixed_precision(accelerator.mixed_precision)
        AcceleratorState._shared_state["fsdp_plugin"] = plugin
        return accelerator

    def spoiled(self, model, batches, accelerator, divisors):
        calls.append(None)
        values = loss(self, model, batches, accelerator, divisors)
        is_bad = len(calls) == spoiled_forward and accelerator.process_index == 1
        return values | {"loss": values["loss"] * (math.nan if is_bad else 1)}

    processes.build_accelerator, SolverTraining.loss = build, spoiled
    train_solver(recipe)
