# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What runs train, what their rows say, and all of it on real data in quick form."""

import json
from pathlib import Path

import pytest

from ait_hf.benchmarks.real.contestants import BASELINES
from ait_hf.benchmarks.real.data_sets import DATA_SETS, TOKENIZER
from ait_hf.benchmarks.real.runs import Run, moved
from ait_hf.benchmarks.rows import curve, do_run, effort
from ait_hf.commands.benchmark import run as benchmark
from ait_hf.recipes.parsing import to_values
from ait_hf_cli.benchmark import DATA_SETS as NAMES
from ait_hf_cli.benchmark import parse_arguments


RUNS = [(data, run) for data, data_set in DATA_SETS.items() for run in (TOKENIZER, *data_set.contestants)]


@pytest.mark.parametrize(("data", "contestant"), RUNS)
def test_every_run_has_a_recipe_on_the_data_in_its_folder(data, contestant, tmp_path):
    run = Run(data, Path("/some/where"), contestant, 2, tmp_path, minutes=12.5)
    recipe, whole = run.recipe(), Run(data, Path("/some/where"), contestant, 2, tmp_path).recipe()
    is_tokenizer = contestant == TOKENIZER
    assert recipe.train.max_steps == pytest.approx(whole.train.max_steps / (1 if is_tokenizer else 2), abs=1)
    assert recipe.seed == 2 and recipe.train.save_every is not None
    text = json.dumps(to_values(recipe))
    assert "/some/where" in text and DATA_SETS[data].folder not in text
    assert recipe.output_dir == str(tmp_path / data / (TOKENIZER if is_tokenizer else f"{contestant}-2"))
    if contestant in ("aitp", "ait"):
        assert recipe.tasks[DATA_SETS[data].task].tokenizer == str(tmp_path / data / TOKENIZER)
        assert recipe.model.parallel == (contestant == "aitp")


def test_baselines_see_what_aitp_sees(tmp_path):
    """The same data section, evaluation and schedule, but for what trains the network, and for Mask R-CNN's larger tiles."""

    def learned(data, contestant):
        values = to_values(Run(data, tmp_path, contestant, 0, tmp_path).recipe())
        sections = {name: task["data"] for name, task in values["tasks"].items()}
        return sections, *(values[key] for key in ("evaluation", "schedule", "seed"))

    for data, data_set in DATA_SETS.items():
        for baseline in data_set.baselines:
            expected = learned(data, "aitp")
            if baseline == "mask-rcnn":
                expected[0]["instance-segmentation"]["transform"]["image_size"] = 192
            assert learned(data, baseline) == expected
            assert Run(data, tmp_path, baseline, 0, tmp_path).recipe().model in BASELINES


