# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Tokenizer recipes of every kind of data: what follows from the data, and that they train."""

import pytest
import torch
from accelerate import Accelerator
from tokenizer_recipes import DATA, TINY_MAP, TINY_POSE, recipe

from ait_hf.data.rooms.rendering import LABEL_CLASSES
from ait_hf.data.skeletons import COCO_SKELETON
from ait_hf.model.tokenization_pose import PoseTokenizer
from ait_hf.model.tokenization_vq import VQTokenizer
from ait_hf.recipes.parsing import load_recipe
from ait_hf.training.tokenizer import TokenizerRecipe, TokenizerTraining, build_tokenizer, train_tokenizer


NUM_CLASSES = len(LABEL_CLASSES) - 1  # these rooms have no people
GIVEN = {
    "pose": {"num_joints": 17, "sample_size": 32, "unit": "pixel"},
    "label_map": {
        "in_channels": NUM_CLASSES,
        "out_channels": NUM_CLASSES,
        "unit": "class",
        "loss_type": "cross_entropy",
    },
    "class_mask": {"in_channels": 1, "sample_size": 16, "unit": "mask", "loss_type": "mse", "value_range": [0.0, 1.0]},
    "normals": {"in_channels": 3, "out_channels": 3, "unit": "unit_vector", "loss_type": "masked_mse"},
    "map": {"in_channels": 2, "out_channels": 2, "unit": "reflectance"},
}
BEST = {"pose": "joint_error", "label_map": "accuracy", "class_mask": "mse", "normals": "mean_angle", "map": "rmse"}
MASKED = {"pose": 0.2, "label_map": 0, "class_mask": 0, "normals": 0, "map": 0}


@pytest.mark.parametrize("kind", DATA)
def test_the_data_say_what_the_tokenizer_is(kind, tmp_path):
    task = TokenizerTraining(recipe(kind, tmp_path))
    assert type(task.model) is (PoseTokenizer if kind == "pose" else VQTokenizer)
    assert {key: task.model.config[key] for key in GIVEN[kind]} == GIVEN[kind]
    assert task.best_metric == BEST[kind] and task.lower_is_better == (kind != "label_map")
    assert task.mask_ratio == MASKED[kind]


def test_floats_may_be_written_as_integers(tmp_path):
    tokenizer = build_tokenizer(recipe("map", tmp_path, "model.config.revival_threshold=0"))
    assert tokenizer.config.revival_threshold == 0.0


@pytest.mark.parametrize("kind", ["pose", "label_map", "class_mask", "normals"])
def test_every_kind_trains(kind, tmp_path):
    history = train_tokenizer(recipe(kind, tmp_path))
    assert [row["step"] for row in history if "loss" in row] == [2, 4]
    values = [row[f"eval_{BEST[kind]}"] for row in history if f"eval_{BEST[kind]}" in row]
    assert len(values) == 2 and all(value >= 0 for value in values)
    trained = build_tokenizer(recipe(kind, tmp_path, f"model={{pretrained: {tmp_path / 'best'}}}"))
    assert {key: trained.config[key] for key in GIVEN[kind]} == GIVEN[kind]


