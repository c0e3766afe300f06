# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The paper's tables: what they ask for, and how made-up rows come out."""

import json
from pathlib import Path

import pytest

from ait_hf.benchmarks.paper.report import by_cell, picture, plot, read_rows, report, verdicts
from ait_hf.benchmarks.paper.tables import TABLES
from ait_hf.benchmarks.paper.variants import VARIANTS
from ait_hf_cli.benchmark import PAPER_TABLES


DOCS = Path(__file__).parents[3] / "docs"
REPRODUCTION = DOCS / "reproduction"


def rows(hard, soft, seeds=3):
    """Rows of the default AiT for depth whose error falls by .01 a seed."""
    return [
        {
            "variant": "depth",
            "seed": seed,
            "cpu_minutes": 6.0,
            "results": {
                "hard": {"depth/rmse": hard - seed / 100, "depth/token_distance": 2.2},
                "soft in both": {"depth/rmse": soft - seed / 100, "depth/token_distance": 2.1},
            },
        }
        for seed in range(seeds)
    ]


def test_all_of_the_papers_ablations_are_there_and_name_variants_that_there_are():
    assert {name for table in TABLES for name in table.names} == set(PAPER_TABLES)
    assert {name for table in TABLES for name in table.variants} == set(VARIANTS)
    for table in TABLES:
        assert all(len(line.cells) == len(line.printed) == len(table.columns) for line in table.lines)
        assert table.claims
    assert len({picture(table) for table in TABLES}) == len(TABLES)


def test_a_table_with_its_numbers_and_verdicts(tmp_path):
    (tmp_path / "rows").mkdir()
    for number, row in enumerate(rows(0.72, 0.70)):
        (tmp_path / "rows" / f"{number}.json").write_text(json.dumps(row))
    found = read_rows(tmp_path)
    heading, head, title, table, image, claims = report(found, TABLES[:1]).strip().split("\n\n")
    assert heading == "# The paper's tables, as measured"
    assert head.startswith("2 claims: 2 hold, 0 do not, 0 are not decided. 3 runs, 0.3 CPU hours.")
    assert title == "## Table 1: distance of hard and soft tokens from the true ones"
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert lines[0] == ["", "l2 distance", "depth RMSE", "seeds"]
    assert lines[2] == ["hard", "2.200 ± .000 (4.78)", ".710 ± .010 (0.3182)", "0, 1, 2"]
    assert lines[3] == ["soft", "2.100 ± .000 (4.52)", ".690 ± .010 (0.3080)", "0, 1, 2"]
    assert claims.splitlines()[2:] == [
        "| soft tokens are nearer | **holds** | better by +0.100 ± 0.000 |",
        "| and their depth is better | **holds** | better by +0.020 ± 0.000 |",
    ]
    plot(TABLES[0], by_cell(found)).savefig(tmp_path / picture(TABLES[0]))
    assert image == f"![]({picture(TABLES[0])})" and (tmp_path / picture(TABLES[0])).stat().st_size > 1000


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_missing_seeds_leave_claims_open(seeds):
    text = report(rows(0.7, 0.8, seeds), TABLES[:1])
    assert text.count("**not decided**") == 2 and f"| {seeds} of 3 seeds |" in text


def test_without_rows_there_is_nothing_to_report(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no rows"):
        read_rows(tmp_path)


def test_the_published_report_is_that_of_its_rows():
    found = read_rows(REPRODUCTION)
    assert {row["variant"] for row in found} == set(VARIANTS)
    assert all(row["seed"] in (0, 1, 2) and not row["quick"] for row in found) and len(found) == 3 * len(VARIANTS)
    text = (REPRODUCTION / "report.md").read_text(encoding="utf-8")
    assert text == report(found)
    assert all((REPRODUCTION / picture(table)).is_file() for table in TABLES)


def test_every_claim_that_does_not_hold_has_its_reason():
    page, found = (DOCS / "reproduction.md").read_text(encoding="utf-8"), by_cell(read_rows(REPRODUCTION))
    fallen = {
        text for table in TABLES for text, verdict in verdicts(table, found) if verdict.answer == "does not hold"
    }
    assert [text for text in sorted(fallen) if f"| {text} |" not in page] == []
