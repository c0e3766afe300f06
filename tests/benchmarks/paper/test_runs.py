# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What the runs behind the paper's tables train, and some of them in quick form."""

import json

import pytest

from ait_hf.benchmarks.paper.report import picture
from ait_hf.benchmarks.paper.runs import Run, hours_left, runs_of
from ait_hf.benchmarks.paper.tables import TABLES
from ait_hf.benchmarks.paper.variants import DEPTH, INSTANCES, VARIANTS
from ait_hf.commands.benchmark import run as benchmark
from ait_hf.commands.plan import run as plan
from ait_hf.recipes.parsing import flatten, to_values
from ait_hf_cli.benchmark import parse_arguments
from ait_hf_cli.plan import parse_arguments as parse_plan


def values(name, tmp_path, **changes):
    return flatten(to_values(Run(name, 1, tmp_path, **changes).recipe()))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_a_recipe_with_its_own_tokenizers(name, tmp_path):
    run, found = Run(name, 1, tmp_path), values(name, tmp_path)
    assert found["seed"] == 1 and found["output_dir"] == str(tmp_path / f"{name}-1")
    for task, tokenizer in run.variant.tokenizers.items():
        assert found[f"tasks.{task}.tokenizer"] == str(tmp_path / f"{tokenizer}-1")
        assert VARIANTS[tokenizer].is_tokenizer and not run.variant.is_tokenizer
    steps = values(name, tmp_path, minutes=30)["train.max_steps"]
    assert steps == found["train.max_steps"] * (1 if run.variant.is_tokenizer else 3)


def differing(one, other, tmp_path):
    one, other = values(one, tmp_path), values(other, tmp_path)
    keys = {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
    return {key for key in keys if key != "output_dir" and not key.endswith(".tokenizer")}


def test_variants_differ_in_what_their_table_is_about(tmp_path):
    loss = f"tasks.{DEPTH}.settings.auxiliary_loss"
    assert differing("depth", "depth-auxiliary", tmp_path) == {loss}
    assert differing("depth-auxiliary", "depth-parallel", tmp_path) == {"model.parallel"}
    assert differing("depth", "depth-half-width", tmp_path) == set()
    assert differing("depth-tokenizer", "depth-tokenizer-half-width", tmp_path) == {"model.config.base_channels"}
    assert differing("instances", "instances-64-codes", tmp_path) == set()
    assert differing("poses", "poses-parallel", tmp_path) == {"model.parallel"}
    assert differing("semantics", "semantics-parallel", tmp_path) == {"model.parallel"}
    # The joint model is that of the separate ones and sees as many samples of each task.
    joint = values("joint", tmp_path)
    for task, name in {DEPTH: "depth-auxiliary", INSTANCES: "instances-auxiliary"}.items():
        separate = values(name, tmp_path)
        shared = {key for key in separate if key.startswith((f"tasks.{task}.", "train.", "optimizer.", "schedule."))}
        changed = {key for key in shared if separate[key] != joint.get(key)}
        assert changed <= {f"tasks.{task}.tokenizer", f"tasks.{task}.settings.loss_weight"}, changed
        model = {key for key in separate if key.startswith("model.backbone_config")}
        assert all(separate[key] == joint[key] for key in model)


def test_hours_left_go_by_runs_of_the_same_recipe(tmp_path):
    runs = [Run(name, seed, tmp_path) for name in ("depth-tokenizer", "depth", "instances") for seed in range(2)]
    assert hours_left(runs) == pytest.approx((2 * 3 + 4 * 10) / 60)
    runs[2].row.parent.mkdir(parents=True)
    runs[2].row.write_text(json.dumps({"cpu_minutes": 16.0}))
    assert hours_left(runs) == pytest.approx((2 * 3 + 16 + 2 * 10) / 60)


def test_plan_says_what_is_left(tmp_path, capsys):
    ours = runs_of(TABLES, 3, output=tmp_path, minutes=5.0)
    (tmp_path / "rows").mkdir()
    for run in ours[:2]:
        run.row.write_text(json.dumps({"cpu_minutes": 6.0, "budget_minutes": 5.0}))
    plan(parse_plan(["--paper", str(tmp_path)], "ait plan"))
    tokenizers = dict.fromkeys({VARIANTS[name].recipe for name in VARIANTS if VARIANTS[name].is_tokenizer}, 3.0)
    expected = tokenizers | {run.variant.recipe: 6.0 for run in ours[:2]}
    hours = sum(expected.get(run.variant.recipe, 5.0) for run in ours[2:]) / 60
    assert capsys.readouterr().out == f"2 of {len(ours)} runs are done; about {hours:.1f} CPU hours left.\n"
    with pytest.raises(FileNotFoundError, match="has no rows"):
        plan(parse_plan(["--paper", str(tmp_path / "nowhere")], "ait plan"))
    with pytest.raises(SystemExit):
        parse_plan(["--paper", str(tmp_path), "--gpus", "8"], "ait plan")
    assert "--paper stands alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["paper"], "paper needs --output"),
        (["paper", "--output", "x", "--data", "nyu"], "--data has no effect on paper"),
        (["backbone", "--table", "3"], "--table has no effect on backbone"),
        (["paper", "--output", "x", "--table", "14"], "invalid choice: '14'"),
    ],
)
def test_options_that_do_not_go_together(arguments, message, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(arguments, "ait benchmark")
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("tables", [["1", "11"], ["12", "13", "10"]], ids="-".join)
def test_quick_form_is_run_interrupted_and_resumed(tables, tmp_path, capsys):
    given = ["paper", "--output", str(tmp_path), "--table", *tables]
    for _ in range(2):  # the second time all but one are there
        benchmark(parse_arguments([*given, "--seeds", "1", "--quick"], "ait benchmark"))
        paths = sorted((tmp_path / "rows").iterdir())
        paths[0].unlink()
    rows = [json.loads(path.read_text()) for path in paths[1:]]
    assert len(rows) >= 7 and all(row["quick"] and row["seed"] == 0 for row in rows)
    for row in rows:
        solved = {name for metrics in row["results"].values() for name in metrics}
        assert not row["variant"].startswith("depth") or {"depth/rmse", "depth/hole_rmse"} <= solved
    capsys.readouterr()
    benchmark(parse_arguments([*given, "--report"], "ait benchmark"))
    text = (tmp_path / "report.md").read_text()
    assert capsys.readouterr().out == text and "of 3 seeds" in text
    asked = [table for table in TABLES if set(table.names) & set(tables)]
    assert {path.name for path in tmp_path.glob("*.png")} == {picture(table) for table in asked}
    assert len(asked) == text.count("\n## ")
