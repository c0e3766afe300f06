# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Trainings with objects: mask tokenizers, detection, instance segmentation, and several tasks at once."""

import json
import math
import shutil
from pathlib import Path

import datasets
import pytest
import torch
from accelerate import Accelerator
from data_sections import data_section
from safetensors.torch import load_file
from training_runs import TINY_RESNET, TINY_SOLVER, run_processes, without_measurements
from transformers import AutoImageProcessor, AutoModel

from ait_hf import (
    AiTForDenseTokenGeneration,
    AiTForDepthEstimation,
    AiTForInstanceSegmentation,
    AiTForObjectDetection,
    VQTokenizer,
)
from ait_hf.recipes.parsing import dump_recipe, load_recipe
from ait_hf.recipes.streams import mixed_batches
from ait_hf.training.solver import SolverRecipe, SolverTraining, train_solver
from ait_hf.training.solver_model import build_solver
from ait_hf.training.tokenizer import TokenizerRecipe, TokenizerTraining, train_tokenizer


COMMON = [
    "evaluation.num_samples=3",
    "evaluation.batch_size=2",
    "train.max_steps=4",
    "train.num_workers=0",
    "train.log_every=2",
    "train.trackers=[]",
]
TINY_TOKENIZER = {"downsample_ratio": 8, "base_channels": 2, "num_vq_embeddings": 16, "vq_embed_dim": 8}
MASK = {"value_range": [0.0, 1.0], "unit": "mask", "loss_type": "mse"}
INSTANCES, DETECTION = "instance-segmentation", "object-detection"


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tokenizers")
    torch.manual_seed(0)
    made = {
        "mask": VQTokenizer(**TINY_TOKENIZER, **MASK, sample_size=16),
        "depth": VQTokenizer(**TINY_TOKENIZER, sample_size=32),
    }
    for name, tokenizer in made.items():
        torch.nn.init.normal_(tokenizer.quantizer.embedding.weight)
        tokenizer.save_pretrained(folder / name)
    return {name: folder / name for name in made}


def recipe(folder: Path, tasks: dict, *overrides: str) -> SolverRecipe:
    replaced = [f"tasks={json.dumps(tasks)}", f"output_dir={folder}", "model.parallel=false", TINY_RESNET, TINY_SOLVER]
    return load_recipe("demo_joint", SolverRecipe, [*COMMON, *replaced, *overrides])


def instances(tokenizers, **changes) -> dict:
    data = {"name": "synthetic_objects", "size": [48, 40], "batch_size": 2, "transform": {"image_size": [32, 40]}}
    settings = {"num_objects": 4}
    return {INSTANCES: {"data": data, "tokenizer": str(tokenizers["mask"]), "settings": settings} | changes}


def depth(tokenizers, **changes) -> dict:
    data = {"name": "synthetic", "size": [32, 32], "batch_size": 4, "transform": {"crop_size": 32}}
    return {"depth": {"data": data, "tokenizer": str(tokenizers["depth"]), "settings": {"loss_weight": 0.2}} | changes}


def detection(**changes) -> dict:
    data = {"name": "synthetic_objects", "size": [32, 32], "batch_size": 2, "transform": {"image_size": 32}}
    return {DETECTION: {"data": data, "settings": {"num_objects": 4}} | changes}


def built(recipe: SolverRecipe) -> AiTForDenseTokenGeneration:
    return build_solver(recipe.tasks, recipe.model)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_streams_keep_their_own_count(every):
    """A stream that takes part in every n-th step sees what it would see alone, and resumes at any step."""
    data, other = (  # of other rooms, whose images are not shared
        data_section("synthetic", batch_size=2, transform={"crop_size": 8}, size=[8, 8], seed=rooms)
        for rooms in (0, 1)
    )
    streams = {"always": data.stream(), "sometimes": other.stream(every)}
    options = {"forwards_per_step": 2, "num_workers": 0, "seed": 1}
    whole = list(mixed_batches(streams, Accelerator(), num_steps=5, done=0, **options))
    assert ["sometimes" in batches for batches in whole] == [step % every == 0 for step in range(5) for _ in range(2)]
    for name, section in {"always": data, "sometimes": other}.items():
        alone = list(mixed_batches({"alone": section.stream()}, Accelerator(), num_steps=5, done=0, **options))
        seen = [batches[name] for batches in whole if name in batches]
        expected = [batches["alone"] for batches in alone][: len(seen)]
        torch.testing.assert_close(seen, expected, rtol=0, atol=0)
    for done in range(5):
        rest = list(mixed_batches(streams, Accelerator(), num_steps=5, done=done, **options))
        torch.testing.assert_close(rest, whole[2 * done :], rtol=0, atol=0)


