# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Parameter groups: learning rates that decay towards the backbone's first layers, and no weight decay where it hurts; and the
schedules that multiply these rates.

timm's `param_groups_layer_decay` asks the model for a `group_matcher` that knows its layers by name, and exempts by
name and dimension only. transformers' backbones have none, so the layers are found here, in any backbone, by the
numbered containers that its parameter names go through.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import field
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ..recipes.parsing import as_section


BACKBONE = "model.encoder.backbone."  # where AiT models keep theirs

# `stages.2.blocks.11.`, `encoder.layers.2.blocks.11.`, `layers_2.blocks.11.`, `encoder.layer.11.`; what a stage has beside
# its blocks, as `stages.2.` of `stages.2.merging.norm`, is a layer of its own.
_BLOCK = re.compile(r"^(?:.*?\b)?(?:stages|layers|layer|blocks)[._]\d+\.(?:(?:layers|layer|blocks)\.\d+\.)?")
# Position-bias tables and the networks that make them, logit scales, and learned tokens and positions that are bare
# parameters. (Those in an `nn.Embedding` are found by type, biases and norms by their one dimension.)
_NO_WEIGHT_DECAY = re.compile(r"position_bias|cpb_mlp|logit_scale|(?:embed|embeddings|token|tokens)$")


@as_section
class OptimizerRecipe:
    """
    Args:
        name (`str`): `"adamw"`; `"adam"`, whose weight decay is an L2 penalty; or `"muon"` (Jordan et al., 2024), by which
            matrices are moved in orthogonal steps, and by AdamW all else: convolutions, biases, norms, embeddings, and what
            else has no weight decay. Small models learn sooner by it (`docs/log.md`).
        lr (`float`): Learning rate of the last layers; a schedule multiplies it.
        matrix_lr (`float`): With Muon, that of matrices: about the length of a step in every direction.
        weight_decay (`float`): Not applied to biases, norms, embeddings, position-bias networks and logit scales.
        betas (`list[float]`): Decay of the running averages.
        layer_decay (`float`): Factor from each backbone layer to the one before it; 1 for one rate everywhere.
    """

    lr: float
    name: Literal["adam", "adamw", "muon"] = "adamw"
    matrix_lr: float | None = None
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    layer_decay: float = 1.0

    def validate_ranges(self):
        if self.lr <= 0 or self.weight_decay < 0 or not 0 < self.layer_decay <= 1:
            raise ValueError("lr must be above 0, weight_decay at least 0, layer_decay above 0 and at most 1.")
        if (self.matrix_lr is not None) != (self.name == "muon"):
            raise ValueError("matrix_lr is the learning rate of matrices with name: muon: give both or neither.")
        if self.matrix_lr is not None and self.matrix_lr <= 0:
            raise ValueError(f"matrix_lr must be above 0, got {self.matrix_lr}.")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers from 0 to below 1, got {self.betas}.")


def build_optimizer(model: nn.Module, recipe: OptimizerRecipe) -> torch.optim.Optimizer:
    """Optimiser over the trainable parameters of `model`, in the groups of [`parameter_groups`]."""
    groups = parameter_groups(model, recipe.lr, recipe.weight_decay, recipe.layer_decay)
    if recipe.name == "muon":
        return MuonWithAdamW(groups, recipe.matrix_lr / recipe.lr, tuple(recipe.betas))
    optimizer_class = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.name]
    return optimizer_class(groups, lr=recipe.lr, betas=tuple(recipe.betas), fused=True)


