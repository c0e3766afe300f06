# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The tokens of a format in the vocabulary of a language model: their ids, and how they get there."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AddedToken, PreTrainedModel, PreTrainedTokenizerBase

from ..model.tokenization_vq import VQTokenizer
from .new_rows import fill_new_rows, train_only_rows
from .text import TokenBlock, parse_text
from .token_format import TokenFormat


FOREIGN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class TokenVocabulary:
    """
    A format and the ids of its tokens in one vocabulary. [`TokenVocabulary.from_tokenizer`] looks them up.

    Args:
        token_format ([`TokenFormat`]).
        codes (`tuple[int, ...]`): Id of every code.
        start, end, prefix (`int`, *optional*): Ids of the marks that the format has.
        locations (`tuple[int, ...]`): Id of every location, if the format has them.

    Raises:
        ValueError: There are not as many ids as the format has tokens, or two are the same.
    """

    token_format: TokenFormat
    codes: tuple[int, ...]
    start: int | None = None
    end: int | None = None
    prefix: int | None = None
    locations: tuple[int, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "codes", tuple(int(number) for number in self.codes))
        object.__setattr__(self, "locations", tuple(int(number) for number in self.locations))
        for name in ("start", "end"):
            if (getattr(self, name) is None) != (getattr(self.token_format, name) is None):
                raise ValueError(
                    f"The format's {name} mark is {getattr(self.token_format, name)!r}: give its id, or none."
                )
        num_locations = 0 if self.token_format.locations is None else self.token_format.num_locations
        if len(self.codes) != self.token_format.num_codes or len(self.locations) != num_locations:
            raise ValueError(
                f"The format has {self.token_format.num_codes} codes and {num_locations} locations, got ids of "
                f"{len(self.codes)} and {len(self.locations)}."
            )
        if len(set(self.ids)) < len(self.ids):
            raise ValueError("Two tokens of the format have the same id.")

    @property
    def ids(self) -> tuple[int, ...]:
        """All ids, in the order of [`TokenFormat.tokens`]."""
        marks = (self.prefix, self.start, self.end)
        return tuple(number for number in marks if number is not None) + self.locations + self.codes

    @classmethod
    def from_tokenizer(cls, text_tokenizer: PreTrainedTokenizerBase, token_format: TokenFormat) -> "TokenVocabulary":
        """
        The ids of a format's tokens, checked: each token by itself and in a text of all of them is one id.

        Raises:
            ValueError: The tokenizer lacks a token or splits it.
        """
        tokens = token_format.tokens()
        known = text_tokenizer.get_vocab()
        if missing := [token for token in tokens if token not in known]:
            raise ValueError(
                f"The text tokenizer lacks {len(missing)} tokens of the format, such as {missing[0]}: call add_tokens."
            )
        ids = [known[token] for token in tokens]
        found = text_tokenizer("".join(tokens), add_special_tokens=False).input_ids
        if list(found) != ids:
            split = next(
                (t for t, i in zip(tokens, ids) if text_tokenizer(t, add_special_tokens=False).input_ids != [i]),
                tokens[0],
            )
            raise ValueError(
                f"The text tokenizer splits {split} into "
                f"{text_tokenizer.convert_ids_to_tokens(text_tokenizer(split, add_special_tokens=False).input_ids)}: it is "
                "no token of its own there; call add_tokens."
            )
        by_token = dict(zip(tokens, ids))
        return cls(
            token_format,
            codes=tuple(by_token[token] for token in token_format.codes.texts()),
            start=by_token.get(token_format.start),
            end=by_token.get(token_format.end),
            prefix=by_token.get(token_format.prefix),
            locations=tuple(by_token[t] for t in token_format.locations.texts()) if token_format.locations else (),
        )

    def parse(self, token_ids: torch.LongTensor | Sequence[int], **options) -> list[TokenBlock]:
        """
        All blocks of a sequence of ids, as [`parse_text`] finds them in a text; `strict` and `fill` as there. `span`
        counts ids. Labels are text: decode the ids and use [`parse_text`] for those.
        """
        token_ids = torch.as_tensor(token_ids).tolist()
        by_id = dict(zip(self.ids, self.token_format.tokens()))
        pieces = [by_id.get(number, FOREIGN) for number in token_ids]
        starts, place = {}, 0
        for index, piece in enumerate(pieces):
            starts[place] = index
            place += len(piece)
        starts[place] = len(pieces)
        blocks = parse_text("".join(pieces), self.token_format, **options)
        for block in blocks:
            block.span, block.label = (starts[block.span[0]], starts[block.span[1]]), None
        return blocks


