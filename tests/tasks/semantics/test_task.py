# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Trainings with semantic segmentation: both kinds of tokenizers, both methods, real and synthetic data."""

import json
import math
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from data_sections import data_section
from PIL import Image
from training_runs import TINY_RESNET
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from ait_hf import AiTForSemanticSegmentation, VQTokenizer
from ait_hf.data.rooms.rendering import LABEL_CLASSES
from ait_hf.recipes.parsing import load_recipe
from ait_hf.recipes.streams import evaluation_batches, training_batches
from ait_hf.training.solver import SolverRecipe, SolverTraining, train_solver
from ait_hf.training.tokenizer import TokenizerRecipe, train_tokenizer


TASK = "semantic-segmentation"
CAMVID = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
COMMON = [
    "evaluation.num_samples=3",
    "evaluation.batch_size=2",
    "train.max_steps=2",
    "train.num_workers=0",
    "train.log_every=1",
    "train.trackers=[]",
]
TINY_TOKENIZER = {"downsample_ratio": 8, "base_channels": 2, "num_vq_embeddings": 16, "vq_embed_dim": 8}
CONFIG = (
    "model.config={num_coordinate_bins: 0, d_model: 16, encoder_layers: 1, decoder_layers: 1, num_heads: 2, "
    "ffn_dim: 32, dropout: 0.0, drop_path_rate: 0.0, max_position_embeddings: 65}"
)
TRANSFORM = {"image_size": [32, 40]}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory) -> dict[str, Path]:
    """Of masks and of label maps (of rooms without people, of CamVid)."""
    folder = tmp_path_factory.mktemp("tokenizers")
    torch.manual_seed(0)
    made = {
        "masks": VQTokenizer(**TINY_TOKENIZER, value_range=[0.0, 1.0], unit="mask", loss_type="mse", sample_size=16)
    }
    for name, count in {"label_map": 6, "camvid": 11}.items():
        classes = {"in_channels": count, "out_channels": count, "unit": "class", "loss_type": "cross_entropy"}
        made[name] = VQTokenizer(**TINY_TOKENIZER, **classes, sample_size=32)
    for name, tokenizer in made.items():
        torch.nn.init.normal_(tokenizer.quantizer.embedding.weight)
        tokenizer.save_pretrained(folder / name)
    return {name: folder / name for name in made}


def rooms(tokenizer: Path, method: str, **settings) -> dict:
    data = {"name": "synthetic_labels", "size": [48, 40], "batch_size": 2, "transform": {"image_size": [32, 40]}}
    return {TASK: {"data": data, "tokenizer": str(tokenizer), "settings": {"method": method, **settings}}}


def recipe(folder: Path, tasks: dict, *overrides: str) -> SolverRecipe:
    replaced = [f"tasks={json.dumps(tasks)}", f"output_dir={folder}", TINY_RESNET, CONFIG]
    return load_recipe("demo_joint", SolverRecipe, [*COMMON, *replaced, *overrides])


def camvid(data_dir: Path, **changes) -> dict:
    root = str(data_dir / "camvid_sample")
    return {"root": root, "classes": CAMVID, "ignored_ids": [11], "batch_size": 2} | changes


@pytest.mark.parametrize("parallel", ["true", "false"])
@pytest.mark.parametrize("method", ["masks", "label_map"])
def test_both_methods_train_and_leave_a_model(tmp_path, tokenizers, method, parallel):
    tasks = rooms(tokenizers[method], method)
    history = train_solver(recipe(tmp_path, tasks, f"model.parallel={parallel}"))
    assert all(math.isfinite(row["loss"]) for row in history if "loss" in row)
    values = {name: history[-1][f"eval_{TASK}/{name}"] for name in ("mIoU", "aAcc", "mAcc", "num_images")}
    assert 0 <= values["mIoU"] <= values["aAcc"] <= 1 and values["num_images"] == 3
    model = AutoModelForSemanticSegmentation.from_pretrained(tmp_path)
    assert isinstance(model, AiTForSemanticSegmentation)
    declared = model.config.task(TASK)
    assert list(model.config.id2label.values()) == list(LABEL_CLASSES[:-1])
    if method == "masks":
        assert declared.slots == ["class", "segment"] and declared.num_groups == 6 and declared.grid_size == [2, 2]
        assert declared.auxiliary_loss == "dice_mse"
    else:
        assert declared.slots == ["labels"] and declared.num_groups == 1 and declared.grid_size == [4, 5]
        assert declared.auxiliary_loss == "cross_entropy"
    assert declared.image_size == [32, 40] and declared.task_id == 4
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert processor.frame_size() == (32, 40) and processor.do_normalize


