# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Text that a model wrote, or the text of an annotation, as blocks of codes."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

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


@dataclass
class _Raw:
    """The tokens of a block as they came."""

    codes: list[re.Match] = field(default_factory=list)
    locations: list[re.Match] = field(default_factory=list)
    started: bool = False
    ended: bool = False
    foreign: list[str] = field(default_factory=list)
    span: tuple[int, int] | None = None

    def add(self, match: re.Match, gap: str) -> None:
        if self.span is not None and gap:
            self.foreign.append(gap)
        self.span = (match.start() if self.span is None else self.span[0], match.end())


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
    blocks = []
    for number, raw in enumerate(raws):
        following = raws[number + 1].span[0] if number + 1 < len(raws) else len(text)
        block = _read(raw, token_format, fill)
        if token_format.labels:
            block.label = _label(text[raw.span[1] : following], token_format)
        if strict and (block.damage or block.repairs):
            fault = block.damage or block.repairs[0]
            raise ValueError(f"Block {number + 1} of the text: {fault} ({_shorten(text[slice(*raw.span)])!r}).")
        blocks.append(block)
    return blocks


def _label(text: str, token_format: TokenFormat) -> str | None:
    separator = token_format.block_separator.strip()
    label = (text.split(separator)[0] if separator else text).strip()
    return label.split("\n")[0].strip() or None  # what follows on further lines is prose


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:40]}...{text[-15:]}"


def _raw_blocks(text: str, token_format: TokenFormat) -> Iterator[_Raw]:
    """Cuts a text into blocks: at marks, where a box follows codes, or where a block without either is full."""
    raw, place = None, 0
    separator = token_format.block_separator.strip()
    for match in token_format.loose_tokens.finditer(text):
        kind, between = _kind(match[0], token_format), text[place : match.start()]
        gap = between.strip().removesuffix(token_format.token_separator.strip() or " ").strip()
        place = match.end()
        if raw is not None and _begins_anew(kind, gap, separator, raw, token_format):
            yield from _split(raw, token_format)
            raw = None
        if kind == "prefix":
            continue
        if raw is None:
            raw = _Raw()
        raw.add(match, gap)
        if kind == "start":
            raw.started = True
        elif kind == "end":
            raw.ended = True
            yield from _split(raw, token_format)
            raw = None
        elif kind == "location":
            raw.locations.append(match)
        else:
            raw.codes.append(match)
        if raw is not None and raw.started and token_format.end is None and len(raw.codes) == token_format.num_tokens:
            yield raw
            raw = None
    if raw is not None:
        yield from _split(raw, token_format)


def _begins_anew(kind: str, gap: str, separator: str, raw: _Raw, token_format: TokenFormat) -> bool:
    if kind in ("start", "prefix"):
        return True
    if separator and separator in gap:
        return True
    if token_format.start is not None:
        return False
    if kind == "location":
        return bool(raw.codes) or bool(gap)
    return bool(gap) and not token_format.locations


def _split(raw: _Raw, token_format: TokenFormat) -> Iterator[_Raw]:
    """Boxes without codes, or blocks without marks and boxes, may follow one another with nothing between them."""
    if token_format.start is None and token_format.locations is None and not token_format.block_separator.strip():
        size, tokens = token_format.num_tokens, raw.codes
        for first in range(0, len(tokens), size):
            part = tokens[first : first + size]
            yield _Raw(codes=part, span=(part[0].start(), part[-1].end()))
        return
    if token_format.start is None and len(raw.locations) > 4 and len(raw.locations) % 4 == 0 and not raw.foreign:
        for first in range(0, len(raw.locations) - 4, 4):
            part = raw.locations[first : first + 4]
            yield _Raw(locations=part, span=(part[0].start(), part[-1].end()))
        raw.locations = raw.locations[-4:]
        raw.span = (raw.locations[0].start(), raw.span[1])
    yield raw


