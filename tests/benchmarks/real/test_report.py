# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of runs as tables, against means and deviations by hand."""

import json

import pytest
from repository import REPOSITORY

from ait_hf.benchmarks.real.data_sets import DATA_SETS
from ait_hf.benchmarks.real.report import read_rows, report


RUN = ["seeds", "samples", "minutes", "CPU minutes"]


def row(run, seed, results, split="test", **changes):
    common = {"data": "nyu", "samples": 1000, "minutes": 90.0, "cpu_minutes": 180.0, "split": split}
    return {"run": run, "seed": seed, "results": results} | common | changes


def errors(rmse, **more):
    return {"rmse": rmse, "rmse_pooled": 2 * rmse, "abs_rel": 0.1, "delta1": 0.9} | more


def test_a_line_for_every_contestant_and_way_to_decode(tmp_path):
    rows = [
        row("unet", 0, {"": errors(0.6)}, cpu_minutes=None),
        row("aitp", 1, {"hard": errors(0.62), "soft": errors(0.58, ause_rmse=0.3)}, samples=2000),
        row("aitp", 0, {"hard": errors(0.60), "soft": errors(0.56)}, minutes=80.0),
        row("tokenizer", 0, {"reconstruction": {"rmse": 0.17, "abs_rel": 0.03, "delta1": 0.99}}),
        row("aitp", 0, {"soft": errors(1.5)}, split="val"),
    ]
    folder = tmp_path / "nyu" / "rows"
    folder.mkdir(parents=True)
    for number, content in enumerate(rows):
        (folder / f"{number}.json").write_text(json.dumps(content))
    test, val = report(read_rows(tmp_path)).strip().split("\n\n### ")
    title, table = test.split("\n\n")
    assert title == "### NYU Depth v2, labelled frames, metric, Eigen crop (`nyu`, test)"
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert lines[0] == ["", "RMSE, m", "RMSE pooled", "AbsRel", "δ1", "AUSE, m", *RUN]
    assert [line[0] for line in lines[2:]] == ["tokenizer, reconstruction", "AiT-P, hard", "AiT-P, soft", "U-Net"]
    assert lines[2][1:] == [".170", "", ".030", ".990", "", "0", "1,000", "90", "180"]
    # Of two values that are .02 apart the standard deviation of a sample is .02 / sqrt 2.
    assert lines[4][1:3] == [".570 ± .014", "1.140 ± .028"] and lines[4][6:9] == ["0, 1", "1,500", "85 ± 7"]
    assert lines[4][5] == ".300" and lines[3][5] == ""  # of one run, and of none
    assert lines[5][1] == ".600" and lines[5][-1] == ""
    assert "AiT-P, soft | 1.500 | 3.000 |" in val and val.startswith("NYU") and "(`nyu`, val)" in val


def test_without_rows_there_is_nothing_to_report(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no rows"):
        read_rows(tmp_path)


def test_the_page_of_results_has_the_tables_of_the_rows_that_come_along():
    rows = read_rows(REPOSITORY / "docs" / "real_data")
    assert list(rows) == list(DATA_SETS)
    assert report(rows) in (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
