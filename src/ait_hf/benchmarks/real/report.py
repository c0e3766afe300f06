# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The rows of the runs as tables in Markdown: means over seeds, with standard deviations where there are several."""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..markdown import markdown_table, spread
from .data_sets import DATA_SETS, TOKENIZER, DataSet


TITLES = {
    TOKENIZER: "tokenizer",
    "aitp": "AiT-P",
    "ait": "AiT",
    "unet": "U-Net",
    "segformer": "SegFormer-B0, from nothing",
    "mask-rcnn": "Mask R-CNN",
    "heatmaps": "heatmaps",
}


def read_rows(output: Path) -> dict[str, list[dict[str, Any]]]:
    """
    All rows in the folder of the runs, by data set.

    Raises:
        FileNotFoundError: There are none.
    """
    rows = {
        name: [
            json.loads(path.read_text(encoding="utf-8")) for path in sorted((output / name / "rows").glob("*.json"))
        ]
        for name in DATA_SETS
    }
    if not any(rows.values()):
        raise FileNotFoundError(f"{output} has no rows (DATA/rows/*.json): run the benchmark into it first.")
    return {name: found for name, found in rows.items() if found}


def report(rows: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """Markdown with a table for each data set and measured split."""
    parts = []
    for name, of_data in rows.items():
        for split in dict.fromkeys(row["split"] for row in of_data):
            of_split = [row for row in of_data if row["split"] == split]
            parts.append(f"### {DATA_SETS[name].title} (`{name}`, {split})\n\n{table(DATA_SETS[name], of_split)}")
    return "\n\n".join(parts) + "\n"


def table(data_set: DataSet, rows: Sequence[dict[str, Any]]) -> str:
    """A line for every contestant and way to decode, the tokenizer first."""
    found = defaultdict(list)
    for row in rows:
        for mode in row["results"]:
            found[row["run"], mode].append(row)
    order = (TOKENIZER, *data_set.contestants)
    header = ["", *data_set.columns, "seeds", "samples", "minutes", "CPU minutes"]
    lines = [header, ["---"] * len(header)]
    for contestant, mode in sorted(found, key=lambda key: order.index(key[0])):
        of_line = found[contestant, mode]
        cells = [", ".join(filter(None, (TITLES[contestant], mode)))]
        for column in data_set.columns.values():
            values = [row["results"][mode][column] for row in of_line if column in row["results"][mode]]
            cells.append(spread(values) if values else "")
        cells.append(", ".join(str(row["seed"]) for row in sorted(of_line, key=lambda row: row["seed"])))
        cells.append(f"{statistics.mean(row['samples'] for row in of_line):,.0f}")
        for name in ("minutes", "cpu_minutes"):
            values = [row[name] for row in of_line if row[name] is not None]
            cells.append(spread(values, "{:.0f}") if values else "")
        lines.append(cells)
    return markdown_table(lines)
