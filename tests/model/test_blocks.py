# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Options beyond the paper: attention in both directions inside a parallel block, and noise in the codes that are read."""

import pytest
import torch
from tiny import tiny_config
from tiny_dense import dense_model
from tiny_objects import FRAME, INSTANCES, object_config, object_model

from ait_hf import AiTConfig, AiTForDenseTokenGeneration


IMAGES = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def depth_model(**changes) -> AiTForDenseTokenGeneration:
    return dense_model(tiny_config(parallel=True, **changes)).eval()


def instance_model(**changes) -> AiTForDenseTokenGeneration:
    return object_model(object_config((INSTANCES,), parallel=True, **changes)).eval()


def outputs_that_see_an_input(model, task, position, length):
    """Positions whose logits change with the position embedding of one input."""
    grammar = model.grammar(task)
    tokens = torch.tensor([[grammar.slot_range(grammar.slot(place)).start for place in range(length)]])
    inputs = {"decoder_input_ids": grammar.decoder_input_ids(tokens), "pixel_values": IMAGES[:1]}
    if task == INSTANCES:
        inputs["pixel_values"] = IMAGES[:1, :, : FRAME[0], : FRAME[1]]
    given = {"task_ids": torch.tensor([grammar.task.task_id]), "use_cache": False}
    with torch.no_grad():
        before = model(**inputs, **given).logits
        row = grammar.task.task_id * model.config.max_position_embeddings + position
        model.model.decoder.embed_positions.weight[row] += 1
        after = model(**inputs, **given).logits
        model.model.decoder.embed_positions.weight[row] -= 1
    return (before != after).any(-1)[0].nonzero().flatten().tolist()


@pytest.mark.parametrize("both_ways", [False, True])
def test_a_block_of_depth_is_all_that_there_is(both_ways):
    model = depth_model(bidirectional_blocks=both_ways)
    assert outputs_that_see_an_input(model, "depth", 4, 9) == (list(range(9)) if both_ways else list(range(4, 9)))


def test_blocks_of_objects_see_earlier_ones_only():
    """An object here: 4 coordinates, a class, 4 codes. The class is read to predict the first code; the last code's place
    predicts the next object's first coordinate."""
    model = instance_model(bidirectional_blocks=True)
    group = model.grammar(INSTANCES).group
    size, first = len(group), group.index(model.grammar(INSTANCES).codebook)
    block = list(
        range(first, size + 1)
    )  # inputs: the token before the first code, then a parallel token for each code
    for position in block:
        assert outputs_that_see_an_input(model, INSTANCES, position, 2 * size) == list(range(first, 2 * size))
    for position in (first - 1, size + 1):  # tokens outside of blocks are seen by what follows
        seen = outputs_that_see_an_input(model, INSTANCES, position, 2 * size)
        assert seen == list(range(position, 2 * size))


@pytest.mark.parametrize("cache", [None, "static"])
def test_generation_agrees_with_teacher_forcing_and_with_no_cache(cache):
    for model, task, images in (
        (depth_model(bidirectional_blocks=True), "depth", IMAGES),
        (instance_model(bidirectional_blocks=True), INSTANCES, IMAGES[:, :, : FRAME[0], : FRAME[1]]),
    ):
        outputs = model.generate(images, task=task, cache_implementation=cache)
        without = model.generate(images, task=task, use_cache=False)
        assert torch.equal(outputs.sequences, without.sequences)
        torch.testing.assert_close(outputs.soft_tokens, without.soft_tokens, rtol=1e-4, atol=1e-5)
        grammar = model.grammar(task)
        ids = grammar.decoder_input_ids(outputs.sequences[:, 1:])
        task_ids = torch.full_like(ids[:, 0], grammar.task.task_id)
        with torch.no_grad():
            logits = model(pixel_values=images, decoder_input_ids=ids, task_ids=task_ids, use_cache=False).logits
        codes = grammar.code_range
        dense = grammar.dense_mask(torch.arange(grammar.length))
        expected = logits[:, dense, codes.start : codes.stop].softmax(-1)
        torch.testing.assert_close(outputs.soft_tokens, expected, rtol=1e-4, atol=1e-5)


def test_eager_attention_agrees_and_it_is_learned_and_saved(tmp_path):
    model = depth_model(bidirectional_blocks=True)
    model.train()(batches={"depth": {"pixel_values": IMAGES, "labels": 1 + IMAGES[:, 0]}}).loss.backward()
    model.eval().save_pretrained(tmp_path)
    expected = model.generate(IMAGES).predicted_depth
    for attention in ("sdpa", "eager"):
        loaded = AiTForDenseTokenGeneration.from_pretrained(tmp_path, attn_implementation=attention)
        torch.testing.assert_close(loaded.generate(IMAGES).predicted_depth, expected, rtol=1e-4, atol=1e-5)


def test_code_noise_replaces_that_share_of_the_codes_and_nothing_else():
    model = object_model(object_config((INSTANCES,)))
    grammar = model.grammar(INSTANCES)
    tokens = torch.tensor([[grammar.slot_range(grammar.slot(place)).start for place in range(grammar.length)]])
    ids = grammar.decoder_input_ids(tokens.repeat(4000, 1))
    torch.manual_seed(0)
    noisy = grammar.with_code_noise(ids, 0.1)
    changed = (noisy != ids).any(0)
    dense = grammar.dense_mask(torch.arange(-1, grammar.length - 1))
    dense[0] = False
    assert torch.equal(changed, dense)
    codes = grammar.code_range
    assert noisy[:, dense].min() == codes.start and noisy[:, dense].max() == codes.stop - 1
    share = (noisy != ids)[:, dense].float().mean() * len(codes) / (len(codes) - 1)  # some are drawn as they were
    assert share.item() == pytest.approx(0.1, abs=0.006)


def test_code_noise_is_of_training_alone():
    config = tiny_config(code_noise=0.9)
    model, clean = dense_model(config), dense_model(tiny_config())
    clean.load_state_dict(model.state_dict())
    batches = {"depth": {"pixel_values": IMAGES, "labels": 1 + IMAGES[:, 0]}}
    with torch.no_grad():
        assert model.train()(batches=batches).loss != clean.train()(batches=batches).loss
        assert model.eval()(batches=batches).loss == clean.eval()(batches=batches).loss


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bidirectional_blocks": True}, "bidirectional_blocks are of parallel models"),
        (
            {"code_noise": 0.1, "parallel": True},
            "code_noise must be at least 0 and below 1, and is of models that are not",
        ),
        ({"code_noise": 1.0}, "code_noise must be at least 0 and below 1"),
    ],
)
def test_options_without_meaning_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**changes)
    assert AiTConfig().code_noise == 0 and not AiTConfig().bidirectional_blocks
