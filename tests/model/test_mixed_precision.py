# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What computes in which type under autocast, and in models that are half precision as a whole."""

from collections import defaultdict

import pytest
import torch
from tiny import tiny_config
from tiny_dense import TASKS, dense_config, dense_labels, dense_model
from tiny_objects import DETECTION, FRAME, INSTANCES, object_config, object_labels, object_model
from torch import nn
from torch.nn import functional as F

from ait_hf import AiTForDenseTokenGeneration, AiTSwinv2Backbone
from ait_hf.inference.one_pass import AiTOnePass
from ait_hf.model.modeling_swinv2_ait import AiTSwinv2Attention, AiTSwinv2PositionBias, eager_attention_forward


HALF = torch.bfloat16
LAYERS = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.Conv2d, nn.ConvTranspose2d)


def models_and_batches():
    """Tiny models that have all kinds of tasks between them, with a batch for each."""
    square = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    wide = square[:, :, : FRAME[0]]
    yield (
        object_model(object_config((DETECTION, INSTANCES))),
        {task: {"pixel_values": wide, "labels": object_labels()} for task in (DETECTION, INSTANCES)},
    )
    yield (
        dense_model(dense_config()),
        {task: {"pixel_values": square, "labels": dense_labels(task)} for task in TASKS},
    )
    for parallel in (False, True):
        depth = {"pixel_values": square, "labels": 1 + square[:, 0]}
        yield dense_model(tiny_config(parallel=parallel)), {"depth": depth}


def output_types(model: nn.Module, run) -> dict[str, set[torch.dtype]]:
    """What layers of the parts of a model gave while `run()`."""
    types, hooks = defaultdict(set), []
    parts = {"backbone": "model.encoder.backbone", "tokenizers": "tokenizers"}
    for name, module in model.named_modules():
        part = next((part for part, prefix in parts.items() if name.startswith(prefix)), "solver")
        if isinstance(module, LAYERS):
            hooks.append(module.register_forward_hook(lambda _, __, output, part=part: types[part].add(output.dtype)))
    run()
    for hook in hooks:
        hook.remove()
    return types


@pytest.mark.parametrize("number", range(4))
def test_only_the_backbone_is_autocast(number):
    model, batches = list(models_and_batches())[number]

    def train():
        with torch.autocast("cpu", HALF):
            outputs = model.train()(batches=batches)
        assert outputs.loss.dtype == torch.float32
        outputs.loss.backward()

    def predict():
        with torch.autocast("cpu", HALF), torch.no_grad():
            for task, batch in batches.items():
                outputs = model.eval().generate(pixel_values=batch["pixel_values"], task=task)
                assert outputs.soft_tokens is None or outputs.soft_tokens.dtype == torch.float32

    for run in (train, predict):
        types = output_types(model, run)
        assert HALF in types["backbone"]
        assert types["solver"] == {torch.float32}
        assert types["tokenizers"] <= {torch.float32}


@pytest.mark.parametrize("number", range(4))
def test_the_solver_is_autocast_if_its_configuration_says_so(number):
    model, batches = list(models_and_batches())[number]
    with torch.no_grad():
        exact = model(batches=batches).loss
        model.config.autocast_solver = True
        with torch.autocast("cpu", HALF):
            for layer in (model.model.encoder.layers[0].mlp, model.model.decoder.layers[0].mlp):
                types = output_types(layer, lambda layer=layer: layer(torch.rand(1, 2, model.config.d_model)))
                assert types == {"solver": {HALF}}
    types = output_types(model, lambda: trained_step(model, batches))
    assert HALF in types["backbone"] and HALF in types["solver"]
    assert types["tokenizers"] <= {torch.float32}
    with torch.autocast("cpu", HALF), torch.no_grad():
        lowered = model(batches=batches)
        assert lowered.loss.dtype == torch.float32 and lowered.loss != exact
        torch.testing.assert_close(lowered.loss, exact, rtol=0.05, atol=0.05)
        for task, batch in batches.items():
            outputs = model.eval().generate(pixel_values=batch["pixel_values"], task=task)
            assert outputs.soft_tokens is None or outputs.soft_tokens.dtype == torch.float32


def trained_step(model, batches):
    with torch.autocast("cpu", HALF):
        loss = model.train()(batches=batches).loss
    loss.backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
    model.eval()


