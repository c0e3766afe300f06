# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""An exponential moving average of the weights, whole or in shards as the weights themselves are."""

from collections.abc import Iterable
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import nn
from torch.distributed import checkpoint as sharded_checkpoint


AVERAGE = "average"  # its folder in a checkpoint


class ShardedAverage(EMAModel):
    """
    The average of weights of FSDP2 (DTensors). Every process keeps its shards of it and writes them into checkpoints; any
    number of processes can read these.
    """

    def save(self, models: list[nn.Module], weights: list, folder: str) -> None:
        """A hook of Accelerate's `save_state`; `models` and `weights` are not used. All processes call it."""
        sharded_checkpoint.save(self.state_dict(), checkpoint_id=Path(folder) / AVERAGE)

    def load(self, models: list[nn.Module], folder: str) -> None:
        """A hook of Accelerate's `load_state`, as [`~ShardedAverage.save`]."""
        state = self.state_dict()
        sharded_checkpoint.load(state, checkpoint_id=Path(folder) / AVERAGE)
        self.load_state_dict(state)

    @torch.no_grad()
    def copy_to(self, parameters: Iterable[nn.Parameter]) -> None:
        """Gathers the average into weights of a whole model, in the order of the sharded ones. All processes call it."""
        for whole, average in zip(parameters, self.shadow_params, strict=True):
            whole.copy_(average.full_tensor())


def build_average(parameters: list[nn.Parameter], decay: float, accelerator: Accelerator, sharded: bool) -> EMAModel:
    """
    The average of trained weights, which Accelerate saves and loads with its checkpoints.

    Args:
        parameters: As Accelerate prepared them.
        decay (`float`): After step n it keeps `min(decay, n / (n + 9))` of itself.
        sharded (`bool`): Whether they are shards of FSDP2.
    """
    if not sharded:
        average = EMAModel(parameters, decay, foreach=True)
        accelerator.register_for_checkpointing(average)
        return average
    average = ShardedAverage(parameters, decay, foreach=True)
    accelerator.register_save_state_pre_hook(average.save)  # what is registered the main process writes alone
    accelerator.register_load_state_pre_hook(average.load)
    return average
