# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from golden_data import load_case, relative_error
from PIL import Image
from repository import SCRIPTS
from saved_model import picture, save_tiny_model
from transformers import AutoModel

from ait_hf import VQTokenizer, load_depth_png
from ait_hf.commands.evaluate import main as evaluate
from ait_hf.inference.loading import load_model_and_processor
from ait_hf.tasks.depth.prediction import predict_depth


def load_script(name: str):
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


convert = load_script("convert_original_checkpoint").main
predict = load_script("predict").main
benchmark = load_script("benchmark").main


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def saved_parallel(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", parallel=True)


def refusal(main, arguments: list, capsys) -> str:
    """The one line that a script says when it refuses."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    message = capsys.readouterr().err
    assert caught.value.code == 2
    assert message.count("\n") == 1 and "Traceback" not in message
    return message


# convert_original_checkpoint.py


def golden_arguments(golden_dir: Path, name: str) -> list[str]:
    folder = golden_dir / name
    return ["--original", str(folder / "checkpoint.pth"), "--original-config", str(folder / "case.json")]


def check_converted(folder: Path, golden_dir: Path, name: str, expected: str) -> None:
    _, tensors = load_case(golden_dir, name)
    crop = tensors["image"][..., : tensors["image"].shape[-2]]
    model = AutoModel.from_pretrained(folder)
    outputs = model.generate(pixel_values=crop, task="depth")
    assert relative_error(model.detokenize(outputs, task="depth"), tensors[expected]) < 1e-4
    (prediction,) = predict_depth(*load_model_and_processor(folder), list(tensors["image"]), tta=True)
    assert relative_error(prediction["predicted_depth"], tensors["depth_full"][0]) < 1e-4


def test_convert_from_the_command_line(golden_dir, tmp_path):
    arguments = golden_arguments(golden_dir, "08_e2e_depth_ar") + ["--output", str(tmp_path / "out")]
    command = [sys.executable, str(SCRIPTS / "convert_original_checkpoint.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "307,298 parameters" in done.stdout
    check_converted(tmp_path / "out", golden_dir, "08_e2e_depth_ar", "depth_soft_soft")
    assert (tmp_path / "out" / "modeling_ait.py").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_convert_parallel_with_a_bare_configuration_and_a_separate_tokenizer(golden_dir, tmp_path, capsys):
    name = "08_e2e_depth_parallel"
    case, _ = load_case(golden_dir, name)
    (tmp_path / "model.json").write_text(json.dumps({"model": case["config"]}))
    content = torch.load(golden_dir / name / "checkpoint.pth", weights_only=True)["state_dict"]
    prefix = "depth_head.vqvae."
    inside = {key.removeprefix(prefix): value for key, value in content.items() if key.startswith(prefix)}
    torch.save({"weights": inside}, tmp_path / "vqvae.pt")
    torch.save({key: value for key, value in content.items() if not key.startswith(prefix)}, tmp_path / "solver.pth")
    output = tmp_path / "out"
    output.mkdir()
    (output / "old.txt").touch()
    arguments = ["--original", tmp_path / "solver.pth", "--original-config", tmp_path / "model.json"]
    arguments += ["--tokenizer", f"depth={tmp_path / 'vqvae.pt'}", "--output", output]
    assert "pass --overwrite" in refusal(convert, arguments, capsys)
    assert (output / "old.txt").exists()
    convert([str(argument) for argument in arguments] + ["--overwrite"])
    assert not (output / "old.txt").exists()
    check_converted(output, golden_dir, name, "depth_hardtf_softvae")


def test_convert_refuses_bad_input_and_writes_nothing(golden_dir, tmp_path, capsys):
    good = golden_arguments(golden_dir, "08_e2e_depth_ar") + ["--output", str(tmp_path / "out")]

    def change(option: str, value) -> list[str]:
        changed = list(good)
        changed[changed.index(option) + 1] = str(value)
        return changed

    content = Path(good[1]).read_bytes()
    (tmp_path / "half.pth").write_bytes(content[: len(content) // 2])
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"model_type": "ait"}')
    other_case = golden_dir / "08_e2e_depth_parallel" / "case.json"
    assert "no checkpoint" in refusal(convert, change("--original", tmp_path / "missing.pth"), capsys)
    assert "truncated" in refusal(convert, change("--original", tmp_path / "half.pth"), capsys)
    assert "missing.json" in refusal(convert, change("--original-config", tmp_path / "missing.json"), capsys)
    assert "not valid JSON" in refusal(convert, change("--original-config", tmp_path / "broken.json"), capsys)
    assert "backbone, transformer" in refusal(convert, change("--original-config", tmp_path / "other.json"), capsys)
    assert "mask_embed" in refusal(convert, change("--original-config", other_case), capsys)
    assert "NAME=FILE" in refusal(convert, [*good, "--tokenizer", "vqvae.pt"], capsys)
    assert not (tmp_path / "out").exists()


# predict.py


def test_predict_writes_three_pictures_of_the_images_size(saved, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    images = {"a": picture(60, 90, 1), "b": picture(96, 96, 2), "c": picture(40, 30, 3)}
    for name, image in images.items():
        image.save(folder / f"{name}.png")
    output = tmp_path / "new" / "out"
    predict(["--model", str(saved), "--task", "depth", "--output", str(output), "--batch-size", "2", str(folder)])
    predictions = predict_depth(*load_model_and_processor(saved), list(images.values()))
    kinds = ("depth", "color", "uncertainty")
    assert {path.name for path in output.iterdir()} == {f"{name}_{kind}.png" for name in images for kind in kinds}
    for (name, image), prediction in zip(images.items(), predictions):
        depth = load_depth_png(output / f"{name}_depth.png")
        assert np.abs(depth - prediction["predicted_depth"].numpy()).max() < 2e-3  # millimetres, rounded
        for kind in ("color", "uncertainty"):
            with Image.open(output / f"{name}_{kind}.png") as written:
                assert written.size == image.size and written.mode == "RGB"


def test_predict_passes_its_options_on(saved, saved_parallel, tmp_path):
    image = picture(48, 64)
    image.save(tmp_path / "a.png")

    def run(model: Path, *options: str) -> np.ndarray:
        predict(
            ["--model", str(model), "--task", "depth", "--output", str(tmp_path), str(tmp_path / "a.png"), *options]
        )
        return load_depth_png(tmp_path / "a_depth.png")

    cases = [
        (saved, ["--tta"], {"tta": True}),
        (saved, ["--solver", "hard", "--detokenizer", "hard"], {"soft_solver": False, "soft_detokenizer": False}),
        (saved, ["--solver", "soft", "--temperature", "0.3"], {"soft_solver": True, "soft_temperature": 0.3}),
        (saved_parallel, ["--detokenizer", "hard"], {"soft_detokenizer": False}),
    ]
    for model, options, settings in cases:
        (expected,) = predict_depth(*load_model_and_processor(model), [image], **settings)
        assert np.abs(run(model, *options) - expected["predicted_depth"].numpy()).max() < 2e-3


def test_predict_refuses_bad_input_and_writes_nothing(saved, saved_parallel, tmp_path, capsys):
    image = tmp_path / "good.png"
    picture(48, 64).save(image)
    (tmp_path / "text.jpg").write_text("no image")
    picture(64, 48).save(tmp_path / "high.png")
    (tmp_path / "empty").mkdir()
    truncated = shutil.copytree(saved, tmp_path / "truncated")
    weights = truncated / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    other = shutil.copytree(saved, tmp_path / "other")
    (other / "config.json").write_text('{"model_type": "bert"}')

    def refused(*images, model=saved, task="depth", options=()) -> str:
        arguments = ["--model", model, "--task", task, "--output", tmp_path / "out", *images, *options]
        return refusal(predict, arguments, capsys)

    assert "missing.png does not exist" in refused(image, tmp_path / "missing.png")
    assert "empty has no images" in refused(tmp_path / "empty")
    assert "text.jpg cannot be read" in refused(image, tmp_path / "text.jpg")
    assert "Unknown task 'pose'" in refused(image, task="pose")
    assert "nowhere does not exist" in refused(image, model=tmp_path / "nowhere")
    assert "'bert' model" in refused(image, model=other)
    assert "truncated or damaged" in refused(image, model=truncated)
    assert "high.png: Windows slide" in refused(image, tmp_path / "high.png", options=["--tta"])
    assert "leave out --solver" in refused(image, model=saved_parallel, options=["--solver", "hard"])
    assert "leave out --temperature" in refused(image, options=["--detokenizer", "hard", "--temperature", "1"])
    assert not (tmp_path / "out").exists()


# evaluate.py


def test_evaluate_from_the_command_line(saved_parallel, tmp_path):
    """Which works only if scripts/evaluate.py does not hide the library of its name."""
    output, gallery = tmp_path / "metrics.json", tmp_path / "gallery.png"
    command = [sys.executable, str(SCRIPTS / "evaluate.py"), "--model", str(saved_parallel), "--task", "depth"]
    command += ["--data", "synthetic", "--split", "test", "--limit", "3", "--modes", "all", "--output", str(output)]
    done = subprocess.run([*command, "--gallery", str(gallery)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(output.read_text())
    assert report["split"] == "test" and list(report["results"]) == ["hard", "soft"]
    for result in report["results"].values():
        assert result["num_images"] == 3 and f"{result['rmse']:.4g}" in done.stdout
    with Image.open(gallery) as drawn:
        assert drawn.width > 500


def test_evaluate_on_an_index_with_tokenizers(saved, data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    VQTokenizer(base_channels=2, num_vq_embeddings=8, vq_embed_dim=4, sample_size=96).save_pretrained(tmp_path / "vq")
    arguments = ["--model", saved, "--tokenizer", tmp_path / "vq", "--tokenizer-reconstruction", "--task", "depth"]
    arguments += ["--data", data_dir / "rgbd" / "index.json", "--root", data_dir, "--split", "val", "--limit", "2"]
    arguments += ["--protocol", "tta", "--output", tmp_path / "metrics.json"]
    evaluate([str(argument) for argument in arguments])
    results = json.loads((tmp_path / "metrics.json").read_text())["results"]
    assert list(results) == ["as the checkpoint says", "tokenizer", "the model's tokenizer"]
    assert all(result["num_images"] == 2 for result in results.values())
    assert 1 <= results["tokenizer"]["perplexity"] <= 8
    assert "as the checkpoint says" in capsys.readouterr().out


def test_evaluate_refuses_bad_input_and_writes_nothing(saved, tmp_path, capsys):
    output = tmp_path / "metrics.json"

    def refused(*options, data="synthetic", split="test", task="depth") -> str:
        arguments = ["--task", task, "--data", data, "--split", split, "--output", output, *options]
        return refusal(evaluate, arguments, capsys)

    model = ("--model", saved)
    assert "nothing to evaluate" in refused()
    assert "Unknown task 'pose'" in refused(*model, task="pose")
    assert "missing.json does not exist" in refused(*model, data=tmp_path / "missing.json")
    assert "test_list.txt does not exist" in refused(*model, data=f"nyu_depth:{tmp_path}")
    assert "validation" in refused(*model, split="val")
    assert "give --limit" in refused(*model, split="train")
    assert "at least 1" in refused(*model, "--batch-size", "0")
    assert "need --model" in refused("--tokenizer", tmp_path, "--modes", "all")
    assert "config.json does not exist" in refused("--tokenizer", tmp_path)
    assert "not that of a VQTokenizer" in refused("--tokenizer", saved)
    assert "index of RGB-D pairs" in refused(*model, "--root", tmp_path)
    assert not output.exists()


# benchmark.py


LONG_SUITES = ["end-to-end", "end-to-end-objects", "objects", "precision", "runtimes", "train-step"]
SUITES = ["backbone", "decode", "loader", "tokenizer", "tokens", "train-backbone"]


@pytest.mark.parametrize("suite", SUITES + [pytest.param(name, marks=pytest.mark.slow) for name in LONG_SUITES])
def test_benchmark_prints_json(suite, capsys):
    objects = ["--objects", "1"] if suite.endswith("objects") else []
    benchmark([suite, "--json", "--size", "64", "--repeats", "2", "--warmup", "0", *objects])
    report = json.loads(capsys.readouterr().out)
    assert report["suite"] == suite and report["settings"]["size"] == 64
    contestants = report["contestants"]
    assert contestants[report["baseline"]]["ratio_to_baseline"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    for result in contestants.values():
        low, high = sorted(result["times_ms"])
        assert len(result["times_ms"]) == 2 and 0 < low <= result["median_ms"] <= high
        assert result["images_per_second"] > 0 and (result["gflop"] > 0 or suite in ("loader", "runtimes"))
    if suite == "precision":
        assert contestants["float32"]["relative_error"] == 0
        assert 0 < contestants["float16"]["relative_error"] < contestants["bfloat16"]["relative_error"] < 0.5
    if suite == "runtimes":
        errors = {name: result.get("relative_error") for name, result in contestants.items()}
        assert (
            errors["eager, 1 thread"] == 0
            and max(errors["ONNX Runtime, 1 thread"], errors["OpenVINO, 1 thread"]) < 1e-4
        )
        assert 0 < errors["ONNX Runtime, int8, 1 thread"] < 0.5 and "OpenVINO, 2 threads" in contestants


def test_benchmark_refuses_options_without_effect(capsys):
    for arguments, sentence in (
        (["tokenizer", "--full"], "--full has no effect on tokenizer"),
        (["growth", "--size", "64"], "--size has no effect on growth"),
        (["decode", "--objects", "3"], "--objects has no effect on decode"),
        (["backbone", "--size", "100"], "multiple of 32"),
        (["objects", "--objects", "101"], "must lie in 1..100"),
    ):
        with pytest.raises(SystemExit):
            benchmark(arguments)
        assert sentence in capsys.readouterr().err
