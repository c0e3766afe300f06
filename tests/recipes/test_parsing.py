# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Recipes: parsing, overrides, error messages, bases, and the recipes that the package brings."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ait_hf.recipes.parsing import apply_override, dump_recipe, flatten, load_recipe, to_values
from ait_hf.training.optimizer import OneCycleSchedule, StepSchedule
from ait_hf.training.solver import SolverRecipe
from ait_hf.training.tokenizer import TokenizerRecipe
from ait_hf_cli.recipes import find_recipe, shipped_recipes


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(find_recipe("demo_tokenizer").read_text())
    return path


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_survive_a_round_trip(name, tmp_path):
    kind = TokenizerRecipe if "tokenizer" in name else SolverRecipe
    recipe = load_recipe(name, kind)
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump_recipe(recipe))
    assert load_recipe(copy, kind) == recipe


@given(keys=st.lists(NAMES, min_size=1, max_size=4), value=VALUES)
def test_override_sets_exactly_its_key_to_the_yaml_value(keys, value):
    values = {"other": {"kept": 1}, "z": 2}
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=False, width=10**6).removesuffix("...\n")
    if keys[0] in values:
        keys = ["x" + keys[0], *keys[1:]]
    apply_override(values, f"{'.'.join(keys)}={text}")
    assert values.pop("other") == {"kept": 1} and values.pop("z") == 2
    for key in keys:
        (values,) = [values[key]] if list(values) == [key] else []
    assert values == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("-2.5E3", -2500.0), ("no", "no"), ("on", "on"), ("true", True), ("[1, 2]", [1, 2]), ("", None)]
    + [("1e", "1e"), ("7", 7), ("1.", 1.0), (".5", 0.5), ("a=b", "a=b"), ("1.2.3", "1.2.3"), ("null", None)],
)
def test_values_are_what_people_mean(text, value):
    values = {}
    apply_override(values, f"key={text}")
    assert values == {"key": value} and type(values["key"]) is type(value)


@pytest.mark.parametrize("override", ["train.max_steps", "=3", "train..max_steps=3", "train max_steps=3", "--seed=3"])
def test_override_that_is_none(override):
    with pytest.raises(ValueError, match="section.key=value"):
        apply_override({}, override)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.max_step=3"], "'max_step' in section train: did you mean max_steps"),
        (["optimizr.lr=3"], "'optimizr' in the recipe: did you mean optimizer"),
        (["data.transform.cropsize=64"], "'cropsize' in section data.transform: did you mean crop_size"),
        (["model.config.downsample=8"], "'downsample' in section model.config: did you mean downsample_ratio"),
        (["data.index=x"], "'index' in section data"),
        (["data.name=rgbd"], "in section data"),
        (
            ["data.name=nyu"],
            "data.name must be one of synthetic, rgbd, nyu_depth, hub, ",
        ),
        (["data.batch_size=0"], "section data: batch_size must be at least 1"),
        (["schedule.name=cosin"], "schedule.name must be one of constant, step, "),
        (["schedule.gamma=0.1"], "'gamma' in section schedule"),
        (["schedule=cosine"], "schedule.name must be one of"),
        (["train.max_steps=many"], "section train: Field 'max_steps' expected int, got str"),
        (["train.max_steps=0"], "section train: max_steps must be at least 1"),
        (["train=3"], "train is a section with keys, not the value 3"),
        (["seed.a=3"], "seed is a value, not a section"),
        (["train.mixed_precision=half"], "expected one of"),
        (["train.trackers=[tensorbored]"], "tensorbored"),
        (["optimizer.betas=[0.9]"], "betas must be two numbers"),
        (["optimizer.lr=[1"], "The value of optimizer.lr is not valid YAML"),
        (["model.pretrained=x"], "leave model.config out"),
    ],
)
def test_wrong_recipes_have_one_clear_error(recipe_file, overrides, message):
    with pytest.raises(ValueError, match="^[^\n]*" + message.replace("(", r"\(").replace("[", r"\[")):
        load_recipe(recipe_file, TokenizerRecipe, overrides)


