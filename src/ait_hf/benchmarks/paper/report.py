# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The rows of the runs as the paper's tables, each with its verdicts, in Markdown; and as plots."""

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..markdown import markdown_table, spread
from .tables import TABLES, Table
from .verdicts import Cell, Values, Verdict


Found = Mapping[Cell, Values]
HEADING = "# The paper's tables, as measured"


def read_rows(output: Path) -> list[dict[str, Any]]:
    """All rows in the folder of the runs; `FileNotFoundError` if there are none."""
    paths = sorted((output / "rows").glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"{output} has no rows (rows/*.json): run the benchmark into it first.")
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def by_cell(rows: Sequence[dict[str, Any]]) -> Found:
    """The value of every cell by seed."""
    found = defaultdict(dict)
    for row in rows:
        for mode, metrics in row["results"].items():
            for metric, value in metrics.items():
                found[Cell(row["variant"], mode, metric)][row["seed"]] = value
    return found


def verdicts(table: Table, found: Found) -> list[tuple[str, Verdict]]:
    """Each claim of a table, and what the numbers say of it."""
    return [(claim.text, claim.verdict(*(found.get(cell, {}) for cell in claim.cells))) for claim in table.claims]


def report(rows: Sequence[dict[str, Any]], tables: Sequence[Table] = TABLES) -> str:
    """All tables in Markdown, after an account of the verdicts and of the time that it took."""
    found = by_cell(rows)
    answers = [verdict.answer for table in tables for _, verdict in verdicts(table, found)]
    said = {"holds": "hold", "does not hold": "do not", "not decided": "are not decided"}
    counts = ", ".join(f"{answers.count(answer)} {text}" for answer, text in said.items())
    hours = sum(row["cpu_minutes"] for row in rows) / 60
    head = (
        f"{len(answers)} claims: {counts}. {len(rows)} runs, {hours:.1f} CPU hours. Mean ± standard deviation of the seeds, "
        "each followed by the paper's number in brackets."
    )
    return "\n\n".join([HEADING, head, *(_section(table, found) for table in tables)]) + "\n"


def title(table: Table) -> str:
    if not table.names[0].isdigit():
        return table.title
    return (
        f"Table{'s' * (len(table.names) > 1)} {' and '.join(table.names)}: {table.title[0].lower()}{table.title[1:]}"
    )


def picture(table: Table) -> str:
    """Name of the file of a table's plot, beside the report."""
    return "-".join(re.findall("[a-z0-9]+", title(table).lower())) + ".png"


def _section(table: Table, found: Found) -> str:
    lines = [["", *table.columns, "seeds"], ["---"] * (len(table.columns) + 2)]
    for line in table.lines:
        values = [{} if cell is None else found.get(cell, {}) for cell in line.cells]
        cells = [
            " ".join(
                filter(None, (spread([one[seed] for seed in sorted(one)]) if one else "", f"({said})" if said else ""))
            )
            for one, said in zip(values, line.printed, strict=True)
        ]
        seeds = sorted(set().union(*values))
        lines.append([line.title, *cells, ", ".join(map(str, seeds))])
    claims = [["claim", "here", ""], ["---"] * 3]
    claims += [[text, f"**{verdict.answer}**", verdict.reason] for text, verdict in verdicts(table, found)]
    parts = [f"## {title(table)}", table.note, markdown_table(lines), f"![]({picture(table)})", markdown_table(claims)]
    return "\n\n".join(filter(None, parts))


def plot(table: Table, found: Found) -> Figure:
    """A panel for every column: the mean of each line as a stroke, its seeds as points, each seed in its colour."""
    figure = Figure(figsize=(3.2 * len(table.columns), 2.6), layout="constrained")
    panels = figure.subplots(1, len(table.columns), squeeze=False)[0]
    names = [line.title for line in table.lines]
    for number, (panel, column) in enumerate(zip(panels, table.columns, strict=True)):
        panel.set_title(column, fontsize=9)
        panel.set_yticks(range(len(names)), names if number == 0 else [""] * len(names), fontsize=8)
        panel.set_ylim(len(names) - 0.5, -0.5)
        for place, line in enumerate(table.lines):
            values = found.get(line.cells[number], {}) if line.cells[number] else {}
            for seed, value in values.items():
                panel.plot([value], [place], "o", color=f"C{seed}", markersize=4)
            if values:
                mean = statistics.mean(values.values())
                panel.plot([mean], [place], "|", color="#888", markersize=16, markeredgewidth=2)
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.tick_params(axis="x", labelsize=8)
        panel.grid(axis="x", alpha=0.3)
    return figure
