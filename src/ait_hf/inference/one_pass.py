# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A parallel model's prediction of one map as a single graph, for `torch.compile` and for export."""

import torch
from torch import nn

from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.tokenization_vq import VQTokenizer


# What objectives predict of one dense block.
PREDICTIONS = ("predicted_depth", "predicted_map", "class_maps", "uncertainty", "pred_keypoints", "keypoint_scores")


class _Outputs:
    """The fields of [`AiTGenerateOutput`] that a prediction reads and fills; that class itself is none that `torch.compile`
    can trace."""

    def __init__(self, sequences: torch.LongTensor, soft_tokens: torch.FloatTensor, task: str, temperature: float):
        self.sequences, self.soft_tokens, self.class_scores = sequences, soft_tokens, None
        self.task, self.soft_detokenizer, self.soft_temperature = task, True, temperature
        for name in PREDICTIONS:
            setattr(self, name, None)


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
    >>> depth = program.module()(pixel_values)["predicted_depth"]
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
        if isinstance(tokenizer := model.task_tokenizer(task), VQTokenizer):
            tokenizer.code_values()  # which the uncertainty needs: so that no graph decodes them
        start = torch.full((1, grammar.length), grammar.vocabulary.parallel_token_id)
        start[:, 0] = grammar.start_token_id
        # Not called `inputs`, which is a variable of the code that torch compiles ahead of time.
        self.register_buffer("decoder_input_ids", start.to(model.device), persistent=False)

    def forward(self, pixel_values: torch.FloatTensor) -> dict[str, torch.FloatTensor]:
        """
        What `generate()` predicts of images of the task's size, `(batch, 3, height, width)`, prepared by its image
        processor, under the names of [`AiTGenerateOutput`]: `predicted_depth`, `predicted_map` or `class_maps`, with
        `uncertainty`; or `pred_keypoints` with `keypoint_scores`.
        """
        memory = self.model.model.encoder(pixel_values=pixel_values).last_hidden_state
        input_ids = self.decoder_input_ids.expand(memory.shape[0], -1)
        states = self.model.model.decoder(
            input_ids=input_ids,
            encoder_hidden_states=memory,
            task_ids=torch.full_like(input_ids[:, 0], self.grammar.task.task_id),
            use_cache=False,
        ).last_hidden_state
        codes = self.grammar.code_range
        code_logits = self.model._logits(states)[..., codes.start : codes.stop].float()
        sequences = torch.cat([input_ids[:, :1], code_logits.argmax(-1) + codes.start], dim=1)
        task = self.grammar.task
        outputs = _Outputs(sequences, code_logits.softmax(-1), self.grammar.name, task.soft_temperature)
        self.objective.predict(outputs, self.model)
        return {name: getattr(outputs, name) for name in PREDICTIONS if getattr(outputs, name) is not None}
