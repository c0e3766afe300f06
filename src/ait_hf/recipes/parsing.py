# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Recipes: one YAML file and `key=value` overrides become nested, type-checked dataclasses, or one clear `ValueError`.

What a recipe may hold is written in the dataclasses alone. A field whose type is a union of dataclasses picks the one
whose `name`, and perhaps `of`, the section gives; a `dict[str, ...]` of such a union picks by its keys, or, where the key
is a free name, by the section's `kind`. The keys of a field that is [`joined`] lie among those of the section. `null` is a
value where a field may be `None`, and elsewhere leaves a key out.

A recipe that has a `base` (a shipped recipe, or a file without a base) says only what differs from that. Sections are merged
key by key, unless they are of another `name`, `of`, `kind` or `model_type`; these, lists and values are replaced.
"""

import copy
import difflib
import re
import typing
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError

from ait_hf_cli.recipes import find_recipe, shipped_recipes


RecipeType = TypeVar("RecipeType")
_JOINED = "joined"

# Data sections as they were called before a section was a view (`of`) of a source (`name`). Where a view is left out, it is
# the first of those that fit, which is what `synthetic`, `rgbd`, `label_maps`, ... always meant.
_REGULAR = {
    "synthetic": ("normals", "objects", "masks", "people", "poses", "labels", "class_masks"),
    "rgbd": ("normals",),
    "coco": ("masks", "poses"),
}
FORMER_NAMES = {f"{name}_{view}": (name, view) for name, views in _REGULAR.items() for view in views} | {
    "coco_keypoints": ("coco", "people"),
    "coco_mask_shards": ("coco_shards", "masks"),
    "coco_keypoint_shards": ("coco_shards", "people"),
    "coco_pose_shards": ("coco_shards", "poses"),
    "label_map_masks": ("label_maps", "class_masks"),
    "ade20k_masks": ("ade20k", "class_masks"),
    "label_map_mask_shards": ("label_map_shards", "class_masks"),
}


def section_name(name: str, view: str) -> str:
    """One word for a data section, which recipes may have as its `name`, too."""
    return next((word for word, meaning in FORMER_NAMES.items() if meaning == (name, view)), name)


@typing.dataclass_transform(kw_only_default=True)
def as_section(described: type[RecipeType]) -> type[RecipeType]:
    """A class as a dataclass whose values, given by name, are checked: what a section of a recipe becomes."""
    return strict(dataclass(kw_only=True)(described))


def joined() -> Any:
    """A field of a dataclass whose own keys are written, and saved, among those of the section it is in."""
    return field(metadata={_JOINED: True})


class _Loader(yaml.SafeLoader):
    """Numbers and words as in YAML 1.2 and as people write them: `1e-4` is a number, `no` is a word."""


_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_NUMBER = r"^[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"
_Loader.add_implicit_resolver(_FLOAT, re.compile(_NUMBER), list("-+.0123456789"))


def load_recipe(path: str | Path, recipe_class: type[RecipeType], overrides: Sequence[str] = ()) -> RecipeType:
    """
    Reads a recipe.

    Args:
        path: YAML file, or the name of a shipped recipe.
        recipe_class: Dataclass of the whole recipe, for example [`~ait_hf.training.solver.SolverRecipe`].
        overrides: `"section.key=value"` each, the value being YAML; later ones win.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not YAML, or a key is unknown (the message has the nearest known one), missing or has
            a wrong value.
    """
    return build(recipe_class, read_values(path, overrides))


def read_values(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Keys and values of a recipe and its base, unchecked; arguments and errors as those of [`load_recipe`]."""
    values = _with_base(find_recipe(path))
    for override in overrides:
        apply_override(values, override)
    if "base" in values:
        raise ValueError("base is a key of a recipe's file, and no override.")
    return values