def add_tokens(
    text_tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    token_format: TokenFormat,
    vq_tokenizer: VQTokenizer | None = None,
    *,
    seed: int = 0,
    train_only_new: bool = False,
) -> TokenVocabulary:
    """
    Adds the tokens of a format to a text tokenizer and to its model, causal or image-text, in place. What is there
    already is left alone: adding twice is adding once.

    Embeddings and, tied or not, the head grow to hold the tokens. New rows have the mean norm of the rows in use. Those
    of the codes are a seeded projection of the codebook, so that codes that decode alike begin alike; those of
    neighbouring locations are alike, too; those of marks have directions of their own.

    Args:
        text_tokenizer: Any tokenizer of transformers.
        model: Any model of transformers with input embeddings.
        token_format ([`TokenFormat`]).
        vq_tokenizer ([`VQTokenizer`], *optional*): Whose codes they are; without it, codes have directions of their own.
        seed (`int`, defaults to 0): Of the projections.
        train_only_new (`bool`, defaults to `False`):
            Let nothing but the format's rows learn, see [`~ait_hf.tokens.train_only_rows`].

    Returns:
        [`TokenVocabulary`].

    Raises:
        ValueError: The codebook is of another size than the format's, or the tokenizer splits a token all the same.
    """
    codebook = _codebook(vq_tokenizer, token_format)
    known = text_tokenizer.get_vocab()
    num_used = max(known.values()) + 1
    new = [token for token in token_format.tokens() if token not in known]
    text_tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in new])
    vocabulary = TokenVocabulary.from_tokenizer(text_tokenizer, token_format)
    added = set(text_tokenizer.convert_tokens_to_ids(new)) if new else set()
    num_rows = model.get_input_embeddings().weight.shape[0]
    if max(vocabulary.ids) >= num_rows:
        model.resize_token_embeddings(max(vocabulary.ids) + 1, mean_resizing=False)
    rows = [number for number in vocabulary.ids if number in added or number >= num_rows]
    fill_new_rows(model, vocabulary.ids, rows, _features(token_format, codebook), min(num_used, num_rows), seed)
    if train_only_new:
        train_only_rows(model, vocabulary.ids)
    return vocabulary


def _codebook(vq_tokenizer: VQTokenizer | None, token_format: TokenFormat) -> torch.Tensor | None:
    if vq_tokenizer is None:
        return None
    token_format.check_tokenizer(vq_tokenizer)
    return vq_tokenizer.quantizer.embedding.weight.detach().float().cpu()


def _features(token_format: TokenFormat, codebook: torch.Tensor | None) -> list[torch.Tensor]:
    """In the order of the format's tokens: matrices whose rows say which tokens are alike."""
    num_marks = sum(mark is not None for mark in (token_format.prefix, token_format.start, token_format.end))
    features = [torch.eye(num_marks)] if num_marks else []
    if token_format.locations is not None:
        features.append(_waves(token_format.num_locations))
    features.append(torch.eye(token_format.num_codes) if codebook is None else _on_a_sphere(codebook))
    return features


def _waves(count: int) -> torch.Tensor:
    """Sines and cosines of numbers, waves of 16 numbers and longer: near numbers are alike, no two are the same."""
    lengths = 2.0 ** torch.arange(4, max(count.bit_length() + 2, 5))
    angles = torch.arange(count)[:, None] * (2 * torch.pi / lengths)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _on_a_sphere(codebook: torch.Tensor) -> torch.Tensor:
    """
    Codes in units of their spread, with one further coordinate that they all share. So directions tell codes apart
    that lie in the same one, and a code in the middle has one at all.
    """
    codes = codebook - codebook.mean(dim=0)
    spread = codes.square().sum(dim=1).mean().sqrt().clamp_min(torch.finfo(codes.dtype).tiny)
    return nn.functional.pad(codes / spread, (0, 1), value=1.0)