def test_missing_key_is_named(recipe_file):
    recipe_file.write_text("output_dir: x\n")
    with pytest.raises(ValueError, match="Missing key 'optimizer' in the recipe"):
        load_recipe(recipe_file, TokenizerRecipe)


def test_missing_file_and_other_contents(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.yaml"):
        load_recipe(tmp_path / "nowhere.yaml", TokenizerRecipe)
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    with pytest.raises(ValueError, match="must hold a mapping"):
        load_recipe(path, TokenizerRecipe)


def test_later_overrides_win_and_sections_can_be_replaced(recipe_file):
    overrides = ["seed=1", "seed=2", "schedule={name: step, milestones: [5], gamma: 0.5}", "optimizer.lr=1"]
    recipe = load_recipe(recipe_file, TokenizerRecipe, overrides)
    assert recipe.seed == 2 and recipe.optimizer.lr == 1.0 and isinstance(recipe.optimizer.lr, float)
    assert recipe.schedule == StepSchedule(milestones=[5], gamma=0.5)
    assert isinstance(load_recipe(recipe_file, TokenizerRecipe).schedule, OneCycleSchedule)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tasks.depth.tokenizer=null"], "tasks.depth needs tokenizer"),
        (["model={pretrained: x}"], "tasks.depth.tokenizer has no effect with model.pretrained"),
        (["model.pretrained=x"], "has no effect with pretrained"),
        (
            ["model={pretrained: x}", "tasks.depth.tokenizer=null", "tasks.depth.settings.soft_temperature=0.8"],
            "tasks.depth.settings has no effect",
        ),
        (["model.initialize_from=x", "model.backbone=y"], "backbone has no effect with initialize_from"),
        (["tasks.dept.every=2"], "Unknown key 'dept' in section tasks: did you mean depth"),
        (["tasks.depth.every=2"], "At least one task must take part in every step"),
        (["tasks.depth.every=0"], "section tasks.depth: every must be at least 1"),
        (["tasks.depth.name=x"], "section tasks.depth"),
        (["tasks.depth=3"], "tasks.depth is a section with keys, not the value 3"),
        (["tasks=[depth]"], "tasks is a section with keys, not the value"),
        (
            [
                "tasks.object-detection.tokenizer=x",
                "tasks.object-detection.data={name: synthetic, size: [32, 32], batch_size: 2, transform: {image_size: 32}}",
            ],
            "'tokenizer' in section tasks.object-detection",
        ),
        (["tasks.instance-segmentation.data.name=rgbd"], "must be one of coco, coco_shards, synthetic, got"),
        (["model.config.dmodel=1"], "did you mean d_model"),
        (["model.config.parallel=true"], "'parallel' in section model.config"),
        (["tasks.depth.settings.tau=1"], "'tau' in section tasks.depth.settings"),
    ],
)
def test_wrong_solver_sections(overrides, message):
    with pytest.raises(ValueError, match=message):
        load_recipe("demo_ait", SolverRecipe, overrides)


def test_flatten_names_every_value():
    recipe = load_recipe("demo_ait", SolverRecipe)
    flat = flatten(to_values(recipe))
    assert (
        flat["model.config.d_model"] == recipe.model.config["d_model"]
        and flat["tasks.depth.data.transform.crop_size"] == 64
    )
    assert flatten({"a": {"b": {}, "c": [1]}}) == {"a.b": {}, "a.c": [1]}


def _published(name: str) -> dict:
    kind = TokenizerRecipe if "tokenizer" in name else SolverRecipe
    return flatten(to_values(load_recipe(name, kind)))


