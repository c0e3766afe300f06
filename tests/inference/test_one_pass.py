# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""One graph against `generate()`."""

import pytest
import torch
from tiny import mixed_config, spread_weights, tiny_config
from training_runs import run_in_processes

from ait_hf import AiTForDenseTokenGeneration, AiTSwinv2Backbone
from ait_hf.inference.one_pass import AiTOnePass


def random_model(config):
    torch.manual_seed(0)
    model = AiTForDenseTokenGeneration(config).eval()
    spread_weights(model)
    with torch.no_grad():
        model.tokenizers["depth"].quantizer.embedding.weight.normal_()
        model.tokenizers["depth"].decoder.conv_out.bias.fill_(3.0)
    return model


@pytest.fixture(scope="module")
def model():
    return random_model(tiny_config(parallel=True))


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def expected(model, images):
    outputs = model.generate(pixel_values=images)
    assert outputs.predicted_depth.std() > 1e-3  # else everything would be equal
    return {name: outputs[name] for name in ("predicted_depth", "uncertainty")}


def test_same_as_generate(model, images, expected):
    with torch.no_grad():
        torch.testing.assert_close(AiTOnePass(model, "depth")(images), expected, rtol=1e-4, atol=1e-5)


def test_exported(model, images, expected, tmp_path):
    with torch.no_grad():
        program = torch.export.export(AiTOnePass(model, "depth"), (images,))
    torch.export.save(program, tmp_path / "depth.pt2")
    loaded = torch.export.load(tmp_path / "depth.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), expected, rtol=1e-4, atol=1e-5)


def test_compiled_as_one_graph(model, images, expected):
    torch.compiler.reset()
    compiled = torch.compile(AiTOnePass(model, "depth"), fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), expected, rtol=1e-4, atol=1e-5)


def check_inductor(model, images, expected) -> None:
    compiled = torch.compile(AiTOnePass(model, "depth"), fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_compiled_by_inductor(model, images, expected):
    """In a process of its own: after it and a backward pass no process that is forked could train."""
    run_in_processes(1, check_inductor, model, images, expected)


@pytest.mark.parametrize("training", [False, True])
def test_backbone_compiled_as_one_graph(training, images):
    torch.manual_seed(0)
    backbone = AiTSwinv2Backbone(tiny_config().backbone_config)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.normal_(std=0.3)
    torch.compiler.reset()
    compiled = torch.compile(backbone, fullgraph=True, backend="aot_eager")
    gradients = []
    for run in (backbone, compiled):
        backbone.zero_grad()
        with torch.set_grad_enabled(training):
            features = run(images).feature_maps[0]
        if training:
            features.square().mean().backward()
            gradients.append([features.detach()] + [parameter.grad for parameter in backbone.parameters()])
        else:
            gradients.append([features])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4)


def test_what_one_graph_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="'depth' takes several passes"):
        AiTOnePass(random_model(tiny_config()), "depth")
    parallel = AiTForDenseTokenGeneration(mixed_config(parallel=True))
    with pytest.raises(ValueError, match="'objects' takes several passes"):
        AiTOnePass(parallel, "objects")
