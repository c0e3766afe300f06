# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Damaged checkpoints, full disks, and which checkpoints stay."""

import errno
import json
import os
import resource
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.multiprocessing.spawn import ProcessRaisedException
from training_runs import assert_equal_weights, run_in_processes, tokenizer_recipe

from ait_hf.training import checkpoints as checkpoints_module
from ait_hf.training import loop
from ait_hf.training.checkpoints import MANIFEST, WriteError, checkpoint_to_resume, list_checkpoints, what_is_wrong
from ait_hf.training.tokenizer import TokenizerTraining, train_tokenizer


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of four steps with checkpoints of all of them."""
    folder = tmp_path_factory.mktemp("run")
    train_tokenizer(tokenizer_recipe(folder, "train.save_every=1", "train.keep_checkpoints=4"))
    AcceleratorState._reset_state(reset_partial_state=True)
    return folder


def copied(trained: Path, folder: Path, steps: int) -> Path:
    """A run's folder with copies of the checkpoints of the first so many steps."""
    for path in list_checkpoints(trained / "checkpoints")[:steps]:
        (folder / "checkpoints" / path.name).mkdir(parents=True)
        for file in path.iterdir():
            (folder / "checkpoints" / path.name / file.name).write_bytes(file.read_bytes())
    return folder


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "name", "message"),
    [
        (truncate, "model.safetensors", "model.safetensors has .* bytes"),
        (truncate, "optimizer.bin", "optimizer.bin has .* bytes"),
        (truncate, MANIFEST, "manifest.json is damaged"),
        (change, "model.safetensors", "model.safetensors has changed"),
        (Path.unlink, "random_states_0.pkl", "random_states_0.pkl is missing"),
        (Path.unlink, MANIFEST, "manifest.json is missing"),
    ],
)
def test_a_damaged_checkpoint_is_skipped_and_named(trained, tmp_path, caplog, damage, name, message):
    checkpoints = copied(trained, tmp_path, 3) / "checkpoints"
    damage(checkpoints / "step-00000003" / name)
    with caplog.at_level("WARNING"):
        found = checkpoint_to_resume(Accelerator(), checkpoints, "auto")
    assert found == checkpoints / "step-00000002"
    (record,) = caplog.records
    assert f"{checkpoints / 'step-00000003'} is skipped: " in record.message
    assert what_is_wrong(checkpoints / "step-00000003") in record.message
    with pytest.raises(ValueError, match=f"step-00000003 cannot be resumed from: {message}"):
        checkpoint_to_resume(Accelerator(), checkpoints, str(checkpoints / "step-00000003"))
    for path in list_checkpoints(checkpoints)[:2]:
        truncate(path / "model.safetensors")
    with pytest.raises(ValueError, match=r"No checkpoint in .* is whole \(step-00000003: .*; step-00000002: .*remove"):
        checkpoint_to_resume(Accelerator(), checkpoints, "auto")


def test_a_run_goes_on_from_before_a_truncated_checkpoint(trained, tmp_path):
    folder = copied(trained, tmp_path, 3)
    truncate(folder / "checkpoints/step-00000003/model.safetensors")
    (folder / "checkpoints/.step-00000009.tmp").mkdir()
    train_tokenizer(tokenizer_recipe(folder, "train.save_every=2", "train.keep_checkpoints=2"))
    assert_equal_weights(folder, trained)
    # The damaged one of step 3 has not cost the good one of step 2 its place; nothing is left of one half-written.
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-00000002", "step-00000004"]


def test_back_to_an_earlier_checkpoint(trained, tmp_path):
    folder = copied(trained, tmp_path, 4)
    options = [f"train.resume={folder / 'checkpoints/step-00000001'}", "train.save_every=2", "train.max_steps=3"]
    train_tokenizer(tokenizer_recipe(folder, *options, "train.keep_checkpoints=4"))
    # What was ahead of it belongs to another run now.
    names = [path.name for path in list_checkpoints(folder / "checkpoints")]
    assert names == ["step-00000001", "step-00000002", "step-00000003"]


def test_other_numbers_of_processes_are_said(trained, tmp_path, caplog):
    checkpoints = copied(trained, tmp_path, 1) / "checkpoints"
    manifest = checkpoints / "step-00000001" / MANIFEST
    values = json.loads(manifest.read_text())
    assert values["num_processes"] == 1
    manifest.write_text(json.dumps(values | {"num_processes": 8}))
    with caplog.at_level("WARNING"):
        checkpoint_to_resume(Accelerator(), checkpoints, "auto")
    assert "was saved by 8 processes and is resumed by 1" in caplog.text


@pytest.mark.parametrize("kind", ["FSDP", "DeepSpeed"])
def test_checkpoints_of_another_kind_are_refused(trained, tmp_path, kind):
    checkpoints = copied(trained, tmp_path, 1) / "checkpoints"
    manifest = checkpoints / "step-00000001" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"kind": kind}))
    with pytest.raises(
        ValueError, match=f"saved with {kind} and cannot be resumed with whole weights: launch as before"
    ):
        checkpoint_to_resume(Accelerator(), checkpoints, "auto")


def test_only_the_newest_stay_and_never_refuses_to_mix(tmp_path):
    recipe = tokenizer_recipe(tmp_path, "train.save_every=1", "train.keep_checkpoints=1")
    train_tokenizer(recipe)
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-00000004"]
    recipe.train.resume = "never"
    with pytest.raises(ValueError, match="has checkpoints"):
        train_tokenizer(recipe)
    recipe.train.resume = str(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train_tokenizer(recipe)


def no_room(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_for_torch(*_, **__):
    raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")


@pytest.mark.parametrize(
    ("module", "function", "writes", "what"),
    [
        (Accelerator, "save_state", no_room, "Checkpoint .*step-00000004"),
        (torch, "save", full_for_torch, "Checkpoint .*step-00000004"),
        (checkpoints_module, "_seal", no_room, "Checkpoint .*step-00000004"),
        (TokenizerTraining, "save", no_room, "The model in"),
        (loop, "write_text", no_room, "The recipe in"),
    ],
)
def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch, module, function, writes, what):
    options = ["train.save_every=2", "train.eval_every=1000"]
    train_tokenizer(tokenizer_recipe(tmp_path, *options, "train.max_steps=2"))
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()}
    monkeypatch.setattr(module, function, writes)
    good = tmp_path / "checkpoints/step-00000002"
    with pytest.raises(WriteError, match=f"{what} .*could not be written .*The last good checkpoint is {good}"):
        train_tokenizer(tokenizer_recipe(tmp_path, *options))
    left = {path: path.read_bytes() for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()}
    assert left == before and not list(tmp_path.rglob("*.tmp"))


def train_with_small_files(recipe, largest: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    train_tokenizer(recipe)


def test_files_that_may_not_grow(tmp_path):
    """A limit of the system's own instead of one that a test invents."""
    options = ["train.save_every=2", "train.max_steps=5"]
    train_tokenizer(tokenizer_recipe(tmp_path, *options[:1], "train.max_steps=2"))
    good = tmp_path / "checkpoints/step-00000002"
    largest = (good / "model.safetensors").stat().st_size // 2
    with pytest.raises(ProcessRaisedException, match=f"WriteError: Checkpoint .* The last good checkpoint is {good}"):
        run_in_processes(1, train_with_small_files, tokenizer_recipe(tmp_path, *options), largest)
    assert what_is_wrong(good) is None and [path.name for path in (tmp_path / "checkpoints").iterdir()] == [good.name]
    assert train_tokenizer(tokenizer_recipe(tmp_path, *options))[-1]["step"] == 5
