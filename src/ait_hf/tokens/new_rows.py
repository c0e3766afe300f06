# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of embeddings and heads for tokens that a model has not seen."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.weak import WeakIdKeyDictionary
from transformers import PreTrainedModel


@torch.no_grad()
def fill_new_rows(
    model: PreTrainedModel,
    ids: Sequence[int],
    new: Sequence[int],
    features: Sequence[torch.Tensor],
    num_used: int,
    seed: int,
) -> None:
    """
    Sets the rows of new tokens in the input embeddings and in the head, as projections of features.

    Args:
        model: Whose embeddings hold all `ids` already.
        ids: Ids of all tokens of a format.
        new: Those whose rows are set.
        features: Matrices with, one after the other, a row for each of `ids`; each matrix is projected by itself.
        num_used: Rows before this one are in use: theirs is the norm.
        seed: Of the projections.
    """
    if not new:
        return
    chosen = torch.tensor([list(ids).index(number) for number in new])
    for weight in _matrices(model):
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for matrix in features:
            projection = torch.randn(matrix.shape[1], weight.shape[1], generator=generator)
            parts.append(nn.functional.normalize(matrix.float() @ projection, dim=1))
        fresh = torch.zeros(len(weight), dtype=torch.bool)
        fresh[list(new)] = True
        used = weight[:num_used][~fresh[:num_used].to(weight.device)]
        rows = torch.cat(parts)[chosen] * used.float().norm(dim=1).mean().cpu()
        weight[list(new)] = rows.to(weight)


def _matrices(model: PreTrainedModel) -> list[torch.Tensor]:
    """The weights of the input embeddings and, if it is another tensor, of the head."""
    weights = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    if head is not None and head.weight is not weights[0]:
        weights.append(head.weight)
    return weights


def train_only_rows(model: PreTrainedModel, ids: Sequence[int]) -> None:
    """
    Freezes a model but for some rows of its embeddings and head.

    The gradients of the other rows are zeroed. Weight decay would move them all the same, so an optimizer with weight
    decay on these matrices is refused at its first step.

    Args:
        model: Is changed in place; `requires_grad` of all its parameters is set.
        ids: Rows that learn.
    """
    model.requires_grad_(False)
    for weight in _matrices(model):
        learns = torch.zeros(len(weight), 1, device=weight.device)
        learns[list(ids)] = 1
        weight.requires_grad_(True)
        weight.register_hook(lambda gradient, learns=learns: gradient * learns.to(gradient))
        _PARTLY_FROZEN[weight] = True


_PARTLY_FROZEN = WeakIdKeyDictionary()


def _refuse_weight_decay(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
    for group in optimizer.param_groups:
        if group.get("weight_decay") and any(weight in _PARTLY_FROZEN for weight in group["params"]):
            raise ValueError(
                f"Weight decay {group['weight_decay']} would change the rows that are not to learn: give the embeddings "
                "and the head to the optimizer with weight_decay=0."
            )


register_optimizer_step_pre_hook(_refuse_weight_decay)
