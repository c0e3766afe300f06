# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Soft tokens (AiT paper, section 3.3) of any language model: its scores of the codes as expected embeddings, then maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers.modeling_outputs import ModelOutput

from ..model.quantization_ait import token_entropy
from ..model.tokenization_vq import VQTokenizer
from .token_format import TokenFormat
from .vocabulary import TokenVocabulary


@dataclass
class SoftDecoding(ModelOutput):
    """
    Args:
        sample (`torch.FloatTensor` of shape `(blocks, channels, height, width)`): Maps, in the tokenizer's unit.
        probabilities (`torch.FloatTensor` of shape `(blocks, rows, columns, num_codes)`): The soft tokens.
        ids (`torch.LongTensor` of shape `(blocks, rows, columns)`): The likeliest codes.
        entropy (`torch.FloatTensor` of shape `(blocks, rows, columns)`): Of the soft tokens, 0 (certain) to 1.
        uncertainty (`torch.FloatTensor` of shape `(blocks, height, width)`): How far apart the values lie that their codes
            stand for, in the tokenizer's unit ([`VQTokenizer.uncertainty`]).
        batch_indices (`torch.LongTensor` of shape `(blocks,)`): Which sequence a block is of.
    """

    sample: torch.FloatTensor | None = None
    probabilities: torch.FloatTensor | None = None
    ids: torch.LongTensor | None = None
    entropy: torch.FloatTensor | None = None
    uncertainty: torch.FloatTensor | None = None
    batch_indices: torch.LongTensor | None = None


def soft_decode(
    scores: torch.Tensor | Sequence[torch.Tensor],
    token_format: TokenFormat | TokenVocabulary,
    vq_tokenizer: VQTokenizer,
    *,
    sequences: torch.LongTensor | None = None,
    beam_indices: torch.LongTensor | None = None,
    temperature: float = 1.0,
) -> SoftDecoding:
    """
    Maps of the scores by which a model chose codes: every code counts as likely as the model holds it, instead of the
    likeliest alone. Differentiable in `scores`, so that a loss on the maps can train the model.

    ```python
    outputs = model.generate(**inputs, output_logits=True, return_dict_in_generate=True, logits_processor=[...])
    answers = outputs.sequences[:, inputs["input_ids"].shape[1] :]
    decoded = soft_decode(outputs.logits, vocabulary, vq_tokenizer, sequences=answers)
    ```

    Args:
        scores: Logits, or any scores whose softmax over the codes are the probabilities: a tensor `(batch, steps,
            vocabulary)`, or one `(batch, vocabulary)` for each step as `generate()` returns them. With a
            [`TokenFormat`], the last axis holds the codes alone. Each is the score of the token at its own step: of a
            forward pass, shift the logits by one.
        token_format: A [`TokenVocabulary`], which says which columns are the codes, or a [`TokenFormat`].
        vq_tokenizer ([`VQTokenizer`]): Whose codes they are. If frozen (`freeze()`), it decodes them for the uncertainty
            but once.
        sequences (`torch.LongTensor` of shape `(batch, steps)`, *optional*): The tokens of these steps, among which the
            blocks are found. Without it, the steps are the codes of one block.
        beam_indices (`torch.LongTensor` of shape `(batch, steps)`, *optional*): As beam search returns them, whose
            scores are of all beams.
        temperature (`float`, defaults to 1.0): `tau` of `softmax(tau * scores)`; below 1 blurs. The published depth
            models use 0.8.

    Returns:
        [`SoftDecoding`], its blocks in the order of the sequences and in them.

    Raises:
        ValueError: The shapes do not fit, no sequence has a whole block, or the temperature is not positive.
    """
    vocabulary = token_format if isinstance(token_format, TokenVocabulary) else None
    token_format = token_format if vocabulary is None else vocabulary.token_format
    if temperature <= 0:
        raise ValueError(f"The temperature of soft tokens must be positive, got {temperature}.")
    token_format.check_tokenizer(vq_tokenizer)
    if not isinstance(scores, torch.Tensor):
        scores = torch.stack(tuple(scores), dim=1)
    if scores.ndim != 3:
        raise ValueError(f"Scores have shape (batch, steps, vocabulary), got {tuple(scores.shape)}.")
    code_scores = _code_columns(scores, token_format, vocabulary)
    if beam_indices is not None:
        # Of the scores of all beams those of the chosen sequences; the search may have gone on beyond these.
        if sequences is None or sequences.shape[1] > min(code_scores.shape[1], beam_indices.shape[1]):
            raise ValueError("Give the sequences that the beam indices are of, without the prompt.")
        steps = torch.arange(sequences.shape[1], device=code_scores.device)
        code_scores = code_scores[beam_indices[:, : len(steps)].clamp_min(0), steps]
    if sequences is None:
        if code_scores.shape[1] != token_format.num_tokens:
            raise ValueError(
                f"A block has {token_format.num_tokens} codes, but there are scores of {scores.shape[1]} steps: give "
                "sequences, so that the codes are found among them."
            )
        rows = torch.arange(len(scores), device=scores.device)
    else:
        code_scores, rows = _blocks(code_scores, sequences, vocabulary)
    probabilities = (temperature * code_scores.float()).softmax(dim=-1)
    # As for the ids, the places of the text come into the grid; the columns of codes stay last.
    probabilities = token_format.to_grid(probabilities.transpose(-1, -2)).movedim(1, -1)
    sample = vq_tokenizer.detokenize(probabilities=probabilities)
    ids, entropy = probabilities.argmax(dim=-1), token_entropy(probabilities)
    return SoftDecoding(sample, probabilities, ids, entropy, vq_tokenizer.uncertainty(probabilities), rows)