def _with_base(path: Path) -> dict[str, Any]:
    values = _read_file(path)
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ValueError(f"base of {path} must be a file or the name of a shipped recipe, got {base!r}.")
    try:
        base_path = find_recipe(base, path.parent)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"The base of {path}: {error}") from error
    is_shipped = base_path in shipped_recipes().values()  # and so complete, however it is written
    base_values = _with_base(base_path) if is_shipped else _read_file(base_path)
    if "base" in base_values:
        raise ValueError(
            f"The base of {path}, {base}, has a base itself ({base_values['base']}): name one that has none."
        )
    return _merged(base_values, values)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}): save it as such.") from error
    values = _parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping of recipe keys, not {type(values).__name__}.")
    return values


def _merged(base: Any, values: Any) -> Any:
    """What a recipe says and, behind it, what only its base says."""
    if not (isinstance(base, dict) and isinstance(values, dict)):
        return values
    base, values = _with_present_name(base), _with_present_name(values)
    if any(values.get(key, base.get(key)) != base.get(key) for key in ("name", "of", "kind", "model_type")):
        return values
    rest = {key: value for key, value in base.items() if key not in values}
    kept = {key: value for key, value in values.items() if value is not None or not isinstance(base.get(key), dict)}
    return {key: _merged(base.get(key), value) for key, value in kept.items()} | rest


def dump_recipe(recipe: Any) -> str:
    """The recipe with all its defaults as YAML, which [`load_recipe`] reads back to an equal one."""
    return yaml.safe_dump(to_values(recipe), sort_keys=False, allow_unicode=True)


def to_values(recipe: Any) -> Any:
    """The recipe as nested dictionaries and lists of plain values."""
    if isinstance(recipe, dict):
        return {key: to_values(value) for key, value in recipe.items()}
    if not is_dataclass(recipe):
        return copy.deepcopy(recipe)
    values = {f.name: to_values(getattr(recipe, f.name)) for f in fields(recipe)}
    if (name := _joined_field(type(recipe))) is not None:
        values = values.pop(name) | values
    return values


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
    if names[-1] == "name":  # a former one says the view, too
        section.update(_with_present_name({"name": section["name"]}))


def check_keys(section: str, keys: Iterable[str], known: Iterable[str]) -> None:
    """`ValueError` for the first of `keys` that is not `known`, with the nearest one that is."""
    known = sorted(known)
    for key in keys:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0)
            hint = f"did you mean {nearest[0]}? " if nearest else ""
            raise ValueError(f"Unknown key {key!r} in {section}: {hint}Known keys: {', '.join(known) or 'none'}.")


def build(section_class: type[RecipeType], values: dict[str, Any], section: str = "") -> RecipeType:
    """
    Dataclass `section_class` from nested dictionaries.

    Args:
        section: Dotted name of this part of the recipe, for messages; empty for the whole.

    Raises:
        ValueError: As [`load_recipe`].
    """
    where = f"section {section}" if section else "the recipe"
    _check_section(values, section)
    hints, known = typing.get_type_hints(section_class), {f.name for f in fields(section_class)}
    within = _joined_field(section_class)
    if within is not None:
        values = _with_present_name(values)
        theirs = {f.name for f in fields(_chosen(_dataclasses(hints[within]), values, section))}
        check_keys(where, values, known - {within} | theirs)
        inner = {key: value for key, value in values.items() if key in theirs}
        values = {key: value for key, value in values.items() if key not in theirs} | {within: inner}
    check_keys(where, values, known)
    takes_null = {name for name, hint in hints.items() if hint is Any or type(None) in typing.get_args(hint)}
    values = {name: value for name, value in values.items() if value is not None or name in takes_null}
    required = (f.name for f in fields(section_class) if f.default is MISSING and f.default_factory is MISSING)
    if missing := [name for name in required if name not in values]:
        raise ValueError(f"Missing key {missing[0]!r} in {where}.")
    keys = {name: ".".join(filter(None, (section, name if name != within else ""))) for name in values}
    arguments = {name: _convert(hints[name], value, keys[name]) for name, value in values.items()}
    with speaking_of(f"In {where}"):
        return section_class(**arguments)


