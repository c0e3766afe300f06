# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Recipes on top of others, and those that the package brings, by name."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from repository import REPOSITORY

from ait_hf.commands.evaluate import is_recipe, read_section
from ait_hf.recipes.parsing import build, flatten, load_recipe, read_values, to_values
from ait_hf.training.optimizer import OneCycleSchedule
from ait_hf.training.solver import SolverRecipe
from ait_hf.training.tokenizer import TokenizerRecipe
from ait_hf_cli import main as ait
from ait_hf_cli.recipes import find_recipe, shipped_recipes


BASE = {
    "output_dir": "runs/base",
    "data": {"name": "synthetic", "size": [32, 32], "batch_size": 4, "transform": {"crop_size": 32, "color_p": 0.0}},
    "model": {"config": {"downsample_ratio": 8, "base_channels": 4}},
    "mask_augmentation": {"ratio": 0.5},
    "optimizer": {"name": "adamw", "lr": 1e-3, "betas": [0.5, 0.6]},
    "schedule": {"name": "one_cycle", "rise": 0.2},
    "train": {"max_steps": 7, "save_every": 3, "num_workers": 2},
    "evaluation": {"split": "test", "num_samples": 5},
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name: str, **values) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return path

    write("base.yaml", **BASE)
    return write


def changed(path) -> dict:
    """What of a recipe is not as in `BASE`."""
    before, after = (flatten(to_values(build(TokenizerRecipe, values))) for values in (BASE, read_values(path)))
    return {key: after.get(key) for key in before | after if before.get(key) != after.get(key)}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {}),
        ({"seed": 3}, {"seed": 3}),
        ({"train": {"max_steps": 9}}, {"train.max_steps": 9}),
        ({"data": {"transform": {"crop_size": 16}}}, {"data.transform.crop_size": 16}),
        ({"data": {"name": "synthetic", "batch_size": 2}}, {"data.batch_size": 2}),
        (
            {"data": {"size": [64, 48]}, "optimizer": {"betas": [0.1, 0.2]}},
            {"data.size": [64, 48], "optimizer.betas": [0.1, 0.2]},
        ),
        ({"model": {"config": {"base_channels": 8}}}, {"model.config.base_channels": 8}),
        # of another name a section is another one
        (
            {"schedule": {"name": "cosine"}},
            {
                "schedule.name": "cosine",
                "schedule.rise": None,
                "schedule.final_ratio": 0.0,
                "schedule.warmup_steps": 0,
                "schedule.warmup_ratio": 0.0,
                "schedule.initial_ratio": None,
            },
        ),
        # null leaves a key out, or is the value where there is a `None`
        ({"train": {"save_every": None, "num_workers": None}}, {"train.save_every": None, "train.num_workers": 0}),
        ({"evaluation": {"num_samples": None}}, {"evaluation.num_samples": None}),
        ({"data": {"transform": {"cut_depth_every": None}}}, {"data.transform.cut_depth_every": None}),
        ({"model": {"config": {"base_channels": None}}}, {"model.config.base_channels": None}),
        ({"base": None, **BASE, "seed": 1}, {"seed": 1}),
    ],
)
def test_a_recipe_says_what_differs_from_its_base(write, values, expected):
    assert changed(write("recipe.yaml", **{"base": "base.yaml"} | values)) == expected


def test_sections_are_left_out_by_null_and_replaced_by_those_of_another_name(write):
    path = write("recipe.yaml", base="base.yaml", mask_augmentation=None)
    default = build(TokenizerRecipe, {key: BASE[key] for key in BASE if key != "mask_augmentation"})
    assert load_recipe(path, TokenizerRecipe).mask_augmentation == default.mask_augmentation
    path = write("recipe.yaml", base="base.yaml", data={"name": "synthetic_normals", "size": [16, 16]})
    with pytest.raises(ValueError, match="Missing key 'batch_size' in section data"):  # which the base has
        load_recipe(path, TokenizerRecipe)


def test_tasks_of_a_base_are_left_out_and_come_in_the_order_of_the_recipe(write):
    tasks = {"depth": None, "semantic-segmentation": {}, "instance-segmentation": {"settings": {"num_objects": 3}}}
    path = write("recipe.yaml", base="rooms_all_aitp", tasks=tasks)
    tasks = load_recipe(path, SolverRecipe).tasks
    assert list(tasks) == ["semantic-segmentation", "instance-segmentation", "keypoint-detection", "normals"]
    assert tasks["instance-segmentation"].settings.num_objects == 3 and tasks["normals"].kind == "map"


