# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Attention inside windows whose maps of scores never leave the processor's cache, for training on a CPU.

torch's fused attention has no gradient for a learned bias on a CPU: it falls back to writing the scores, the bias and the
softmax of all heads to memory and keeps two of them for the backward pass, 100 MB in every block of a window of 30.
Here a head at a time is computed in one small piece of memory, and once more in the backward pass.
"""

import torch
from torch.autograd.function import once_differentiable


SCORES_AT_ONCE = 2**20  # 4 MB: what a core's share of the cache holds


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The type for sums and quotients that half precision cannot hold."""
    return torch.promote_types(dtype, torch.float32)


def autocast_dtype(states: torch.Tensor) -> torch.dtype:
    """The type that linear layers give these states: their own, or that of autocast."""
    device = states.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return states.dtype
    return torch.get_autocast_dtype(device)


def unfold_table(table: torch.Tensor, window: int) -> torch.Tensor:
    """
    The position bias between all pairs of tokens of a window, `(heads, window, window, window, window)`, from the bias
    by row and column offset, `(heads, 2 * window - 1, 2 * window - 1)`. It is a view; rows and columns of the queries,
    in **reverse order**, then of the keys. That order makes neighbours of overlapping slices of the table.
    """
    return table.unfold(1, window, 1).unfold(2, window, 1)


def fold_table(pairs: torch.Tensor) -> torch.Tensor:
    """Adjoint of [`unfold_table`]: the sum of all pairs (heads, window, window, window, window) of the same offset."""
    heads, window = pairs.shape[:2]
    reach = 2 * window - 1
    by_column = torch.ops.aten.unfold_backward(pairs, [heads, window, reach, window], 2, window, 1)
    return torch.ops.aten.unfold_backward(by_column, [heads, reach, reach], 1, window, 1)


class _WindowAttention(torch.autograd.Function):
    """See [`window_attention`]; here images and heads are one dimension, `(units, tokens, head_dim)`."""

    @staticmethod
    def _parts(query: torch.Tensor, table: torch.Tensor):
        """Slices of a few units, and the heads that they belong to."""
        units = len(query)
        heads = torch.arange(units, device=query.device) % len(table)
        size = _WindowAttention._units_at_once(query)
        for start in range(0, units, size):
            part = slice(start, min(start + size, units))
            yield part, heads[part]

    @staticmethod
    def _units_at_once(query: torch.Tensor) -> int:
        """One for every thread at least, more of small windows."""
        units, tokens, _ = query.shape
        return min(units, max(torch.get_num_threads(), SCORES_AT_ONCE // tokens**2))

    @staticmethod
    def _weights(query: torch.Tensor, key: torch.Tensor, table: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Attention weights (units, tokens, tokens) of a part, written to the first rows of `memory`."""
        window = (table.shape[-1] + 1) // 2
        weights = memory[: len(query)]
        weights.unflatten(1, (window, window)).unflatten(3, (window, window)).copy_(unfold_table(table, window))
        # Multiplication by a matrix of few rows is twice as fast where its rows lie in one piece.
        weights.baddbmm_(query, key.mT.contiguous())
        return torch.softmax(weights, dim=-1, out=weights)

    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def forward(ctx, query, key, value, table):
        ctx.save_for_backward(query, key, value, table)
        dtype = at_least_float32(query.dtype)
        memory = query.new_empty(_WindowAttention._units_at_once(query), *[query.shape[1]] * 2, dtype=dtype)
        attended = torch.empty_like(query)
        for part, heads in _WindowAttention._parts(query, table):
            q, k, v = (tensor[part].to(dtype) for tensor in (query, key, value))
            attended[part] = _WindowAttention._weights(q, k, table[heads].to(dtype), memory) @ v
        return attended

    @staticmethod
    @once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(ctx, gradient):
        query, key, value, table = ctx.saved_tensors
        dtype = at_least_float32(query.dtype)
        memory = query.new_empty(2, _WindowAttention._units_at_once(query), *[query.shape[1]] * 2, dtype=dtype)
        window = (table.shape[-1] + 1) // 2
        gradients = tuple(torch.empty_like(tensor) for tensor in (query, key, value))
        table_gradient = torch.zeros_like(table, dtype=dtype)
        for part, heads in _WindowAttention._parts(query, table):
            q, k, v, g = (tensor[part].to(dtype) for tensor in (query, key, value, gradient))
            weights = _WindowAttention._weights(q, k, table[heads].to(dtype), memory[0])
            gradients[2][part] = weights.mT @ g
            scores = torch.bmm(g, v.mT.contiguous(), out=memory[1, : len(q)])
            torch.ops.aten._softmax_backward_data.out(scores, weights, -1, dtype, grad_input=scores)
            gradients[0][part] = scores @ k
            gradients[1][part] = scores.mT @ q
            pairs = scores.unflatten(1, (window, window)).unflatten(3, (window, window))
            table_gradient.index_add_(0, heads, fold_table(pairs))
        return *gradients, table_gradient.to(table.dtype)


def window_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """
    `softmax(query keyᵀ + bias) value`, all `(windows, heads, window**2, head_dim)` on the CPU, the queries in reverse
    order, with the bias of [`unfold_table`]; the softmax in float32 at least. Differentiable once.
    """
    units = (tensor.flatten(0, 1) for tensor in (query, key, value))
    return _WindowAttention.apply(*units, table).unflatten(0, query.shape[:2])
