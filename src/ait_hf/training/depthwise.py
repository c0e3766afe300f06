# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions on a CPU, in the precision in which their gradients are fast."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch.overrides import TorchFunctionMode


def depthwise_in_float32(accelerator: Accelerator) -> AbstractContextManager:
    """
    Where a CPU trains in bfloat16, computes depthwise convolutions in float32 all the same: a backbone of them takes three
    fifths of the time so, for oneDNN has no fast gradients of them in bfloat16 (docs/log.md). Their outputs have the dtype
    of their inputs. To be open in the backward pass, too, where checkpointed layers are computed again.
    """
    is_slow = accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16"
    return _DepthwiseInFloat32() if is_slow else nullcontext()


class _DepthwiseInFloat32(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not torch.conv2d or args[1].shape[1] != 1:  # channels that an output is made of
            return function(*args, **kwargs)
        images, *others = args
        with torch.autocast("cpu", enabled=False):
            return function(images.float(), *others, **kwargs).to(images.dtype)
