# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Text that a model wrote, or the text of an annotation, as blocks of codes."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from .token_format import CORNERS, TokenFormat


@dataclass
class TokenBlock:
    """
    One block of a text.

    Args:
        ids (`torch.LongTensor` of shape `(rows, columns)`, *optional*): Codes; `None` for a box alone, and where they
            are damaged.
        locations (`tuple[int, int, int, int]`, *optional*): Numbers of the location tokens ymin, xmin, ymax, xmax.
        label (`str`, *optional*): Without white space around it.
        repairs (`list[str]`): What was passed over or filled in to read it, sentence by sentence.
        damage (`str`, *optional*): Why codes or box could not be read; `None` for a good block.
        span (`tuple[int, int]`): First character in the text and the one behind the last, without the label.
    """

    ids: torch.LongTensor | None = None
    locations: tuple[int, int, int, int] | None = None
    label: str | None = None
    repairs: list[str] = field(default_factory=list)
    damage: str | None = None
    span: tuple[int, int] = (0, 0)


class _Token(NamedTuple):
    """Of a block, as it came."""

    kind: str  # prefix, start, end, location or code
    match: re.Match
    gap: str  # what stands between it and the token before


def parse_text(
    text: str, token_format: TokenFormat, *, strict: bool = True, fill: str | int | torch.Tensor | None = None
) -> list[TokenBlock]:
    """
    All blocks of a text, wherever in it they stand; other text around them is prose. White space between the tokens is
    no fault.

    Args:
        text (`str`): As a model wrote it.
        token_format ([`TokenFormat`]): Says how many codes a block has: a grid is never guessed.
        strict (`bool`, defaults to `True`):
            A block that is not as the format says is an error. If `False`, such a block is read as far as it can be:
            missing marks, foreign text inside and leading zeros are passed over, which `repairs` says; what is no valid
            codes or box is left out, which `damage` says.
        fill (`"edge"`, `int` or `torch.LongTensor` of shape `(rows, columns)`, *optional*):
            For `strict=False`: put this where codes are missing or out of range, the nearest code that is there, always
            the same code, or that of another map such as the previous frame; and cut off what is too much. `repairs`
            says so. By default such a block is damaged: 0 is a code like any other.

    Returns:
        list of [`TokenBlock`] in the order of the text; without blocks, empty if `strict=False`.

    Raises:
        ValueError: If `strict`, a block is not as the format says, or there is none; the message says what came. Or
            `fill` does not fit the format.
    """
    if strict and fill is not None:
        raise ValueError("Codes are only filled in with strict=False.")
    _check_fill(fill, token_format)
    raws = list(_raw_blocks(text, token_format))
    if strict and not raws:
        raise ValueError(f"The text has no block of {token_format.code} tokens: {_shorten(text)!r}.")
    blocks, separator = [], token_format.block_separator.strip()
    for number, raw in enumerate(raws):
        following = raws[number + 1][0].match.start() if number + 1 < len(raws) else len(text)
        block = _read(raw, token_format, fill)
        if token_format.labels:  # what follows on further lines is prose
            label = text[block.span[1] : following]
            label = (label.split(separator)[0] if separator else label).strip()
            block.label = label.split("\n")[0].strip() or None
        if strict and (fault := block.damage or next(iter(block.repairs), None)):
            raise ValueError(f"Block {number + 1} of the text: {fault} ({_shorten(text[slice(*block.span)])!r}).")
        blocks.append(block)
    return blocks


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:40]}...{text[-15:]}"


def _raw_blocks(text: str, token_format: TokenFormat) -> Iterator[list[_Token]]:
    """Cuts a text into blocks: at marks, where a box follows codes, or where a block without either is full."""
    raw, place = [], 0
    for match in token_format.loose_tokens.finditer(text):
        gap = text[place : match.start()].strip().removesuffix(token_format.token_separator.strip() or " ").strip()
        token, place = _Token(match.lastgroup, match, gap), match.end()
        if raw and (_begins_anew(token, raw, token_format) or _is_whole(raw, token_format)):
            yield from _split(raw, token_format)
            raw = []
        if token.kind != "prefix":
            raw.append(token)
    if raw:
        yield from _split(raw, token_format)


def _is_whole(raw: list[_Token], token_format: TokenFormat) -> bool:
    if token_format.end is not None or raw[0].kind != "start":
        return raw[-1].kind == "end"
    return len(_of_kind(raw, "code")) == token_format.num_tokens


def _begins_anew(token: _Token, raw: list[_Token], token_format: TokenFormat) -> bool:
    separator = token_format.block_separator.strip()
    if token.kind in ("start", "prefix") or (separator and separator in token.gap):
        return True
    if token_format.start is not None:
        return False
    if token.kind == "location":
        return raw[-1].kind == "code" or bool(token.gap)
    return bool(token.gap) and not token_format.locations


def _split(raw: list[_Token], token_format: TokenFormat) -> Iterator[list[_Token]]:
    """Boxes without codes, or blocks without marks and boxes, may follow one another with nothing between them."""
    if token_format.start is None and token_format.locations is None and not token_format.block_separator.strip():
        size = token_format.num_tokens
        yield from (raw[first : first + size] for first in range(0, len(raw), size))
        return
    corners = len(_of_kind(raw, "location"))
    if token_format.start is None and corners > 4 and corners % 4 == 0 and not any(token.gap for token in raw[1:]):
        yield from (raw[first : first + 4] for first in range(0, corners - 4, 4))
        raw = raw[corners - 4 :]
    yield raw


