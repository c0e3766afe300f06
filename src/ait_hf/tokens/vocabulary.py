# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The tokens of a format in the vocabulary of a language model: their ids, and how they get there."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AddedToken, PreTrainedModel, PreTrainedTokenizerBase

from ..model.tokenization_vq import VQTokenizer
from .text import TokenBlock, parse_text
from .token_format import TokenFormat


FOREIGN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class TokenVocabulary:
    """
    A format and the ids of its tokens in one vocabulary. [`TokenVocabulary.from_tokenizer`] looks them up.

    Args:
        token_format ([`TokenFormat`]): Whose tokens they are.
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
            mark = getattr(self.token_format, name)
            if (getattr(self, name) is None) != (mark is None):
                raise ValueError(f"The format's {name} mark is {mark!r}: give its id, or none.")
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

        def read(text: str) -> list[int]:
            return list(text_tokenizer(text, add_special_tokens=False).input_ids)

        if read("".join(tokens)) != ids:
            split = next((token for token, number in zip(tokens, ids) if read(token) != [number]), tokens[0])
            raise ValueError(
                f"The text tokenizer splits {split} into {text_tokenizer.convert_ids_to_tokens(read(split))}: it is no "
                "token of its own there; call add_tokens."
            )
        marks, num_codes = dict(zip(token_format.marks, ids)), token_format.num_codes
        return cls(token_format, ids[-num_codes:], locations=ids[len(marks) : -num_codes], **marks)

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
        token_format ([`TokenFormat`]): Whose tokens are added.
        vq_tokenizer ([`VQTokenizer`], *optional*): Whose codes they are; without it, codes have directions of their own.
        seed (`int`, defaults to 0): Of the projections.
        train_only_new (`bool`, defaults to `False`):
            Let nothing but the format's rows learn, see [`~ait_hf.tokens.train_only_rows`].

    Returns:
        [`TokenVocabulary`].

    Raises:
        ValueError: The codebook is of another size than the format's, or the tokenizer splits a token all the same.
    """
    features = _features(token_format, vq_tokenizer)
    known = text_tokenizer.get_vocab()
    num_used = max(known.values()) + 1
    new = [token for token in token_format.tokens() if token not in known]
    text_tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in new])
    vocabulary = TokenVocabulary.from_tokenizer(text_tokenizer, token_format)
    num_rows = model.get_input_embeddings().weight.shape[0]
    if max(vocabulary.ids) >= num_rows:
        model.resize_token_embeddings(max(vocabulary.ids) + 1, mean_resizing=False)
    rows = {
        number: place
        for place, (token, number) in enumerate(zip(token_format.tokens(), vocabulary.ids))
        if token in new or number >= num_rows
    }
    if rows:
        _fill_rows(model, rows, features, min(num_used, num_rows), seed)
    if train_only_new:
        train_only_rows(model, vocabulary.ids)
    return vocabulary


@torch.no_grad()
def _fill_rows(
    model: PreTrainedModel, rows: dict[int, int], features: list[torch.Tensor], num_used: int, seed: int
) -> None:
    """Sets rows of embeddings and head to projections of features, each to that of its place in these. Rows before
    `num_used` are in use: theirs is the norm."""
    ids = list(rows)
    for weight in _matrices(model):
        generator = torch.Generator().manual_seed(seed)
        projected = [
            matrix @ torch.randn(matrix.shape[1], weight.shape[1], generator=generator) for matrix in features
        ]
        directions = torch.cat([nn.functional.normalize(part, dim=1) for part in projected])[list(rows.values())]
        fresh = torch.zeros(len(weight), dtype=torch.bool)
        fresh[ids] = True
        used = weight[:num_used][~fresh[:num_used].to(weight.device)]
        weight[ids] = (directions * used.float().norm(dim=1).mean().cpu()).to(weight)


def _matrices(model: PreTrainedModel) -> list[torch.Tensor]:
    """The weights of the input embeddings and, if it is another tensor, of the head."""
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    return [embeddings] if head is None or head.weight is embeddings else [embeddings, head.weight]


def _features(token_format: TokenFormat, vq_tokenizer: VQTokenizer | None) -> list[torch.Tensor]:
    """In the order of the format's tokens: matrices whose rows say which tokens are alike."""
    features = [torch.eye(len(token_format.marks))] if token_format.marks else []
    if token_format.locations is not None:
        # Sines and cosines, waves of 16 numbers and longer: near numbers are alike, no two are the same.
        count = token_format.num_locations
        angles = torch.arange(count)[:, None] * (2 * torch.pi / 2.0 ** torch.arange(4, max(count.bit_length() + 2, 5)))
        features.append(torch.cat([angles.sin(), angles.cos()], dim=1))
    if vq_tokenizer is None:
        return [*features, torch.eye(token_format.num_codes)]
    token_format.check_tokenizer(vq_tokenizer)
    codebook = vq_tokenizer.quantizer.embedding.weight.detach().float().cpu()
    codes = codebook - codebook.mean(dim=0)
    spread = codes.square().sum(dim=1).mean().sqrt().clamp_min(torch.finfo(codes.dtype).tiny)
    # With one further coordinate that all codes share directions tell apart those that lie in the same one, and a code in
    # the middle has one at all.
    return [*features, nn.functional.pad(codes / spread, (0, 1), value=1.0)]


def train_only_rows(model: PreTrainedModel, ids: Sequence[int]) -> None:
    """
    Freezes a model but for some rows of its embeddings and head.

    The gradients of the other rows are zeroed. Weight decay would move them all the same, so an optimizer with weight
    decay on these matrices is refused at its first step.

    Args:
        model: Is changed in place; `requires_grad` of all its parameters is set.
        ids: Rows that learn.
    """
    model.requires_grad_(False)
    for weight in _matrices(model):
        learns = torch.zeros(len(weight), 1, device=weight.device)
        learns[list(ids)] = 1
        weight.requires_grad_(True)
        weight.register_hook(lambda gradient, learns=learns: gradient * learns.to(gradient))
        _PARTLY_FROZEN[weight] = True


_PARTLY_FROZEN = WeakIdKeyDictionary()


def _refuse_weight_decay(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
    for group in optimizer.param_groups:
        if group.get("weight_decay") and any(weight in _PARTLY_FROZEN for weight in group["params"]):
            raise ValueError(
                f"Weight decay {group['weight_decay']} would change the rows that are not to learn: give the embeddings "
                "and the head to the optimizer with weight_decay=0."
            )


register_optimizer_step_pre_hook(_refuse_weight_decay)