def test_the_console_command_names_the_data_sets_and_their_runs(capsys):
    assert list(NAMES) == list(DATA_SETS)
    with pytest.raises(SystemExit):
        parse_arguments(["--help"], "ait benchmark")
    text = capsys.readouterr().out
    assert all(name in text for data_set in DATA_SETS.values() for name in data_set.baselines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["real", "--data", "nyu", "--output", "x"], "real needs --data, --root and --output"),
        (["real", "--report"], "real needs --data, --root and --output"),
        (["real", "--report", "--output", "x", "--data", "nyu"], "leave out --data"),
        (["real", "--report", "--output", "x", "--size", "64"], "--size has no effect on real"),
        (["backbone", "--minutes", "3"], "--minutes has no effect on backbone"),
    ],
)
def test_options_that_do_not_go_together(arguments, message, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(arguments, "ait benchmark")
    assert message in capsys.readouterr().err


def test_paths_of_a_recipe_are_moved():
    values = {"a": "data/nyu", "b": ["data/nyu/x.json", "data/nyu2", 3], "c": {"d": "data/nyu/rgb"}}
    assert moved(values, "data/nyu", "/r") == {"a": "/r", "b": ["/r/x.json", "data/nyu2", 3], "c": {"d": "/r/rgb"}}


def test_effort_adds_up_what_the_rows_of_a_history_took():
    """Two rows: 10 steps at 8 samples a second, then 30 at 16; rows of evaluations in between say nothing of it."""
    history = [
        {"step": 10, "samples_per_second": 8.0, "cpu_seconds": 30.0},
        {"step": 10, "eval_rmse": 1.0},
        {"step": 40, "samples_per_second": 16.0, "cpu_seconds": 60.0},
    ]
    assert effort(history, 12) == {"samples": 480, "minutes": round((15 + 22.5) / 60, 2), "cpu_minutes": 1.5}
    assert curve(history) == [{"step": 10, "eval_rmse": 1.0}]
    del history[0]["cpu_seconds"]
    assert effort(history, 12)["cpu_minutes"] is None


def test_rows_of_another_budget_are_not_taken_for_these(tmp_path):
    run = Run("nyu", tmp_path, "aitp", 0, tmp_path)
    run.row.parent.mkdir(parents=True)
    run.row.write_text(json.dumps({"steps": 3, "quick": False}))
    with pytest.raises(ValueError, match="is of a run of 3 steps, but [0-9]+ are asked for"):
        do_run(run)
    run.row.write_text(json.dumps({"steps": run.recipe().train.max_steps, "quick": False}))
    do_run(run)  # there is nothing to do, and no data to do it with
    assert not run.folder.exists()


QUICK = {
    "nyu": ("nyu_labelled", ["aitp", "ait", "unet"], {"rmse", "rmse_pooled", "delta1"}),
    "camvid": ("camvid", ["aitp", "unet", "segformer"], {"mIoU"}),
    "dsb2018": ("dsb2018", ["aitp", "mask-rcnn"], {"segm_AP50"}),
    "lspet": ("lspet", ["aitp", "ait", "heatmaps"], {"PCK", "AP50"}),
}


@pytest.mark.parametrize(("data", "baseline"), [(d, b) for d in DATA_SETS for b in DATA_SETS[d].baselines])
def test_baselines_are_made_for_their_data(data, baseline, data_dir, tmp_path):
    recipe = Run(data, data_dir / QUICK[data][0], baseline, 0, tmp_path).recipe()
    model = BASELINES[recipe.model](recipe.task)
    assert 3e6 < sum(parameter.numel() for parameter in model.parameters()) < 2e7
    assert recipe.task.best_metric and BASELINES[recipe.model].stream(recipe.task).data.batch_size > 1


@pytest.mark.slow
@pytest.mark.parametrize("data", QUICK)
def test_quick_form_of_every_data_set(data, data_dir, tmp_path, capsys):
    folder, contestants, metrics = QUICK[data]
    arguments = ["real", "--output", str(tmp_path)]
    given = ["--data", data, "--root", str(data_dir / folder), "--runs", *contestants, "--seeds", "1", "--quick"]
    for _ in range(2):  # the second time everything is there
        benchmark(parse_arguments([*arguments, *given], "ait benchmark"))
    rows = {path.stem: json.loads(path.read_text()) for path in (tmp_path / data / "rows").iterdir()}
    assert {row["run"] for row in rows.values()} == {TOKENIZER, *contestants}
    for row in rows.values():
        assert row["quick"] and row["samples"] >= 4 * row["steps"] and row["cpu_minutes"] >= 0
        modes = {"aitp": 2, "ait": 4}.get(row["run"], 1)
        assert len(row["results"]) == modes and row["curve"][-1]["step"] == row["steps"]
        if row["run"] != TOKENIZER:
            assert all(metrics <= values.keys() for values in row["results"].values())
    capsys.readouterr()
    benchmark(parse_arguments([*arguments, "--report"], "ait benchmark"))
    assert capsys.readouterr().out == (tmp_path / "report.md").read_text()
