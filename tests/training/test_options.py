# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Averaged weights, activation checkpointing, compilation and precision."""

import importlib.util
import json
import shutil
import subprocess
import sys

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from repository import SCRIPTS
from safetensors.torch import load_file
from training_runs import save_tokenizer, solver_recipe, tokenizer_recipe, weights, without_measurements

from ait_hf.model.modeling_solver_ait import AiTMLP
from ait_hf.training.processes import build_accelerator, set_tf32
from ait_hf.training.solver import train_solver
from ait_hf.training.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_averaged_weights_in_closed_form(tmp_path, tokenizer):
    """The last and the best model hold the average of the weights after every step, the checkpoints the weights."""
    options = ["train.max_steps=4", "train.save_every=1", "train.keep_checkpoints=4", "train.eval_every=4"]
    train_solver(solver_recipe(tmp_path, tokenizer, *options, "train.ema_decay=0.25"))
    steps = [load_file(path / "model.safetensors") for path in sorted((tmp_path / "checkpoints").iterdir())]
    assert len(steps) == 4
    decays = [0.0, 2 / 11, 3 / 12, 0.25]  # min(0.25, n / (n + 9)), from the second step on
    for name, saved in weights(tmp_path).items():
        average = steps[0][name]
        for decay, tensors in list(zip(decays, steps))[1:]:
            average = decay * average + (1 - decay) * tensors[name]
        torch.testing.assert_close(saved, average, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(weights(tmp_path / "best")[name], saved, rtol=0, atol=0)
    moved = "model.decoder.embed_tokens.weight"
    assert not torch.equal(weights(tmp_path)[moved], steps[-1][moved])


def losses(history) -> list[float]:
    return [row["loss"] for row in history if "loss" in row]


def test_activation_checkpointing_changes_no_loss(tmp_path, tokenizer, monkeypatch):
    """With dropout and stochastic depth. What a layer computes is computed again in the backward pass."""
    original, calls, histories = AiTMLP.forward, [], []

    def forward(self, hidden_states):
        calls[-1] += self.training
        return original(self, hidden_states)

    monkeypatch.setattr(AiTMLP, "forward", forward)
    for value in ("false", "true"):
        calls.append(0)
        histories.append(
            train_solver(solver_recipe(tmp_path / value, tokenizer, f"model.gradient_checkpointing={value}"))
        )
    assert calls == [4 * 3, 4 * 5]  # of encoder layer, decoder layer and, never again, memory
    assert losses(histories[1]) == pytest.approx(losses(histories[0]), rel=1e-6)


@pytest.mark.slow
def test_compiled_training_has_the_same_losses_and_resumes(tmp_path, tokenizer):
    options = [
        "model.config.dropout=0.0",
        "model.config.drop_path_rate=0.0",
        "model.backbone_config.drop_path_rate=0.0",
    ]
    options += ["train.save_every=2", "train.eval_every=2"]
    plain = train_solver(solver_recipe(tmp_path / "plain", tokenizer, *options))
    compiled = ["train.compile=aot_eager"]  # the inductor's code needs a C++ compiler and a minute
    AcceleratorState._reset_state(reset_partial_state=True)
    for _ in range(2):
        history = train_solver(solver_recipe(tmp_path / "compiled", tokenizer, *options, *compiled))
        for row, expected in zip(without_measurements(history), without_measurements(plain), strict=True):
            assert row == pytest.approx(expected, rel=1e-4), row
        assert weights(tmp_path / "compiled").keys() == weights(tmp_path / "plain").keys()
        shutil.rmtree(tmp_path / "compiled/checkpoints/step-00000004", ignore_errors=True)  # then goes on from step 2


def test_precision_is_what_the_launch_says_unless_the_recipe_does(tmp_path, monkeypatch):
    for launched, in_recipe, expected in [(None, "null", "no"), ("bf16", "null", "bf16"), ("bf16", "no", "no")]:
        if launched is None:
            monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
        else:
            monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
        folder = tmp_path / f"{launched}-{in_recipe}"
        train_tokenizer(tokenizer_recipe(folder, f"train.mixed_precision={in_recipe}", "train.max_steps=1"))
        assert Accelerator().mixed_precision == expected
        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize(("launched", "differs"), [(None, False), ("bf16", False), ("fp16", True), ("no", True)])
def test_a_launch_of_another_precision_is_said(tmp_path, monkeypatch, caplog, launched, differs):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if launched is not None:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    AcceleratorState._reset_state(reset_partial_state=True)
    with caplog.at_level("INFO"):
        accelerator = build_accelerator(tokenizer_recipe(tmp_path, "train.mixed_precision=bf16"))
    assert accelerator.mixed_precision == "bf16"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [("disagree on precision" in text and launched in text) for text in warnings] == [True] * differs
    AcceleratorState._reset_state(reset_partial_state=True)


def tf32_flags() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture
def no_tf32():
    before = tf32_flags()
    set_tf32(False)
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_tf32_is_on_in_training_unless_the_recipe_says_no(tmp_path, caplog, no_tf32):
    for override, expected, said in [([], True, "rounded to TF32"), (["train.tf32=false"], False, "are float32")]:
        with caplog.at_level("INFO"):
            build_accelerator(tokenizer_recipe(tmp_path, *override))
        assert tf32_flags() == (expected, expected)
        assert said in caplog.text
    with pytest.raises(ValueError, match=r"train\.tf32|expected bool"):
        tokenizer_recipe(tmp_path, "train.tf32=maybe")


@pytest.mark.parametrize("option", ["--tf32", "--no-tf32"])
def test_tf32_of_commands(tmp_path, option, no_tf32):
    """It is set before anything is loaded; the folders here do not exist."""
    from ait_hf.commands.evaluate import main as evaluate

    model, spec = (
        ["--model", str(tmp_path / "none"), option],
        importlib.util.spec_from_file_location("predict", SCRIPTS / "predict.py"),
    )
    predict = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(predict)
    image = tmp_path / "image.png"
    Image.new("RGB", (8, 8)).save(image)
    for main, arguments in [
        (evaluate, ["--task", "depth", "--data", "synthetic", "--split", "test"]),
        (predict.main, ["--task", "depth", "--output", str(tmp_path / "out"), str(image)]),
    ]:
        set_tf32(option == "--no-tf32")
        with pytest.raises(SystemExit):
            main([*model, *arguments])
        assert tf32_flags() == (option == "--tf32",) * 2


@pytest.mark.slow
def test_importing_changes_no_precision():
    code = (
        "import torch; flags = lambda: (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, "
        "torch.get_float32_matmul_precision()); before = flags(); "
        "import ait_hf, ait_hf.commands.evaluate, ait_hf.training.solver; assert flags() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.ema_decay=1.0", "ema_decay must be above 0 and below 1"),
        ("train.compile=gcc", "compile must be one of aot_eager"),
        ("train.max_skipped_steps=-1", "max_skipped_steps must be at least 0"),
        ("train.max_loss_growth=1.0", "max_loss_growth must be above 1, or null"),
    ],
)
def test_wrong_values_are_refused(tmp_path, override, message):
    with pytest.raises(ValueError, match=message):
        tokenizer_recipe(tmp_path, override)


def test_the_log_of_a_tokenizer_has_what_one_watches(tmp_path):
    history = train_tokenizer(tokenizer_recipe(tmp_path, "train.max_grad_norm=null", "train.log_every=1"))
    rows = [row for row in history if "lr" in row]
    assert len(rows) == 4
    for row in rows:
        assert row["grad_norm"] > 0 and 0 <= row["dead_codes"] <= 16 and row["samples_per_second"] > 0
        assert 0.1 < row["peak_memory_gb"] < 100
    assert json.loads((tmp_path / "history.json").read_text()) == history
