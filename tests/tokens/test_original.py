# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of published tokenizers, good and bad, and the folders that they become."""

import ast
import json
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from published_tokenizers import made_up_weights
from repository import SCRIPTS
from safetensors.torch import save_file
from transformers import AutoImageProcessor

import ait_hf
from ait_hf import VQTokenizer
from ait_hf.hub.card import render_card
from ait_hf.hub.files import checkpoint_files
from ait_hf.tokens import PRESETS, AiTTokenProcessor, TokenFormat, get_preset
from ait_hf.tokens.original import convert_tokenizer


SCRIPT = SCRIPTS / "convert_original_checkpoint.py"


@pytest.fixture(scope="module")
def weights():
    return made_up_weights("paligemma-mask")


def write(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in weights.items()})
    elif path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({"weights": weights}, path)
    return path


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_as_published(preset):
    tokenizer = VQTokenizer(**get_preset(preset).tokenizer)
    mask = preset == "paligemma-mask"
    config = tokenizer.config
    assert (config.downsample_ratio, config.sample_size) == ((16, 64) if mask else (32, 320))
    assert config.unit == ("mask" if mask else "relative_inverse_depth") and config.loss_type == "mse"
    assert config.value_range is None if preset == "molmoact-depth" else tuple(config.value_range) == (0, 1)
    assert get_preset(preset).token_format.num_tokens == tokenizer.num_tokens
    assert AiTTokenProcessor(convention=get_preset(preset).convention).side == config.sample_size
    codes = tokenizer.quantizer.embedding.weight.numel()
    assert tokenizer.num_parameters() - codes == (1_985_393 if mask else 7_689_201)  # as the paper counts


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt", ".pth"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_files_of_all_kinds(suffix, prefix, weights, tmp_path):
    file = write(tmp_path / f"weights{suffix}", {prefix + name: value for name, value in weights.items()})
    tokenizer = VQTokenizer.from_original(file, preset="paligemma-mask")
    assert type(tokenizer) is VQTokenizer and not tokenizer.training and tokenizer.dtype == torch.float32
    assert torch.equal(tokenizer.quantizer.embedding.weight, weights["_vq_vae._embedding"])
    assert torch.equal(tokenizer.decoder.conv_out.bias, weights["decoder.12.bias"])