class MuonWithAdamW(torch.optim.Optimizer):
    """
    torch's Muon for matrices and its fused AdamW for all else, which share their groups and their state: so they are scheduled,
    saved, resumed and told of skipped steps (`found_inf`) as one.

    Args:
        groups (`list[dict]`): As of [`parameter_groups`]; what decays and has two dimensions is a matrix.
        ratio (`float`): Of the learning rate of matrices to that of their group.
        betas (`tuple[float, float]`): Of AdamW.

    `ValueError` if there is no matrix.
    """

    def __init__(self, groups: list[dict[str, Any]], ratio: float, betas: tuple[float, float]):
        matrices, others = [], []
        for group in groups:
            parts = {True: [], False: []}
            for parameter in group["params"]:
                parts[parameter.ndim == 2 and not group["name"].endswith("no_decay")].append(parameter)
            if parts[True]:
                name = f"{group['name']}_matrices"
                matrices.append(group | {"params": parts[True], "lr": ratio * group["lr"], "name": name})
            if parts[False]:
                others.append(group | {"params": parts[False]})
        if not matrices:
            raise ValueError("optimizer.name muon is for models with matrices, which this one lacks: take adamw.")
        self.muon, self.adamw = torch.optim.Muon(matrices), torch.optim.AdamW(others, betas=betas, fused=True)
        super().__init__([*self.muon.param_groups, *self.adamw.param_groups], {})
        for parameter in (parameter for group in self.muon.param_groups for parameter in group["params"]):
            self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        """Both parts know the groups and the state of the whole."""
        count = len(self.muon.param_groups)
        self.muon.param_groups, self.adamw.param_groups = self.param_groups[:count], self.param_groups[count:]
        self.muon.state = self.adamw.state = self.state

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        skipped = getattr(self, "found_inf", None)
        before = []
        if skipped is not None:  # Muon does not take it, so what it changes is chosen from two copies
            self.adamw.found_inf = skipped
            for parameter in (parameter for group in self.muon.param_groups for parameter in group["params"]):
                before += [
                    (tensor, tensor.clone()) for tensor in (parameter, self.state[parameter]["momentum_buffer"])
                ]
        self.muon.step()
        self.adamw.step()
        for tensor, copy in before:
            tensor.copy_(torch.where(skipped > 0, copy, tensor))


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float = 0.0, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """
    Groups of the trainable parameters with their own `lr` and `weight_decay`, and a `name` such as `layer_3_no_decay`.

    With L layers in the backbone ([`layer_ids`]) the learning rate of layer i is `lr * layer_decay ** (L - i)`.
    `ValueError` if the model has no trainable parameter, or layer decay is asked of a model without a backbone.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not parameters:
        raise ValueError(f"{type(model).__name__} has no trainable parameter; a frozen model cannot be trained.")
    if layer_decay != 1 and not any(name.startswith(BACKBONE) for name in parameters):
        raise ValueError(f"layer_decay {layer_decay} needs a backbone, which {type(model).__name__} does not have.")
    tables = [name for name, module in model.named_modules() if isinstance(module, (nn.Embedding, nn.EmbeddingBag))]
    embeddings = {f"{name}.weight" for name in tables}
    ids = layer_ids(parameters)
    last = max(ids.values())
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in parameters.items():
        exempt = parameter.ndim <= 1 or name in embeddings or _NO_WEIGHT_DECAY.search(name) is not None
        layer = ids[name] if layer_decay != 1 else last
        key, decay = f"layer_{layer}_{'no_decay' if exempt else 'decay'}", 0.0 if exempt else weight_decay
        rate = lr * layer_decay ** (last - layer)
        group = groups.setdefault(key, {"params": [], "lr": rate, "weight_decay": decay, "name": key})
        group["params"].append(parameter)
    return list(groups.values())


def layer_ids(names: Iterable[str]) -> dict[str, int]:
    """
    Layer of every parameter of a model by its name: 0 for what comes before the backbone's first block, then every
    block and every merging in their order, and one more for everything else (the backbone's last norm included). The
    names are in the order of `named_parameters()`.
    """
    blocks: dict[str, int] = {}
    ids: dict[str, int | None] = {}
    for name in names:
        inside = name.removeprefix(BACKBONE) if name.startswith(BACKBONE) else None
        block = None if inside is None else _BLOCK.match(inside)
        if block is not None:
            ids[name] = blocks.setdefault(block.group(), len(blocks) + 1)
        else:
            ids[name] = 0 if inside is not None and not blocks else None
    return {name: len(blocks) + 1 if layer is None else layer for name, layer in ids.items()}


# Learning-rate schedules: the rate of optimiser step `t` (from 0) is `factor(t)` times a parameter group's own rate. They run on
# torch's `LambdaLR`. The factors are written out because the released recipes multiply the warm-up with the regular schedule,
# which goes on counting from step 0; transformers' and timm's schedules start it after the warm-up or warm up to one absolute
# rate, which layer decay does not have.


@as_section
class WarmupSchedule:
    """
    What the schedules below share.

    Args:
        warmup_steps (`int`): The factor rises linearly from `warmup_ratio` to 1 over the first so many steps; it
            multiplies the regular schedule.
        warmup_ratio (`float`): Factor of the very first step, 0..1.
    """

    warmup_steps: int = 0
    warmup_ratio: float = 0.0

    def validate_warmup(self):
        if self.warmup_steps < 0 or not 0 <= self.warmup_ratio <= 1:
            raise ValueError("warmup_steps must be at least 0 and warmup_ratio between 0 and 1.")

    def factor(self, step: int, max_steps: int) -> float:
        """Rate of a step, relative to the group's own."""
        factor = self.regular_factor(step, max_steps)
        if step < self.warmup_steps:
            factor *= 1 - (1 - step / self.warmup_steps) * (1 - self.warmup_ratio)
        return factor

    def regular_factor(self, step: int, max_steps: int) -> float:
        """The schedule without its warm-up."""
        return 1.0


@as_section
class ConstantSchedule(WarmupSchedule):
    """The same rate throughout."""

    name: Literal["constant"] = "constant"


@as_section
class StepSchedule(WarmupSchedule):
    """Times `gamma` at each of the steps `milestones`."""

    name: Literal["step"] = "step"
    milestones: list[int]
    gamma: float = 0.1

    def regular_factor(self, step: int, max_steps: int) -> float:
        return self.gamma ** bisect_right(sorted(self.milestones), step)


@as_section
class ExponentialSchedule(WarmupSchedule):
    """Times `gamma` every `every` steps."""

    name: Literal["exponential"] = "exponential"
    gamma: float
    every: int = 1

    def validate_every(self):
        if self.every < 1:
            raise ValueError(f"every must be at least 1 step, got {self.every}.")

    def regular_factor(self, step: int, max_steps: int) -> float:
        return self.gamma ** (step // self.every)


@as_section
class LinearSchedule(WarmupSchedule):
    """Straight from 1 to `final_ratio`."""

    name: Literal["linear"] = "linear"
    final_ratio: float = 0.0

    def regular_factor(self, step: int, max_steps: int) -> float:
        return 1 + (self.final_ratio - 1) * step / max_steps


@as_section
class CosineSchedule(WarmupSchedule):
    """Half a cosine from 1 to `final_ratio`."""

    name: Literal["cosine"] = "cosine"
    final_ratio: float = 0.0

    def regular_factor(self, step: int, max_steps: int) -> float:
        return _cosine(1.0, self.final_ratio, step / max_steps)


@as_section
class OneCycleSchedule:
    """
    Half a cosine up, half a cosine down: torch's `OneCycleLR` with its defaults, its peak being the group's own rate.

    Args:
        rise (`float`): Share of the steps until the peak.
        initial_ratio, final_ratio (`float`): Factors of the first and the last step.
    """

    name: Literal["one_cycle"] = "one_cycle"
    rise: float = 0.3
    initial_ratio: float = 0.04
    final_ratio: float = 4e-6

    def validate_rise(self):
        if not 0 < self.rise < 1:
            raise ValueError(f"rise is a share of the steps, above 0 and below 1, got {self.rise}.")

    def factor(self, step: int, max_steps: int) -> float:
        peak = self.rise * max_steps - 1
        if step < peak:
            return _cosine(self.initial_ratio, 1.0, step / peak)
        return _cosine(1.0, self.final_ratio, min(1.0, (step - peak) / (max_steps - 1 - peak)))


Schedule = ConstantSchedule | StepSchedule | ExponentialSchedule | LinearSchedule | CosineSchedule | OneCycleSchedule


def build_schedule(optimizer: torch.optim.Optimizer, schedule: Schedule, max_steps: int) -> LambdaLR:
    """Scheduler to step once per optimiser step, `max_steps` times; its factors multiply each group's `lr`."""
    return LambdaLR(optimizer, lambda step: schedule.factor(step, max_steps))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
