# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How the processes of a run share their work: Accelerate as a recipe wants it, and weights in shards."""

import logging
import os
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
    ProjectConfiguration,
    TorchDynamoPlugin,
    is_tensorboard_available,
    parse_flag_from_env,
)
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.nn.modules.batchnorm import _BatchNorm

from ..model.tokenization_base import TokenizerBase
from .deepspeed import DeepSpeedAccelerator
from .precision import set_tf32
from .settings import Recipe


logger = logging.getLogger(__name__)


def build_accelerator(recipe: Recipe) -> Accelerator:
    """What the recipe says beats what `accelerate launch` and its configuration file say."""
    trackers = recipe.train.trackers
    if trackers is None:
        trackers = ["tensorboard"] if is_tensorboard_available() else []
    accelerator_class, compiled = Accelerator, TorchDynamoPlugin(backend="no")  # it would compile the model as a whole
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):  # as Accelerate itself asks
        accelerator_class = partial(DeepSpeedAccelerator, max_grad_norm=recipe.train.max_grad_norm)
        compiled = compilation(recipe)
    accelerator = accelerator_class(
        mixed_precision=recipe.train.mixed_precision,
        dynamo_plugin=compiled,
        # Forwards alone say when a step is done: streams of data may end before the training does.
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=recipe.train.gradient_accumulation_steps, sync_with_dataloader=False
        ),
        # Codebooks move alike on all processes, and running statistics are shared once a step.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
        log_with=trackers or None,
        project_config=ProjectConfiguration(recipe.output_dir, logging_dir=str(Path(recipe.output_dir) / "logs")),
    )
    set_tf32(recipe.train.tf32)
    if accelerator.is_main_process:
        _say_precision(recipe, accelerator.mixed_precision)
    return accelerator


def compilation(recipe: Recipe) -> TorchDynamoPlugin:
    """How encoder and decoder are compiled: the recipe's backend, or what `accelerate launch` says."""
    return TorchDynamoPlugin(backend=recipe.train.compile)


def _say_precision(recipe: Recipe, mixed_precision: str) -> None:
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", mixed_precision)  # what `accelerate launch` hands on
    if launched != mixed_precision:
        logger.warning(
            "The recipe and the launch disagree on precision: train.mixed_precision is %s, which holds; `accelerate "
            "launch` or its configuration file says %s (no is its default).",
            mixed_precision,
            launched,
        )
    products = "may be rounded to TF32 on GPUs that have it" if recipe.train.tf32 else "are float32"
    logger.info("Mixed precision: %s. Products of float32 matrices %s (train.tf32).", mixed_precision, products)


def is_sharded(model: nn.Module, accelerator: Accelerator) -> bool:
    """Whether processes hold parts of the weights (FSDP2); `ValueError` for what training does not do."""
    if accelerator.distributed_type not in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        return False
    if isinstance(model, TokenizerBase):
        raise ValueError(
            "Tokenizers are small, and their codebooks are not sharded: train them without FSDP or DeepSpeed."
        )
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return False
    if not accelerator.is_fsdp2:
        raise ValueError("Sharded training needs FSDP2: set fsdp_version: 2 in Accelerate's configuration file.")
    return True


def set_up_sharding(model: nn.Module, accelerator: Accelerator) -> None:
    """Before the model is prepared: which of it is not sharded, and in which precision it computes."""
    plugin = accelerator.state.fsdp_plugin
    # The tokenizers are not run by their `forward`, before which alone shards are gathered.
    plugin.ignored_modules = [module for module in model.modules() if isinstance(module, TokenizerBase)]
    # Precision by autocast, as without shards. FSDP2's own also casts what goes into the model, labels in pixels and
    # metres too.
    plugin.mixed_precision_policy = MixedPrecisionPolicy(cast_forward_inputs=False)


@torch.no_grad()
def share_statistics(model: nn.Module, accelerator: Accelerator) -> None:
    """Gives the running statistics of batch norms in training, if there are any, their mean over processes."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    statistics = [tensor for norm in norms for tensor in (norm.running_mean, norm.running_var) if tensor is not None]
    if accelerator.num_processes == 1 or not statistics:
        return
    means = accelerator.reduce(torch.cat(statistics), "mean").split([len(tensor) for tensor in statistics])
    for tensor, mean in zip(statistics, means):
        tensor.copy_(mean)