def _code_columns(scores: torch.Tensor, token_format: TokenFormat, vocabulary: TokenVocabulary | None) -> torch.Tensor:
    num_columns = scores.shape[-1]
    if vocabulary is None:
        if num_columns != token_format.num_codes:
            raise ValueError(
                f"A format does not say which of {num_columns} columns are its {token_format.num_codes} codes: give a "
                "TokenVocabulary, as add_tokens returns it."
            )
        return scores
    if max(vocabulary.codes) >= num_columns:
        raise ValueError(
            f"The codes reach up to id {max(vocabulary.codes)}, but the scores are of {num_columns} tokens."
        )
    return scores[..., list(vocabulary.codes)]


def _blocks(
    code_scores: torch.Tensor, sequences: torch.LongTensor, vocabulary: TokenVocabulary | None
) -> tuple[torch.Tensor, torch.LongTensor]:
    """Scores `(blocks, codes of a block, num_codes)` at the steps of whole blocks, and the row of each."""
    if vocabulary is None:
        raise ValueError("To find blocks in sequences of ids, give a TokenVocabulary, as add_tokens returns it.")
    if tuple(sequences.shape) != tuple(code_scores.shape[:2]):
        raise ValueError(
            f"Sequences and scores must be of the same steps, got {tuple(sequences.shape)} tokens and scores of "
            f"{tuple(code_scores.shape[:2])}: leave the prompt out."
        )
    codes = set(vocabulary.codes)
    parts, rows = [], []
    for row, tokens in enumerate(sequences.tolist()):
        for block in vocabulary.parse(tokens, strict=False):
            if block.damage is None and block.ids is not None:
                parts.append(code_scores[row, [step for step in range(*block.span) if tokens[step] in codes]])
                rows.append(row)
    if not parts:
        raise ValueError(
            f"None of the {len(sequences)} sequences has a whole block of {vocabulary.token_format.num_tokens} codes: "
            "generate with TokenFormatLogitsProcessor, or with more new tokens."
        )
    return torch.stack(parts), torch.tensor(rows, device=code_scores.device)


def code_noise(
    token_ids: torch.LongTensor,
    vocabulary: TokenVocabulary,
    probability: float,
    vq_tokenizer: VQTokenizer | None = None,
    num_neighbors: int = 8,
    generator: torch.Generator | None = None,
) -> torch.LongTensor:
    """
    Noise for teacher forcing: codes in a model's input are replaced by others, so that it learns to go on from its own
    mistakes. Labels keep the true codes.

    Args:
        token_ids (`torch.LongTensor` of any shape): Input of the model. Marks, locations and text are left alone.
        vocabulary ([`TokenVocabulary`]): What is which id.
        probability (`float`): That a code is replaced, 0 to 1.
        vq_tokenizer ([`VQTokenizer`], *optional*): Replace by one of the nearest codes of its codebook; by any other
            code without it.
        num_neighbors (`int`, defaults to 8): How many of the nearest, with a tokenizer.
        generator (`torch.Generator`, *optional*): On the device of `token_ids`; torch's global one if not given.

    Returns:
        `torch.LongTensor`: a copy.

    Raises:
        ValueError: A number is out of its range, or the codebook is of another size than the format's.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"The probability of noise must be 0 to 1, got {probability}.")
    if vq_tokenizer is not None:
        vocabulary.token_format.check_tokenizer(vq_tokenizer)
    ids = torch.tensor(vocabulary.codes, device=token_ids.device)
    count = len(ids)
    number_of = torch.full((max(int(token_ids.max()), int(ids.max())) + 1,), -1, device=token_ids.device)
    number_of[ids] = torch.arange(count, device=token_ids.device)
    numbers = number_of[token_ids]
    if vq_tokenizer is None:  # of every code, those that may take its place, `(codes, others)`
        others = (torch.arange(count)[:, None] + torch.arange(1, count)) % count
    else:
        if not 1 <= num_neighbors < count:
            raise ValueError(f"num_neighbors must be 1 to {count - 1}, got {num_neighbors}.")
        codes = vq_tokenizer.quantizer.embedding.weight.detach().double().cpu()
        others = torch.cdist(codes, codes).fill_diagonal_(torch.inf).argsort(dim=1)[:, :num_neighbors]
    others = others.to(token_ids.device)
    draw = torch.rand(token_ids.shape, generator=generator, device=token_ids.device)
    which = torch.randint(others.shape[1], token_ids.shape, generator=generator, device=token_ids.device)
    replaced = ids[others[numbers.clamp_min(0), which]]
    return torch.where((numbers >= 0) & (draw < probability), replaced, token_ids)
