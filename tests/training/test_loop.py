# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Whole trainings of a tiny tokenizer and a tiny task-solver on rooms of 32 x 32 pixels, a few steps each."""

import json
import math
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from training_runs import (
    assert_equal_weights,
    run_processes,
    save_tokenizer,
    solver_recipe,
    tokenizer_recipe,
    without_measurements,
)
from transformers import (
    AutoImageProcessor,
    AutoModelForDepthEstimation,
    ConvNextBackbone,
    ConvNextConfig,
    Swinv2Config,
    Swinv2Model,
)

from ait_hf import AiTForDenseTokenGeneration, VQTokenizer
from ait_hf.data.writing import write_folder, write_into_folder
from ait_hf.recipes.parsing import dump_recipe, load_recipe
from ait_hf.training.checkpoints import list_checkpoints
from ait_hf.training.loop import Recipe
from ait_hf.training.solver import SolverRecipe, SolverTraining, train_solver
from ait_hf.training.solver_model import build_solver
from ait_hf.training.tokenizer import TokenizerRecipe, TokenizerTraining, build_tokenizer, train_tokenizer


def built(recipe: SolverRecipe) -> AiTForDenseTokenGeneration:
    return build_solver(recipe.tasks, recipe.model)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_tokenizer_training_leaves_what_it_says(tmp_path):
    history = train_tokenizer(tokenizer_recipe(tmp_path, "train.eval_every=2", "train.save_every=2"))
    assert history == json.loads((tmp_path / "history.json").read_text())
    training = [row for row in history if "loss" in row]
    assert [row["step"] for row in training] == [2, 4]
    for row in training:
        assert (
            math.isfinite(row["loss"]) and row["loss"] > 0 and row["grad_norm"] > 0 and row["samples_per_second"] > 0
        )
        assert row["loss"] == pytest.approx(row["reconstruction_loss"] + row["commit_loss"], rel=1e-5)
        assert 1 <= row["perplexity"] <= 16
    evaluations = {row["step"]: row["eval_rmse"] for row in history if "eval_rmse" in row}
    assert sorted(evaluations) == [2, 4]
    assert VQTokenizer.from_pretrained(tmp_path).config.sample_size == 32
    best = min(evaluations, key=evaluations.get)
    checkpoint = tmp_path / "checkpoints" / f"step-{best:08d}"
    assert_equal_weights(tmp_path / "best", checkpoint)
    assert load_recipe(tmp_path / "recipe.yaml", TokenizerRecipe) == load_recipe(
        tmp_path / "best" / "recipe.yaml", TokenizerRecipe
    )
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("parallel", ["false", "true"])
def test_solver_training_leaves_a_model_that_auto_classes_load(tmp_path, tokenizer, parallel):
    recipe = solver_recipe(tmp_path, tokenizer, f"model.parallel={parallel}", "train.max_steps=2")
    history = train_solver(recipe)
    assert [set(row) >= {"step", "loss", "lr", "grad_norm"} for row in history] == [True, False]
    model = AutoModelForDepthEstimation.from_pretrained(tmp_path).eval()
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    images = torch.randint(0, 256, (2, 3, 40, 50), dtype=torch.uint8)
    with torch.no_grad():
        depth = model(**processor(images, return_tensors="pt")).predicted_depth
    assert depth.shape == (2, 32, 32) and depth.min() > 0
    for name, tensor in VQTokenizer.from_pretrained(tokenizer).state_dict().items():
        torch.testing.assert_close(model.tokenizers["depth"].state_dict()[name], tensor)


