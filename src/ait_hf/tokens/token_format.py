# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How a grid of codes is written as text, also by the published models: the tokens, their order, what stands around them."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ..data.json_values import read_json
from ..model.tokenization_vq import VQTokenizer


CORNERS = ("ymin", "xmin", "ymax", "xmax")
FILE = "token_format.json"
FIELD = re.compile(r"\{(?::0([1-9]\d*)d)?\}")


@dataclass(frozen=True)
class NumberedTokens:
    """
    Tokens that differ in a number.

    Raises:
        ValueError: The pattern has not just one field, or no text before or behind it that sets it apart.
    """

    pattern: str  # with one field, "<DEPTH_{}>", or "<seg{:03d}>" for at least three digits
    count: int  # the numbers are 0..count - 1

    def __post_init__(self):
        parts = FIELD.split(self.pattern)
        if len(parts) != 3 or "{" in parts[0] + parts[2] or "}" in parts[0] + parts[2]:
            raise ValueError(
                f"A pattern of tokens has one field for the number, as <DEPTH_{{}}> or <seg{{:03d}}>, got {self.pattern!r}."
            )
        if not parts[0].strip() or not parts[2].strip() or parts[0][-1].isdigit() or parts[2][0].isdigit():
            raise ValueError(
                f"The number of a token needs text before and behind it that is no digit, as <DEPTH_{{}}>, got "
                f"{self.pattern!r}."
            )
        if self.count < 1:
            raise ValueError(f"There must be at least one token {self.pattern}, got {self.count}.")

    @property
    def digits(self) -> int:
        """Least number of digits; 0 if there are no leading zeros."""
        return int(FIELD.split(self.pattern)[1] or 0)

    def text(self, number: int) -> str:
        return self.pattern.format(number)

    def texts(self) -> list[str]:
        return list(map(self.text, range(self.count)))

    def loose_regex(self) -> str:
        """Matches the tokens, and those of other numbers and digits, which a reader should complain of."""
        before, _, after = FIELD.split(self.pattern)
        return rf"{re.escape(before)}-?[0-9]+{re.escape(after)}"

    def number(self, text: str) -> int:
        """The number in a text that [`~NumberedTokens.loose_regex`] matches."""
        before, _, after = FIELD.split(self.pattern)
        return int(text[len(before) : -len(after)])

    def regex(self) -> str:
        """Matches exactly the tokens. Without groups that capture and without looking around, for any engine."""
        before, _, after = FIELD.split(self.pattern)
        numbers = any_of(text[len(before) : -len(after)] for text in self.texts())
        return re.escape(before) + numbers + re.escape(after)


def any_of(words: Iterable[str]) -> str:
    """A short regular expression that matches exactly these words: common beginnings are written once."""
    endings: dict[str, set[str]] = {}
    words = set(words)
    for word in words - {""}:
        endings.setdefault(word[0], set()).add(word[1:])
    firsts: dict[frozenset[str], list[str]] = {}
    for first, rest in sorted(endings.items()):
        firsts.setdefault(frozenset(rest), []).append(first)
    branches = [_one_of(characters) + any_of(rest) for rest, characters in firsts.items()]
    if len(branches) < 2 and "" not in words:
        return "".join(branches)
    return f"(?:{'|'.join(branches)}){'?' * ('' in words)}" if branches else ""


def _one_of(characters: list[str]) -> str:
    if len(characters) == 1:
        return re.escape(characters[0])
    if len(characters) > 2 and ord(characters[-1]) - ord(characters[0]) == len(characters) - 1:
        return f"[{re.escape(characters[0])}-{re.escape(characters[-1])}]"
    return f"[{''.join(map(re.escape, characters))}]"