def test_joint_training_leaves_what_it_says(tmp_path, tokenizers):
    tasks = instances(tokenizers) | depth(tokenizers, every=2)
    history = train_solver(recipe(tmp_path, tasks, "train.eval_every=2", "train.log_every=1"))
    rows = [row for row in history if "loss" in row]
    for row in rows:
        takes_part = row["step"] % 2 == 1  # the first step is number 1 once it is done
        assert ("depth/loss" in row) is takes_part
        expected = row[f"{INSTANCES}/loss"] + (0.2 * row["depth/loss"] if takes_part else 0)
        assert row["loss"] == pytest.approx(expected, rel=1e-5)
        assert row.keys() >= {f"{INSTANCES}/{part}" for part in ("class", "box", "mask", "auxiliary")}
    evaluations = [row for row in history if f"eval_{INSTANCES}/segm_AP" in row]
    assert [row["step"] for row in evaluations] == [2, 4]
    assert all(row["eval_depth/rmse"] > 0 and row[f"eval_{INSTANCES}/num_images"] == 3 for row in evaluations)
    model = AutoModel.from_pretrained(tmp_path)
    assert isinstance(model, AiTForDenseTokenGeneration) and set(model.config.tasks) == {INSTANCES, "depth"}
    assert model.config.pad_images_to == [32, 40] and model.config.codebooks == [["mask", 16], ["depth", 16]]
    assert model.config.id2label == {0: "box", 1: "sphere", 2: "cylinder"}
    assert (tmp_path / "best" / "model.safetensors").is_file()
    main = AutoImageProcessor.from_pretrained(tmp_path)
    own = {task: AutoImageProcessor.from_pretrained(tmp_path / "image_processors" / task) for task in tasks}
    assert main.do_normalize and own[INSTANCES].do_normalize and not own["depth"].do_normalize
    assert own[INSTANCES].pad_size == {"height": 32, "width": 40} and own["depth"].size == {"height": 32, "width": 32}


def test_resumed_joint_training_equals_uninterrupted(tmp_path, tokenizers):
    tasks = instances(tokenizers) | depth(tokenizers, every=2)
    options = ["train.save_every=3", "train.max_steps=4", "train.gradient_accumulation_steps=2", "train.log_every=1"]
    options += ["tasks.depth.data.batch_size=4"]  # which two forwards can share
    whole = train_solver(recipe(tmp_path / "whole", tasks, *options))
    train_solver(recipe(tmp_path / "resumed", tasks, *options))
    shutil.rmtree(tmp_path / "resumed/checkpoints/step-00000004")
    resumed = train_solver(recipe(tmp_path / "resumed", tasks, *options))
    assert without_measurements(resumed) == without_measurements(whole)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed")]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_loss_is_each_tasks_sum_over_its_tokens(tmp_path, tokenizers):
    task = SolverTraining(recipe(tmp_path, instances(tokenizers) | depth(tokenizers)))
    batches = next(
        mixed_batches(task.streams, Accelerator(), num_steps=1, done=0, forwards_per_step=1, num_workers=0, seed=0)
    )
    task.model.eval()
    losses = task.model(batches=batches).losses
    weights = {INSTANCES: 1.0, "depth": 0.2}
    expected = sum(weights[name] * values["total"] / values["num_tokens"] for name, values in losses.items())
    accelerator = Accelerator()
    divisors = task.divisors([batches], accelerator)
    assert {name: int(value) for name, value in divisors.items()} == {
        name: int(values["num_tokens"]) for name, values in losses.items()
    }
    torch.testing.assert_close(task.loss(task.model, batches, accelerator, divisors)["loss"], expected)


@pytest.mark.parametrize("supervision", ["objects", "duplicates", "none"])
def test_accumulated_gradients_are_those_of_one_large_batch(tmp_path, tokenizers, supervision):
    """Images have different numbers of objects, so a mean of means would not do."""
    task = SolverTraining(
        recipe(tmp_path, instances(tokenizers, settings={"num_objects": 4, "mask_supervision": supervision}))
    )
    model, accelerator = task.model.eval(), Accelerator()
    (height, width), generator = model.config.task(INSTANCES).image_size, torch.Generator().manual_seed(0)
    images, labels = torch.rand(3, 3, height, width, generator=generator), []
    for number, count in enumerate((3, 0, 1)):
        corners = torch.rand(count, 4, generator=generator) * 15 + torch.tensor([0.0, 0, 16, 16])
        masks = torch.ones(count, height, width, dtype=torch.uint8)
        labels.append(
            {"boxes": corners, "class_labels": torch.arange(count) % 2, "masks": masks, "seed": torch.tensor(number)}
        )

    def gradients(parts):
        forwards = [
            {INSTANCES: {"pixel_values": images[part], "labels": [labels[index] for index in part]}} for part in parts
        ]
        divisors = task.divisors(forwards, accelerator)
        model.zero_grad()
        for batches in forwards:
            (task.loss(model, batches, accelerator, divisors)["loss"] / len(forwards)).backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    whole, accumulated = gradients([[0, 1, 2]]), gradients([[0], [1], [2]])
    assert whole.keys() == accumulated.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(accumulated[name], gradient, rtol=1e-4, atol=1e-6)