def losses_on_one_batch(task, num_steps: int, lr: float) -> list[float]:
    torch.manual_seed(0)
    accelerator = Accelerator()
    (name,) = task.streams
    squares = torch.rand(4, 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2)
    batch = {"pixel_values": torch.rand(4, 3, 32, 32), "labels": squares * 3 + 1}
    batch["inputs"] = batch["labels"]
    optimizer = torch.optim.Adam([p for p in task.model.parameters() if p.requires_grad], lr)
    task.model.train()
    task.start(task.model, [{name: batch}])
    losses = []
    for _ in range(num_steps):
        loss = task.loss(task.model, {name: batch}, accelerator, task.divisors([{name: batch}], accelerator))["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_losses_fall_on_one_batch(tmp_path, tokenizer):
    losses = losses_on_one_batch(TokenizerTraining(tokenizer_recipe(tmp_path)), 200, lr=3e-3)
    assert losses[-1] < 0.5 * losses[0]
    losses = losses_on_one_batch(SolverTraining(solver_recipe(tmp_path, tokenizer)), 40, lr=5e-3)
    assert losses[-1] < 0.5 * losses[0]


def test_same_seed_same_weights_whatever_the_workers(tmp_path):
    for name, overrides in {"a": [], "b": ["train.num_workers=2"], "c": ["seed=1"]}.items():
        train_tokenizer(tokenizer_recipe(tmp_path / name, *overrides))
    assert_equal_weights(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_equal_weights(tmp_path / "a", tmp_path / "c")


class Interrupted(Exception):
    pass


@pytest.fixture
def interrupt(monkeypatch):
    """Makes the loss of the n-th forward raise, as a crash would; `interrupt(None)` stops that."""

    def set_up(task_class, after: int | None):
        monkeypatch.undo()
        if after is not None:
            original, calls = task_class.loss, []

            def loss(self, *arguments):
                calls.append(None)
                if len(calls) > after:
                    raise Interrupted
                return original(self, *arguments)

            monkeypatch.setattr(task_class, "loss", loss)

    return set_up


def test_resumed_tokenizer_equals_uninterrupted(tmp_path, interrupt):
    options = ["train.save_every=3", "train.max_steps=6", "train.gradient_accumulation_steps=2", "train.eval_every=2"]
    whole = train_tokenizer(tokenizer_recipe(tmp_path / "whole", *options))
    recipe = tokenizer_recipe(tmp_path / "resumed", *options)
    interrupt(TokenizerTraining, 9)
    with pytest.raises(Interrupted):
        train_tokenizer(recipe)
    assert [path.name for path in list_checkpoints(tmp_path / "resumed/checkpoints")] == ["step-00000003"]
    interrupt(TokenizerTraining, None)
    resumed = train_tokenizer(recipe)
    assert_equal_weights(tmp_path / "whole", tmp_path / "resumed")

    assert without_measurements(resumed) == without_measurements(whole)


def test_resumed_solver_equals_uninterrupted(tmp_path, tokenizer, interrupt):
    """With dropout, stochastic depth and augmentation, so with every random number there is."""
    options = ["train.save_every=2", "train.max_steps=5", "optimizer.layer_decay=0.9"]
    train_solver(solver_recipe(tmp_path / "whole", tokenizer, *options))
    recipe = solver_recipe(tmp_path / "resumed", tokenizer, *options)
    interrupt(SolverTraining, 3)
    with pytest.raises(Interrupted):
        train_solver(recipe)
    interrupt(SolverTraining, None)
    train_solver(recipe)
    assert_equal_weights(tmp_path / "whole", tmp_path / "resumed")


def test_what_fails_in_the_last_evaluation_does_not_lose_the_model(tmp_path, monkeypatch):
    def fail(self, *arguments):
        raise Interrupted

    train_tokenizer(tokenizer_recipe(tmp_path / "whole"))
    monkeypatch.setattr(TokenizerTraining, "evaluate", fail)
    with pytest.raises(Interrupted):
        train_tokenizer(tokenizer_recipe(tmp_path / "failed"))
    assert_equal_weights(tmp_path / "whole", tmp_path / "failed")
    assert json.loads((tmp_path / "failed/history.json").read_text())


def test_a_run_resumed_at_its_end_leaves_its_model(tmp_path):
    train_tokenizer(tokenizer_recipe(tmp_path / "whole", "train.save_every=4"))
    checkpoint = tmp_path / "whole/checkpoints/step-00000004"
    train_tokenizer(tokenizer_recipe(tmp_path / "again", f"train.resume={checkpoint}"))
    assert_equal_weights(tmp_path / "whole", tmp_path / "again")


def test_failed_writing_keeps_what_was_there(tmp_path):
    folder = tmp_path / "best"
    write_folder(folder, lambda path: (path / "weights").write_text("old"))

    def fail(path):
        (path / "weights").write_text("half")
        raise OSError("disk full")

    for write in (write_folder, write_into_folder):
        with pytest.raises(OSError, match="disk full"):
            write(folder, fail)
        assert (folder / "weights").read_text() == "old"
    write_folder(folder, lambda path: (path / "weights").write_text("new"))
    assert (folder / "weights").read_text() == "new"


def test_resuming_with_another_recipe_is_said(tmp_path, caplog):
    train_tokenizer(tokenizer_recipe(tmp_path, "train.save_every=2", "train.max_steps=2"))
    with caplog.at_level("WARNING"):
        train_tokenizer(tokenizer_recipe(tmp_path, "train.save_every=2", "optimizer.lr=1e-5"))
    assert "optimizer.lr" in caplog.text and "max_steps" not in caplog.text


def test_bf16_and_tensorboard(tmp_path, tokenizer):
    recipe = solver_recipe(tmp_path / "s", tokenizer, "train.mixed_precision=bf16", "train.trackers=[tensorboard]")
    assert math.isfinite(train_solver(recipe)[0]["loss"])
    assert list((tmp_path / "s" / "logs").rglob("events.out.tfevents*"))


def test_pretrained_models_are_where_training_starts(tmp_path, tokenizer):
    recipe = tokenizer_recipe(tmp_path, "model={}", f"model.pretrained={tokenizer}")
    torch.testing.assert_close(
        build_tokenizer(recipe).state_dict(), VQTokenizer.from_pretrained(tokenizer).state_dict()
    )
    model = built(solver_recipe(tmp_path, tokenizer))
    model.save_pretrained(tmp_path / "whole")
    recipe = solver_recipe(tmp_path, "null", f"model={{pretrained: {tmp_path / 'whole'}}}")
    torch.testing.assert_close(built(recipe).state_dict(), model.state_dict())
    recipe.tasks["depth"].data.transform.crop_size = 64
    with pytest.raises(ValueError, match=r"takes images of \[32, 32\] pixels"):
        built(recipe)


def test_sizes_that_do_not_fit_show_before_training(tmp_path, tokenizer):
    with pytest.raises(ValueError, match="36 pixels wide, must be a multiple of the 8"):
        TokenizerTraining(tokenizer_recipe(tmp_path, "data.transform.crop_size=36"))
    with pytest.raises(ValueError, match="multiples of 8"):
        recipe = tokenizer_recipe(tmp_path, f"model={{pretrained: {tokenizer}}}", "data.transform.crop_size=36")
        TokenizerTraining(recipe)
    with pytest.raises(ValueError, match="multiples of patch_size 24"):
        TokenizerTraining(tokenizer_recipe(tmp_path, "mask_augmentation.patch_size=24"))
    with pytest.raises(ValueError, match="multiple of the tokenizer's 8"):
        SolverTraining(solver_recipe(tmp_path, tokenizer, "tasks.depth.data.transform.crop_size=36"))
    with pytest.raises(ValueError, match="vq_embed_dim.*expected int"):
        build_tokenizer(tokenizer_recipe(tmp_path, "model.config.vq_embed_dim=wide"))


def test_backbones_start_from_their_checkpoints(tmp_path, tokenizer):
    swin = Swinv2Model(Swinv2Config(embed_dim=8, depths=[1, 1], num_heads=[1, 2], image_size=32, window_size=4))
    convnext = ConvNextBackbone(ConvNextConfig(hidden_sizes=[4, 8], depths=[1, 1], num_stages=2))
    swin.save_pretrained(tmp_path / "swin")
    convnext.save_pretrained(tmp_path / "convnext")
    windows = "model.backbone_config={window_sizes: [8, 4], drop_path_rate: 0.2}"
    ours = built(solver_recipe(tmp_path, tokenizer, f"model.backbone={tmp_path / 'swin'}", windows)).model.encoder
    assert ours.config.backbone_config.window_sizes == [8, 4]
    theirs = swin.embeddings.patch_embeddings.projection.weight
    torch.testing.assert_close(ours.backbone.embeddings.projection.weight, theirs)
    nothing = "model.backbone_config={}"
    other = built(solver_recipe(tmp_path, tokenizer, f"model.backbone={tmp_path / 'convnext'}", nothing))
    torch.testing.assert_close(other.model.encoder.backbone.state_dict(), convnext.state_dict())
    with pytest.raises(ValueError, match="'embed_dim' in section model.backbone_config beside model.backbone"):
        built(solver_recipe(tmp_path, tokenizer, f"model.backbone={tmp_path / 'convnext'}"))
    with pytest.raises(FileNotFoundError, match="no tokenizer at runs/a/b"):
        built(solver_recipe(tmp_path, Path("runs/a/b")))


def as_overrides(recipe: Recipe, folder: Path) -> str:
    path = folder / "input.yaml"
    path.write_text(dump_recipe(recipe))
    return str(path)


@pytest.mark.slow
def test_two_processes_train_a_solver(tmp_path, tokenizer):
    recipe = solver_recipe(tmp_path / "two", tokenizer, "train.save_every=2")
    run_processes(2, "train.py", as_overrides(recipe, tmp_path))
    history = json.loads((tmp_path / "two" / "history.json").read_text())
    assert math.isfinite(history[-1]["eval_depth/rmse"]) and history[-1]["eval_depth/num_images"] == 6