def test_another_backbone_has_none_of_the_keys_of_the_first(write):
    backbone = {"model_type": "convnext", "depths": [1, 1], "hidden_sizes": [8, 16], "out_features": ["stage2"]}
    path = write("recipe.yaml", base="rooms_depth_aitp", model={"backbone_config": backbone})
    assert load_recipe(path, SolverRecipe).model.backbone_config == backbone


def test_a_base_is_no_override(write):
    with pytest.raises(ValueError, match="^base is a key of a recipe's file, and no override.$"):
        load_recipe(write("recipe.yaml", base="base.yaml"), TokenizerRecipe, ["base=demo_ait"])


def test_overrides_come_last_and_a_base_may_lie_in_another_folder(write):
    path = write("deep/er/recipe.yaml", base="../../base.yaml", train={"max_steps": 9})
    recipe = load_recipe(path, TokenizerRecipe, ["train.max_steps=11", "optimizer.lr=1"])
    assert (recipe.train.max_steps, recipe.train.save_every, recipe.optimizer.lr) == (11, 3, 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base": "nowhere.yaml"}, "The base of .*recipe.yaml: There is no recipe at .*nowhere.yaml, and of those"),
        ({"base": "nowhere/base.yaml"}, "There is no recipe at .*nowhere/base.yaml"),
        ({"base": "demo_atp"}, "There is no recipe at .*demo_atp, .* demo_ait has the nearest name"),
        ({"base": "recipe.yaml"}, "The base of .*recipe.yaml, recipe.yaml, has a base itself .recipe.yaml.: name one"),
        ({"base": "second.yaml"}, "The base of .*recipe.yaml, second.yaml, has a base itself .recipe.yaml.: name one"),
        (
            {"base": ["base.yaml"]},
            r"base of .*recipe.yaml must be a file or the name of a shipped recipe, got \['base",
        ),
        ({"base": "list.yaml"}, "list.yaml must hold a mapping of recipe keys, not list"),
        ({"base": "base.yaml", "optimizer": None}, "Missing key 'optimizer' in the recipe"),
        ({"base": "base.yaml", "optimiser": {}}, "Unknown key 'optimiser' in the recipe: did you mean optimizer"),
        ({"base": "base.yaml", "train": 3}, "train is a section with keys, not the value 3"),
        ({"base": "demo_joint", "data": {}}, "Unknown key 'tasks' in the recipe"),
    ],
)
def test_bases_that_cannot_be_are_refused_in_one_sentence(write, values, message):
    write("second.yaml", base="recipe.yaml")
    Path("list.yaml").write_text("- 1\n")
    path = write("recipe.yaml", **values)
    with pytest.raises((ValueError, FileNotFoundError), match=f"^[^\n]*{message}"):
        load_recipe(path, TokenizerRecipe)


