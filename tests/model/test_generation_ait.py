# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import clear_model, mixed_config, tiny_config
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import GenerationConfig, TemperatureLogitsWarper, set_seed

from ait_hf import (
    AiTForDenseTokenGeneration,
    AiTGenerationConfig,
    SoftTokenLogitsProcessor,
    TaskGrammar,
    TaskGrammarLogitsProcessor,
)
from ait_hf.model.generation_ait import without_cudnn_attention


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=["depth", "depth_parallel", "objects", "objects_parallel"])
def model(request):
    parallel = request.param.endswith("parallel")
    return clear_model((tiny_config if request.param.startswith("depth") else mixed_config)(parallel=parallel))


def same(first, second, atol=1e-5):
    assert torch.equal(first.sequences, second.sequences)
    torch.testing.assert_close(first.soft_tokens, second.soft_tokens, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("soft_solver", [False, True])
def test_cached_equals_uncached_equals_static(model, images, soft_solver):
    dynamic = model.generate(pixel_values=images, soft_solver=soft_solver)
    same(dynamic, model.generate(pixel_values=images, soft_solver=soft_solver, use_cache=False))
    same(dynamic, model.generate(pixel_values=images, soft_solver=soft_solver, cache_implementation="static"))


def test_sequences_obey_the_grammar(model, images):
    outputs = model.generate(pixel_values=images)
    grammar = model.grammar(outputs.task)
    assert outputs.sequences[:, 1:].shape == (2, grammar.length)
    for position in range(grammar.length):
        allowed = grammar.vocabulary.slot_range(grammar.slot(position))
        assert all(token in allowed for token in outputs.sequences[:, 1:][:, position].tolist())
    positions = [p for p in range(grammar.length) if grammar.is_dense(p)]
    dense = outputs.sequences[:, 1:][:, positions] - grammar.code_range.start
    assert torch.equal(outputs.soft_tokens.argmax(-1), dense)
    torch.testing.assert_close(outputs.soft_tokens.sum(-1), torch.ones(dense.shape))


def test_number_of_forwards(model, images):
    grammar = model.grammar(model.generation_config.task)
    forwards = model.generate(pixel_values=images).num_forwards
    if not model.config.parallel:
        assert forwards == grammar.length
    elif grammar.codebook == "depth":
        assert forwards == 1
    else:
        # The first x1, then per object y1, x2, y2, class, and the mask block that also gives the next x1.
        assert forwards == 5 * grammar.task.num_groups + 1


def test_one_pass_equals_step_by_step_in_parallel_models(images):
    """The released parallel model loops over the positions with the same query; one causal pass is the same."""
    model = clear_model(tiny_config(parallel=True))
    outputs = model.generate(pixel_values=images)
    assert outputs.num_forwards == 1
    grammar = model.grammar("depth")
    ids = torch.full((2, 1), grammar.start_token_id)
    memory = model.model.encoder(pixel_values=images)
    steps = []
    for _ in range(grammar.length):
        logits = model(decoder_input_ids=ids, encoder_outputs=memory).logits[:, -1]
        steps.append(logits[:, grammar.code_range.start : grammar.code_range.stop].softmax(-1))
        ids = nn.functional.pad(ids, (0, 1), value=grammar.vocabulary.parallel_token_id)
    torch.testing.assert_close(outputs.soft_tokens, torch.stack(steps, 1), rtol=1e-5, atol=1e-5)


def test_soft_solver_with_one_hot_tokens_equals_hard(model, images):
    """One-hot distributions weigh exactly one embedding; huge logits make the distributions one-hot."""
    hard = model.generate(pixel_values=images, soft_solver=False)
    grammar = model.grammar(hard.task)
    inputs = grammar.decoder_input_ids(hard.sequences[:, 1:])
    soft = nn.functional.one_hot(inputs.clamp(max=model.config.vocab_size - 1), model.config.vocab_size).float()
    soft[inputs >= model.config.vocab_size] = 0  # task and parallel tokens stay ids
    with torch.no_grad():
        by_id = model(pixel_values=images, decoder_input_ids=inputs).logits
        by_distribution = model(pixel_values=images, decoder_input_ids=inputs, decoder_soft_tokens=soft).logits
    torch.testing.assert_close(by_id, by_distribution, rtol=1e-5, atol=1e-5)


def test_generation_agrees_with_teacher_forcing_on_its_own_tokens(model, images):
    outputs = model.generate(pixel_values=images, soft_solver=False, output_logits=True)
    inputs = model.grammar(outputs.task).decoder_input_ids(outputs.sequences[:, 1:])
    with torch.no_grad():
        logits = model(pixel_values=images, decoder_input_ids=inputs).logits
    torch.testing.assert_close(torch.stack(outputs.logits, 1), logits, rtol=1e-4, atol=1e-4)


def test_soft_and_hard_solver_differ_only_in_autoregressive_models(model, images):
    soft = model.generate(pixel_values=images, soft_solver=True).soft_tokens
    hard = model.generate(pixel_values=images, soft_solver=False).soft_tokens
    assert torch.equal(soft, hard) == model.config.parallel


def test_batched_equals_single(model, images):
    batched = model.generate(pixel_values=images)
    for index in range(2):
        single = model.generate(pixel_values=images[index : index + 1])
        assert torch.equal(single.sequences[0], batched.sequences[index])
        torch.testing.assert_close(single.soft_tokens[0], batched.soft_tokens[index], rtol=1e-4, atol=1e-5)


def test_dense_slots_are_untouched_by_sampling(model, images):
    grammar = model.grammar(model.generation_config.task)
    greedy = model.generate(pixel_values=images)
    set_seed(0)
    sampled = model.generate(pixel_values=images, do_sample=True, temperature=3.0, top_p=0.9, top_k=5)
    set_seed(0)
    again = model.generate(pixel_values=images, do_sample=True, temperature=3.0, top_p=0.9, top_k=5)
    assert torch.equal(sampled.sequences, again.sequences)
    if set(grammar.group) == {"depth"}:
        assert torch.equal(greedy.sequences, sampled.sequences)
        assert torch.equal(greedy.soft_tokens, sampled.soft_tokens)
    else:
        assert not torch.equal(greedy.sequences, sampled.sequences)


def test_nucleus_of_zero_is_the_greedy_choice(model, images):
    greedy = model.generate(pixel_values=images)
    same(greedy, model.generate(pixel_values=images, do_sample=True, top_p=1e-6))


def test_sampling_is_not_cut_to_the_librarys_fifty():
    model = clear_model(mixed_config())
    config, _ = model._prepare_generation_config(None, do_sample=True)
    assert config.top_k == 0
    config, _ = model._prepare_generation_config(None, do_sample=True, top_k=7)
    assert config.top_k == 7
    config, _ = model._prepare_generation_config(GenerationConfig(do_sample=True))
    assert config.top_k == 0 and config.task == "objects"


def test_class_scores_are_probabilities_among_classes_and_noise(images):
    model = clear_model(mixed_config())
    outputs = model.generate(pixel_values=images, output_logits=True)
    vocabulary, grammar = model.config.vocabulary, model.grammar("objects")
    assert outputs.class_scores.shape == (2, 3)
    slots = [p for p in range(grammar.length) if grammar.slot(p) == "class"]
    for column, slot in enumerate(slots):
        ids = [*vocabulary.classes, vocabulary.noise_id]
        probabilities = outputs.logits[slot][:, ids].softmax(-1)
        expected = probabilities[torch.arange(2), outputs.sequences[:, 1:][:, slot] - vocabulary.classes.start]
        torch.testing.assert_close(outputs.class_scores[:, column], expected)


def test_num_objects_and_max_new_tokens_shorten_the_sequence(images):
    model = clear_model(mixed_config(parallel=True))
    whole = model.generate(pixel_values=images)
    two = model.generate(pixel_values=images, num_objects=2)
    assert torch.equal(two.sequences[:, 1:], whole.sequences[:, 1:][:, :18])
    torch.testing.assert_close(model.detokenize(two), model.detokenize(whole)[:, :2], rtol=1e-4, atol=1e-5)
    cut = model.generate(pixel_values=images, max_new_tokens=7)
    assert torch.equal(cut.sequences[:, 1:], whole.sequences[:, 1:][:, :7])
    with pytest.raises(ValueError, match="whole groups of 9"):
        model.detokenize(cut)
    with pytest.raises(ValueError, match="num_objects must lie in 1..3"):
        model.generate(pixel_values=images, num_objects=4)


@pytest.mark.parametrize("parallel", [False, True])
def test_stopping_below_a_score(images, parallel):
    model = clear_model(mixed_config(parallel=parallel))
    whole = model.generate(pixel_values=images)
    best = whole.class_scores.amax(0)  # over the images: all of them have to be done
    for lowest in [0.0, *(best + 1e-4).tolist(), 1.1]:
        low = (best < lowest).nonzero()
        num_groups = int(low[0]) + 1 if len(low) else 3
        stopped = model.generate(pixel_values=images, stop_below_score=lowest)
        assert torch.equal(stopped.sequences[:, 1:], whole.sequences[:, 1:][:, : 9 * num_groups])
        torch.testing.assert_close(model.detokenize(stopped), model.detokenize(whole)[:, :num_groups])
    with pytest.raises(ValueError, match="task 'depth' does not write"):
        clear_model(tiny_config()).generate(pixel_values=images, stop_below_score=0.5)


def test_single_steps_run_through_the_models_own_layers(model, images):
    """Adapters, quantised layers and placement hook onto the linear layers of the decoder; no pass may go around them."""
    decoder, calls = model.model.decoder, dict.fromkeys(("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"), 0)
    hooks = []
    for name, module in decoder.layers[0].named_modules():
        leaf = name.split(".")[-1]
        if leaf in calls:
            count = functools.partial(lambda leaf, *_: calls.update({leaf: calls[leaf] + 1}), leaf)
            hooks.append(module.register_forward_hook(count))
    forwards = model.generate(pixel_values=images).num_forwards
    for hook in hooks:
        hook.remove()
    once = {"k_proj": 1, "v_proj": 1}  # of the memory, whose keys and values are computed once
    twice = {"q_proj": forwards, "out_proj": forwards}
    expected = {name: forwards + once.get(name, 0) + twice.get(name, 0) for name in calls}
    assert calls == expected


def test_scores_do_not_change_what_is_generated(model, images):
    plain = model.generate(pixel_values=images)
    scored = model.generate(pixel_values=images, output_scores=True)
    same(plain, scored)
    grammar, codes = model.grammar(plain.task), model.grammar(plain.task).code_range
    positions = [p for p in range(grammar.length) if grammar.is_dense(p)]
    dense = [scored.scores[p][:, codes.start : codes.stop].softmax(-1) for p in positions]
    torch.testing.assert_close(torch.stack(dense, 1), plain.soft_tokens)


def test_generation_continues_a_given_prefix(model, images):
    grammar = model.grammar(model.generation_config.task)
    whole = model.generate(pixel_values=images, soft_solver=False)
    start = torch.full((2, 1), grammar.start_token_id)
    prefix = torch.cat([start, whole.sequences[:, 1:][:, :4]], dim=1)
    continued = model.generate(
        pixel_values=images, decoder_input_ids=prefix, soft_solver=False, max_new_tokens=grammar.length - 4
    )
    assert torch.equal(continued.sequences, whole.sequences)
    assert continued.predicted_depth is None  # the prefix has no distributions to decode


def test_detokenize_soft_hard_and_temperature(images):
    model = clear_model(tiny_config())
    outputs = model.generate(pixel_values=images, soft_temperature=0.7)
    tokenizer = model.tokenizers["depth"]
    grid = outputs.soft_tokens.reshape(2, 3, 3, 20)
    by_hand = tokenizer.detokenize(probabilities=(0.7 * grid.log()).softmax(-1))[:, 0]
    torch.testing.assert_close(model.detokenize(outputs), by_hand, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.detokenize(outputs, soft=False), tokenizer.detokenize(ids=grid.argmax(-1))[:, 0])
    hard = model.generate(pixel_values=images, soft_detokenizer=False)
    torch.testing.assert_close(model.detokenize(hard), model.detokenize(outputs, soft=False))


def test_uncertainty_is_the_deviation_of_what_codes_stand_for(images):
    model = clear_model(tiny_config())
    outputs = model.generate(pixel_values=images)
    tokenizer = model.tokenizers["depth"]
    one_code = torch.full((1, 3, 3), 7)
    values = tokenizer.code_values()[:, 0]
    torch.testing.assert_close(values[7], tokenizer.detokenize(one_code)[0, 0, 32:64, 32:64].mean())
    outputs.soft_tokens = torch.full_like(outputs.soft_tokens, 1 / 20)
    expected = values.std(correction=0).expand(2, 96, 96)
    torch.testing.assert_close(model.uncertainty(outputs), expected, rtol=1e-3, atol=1e-6)
    outputs.soft_tokens = nn.functional.one_hot(torch.tensor([[3] * 9, [8] * 9]), 20) * 0.25
    outputs.soft_tokens = outputs.soft_tokens + nn.functional.one_hot(torch.tensor([[5] * 9, [8] * 9]), 20) * 0.75
    of_two = 0.1875**0.5 * (values[3] - values[5]).abs()
    torch.testing.assert_close(model.uncertainty(outputs)[0], of_two.expand(96, 96), rtol=1e-3, atol=1e-6)
    assert model.uncertainty(outputs)[1].max() < 1e-3 * values.std()


def test_what_codes_stand_for_is_that_of_the_weights_there_are(images):
    model, other = clear_model(tiny_config()), clear_model(tiny_config())
    outputs = model.generate(pixel_values=images)
    nn.init.normal_(other.tokenizers["depth"].quantizer.embedding.weight)
    other.tokenizers["depth"].decoder.conv_out.weight.data.mul_(3)
    model.load_tokenizer("depth", other.tokenizers["depth"])
    torch.testing.assert_close(model.tokenizers["depth"].code_values(), other.tokenizers["depth"].code_values())
    assert not torch.equal(model.uncertainty(outputs), outputs.uncertainty)


def test_plain_tensor_and_streamer(images):
    class Collect:
        def __init__(self):
            self.tokens, self.ended = [], False

        def put(self, tokens):
            self.tokens.append(tokens)

        def end(self):
            self.ended = True

    model = clear_model(tiny_config())
    streamer = Collect()
    sequences = model.generate(pixel_values=images[:1], return_dict_in_generate=False, streamer=streamer)
    assert isinstance(sequences, torch.Tensor) and sequences[:, 1:].shape == (1, 9)
    assert streamer.ended and torch.equal(torch.cat(streamer.tokens[1:], dim=1), sequences[:, 1:])


def test_library_outputs_are_filled(images):
    model = clear_model(mixed_config())
    model.set_attn_implementation("eager")
    outputs = model.generate(
        pixel_values=images,
        max_new_tokens=6,
        output_scores=True,
        output_logits=True,
        output_attentions=True,
        output_hidden_states=True,
    )
    assert len(outputs.scores) == len(outputs.logits) == len(outputs.decoder_attentions) == 6
    assert outputs.scores[0].shape == (2, model.config.vocab_size)
    assert len(outputs.decoder_hidden_states[0]) == 3 and len(outputs.encoder_hidden_states) == 3
    assert outputs.past_key_values.get_seq_length() == 6


@pytest.mark.parametrize(
    "arguments",
    [{"num_beams": 2}, {"num_beams": 2, "do_sample": True}, {"penalty_alpha": 0.6, "top_k": 4}],
    ids=["beam", "beam sample", "contrastive"],
)
def test_decoding_without_meaning_is_refused(images, arguments):
    with pytest.raises(ValueError, match="AiT cannot decode by"):
        clear_model(tiny_config()).generate(pixel_values=images, **arguments)


def test_assisted_decoding_is_refused(images):
    model = clear_model(tiny_config())
    with pytest.raises(ValueError, match="AiT cannot decode by assisted"):
        model.generate(pixel_values=images, assistant_model=model)
    with pytest.raises(ValueError, match="AiT cannot decode by assisted"):
        model.generate(pixel_values=images, prompt_lookup_num_tokens=3)


def test_processors_are_stateless_and_restrict_the_slot():
    config = mixed_config()
    grammar = TaskGrammar.from_config(config, "objects")
    scores = torch.randn(2, config.vocab_size)
    for position in (0, 4, 5, 8, 9):
        ids = torch.zeros(2, position + 1, dtype=torch.long)
        restricted = TaskGrammarLogitsProcessor(grammar)(ids, scores)
        allowed = grammar.vocabulary.slot_range(grammar.slot(position))
        expected = torch.zeros(config.vocab_size, dtype=torch.bool)
        expected[allowed.start : allowed.stop] = True
        assert torch.equal(restricted[0].isfinite(), expected)
        assert torch.equal(restricted[:, expected], scores[:, expected])
        soft = SoftTokenLogitsProcessor(grammar, temperature=0.5)(ids, scores)
        if grammar.is_dense(position):
            torch.testing.assert_close(soft.softmax(-1)[:, expected], (0.5 * scores[:, expected]).softmax(-1))
        else:
            assert soft is scores


def test_the_most_likely_code_is_the_same_at_every_temperature():
    """A temperature warper keeps the order of the scores, as the soft processor does."""
    grammar = TaskGrammar.from_config(tiny_config(), "depth")
    scores, ids = torch.randn(4, 105), torch.zeros(4, 1, dtype=torch.long)
    ours = SoftTokenLogitsProcessor(grammar, 0.3)(ids, scores)
    library = TemperatureLogitsWarper(1 / 0.3)(ids, TaskGrammarLogitsProcessor(grammar)(ids, scores))
    torch.testing.assert_close(ours, library)


def test_generation_config_round_trip(tmp_path):
    config = AiTGenerationConfig(task="depth", soft_solver=False, soft_temperature=0.3, num_objects=4)
    config.save_pretrained(tmp_path)
    loaded = AiTGenerationConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()


@settings(deadline=None, max_examples=60)
@given(
    sparse=st.integers(0, 5),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    groups=st.integers(1, 4),
    parallel=st.booleans(),
    dense_first=st.booleans(),
)
def test_blocks_cover_every_sequence_once(sparse, grid, groups, parallel, dense_first):
    slots = ["mask"] + ["class"] * sparse if dense_first else ["class"] * sparse + ["mask"]
    task = {"task_id": 0, "slots": slots, "grid_size": list(grid), "num_groups": groups, "image_size": [96, 96]}
    config = mixed_config(tasks={"t": task}, parallel=parallel)
    grammar = TaskGrammar.from_config(config, "t")
    position, forwards = 0, 0
    while position < grammar.length:
        block = grammar.block_length(position, grammar.length)
        # Inside a block, each slot's query must be known beforehand: it follows a dense slot.
        assert all(grammar.is_dense(p - 1) for p in range(position + 1, position + block))
        assert block == 1 or parallel
        position, forwards = position + block, forwards + 1
    assert position == grammar.length
    if not parallel:
        assert forwards == grammar.length
    tokens = torch.randint(0, config.vocab_size, (2, grammar.length))
    inputs = grammar.decoder_input_ids(tokens)
    assert inputs.shape == tokens.shape and (inputs[:, 0] == grammar.start_token_id).all()
    replaced = inputs[:, 1:] == config.vocabulary.parallel_token_id
    expected = torch.tensor([parallel and grammar.is_dense(p) for p in range(grammar.length - 1)])
    assert torch.equal(replaced, expected.expand_as(replaced))
    assert torch.equal(inputs[:, 1:][~replaced], tokens[:, :-1][~replaced])


SWITCHES = {
    SDPBackend.FLASH_ATTENTION: torch.backends.cuda.flash_sdp_enabled,
    SDPBackend.EFFICIENT_ATTENTION: torch.backends.cuda.mem_efficient_sdp_enabled,
    SDPBackend.MATH: torch.backends.cuda.math_sdp_enabled,
    SDPBackend.CUDNN_ATTENTION: torch.backends.cuda.cudnn_sdp_enabled,
}


def enabled_attention() -> set[SDPBackend]:
    return {backend for backend, is_on in SWITCHES.items() if is_on()}


@pytest.mark.parametrize(
    ("switched_on", "decoding"),
    [
        (set(SWITCHES), set(SWITCHES) - {SDPBackend.CUDNN_ATTENTION}),
        ({SDPBackend.MATH}, {SDPBackend.MATH}),  # a choice of the user's stays
    ],
)
@pytest.mark.parametrize("cache", [{}, {"use_cache": False}, {"cache_implementation": "static"}])
def test_cudnn_attention_is_off_while_decoding_only(images, monkeypatch, switched_on, decoding, cache):
    model = clear_model(tiny_config())
    attention, seen = torch.nn.functional.scaled_dot_product_attention, []

    def spy(query, *arguments, **keywords):
        seen.append(enabled_attention())
        return attention(query, *arguments, **keywords)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    with sdpa_kernel(list(switched_on)):
        model.generate(pixel_values=images, **cache)
        assert enabled_attention() == switched_on
        assert all(on == switched_on for on in seen[:6])  # four stages of the backbone, two layers of the encoder
        assert all(on == decoding for on in seen[6:]) and len(seen) > 40
        monkeypatch.setattr(AiTForDenseTokenGeneration, "forward", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model.generate(pixel_values=images, **cache)
        assert enabled_attention() == switched_on


def test_cudnn_attention_stays_where_nothing_else_is_on():
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION), without_cudnn_attention():
        assert enabled_attention() == {SDPBackend.CUDNN_ATTENTION}