def _of_kind(raw: list[_Token], kind: str) -> list[str]:
    return [token.match[0] for token in raw if token.kind == kind]


def _read(raw: list[_Token], token_format: TokenFormat, fill: str | int | torch.Tensor | None) -> TokenBlock:
    block, damages = TokenBlock(span=(raw[0].match.start(), raw[-1].match.end())), [None, None]
    for name, token in (("start", raw[0]), ("end", raw[-1])):
        if name in token_format.marks and token.kind != name:
            block.repairs.append(f"the {name} mark {token_format.marks[name]} is missing")
    gaps = [token.gap for token in raw[1:] if token.gap]
    block.repairs += [f"foreign text {_shorten(gap)!r} among the tokens was passed over" for gap in gaps]
    if token_format.locations is not None:
        block.locations, damages[0] = _box(_of_kind(raw, "location"), token_format)
    if (codes := _of_kind(raw, "code")) or token_format.locations is None:
        block.ids, damages[1] = _codes(codes, token_format, fill, block.repairs)
    block.damage = "; ".join(filter(None, damages)) or None
    return block


def _box(texts: list[str], token_format: TokenFormat) -> tuple[tuple[int, int, int, int] | None, str | None]:
    """The box, or what is wrong with it."""
    if len(texts) != 4:
        return None, f"{len(texts)} location tokens instead of 4"
    tokens = token_format.locations
    numbers = [tokens.number(text) for text in texts]
    for text, number in zip(texts, numbers):
        if not 0 <= number < tokens.count:
            return None, f"{text} is out of range: locations are 0 to {tokens.count - 1}"
        if text != tokens.text(number):
            return None, f"{text} is not written as {tokens.text(number)}"
    corners = dict(zip(token_format.location_order, numbers))
    for low, high in (("ymin", "ymax"), ("xmin", "xmax")):
        if corners[high] <= corners[low]:
            return None, f"the box is empty: {high} {corners[high]} is not above {low} {corners[low]}"
    return tuple(corners[name] for name in CORNERS), None


def _codes(
    texts: list[str], token_format: TokenFormat, fill: str | int | torch.Tensor | None, repairs: list[str]
) -> tuple[torch.LongTensor | None, str | None]:
    """Codes as a grid, or what is wrong with them; -1 stands for what is to be filled in."""
    tokens, wanted = token_format.codes, token_format.num_tokens
    numbers = [tokens.number(text) for text in texts]
    faults = [] if len(numbers) == wanted else [f"{len(numbers)} codes instead of {wanted}"]
    for index, text in enumerate(texts):
        if not 0 <= numbers[index] < tokens.count:
            faults.append(f"{text} is out of range: codes are 0 to {tokens.count - 1}")
            numbers[index] = -1
        elif text != tokens.text(numbers[index]):
            if tokens.digits:  # a digit too many or too few may be any of them
                return None, f"{text} is not written as {tokens.text(numbers[index])}"
            repairs.append(f"{text} was read as {tokens.text(numbers[index])}")
    grid = token_format.to_grid(torch.tensor((numbers + [-1] * wanted)[:wanted]))
    if without_any := isinstance(fill, str) and bool((grid < 0).all()):
        faults.append("no code to fill the block with")
    if faults and (fill is None or without_any):
        return None, "; ".join(dict.fromkeys(faults))
    if (grid < 0).any():
        grid = _filled(grid, fill)
        by = fill if isinstance(fill, (str, int)) else "the given codes"
        faults.append(f"what was missing was filled with {by}")
    elif faults:
        faults.append("what was too much was cut off")
    repairs += dict.fromkeys(faults)
    return grid, None


def _filled(grid: torch.LongTensor, fill: str | int | torch.Tensor) -> torch.LongTensor:
    missing = grid < 0
    if not isinstance(fill, str):
        return torch.where(missing, torch.as_tensor(fill).to(grid), grid)
    places, known = missing.nonzero(), (~missing).nonzero()
    nearest = torch.cdist(places.double(), known.double()).argmin(dim=1)  # of equals the first in rows
    grid = grid.clone()
    grid[tuple(places.T)] = grid[tuple(known[nearest].T)]
    return grid


def _check_fill(fill: str | int | torch.Tensor | Sequence | None, token_format: TokenFormat) -> None:
    if fill is None or (isinstance(fill, str) and fill == "edge"):
        return
    if isinstance(fill, bool) or not isinstance(fill, (int, torch.Tensor)):
        raise ValueError(f"fill is 'edge', a code or a grid of codes, got {fill!r}.")
    codes = torch.as_tensor(fill)
    if codes.is_floating_point() or (codes.ndim and tuple(codes.shape) != token_format.grid):
        raise ValueError(
            f"The codes to fill with must be integers of shape {token_format.grid}, got {codes.dtype} of shape "
            f"{tuple(codes.shape)}."
        )
    if ((codes < 0) | (codes >= token_format.num_codes)).any():
        raise ValueError(f"The codes to fill with must be 0 to {token_format.num_codes - 1}.")
