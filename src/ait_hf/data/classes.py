# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Classes of data and of a model, or joints, paired by their names, whatever numbers either gives them.

Names are compared exactly but for what nobody sees: surrounding white space, and whether an accent is part of its
letter (Unicode's NFC and NFD).
"""

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


ABSENT = -1  # the number of a class of the data that the model lacks
_UNNAMED = re.compile(r"LABEL_\d+")  # what the library calls the classes of a model that was given no names
_NEAR = 0.6  # least likeness of a near miss, 0..1


@dataclass(frozen=True)
class DataClasses:
    """The classes, or joints, of some data: `source` is what messages call these, `names` are in the order of the
    numbers in the data's rows, `shown` are the numbers of those that are there at all, `None` where that is not known
    before everything is read."""

    source: str
    names: Sequence[str]
    shown: Collection[int] | None = None


@dataclass(frozen=True)
class Pairs:
    """Which class of the data is which of a model: `names` are the model's, in the order of its numbers, `numbers` say
    for every class of the data its number among these, or -1 if there is none (and nothing of it)."""

    names: Sequence[str]
    numbers: Sequence[int]

    @property
    def lacking(self) -> list[str]:
        """Names of the model's classes that the data do not have."""
        return [name for number, name in enumerate(self.names) if number not in self.numbers]

    def by_name(self, values: Sequence[Any]) -> list[Any]:
        """Values of the data's classes in the order of the model's; `None` for those that the data lack."""
        found = dict(zip(self.numbers, values, strict=True))
        return [found.get(number) for number in range(len(self.names))]


def clean_name(name: str) -> str:
    """A name as it is compared."""
    return unicodedata.normalize("NFC", name).strip()


def check_different(names: Sequence[str], where: str, kind: str = "class") -> None:
    """`ValueError`, which begins with `where`, if two names are the same."""
    seen = set()
    for name in map(clean_name, names):
        if name in seen:
            raise ValueError(f"{where} has the {kind} {name!r} twice: names have to differ.")
        seen.add(name)


def are_unnamed(names: Sequence[str]) -> bool:
    """Whether these are the names that the library makes up: `LABEL_0`, `LABEL_1`, ..."""
    return all(_UNNAMED.fullmatch(name) for name in names)


def pair_classes(
    known: Sequence[str], data: DataClasses, model: str, *, option: str, by_order: bool = False, advice: str = ""
) -> Pairs:
    """Pairs classes of data with the `known` ones of a model by their names or, as a model without names needs,
    `by_order`. Messages call the model `model`, and say which `option` a user sets to pair by order, and as `advice`
    what else can be done if the data show a class that the model lacks.

    Raises:
        ValueError: two classes of one name; the data show a class that the model lacks; the model has no names, or
            has names and `by_order` is set; or pairs by order are of different numbers.
    """
    if by_order:
        return pair_by_order(known, data, model, option)
    if are_unnamed(known) and known:
        raise ValueError(
            f"{model} has no names of its classes, only {_listed(known)}, so that nothing says which classes of "
            f"{data.source} they are. If both have the same classes in the same order, set {option}."
        )
    return _paired(known, data, model, "class", "classes", advice)


def pair_by_order(known: Sequence[str], data: DataClasses, model: str, option: str) -> Pairs:
    """As [`pair_classes`] with `by_order`."""
    if not are_unnamed(known):
        raise ValueError(f"The classes of {model} have names, which say what they are: leave out {option}.")
    if len(known) != len(data.names):
        raise ValueError(
            f"{model} has {len(known)} classes without names, but {data.source} has {len(data.names)}: they cannot be "
            "paired by order."
        )
    check_different(data.names, data.source)
    return Pairs(list(data.names), range(len(known)))


def pair_joints(known: Sequence[str], data: DataClasses, skeleton: str) -> Pairs:
    """As [`pair_classes`] for the joints of a skeleton."""
    return _paired(known, data, f"the skeleton {skeleton}", "joint", "joints")


def measuring_warnings(pairs: Pairs, data: DataClasses, model: str) -> list[str]:
    """What to tell before a model is measured on data that have fewer classes."""
    if not pairs.lacking:
        return []
    return [
        f"{data.source} lacks {_listed(pairs.lacking)} of {model}: only what it has is measured, and what is found of the "
        "others does not count."
    ]


def learning_warnings(data: DataClasses, lacking: Sequence[str] = ()) -> list[str]:
    """What to tell before a model with classes that the data are `lacking`, or never show, is trained on them."""
    unseen = [] if data.shown is None else [name for k, name in enumerate(data.names) if k not in data.shown]
    nothing_of = [*unseen, *lacking]
    return [f"{data.source} shows nothing of {_listed(nothing_of)}: it cannot be learnt."] if nothing_of else []


def _paired(known: Sequence[str], data: DataClasses, model: str, one: str, several: str, advice: str = "") -> Pairs:
    check_different(known, model, one)
    check_different(data.names, data.source, one)
    number_of = {clean_name(name): number for number, name in enumerate(known)}
    numbers = [number_of.get(clean_name(name), ABSENT) for name in data.names]
    shown = range(len(numbers)) if data.shown is None else data.shown
    foreign = [data.names[k] for k, number in enumerate(numbers) if number == ABSENT and k in shown]
    if foreign:
        plain, near = {_plain(name): name for name in known}, []
        for name in foreign:
            close = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=_NEAR)
            near.append(f"{name!r} (is it {plain[close[0]]!r}?)" if close else repr(name))
        raise ValueError(
            f"{data.source} shows the {one if len(foreign) == 1 else several} {enumerated(near)}, which {model} does not "
            f"have. Names of {several} have to be the same, letter by letter.{advice}"
        )
    return Pairs(list(known), numbers)


def _plain(name: str) -> str:
    """What remains of a name without case, white space, hyphens and underscores."""
    return re.sub(r"[\s_-]+", "", clean_name(name).casefold())


def _listed(names: Iterable[str]) -> str:
    return enumerated(map(repr, names))


def enumerated(parts: Iterable[Any], most: int = 10) -> str:
    """The first of them, for a message, and how many more there are."""
    parts = list(map(str, parts))
    return ", ".join(parts[:most]) + (f" and {len(parts) - most} more" if len(parts) > most else "")