def test_autocast_changes_the_backbone_alone():
    """The decoder's logits are those of float32 where the memory is the same; in one graph as well."""
    ((model, batches),) = [pair for pair in models_and_batches() if pair[0].config.parallel]
    images = batches["depth"]["pixel_values"]
    ids = torch.full((2, 9), model.config.vocabulary.parallel_token_id)
    with torch.no_grad():
        memory = model.get_encoder()(images)
        exact = model(encoder_outputs=memory, decoder_input_ids=ids).logits
        one_pass = AiTOnePass(model, "depth")
        with torch.autocast("cpu", HALF):
            assert torch.equal(model(encoder_outputs=memory, decoder_input_ids=ids).logits, exact)
            lowered = model.get_encoder()(images).last_hidden_state
            generated = model.generate(pixel_values=images).predicted_depth
            torch.testing.assert_close(one_pass(images)["predicted_depth"], generated, rtol=1e-4, atol=1e-5)
    assert lowered.dtype == torch.float32 and not torch.equal(lowered, memory.last_hidden_state)
    torch.testing.assert_close(lowered, memory.last_hidden_state, rtol=0.1, atol=0.1)


def test_a_model_of_half_precision_is_so_throughout(tmp_path):
    model, batches = next(models_and_batches())
    model.save_pretrained(tmp_path)
    model = AiTForDenseTokenGeneration.from_pretrained(tmp_path, dtype=HALF)
    images = batches[INSTANCES]["pixel_values"].to(HALF)
    attended = []

    def spy(query, key, value, *args, attention=F.scaled_dot_product_attention, **kwargs):
        attended.extend(tensor.dtype for tensor in (query, key, value))
        return attention(query, key, value, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", spy)
        types = output_types(model, lambda: model.generate(pixel_values=images, task=INSTANCES))
    assert types == {"backbone": {HALF}, "solver": {HALF}, "tokenizers": {torch.float32}}
    assert set(attended) == {HALF}


def spread_bias(window: int) -> AiTSwinv2PositionBias:
    """A network whose biases cover most of 0 to 16, as trained ones do."""
    torch.manual_seed(0)
    module = AiTSwinv2PositionBias(num_heads=3, pretrained_window=window)
    with torch.no_grad():
        module.fc2.weight.normal_(std=0.7)
    table = module.table(window)
    assert table.min() < 2 and table.max() > 14
    return module


@pytest.mark.parametrize("autocast", [False, True])
def test_position_bias_is_computed_in_float32_and_rounded_last(autocast):
    window = 6
    module = spread_bias(window)
    if not autocast:  # as a model that was loaded in half precision
        for parameter in module.parameters():
            parameter.data = parameter.data.to(HALF).float()
    exact = module(window).detach()
    if not autocast:
        module.to(HALF)
    with torch.autocast("cpu", HALF, enabled=autocast):
        assert module.table(window).dtype == torch.float32
        rounded = module(window, HALF).detach()
        buffer = torch.empty(3, *[window] * 4, dtype=HALF)
        with torch.no_grad():
            assert torch.equal(module(window, HALF, buffer), rounded)
    assert rounded.dtype == HALF and rounded.max() == 0
    largest = module.table(window).amax(dim=(1, 2))[None, :, None, None]
    distance = largest - exact
    assert ((rounded + distance).abs() <= distance / 2**8 + 1e-5).all()  # half a unit of the last place


def test_gradient_of_the_position_bias_is_summed_in_float32():
    """The largest bias is subtracted without a part in the gradient, as no softmax depends on it."""
    window = 6
    module = spread_bias(window)
    generator = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(2, 3, window**2, 8, generator=generator) for _ in range(3))
    gradients = []
    for dtype in (torch.float32, HALF):
        module.zero_grad()
        bias = module(window, dtype)
        attended, _ = eager_attention_forward(module, query, key, value, bias.float(), scaling=0.3)
        (attended * torch.linspace(-1, 1, 8)).sum().backward()
        gradients.append(module.fc2.weight.grad.clone())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0.02, atol=0.02 * gradients[0].abs().max().item())


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("training", [False, True])
def test_queries_are_not_promoted(monkeypatch, implementation, training):
    torch.manual_seed(0)
    config = tiny_config().backbone_config
    config._attn_implementation = implementation
    backbone = AiTSwinv2Backbone(config).train(training)
    types, attend = set(), AiTSwinv2Attention.attend

    def spy(self, query, key, value, bias_buffer):
        types.update(tensor.dtype for tensor in (query, key, value))
        if bias_buffer is not None:
            types.add(bias_buffer.dtype)
        attended, weights = attend(self, query, key, value, bias_buffer)
        types.add(attended.dtype)
        return attended, weights

    monkeypatch.setattr(AiTSwinv2Attention, "attend", spy)
    with torch.autocast("cpu", HALF), torch.set_grad_enabled(training):
        backbone(torch.rand(1, 3, 96, 96))
    assert types == {HALF}
