# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a task-solver starts from, and how its images are normalised."""

import json
import logging
from importlib import metadata

import pytest
import torch
from training_runs import TINY_RESNET, TINY_SOLVER, save_tokenizer, solver_recipe
from transformers import ResNetBackbone, ResNetConfig, TimmBackbone, TimmBackboneConfig

from ait_hf import AiTImageProcessor
from ait_hf.conversion.efficientnet import NAME as EFFICIENTNET
from ait_hf.conversion.efficientnet import load_efficientnet_lite0
from ait_hf.data.pixels import mean_and_std
from ait_hf.inference.loading import load_model_and_processor
from ait_hf.recipes.parsing import load_recipe
from ait_hf.training.solver import SolverRecipe, SolverTraining, train_solver


NOTHING = "model.backbone_config={}"
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}
IMAGENET = mean_and_std(True)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def training(folder, tokenizer, *overrides) -> SolverTraining:
    return SolverTraining(solver_recipe(folder, tokenizer, NOTHING, *overrides))


def normalization(task: SolverTraining):
    """Of the image processor; what training shows the model is checked to be the same."""
    processor, stream = task.processors["depth"], task.streams["depth"]
    row = task.recipe.tasks["depth"].data.examples("train", 1)[0]
    plain, torch_seed = stream.train_transform, 7
    normalize, samples = plain.normalize, []
    for plain.normalize in (False, normalize):
        torch.manual_seed(torch_seed)
        samples.append(plain(row)["pixel_values"])
    same = processor(samples[0], do_rescale=False, do_resize=False, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(samples[1], same)
    return (tuple(processor.image_mean), tuple(processor.image_std)) if processor.do_normalize else None


def save_resnet(folder, **processor) -> None:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetBackbone(config).save_pretrained(folder)
    if processor:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def test_imagenet_weights_without_the_hub(tmp_path, tokenizer, monkeypatch):
    recipe = solver_recipe(
        tmp_path, tokenizer, NOTHING, f"model.backbone={EFFICIENTNET}", "model.config.feature_stride=8",
        "model.config.freeze_batch_norm=true", "train.max_steps=1", "optimizer.lr=0.01",
    )  # fmt: skip
    train_solver(recipe)
    monkeypatch.setattr(metadata, "files", lambda name: 1 / 0)  # from now on the package is not asked
    model, processor = load_model_and_processor(tmp_path)
    (feature_map,) = model.get_encoder().backbone(torch.zeros(1, 3, 32, 32)).feature_maps
    assert feature_map.shape == (1, 40, 4, 4)
    assert processor.do_normalize and [*processor.image_mean, *processor.image_std] == [0.5] * 6
    assert load_recipe(tmp_path / "recipe.yaml", SolverRecipe).tasks["depth"].data.transform.normalize == HALF
    monkeypatch.undo()
    stored, (_, published) = model.get_encoder().backbone.state_dict(), load_efficientnet_lite0()
    is_norm = {key: ".bn" in key for key in stored}
    equal = {key: torch.equal(value, published[key]) for key, value in stored.items()}
    assert all(equal[key] == is_norm[key] for key in stored), "batch norm is frozen, all else has moved by one step"

    continued = SolverTraining(solver_recipe(tmp_path / "more", "null", f"model={{pretrained: {tmp_path}}}"))
    assert normalization(continued) == mean_and_std(HALF) and not continued.warnings
    norms = continued.model.train().get_encoder().backbone._backbone.bn1
    assert not norms.training and not norms.weight.requires_grad


@pytest.mark.parametrize("out_indices", [[4], [1, 2]])
def test_folder_of_a_timm_backbone(tmp_path, tokenizer, out_indices):
    saved = TimmBackbone(TimmBackboneConfig(backbone="test_efficientnet", out_indices=out_indices))
    saved.save_pretrained(tmp_path / "timm")
    task = training(tmp_path, tokenizer, f"model.backbone={tmp_path / 'timm'}")
    backbone = task.model.get_encoder().backbone
    torch.testing.assert_close(backbone.state_dict(), saved.state_dict())
    assert backbone.out_indices == out_indices
    assert normalization(task) == IMAGENET  # so says timm of this architecture
    with pytest.raises(
        ValueError, match="Unknown key 'depths' in section model.backbone_config beside model.backbone"
    ):
        training(tmp_path, tokenizer, f"model.backbone={tmp_path / 'timm'}", "model.backbone_config={depths: [1]}")


def test_stage_without_weights(tmp_path, tokenizer):
    TimmBackbone(TimmBackboneConfig(backbone="resnet10t", out_indices=[2])).save_pretrained(tmp_path / "timm")
    backbone = f"model.backbone={tmp_path / 'timm'}"
    assert training(tmp_path, tokenizer, backbone, "model.config.feature_stride=4").model.get_encoder()
    with pytest.raises(ValueError, match="timm has no weights of the stage that model.config.feature_stride reads"):
        training(tmp_path, tokenizer, backbone, "model.config.feature_stride=32")


SAYS_HALF = {"do_normalize": True, "image_mean": 0.5, "image_std": [0.5] * 3}
# (image processor beside the weights, what the recipe says, what holds)
NORMALIZATIONS = [
    ({}, None, None),
    ({}, True, IMAGENET),
    (SAYS_HALF, None, mean_and_std(HALF)),
    (SAYS_HALF, False, None),
    (SAYS_HALF, HALF, mean_and_std(HALF)),
    ({"do_normalize": True, "image_mean": IMAGENET[0], "image_std": IMAGENET[1]}, None, IMAGENET),
    ({"do_normalize": False}, None, None),
    ({"do_normalize": True}, None, None),
]


@pytest.mark.parametrize("stored, given, expected", NORMALIZATIONS)
def test_normalization(tmp_path, tokenizer, stored, given, expected):
    save_resnet(tmp_path / "resnet", **stored)
    overrides = [f"model.backbone={tmp_path / 'resnet'}", f"tasks.depth.data.transform.normalize={json.dumps(given)}"]
    task = training(tmp_path, tokenizer, *overrides)
    assert normalization(task) == expected
    differs = stored == SAYS_HALF and given is False
    assert [("normalize is False, but the weights" in warning) for warning in task.warnings] == [True] * differs


def test_normalization_of_a_model_that_is_trained_on(tmp_path, tokenizer, caplog):
    first = SolverTraining(
        solver_recipe(tmp_path, tokenizer, TINY_RESNET, TINY_SOLVER, "tasks.depth.data.transform.normalize=true")
    )
    first.save(first.model, tmp_path / "first")
    assert AiTImageProcessor.from_pretrained(tmp_path / "first").do_normalize
    with caplog.at_level(logging.INFO):
        whole = SolverTraining(solver_recipe(tmp_path, "null", f"model={{pretrained: {tmp_path / 'first'}}}"))
    assert normalization(whole) == IMAGENET and "Images of depth are normalised" in caplog.text
    donated = training(tmp_path, tokenizer, f"model.initialize_from={tmp_path / 'first'}")
    assert normalization(donated) == IMAGENET
    from_nothing = SolverTraining(solver_recipe(tmp_path, tokenizer))
    assert normalization(from_nothing) is None and from_nothing.recipe.tasks["depth"].data.transform.normalize is None


@pytest.mark.parametrize("value", ["{mean: [0.5]}", "{mean: [1, 1, 1], std: [0, 1, 1]}", "{means: [1, 1, 1]}"])
def test_normalization_that_makes_no_sense(tmp_path, tokenizer, value):
    with pytest.raises(
        ValueError, match="section tasks.depth.data.transform: normalize is true .* three numbers each"
    ):
        solver_recipe(tmp_path, tokenizer, f"tasks.depth.data.transform.normalize={value}")
