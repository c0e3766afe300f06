# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Writes the pages that are made of something else, before mkdocs builds the site: `docs/reference/commands.md` of what each verb
of `ait` says of itself.
"""

import os
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import ait_hf_cli


DOCS = Path(__file__).parents[1]
WIDTH = "110"  # of the text of --help
COMMANDS = [[verb] for verb in ait_hf_cli.VERBS] + [
    ["tokens", "encode"],
    ["tokens", "decode"],
    ["demo", "tokens"],
    ["demo", "--full"],
]


def commands_page() -> str:
    """What `--help` of each command says."""
    os.environ["COLUMNS"] = WIDTH
    parts = ["# Commands", "What `ait --help` and `ait VERB --help` say.", said(["--help"])]
    for command in sorted(COMMANDS):
        parts += [f"## ait {' '.join(command)}", said([*command, "--help"])]
    return "\n\n".join([*parts, "## Recipes", "`ait train --list`:", said(["train", "--list"])]) + "\n"


def said(arguments: list[str]) -> str:
    output = StringIO()
    with redirect_stdout(output), suppress(SystemExit):
        ait_hf_cli.main(arguments)
    return f"```text\n{output.getvalue().strip()}\n```"


if __name__ == "__main__":
    (DOCS / "reference/commands.md").write_text(commands_page(), encoding="utf-8")
