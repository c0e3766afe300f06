# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The console command `ait`: its help without what takes long to import, and every verb on a small job (`push`: test_hub)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from published_tokenizers import made_up_weights
from repository import REPOSITORY
from saved_model import picture, save_tiny_model

import ait_hf_cli
from ait_hf import AiTForDepthEstimation, VQTokenizer
from ait_hf.commands import benchmark
from ait_hf.tasks.kinds import KINDS
from ait_hf.tokens import PRESETS
from ait_hf_cli import VERBS, evaluate, main, predict, train
from ait_hf_cli import benchmark as benchmark_arguments
from ait_hf_cli import convert as convert_arguments


ENVIRONMENT = os.environ | {"ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"}
ASK_FOR_HELP = """
import sys
from ait_hf_cli import main
try:
    main({arguments})
except SystemExit as end:
    assert end.code == 0, end.code
    print(sorted({{"ait_hf", "torch", "transformers", "datasets", "numpy", "yaml"}} & set(sys.modules)))
"""
SHORT = ["train.max_steps=2", "train.trackers=[]", "train.num_workers=0", "evaluation.num_samples=2"]


def ait(*arguments: object) -> None:
    main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", parallel=True)


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    picture(60, 90).save(path)
    return path


# Help and the names that it gives


def test_options_may_stand_between_the_words():
    trained = train.parse_arguments(["demo_ait", "train.max_steps=3", "--seed", "1", "optimizer.lr=1e-3"], "ait train")
    assert (trained.recipe, trained.seed) == ("demo_ait", 1)
    assert trained.overrides == ["train.max_steps=3", "optimizer.lr=1e-3"]
    predicted = predict.parse_arguments(["one.png", "--model", "tiny", "--output", "out", "two.png"], "ait predict")
    assert predicted.images == ["one.png", "two.png"]


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_help_imports_nothing_heavy(arguments):
    code = ASK_FOR_HELP.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *text, imported = done.stdout.splitlines()
    assert imported == "[]" and text[0].startswith(" ".join(["usage: ait", *arguments[:-1]]))


def test_every_verb_has_both_of_its_files():
    folders = (REPOSITORY / "src/ait_hf_cli", REPOSITORY / "src/ait_hf/commands")
    assert all((folder / f"{verb}.py").is_file() for folder in folders for verb in VERBS)
    assert {path.stem for path in folders[0].glob("*.py")} == {*VERBS, "arguments", "models", "recipes", "__init__"}


def test_names_in_the_help_are_those_that_there_are():
    assert set(evaluate.TASKS) == {task for kind in KINDS for task in kind.tasks}
    assert set(evaluate.KINDS) == {kind.title for kind in KINDS}
    assert tuple(PRESETS) == convert_arguments.PRESETS
    assert tuple(benchmark.SUITES) == benchmark_arguments.SUITES


def test_what_is_no_verb_is_refused(capsys):
    for arguments, message in ([], "required: VERB"), (["paint"], "invalid choice: 'paint'"):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert message in capsys.readouterr().err


def test_messages_begin_with_the_command_as_it_was_called(saved, tmp_path, capsys):
    given = ["--model", str(saved), "--task", "depth", "--output", str(tmp_path / "out"), "missing.png"]
    for run, prog in (
        (lambda: ait("predict", *given), "ait predict"),
        (
            lambda: ait_hf_cli.run("predict", given, "predict.py"),
            "predict.py",
        ),
    ):
        with pytest.raises(SystemExit, match="2"):
            run()
        assert capsys.readouterr().err == f"{prog}: missing.png does not exist.\n"


# Every verb


def test_train_and_plan(tmp_path, capsys):
    """A tokenizer, then a model on top of it: which of the two a recipe is of, it says itself."""
    tokenizer, model = tmp_path / "tokenizer", tmp_path / "model"
    small = ["model.config.base_channels=2", f"output_dir={tokenizer}"]
    ait("train", "demo_tokenizer", *small, *SHORT, "data.batch_size=2")
    assert VQTokenizer.from_pretrained(tokenizer).config.base_channels == 2
    of_model = [f"tasks.depth.tokenizer={tokenizer}", "tasks.depth.data.batch_size=2", f"output_dir={model}"]
    ait("train", "demo_ait", *of_model, *SHORT, "--seed", 3)
    assert AiTForDepthEstimation.from_pretrained(model).config.tasks["depth"]
    history = json.loads((model / "history.json").read_text())
    assert history[-1]["step"] == 2 and "eval_depth/rmse" in history[-1]
    assert "seed: 3" in (model / "recipe.yaml").read_text()
    capsys.readouterr()
    ait("plan", model / "recipe.yaml", "--gpus", 2, "--json")
    assert json.loads(capsys.readouterr().out)["fits"]


