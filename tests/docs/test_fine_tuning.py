# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""docs/fine_tuning.md: its commands as they stand there, on small data and two steps; and that docs/data.md names what is."""

import re

import datasets
import pytest
import torch
import yaml
from repository import REPOSITORY
from small_data import write_normals, write_objects, write_people, write_rooms
from snippets import read_snippets, run
from tiny_dense import NORMALS, dense_config, dense_model

from ait_hf import AiTForDepthEstimation, AiTForInstanceSegmentation, AiTImageProcessor
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.recipes.parsing import build
from ait_hf.training.solver_model import SolverModelRecipe


GUIDE = (REPOSITORY / "docs/fine_tuning.md").read_text(encoding="utf-8")
SNIPPETS = read_snippets("docs/fine_tuning.md")
FEW_STEPS = ["--steps", "2", "--batch-size", "2", "--override", "train.trackers=[]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all commands of the guide were run, one after the other."""
    folder = tmp_path_factory.mktemp("guide")
    write_rooms(folder / "my-rooms")
    write_objects(folder / "my-objects")
    write_people(folder / "my-people")
    write_normals(folder / "my-normals", "train", "val")
    square = AiTImageProcessor(size={"height": 96, "width": 96}, do_normalize=False)
    save_with_remote_code(dense_model(dense_config((NORMALS,))), square, folder / "runs/normals-model")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        for command in (command for snippet in SNIPPETS if snippet.kind == "bash" for command in snippet.commands()):
            run(command, *(FEW_STEPS if command[:2] == ["ait", "finetune"] else ()))
    return folder


def test_every_command_leaves_a_model(folder):
    outputs = re.findall(r"--output (\S+)", GUIDE)
    assert len(outputs) == 5
    for output in outputs:
        assert (folder / output / "recipe.yaml").is_file() and (folder / output / "best/model.safetensors").is_file()
    config = AiTForInstanceSegmentation.from_pretrained(folder / "runs/my-objects").config
    own = range(*config.tasks["instance-segmentation"]["class_range"])  # the model has classes of pixels, too
    assert [config.id2label[number] for number in own] == ["cat", "yak"]
    model = AiTForDepthEstimation.from_pretrained(folder / "runs/my-rooms-lora").eval()
    assert model(torch.rand(1, 3, 64, 64)).predicted_depth.shape == (1, 64, 64)


def test_snippets_are_sections_of_recipes():
    (snippet,) = (yaml.safe_load(block.code) for block in SNIPPETS if block.kind == "yaml")
    assert build(SolverModelRecipe, snippet["model"], "model").lora.rank == 8


def test_kinds_of_data_that_the_documentation_names_are_those_there_are():
    text = (REPOSITORY / "docs/data.md").read_text(encoding="utf-8")
    files = [*(REPOSITORY / "src/ait_hf/tasks").glob("*/data.py"), REPOSITORY / "src/ait_hf/recipes/sources.py"]
    source = "".join(path.read_text() for path in files)
    sources, views = (set(re.findall(rf'    {key}: Literal\["(\w+)"\]', source)) for key in ("name", "of"))
    table = text.split("## Sources and views")[1].split("##")[0]
    named = {name for row in re.findall(r"^\| (`[^|]+) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert named - {"name"} == sources | views
