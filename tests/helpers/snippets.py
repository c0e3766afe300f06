# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Snippets of README.md and of docs/, and how they are run.

A block of a page is run as it stands, unless a comment on the line before it says `<!-- not run: REASON -->`.
"""

import re
import runpy
import shlex
import sys
from dataclasses import dataclass

import pytest
from accelerate.state import AcceleratorState
from repository import REPOSITORY

from ait_hf_cli import main as ait


BLOCK = re.compile(r"^(?P<mark><!-- not run: .+? -->\n)?```(?P<kind>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
GENERATED = ("reference/commands.md", "tutorials")  # written by docs/building
PAGES = ["README.md"] + sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (REPOSITORY / "docs").rglob("*.md")
    if not path.relative_to(REPOSITORY / "docs").as_posix().startswith(GENERATED)
)


@dataclass(frozen=True)
class Snippet:
    """A block of `kind` bash, python or yaml, and whether it `runs`."""

    page: str
    kind: str
    code: str
    runs: bool

    def commands(self) -> list[list[str]]:
        """The command lines of a bash block, as lists of words."""
        lines = self.code.replace("\\\n", "").splitlines()
        return [words for words in (shlex.split(line, comments=True) for line in lines) if words]

    def run_python(self) -> dict:
        """The names that it leaves. Like [`run`], in the present folder and in this process, which has imported everything."""
        names = {"__name__": "snippet"}
        exec(compile(self.code, self.page, "exec"), names)
        return names


def read_snippets(page: str) -> list[Snippet]:
    """All blocks of a page, by its path in the repository."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return [Snippet(page, found["kind"], found["code"], found["mark"] is None) for found in BLOCK.finditer(text)]


def verb_of(command: list[str]) -> tuple[str, list[str]] | None:
    """The verb of `ait` that a command is, with its arguments, also where `accelerate launch` starts its script; else `None`."""
    words = command[1:] if re.match(r"[A-Z_]+=", command[0]) else command
    if words[0] == "ait":
        return words[1], words[2:]
    for number, word in enumerate(words):
        if words[:2] == ["accelerate", "launch"] and (
            script := re.fullmatch(r"scripts/(\w+)\.py|ait_hf\.commands\.(\w+)", word)
        ):
            return script[1] or script[2], words[number + 1 :]
    return None


def run(command: list[str], *more: str) -> None:
    """Runs one command line as it stands and `more` arguments; what has been launched, as one process."""
    if command[:2] == ["accelerate", "launch"]:
        script, arguments = next(
            (REPOSITORY / word, command[number + 1 :])
            for number, word in enumerate(command)
            if word.startswith("scripts/") and word.endswith(".py")
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [str(script), *arguments, *more])
            runpy.run_path(str(script), run_name="__main__")
    else:
        program, *arguments = command
        assert program == "ait", command
        ait([*arguments, *more])
    AcceleratorState._reset_state(reset_partial_state=True)