def test_what_is_no_recipe_of_a_training_is_refused(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("task: {depth: {}}\noutput_dir: runs/a\n")
    for verb in ("train", "plan"):
        with pytest.raises(SystemExit, match="2"):
            ait(verb, tmp_path / "a.yaml")
        error = capsys.readouterr().err
        assert error.startswith(f"ait {verb}: ") and "neither tasks" in error and "task, output_dir" in error


def test_evaluate_and_predict(saved, photo, tmp_path, capsys):
    data = ["--task", "depth", "--data", "synthetic", "--split", "test", "--limit", 2]
    ait("evaluate", "--model", saved, *data, "--output", tmp_path / "metrics.json")
    (result,) = json.loads((tmp_path / "metrics.json").read_text())["results"].values()
    assert result["num_images"] == 2 and f"{result['rmse']:.4g}" in capsys.readouterr().out
    ait("predict", "--model", saved, "--task", "depth", "--output", tmp_path / "out", photo)
    assert (tmp_path / "out/photo_depth.png").is_file()


def test_finetune(saved, tmp_path):
    for kind in ("rgb", "depth"):
        (tmp_path / "rooms" / kind).mkdir(parents=True)
    for number in range(12):
        image = picture(96, 96, number)
        image.save(tmp_path / f"rooms/rgb/{number}.png")
        depth = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 10 + 1000)  # millimetres
        depth.save(tmp_path / f"rooms/depth/{number}.png")
    given = ["--model", saved, "--task", "depth", "--data", tmp_path / "rooms", "--depth-scale", 1000]
    short = ["--steps", 2, "--batch-size", 2, "--override", "train.trackers=[]", "train.num_workers=0"]
    ait("finetune", *given, "--output", tmp_path / "out", *short)
    assert json.loads((tmp_path / "out/history.json").read_text())[-1]["step"] == 2


def test_convert_and_tokens(tmp_path, capsys):
    torch.save({"weights": made_up_weights("molmoact2-depth")}, tmp_path / "vae.pt")
    folder, text = tmp_path / "tokenizer", tmp_path / "train.jsonl"
    ait("convert", "--tokenizer", tmp_path / "vae.pt", "--preset", "molmoact2-depth", "--output", folder)
    (tmp_path / "maps").mkdir()
    picture(48, 64).convert("L").save(tmp_path / "maps/a.png")
    ait("tokens", "encode", "--tokenizer", folder, "--output", text, tmp_path / "maps")
    assert text.read_text().count("<depth_") == 103
    with pytest.raises(SystemExit, match="2"):
        ait("tokens", "encode", "--tokenizer", folder, "--output", text, tmp_path / "maps")
    assert f"\nait tokens: {text} exists" in capsys.readouterr().err


def test_benchmark(capsys):
    ait("benchmark", "tokenizer", "--size", 64, "--repeats", 2, "--warmup", 0, "--json")
    assert json.loads(capsys.readouterr().out)["suite"] == "tokenizer"


def test_env_says_versions_and_devices(capsys):
    ait("env")
    lines = dict(line.split(":  ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["torch"].strip() == torch.__version__.partition("+")[0]
    assert f"torch uses {torch.get_num_threads()} threads" in lines["cpu"]
    assert {"python", "platform", "ait-hf", "transformers", "diffusers", "cuda"} <= lines.keys()


@pytest.mark.slow
def test_the_training_is_launched_as_a_module(tmp_path):
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--mixed_precision", "no"]
    launch += ["--num_machines", "1", "--dynamo_backend", "no", "-m", "ait_hf.commands.train"]
    recipe = ["demo_tokenizer", f"output_dir={tmp_path / 'out'}", "data.batch_size=2", *SHORT]
    subprocess.run([*launch, *recipe], cwd=tmp_path, env=ENVIRONMENT, check=True)
    assert json.loads((tmp_path / "out/history.json").read_text())[-1]["step"] == 2
