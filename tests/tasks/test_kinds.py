# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Every kind of task is whole: all that training and commands ask of it is there, and tried somewhere."""

import inspect
import re
import typing
from dataclasses import dataclass

import pytest
from models_of_kinds import MEASURED, save_model
from tiny import tiny_config

from ait_hf.commands.evaluate import main as evaluate
from ait_hf.inference.loading import load_model_and_processor
from ait_hf.model.configuration_ait import OUTPUT_RULES
from ait_hf.recipes.parsing import build
from ait_hf.recipes.sources import Shards
from ait_hf.tasks.base import Kind, TaskText
from ait_hf.tasks.kinds import KINDS, kind_of, kind_of_output, kind_of_unit
from ait_hf.tasks.writer import Writer
from ait_hf.training.solver import SolverRecipe
from ait_hf.training.tokenizer import TokenizerRecipe
from ait_hf_cli.evaluate import KINDS as OPTIONS
from ait_hf_cli.evaluate import TASKS, parse_arguments


ROWS = 2


def test_kinds_share_out_tasks_outputs_and_units():
    names = [task for kind in KINDS for task in kind.tasks]
    assert len(names) == len(set(names))
    assert {output_type for kind in KINDS for output_type in kind.output_types} == set(OUTPUT_RULES)
    assert set(TASKS) == {task for kind in KINDS for task in kind.tasks}
    for kind in KINDS:
        for task in kind.tasks or ["one's own"]:
            assert kind_of(task) is kind
            assert all(kind_of_output(task, output_type) is kind for output_type in kind.output_types)
    assert kind_of_unit("a unit of one's own") is kind_of("one's own")


MEASURED_AS = {
    "metre": "depth",
    "mask": "mask",
    "class": "label_map",
    "pixel": "pose",
    "unit_vector": "normals",
    "K": "map",
}


def test_tokenizers_of_every_unit_are_measured_as_what_they_are_of():
    assert {unit for kind in KINDS for unit in kind.units} <= MEASURED_AS.keys()
    for unit, measured in MEASURED_AS.items():
        assert kind_of_unit(unit).reconstruction(unit) == measured, unit


@dataclass
class Tasks:
    tasks: dict[str, typing.Union[KINDS]]  # noqa: UP007 (any of them)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_of_ones_own_takes_no_name_of_a_kind(task):
    with pytest.raises(ValueError, match=f"In section tasks.{task}: '{task}' cannot be the name of an own task"):
        build(Tasks, {"tasks": {task: {"kind": "map", "data": {}}}})


@pytest.mark.parametrize("unit", sorted({unit for kind in KINDS for unit in kind.units}))
def test_maps_of_ones_own_take_no_unit_of_a_kind(unit):
    data = {"name": "map_folder", "path": "there", "unit": unit, "num_channels": 1, "batch_size": 1}
    data |= {"transform": {"crop_size": 32}}
    recipe = {"optimizer": {"name": "adam", "lr": 1e-3}, "schedule": {"name": "constant"}, "train": {"max_steps": 1}}
    recipe |= {"evaluation": {"split": "val"}, "output_dir": "there"}
    title = kind_of_unit(unit).title
    with pytest.raises(ValueError, match=f"data.unit '{unit}' is that of {title}: take a data section of {title}"):
        build(TokenizerRecipe, recipe | {"data": data})
    tasks = {"heat": {"kind": "map", "data": data, "tokenizer": "there"}}
    with pytest.raises(ValueError, match=f"tasks.heat.data.unit '{unit}' is that of {title}"):
        build(SolverRecipe, recipe | {"tasks": tasks})


@pytest.mark.parametrize(
    ("name", "output_type", "message"),
    [
        ("far", "depth", "far of .* gives depth, but a task of that name is of dense tasks of one's own"),
        ("depth", "map", "depth of .* gives dense tasks of one's own, but a task of that name is of depth"),
    ],
)
def test_a_model_whose_task_puts_out_something_else_is_not_measured(name, output_type, message, tmp_path, capsys):
    declared = tiny_config().tasks["depth"] | {"output_type": output_type, "auxiliary_loss": None}
    tiny_config(tasks={name: declared}).save_pretrained(tmp_path)
    given = ["--model", str(tmp_path), "--task", name, "--data", "rooms_depth_aitp", "--split", "test"]
    with pytest.raises(SystemExit):
        evaluate([*given, "--output", str(tmp_path / "metrics.json")])
    assert re.search(message, capsys.readouterr().err)


def test_a_kind_of_a_name_may_put_out_what_others_do(monkeypatch):
    class Own(kind_of("a task of one's own")):
        tasks = ("own",)

    monkeypatch.setattr("ait_hf.tasks.kinds.KINDS", (*KINDS, Own))
    assert kind_of("own") is kind_of_output("own", "map") is Own
    assert kind_of_output("heat", "map") is Own.__base__ and kind_of_output("own", "depth") is kind_of("depth")


def sources(data) -> list[type]:
    """What the views of a union, or one view, can be taken of."""
    views = typing.get_args(data) or (data,)
    return [source for view in views for source in typing.get_args(typing.get_type_hints(view)["source"])]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_kind_says_all_that_is_asked(kind):
    assert issubclass(kind, Kind) and not inspect.isabstract(kind)
    assert kind.title in OPTIONS and kind.columns and issubclass(kind.writer, Writer)
    for data in (typing.get_type_hints(kind)["data"], kind.tokenizer_data):
        assert any(issubclass(source, Shards) for source in sources(data))
    predicting = parse_arguments(["--task", "x", "--data", "y"], None)
    assert all(hasattr(predicting, name) for form in kind.short_forms.values() for name in form.options)


@pytest.mark.parametrize("name", MEASURED)
def test_a_kind_draws_and_describes_its_models(name, tmp_path):
    """What `test_evaluation` measures; predictions are tried in `test_prediction`."""
    case = MEASURED[name]
    model, processor = load_model_and_processor(save_model(name, tmp_path), case.task)
    declared = model.config.task(case.task)
    kind = kind_of(case.task)
    assert declared.output_type in kind.output_types
    assert isinstance(kind.text(declared), TaskText)
    data = {"batch_size": 1, "size": [96, 120], **case.rooms}
    task = build(kind, {"name": case.task, "data": data})
    assert isinstance(task.best_metric, str) and isinstance(task.lower_is_better, bool)
    rows = task.data.examples("test", ROWS)
    picture = task.gallery(model, processor, [rows[number] for number in range(ROWS)])
    assert min(picture.size) > 50 and len(picture.convert("RGB").getcolors(picture.width * picture.height)) > 10


def test_every_kind_is_measured():
    assert {kind_of(case.task) for case in MEASURED.values()} == set(KINDS)
