# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The cache with room for later tokens against the library's, which concatenates."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_config
from transformers.cache_utils import DynamicLayer

from ait_hf.model.caching_ait import RoomyLayer, new_cache


def states(tokens, batch_size=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch_size, 3, tokens, 4, generator=generator) for _ in range(2)]


def same(layer, expected):
    assert layer.get_seq_length() == expected.get_seq_length()
    if expected.get_seq_length():
        torch.testing.assert_close(layer.keys, expected.keys, rtol=0, atol=0)
        torch.testing.assert_close(layer.values, expected.values, rtol=0, atol=0)


OPERATIONS = st.one_of(
    st.tuples(st.just("update"), st.integers(1, 9)),
    st.tuples(st.just("crop"), st.integers(-3, -1)),
    st.tuples(st.just("reorder_cache"), st.just([1, 0])),
    st.tuples(st.just("reset"), st.none()),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(OPERATIONS, max_size=12))
def test_same_as_the_librarys_layer(operations):
    layer, expected = RoomyLayer(), DynamicLayer()
    for seed, (name, argument) in enumerate(operations):
        if name == "update":
            results = [each.update(*states(argument, seed=seed)) for each in (layer, expected)]
            torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
        elif name == "crop" and expected.get_seq_length() >= 3:
            layer.crop(argument), expected.crop(argument)
        elif name == "reorder_cache":
            layer.reorder_cache(torch.tensor(argument)), expected.reorder_cache(torch.tensor(argument))
        elif name == "reset" and expected.is_initialized:
            layer.reset(), expected.reset()
        same(layer, expected)


def test_samples_can_be_selected():
    layer, expected = RoomyLayer(), DynamicLayer()
    for each in (layer, expected):
        each.update(*states(5))
        each.batch_select_indices(torch.tensor([1]))
        each.update(*states(1, batch_size=1, seed=1))
        each.batch_repeat_interleave(2)
        each.update(*states(1, seed=2))
    same(layer, expected)


def test_tokens_are_not_copied_again():
    layer = RoomyLayer()
    layer.update(*states(10))
    where = layer.keys.data_ptr()
    for seed in range(10):
        layer.update(*states(1, seed=seed))
    assert layer.keys.data_ptr() == where


def test_a_copy_goes_its_own_way():
    layer = RoomyLayer()
    layer.update(*states(3))
    other = copy.deepcopy(layer)
    before = layer.keys.clone()
    other.update(*states(2, seed=1))
    layer.update(*states(1, seed=2))
    torch.testing.assert_close(layer.keys[:, :, :3], before, rtol=0, atol=0)
    assert (layer.get_seq_length(), other.get_seq_length()) == (4, 5)


def test_one_layer_for_each_layer_of_the_decoder():
    cache = new_cache(tiny_config(decoder_layers=3))
    assert len(cache.self_attention_cache.layers) == 3
    assert cache.get_seq_length() == 0


@pytest.mark.parametrize("tokens", [1, 7])
def test_first_tokens(tokens):
    keys, values = states(tokens)
    layer = RoomyLayer()
    kept = layer.update(keys, values)
    torch.testing.assert_close(kept, (keys, values), rtol=0, atol=0)