def test_images_without_objects_log_the_same_names(tmp_path, tokenizers):
    """Processes average what they log, so it must not depend on the data."""
    task = SolverTraining(recipe(tmp_path, instances(tokenizers)))
    nothing = {
        "boxes": torch.zeros(0, 4),
        "class_labels": torch.zeros(0, dtype=torch.long),
        "masks": torch.zeros(0, 32, 40, dtype=torch.uint8),
        "size": torch.tensor([32, 40]),
    }
    something = nothing | {
        "boxes": torch.tensor([[2.0, 3, 20, 30]]),
        "class_labels": torch.tensor([1]),
        "masks": torch.ones(1, 32, 40, dtype=torch.uint8),
    }
    logged = []
    for labels in (nothing, something):
        batch = {"pixel_values": torch.rand(1, 3, 32, 40), "labels": [labels]}
        accelerator = Accelerator()
        divisors = task.divisors([{INSTANCES: batch}], accelerator)
        values = task.loss(task.model, {INSTANCES: batch}, accelerator, divisors)
        values["loss"].backward()
        assert all(value.isfinite() for value in values.values())
        logged.append(set(values))
    assert logged[0] == logged[1]


def test_single_tasks_get_their_heads(tmp_path, tokenizers):
    heads = [
        (depth(tokenizers), AiTForDepthEstimation, "depth/rmse"),
        (detection(), AiTForObjectDetection, f"{DETECTION}/bbox_AP"),
        (instances(tokenizers), AiTForInstanceSegmentation, f"{INSTANCES}/segm_AP"),
    ]
    for tasks, head, metric in heads:
        task = SolverTraining(recipe(tmp_path, tasks))
        assert type(task.model) is head and task.best_metric == metric
        assert task.lower_is_better is (metric == "depth/rmse")


def test_tokenizers_are_those_given(tmp_path, tokenizers):
    model = built(recipe(tmp_path, instances(tokenizers) | depth(tokenizers)))
    assert model.config.tasks[INSTANCES]["grid_size"] == [2, 2] and model.config.tasks["depth"]["grid_size"] == [4, 4]
    for name, path in tokenizers.items():
        expected = VQTokenizer.from_pretrained(path).state_dict()
        torch.testing.assert_close(model.tokenizers[name].state_dict(), expected, rtol=0, atol=0)


def test_encoder_of_another_model_is_taken_over(tmp_path, tokenizers):
    donor = built(recipe(tmp_path, detection()))
    donor.save_pretrained(tmp_path / "donor")
    initialize = ["model.backbone_config={}", f"model.initialize_from={tmp_path / 'donor'}"]
    model = built(recipe(tmp_path, instances(tokenizers), *initialize))
    torch.testing.assert_close(model.model.encoder.state_dict(), donor.model.encoder.state_dict(), rtol=0, atol=0)
    ours, theirs = model.model.decoder.state_dict(), donor.model.decoder.state_dict()
    assert any(
        tensor.shape == theirs[key].shape and not torch.equal(tensor, theirs[key]) for key, tensor in ours.items()
    )
    with pytest.raises(ValueError, match="has d_model 16, but model.config gives 32"):
        built(recipe(tmp_path, detection(), *initialize, "model.config.d_model=32"))
    with pytest.raises(ValueError, match="beside model.initialize_from"):
        built(recipe(tmp_path, detection(), *initialize, "model.backbone_config.depths=[1]"))


