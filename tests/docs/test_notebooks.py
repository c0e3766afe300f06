# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The notebooks of docs/notebooks: each is run from its first cell to its last, and its `.ipynb` is what its source says."""

import re
from typing import Any

import jupytext
import pytest
from nbclient import NotebookClient
from repository import REPOSITORY


FOLDER = REPOSITORY / "docs/notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))


def content(notebook: Any) -> list[tuple[str, str]]:
    """Kind and text of the cells of a notebook."""
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_is_made_of_its_source_and_has_no_outputs(source):
    """`jupytext --to ipynb docs/notebooks/*.py` makes them anew."""
    stored = jupytext.read(source.with_suffix(".ipynb"))
    assert content(stored) == content(jupytext.read(source))
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in stored.cells)


def check_see_with_tokens(said: str) -> None:
    assert "64 codes of 128, in 1 pass" in said
    hard, soft = map(float, re.search(r"'hard': '([\d.]+) m', 'soft': '([\d.]+) m'", said).groups())
    assert max(hard, soft) < 0.9 and abs(hard - soft) < 0.1
    fifths = re.findall(r"said to be off by ([\d.]+) m, off by ([\d.]+) m", said)
    off = [float(was) for _, was in fifths]
    assert len(fifths) == 5 and off[0] < off[2] < off[4]
    assert all(0.5 * float(was) < float(said) < 2 * float(was) for said, was in fifths)


def check_your_own_task(said: str) -> None:
    assert "176 maps" in said
    error, flat = map(int, re.search(r"(\d+) degrees off; the mean direction everywhere: (\d+)", said).groups())
    assert error < flat


def check_tokens_in_a_language_model(said: str) -> None:
    first, last = map(float, re.search(r"loss ([\d.]+) -> ([\d.]+)", said).groups())
    assert last < 0.5 * first
    assert re.search(r"^(<loc\d{4}> ){4}(<seg\d{3}> )+\w+ <eos>", said, re.M) and "cut off: " in said


CHECKS = {"see_with_tokens": check_see_with_tokens, "your_own_task": check_your_own_task}
CHECKS |= {"tokens_in_a_language_model": check_tokens_in_a_language_model}


def test_every_notebook_is_checked():
    assert {source.stem for source in SOURCES} == CHECKS.keys()


@pytest.mark.parametrize("name", CHECKS)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    notebook = jupytext.read(FOLDER / f"{name}.py")
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    CHECKS[name]("".join(output.text for output in outputs if output.get("name") == "stdout"))
