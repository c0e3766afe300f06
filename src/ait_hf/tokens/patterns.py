# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Numbered tokens such as `<seg000>` ... `<seg127>`: their spellings, and regular expressions of them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


FIELD = re.compile(r"\{(?::0([1-9]\d*)d)?\}")


@dataclass(frozen=True)
class NumberedTokens:
    """
    Tokens that differ in a number.

    Args:
        pattern (`str`): With one field, `"<DEPTH_{}>"`, or `"<seg{:03d}>"` for at least three digits.
        count (`int`): The numbers are `0..count - 1`.

    Raises:
        ValueError: The pattern has not just one field, or no text before or behind it that sets it apart.
    """

    pattern: str
    count: int

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
        """One token."""
        before, _, after = FIELD.split(self.pattern)
        return f"{before}{number:0{self.digits or 1}d}{after}"

    def texts(self) -> list[str]:
        """All tokens in order."""
        return [self.text(number) for number in range(self.count)]

    def loose_regex(self) -> str:
        """Matches the tokens, and those of other numbers and digits, which a reader should complain of."""
        before, _, after = FIELD.split(self.pattern)
        return rf"{re.escape(before)}-?[0-9]+{re.escape(after)}"

    def number(self, text: str) -> int:
        """The number in a text that [`~NumberedTokens.loose_regex`] matches."""
        before, _, after = FIELD.split(self.pattern)
        return int(text[len(before) : len(text) - len(after)])

    def regex(self) -> str:
        """Matches exactly the tokens. Without groups that capture and without looking around, for any engine."""
        before, _, after = FIELD.split(self.pattern)
        numbers = [f"{number:0{self.digits or 1}d}" for number in range(self.count)]
        return re.escape(before) + any_of(numbers) + re.escape(after)


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
    if not branches:
        return ""
    if "" in words:
        return f"(?:{'|'.join(branches)})?"
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def _one_of(characters: list[str]) -> str:
    if len(characters) == 1:
        return re.escape(characters[0])
    if len(characters) > 2 and ord(characters[-1]) - ord(characters[0]) == len(characters) - 1:
        return f"[{re.escape(characters[0])}-{re.escape(characters[-1])}]"
    return f"[{''.join(map(re.escape, characters))}]"
