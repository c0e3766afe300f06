# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
What `torch.compile` is given of a model: its encoder and its decoder, each as one graph.

What lies between them (annotations that become sequences, supervised tokens, masks of so many objects) is Python that
depends on the data: with it, a model falls into dozens of graphs and is compiled anew for other numbers of objects.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager

import torch
from accelerate.utils import TorchDynamoPlugin
from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers.modeling_layers import GradientCheckpointingLayer


def compile_parts(parts: Iterable[nn.Module], plugin: TorchDynamoPlugin) -> None:
    """
    Compiles parts of a model in place, each as one graph; names in its state dictionary stay. Of parts that FSDP2 has
    sharded, the layers that it shards are compiled instead, each as one graph: weights are gathered between them.

    Args:
        parts: Modules of a model that is ready to train, DDP or FSDP2 having been set up.
        plugin: The backend and its options, as the recipe or `accelerate launch` has them.
    """
    arguments = plugin.to_kwargs() | {"fullgraph": True}
    for part in parts:
        layers = [module for module in part.modules() if isinstance(module, FSDPModule) and list(module.children())]
        for layer in layers:  # not what `compile` takes, which has the hooks that gather weights in it
            layer.forward = torch.compile(layer.forward, **arguments)
        if not layers:
            part.compile(**arguments)
        # Layers of one class count together, and stochastic depth makes a graph of each.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 2 * len(layers))
    if any(_is_checkpointed(module) for part in parts for module in part.modules()):
        torch._dynamo.config.optimize_ddp = (
            False  # DDP's graphs are cut into buckets, but not if they have checkpoints
        )


def _is_checkpointed(module: nn.Module) -> bool:
    return isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing


def uncompiled() -> AbstractContextManager:
    """Inside, compiled parts run as they are: passes that are not training would all be compiled anew."""
    return torch.compiler.set_stance("force_eager")
