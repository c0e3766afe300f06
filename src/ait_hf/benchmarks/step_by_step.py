# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
The baseline of decoding: one token after another, as the released code does it.

Every step projects the image's memory to keys and values anew, concatenates the cache of earlier tokens and writes
attention out. The numbers are those of `generate()`.
"""

import torch
import torch.nn.functional as F

from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.modeling_solver_ait import AiTDecoderLayer


KeyValue = tuple[torch.Tensor, torch.Tensor]


class StepByStepDecoder:
    """
    Args:
        model ([`AiTForDenseTokenGeneration`]): Autoregressive or parallel; whose weights are used.
        task (`str`): The task to solve.
    """

    def __init__(self, model: AiTForDenseTokenGeneration, task: str):
        self.model = model
        self.decoder = model.model.decoder
        self.grammar = model.grammar(task)
        self.num_heads = model.config.num_heads

    def __call__(self, memory: torch.Tensor) -> tuple[torch.LongTensor, torch.Tensor | None]:
        """
        Args:
            memory (`torch.Tensor` of shape `(batch, places, d_model)`): From the encoder.

        Returns:
            Token ids (batch, length), chosen greedily, and soft tokens (batch, dense slots, codes) or `None`.
        """
        grammar, first = self.grammar, self.grammar.task.task_id * self.model.config.max_position_embeddings
        start = torch.full((len(memory), 1), grammar.start_token_id, device=memory.device)
        embedding = self.decoder._embed(start, None, 0)
        cache: list[KeyValue | None] = [None] * len(self.decoder.layers)
        tokens, soft_tokens = [], []
        for position in range(grammar.length):
            states = embedding + self.decoder.embed_positions.weight[first + position]
            for index, layer in enumerate(self.decoder.layers):
                states, cache[index] = self._layer(layer, states, memory, cache[index])
            logits = self.model.lm_head(self.decoder.norm(states))[:, 0].float()
            allowed = grammar.slot_range(grammar.slot(position))
            logits = logits[:, allowed.start : allowed.stop]
            token = logits.argmax(-1, keepdim=True) + allowed.start
            tokens.append(token)
            embedding = self.decoder._embed(token, None, 0)
            if grammar.is_dense(position):
                soft_tokens.append(logits.softmax(-1))
                embedding = self._embedding_of(soft_tokens[-1], start)
        return torch.cat(tokens, dim=1), torch.stack(soft_tokens, dim=1) if soft_tokens else None

    def _embedding_of(self, soft_token: torch.Tensor, like: torch.LongTensor) -> torch.Tensor:
        """What the decoder reads behind a dense slot: the expected embedding, or the query of parallel models."""
        if self.grammar.parallel:
            query = torch.full_like(like, self.grammar.vocabulary.parallel_token_id)
            return self.decoder._embed(query, None, 0)
        codes = self.grammar.code_range
        expected = soft_token @ self.decoder.embed_tokens.weight[codes.start : codes.stop].float()
        return expected[:, None].to(self.decoder.embed_tokens.weight.dtype)

    def _layer(
        self, layer: AiTDecoderLayer, states: torch.Tensor, memory: torch.Tensor, cache: KeyValue | None
    ) -> tuple[torch.Tensor, KeyValue]:
        attention, normed = layer.self_attn, layer.self_attn_norm(states)
        key, value = self._heads(attention.k_proj(normed)), self._heads(attention.v_proj(normed))
        if cache is not None:
            key, value = torch.cat([cache[0], key], dim=2), torch.cat([cache[1], value], dim=2)
        states = states + attention.out_proj(self._attend(attention.q_proj(normed), key, value))
        attention, normed_memory = layer.cross_attn, layer.cross_attn_norm(memory)
        query = attention.q_proj(layer.cross_attn_norm(states))
        keys, values = self._heads(attention.k_proj(normed_memory)), self._heads(attention.v_proj(normed_memory))
        states = states + attention.out_proj(self._attend(query, keys, values))
        return states + layer.mlp(layer.mlp_norm(states)), (key, value)

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        query = self._heads(query)
        scores = query * query.shape[-1] ** -0.5 @ key.transpose(2, 3)
        return (F.softmax(scores, dim=-1) @ value).transpose(1, 2).flatten(2)


def depth_step_by_step(model: AiTForDenseTokenGeneration, pixel_values: torch.Tensor) -> torch.Tensor:
    """Image to depth map (batch, height, width), metres, by way of [`StepByStepDecoder`]."""
    memory = model.model.encoder(pixel_values=pixel_values).last_hidden_state
    _, soft_tokens = StepByStepDecoder(model, "depth")(memory)
    temperature = model.config.task("depth").soft_temperature
    return model.objectives["depth"].decode(soft_tokens, model.task_tokenizer("depth"), temperature)
