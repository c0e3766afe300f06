# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What `generate()` of transformers promises, asked of a stock encoder-decoder (BART) and of ours alike."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from tiny import clear_model, mixed_config, tiny_config
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MaxLengthCriteria,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
    set_seed,
)
from transformers.generation import BaseStreamer


BATCH, NEW = 2, 5


@dataclass
class Asked:
    """A model, its inputs, the token that decoding starts with, and whether every pass decides one token."""

    model: PreTrainedModel
    inputs: dict[str, torch.Tensor]
    start: int
    is_stepwise: bool = True

    def generate(self, **settings):
        return self.model.generate(**self.inputs, **{"return_dict_in_generate": True} | settings)


def stock() -> Asked:
    torch.manual_seed(0)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "init_std": 1.0}
    tokens = {"bos_token_id": None, "eos_token_id": None, "forced_eos_token_id": None, "decoder_start_token_id": 2}
    config = BartConfig(vocab_size=60, max_position_embeddings=64, **sizes, **heads, **tokens)
    model = BartForConditionalGeneration(config).eval()
    return Asked(model, {"input_ids": torch.arange(5, 5 + 4 * BATCH).view(BATCH, 4)}, config.decoder_start_token_id)


def ours(configure: Callable, parallel: bool) -> Asked:
    model = clear_model(configure(parallel=parallel))
    images = torch.rand(BATCH, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    start = model.grammar(model.generation_config.task).start_token_id
    return Asked(model, {"pixel_values": images}, start, not parallel)


MODELS = {
    "stock": stock,
    "depth": lambda: ours(tiny_config, False),
    "depth, parallel": lambda: ours(tiny_config, True),
    "objects": lambda: ours(mixed_config, False),
    "objects, parallel": lambda: ours(mixed_config, True),
}


@pytest.fixture(params=MODELS)
def asked(request) -> Asked:
    return MODELS[request.param]()


class Collected(BaseStreamer):
    def __init__(self):
        self.values, self.ended = [], False

    def put(self, value):
        assert not self.ended
        self.values.append(value)

    def end(self):
        self.ended = True


class Ban(LogitsProcessor):
    """Makes a token impossible, and remembers what it was shown."""

    def __init__(self, token: int):
        self.token, self.lengths = token, []

    def __call__(self, input_ids, scores):
        assert scores.shape[0] == BATCH and scores.ndim == 2
        self.lengths.append(input_ids.shape[1])
        scores = scores.clone()
        scores[:, self.token] = -torch.inf
        return scores


class Once(StoppingCriteria):
    """Says of one row at a time, and of each at one length only, that it is done."""

    def __init__(self, lengths: list[int]):
        self.lengths, self.shown = lengths, []

    def __call__(self, input_ids, scores, **kwargs):
        self.shown.append((input_ids.shape[1], None if scores is None else len(scores)))
        return torch.tensor([input_ids.shape[1] == length for length in self.lengths])


def test_sequences_begin_with_the_start_token(asked):
    outputs = asked.generate(max_new_tokens=NEW, output_scores=True, output_logits=True)
    assert outputs.sequences.shape == (BATCH, 1 + NEW) and (outputs.sequences[:, 0] == asked.start).all()
    for values in (outputs.scores, outputs.logits):
        assert len(values) == NEW and values[0].shape == (BATCH, asked.model.config.vocab_size)
    chosen = torch.stack([scores.argmax(-1) for scores in outputs.scores], dim=1)
    assert torch.equal(chosen, outputs.sequences[:, 1:])
    plain = asked.generate(max_new_tokens=NEW, return_dict_in_generate=False)
    assert isinstance(plain, torch.Tensor) and torch.equal(plain, outputs.sequences)
    transitions = asked.model.compute_transition_scores(outputs.sequences, outputs.scores, normalize_logits=True)
    likeliest = torch.stack([scores.log_softmax(-1).amax(-1) for scores in outputs.scores], dim=1)
    torch.testing.assert_close(transitions, likeliest)


def test_lengths(asked):
    whole = asked.generate(max_new_tokens=NEW).sequences

    def check(num_tokens: int, **settings) -> None:
        assert torch.equal(asked.generate(**settings).sequences, whole[:, :num_tokens])

    check(4, max_length=4)  # with the start token
    check(4, generation_config=GenerationConfig(max_length=4))
    check(4, generation_config=GenerationConfig(max_new_tokens=3))
    check(4, stopping_criteria=StoppingCriteriaList([MaxLengthCriteria(4)]))
    check(2, stopping_criteria=StoppingCriteriaList([MaxLengthCriteria(1)]))  # a token in any case
    check(1 + NEW, max_length=4, max_new_tokens=NEW)  # the latter counts
    with pytest.raises(ValueError, match="Input length of decoder_input_ids is 1, but `max_length` is set to 1"):
        asked.generate(max_length=1)
    asked.model.generation_config.max_length = 4
    check(4)
    asked.model.generation_config.max_length = None
    asked.model.generation_config.max_new_tokens = 3
    check(4)


def test_streamers_see_the_sequences(asked):
    streamer = Collected()
    sequences = asked.generate(max_new_tokens=NEW, streamer=streamer).sequences
    assert streamer.ended and streamer.values[0].shape == (BATCH, 1)
    assert len(streamer.values) == 1 + NEW if asked.is_stepwise else len(streamer.values) > 1
    assert torch.equal(torch.cat([value.view(BATCH, -1) for value in streamer.values], dim=1), sequences)


@pytest.mark.parametrize("with_start", [True, False])
def test_given_prefixes(asked, with_start):
    settings = {} if asked.start == 2 else {"soft_solver": False}  # a prefix has no distributions
    whole = asked.generate(max_new_tokens=NEW, **settings).sequences
    prefix = whole[:, 0 if with_start else 1 : 4]
    again = {"decoder_input_ids": prefix, **settings}
    assert torch.equal(asked.generate(max_new_tokens=NEW - 3, **again).sequences, whole)
    assert torch.equal(asked.generate(max_length=1 + NEW, **again).sequences, whole)
    mask = torch.ones_like(prefix)
    assert torch.equal(asked.generate(max_length=1 + NEW, decoder_attention_mask=mask, **again).sequences, whole)
    streamer = Collected()
    asked.generate(max_length=1 + NEW, streamer=streamer, **again)
    assert torch.equal(streamer.values[0], whole[:, :4])
    with pytest.raises(ValueError, match="Input length of decoder_input_ids is 4, but `max_length` is set to 4"):
        asked.generate(max_length=4, **again)


@pytest.mark.parametrize("name", ["stock", "depth", "objects"])
def test_a_masked_token_of_a_prefix_stays_masked(name):
    asked = MODELS[name]()
    settings = {} if name == "stock" else {"soft_solver": False}
    prefix = asked.generate(max_new_tokens=NEW, **settings).sequences[:, :4]
    mask = torch.ones_like(prefix)
    mask[:, 2] = 0
    settings |= {"decoder_input_ids": prefix, "decoder_attention_mask": mask, "output_logits": True}
    outputs = asked.generate(max_new_tokens=NEW, **settings)
    inputs = {"decoder_input_ids": outputs.sequences[:, :-1]}
    inputs["decoder_attention_mask"] = torch.nn.functional.pad(mask, (0, NEW - 1), value=1)
    with torch.no_grad():
        logits = asked.model(**asked.inputs, **inputs).logits[:, -NEW:]
    torch.testing.assert_close(torch.stack(outputs.logits, dim=1), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("lengths", "end"), [([3, 5], 5), ([4, 2], 4), ([3, 99], 1 + NEW)])
def test_stopping_criteria_are_asked_of_every_token_and_row(asked, lengths, end):
    whole = asked.generate(max_new_tokens=NEW).sequences
    criterion = Once(lengths)
    settings = {"stopping_criteria": StoppingCriteriaList([criterion]), "output_scores": True}
    stopped = asked.generate(max_new_tokens=NEW, **settings).sequences
    if asked.is_stepwise:
        assert torch.equal(stopped, whole[:, :end])
    else:  # what one pass decides is kept
        assert stopped.shape[1] >= end and torch.equal(stopped, whole[:, : stopped.shape[1]])
    assert criterion.shown == [(length, length - 1) for length in range(2, stopped.shape[1] + 1)]


@pytest.mark.parametrize("name", ["stock", "depth", "objects"])
def test_an_end_token_ends_once_every_row_has_it(name):
    asked = MODELS[name]()
    whole = asked.generate(max_new_tokens=NEW).sequences
    ends = [int(whole[0, 2]), int(whole[1, 3])]
    places = [next(place for place in range(1, 1 + NEW) if int(row[place]) in ends) for row in whole]
    stopped = asked.generate(max_new_tokens=NEW, eos_token_id=ends, pad_token_id=ends[0]).sequences
    assert stopped.shape == (BATCH, 1 + max(places))
    for row, before, place in zip(stopped, whole, places):
        assert torch.equal(row[: place + 1], before[: place + 1])


def test_a_sharded_model_that_may_stop_early_is_refused():
    """Another process would wait for its part of the weights for good."""
    asked = MODELS["objects"]()
    assert torch.equal(asked.generate(synced_gpus=True).sequences, asked.generate().sequences)
    for early in ({"stop_below_score": 0.5}, {"max_time": 10.0}):
        with pytest.raises(ValueError, match="sharded over processes"):
            asked.generate(synced_gpus=True, **early)


def test_logits_processors_act_on_every_token(asked):
    first = asked.generate(max_new_tokens=NEW).sequences[:, 1]
    processor = Ban(int(first[0]))
    settings = {"logits_processor": LogitsProcessorList([processor]), "output_scores": True, "output_logits": True}
    outputs = asked.generate(max_new_tokens=NEW, **settings)
    assert processor.lengths == list(range(1, 1 + NEW))
    assert not (outputs.sequences[:, 1:] == processor.token).any() and outputs.sequences[0, 1] != first[0]
    assert all(scores[:, processor.token].eq(-torch.inf).all() for scores in outputs.scores)
    assert all(logits.isfinite().all() for logits in outputs.logits)  # as the model gave them
    same = asked.generate(max_new_tokens=NEW, suppress_tokens=[processor.token])
    assert torch.equal(same.sequences, outputs.sequences)


def test_several_sequences_of_an_image(asked):
    set_seed(0)
    outputs = asked.generate(max_new_tokens=NEW, do_sample=True, num_return_sequences=3, temperature=4.0)
    assert outputs.sequences.shape == (3 * BATCH, 1 + NEW) and (outputs.sequences[:, 0] == asked.start).all()
    set_seed(0)
    again = asked.generate(max_new_tokens=NEW, do_sample=True, num_return_sequences=3, temperature=4.0)
    assert torch.equal(again.sequences, outputs.sequences)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "stock"])
def test_a_configuration_without_a_length_leaves_sequences_whole(name):
    asked = MODELS[name]()
    outputs = asked.generate(generation_config=GenerationConfig(do_sample=False))
    assert torch.equal(outputs.sequences, asked.generate().sequences)
    assert outputs.sequences.shape[1] == 1 + asked.model.grammar(outputs.task).length


def test_fewer_objects_than_there_are_tokens_for():
    asked = MODELS["objects"]()
    two = asked.generate(num_objects=2).sequences
    assert torch.equal(asked.generate(num_objects=2, max_new_tokens=25).sequences, two)
    with pytest.raises(ValueError, match="num_objects must lie in 1..3"):
        asked.generate(num_objects=4, max_new_tokens=5)
