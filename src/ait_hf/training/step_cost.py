# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
What a training step costs, counted and not run: floating-point operations and the largest sum of living tensors.

A model on torch's meta device has shapes and no numbers. Its forward and backward pass are gone through operation by
operation, as on a GPU: attention fused, and precision lowered where `torch.autocast` would.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import astuple, dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


# The functions among CUDA autocast's lists that our models and the library's backbones call.
_LOWERED = {F.linear, F.conv2d, F.conv_transpose2d, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__}
_LOWERED |= {torch.bmm, torch.Tensor.bmm, torch.baddbmm, torch.addmm}
_RAISED = {F.layer_norm, F.group_norm, F.softmax, torch.softmax, torch.Tensor.softmax, F.cross_entropy, F.mse_loss}


PRECISIONS = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class StepCost:
    """
    Of forward and backward of one batch.

    Args:
        flops (`float`): Floating-point operations, a multiplication and an addition being two.
        bytes (`float`): Most memory that activations and temporary tensors have at one time; gradients of parameters,
            which accumulate in memory that is there already, are none of these.
        kernels (`float`): Operations that write a tensor, each of which a GPU has to be told about.
    """

    flops: float
    bytes: float
    kernels: float


@dataclass(frozen=True)
class LinearCost:
    """The cost of any batch from those of 1 and 2 samples: `fixed + samples * per_sample`."""

    fixed: StepCost
    per_sample: StepCost

    @classmethod
    def from_two(cls, one: StepCost, two: StepCost) -> "LinearCost":
        slope = StepCost(two.flops - one.flops, two.bytes - one.bytes, two.kernels - one.kernels)
        return cls(StepCost(*(first - rise for first, rise in zip(astuple(one), astuple(slope)))), slope)

    def of(self, samples: int) -> StepCost:
        pairs = zip(astuple(self.fixed), astuple(self.per_sample))
        return StepCost(*(fixed + samples * rise for fixed, rise in pairs))


class PeakMemory(TorchDispatchMode):
    """
    The largest sum of the bytes of tensors that are made inside and live at one time (those that are there before do not
    count, nor does what an allocator adds), and the number of operations that are more than another view.
    """

    def __init__(self):
        super().__init__()
        self.living = 0
        self.peak = 0
        self.kernels = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = {_key(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        self.kernels += not func.is_view
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and _key(leaf) not in before | self._known:
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.living += size
        self.peak = max(self.peak, self.living)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.living -= size


class _Autocast(TorchFunctionMode):
    """`torch.autocast`, which does not know the meta device."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        dtype = self.dtype if func in _LOWERED else torch.float32 if func in _RAISED else None
        if dtype is not None:
            args, kwargs = tree_map(lambda value: _cast(value, dtype), (args, kwargs))
        return func(*args, **kwargs)


def lowered(precision: str) -> AbstractContextManager:
    """Inside, operations have the types that CUDA's autocast gives them; `precision` is `"no"`, `"fp16"` or `"bf16"`."""
    return nullcontext() if precision == "no" else _Autocast(PRECISIONS[precision])


def step_cost(model: nn.Module, step: Callable[[], torch.Tensor]) -> StepCost:
    """
    Args:
        model: On the meta device, or any other, where it is run. Is left with gradients.
        step: Its forward pass, whose result is the loss.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flops, memory = FlopCounterMode(display=False), PeakMemory()
    with ExitStack() as stack:
        for context in (_fused_attention(), flops, memory):
            stack.enter_context(context)
        step().backward()
    return StepCost(flops.get_total_flops(), memory.peak, memory.kernels)


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Attention by the kernel that a GPU takes; on the meta device torch would write it out."""
    ALL_ATTENTION_FUNCTIONS["sdpa"] = _memory_efficient_attention
    try:
        yield
    finally:
        del ALL_ATTENTION_FUNCTIONS["sdpa"]  # what stands there for all instances shows again


def _memory_efficient_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """In the library's interface. Query, key and value (batch, heads, length, head_dim)."""
    dtype = torch.promote_types(query.dtype, value.dtype)
    if attention_mask is not None:
        shape = (*query.shape[:3], key.shape[2])
        attention_mask = attention_mask.to(dtype).expand(shape)
    causal = module.is_causal if is_causal is None else is_causal
    attended = torch.ops.aten._scaled_dot_product_efficient_attention(
        *(tensor.to(dtype) for tensor in (query, key, value)),
        attention_mask,
        True,
        is_causal=causal and attention_mask is None,
        scale=scaling,
    )[0]
    return attended.transpose(1, 2), None


def _key(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _cast(value, dtype: torch.dtype):
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