@pytest.mark.parametrize("size", ["b", "l"])
@pytest.mark.parametrize("kind", ["ait", "aitp"])
def test_published_solver_recipes_equal_the_released_hyperparameters(golden_dir, kind, size):
    released = yaml.safe_load((golden_dir / "07_inventory" / "released_hyperparameters.json").read_text())
    released = released[f"swinv2{size}_480reso_{'parallel_' if kind == 'aitp' else ''}depthonly"]
    recipe = _published(f"{kind}_swinv2_{size}_nyu")
    optimizer, schedule = released["optimizer"], released["lr_config"]
    backbone, solver = released["model"]["backbone"], released["model"]["transformer"]
    head = released["model"]["task_heads"]["depth"]
    expected = {
        "optimizer.name": optimizer["type"].lower(),
        "optimizer.lr": optimizer["lr"],
        "optimizer.weight_decay": optimizer["weight_decay"],
        "optimizer.layer_decay": optimizer["paramwise_cfg"]["layer_decay_rate"],
        "schedule.name": "step",
        "schedule.milestones": schedule["step"],
        "schedule.gamma": 0.1,
        "schedule.warmup_steps": schedule["warmup_iters"],
        "schedule.warmup_ratio": schedule["warmup_ratio"],
        "train.max_steps": released["runner"]["max_iters"],
        "tasks.depth.data.batch_size": released["batch"]["depth"],
        "train.max_grad_norm": released["optimizer_config"]["grad_clip"]["max_norm"],
        "train.mixed_precision": "bf16",  # for the released fp16, which the recipe's comment names
        "model.parallel": solver.get("parallel", False),
        "model.backbone_config.window_sizes": backbone["window_size"],
        "model.backbone_config.shifted_stages": backbone["use_shift"],
        "model.backbone_config.drop_path_rate": backbone["drop_path_rate"],
        "model.config.d_model": solver["d_model"],
        "model.config.num_heads": solver["nhead"],
        "model.config.ffn_dim": solver["dim_feedforward"],
        "model.config.encoder_layers": solver["num_encoder_layers"],
        "model.config.decoder_layers": solver["num_decoder_layers"],
        "model.config.dropout": solver["drop_out"],
        "model.config.drop_path_rate": solver["drop_path"],
        "model.config.num_coordinate_bins": solver["num_bins"],
        "model.config.num_classes": solver["num_classes"],
        "model.config.max_position_embeddings": solver["dec_length"],
        "tasks.depth.settings.soft_temperature": head["vae_cfg"]["tau"],
        "tasks.depth.settings.auxiliary_loss": "silog",
        "tasks.depth.settings.auxiliary_loss_weight": head["decoder_loss_weight"],
        "tasks.depth.data.transform.crop_size": head["vae_cfg"]["mask_size"],
    }
    assert {key: recipe[key] for key in expected} == expected


def test_published_solver_recipes_are_bf16_and_say_what_the_released_are():
    published = {name: path for name, path in shipped_recipes().items() if "_swinv2_" in name}
    assert len(published) >= 10
    for name, path in published.items():
        text = path.read_text()
        if base := yaml.safe_load(text).get("base"):
            text += (path.parent / base).read_text()
        (line,) = (line for line in text.splitlines() if "mixed_precision" in line)
        released = "float32" if "detection" in name else "fp16"
        assert line.strip().startswith("mixed_precision: bf16  # released") and released in line, name
        assert _published(name)["train.mixed_precision"] == "bf16" and _published(name)["train.tf32"] is True


OBJECT_RECIPES = {
    "detection": ("swinv2b_640reso_detonly", {"object-detection": "det"}),
    "insseg": ("swinv2b_640reso_inssegonly", {"instance-segmentation": "insseg"}),
    "joint": ("swinv2b_640reso_joint", {"instance-segmentation": "insseg", "depth": "depth"}),
}


