# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions of a CPU's bfloat16 trainings are those of float32, and no others are."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from ait_hf.training.depthwise import depthwise_in_float32


CPU = SimpleNamespace(device=torch.device("cpu"), mixed_precision="bf16")  # what is asked of an Accelerator


def outputs(convolution: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16), depthwise_in_float32(convolution, CPU):
        return convolution(images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_values_and_gradients_are_those_of_float32(strides, dtype):
    torch.manual_seed(0)
    convolution = nn.Conv2d(6, 6, 3, stride=strides, padding=1, groups=6)
    images = torch.randn(2, 6, 9, 8).to(dtype)
    expected = convolution(images.float())
    (expected**2).sum().backward()
    gradient = convolution.weight.grad.clone()
    convolution.zero_grad()

    found = outputs(convolution, images)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected.to(dtype))
    (found.float() ** 2).sum().backward()
    rounding = {} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}  # of the outputs
    torch.testing.assert_close(convolution.weight.grad, gradient, **rounding)


@pytest.mark.parametrize(("channels", "groups"), [(4, 1), (4, 2), (1, 1)])
def test_others_stay_in_bfloat16(channels, groups):
    """Also those of a model that has a depthwise one, too."""
    model = nn.ModuleList([nn.Conv2d(channels, 4, 3, groups=groups), nn.Conv2d(4, 4, 3, groups=4)])
    with torch.autocast("cpu", torch.bfloat16), depthwise_in_float32(model, CPU):
        assert model[0](torch.randn(1, channels, 8, 8)).dtype == torch.bfloat16


@pytest.mark.parametrize(("device", "precision"), [("cpu", "no"), ("cuda", "bf16"), ("mps", "bf16")])
def test_only_on_a_cpu_in_bfloat16(device, precision):
    accelerator = SimpleNamespace(device=torch.device(device), mixed_precision=precision)
    convolution = nn.Conv2d(4, 4, 3, groups=4)
    with torch.autocast("cpu", torch.bfloat16), depthwise_in_float32(convolution, accelerator):
        assert convolution(torch.randn(1, 4, 8, 8)).dtype == torch.bfloat16


class Block(GradientCheckpointingLayer):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(4, 4, 3, groups=4)
        self.gradient_checkpointing = True
        self._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.convolution(images).square()


def test_layers_that_are_computed_again_are_left_alone():
    block = Block().train()
    # An error if it came out in another dtype the second time.
    outputs(block, torch.randn(1, 4, 8, 8)).sum().backward()
    assert block.convolution.weight.grad.any()
