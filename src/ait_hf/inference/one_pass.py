# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A parallel model's prediction of one map as a single graph, for `torch.compile` and `torch.export`."""

import torch
from torch import nn

from ..model.loss_ait import MINIMUM_DEPTH
from ..model.modeling_ait import AiTForDenseTokenGeneration


class AiTOnePass(nn.Module):
    """
    What `generate()` computes for a task whose sequence is one dense block, without anything that a graph cannot hold.

    Args:
        model ([`AiTForDenseTokenGeneration`]): A parallel one (AiT-P), in evaluation mode.
        task (`str`): A task that writes nothing but one block of codes: depth, label maps, other maps, poses.

    Raises:
        ValueError: The model is autoregressive, or the task writes coordinates, classes or several blocks.

    Example:

    ```python
    >>> predictor = AiTOnePass(model, "depth")
    >>> program = torch.export.export(predictor, (pixel_values,))
    >>> depth = program.module()(pixel_values)
    ```
    """

    def __init__(self, model: AiTForDenseTokenGeneration, task: str):
        super().__init__()
        grammar = model.grammar(task)
        if grammar.block_length(0, grammar.length) < grammar.length:
            raise ValueError(
                f"Task {task!r} takes several passes: only a parallel model's tasks of one block of codes take one."
            )
        self.model = model
        self.grammar, self.objective = grammar, model.objectives[task]
        inputs = torch.full((1, grammar.length), grammar.vocabulary.parallel_token_id)
        inputs[:, 0] = grammar.start_token_id
        self.register_buffer("inputs", inputs.to(model.device), persistent=False)

    def forward(self, pixel_values: torch.FloatTensor) -> torch.FloatTensor:
        """What [`~AiTGenerationMixin.detokenize`] gives (depth in metres, 1e-3 at least) of images of the task's size,
        `(batch, 3, height, width)`."""
        memory = self.model.model.encoder(pixel_values=pixel_values).last_hidden_state
        inputs = self.inputs.expand(len(memory), -1)
        states = self.model.model.decoder(
            input_ids=inputs,
            encoder_hidden_states=memory,
            task_ids=torch.full_like(inputs[:, 0], self.grammar.task.task_id),
            use_cache=False,
        ).last_hidden_state
        codes = self.grammar.code_range
        soft_tokens = self.model._logits(states)[..., codes.start : codes.stop].float().softmax(-1)
        tokenizer = self.model.task_tokenizer(self.grammar.name)
        decoded = self.objective.decode(soft_tokens, tokenizer, self.grammar.task.soft_temperature)
        return decoded.clamp(min=MINIMUM_DEPTH) if self.grammar.task.output_type == "depth" else decoded
