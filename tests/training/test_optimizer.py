# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Parameter groups against the released ones, and in backbones of other makes."""

import copy
import json
import math
import re

import pytest
import torch
from tiny import tiny_config
from torch import nn
from transformers import ConvNextConfig, Dinov2Config, Swinv2Config

from ait_hf import AiTConfig, AiTForDepthEstimation, VQTokenizer
from ait_hf.conversion.original import original_parameter_name
from ait_hf.conversion.swinv2 import ORIGINAL_RULES
from ait_hf.recipes.parsing import build
from ait_hf.training.optimizer import BACKBONE, OptimizerRecipe, build_optimizer, layer_ids, parameter_groups


def our_name(original: str) -> str:
    if not original.startswith("backbone."):
        return original_parameter_name(original)
    name = re.sub(r"^backbone\.norm3\.", "norm.", original)
    for pattern, replacement in ORIGINAL_RULES:
        name = re.sub(pattern, replacement, name)
    return BACKBONE + name


def settings_by_name(model, **arguments) -> dict[str, dict]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, **arguments)
    return {names[id(parameter)]: group for group in groups for parameter in group["params"]}


@pytest.mark.parametrize("name", ["swinv2b_480reso_depthonly", "swinv2b_640reso_joint"])
def test_groups_equal_the_released_ones(golden_dir, name):
    golden = json.loads((golden_dir / "06_layer_decay" / f"{name}.json").read_text())
    with torch.device("meta"):
        model = AiTForDepthEstimation(AiTConfig())
    settings = settings_by_name(
        model,
        lr=golden["base_lr"],
        weight_decay=golden["base_weight_decay"],
        layer_decay=golden["paramwise_cfg"]["layer_decay_rate"],
    )
    expected = {our_name(original): values for original, values in golden["parameters"].items()}
    assert len(expected) == golden["n_trainable"] and settings.keys() == expected.keys()
    for key, values in expected.items():
        assert settings[key]["lr"] == pytest.approx(values["lr"], rel=1e-12), key
        assert settings[key]["weight_decay"] == values["weight_decay"], key
        assert values["group"].startswith(settings[key]["name"]), key
    assert len({id(group) for group in settings.values()}) == golden["n_groups"]


def test_frozen_parameters_are_left_out():
    model = AiTForDepthEstimation(tiny_config())
    settings = settings_by_name(model, lr=1.0)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert settings.keys() == trainable and not any("tokenizers" in name for name in settings)


def test_without_layer_decay_there_are_two_groups():
    groups = parameter_groups(AiTForDepthEstimation(tiny_config()), lr=0.5, weight_decay=0.1)
    assert sorted((group["lr"], group["weight_decay"]) for group in groups) == [(0.5, 0.0), (0.5, 0.1)]


BACKBONES = {
    "swinv2": (Swinv2Config(embed_dim=8, depths=[1, 2], num_heads=[1, 2], image_size=32, window_size=4), 3 + 1),
    "convnext": (ConvNextConfig(hidden_sizes=[4, 8], depths=[2, 1], num_stages=2), 3 + 1),
    "dinov2": (Dinov2Config(hidden_size=8, num_hidden_layers=3, num_attention_heads=2, image_size=28), 3),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_layers_of_other_backbones(name):
    config, num_layers = BACKBONES[name]
    model = AiTForDepthEstimation(tiny_config(backbone_config=config))
    names = [key for key, _ in model.named_parameters()]
    ids = layer_ids(names)
    assert set(ids.values()) == set(range(num_layers + 2))
    for key, layer in ids.items():
        inside = key.removeprefix(BACKBONE)
        if not key.startswith(BACKBONE) or inside.startswith(("layernorm", "hidden_states_norms")):
            assert layer == num_layers + 1, key
        elif inside.startswith("embeddings"):
            assert layer == 0, key
        else:
            assert 0 < layer <= num_layers, key
    inside = [ids[key] for key in names if key.startswith(BACKBONE)]
    assert inside == sorted(inside)


def test_refusals():
    tokenizer = VQTokenizer(base_channels=2, vq_embed_dim=4, sample_size=32)
    with pytest.raises(ValueError, match="layer_decay 0.9 needs a backbone"):
        parameter_groups(tokenizer, lr=1.0, layer_decay=0.9)
    with pytest.raises(ValueError, match="no trainable parameter"):
        parameter_groups(tokenizer.freeze(), lr=1.0)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_optimizer_moves_by_the_rate_of_each_group(name):
    """The first step of Adam with a constant gradient has the size of the learning rate, whatever the gradient."""
    model = AiTForDepthEstimation(tiny_config())
    optimizer = build_optimizer(model, OptimizerRecipe(name=name, lr=0.1, layer_decay=0.5))
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.full_like(parameter, 3.0)
    optimizer.step()
    for key, layer in layer_ids(key for key, p in model.named_parameters() if p.requires_grad).items():
        moved = before[key] - model.get_parameter(key).detach()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * 0.5 ** (8 - layer)), rtol=1e-4, atol=1e-6)


