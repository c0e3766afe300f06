# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions on a CPU, in the precision in which their gradients are fast."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.overrides import TorchFunctionMode

from .processes import is_checkpointed


def depthwise_in_float32(model: nn.Module, accelerator: Accelerator) -> AbstractContextManager:
    """
    To be open in forward passes, as often as one likes. Where a CPU trains in bfloat16, it computes depthwise convolutions in
    float32 all the same, with outputs of the dtype of their inputs: a backbone of them takes three fifths of the time so,
    for oneDNN has no fast gradients of them in bfloat16 (docs/log.md). Layers that are computed again in the backward pass,
    where this is not open, would come out otherwise: models with such stay in bfloat16.
    """
    is_slow = accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16"
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    # Only where it has work to do, as it is asked for every call of torch.
    has_work = any(_is_depthwise(each.in_channels, each.weight) for each in convolutions)
    return _DepthwiseInFloat32() if is_slow and has_work and not is_checkpointed(model) else nullcontext()


def _is_depthwise(num_channels: int, weight: torch.Tensor) -> bool:
    return num_channels > 1 and weight.shape[1] == 1  # channels that an output is made of


class _DepthwiseInFloat32(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function is not torch.conv2d or not _is_depthwise(args[0].shape[1], args[1]):
            return function(*args, **kwargs)
        images, *others = args
        with torch.autocast("cpu", enabled=False):
            return function(images.float(), *others, **kwargs).to(images.dtype)
