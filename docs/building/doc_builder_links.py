# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
What mkdocstrings has to know of docstrings as transformers writes them.

Links are [`VQTokenizer`], [`VQTokenizer.detokenize`] or [`~ait_hf.data.coco.load_coco`], of which a tilde shows the last name
alone; types of arguments stand in backticks. The former become links of autorefs, the latter plain types.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import griffe


LINK = re.compile(r"\[`(?P<short>~?)(?P<name>[\w.]+)(?P<call>\(\))?`\](?:\((?P<target>~?[\w.]+)\))?")
ARGUMENT = re.compile(r"^(?P<name> +[\w, *]+ )\((?P<type>.*?)\):(?= |$)", re.M)
# Of a type: the marks of code and links, and the default, which mkdocstrings reads from the code.
MARKS = re.compile(r"[`*~]|\[(?=`)|(?<=`)\]|, \*optional\*.*|, defaults to .*")
PUBLIC = ("tokens", "metrics")  # folders whose names need no path


class DocBuilderLinks(griffe.Extension):
    """Griffe's extension of `mkdocs.yml`. A link to what the package does not have is a warning, which `--strict` makes an error."""

    def on_package(self, *, pkg: griffe.Module, **_) -> None:
        paths = defaultdict(set)
        objects = list(walk(pkg))
        for found in objects:
            paths[found.name].add(found.path)
        for found in objects:
            if found.docstring:
                text = ARGUMENT.sub(plain_type, found.docstring.value)
                found.docstring.value = LINK.sub(partial(as_autoref, found=found, package=pkg, paths=paths), text)


def walk(parent: griffe.Object) -> Iterator[griffe.Object]:
    yield parent
    for member in parent.members.values():
        if not member.is_alias:
            yield from walk(member)


def plain_type(argument: re.Match) -> str:
    return f"{argument['name']}({MARKS.sub('', argument['type'])}):"


def as_autoref(link: re.Match, found: griffe.Object, package: griffe.Module, paths: dict[str, set[str]]) -> str:
    name = (link["target"] or link["name"]).removeprefix("~")
    shown = (link["name"].rpartition(".")[2] if link["short"] else link["name"]) + (link["call"] or "")
    path = resolve(name, found, package, paths)
    if path is None:
        griffe.logger.warning(f"{found.path}: {link[0]} names nothing that {package.name} has")
        return f"`{shown}`"
    # Optional: what is not part of the reference stays a name without a link.
    return f'<autoref identifier="{path}" optional><code>{shown}</code></autoref>'


def resolve(name: str, found: griffe.Object, package: griffe.Module, paths: dict[str, set[str]]) -> str | None:
    """The full path that a name has where it stands: in its scope, among the public names, or anywhere if it is the only one."""
    first, *rest = name.split(".")
    candidates = [first] if first in (package.name, "transformers") else []
    for scope in (found, package, *(package[folder] for folder in PUBLIC if folder in package.members)):
        with suppress(griffe.NameResolutionError):
            candidates.append(scope.resolve(first))
    candidates += paths[first] if len(paths[first]) == 1 else []
    complete = (".".join([candidate, *rest]) for candidate in candidates)
    return next((path for path in complete if exists(path, package)), None)


def exists(path: str, package: griffe.Module) -> bool:
    """Of names of other packages it cannot be known."""
    if path.partition(".")[0] != package.name:
        return True
    try:
        return bool(package.modules_collection[path])
    except (KeyError, griffe.AliasResolutionError):
        return False