def muon_recipe(**changes) -> OptimizerRecipe:
    return OptimizerRecipe(**{"name": "muon", "lr": 0.1, "matrix_lr": 0.2, "weight_decay": 0.01} | changes)


class Mixed(nn.Module):
    """A matrix, and what is none: a convolution, a bias, an embedding."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.linear = nn.Linear(4, 6)
        self.conv = nn.Conv1d(4, 3, 1)


def learn(model: Mixed, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()
    optimizer.zero_grad()


def test_muon_moves_matrices_orthogonally_and_all_else_as_adamw_does():
    torch.manual_seed(0)
    model = Mixed()
    beside = copy.deepcopy(model)
    optimizer = build_optimizer(model, muon_recipe())
    adamw = build_optimizer(beside, OptimizerRecipe(lr=0.1, weight_decay=0.01))
    before = model.linear.weight.detach().clone()
    learn(model, optimizer, seed=1)
    learn(beside, adamw, seed=1)
    for name in ("embedding.weight", "linear.bias", "conv.weight", "conv.bias"):
        torch.testing.assert_close(model.get_parameter(name), beside.get_parameter(name), rtol=0, atol=0)
    moved = (before * (1 - 0.2 * 0.01) - model.linear.weight.detach()) / 0.2 / math.sqrt(6 / 4)
    lengths = torch.linalg.svdvals(moved)  # all 1 if it were exact; Newton-Schulz in bfloat16 leaves .7 to 1.2
    assert lengths.min() > 0.6 and lengths.max() < 1.3


def test_muon_goes_on_from_what_was_saved():
    torch.manual_seed(0)
    model = Mixed()
    optimizer = build_optimizer(model, muon_recipe())
    learn(model, optimizer, seed=1)
    resumed = copy.deepcopy(model)
    again = build_optimizer(resumed, muon_recipe())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for group in (*optimizer.param_groups, *again.param_groups):
        group["lr"] *= 0.5  # as a schedule does
    learn(model, optimizer, seed=2)
    learn(resumed, again, seed=2)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(resumed.get_parameter(name), parameter, rtol=0, atol=0)
    assert not torch.equal(again.state[resumed.linear.weight]["momentum_buffer"], torch.zeros(6, 4))


def test_muon_decays_towards_the_first_layers_as_others_do():
    model = AiTForDepthEstimation(tiny_config())
    optimizer = build_optimizer(model, muon_recipe(layer_decay=0.5))
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert len(rates) == len(optimizer.param_groups)
    for name in (name for name in rates if name.endswith("_matrices")):
        layer = int(name.split("_")[1])
        assert rates[name] == pytest.approx(0.2 * 0.5 ** (8 - layer))
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(settings_by_name(model, lr=1.0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "muon", "lr": 1.0}, "matrix_lr is the learning rate of matrices with name: muon"),
        ({"lr": 1.0, "matrix_lr": 1.0}, "matrix_lr is the learning rate of matrices with name: muon"),
        ({"name": "muon", "lr": 1.0, "matrix_lr": 0.0}, "matrix_lr must be above 0"),
    ],
)
def test_rates_of_muon_that_do_not_fit_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        build(OptimizerRecipe, values)


def test_muon_without_matrices_is_refused():
    with pytest.raises(ValueError, match="muon is for models with matrices"):
        build_optimizer(VQTokenizer(base_channels=2, vq_embed_dim=4, sample_size=32), muon_recipe())
