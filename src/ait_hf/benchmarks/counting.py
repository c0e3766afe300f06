# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a training step costs, counted and not run, on torch's meta device, whose tensors have shapes and no numbers."""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode


PRECISIONS = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# The functions among CUDA autocast's lists that our models and the library's backbones call.
_LOWERED = {F.linear, F.conv2d, F.conv_transpose2d, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__}
_LOWERED |= {torch.bmm, torch.Tensor.bmm, torch.baddbmm, torch.addmm}
_RAISED = {F.layer_norm, F.group_norm, F.softmax, torch.softmax, torch.Tensor.softmax, F.cross_entropy, F.mse_loss}


class StepCost(NamedTuple):
    """Of forward and backward of one batch."""

    flops: int  # a multiplication and an addition are two
    bytes: int  # most that activations and temporary tensors, but not gradients of parameters, take at one time
    kernels: int  # operations that write a tensor, each of which a GPU has to be told about


def count_step(model: nn.Module, loss: Callable[[], torch.Tensor], precision: str, lowered: nn.Module) -> StepCost:
    """Of a model, which is left with gradients, its forward pass, and what of it is in autocast of a precision: `"no"`,
    `"fp16"` or `"bf16"`."""
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    gpu, hooks = _LikeAGPU(PRECISIONS[precision], lowered), []
    for module in model.modules():  # all of them, as checkpointed ones run by themselves in the backward pass
        hooks.append(module.register_forward_pre_hook(gpu.enter))
        hooks.append(module.register_forward_hook(gpu.leave, always_call=True))
    with FlopCounterMode(display=False) as flops, _Memory() as memory:
        loss().backward()
    for hook in hooks:
        hook.remove()
    return StepCost(flops.get_total_flops(), memory.peak, memory.kernels)


class _Memory(TorchDispatchMode):
    """The bytes of tensors that are made inside and live at one time, and what makes them or writes into others."""

    def __init__(self):
        super().__init__()
        self.living = self.peak = self.kernels = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = {leaf.untyped_storage()._cdata for leaf in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        self.kernels += not func.is_view
        for storage in map(torch.Tensor.untyped_storage, _tensors(result)):
            if storage._cdata not in known:
                known.add(storage._cdata)
                self._add(storage.nbytes())
                weakref.finalize(storage, self._add, -storage.nbytes())
        return result

    def _add(self, size: int) -> None:
        self.living += size
        self.peak = max(self.peak, self.living)


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class _LikeAGPU(TorchFunctionMode):
    """
    Inside of a model's modules: attention by the kernel that a GPU takes, which torch writes out without one, and, inside of
    `lowered`, autocast, which does not know the meta device.
    """

    def __init__(self, dtype: torch.dtype, lowered: nn.Module):
        super().__init__()
        self.dtype, self.lowered = dtype, set(lowered.modules())
        self.inside: list[nn.Module] = []

    def enter(self, module: nn.Module, _) -> None:
        if not self.inside:
            self.__enter__()
        self.inside.append(module)

    def leave(self, *_) -> None:
        self.inside.pop()
        if not self.inside:
            self.__exit__(None, None, None)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention:
            return _fused_attention(*args, **(kwargs or {}))
        dtype = self.dtype if func in _LOWERED else torch.float32 if func in _RAISED else None
        if dtype is not None and self.inside[-1] in self.lowered:
            cast = lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor  # noqa: E731
            args, kwargs = tree_map_only(torch.Tensor, cast, (args, kwargs))
        return func(*args, **(kwargs or {}))


def _fused_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **kwargs):
    query, key = query.to(value.dtype), key.to(value.dtype)
    if attn_mask is not None:
        attn_mask = attn_mask.to(value.dtype).expand(*query.shape[:3], key.shape[2])
    attend = torch.ops.aten._scaled_dot_product_efficient_attention
    return attend(query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale)[0]
