# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Steps whose loss or gradients are not finite pass without a trace."""

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import DistributedType
from torch import nn

from ..model.quantization_ait import EMACodebook


class StepGuard:
    """
    Undoes what a step with NaN or infinity would do to weights, optimiser, codebooks and running statistics.

    Nothing here asks the device whether a step was good, so it never has to wait: the optimiser is told by the tensor
    that torch's fused optimisers take for this (`found_inf`, as of gradient scaling), and all else that a forward
    changes is chosen from two copies. The model is in training mode, the optimiser one of torch's fused ones, both as
    Accelerate wrapped them.
    """

    def __init__(self, model: nn.Module, optimizer: AcceleratedOptimizer, accelerator: Accelerator):
        self.optimizer = optimizer.optimizer
        # A scaler and DeepSpeed tell the optimiser by themselves.
        self.tells = accelerator.scaler is None and accelerator.distributed_type != DistributedType.DEEPSPEED
        self.state = list(_changed_by_forward(model))
        self.before = [tensor.clone() for tensor in self.state]

    @torch.no_grad()
    def remember(self) -> None:
        """Before the first forward of a step."""
        for before, tensor in zip(self.before, self.state):
            before.copy_(tensor)

    @torch.no_grad()
    def judge(self, grad_norm: torch.Tensor) -> torch.Tensor:
        """Before the optimiser's step, from the norm of all gradients over all processes, of shape `()`: 1 if the step
        is skipped, else 0; float32 of shape `()`, the same on all processes."""
        skipped = torch.isfinite(grad_norm).logical_not()
        if self.tells:
            self.optimizer.found_inf = skipped.float()
        for before, tensor in zip(self.before, self.state):
            tensor.copy_(torch.where(skipped, before, tensor))
        return skipped.float()


def poison(loss: torch.Tensor) -> torch.Tensor:
    """
    The same loss, whose gradients are NaN if it is not finite. Gradients are shared by all processes, losses are not: so
    all learn of it without a further message. (A loss can be infinite while its gradients are finite.)
    """
    return loss * torch.where(torch.isfinite(loss.detach()), 1.0, torch.nan)


def _changed_by_forward(model: nn.Module):
    """Running statistics and codebooks. What is frozen is in evaluation mode and does not change."""
    for module in model.modules():
        if module.training:
            yield from (buffer for buffer in module.buffers(recurse=False) if buffer.is_floating_point())
            if isinstance(module, EMACodebook):
                yield module.embedding.weight