def test_parts_that_do_not_fit_show_before_training(tmp_path, tokenizers):
    def wrong(tasks, message, *overrides):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            built(recipe(tmp_path, tasks, *overrides))

    wrong(
        instances(tokenizers, tokenizer=str(tokenizers["depth"])), "of maps in 'metre'; this task needs one in 'mask'"
    )
    wrong(depth(tokenizers, tokenizer=str(tokenizers["mask"])), "needs one in 'metre'")
    wrong(instances(tokenizers, tokenizer="runs/no/where"), "no tokenizer at runs/no/where")
    wrong(detection(), "3 classes, but num_classes of section model.config is 2", "model.config.num_classes=2")
    wrong(detection(settings={"num_objects": 40}), "200 tokens")
    detector = built(recipe(tmp_path, detection()))
    detector.save_pretrained(tmp_path / "detector")
    pretrained = ["model={}", f"model.pretrained={tmp_path / 'detector'}"]
    task = detection(settings={})
    assert SolverTraining(recipe(tmp_path, task, *pretrained)).streams[DETECTION].train_transform.max_objects == 4
    wrong(task, "takes images of", *pretrained, f"tasks.{DETECTION}.data.transform.image_size=64")
    wrong(depth(tokenizers, tokenizer=None, settings={}), "Unknown task 'depth'", *pretrained)


def test_mask_tokenizer_learns_masks(tmp_path):
    name = "demo_mask_tokenizer"
    overrides = ["data.size=[48, 48]", "data.mask_size=16", "data.batch_size=4", f"output_dir={tmp_path}"]
    config = [f"model.config={json.dumps(TINY_TOKENIZER | MASK)}"]
    history = train_tokenizer(load_recipe(name, TokenizerRecipe, [*COMMON, *overrides, *config, "train.eval_every=2"]))
    evaluations = {row["step"]: row["eval_mse"] for row in history if "eval_mse" in row}
    assert sorted(evaluations) == [2, 4] and all(0 <= row["eval_iou"] <= 1 for row in history if "eval_iou" in row)
    saved = VQTokenizer.from_pretrained(tmp_path)
    assert saved.config.unit == "mask" and saved.num_tokens == 4
    for ratio, share in {"null": 0.0, "0.5": 0.5}.items():
        masking = ["mask_augmentation.patch_size=8", f"mask_augmentation.ratio={ratio}"]
        task = TokenizerTraining(load_recipe(name, TokenizerRecipe, [*overrides, *config, *masking]))
        assert (task._mask(torch.ones(1, 1, 16, 16)) == 0).float().mean() == share
    with pytest.raises(ValueError, match="with unit 'metre', but that of the data synthetic_masks is 'mask'"):
        TokenizerTraining(load_recipe(name, TokenizerRecipe, [*overrides, "model.config={unit: metre}"]))


@pytest.fixture
def coco(data_dir, tmp_path, monkeypatch) -> dict:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = data_dir / "coco_tiny"
    files = {"annotations": str(folder / "annotations/instances_train2017.json"), "images": str(folder / "train2017")}
    return {"train": files, "validation": files, "batch_size": 2}


def test_real_images_train_a_detector_and_a_mask_tokenizer(tmp_path, coco):
    data = {"name": "coco", **coco, "transform": {"image_size": 64, "scale_range": [0.5, 2.0]}}
    classes = json.loads(Path(coco["train"]["annotations"]).read_text())["categories"]
    history = train_solver(recipe(tmp_path / "d", detection(data=data), "train.max_steps=2"))
    assert math.isfinite(history[0]["loss"]) and history[-1][f"eval_{DETECTION}/num_images"] == 3
    config = AutoModel.from_pretrained(tmp_path / "d").config
    assert list(config.id2label.values()) == [item["name"] for item in sorted(classes, key=lambda item: item["id"])]
    name = "tokenizer_mask_coco"
    overrides = [f"data={json.dumps({'name': 'coco_masks', **coco, 'mask_size': 16})}", f"output_dir={tmp_path / 't'}"]
    config = [f"model.config={json.dumps(TINY_TOKENIZER | MASK)}", "train.max_steps=2", "train.save_every=null"]
    history = train_tokenizer(load_recipe(name, TokenizerRecipe, [*COMMON, *overrides, *config]))
    assert history[-1]["eval_num_images"] == 3


def test_missing_splits_are_named(tmp_path, coco):
    data = {"name": "coco", **coco, "transform": {"image_size": 64}}
    with pytest.raises(ValueError, match=r"coco has no files of split 'test': it has \['train', 'validation'\]"):
        train_solver(recipe(tmp_path, detection(data=data), "evaluation.split=test"))


@pytest.mark.slow
def test_two_processes_train_jointly(tmp_path, tokenizers):
    tasks = instances(tokenizers) | depth(tokenizers, every=2)
    path = tmp_path / "input.yaml"
    path.write_text(dump_recipe(recipe(tmp_path / "two", tasks, "train.max_steps=3")))
    run_processes(2, "train.py", str(path))
    history = json.loads((tmp_path / "two" / "history.json").read_text())
    assert math.isfinite(history[-1]["eval_depth/rmse"])
    assert history[-1]["eval_depth/num_images"] == history[-1][f"eval_{INSTANCES}/num_images"] == 3