def test_the_example_of_the_guide(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(re.search(r"```yaml\n(base: .*?)```", (REPOSITORY / "docs/training.md").read_text(), re.S)[1])
    recipe, base = load_recipe(path, SolverRecipe), load_recipe("aitp_swinv2_b_nyu", SolverRecipe)
    assert recipe.schedule == OneCycleSchedule() and recipe.train.max_steps == 10000 and recipe.model == base.model
    assert flatten(to_values(recipe.tasks)) == flatten(to_values(base.tasks)) | {"depth.data.root": "my-nyu"}


# ---------------------------------------------------------------------------------------------------------------------
# The library


@pytest.mark.parametrize(
    ("name", "other", "changes"),
    [
        ("aitp_swinv2_b_nyu", "ait_swinv2_b_nyu", {"model.parallel": True}),
        ("aitp_swinv2_l_nyu", "ait_swinv2_l_nyu", {"model.parallel": True}),
        ("aitp_swinv2_b_coco_keypoints", "ait_swinv2_b_coco_keypoints", {"model.parallel": True}),
        ("aitp_swinv2_b_insseg", "ait_swinv2_b_insseg", {"model.parallel": True}),
        ("rooms_pose_aitp", "rooms_pose_ait", {"model.parallel": True}),
        ("rooms_semantic_labels_aitp", "rooms_semantic_labels_ait", {"model.parallel": True}),
        ("rooms_semantic_masks_aitp", "rooms_semantic_masks_ait", {"model.parallel": True}),
        ("nyu_aitp", "nyu_ait", {"model.parallel": True}),
        (
            "ait_swinv2_l_nyu",
            "ait_swinv2_b_nyu",
            {"model.backbone": "checkpoints/swinv2_l_simmim", "optimizer.lr": 1e-4, "optimizer.weight_decay": 0.075},
        ),
        ("demo_ait", "rooms_depth_aitp", {"model.parallel": False, "train.max_steps": 2400}),
        (
            "rooms_insseg_ait",
            "rooms_insseg_aitp",
            {
                "model.parallel": False,
                "train.max_steps": 13000,
                "tasks.instance-segmentation.data.num_rooms": 14000,
            },
        ),
    ],
)
def test_recipes_of_a_kind_differ_in_what_their_names_say(name, other, changes):
    values, others = (flatten(to_values(load_recipe(of, SolverRecipe))) for of in (name, other))
    assert values["output_dir"].split("/")[-1] in (name, name.split("_", 1)[1])
    differing = {key: value for key, value in values.items() if others.get(key, "nothing") != value}
    assert others.keys() == values.keys() and differing == {"output_dir": values["output_dir"]} | changes


def test_recipes_of_one_source_have_the_same_data():
    joint, instances = (read_values(f"ait_swinv2_b_{name}")["tasks"] for name in ("joint", "insseg"))
    split = {"annotations": "data/coco/annotations/instances_val2017.json", "images": "data/coco/val2017"}
    assert list(joint) == ["instance-segmentation", "depth"]
    both = [section["instance-segmentation"]["data"] for section in (joint, instances)]
    assert both[0]["test"] == both[1]["validation"] == split and both[0]["train"] == both[1]["train"]
    data = to_values(load_recipe("ait_swinv2_b_joint", SolverRecipe))["tasks"]["instance-segmentation"]["data"]
    assert data["validation"] is None and data["batch_size"] == 60 and data["transform"]["scale_range"] == [0.1, 3.0]


@pytest.mark.parametrize("path", shipped_recipes().values(), ids=lambda path: path.stem)
def test_bases_of_the_library_are_files_of_it_without_a_base(path):
    if base := yaml.safe_load(path.read_text()).get("base"):
        below = (path.parent / base).resolve()
        assert below in shipped_recipes().values() and "base" not in yaml.safe_load(below.read_text())


def test_data_of_a_shipped_recipe_are_those_of_ait_evaluate():
    assert is_recipe("rooms_normals_aitp") and not is_recipe("synthetic")
    section, _ = read_section(Path("rooms_normals_aitp"), "normals")
    assert section["data"]["of"] == "normals"
    with pytest.raises(ValueError, match="has no section tasks.depth; its tasks are: normals.$"):  # which its base has
        read_section(Path("rooms_normals_aitp"), "depth")


@pytest.mark.parametrize(
    "name", ["demo_ait", "scripts/recipes/demo_ait.yaml", "../clone/scripts/recipes/demo_ait.yaml"]
)
def test_names_and_former_places_are_shipped_recipes(name, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO, "ait_hf"):
        assert find_recipe(name) == shipped_recipes()["demo_ait"]
    assert f"Recipe {name}: " in caplog.text
    own = tmp_path / name
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("{}")
    assert find_recipe(name) == Path(name)  # what is there comes first


@pytest.mark.parametrize(
    "name", ["demo_at", "demo_ait.yaml", "mine/demo_ait.yaml", "recipes/demo_ait.yml", "mine", ""]
)
def test_what_is_neither_a_file_nor_a_name_is_refused(name, tmp_path, monkeypatch, capsys):
    """A path that is not there is not replaced by a shipped recipe that has its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(SystemExit) as stop:
        ait(["train", name])
    assert stop.value.code == 2
    *_, sentence = capsys.readouterr().err.strip().splitlines()
    assert sentence.startswith(
        f"ait train: error: argument recipe: There is no recipe at {Path(name)}, and of those that the package brings"
    )
    assert "ait train --list" in sentence and ("demo_ait has the nearest name" in sentence) == ("demo_a" in name)


def test_list_has_a_line_for_every_recipe_and_imports_nothing_heavy():
    code = (
        "import resource, sys; from ait_hf_cli import main\n"
        "try: main(['train', '--list'])\n"
        "except SystemExit as end: assert end.code in (0, None), end.code\n"
        "assert not {'torch', 'yaml', 'ait_hf'} & sys.modules.keys()\n"
        "used = resource.getrusage(resource.RUSAGE_SELF); assert used.ru_utime + used.ru_stime < 0.5\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "demo:",
        "paper:",
        "published:",
        "real:",
        "rooms:",
        "samples:",
    ]
    names = dict(line.split(maxsplit=1) for line in lines if line.startswith(" "))
    assert list(names) == list(shipped_recipes()) and len(names) > 40
    for name, text in names.items():
        assert 20 < len(text) < 95 and text.endswith(".") and not text.startswith("#"), name
