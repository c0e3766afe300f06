# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Answers whose blocks are whole: as a logits processor of any model's `generate()`, and as a regular expression."""

import re
from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from .token_format import TokenFormat, check_apart, check_formats_apart
from .vocabulary import TokenVocabulary


class TokenFormatLogitsProcessor(LogitsProcessor):
    """
    After a start mark exactly the configured number of codes, then the end mark; outside of a block neither codes nor an
    end mark. Formats with locations instead of marks: four locations, then all codes or none.

    Every row, also every beam, is judged by its own tokens, and nothing is remembered between calls. A prompt may hold
    blocks, or end inside of one, which is then finished.

    ```python
    model.generate(**inputs, logits_processor=[TokenFormatLogitsProcessor([vocabulary])])
    ```

    Args:
        vocabularies: One [`TokenVocabulary`] or several; an answer may have blocks of each.
        max_blocks (`int`, *optional*): Blocks in an answer, of all formats together; then none is begun. Any number by
            default.
        prompt_length (`int`, defaults to 0): Tokens of the prompt, in which blocks do not count.
        max_length (`int`, *optional*): Of prompt and answer together, as of `generate()`: no block is begun that would
            be cut off.
        codes_required (`bool`, defaults to `True`): For formats with locations: whether codes must follow a box.

    Raises:
        ValueError: Two formats share tokens, or a number is out of its range.
    """

    def __init__(
        self,
        vocabularies: TokenVocabulary | Sequence[TokenVocabulary],
        max_blocks: int | None = None,
        prompt_length: int = 0,
        max_length: int | None = None,
        codes_required: bool = True,
    ):
        vocabularies = [vocabularies] if isinstance(vocabularies, TokenVocabulary) else list(vocabularies)
        if not vocabularies:
            raise ValueError("Give at least one vocabulary of a format.")
        check_formats_apart([vocabulary.token_format for vocabulary in vocabularies])
        check_apart([vocabulary.ids for vocabulary in vocabularies], "Formats {} and {} share the token id {}.")
        if max_blocks is not None and max_blocks < 0:
            raise ValueError(f"max_blocks must be at least 0, got {max_blocks}.")
        self.grammars = [_Grammar(vocabulary, codes_required) for vocabulary in vocabularies]
        self.max_blocks = max_blocks
        self.prompt_length = prompt_length
        self.max_length = max_length
        self._masks: dict[tuple, torch.BoolTensor] = {}

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores `(rows, vocabulary)` with -inf for what may not follow `input_ids` `(rows, length)`."""
        allowed = torch.stack([self._allowed(tokens, scores) for tokens in input_ids.tolist()])
        return scores.masked_fill(~allowed, -torch.inf)

    def _allowed(self, tokens: list[int], scores: torch.FloatTensor) -> torch.BoolTensor:
        grammar, place, num_blocks = self._follow(tokens)
        if grammar is not None and place != grammar.may_stop_at:
            return self._mask(grammar.sets[place], scores)
        forbidden = frozenset().union(*(grammar.inside_only for grammar in self.grammars))
        full = self.max_blocks is not None and num_blocks >= self.max_blocks
        for other in self.grammars:
            if full or (self.max_length is not None and len(tokens) + len(other.sets) > self.max_length):
                forbidden |= other.sets[0]
        outside = ~self._mask(forbidden, scores)
        return outside if grammar is None else outside | self._mask(grammar.sets[place], scores)

    def _mask(self, tokens: frozenset[int], scores: torch.FloatTensor) -> torch.BoolTensor:
        """Where the tokens are in a row of scores; made once."""
        key = (tokens, scores.shape[-1], scores.device)
        if key not in self._masks:
            if tokens and max(tokens) >= scores.shape[-1]:
                raise ValueError(
                    f"The format has the token id {max(tokens)}, but the scores are of {scores.shape[-1]} tokens: call "
                    "add_tokens for this model."
                )
            mask = torch.zeros(scores.shape[-1], dtype=torch.bool)
            mask[sorted(tokens)] = True
            self._masks[key] = mask.to(scores.device)
        return self._masks[key]

    def _follow(self, tokens: list[int]) -> tuple["_Grammar | None", int, int]:
        """The format of the open block, the place in it that comes next, and how many blocks the answer has begun."""
        open_grammar, place, num_blocks = None, 0, 0
        for index, token in enumerate(tokens):
            if open_grammar is not None and token in open_grammar.sets[place]:
                place += 1
            else:
                open_grammar = next((grammar for grammar in self.grammars if token in grammar.sets[0]), None)
                place = 1
                num_blocks += open_grammar is not None and index >= self.prompt_length
            if open_grammar is not None and place == len(open_grammar.sets):
                open_grammar, place = None, 0
        return open_grammar, place, num_blocks


class _Grammar:
    """Which tokens may stand at each place of a block."""

    def __init__(self, vocabulary: TokenVocabulary, codes_required: bool):
        start, end = ([] if mark is None else [(mark,)] for mark in (vocabulary.start, vocabulary.end))
        box = [vocabulary.locations] * 4 if vocabulary.locations else []
        self.may_stop_at = len(start) + 4 if box and not end and not codes_required else None
        slots = [*start, *box, *[vocabulary.codes] * vocabulary.token_format.num_tokens, *end]
        self.sets = [frozenset(slot) for slot in slots]
        self.inside_only = frozenset().union(*self.sets[1:]) - self.sets[0]


def answer_regex(
    formats: TokenFormat | Sequence[TokenFormat], max_blocks: int | None = None, prose: str | None = None
) -> str:
    """
    A whole answer as one regular expression, for engines of structured generation: prose, and between it blocks that are
    whole. It uses no groups that capture, looks neither ahead nor back, and matches the whole answer.

    Args:
        formats: One [`TokenFormat`] or several; an answer may have blocks of each.
        max_blocks (`int`, *optional*): Blocks in an answer; any number by default.
        prose (`str`, *optional*): Regular expression of one character of the prose. By default all characters but those
            that a token of the formats begins with, such as `<`. `""` for blocks alone.

    Raises:
        ValueError: Two formats share tokens.
    """
    formats = [formats] if isinstance(formats, TokenFormat) else list(formats)
    check_formats_apart(formats)
    if prose is None:
        firsts = sorted({token[0] for token_format in formats for token in token_format.tokens()})
        prose = f"[^{''.join(map(re.escape, firsts))}]"
    prefixes = [f"(?:{re.escape(form.prefix)})?" if form.prefix is not None else "" for form in formats]
    blocks = [prefix + form.regex() for prefix, form in zip(prefixes, formats)]
    block = blocks[0] if len(blocks) == 1 else f"(?:{'|'.join(blocks)})"
    text = f"(?:{prose})*" if prose else ""
    times = "*" if max_blocks is None else f"{{0,{max_blocks}}}"
    return f"{text}(?:{block}{text}){times}"