def test_settings_reach_the_model(tmp_path, tokenizers):
    settings = {"num_groups": 4, "object_order": "by_class", "mask_supervision": "absent", "class_loss_weight": 3.0}
    settings |= {"auxiliary_loss": False, "dense_loss_weight": 0.5}
    task = SolverTraining(recipe(tmp_path, rooms(tokenizers["masks"], "masks", **settings)))
    declared = task.model.config.task(TASK)
    expected = settings | {"auxiliary_loss": None}
    assert {name: getattr(declared, name) for name in settings} == expected
    assert task.best_metric == f"{TASK}/mIoU" and not task.lower_is_better


def test_settings_that_have_no_meaning_are_refused(tmp_path, tokenizers):
    for name, value in {"num_groups": 3, "object_order": "by_class", "mask_supervision": "none"}.items():
        with pytest.raises(ValueError, match=f"{name} has no meaning for the method 'label_map'"):
            recipe(tmp_path, rooms(tokenizers["label_map"], "label_map", **{name: value}))
    with pytest.raises(ValueError, match="num_groups must be at least 1, got 0"):
        recipe(tmp_path, rooms(tokenizers["masks"], "masks", num_groups=0))
    with pytest.raises(ValueError, match="needs .* in 'class'"):
        SolverTraining(recipe(tmp_path, rooms(tokenizers["masks"], "label_map")))
    with pytest.raises(ValueError, match="multiple of the tokenizer's 8 pixels per code"):
        odd = rooms(tokenizers["label_map"], "label_map")
        odd[TASK]["data"]["transform"]["image_size"] = [36, 40]
        SolverTraining(recipe(tmp_path, odd))


def test_samples_count_classes_as_the_model_does():
    """In a joint model other tasks' classes may come first; data sets and metrics count their own."""
    data = data_section("synthetic_labels", batch_size=2, transform=TRANSFORM, size=[48, 40])
    for first_class in (0, 80):
        stream = data.stream(first_class=first_class)
        options = {"num_workers": 0}
        trained = next(training_batches(stream, Accelerator(), num_batches=1, done=0, seed=0, **options))
        (evaluated,) = evaluation_batches(stream, Accelerator(), split="test", num_samples=2, batch_size=2, **options)
        for labels in (trained["labels"], evaluated["labels"]):
            known = labels[labels != 255]
            assert first_class <= known.min() and known.max() < first_class + data.num_classes
        assert "label_maps" not in trained and len(evaluated["label_maps"]) == 2
        assert all(m.shape == (48, 40) and m.max() < data.num_classes for m in evaluated["label_maps"])
    with pytest.raises(ValueError, match="are 250 to 255 in the model: give the task first"):
        data.stream(first_class=250)


def test_people_are_one_class_more():
    with_people = data_section("synthetic_labels", batch_size=1, transform=TRANSFORM, size=[8, 8], people=True)
    without = data_section("synthetic_labels", batch_size=1, transform=TRANSFORM, size=[8, 8])
    assert with_people.class_names() == [*without.class_names(), "person"]


@pytest.mark.parametrize("name", ["rooms_class_mask_tokenizer", "rooms_label_tokenizer"])
def test_tokenizers_of_rooms_train(tmp_path, name):
    overrides = ["data.num_rooms=4", "data.batch_size=2", f"output_dir={tmp_path}", "data.size=[32, 32]"]
    overrides += ["data.transform.image_size=32", "train.max_steps=4"]
    overrides += [f"model.config.{key}={value}" for key, value in TINY_TOKENIZER.items()]
    if name == "rooms_class_mask_tokenizer":
        overrides += ["data.mask_size=16"]
    history = train_tokenizer(load_recipe(name, TokenizerRecipe, [*COMMON, *overrides]))
    assert math.isfinite(history[-1]["eval_perplexity"])
    saved = VQTokenizer.from_pretrained(tmp_path)
    if name == "rooms_label_tokenizer":
        assert saved.config.unit == "class" and saved.config.out_channels == 7 and saved.config.sample_size == 32
    else:
        assert saved.config.unit == "mask" and saved.config.out_channels == 1 and saved.config.sample_size == 16