@pytest.mark.parametrize("kind", ["pose", "label_map", "normals"])
def test_masked_training_learns_a_batch(kind, tmp_path):
    torch.manual_seed(0)
    task = TokenizerTraining(recipe(kind, tmp_path, "mask_augmentation.ratio=0.3"))
    stream = task.streams["samples"]
    rows = stream.data.load_for_training()
    batch = {"samples": stream.collate([stream.train_transform(rows[number]) for number in range(4)])}
    model, accelerator = task.model.train(), Accelerator()
    task.start(model, [batch])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(120):
        values = task.loss(model, batch, accelerator, task.divisors([batch], accelerator))
        optimizer.zero_grad()
        values["loss"].backward()
        optimizer.step()
        losses.append(values["reconstruction_loss"].item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_masking_follows_the_kind(tmp_path):
    masked = TokenizerTraining(recipe("pose", tmp_path))._mask(torch.ones(3, 17, 3))
    assert (masked[..., 2] == 0).sum(1).tolist() == [3] * 3
    half = ["mask_augmentation={ratio: 0.5, patch_size: 8}"]
    labels = TokenizerTraining(recipe("label_map", tmp_path, *half))._mask(torch.ones(2, 32, 32, dtype=torch.long))
    assert (labels == 255).sum((1, 2)).tolist() == [512] * 2 and set(labels.flatten().tolist()) == {1, 255}
    normals = TokenizerTraining(recipe("normals", tmp_path, *half))._mask(torch.ones(2, 3, 32, 32))
    assert (normals == 0).all(dim=1).sum((1, 2)).tolist() == [512] * 2


def test_maps_of_any_shape(tmp_path):
    training = TokenizerTraining(recipe("label_map", tmp_path, "data.transform.image_size=[32, 24]"))
    training.save(training.model, tmp_path)
    saved = VQTokenizer.from_pretrained(tmp_path)
    ratio = saved.config.downsample_ratio
    assert saved.map_size == (32, 24) and saved.num_tokens == (32 // ratio) * (24 // ratio)
    ids = saved.eval().tokenize(torch.zeros(1, 32, 24, dtype=torch.long))
    assert ids.shape == (1, 32 // ratio, 24 // ratio) and saved.detokenize(ids=ids).shape[2:] == (32, 24)


@pytest.mark.parametrize(
    ("kind", "override", "message"),
    [
        ("pose", "mask_augmentation.patch_size=8", "leave mask_augmentation.patch_size out"),
        ("pose", "model.config.base_channels=8", "Unknown key 'base_channels' in section model.config"),
        ("pose", "model.config.num_joints=16", "num_joints 16, but that of the data synthetic_poses is 17"),
        ("label_map", "data.transform.image_size=[32, 20]", "20 pixels wide, must be a multiple"),
        ("pose", "mask_augmentation.ratio=2", "between 0 and 1, got 2"),
        ("label_map", "model.config.hidden_size=8", "Unknown key 'hidden_size'"),
        (
            "label_map",
            "model.config.loss_type=mse",
            "loss_type 'mse', but that of the data synthetic_labels is 'cross",
        ),
        ("label_map", "model.config.sample_size=64", "Unknown key 'sample_size'"),
        ("normals", "model.config.in_channels=1", "in_channels 1, but that of the data synthetic_normals is 3"),
        (
            "class_mask",
            "model.config.unit=metre",
            "unit 'metre', but that of the data synthetic_class_masks is 'mask'",
        ),
    ],
)
def test_what_contradicts_the_data_is_refused(kind, override, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        TokenizerTraining(recipe(kind, tmp_path, override))


def test_pretrained_tokenizers_must_be_of_the_kind(tmp_path):
    PoseTokenizer(**TINY_POSE, num_joints=17, sample_size=64).save_pretrained(tmp_path / "pose")
    with pytest.raises(ValueError, match="sample_size 64, but that of the data synthetic_poses is 32"):
        build_tokenizer(recipe("pose", tmp_path, f"model={{pretrained: {tmp_path / 'pose'}}}"))
    VQTokenizer(**TINY_MAP, sample_size=32).save_pretrained(tmp_path / "depth")
    with pytest.raises(ValueError, match="unit 'metre', but that of the data synthetic_normals is 'unit_vector'"):
        build_tokenizer(recipe("normals", tmp_path, f"model={{pretrained: {tmp_path / 'depth'}}}"))


def test_published_pose_recipe(tmp_path):
    """Reference, section 8: the defaults of the tokenizer are the published settings, and the recipe says them."""
    published = load_recipe("tokenizer_pose_coco", TokenizerRecipe)
    with torch.device("meta"):
        built, default = build_tokenizer(published), PoseTokenizer()
    assert {key: value for key, value in built.config.items() if value != default.config[key]} == {
        "revival_threshold": 0.03,
        "joint_names": list(COCO_SKELETON.joints),
    }
    assert (published.optimizer.lr, published.optimizer.weight_decay) == (1e-2, 0.15)
    assert published.mask_augmentation.ratio == 0.2 and published.data.transform.box_scale == 1.25
    epochs = published.train.max_steps * published.data.batch_size / 149_813
    assert epochs == pytest.approx(50, rel=1e-3)
