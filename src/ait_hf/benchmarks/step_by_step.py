# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
The baseline of decoding: one token after another, as the released code does it.

Every step projects the image's memory to keys and values anew, concatenates the cache of earlier tokens and writes
attention out. The numbers are those of `generate()`.
"""

from typing import Any

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
        self.model, self.decoder, self.grammar = model, model.model.decoder, model.grammar(task)

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
            allowed = grammar.slot_range(grammar.slot(position))
            logits = self.model.lm_head(self.decoder.norm(states))[:, 0, allowed.start : allowed.stop].float()
            tokens.append(logits.argmax(-1, keepdim=True) + allowed.start)
            following = tokens[-1]
            if grammar.is_dense(position):
                soft_tokens.append(logits.softmax(-1))
                if grammar.parallel:  # which reads the query of parallel models
                    following = torch.full_like(start, grammar.vocabulary.parallel_token_id)
            embedding = self.decoder._embed(following, None, 0)
            if grammar.is_dense(position) and not grammar.parallel:
                codes, table = grammar.code_range, self.decoder.embed_tokens.weight
                expected = soft_tokens[-1] @ table[codes.start : codes.stop].float()
                embedding = expected[:, None].to(table.dtype)
        return torch.cat(tokens, dim=1), torch.stack(soft_tokens, dim=1) if soft_tokens else None

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
        return states.unflatten(-1, (self.model.config.num_heads, -1)).transpose(1, 2)

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        query = self._heads(query)
        scores = query * query.shape[-1] ** -0.5 @ key.transpose(2, 3)
        return (F.softmax(scores, dim=-1) @ value).transpose(1, 2).flatten(2)


def solve_step_by_step(model: AiTForDenseTokenGeneration, task: str, memory: torch.Tensor) -> Any:
    """What the task's objective makes of [`StepByStepDecoder`]'s soft tokens."""
    _, soft_tokens = StepByStepDecoder(model, task)(memory)
    temperature = model.config.task(task).soft_temperature
    return model.objectives[task].decode(soft_tokens, model.task_tokenizer(task), temperature)


def depth_step_by_step(model: AiTForDenseTokenGeneration, pixel_values: torch.Tensor) -> torch.Tensor:
    """Image to depth map (batch, height, width), metres."""
    return solve_step_by_step(model, "depth", model.model.encoder(pixel_values=pixel_values).last_hidden_state)