@dataclass(frozen=True)
class TokenFormat:
    """
    How blocks of codes are written, a block being the codes of one map or mask. [`PRESETS`] has the published ones.

    ```python
    TokenFormat(code="<DEPTH_{}>", num_codes=128, grid=(10, 10), start="<DEPTH_START>", end="<DEPTH_END>")
    TokenFormat(code="<seg{:03d}>", num_codes=128, grid=(4, 4), location="<loc{:04d}>", labels=True, block_separator=" ; ")
    ```

    A block is, in this order: `start`, four locations, the codes, `end`, a label; as far as the format has them. Between
    the tokens of a block any white space may stand when it is read.

    Args:
        code (`str`): Pattern of the code tokens, see [`NumberedTokens`].
        num_codes (`int`): Of the codebook.
        grid (`tuple[int, int]`): Rows and columns of codes in a block. It is never guessed from their number.
        start, end (`str`, *optional*): Marks, a token each.
        prefix (`str`, *optional*): A token that is written before the start mark and need not be there.
        location (`str`, *optional*): Pattern of the tokens of a box's corners.
        num_locations (`int`, defaults to 1024): Of those.
        location_order (`tuple[str, ...]`): In which order the corners are written.
        labels (`bool`, defaults to `False`): Whether a block may be followed by a blank and a label.
        order (`str`, defaults to `"rows"`): `"rows"`: the codes are written row after row; `"columns"`.
        token_separator (`str`, defaults to `""`): Written between the tokens of a block.
        block_separator (`str`, defaults to `""`): Written between blocks; where it is more than white space, it ends a
            label.

    Raises:
        ValueError: A field is out of its range, or two of the tokens are the same.
    """

    code: str
    num_codes: int
    grid: tuple[int, int]
    start: str | None = None
    end: str | None = None
    prefix: str | None = None
    location: str | None = None
    num_locations: int = 1024
    location_order: tuple[str, str, str, str] = CORNERS
    labels: bool = False
    order: str = "rows"
    token_separator: str = ""
    block_separator: str = ""

    def __post_init__(self):
        object.__setattr__(self, "grid", tuple(self.grid))  # lists, where it comes from JSON
        object.__setattr__(self, "location_order", tuple(self.location_order))
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ValueError(f"The grid of a format is (rows, columns), both at least 1, got {self.grid}.")
        if self.order not in ("rows", "columns"):
            raise ValueError(f"The order of a format is one of rows, columns, got {self.order!r}.")
        if sorted(self.location_order) != sorted(CORNERS):
            raise ValueError(f"location_order holds each of {', '.join(CORNERS)} once, got {self.location_order}.")
        if self.end is not None and self.start is None:
            raise ValueError("A format with an end mark needs a start mark.")
        if not all(mark.strip() for mark in self.marks.values()):
            raise ValueError("A mark must not be empty.")
        if twice := [token for token, times in Counter(self.tokens()).items() if times > 1]:
            raise ValueError(f"The tokens of a format must differ, but {twice[0]} is there twice.")

    @cached_property
    def codes(self) -> NumberedTokens:
        return NumberedTokens(self.code, self.num_codes)

    @cached_property
    def locations(self) -> NumberedTokens | None:
        return None if self.location is None else NumberedTokens(self.location, self.num_locations)

    @property
    def marks(self) -> dict[str, str]:
        """The marks that the format has, by `prefix`, `start` and `end`."""
        marks = {"prefix": self.prefix, "start": self.start, "end": self.end}
        return {name: mark for name, mark in marks.items() if mark is not None}

    @property
    def num_tokens(self) -> int:
        """Codes in a block."""
        return self.grid[0] * self.grid[1]

    def check_tokenizer(self, vq_tokenizer: VQTokenizer) -> None:
        """`ValueError` if the codebook is of another size than the format's."""
        if (found := vq_tokenizer.config.num_vq_embeddings) != self.num_codes:
            raise ValueError(
                f"The tokenizer has {found} codes, the format {self.num_codes}: they do not belong together."
            )

    def tokens(self) -> list[str]:
        """All tokens, in the order in which they are added to a vocabulary: prefix, marks, locations, codes."""
        return [*self.marks.values(), *(self.locations.texts() if self.locations else []), *self.codes.texts()]

    def to_text(
        self,
        ids: torch.Tensor | Sequence | None = None,
        locations: torch.Tensor | Sequence | None = None,
        labels: Sequence[str | None] | None = None,
        with_prefix: bool = True,
    ) -> str:
        """
        Blocks as text.

        Args:
            ids: Codes `(blocks, rows, columns)` or, in the order of the text, `(blocks, rows * columns)`; one block also
                without the first axis. `None` for boxes without codes. Integers.
            locations: Numbers of the location tokens `(blocks, 4)`, in the order ymin, xmin, ymax, xmax; integers.
            labels: One of each block, or `None`.
            with_prefix: Whether a prefix is written, if the format has one.

        Raises:
            ValueError: A shape, a number or a label does not fit the format.
        """
        codes, boxes = self._flat_ids(ids), self._checked_locations(locations)
        count = len(boxes if codes is None else codes)
        names = [labels] if isinstance(labels, str) else [None] * count if labels is None else list(labels)
        codes, boxes = ([None] * count if values is None else values for values in (codes, boxes))
        if not count == len(boxes) == len(names):
            raise ValueError(
                f"Every block needs a box and a label, or no block has one: got {count} blocks, {len(boxes)} boxes and "
                f"{len(names)} labels."
            )
        blocks = (self._block_text(*block, with_prefix) for block in zip(codes, boxes, names))
        return self.block_separator.join(blocks)

    def _block_text(self, codes: list[int] | None, box: list[int] | None, label: str | None, with_prefix: bool) -> str:
        tokens = [self.prefix if with_prefix else None, self.start]
        if box is not None:
            corners = dict(zip(CORNERS, box))
            tokens += [self.locations.text(corners[name]) for name in self.location_order]
        tokens += [*map(self.codes.text, codes or ()), self.end]
        text = self.token_separator.join(token for token in tokens if token is not None)
        return text if label is None else f"{text} {self.checked_label(label)}"

    def _flat_ids(self, ids: torch.Tensor | Sequence | None) -> list[list[int]] | None:
        """Codes of every block in the order of the text."""
        if ids is None:
            if self.locations is None:
                raise ValueError("A block of this format is its codes: give ids.")
            return None
        ids = torch.as_tensor(ids)
        if ids.ndim == 1 or tuple(ids.shape) == self.grid:
            ids = ids[None]
        if ids.ndim == 3 and tuple(ids.shape[1:]) == self.grid:
            ids = (ids if self.order == "rows" else ids.transpose(1, 2)).flatten(1)
        if ids.ndim != 2 or ids.shape[1] != self.num_tokens:
            size = f"{self.grid[0]} x {self.grid[1]} = {self.num_tokens}"
            raise ValueError(f"A block has {size} codes, got codes of shape {tuple(ids.shape)}.")
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise ValueError(f"Codes are integers, got {ids.dtype}.")
        return _in_range(ids, self.num_codes, "Codes")

    def to_grid(self, codes: torch.LongTensor) -> torch.LongTensor:
        """Codes `(..., rows * columns)` in the order of the text as `(..., rows, columns)`; also what follows them."""
        if self.order == "rows":
            return codes.unflatten(-1, self.grid)
        return codes.unflatten(-1, self.grid[::-1]).transpose(-1, -2)

    def _checked_locations(self, locations: torch.Tensor | Sequence | None) -> list[list[int]] | None:
        if locations is None:
            if self.locations is not None:
                needed = f"give locations, four numbers of {self.location} for each block."
                raise ValueError(f"A block of this format has a box: {needed}")
            return None
        if self.locations is None:
            raise ValueError("This format has no location tokens: leave the locations out.")
        locations = torch.as_tensor(locations)
        locations = locations[None] if locations.ndim == 1 else locations
        if locations.ndim != 2 or locations.shape[1] != 4 or locations.is_floating_point():
            raise ValueError(
                "Locations are whole numbers of shape (blocks, 4): ymin, xmin, ymax, xmax; got "
                f"{locations.dtype} of shape {tuple(locations.shape)}."
            )
        return _in_range(locations, self.num_locations, "Locations")

    def checked_label(self, label: str) -> str:
        """A label without white space around it; `ValueError` if the format has none, or none like this."""
        if not self.labels:
            raise ValueError(f"This format has no labels, got {label!r}.")
        separator = self.block_separator.strip()
        inside = ["\n", separator] if separator else ["\n"]
        if not label.strip() or any(part in label.strip() for part in inside) or self.loose_tokens.search(label):
            raise ValueError(
                f"A label is one line that is not empty, without the separator {separator!r} and tokens of the format, got "
                f"{label!r}."
            )
        return label.strip()

    @cached_property
    def loose_tokens(self) -> re.Pattern:
        """
        Finds tokens of the format, also those with numbers out of range and with other digits. The group that matched
        names the kind: prefix, start, end, location or code.
        """
        patterns = {name: re.escape(mark) for name, mark in self.marks.items()}
        if self.locations is not None:
            patterns["location"] = self.locations.loose_regex()
        patterns["code"] = self.codes.loose_regex()
        return re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in patterns.items()))

    def regex(self) -> str:
        """
        One block as a regular expression for engines of structured generation: exactly the configured number of codes,
        the marks, and four locations where the format has them (the codes may then be left out). Without a prefix and a
        label. See [`~ait_hf.tokens.answer_regex`] for whole answers.
        """
        separator, code = re.escape(self.token_separator), self.codes.regex()
        content = f"{code}(?:{separator}{code}){{{self.num_tokens - 1}}}"
        if not separator:
            content = f"(?:{code}){{{self.num_tokens}}}"
        if self.locations is not None:
            content = separator.join([self.locations.regex()] * 4) + f"(?:{separator}{content})?"
        start, end = (re.escape(mark or "") for mark in (self.start, self.end))
        return separator.join(part for part in (start, content, end) if part)

    def to_dict(self) -> dict:
        """As JSON holds it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict) -> "TokenFormat":
        """
        Raises:
            ValueError: A name is not that of a field, or a field is missing or out of its range.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise ValueError(f"A token format has no field {unknown[0]!r}; it has {', '.join(sorted(known))}.")
        if missing := sorted({"code", "num_codes", "grid"} - values.keys()):
            raise ValueError(f"A token format needs {', '.join(missing)}.")
        return cls(**values)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes `token_format.json` into a folder, beside a tokenizer."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / FILE).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "TokenFormat":
        """
        What [`~TokenFormat.save_pretrained`] wrote.

        Raises:
            FileNotFoundError: The folder has no `token_format.json`.
            ValueError: It is no token format.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise FileNotFoundError(f"{folder} has no {FILE}: give a folder that ait_hf.tokens wrote.")
        values = read_json(path)
        if not isinstance(values, dict):
            raise ValueError(f"{path} holds no token format but {type(values).__name__}.")
        return cls.from_dict(values)


def _in_range(numbers: torch.Tensor, count: int, what: str) -> list[list[int]]:
    if len(outside := numbers[(numbers < 0) | (numbers >= count)]):
        raise ValueError(f"{what} are 0 to {count - 1}, got {outside[0].item()}.")
    return numbers.long().tolist()


def check_formats_apart(formats: Sequence[TokenFormat]) -> None:
    """`ValueError` if two formats share a token, which would make an answer ambiguous."""
    message = "Formats {} and {} share tokens, such as {}: give one of them others."
    check_apart([token_format.tokens() for token_format in formats], message)


def check_apart(groups: Iterable[Iterable[str | int]], message: str) -> None:
    """`ValueError` with the numbers of two groups that share a token, and the token."""
    owners: dict[str | int, int] = {}
    for number, group in enumerate(groups, start=1):
        for token in group:
            if owners.setdefault(token, number) != number:
                raise ValueError(message.format(owners[token], number, token))


@dataclass(frozen=True)
class Preset:
    """What a published model takes: tokenizer, preprocessing and text."""

    tokenizer: MappingProxyType[str, Any]  # arguments of [`VQTokenizer`]
    convention: str  # of [`AiTTokenProcessor`]
    token_format: TokenFormat  # of its texts
    source: str  # which file the weights are published as


def _preset(convention: str, token_format: TokenFormat, source: str, **tokenizer) -> Preset:
    shared = {"base_channels": 16, "num_res_blocks": 2, "loss_type": "mse", "num_vq_embeddings": 128}
    shared |= {"vq_embed_dim": 512, "value_range": (0.0, 1.0)}
    return Preset(MappingProxyType(shared | tokenizer), convention, token_format, source)


_DEPTH = {"downsample_ratio": 32, "sample_size": 320, "unit": "relative_inverse_depth"}
_GRID = {"num_codes": 128, "grid": (10, 10)}
_UPPER_CASE = TokenFormat(code="<DEPTH_{}>", start="<DEPTH_START>", end="<DEPTH_END>", **_GRID)
_LOWER_CASE = TokenFormat(
    code="<depth_{}>", start="<depth_start>", end="<depth_end>", prefix="<depth_output>", **_GRID
)
_PALIGEMMA = TokenFormat(
    code="<seg{:03d}>", num_codes=128, grid=(4, 4), location="<loc{:04d}>", labels=True, block_separator=" ; "
)
_OF_PALIGEMMA = "vae-oid.npz of Big Vision's PaliGemma"
_PRESETS = (
    _preset("paligemma-mask", _PALIGEMMA, _OF_PALIGEMMA, downsample_ratio=16, sample_size=64, unit="mask"),
    _preset("molmoact-depth", _UPPER_CASE, "the depth VQ-VAE of MolmoAct", value_range=None, **_DEPTH),
    _preset("molmoact2-depth", _LOWER_CASE, "the depth VQ-VAE of MolmoAct 2", **_DEPTH),
    _preset("aurora-depth", _UPPER_CASE, "the depth VQ-VAE of Aurora", **_DEPTH),
)
PRESETS = MappingProxyType({preset.convention: preset for preset in _PRESETS})  # which have the names of conventions


def get_preset(name: str) -> Preset:
    """`ValueError` that lists the names, if there is no preset of this one."""
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
    return PRESETS[name]