@pytest.mark.parametrize("kind", OBJECT_RECIPES)
def test_published_object_recipes_equal_the_released_hyperparameters(golden_dir, kind):
    name, tasks = OBJECT_RECIPES[kind]
    released = yaml.safe_load((golden_dir / "07_inventory" / "released_hyperparameters.json").read_text())[name]
    recipe = _published(f"ait_swinv2_b_{kind}")
    optimizer, schedule, solver = released["optimizer"], released["lr_config"], released["model"]["transformer"]
    expected = {
        "optimizer.lr": optimizer["lr"],
        "optimizer.weight_decay": optimizer["weight_decay"],
        "optimizer.layer_decay": optimizer["paramwise_cfg"]["layer_decay_rate"],
        "schedule.name": "linear",
        "schedule.final_ratio": schedule["min_lr_ratio"],
        "schedule.warmup_steps": schedule["warmup_iters"],
        "train.max_steps": released["runner"]["max_iters"],
        "train.max_grad_norm": released["optimizer_config"]["grad_clip"]["max_norm"],
        "train.mixed_precision": "bf16",
        "train.eval_every": released["evaluation"]["interval"],
        "model.config.num_coordinate_bins": solver["num_bins"],
        "model.config.num_classes": solver["num_classes"],
        "model.config.max_position_embeddings": solver["dec_length"],
        "model.config.dropout": solver["drop_out"],
        "model.config.drop_path_rate": solver["drop_path"],
    }
    reserved = recipe.get("model.config.num_reserved_ids", 0)
    # coordinates, classes, the unused and the noise id, mask codes, depth codes, reserved ids
    assert solver["num_bins"] + 1 + solver["num_classes"] + 2 + 128 + 128 + reserved == solver["num_vocal"]
    if kind == "detection":
        backbone = released["model"]["backbone"]
        expected |= {
            "model.backbone_config.window_sizes": backbone["window_size"],
            "model.backbone_config.shifted_stages": backbone["use_shift"],
            "model.backbone_config.drop_path_rate": backbone["drop_path_rate"],
        }
    else:  # which start from the detection model, as released
        assert released["load_from"] == "ait_det_swinv2b_wodec.pth"
        expected["model.initialize_from"] = "runs/ait_swinv2_b_detection"
    for task, original in tasks.items():
        head, section = released["model"]["task_heads"][original], f"tasks.{task}"
        expected |= {
            f"{section}.data.batch_size": released["batch"][original],
            f"{section}.settings.loss_weight": head["loss_weight"],
        }
        if original != "depth":
            expected[f"{section}.data.transform.image_size"] = head["norm_val"]
        if original == "insseg":
            expected[f"{section}.settings.dense_loss_weight"] = head["mask_weight"]
        if original != "det":
            expected[f"{section}.settings.auxiliary_loss_weight"] = head["decoder_loss_weight"]
            expected[f"{section}.settings.soft_temperature"] = 1.0
    assert {key: recipe[key] for key in expected} == expected


def test_published_mask_tokenizer_recipe():
    recipe = _published("tokenizer_mask_coco")
    expected = {
        "optimizer.name": "adamw",
        "optimizer.lr": 3e-4,
        "optimizer.weight_decay": 0.0,
        "schedule.name": "cosine",
        "schedule.warmup_steps": 500,
        "schedule.warmup_ratio": 1e-3,
        "data.batch_size": 512,
        "data.mask_size": 64,
        "model.config.num_vq_embeddings": 128,
        "model.config.vq_embed_dim": 512,
        "model.config.downsample_ratio": 16,
        "model.config.value_range": [0.0, 1.0],
        "model.config.loss_type": "mse",
    }
    assert {key: recipe[key] for key in expected} == expected
    assert recipe["optimizer.lr"] * recipe["schedule.final_ratio"] == pytest.approx(1e-6, rel=1e-5)


def test_published_tokenizer_recipe():
    recipe = _published("tokenizer_depth_nyu")
    epochs, frames = 20, 24_231
    expected = {
        "optimizer.name": "adam",
        "optimizer.lr": 3e-4,
        "schedule.name": "exponential",
        "schedule.gamma": 0.98,
        "schedule.every": 500,
        "data.batch_size": 8,
        "train.max_steps": -(-frames // 8) * epochs,
        "data.transform.crop_size": 480,
        "data.transform.columns": [41, 601],
        "mask_augmentation.ratio": 0.5,
        "mask_augmentation.patch_size": 16,
        "model.config.num_vq_embeddings": 128,
        "model.config.vq_embed_dim": 512,
        "model.config.downsample_ratio": 32,
    }
    assert {key: recipe[key] for key in expected} == expected
