# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Recipes: one YAML file and `key=value` overrides become nested, type-checked dataclasses, or one clear `ValueError`.

What a recipe may hold is written in the dataclasses alone. A field whose type is a union of dataclasses picks the one
whose `name` the section gives; a `dict[str, ...]` of such a union picks by its keys, or, where the key is a free name, by
the section's `kind`.
"""

import difflib
import re
import typing
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from huggingface_hub.errors import StrictDataclassError


RecipeType = TypeVar("RecipeType")


class _Loader(yaml.SafeLoader):
    """Numbers and words as in YAML 1.2 and as people write them: `1e-4` is a number, `no` is a word."""


_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"^[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


def load_recipe(path: str | Path, kind: type[RecipeType], overrides: Sequence[str] = ()) -> RecipeType:
    """
    Reads a recipe.

    Args:
        path: YAML file.
        kind: Dataclass of the whole recipe, for example [`~ait_hf.training.solver.SolverRecipe`].
        overrides: `"section.key=value"` each, the value being YAML; later ones win.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not YAML, or a key is unknown (the message has the nearest known one), missing or has
            a wrong value.
    """
    values = read_values(Path(path))
    for override in overrides:
        apply_override(values, override)
    return build(kind, values)


def read_values(path: Path) -> dict[str, Any]:
    """The file's keys and values, unchecked; errors as [`load_recipe`]."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no recipe at {path}.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}): save it as such.") from error
    values = _parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping of recipe keys, not {type(values).__name__}.")
    return values


def dump_recipe(recipe: Any) -> str:
    """The recipe with all its defaults as YAML, which [`load_recipe`] reads back to an equal one."""
    return yaml.safe_dump(to_values(recipe), sort_keys=False, allow_unicode=True)


def to_values(recipe: Any) -> dict[str, Any]:
    """The recipe as nested dictionaries and lists of plain values."""
    return asdict(recipe)


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    flat = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def apply_override(values: dict[str, Any], override: str) -> None:
    """
    Sets one value in the nested dictionary `values`.

    Args:
        override: `"section.key=value"`; the value is YAML, so `[1, 2]`, `null`, `1e-4` and `{a: 1}` mean what they say.

    Raises:
        ValueError: If it is not of this form, or leads through something that is not a section.
    """
    key, equals, text = override.partition("=")
    names = key.split(".")
    if not equals or not all(re.fullmatch(r"[A-Za-z_][\w-]*", name) for name in names):
        raise ValueError(f"{override!r} is not an override: write section.key=value, for example train.max_steps=100.")
    section = values
    for depth, name in enumerate(names[:-1], start=1):
        if section.get(name) is None:
            section[name] = {}
        section = section[name]
        if not isinstance(section, dict):
            raise ValueError(f"{override!r}: {'.'.join(names[:depth])} is a value, not a section with keys.")
    section[names[-1]] = _parse_yaml(text, f"The value of {key}")


def check_keys(section: str, keys: Iterable[str], known: Iterable[str]) -> None:
    """`ValueError` for the first of `keys` that is not `known`, with the nearest one that is."""
    known = sorted(known)
    for key in keys:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0)
            hint = f"did you mean {nearest[0]}? " if nearest else ""
            raise ValueError(f"Unknown key {key!r} in {section}: {hint}Known keys: {', '.join(known) or 'none'}.")


def build(kind: type[RecipeType], values: dict[str, Any], section: str = "") -> RecipeType:
    """
    Dataclass `kind` from nested dictionaries.

    Args:
        section: Dotted name of this part of the recipe, for messages; empty for the whole.

    Raises:
        ValueError: As [`load_recipe`].
    """
    where = f"section {section}" if section else "the recipe"
    if not isinstance(values, dict):
        raise ValueError(f"{section} is a section with keys, not the value {values!r}.")
    hints = typing.get_type_hints(kind)
    check_keys(where, values, [f.name for f in fields(kind)])
    if missing := [f.name for f in fields(kind) if f.name not in values and _is_required(f)]:
        raise ValueError(f"Missing key {missing[0]!r} in {where}.")
    arguments = {
        name: _convert(hints[name], value, f"{section}.{name}" if section else name) for name, value in values.items()
    }
    try:
        return kind(**arguments)
    except StrictDataclassError as error:
        raise ValueError(f"In {where}: {error.__cause__ or error}") from error


def _convert(hint: Any, value: Any, name: str) -> Any:
    """`value` as the type of a field, if that holds sections or is a float written as an integer; else as it is."""
    if typing.get_origin(hint) is dict and any(map(is_dataclass, typing.get_args(typing.get_args(hint)[1]))):
        return _build_named(typing.get_args(typing.get_args(hint)[1]), value, name)
    if value is None and type(None) in typing.get_args(hint):
        return None
    choices = [choice for choice in (hint, *typing.get_args(hint)) if is_dataclass(choice)]
    if len(choices) > 1:
        names, given = _by_literal(choices, "name"), value.get("name") if isinstance(value, dict) else None
        if given not in names:
            raise ValueError(f"{name}.name must be one of {', '.join(names)}, got {given!r}.")
        return build(names[given], value, name)
    if choices:
        return build(choices[0], value, name)
    if float in (hint, *typing.get_args(hint)) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _build_named(choices: Sequence[type], values: Any, section: str) -> dict[str, Any]:
    """Sections of a mapping, each of the dataclass that its key names."""
    if not isinstance(values, dict):
        raise ValueError(f"{section} is a section with keys, not the value {values!r}.")
    names, kinds = _by_literal(choices, "name"), _by_literal(choices, "kind")
    built = {}
    for key, value in values.items():
        given = value if isinstance(value, dict) else {}
        if "kind" in given:
            if given["kind"] not in kinds:
                raise ValueError(f"{section}.{key}.kind must be one of {', '.join(kinds)}, got {given['kind']!r}.")
            choice = kinds[given["kind"]]
        else:
            check_keys(f"section {section}", [key], names)
            choice = names[key]
        built[key] = build(choice, {"name": key, **given} if given else value, f"{section}.{key}")
    return built


def _by_literal(choices: Sequence[type], field_name: str) -> dict[str, type]:
    """Dataclasses by the values that a field may have, those left out where it may be any or is missing."""
    found = {}
    for choice in choices:
        hint = typing.get_type_hints(choice).get(field_name)
        if typing.get_origin(hint) is typing.Literal:
            found |= dict.fromkeys(typing.get_args(hint), choice)
    return found


def _is_required(field: Field) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _parse_yaml(text: str, name: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from error