def test_files_without_moving_averages_and_of_other_precision(weights, tmp_path):
    bare = {name: value.half() for name, value in weights.items() if "_ema" not in name}
    tokenizer = VQTokenizer.from_original(str(write(tmp_path / "bare.npz", bare)), preset="paligemma-mask")
    codes = weights["_vq_vae._embedding"].half().float()
    assert torch.equal(tokenizer.quantizer.ema_sums, codes) and (tokenizer.quantizer.ema_cluster_size == 1).all()
    assert tokenizer.dtype == torch.float32


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def bad_files(weights: dict[str, torch.Tensor], folder: Path) -> list[tuple[Path, str]]:
    good = write(folder / "good.npz", weights).read_bytes()
    whole = write(folder / "good.safetensors", weights).read_bytes()
    (folder / "cut.npz").write_bytes(good[: len(good) // 2])
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.npz").write_bytes(b"")
    (folder / "pickle.npz").write_bytes(pickle.dumps(Evil()))
    (folder / "pickle.pt").write_bytes(pickle.dumps(Evil()))
    (folder / "text.safetensors").write_text("not weights")
    np.savez(folder / "objects.npz", x=np.array([Evil()], dtype=object))
    np.save(folder / "single.npy", np.zeros(3))
    (folder / "single.npy").rename(folder / "single.npz")
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 255
    (folder / "flipped.npz").write_bytes(flipped)
    lacking = {name: value for name, value in weights.items() if name != "encoder.4.bias"}
    wide = weights | {"encoder.0.weight": torch.zeros(32, 1, 4, 4)}
    return [
        (folder / "none.npz", "There is no checkpoint at"),
        (folder, "There is no checkpoint at"),
        (folder / "cut.npz", "truncated or not an .npz"),
        (folder / "flipped.npz", "truncated or not an .npz"),
        (folder / "empty.npz", "truncated or not an .npz"),
        (folder / "pickle.npz", "truncated or not an .npz"),
        (folder / "objects.npz", "truncated or not an .npz"),
        (folder / "single.npz", "truncated or not an .npz"),
        (folder / "cut.safetensors", "truncated or not a .safetensors"),
        (folder / "text.safetensors", "truncated or not a .safetensors"),
        (folder / "pickle.pt", "truncated or not a checkpoint"),
        (
            write(folder / "lacking.npz", lacking),
            "not the tokenizer of the preset paligemma-mask.*lacks encoder.4.bias",
        ),
        (write(folder / "more.npz", weights | {"extra": torch.zeros(2)}), "does not: extra"),
        (write(folder / "wide.npz", wide), r"encoder.0.weight is \(32, 1, 4, 4\), not \(16, 1, 4, 4\)"),
        (
            write(folder / "depth.npz", made_up_weights("aurora-depth")),
            "not the tokenizer of the preset paligemma-mask",
        ),
        (write(folder / "whole.npz", weights | {"decoder.0.bias": torch.zeros(128, dtype=torch.long)}), "int64"),
        (
            write(folder / "nan.npz", weights | {"decoder.0.bias": torch.full((128,), torch.nan)}),
            "decoder.0.bias .* NaN",
        ),
    ]


def test_bad_files_are_refused_in_one_sentence(weights, tmp_path, capsys):
    for file, message in bad_files(weights, tmp_path):
        with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
            VQTokenizer.from_original(file, preset="paligemma-mask")
        assert "\n" not in str(caught.value), file
    with pytest.raises(ValueError, match="no preset 'masks'; there are paligemma-mask, molmoact-depth"):
        VQTokenizer.from_original(tmp_path / "good.npz", preset="masks")
    assert "executed" not in capsys.readouterr().out


def convert(*arguments) -> None:
    runpy.run_path(str(SCRIPT))["main"]([str(argument) for argument in arguments])


def test_a_tokenizer_as_a_folder(weights, tmp_path, capsys):
    file, output = write(tmp_path / "vae-oid.npz", weights), tmp_path / "out"
    convert("--tokenizer", file, "--preset", "paligemma-mask", "--output", output)
    assert "Wrote 2,050,929 parameters" in capsys.readouterr().out
    tokenizer = VQTokenizer.from_pretrained(output)
    assert torch.equal(tokenizer.quantizer.embedding.weight, weights["_vq_vae._embedding"])
    processor = AutoImageProcessor.from_pretrained(output)
    assert type(processor) is AiTTokenProcessor and processor.convention == "paligemma-mask"
    assert TokenFormat.from_pretrained(output) == get_preset("paligemma-mask").token_format
    assert {path.name for path in output.glob("*.py")} == {"image_processing_tokens.py", "conventions.py"}
    auto_map = json.loads((output / "preprocessor_config.json").read_text())["auto_map"]
    assert auto_map == {"AutoImageProcessor": [None, "image_processing_tokens.AiTTokenProcessor"]}
    written = {path.name for path in output.iterdir()}
    assert set(checkpoint_files(output)) == written  # all of it goes to the Hub
    assert "token_format.json" in written and "relative" not in str(render_card(output, "me/masks"))
    with pytest.raises(FileExistsError, match="choose another folder or pass --overwrite"):
        convert_tokenizer(file, "paligemma-mask", output)
    convert("--tokenizer", file, "--preset", "paligemma-mask", "--output", output, "--overwrite")
    capsys.readouterr()

    for arguments in (
        ["--tokenizer", file, "--output", tmp_path / "no"],
        ["--tokenizer", file, "--preset", "mask", "--output", tmp_path / "no"],
        ["--tokenizer", tmp_path / "none.npz", "--preset", "paligemma-mask", "--output", tmp_path / "no"],
        ["--tokenizer", file, "--preset", "aurora-depth", "--output", tmp_path / "no"],
        ["--preset", "aurora-depth", "--output", tmp_path / "no"],
        ["--tokenizer", file, "--preset", "paligemma-mask", "--original", file, "--output", tmp_path / "no"],
    ):
        with pytest.raises(SystemExit) as caught:
            convert(*arguments)
        assert caught.value.code == 2 and capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "no").exists()


def test_importing_needs_core_dependencies_alone():
    """What `import ait_hf.tokens` reaches by relative imports at the top of its files."""
    source = Path(ait_hf.__file__).parent
    waiting, reached = [source / "tokens/__init__.py"], set()
    allowed = sys.stdlib_module_names | {
        "diffusers",
        "numpy",
        "PIL",
        "safetensors",
        "torch",
        "torchvision",
        "transformers",
    }
    while waiting:
        path = waiting.pop()
        reached.add(path)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert node.module.partition(".")[0] in allowed, path
            elif isinstance(node, ast.ImportFrom):
                file = path.parents[node.level - 1] / f"{node.module.replace('.', '/')}.py"
                waiting += [file] if file not in reached else []
    assert source / "model/quantization_ait.py" in reached and source / "tokens/conventions.py" in reached