@contextmanager
def speaking_of(where: str) -> Iterator[None]:
    """What a strict dataclass says of its values becomes a `ValueError` that says where they are."""
    try:
        yield
    except StrictDataclassError as error:
        raise ValueError(f"{where}: {error.__cause__ or error}") from error


def _check_section(values: Any, section: str) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"{section} is a section with keys, not the value {values!r}.")


def _convert(hint: Any, value: Any, name: str) -> Any:
    """`value` as the type of a field, if that holds sections or is a float written as an integer; else as it is."""
    entries = typing.get_args(typing.get_args(hint)[1]) if typing.get_origin(hint) is dict else ()
    if any(map(is_dataclass, entries)):
        return _build_named(entries, value, name)
    if value is None:
        return None
    if choices := _dataclasses(hint):
        return build(_chosen(choices, value, name) if len(choices) > 1 else choices[0], value, name)
    if typing.get_origin(hint) is dict and isinstance(value, dict):
        return {key: entry for key, entry in value.items() if entry is not None}
    if float in (hint, *typing.get_args(hint)) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _dataclasses(hint: Any) -> list[type]:
    """A dataclass, or those of a union."""
    return [choice for choice in (hint, *typing.get_args(hint)) if is_dataclass(choice)]


def _chosen(choices: Sequence[type], values: Any, section: str) -> type:
    """The dataclass that a section's `name` means, and `of`, where several have that name; the first if it has none."""
    given = _with_present_name(values) if isinstance(values, dict) else {}
    names = []
    for choice in choices:
        within = _joined_field(choice)
        named = _dataclasses(typing.get_type_hints(choice)[within]) if within else [choice]
        names += [(name, choice) for name in _by_literal(named, "name")]
    fitting = [choice for name, choice in names if name == given.get("name")]
    if not fitting:
        known = ", ".join(dict.fromkeys(name for name, _ in names))
        raise ValueError(f"{section}.name must be one of {known}, got {given.get('name')!r}.")
    views = _by_literal(fitting, "of")
    if views and given.get("of", next(iter(views))) not in list(views):
        raise ValueError(f"{section}.of must be one of {', '.join(views)} for {given['name']!r}, got {given['of']!r}.")
    return views[given["of"]] if views and "of" in given else fitting[0]


def _joined_field(section_class: type) -> str | None:
    return next((f.name for f in fields(section_class) if _JOINED in f.metadata), None)


def _with_present_name(values: dict[str, Any]) -> dict[str, Any]:
    """A data section with its `name` of today, and `of`."""
    if not isinstance(values.get("name"), str) or values["name"] not in FORMER_NAMES:
        return values
    name, view = FORMER_NAMES[values["name"]]
    if values.get("of", view) != view:
        raise ValueError(
            f"The data section {values['name']!r} is of {view}, but its `of` says {values['of']!r}: write name: {name}."
        )
    return values | {"name": name, "of": view}


def _build_named(choices: Sequence[type], values: Any, section: str) -> dict[str, Any]:
    """Sections of a mapping, each of the dataclass that its key names."""
    _check_section(values, section)
    names, kinds = _by_literal(choices, "name"), _by_literal(choices, "kind")
    built = {}
    for key, value in values.items():
        if value is None:
            continue
        given = value if isinstance(value, dict) else {}
        if "kind" in given:
            if given["kind"] not in kinds:
                raise ValueError(f"{section}.{key}.kind must be one of {', '.join(kinds)}, got {given['kind']!r}.")
            if key in names:
                raise ValueError(
                    f"In section {section}.{key}: {key!r} cannot be the name of an own task, but is that of another kind: "
                    "leave out kind, or take another name."
                )
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


def _parse_yaml(text: str, name: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from error
