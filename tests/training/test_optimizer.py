# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Parameter groups against the released ones, and in backbones of other makes."""

import json
import re

import pytest
import torch
from tiny import tiny_config
from transformers import ConvNextConfig, Dinov2Config, Swinv2Config

from ait_hf import AiTConfig, AiTForDepthEstimation, VQTokenizer
from ait_hf.conversion.original import original_parameter_name
from ait_hf.conversion.swinv2 import ORIGINAL_RULES
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
