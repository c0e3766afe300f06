# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Writes the pages that are made of something else, before mkdocs builds the site:

    python docs/building/generated_pages.py            # notebooks are run, so that their pages show pictures
    python docs/building/generated_pages.py --quick    # they are not

`docs/reference/commands.md` is what each verb of `ait` says of itself, `docs/tutorials/NAME.md` is `docs/notebooks/NAME.py`.
"""

import os
import sys
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

import ait_hf_cli


DOCS = Path(__file__).parents[1]
WIDTH = "110"  # of the text of --help
COMMANDS = [[verb] for verb in ait_hf_cli.VERBS] + [["tokens", "encode"], ["tokens", "decode"], ["demo", "tokens"]]


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


def write_tutorial(path: Path, folder: Path, is_run: bool) -> None:
    """A page of a notebook, with what its cells put out if it `is_run`, and the pictures beside it."""
    notebook = jupytext.read(path)
    if is_run:
        with TemporaryDirectory() as scratch:
            NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": scratch}}).execute()
    for cell in notebook.cells:  # without bars and warnings of libraries
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    text, resources = MarkdownExporter().from_notebook_node(notebook, {"output_files_dir": f"{path.stem}_files"})
    for name, content in resources["outputs"].items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    title, rest = text.split("\n", 1)
    download = f"[This page as a notebook](../notebooks/{path.stem}.ipynb)"
    (folder / f"{path.stem}.md").write_text(f"{title}\n\n{download}\n{rest}", encoding="utf-8")


def main(arguments: list[str]) -> None:
    (DOCS / "reference/commands.md").write_text(commands_page(), encoding="utf-8")
    (DOCS / "tutorials").mkdir(exist_ok=True)
    for path in sorted((DOCS / "notebooks").glob("*.py")):
        write_tutorial(path, DOCS / "tutorials", is_run="--quick" not in arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
