# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How a grid of codes is written as text: the tokens, their order, and what stands around them."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

import torch

from ..data.json_values import read_json
from ..model.tokenization_vq import VQTokenizer
from .patterns import NumberedTokens


ORDERS = ("rows", "columns")
CORNERS = ("ymin", "xmin", "ymax", "xmax")
FILE = "token_format.json"


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
        if self.order not in ORDERS:
            raise ValueError(f"The order of a format is one of {', '.join(ORDERS)}, got {self.order!r}.")
        if sorted(self.location_order) != sorted(CORNERS):
            raise ValueError(f"location_order holds each of {', '.join(CORNERS)} once, got {self.location_order}.")
        if self.end is not None and self.start is None:
            raise ValueError("A format with an end mark needs a start mark.")
        if any(mark is not None and not mark.strip() for mark in (self.start, self.end, self.prefix)):
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
    def num_tokens(self) -> int:
        """Codes in a block."""
        return self.grid[0] * self.grid[1]

    def check_tokenizer(self, vq_tokenizer: VQTokenizer) -> None:
        """`ValueError` if the codebook is of another size than the format's."""
        if vq_tokenizer.config.num_vq_embeddings != self.num_codes:
            raise ValueError(
                f"The tokenizer has {vq_tokenizer.config.num_vq_embeddings} codes, the format {self.num_codes}: they do "
                "not belong together."
            )

    def tokens(self) -> list[str]:
        """All tokens, in the order in which they are added to a vocabulary: prefix, marks, locations, codes."""
        marks = [mark for mark in (self.prefix, self.start, self.end) if mark is not None]
        return marks + (self.locations.texts() if self.locations else []) + self.codes.texts()

    # Ids and text

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
        if self.locations is None:
            boxes = [None] * count
        if not count == len(boxes) == len(names):
            raise ValueError(
                f"Every block needs a box and a label, or no block has one: got {count} blocks, {len(boxes)} boxes and "
                f"{len(names)} labels."
            )
        blocks = zip([None] * count if codes is None else codes, boxes, names)
        return self.block_separator.join(self._block_text(*block, with_prefix) for block in blocks)

    def _block_text(self, codes: list[int] | None, box: list[int] | None, label: str | None, with_prefix: bool) -> str:
        tokens = [self.prefix] if with_prefix else []
        tokens.append(self.start)
        if box is not None:
            corners = dict(zip(CORNERS, box))
            tokens += [self.locations.text(corners[name]) for name in self.location_order]
        tokens += [self.codes.text(code) for code in codes or ()]
        tokens.append(self.end)
        text = self.token_separator.join(token for token in tokens if token is not None)
        return text if label is None else f"{text} {self.checked_label(label)}"

    def _flat_ids(self, ids: torch.Tensor | Sequence | None) -> list[list[int]] | None:
        """Codes of every block in the order of the text."""
        if ids is None:
            if self.locations is None:
                raise ValueError("A block of this format is its codes: give ids.")
            return None
        ids = torch.as_tensor(ids)
        rows, columns = self.grid
        if ids.ndim == 1 or tuple(ids.shape) == self.grid:
            ids = ids[None]
        if ids.ndim == 2 and ids.shape[1] == self.num_tokens:
            flat = ids
        elif ids.ndim == 3 and tuple(ids.shape[1:]) == self.grid:
            flat = (ids if self.order == "rows" else ids.transpose(1, 2)).flatten(1)
        else:
            raise ValueError(
                f"A block has {rows} x {columns} = {self.num_tokens} codes, got codes of shape {tuple(ids.shape)}."
            )
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise ValueError(f"Codes are integers, got {ids.dtype}.")
        outside = flat[(flat < 0) | (flat >= self.num_codes)]
        if len(outside):
            raise ValueError(f"Codes are 0 to {self.num_codes - 1}, got {outside[0].item()}.")
        return flat.tolist()

    def to_grid(self, codes: torch.LongTensor) -> torch.LongTensor:
        """Codes `(..., rows * columns)` in the order of the text as `(..., rows, columns)`; also what follows them."""
        rows, columns = self.grid
        if self.order == "rows":
            return codes.unflatten(-1, (rows, columns))
        return codes.unflatten(-1, (columns, rows)).transpose(-1, -2)

    def _checked_locations(self, locations: torch.Tensor | Sequence | None) -> list[list[int]] | None:
        if (locations is None) != (self.locations is None):
            raise ValueError(
                "This format has no location tokens: leave the locations out."
                if locations is not None
                else f"A block of this format has a box: give locations, four numbers of {self.location} for each block."
            )
        if locations is None:
            return None
        locations = torch.as_tensor(locations)
        locations = locations[None] if locations.ndim == 1 else locations
        if locations.ndim != 2 or locations.shape[1] != 4 or locations.is_floating_point():
            raise ValueError(
                "Locations are whole numbers of shape (blocks, 4): ymin, xmin, ymax, xmax; got "
                f"{locations.dtype} of shape {tuple(locations.shape)}."
            )
        outside = locations[(locations < 0) | (locations >= self.num_locations)]
        if len(outside):
            raise ValueError(f"Locations are 0 to {self.num_locations - 1}, got {outside[0].item()}.")
        return locations.tolist()

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
        """Finds tokens of the format, also those with numbers out of range and with other digits."""
        marks = [re.escape(mark) for mark in (self.prefix, self.start, self.end) if mark is not None]
        numbered = [tokens.loose_regex() for tokens in (self.locations, self.codes) if tokens is not None]
        return re.compile("|".join(marks + numbered))

    def regex(self) -> str:
        """
        One block as a regular expression for engines of structured generation: exactly the configured number of codes,
        the marks, and four locations where the format has them (the codes may then be left out). Without a prefix and a
        label. See [`~ait_hf.tokens.answer_regex`] for whole answers.
        """
        separator = re.escape(self.token_separator)
        codes = rf"{self.codes.regex()}(?:{separator}{self.codes.regex()}){{{self.num_tokens - 1}}}"
        if not separator:
            codes = rf"(?:{self.codes.regex()}){{{self.num_tokens}}}"
        parts = [] if self.start is None else [re.escape(self.start)]
        if self.locations is not None:
            parts.append(separator.join([self.locations.regex()] * 4) + f"(?:{separator}{codes})?")
        else:
            parts.append(codes)
        return separator.join(parts + ([] if self.end is None else [re.escape(self.end)]))

    # Files

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


def check_formats_apart(formats: Sequence[TokenFormat]) -> None:
    """`ValueError` if two formats share a token, which would make an answer ambiguous."""
    owners: dict[str, int] = {}
    for number, token_format in enumerate(formats):
        for token in token_format.tokens():
            if owners.setdefault(token, number) != number:
                raise ValueError(
                    f"Formats {owners[token] + 1} and {number + 1} share tokens, such as {token}: give one of them others."
                )
