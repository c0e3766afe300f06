# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What transformers expects of every model: loading, freezing, outputs, compilation, continued generation."""

import pytest
import torch
from tiny import mixed_config, tiny_config
from tiny_dense import dense_config
from torch import nn
from transformers import CompileConfig

from ait_hf import AiTForDenseTokenGeneration, AiTForDepthEstimation, AiTModel
from ait_hf.model.caching_ait import new_cache


CLASSES = [AiTModel, AiTForDenseTokenGeneration, AiTForDepthEstimation]
LENGTH = 9  # tokens of the tiny depth task


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def make_model(model_class=AiTForDenseTokenGeneration, attn_implementation="sdpa", **changes):
    torch.manual_seed(0)
    model = model_class._from_config(tiny_config(**changes), attn_implementation=attn_implementation).eval()
    with torch.no_grad():  # untrained logits are all alike; spread them, so that choices are clear
        model.get_input_embeddings().weight.normal_()
    return model


@pytest.mark.parametrize("model_class", CLASSES)
def test_every_weight_can_be_initialised_after_the_meta_device(model_class):
    with torch.device("meta"):
        model = model_class(tiny_config())
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(torch.nan)
    model.init_weights()
    assert [name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_loaded_tokenizers_are_float32_and_frozen_and_the_rest_is_neither(tmp_path, dtype):
    make_model().save_pretrained(tmp_path)
    model = AiTForDenseTokenGeneration.from_pretrained(tmp_path, dtype=dtype)
    for mode in (False, True):
        model.train(mode)
        for name, parameter in model.named_parameters():
            is_tokenizer = name.startswith("tokenizers.")
            assert parameter.dtype == (torch.float32 if is_tokenizer else dtype), name
            assert parameter.requires_grad == (not is_tokenizer), name
        assert not model.tokenizers["depth"].training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("config", [tiny_config(), dense_config()])
def test_tokenizers_of_a_model_built_in_half_precision_are_float32(config, dtype):
    model = AiTForDenseTokenGeneration._from_config(config, dtype=dtype)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == (torch.float32 if name.startswith("tokenizers.") else dtype), name


@pytest.mark.parametrize("model_class", CLASSES)
def test_modules_to_keep_in_float32_exist(model_class):
    model = model_class(tiny_config())
    for name in model._keep_in_fp32_modules_strict:
        assert any(name in key.split(".") for key in model.state_dict())


@pytest.mark.parametrize("model_class", CLASSES)
def test_input_embeddings_can_be_replaced(model_class):
    model = make_model(model_class)
    embeddings = nn.Embedding(model.config.vocab_size, model.config.d_model)
    model.set_input_embeddings(embeddings)
    assert model.get_input_embeddings() is embeddings
    assert model.get_decoder().embed_tokens is embeddings


@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.parametrize("modality", [None, "image"])
def test_the_encoder_is_found_by_what_it_reads(model_class, modality):
    model = make_model(model_class)
    assert type(model.get_encoder(modality=modality)).__name__ == "AiTEncoder"


def test_special_token_ids_are_declared_absent():
    config = tiny_config().get_text_config(decoder=True)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (None, None, None)


def test_logits_of_chosen_positions(images):
    model = make_model()
    ids = torch.randint(0, 100, (2, 6))
    with torch.no_grad():
        every = model(pixel_values=images, decoder_input_ids=ids).logits
        chosen = model(pixel_values=images, decoder_input_ids=ids, logits_to_keep=torch.tensor([1, 4])).logits
    torch.testing.assert_close(chosen, every[:, [1, 4]])


def test_hidden_states_are_selected_by_the_depth_of_their_own_stack(images):
    model = make_model(AiTModel, encoder_layers=3, decoder_layers=1)
    outputs = model(pixel_values=images, output_hidden_states=[-1])
    assert [state is not None for state in outputs.encoder_hidden_states] == [False, False, False, True]
    assert [state is not None for state in outputs.decoder_hidden_states] == [False, True]


@pytest.mark.parametrize("given", ["images", "labels", "tokens"])
@pytest.mark.parametrize("by_config", [True, False])
def test_depth_estimator_returns_states_and_attentions_when_asked(images, given, by_config):
    asked = {"output_attentions": True, "output_hidden_states": True}
    model = make_model(AiTForDepthEstimation, attn_implementation="eager")
    if by_config:
        model.config.update(asked)
    inputs = {
        "images": {},
        "labels": {"labels": torch.full((2, 96, 96), 3.0)},
        "tokens": {"decoder_input_ids": torch.full((2, 1), model.grammar("depth").start_token_id)},
    }[given]
    outputs = model(pixel_values=images, **inputs, **({} if by_config else asked))
    prefix = "encoder_" if given == "tokens" else ""
    assert [tuple(a.shape) for a in outputs[prefix + "attentions"]] == [(2, 4, 9, 9)] * 2
    assert [tuple(h.shape) for h in outputs[prefix + "hidden_states"]] == [(2, 9, 32)] * 3


@pytest.mark.parametrize("soft_solver", [True, False])
def test_static_cache_compiles_one_graph_for_all_steps_and_images(images, soft_solver):
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    compile_config = CompileConfig(fullgraph=True, dynamic=False, backend=backend, mode=None)
    compile_config._compile_all_devices = True
    model = make_model()
    torch.compiler.reset()
    for batch in images.split(1):
        eager = model.generate(pixel_values=batch, soft_solver=soft_solver)
        compiled = model.generate(
            pixel_values=batch,
            soft_solver=soft_solver,
            cache_implementation="static",
            compile_config=compile_config,
        )
        assert torch.equal(eager.sequences, compiled.sequences)
        torch.testing.assert_close(eager.soft_tokens, compiled.soft_tokens, rtol=1e-4, atol=1e-5)
    assert len(graphs) == 1


def test_grammars_can_be_compiled():
    """They are part of every training pass."""
    model = make_model(parallel=True)

    def build_inputs(tokens):
        return model.grammar("depth").decoder_input_ids(tokens)

    tokens = torch.randint(88, 100, (2, LENGTH))
    compiled = torch.compile(build_inputs, fullgraph=True, backend="eager")(tokens)
    assert torch.equal(compiled, build_inputs(tokens))


def test_the_cache_has_its_new_and_its_old_name(images):
    model = make_model()
    memory = model.get_encoder()(images)
    tokens = torch.tensor([[model.config.vocabulary.task_token_id(2), *range(LENGTH - 1)]] * len(images))
    whole = model(encoder_outputs=memory, decoder_input_ids=tokens).logits
    for name in ("cache", "past_key_values"):
        cache = new_cache(model.config)
        for part in tokens.split([2, LENGTH - 2], dim=1):
            outputs = model(encoder_outputs=memory, decoder_input_ids=part, use_cache=True, **{name: cache})
        assert outputs.get("past_key_values") is cache and cache.get_seq_length() == LENGTH
        torch.testing.assert_close(outputs.logits, whole[:, 2:], rtol=1e-4, atol=1e-5)


def test_generation_goes_on_from_its_own_cache(images):
    model = make_model()
    whole = model.generate(pixel_values=images, soft_solver=False)
    begun = model.generate(pixel_values=images, soft_solver=False, max_new_tokens=LENGTH - 3)
    continued = model.generate(
        pixel_values=images,
        soft_solver=False,
        decoder_input_ids=begun.sequences,
        past_key_values=begun.past_key_values,
    )
    assert continued.num_forwards == 3
    assert torch.equal(continued.sequences, whole.sequences)
    torch.testing.assert_close(continued.soft_tokens, whole.soft_tokens[:, -3:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [tiny_config, mixed_config])
def test_misspelt_settings_are_refused(images, config):
    with pytest.raises(ValueError, match="soft_sovler"):
        AiTForDenseTokenGeneration(config()).generate(pixel_values=images, soft_sovler=True)
