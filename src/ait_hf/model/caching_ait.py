# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Keys and values of earlier tokens, in memory with room for later ones."""

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, EncoderDecoderCache
from transformers.modeling_outputs import Seq2SeqLMOutput

from .configuration_ait import AiTConfig


# What the library calls the cache in its outputs and in what `generate()` hands on: `past_key_values` until 5.23. Methods
# of ours take `cache`, and the old name as the library's own models do.
CACHE_NAME = "cache" if "cache" in Seq2SeqLMOutput.__dataclass_fields__ else "past_key_values"


class RoomyLayer(DynamicLayer):
    """
    The library's growing layer without its concatenation, which copies everything at every token: `keys` and `values`
    are the used part of memory that doubles when it is full.
    """

    def __init__(self):
        super().__init__()
        self.memory = self.used = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends (batch, heads, tokens, head_dim); returns all keys and values so far, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[2]
        # Methods of the library that crop or select samples put other tensors in the place of `keys` and `values`.
        if self.memory is None or self.keys is not self.used or end > self.memory[0].shape[2]:
            self.memory = tuple(t.new_empty(*t.shape[:2], 2 * end, t.shape[3]) for t in (key_states, value_states))
            for memory, earlier in zip(self.memory, (self.keys, self.values)):
                if start:
                    memory[:, :, :start] = earlier
        keys, values = self.memory
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        self.keys = self.used = keys[:, :, :end]
        self.values = values[:, :, :end]
        return self.keys, self.values

    def reset(self) -> None:
        self.memory = self.used = None
        super().reset()


def new_cache(config: AiTConfig) -> EncoderDecoderCache:
    """An empty cache: self-attention grows token by token, cross-attention is written once per image."""
    self_attention = Cache(layers=[RoomyLayer() for _ in range(config.decoder_layers)])
    return EncoderDecoderCache(self_attention, DynamicCache(config=config))