def _kind(token: str, token_format: TokenFormat) -> str:
    for kind in ("prefix", "start", "end"):
        if token == getattr(token_format, kind):
            return kind
    if token_format.locations is not None and re.fullmatch(token_format.locations.loose_regex(), token):
        return "location"
    return "code"


def _read(raw: _Raw, token_format: TokenFormat, fill: str | int | torch.Tensor | None) -> TokenBlock:
    block = TokenBlock(span=raw.span)
    if token_format.start is not None and not raw.started:
        block.repairs.append(f"the start mark {token_format.start} is missing")
    if token_format.end is not None and not raw.ended:
        block.repairs.append(f"the end mark {token_format.end} is missing")
    block.repairs += [f"foreign text {_shorten(text)!r} among the tokens was passed over" for text in raw.foreign]
    damages = []
    if token_format.locations is not None:
        block.locations = _box(raw, token_format, damages)
    if raw.codes or token_format.locations is None:
        block.ids = _codes(raw, token_format, fill, block.repairs, damages)
    block.damage = "; ".join(damages) or None
    return block


def _box(raw: _Raw, token_format: TokenFormat, damages: list[str]) -> tuple[int, int, int, int] | None:
    if len(raw.locations) != 4:
        damages.append(f"{len(raw.locations)} location tokens instead of 4")
        return None
    tokens = token_format.locations
    numbers = [tokens.number(match[0]) for match in raw.locations]
    for match, number in zip(raw.locations, numbers):
        if not 0 <= number < tokens.count:
            damages.append(f"{match[0]} is out of range: locations are 0 to {tokens.count - 1}")
            return None
        if match[0] != tokens.text(number):
            damages.append(f"{match[0]} is not written as {tokens.text(number)}")
            return None
    corners = dict(zip(token_format.location_order, numbers))
    box = tuple(corners[name] for name in CORNERS)
    for low, high in ((0, 2), (1, 3)):
        if box[high] <= box[low]:
            damages.append(f"the box is empty: {CORNERS[high]} {box[high]} is not above {CORNERS[low]} {box[low]}")
            return None
    return box


def _codes(
    raw: _Raw, token_format: TokenFormat, fill: str | int | torch.Tensor | None, repairs: list[str], damages: list[str]
) -> torch.LongTensor | None:
    """Codes as a grid; -1 stands for what is to be filled in."""
    tokens, wanted = token_format.codes, token_format.num_tokens
    numbers = [tokens.number(match[0]) for match in raw.codes]
    faults = []
    if len(numbers) != wanted:
        faults.append(f"{len(numbers)} codes instead of {wanted}")
    for index, match in enumerate(raw.codes):
        if not 0 <= numbers[index] < tokens.count:
            faults.append(f"{match[0]} is out of range: codes are 0 to {tokens.count - 1}")
            numbers[index] = -1
        elif match[0] != tokens.text(numbers[index]):
            if tokens.digits:  # a digit too many or too few may be any of them
                damages.append(f"{match[0]} is not written as {tokens.text(numbers[index])}")
                return None
            repairs.append(f"{match[0]} was read as {tokens.text(numbers[index])}")
    if faults and fill is None:
        damages.append("; ".join(dict.fromkeys(faults)))
        return None
    numbers = (numbers + [-1] * wanted)[:wanted]
    grid = token_format.to_grid(torch.tensor(numbers))
    if (grid < 0).any():
        if isinstance(fill, str) and (grid < 0).all():
            damages.append("; ".join(dict.fromkeys([*faults, "no code to fill the block with"])))
            return None
        grid = _filled(grid, fill)
        faults.append(
            f"what was missing was filled with {fill if isinstance(fill, (str, int)) else 'the given codes'}"
        )
    elif faults:
        faults.append("what was too much was cut off")
    repairs += dict.fromkeys(faults)
    return grid


def _filled(grid: torch.LongTensor, fill: str | int | torch.Tensor) -> torch.LongTensor:
    missing = grid < 0
    if isinstance(fill, torch.Tensor):
        return torch.where(missing, fill.to(grid), grid)
    if not isinstance(fill, str):
        return grid.masked_fill(missing, fill)
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
