# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Attention that computes its scores twice, against the same written out, and against torch's own gradients."""

import pytest
import torch
from torch.nn import functional as F

from ait_hf import AiTSwinv2Backbone, AiTSwinv2Config
from ait_hf.model.window_attention_ait import fold_table, unfold_table, window_attention


def inputs(windows, heads, window, channels, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(windows, heads, window**2, channels)] * 3 + [(heads, 2 * window - 1, 2 * window - 1)]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def written_out(query, key, value, table):
    """One query, one head at a time; queries come in reverse order, the table from large offsets to small ones."""
    tokens, window = query.shape[2], (table.shape[1] + 1) // 2
    rows = []
    for index in range(tokens):
        row, column = divmod(tokens - 1 - index, window)
        where = torch.arange(tokens)
        bias = table[:, window - 1 - row + where // window, window - 1 - column + where % window]
        scores = torch.einsum("bhc,bhkc->bhk", query[:, :, index], key) + bias
        rows.append(torch.einsum("bhk,bhkc->bhc", scores.softmax(-1), value))
    return torch.stack(rows, dim=2)


@pytest.mark.parametrize("threads", [1, 4])
def test_values_and_gradients(threads, monkeypatch):
    # Small pieces, so that there are several of them, the last one not full.
    monkeypatch.setattr("ait_hf.model.window_attention_ait.SCORES_AT_ONCE", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    tensors = inputs(windows=3, heads=2, window=3, channels=4)
    torch.testing.assert_close(window_attention(*tensors), written_out(*tensors))
    assert torch.autograd.gradcheck(window_attention, tensors, fast_mode=True)


def test_tables_are_folded_as_they_unfold():
    (*_, table) = inputs(windows=1, heads=2, window=4, channels=1)
    pairs = torch.randn(2, 4, 4, 4, 4, dtype=torch.float64)
    (expected,) = torch.autograd.grad(unfold_table(table, 4), table, pairs)
    torch.testing.assert_close(fold_table(pairs), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    tensors = inputs(windows=2, heads=2, window=4, channels=8)
    halves = [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]
    attended = window_attention(*halves)
    assert attended.dtype == dtype
    attended.sum().backward()
    window_attention(*tensors).sum().backward()
    for half, tensor in zip(halves, tensors):
        assert half.grad.dtype == dtype
        assert (half.grad - tensor.grad).norm() < 0.02 * tensor.grad.norm()


@pytest.mark.parametrize("autocast", [False, True])
def test_backbone_with_large_windows(autocast):
    """The backbone learns through this attention where windows are large; eager attention is the reference."""
    shape = {"embed_dim": 16, "depths": [2, 1], "num_heads": [2, 2], "window_sizes": [16, 17]}
    config = AiTSwinv2Config(**shape, shifted_stages=[True, False], pretrained_window_sizes=[0, 0], drop_path_rate=0.0)
    image, gradients = torch.randn(2, 3, 80, 120, generator=torch.Generator().manual_seed(0)), {}
    for implementation in ("eager", "sdpa"):
        torch.manual_seed(0)
        backbone = AiTSwinv2Backbone._from_config(config, attn_implementation=implementation).train()
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.normal_(std=0.3)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            backbone(image).feature_maps[0].float().square().mean().backward()
        gradients[implementation] = {name: parameter.grad for name, parameter in backbone.named_parameters()}
    tolerance = 0.15 if autocast else 1e-3
    for name, expected in gradients["eager"].items():
        assert (gradients["sdpa"][name] - expected).norm() < tolerance * expected.norm(), name


def test_no_map_of_scores_is_kept():
    """What the backward pass needs grows with the number of tokens, not with its square."""
    tensors = inputs(windows=1, heads=2, window=16, channels=8, dtype=torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        loss = window_attention(*tensors).sum()
    assert sum(kept) == sum(tensor.numel() for tensor in tensors)
    loss.backward()


def test_attention_written_by_torch_is_the_same():
    query, key, value, table = inputs(windows=2, heads=3, window=4, channels=8)
    bias = unfold_table(table, 4).reshape(1, 3, 16, 16)
    expected = F.scaled_dot_product_attention(query, key, value, bias, scale=1.0)
    torch.testing.assert_close(window_attention(query, key, value, table), expected)