def test_masks_of_rooms_are_masks():
    data = data_section(
        "synthetic_class_masks",
        batch_size=4,
        transform={"image_size": [32, 48]},
        size=[32, 48],
        mask_size=16,
        num_rooms=4,
    )
    assert data.image_size == (16, 16) and data.unit == "mask"
    batch = next(training_batches(data.stream(), Accelerator(), num_batches=1, done=0, num_workers=0, seed=0))
    assert batch["labels"].shape == (4, 16, 16) and set(batch["labels"].unique().tolist()) == {0.0, 1.0}


def test_street_images_train(tmp_path, data_dir, tokenizers):
    """Frames that are not square, and ignored pixels."""
    data = camvid(data_dir, name="label_maps", transform={"image_size": [32, 40], "scale_range": [0.8, 1.5]})
    for method, tokenizer in {"masks": "masks", "label_map": "camvid"}.items():
        tasks = {TASK: {"data": data, "tokenizer": str(tokenizers[tokenizer]), "settings": {"method": method}}}
        history = train_solver(recipe(tmp_path / method, tasks, "evaluation.split=val"))
        assert math.isfinite(history[0]["loss"]) and history[-1][f"eval_{TASK}/num_images"] == 3


def test_street_masks_train_a_tokenizer(tmp_path, data_dir):
    name = "sample_camvid_class_mask_tokenizer"
    overrides = [f"data.root={data_dir / 'camvid_sample'}", f"output_dir={tmp_path}", "data.batch_size=2"]
    overrides += [f"model.config.{key}={value}" for key, value in TINY_TOKENIZER.items()]
    history = train_tokenizer(load_recipe(name, TokenizerRecipe, [*COMMON, *overrides]))
    assert history[-1]["eval_num_images"] == 3
    data = data_section("label_map_masks", **camvid(data_dir), transform=TRANSFORM)
    assert len(data.load("val")) == sum(
        len(classes) for classes in data.source.label_maps("val", for_training=False).with_format(None)["classes"]
    )


def test_class_names_come_from_lists_and_files(tmp_path, data_dir):
    listed = data_section("label_maps", **camvid(data_dir), transform=TRANSFORM)
    (tmp_path / "classes.txt").write_text("\n".join(CAMVID))
    filed = data_section("label_maps", **camvid(data_dir, classes=str(tmp_path / "classes.txt")), transform=TRANSFORM)
    assert listed.class_names() == filed.class_names() == CAMVID and listed.num_classes == 11
    with pytest.raises(ValueError, match="has the class 'sky' twice"):
        data_section("label_maps", **camvid(data_dir, classes=["sky", "sky"]), transform=TRANSFORM).class_names()
    ade = data_section("ade20k", root=str(data_dir / "ade20k_sample"), batch_size=1, transform=TRANSFORM)
    assert ade.num_classes == 150 and len(ade.load("train")) == 2


def test_wrong_label_maps_stop_a_training_before_it_starts(tmp_path, tokenizers):
    for name in ("images", "annotations"):
        (tmp_path / name / "train").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(tmp_path / "images/train/a.png")
    Image.fromarray(np.full((8, 8), 17, dtype=np.uint8)).save(tmp_path / "annotations/train/a.png")
    data = {"name": "label_maps", "root": str(tmp_path), "classes": CAMVID, "batch_size": 1}
    data["transform"] = {"image_size": [32, 40]}
    tasks = {TASK: {"data": data, "tokenizer": str(tokenizers["masks"]), "settings": {"method": "masks"}}}
    with pytest.raises(ValueError, match="has the number 17, but classes are 0 to 10"):
        train_solver(recipe(tmp_path / "run", tasks, "evaluation.split=train"))


def test_published_recipe_is_named_so():
    published = load_recipe("aitp_swinv2_b_ade20k", SolverRecipe)
    task = published.tasks[TASK]
    assert task.data.image_size == (640, 640) and published.model.parallel and task.settings.method == "masks"
    tokenizer = load_recipe("tokenizer_class_mask_ade20k", TokenizerRecipe)
    codes = (tokenizer.data.mask_size // tokenizer.model.config["downsample_ratio"]) ** 2
    assert task.settings.num_groups * (1 + codes) < published.model.config["max_position_embeddings"]
