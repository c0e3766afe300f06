# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
The snippets of README.md, run as they stand in a folder that holds what they name: a tiny model, a photograph, data.

Every ```python block is run, and every ```bash block under a `<!-- test -->` comment, which may say `slow`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import TINY_BACKBONE, tiny_config

from ait_hf import AiTForDepthEstimation, AiTImageProcessor, VQTokenizer
from ait_hf.remote_code import save_with_remote_code
from ait_hf.training.recipes import dump_recipe, load_recipe
from ait_hf.training.solver import SolverRecipe
from ait_hf.training.tokenizer import TokenizerRecipe
from ait_hf.visualization import load_depth_png, save_depth_png


REPOSITORY = Path(__file__).parents[1]
SNIPPET = re.compile(
    r"^(?:<!-- test(?:: (?P<needs>[\w, ]+))? -->\n```bash|```python)\n(?P<code>.*?)^```$", re.M | re.S
)
SNIPPETS = list(SNIPPET.finditer((REPOSITORY / "README.md").read_text(encoding="utf-8")))
PHOTO_SIZE = (72, 128)  # height, width

TINY_TOKENIZER = {"base_channels": 2, "num_res_blocks": 1, "num_vq_embeddings": 20, "vq_embed_dim": 12}
TINY_SOLVER = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "num_heads": 4, "ffn_dim": 48}
BACKBONE = {key: value for key, value in TINY_BACKBONE.items() if key not in ("model_type", "image_size")}
SHORT = [
    "train={max_steps: 2, trackers: []}",
    "evaluation.num_samples=2",
]
SMALL_DATA = ["data.transform={crop_size: 64}", "data.batch_size=2"]
RECIPES = {
    "sample_rgbd_tokenizer.yaml": (TokenizerRecipe, [*SMALL_DATA, f"model.config={json.dumps(TINY_TOKENIZER)}"]),
    "sample_rgbd_aitp.yaml": (
        SolverRecipe,
        [
            *(f"tasks.depth.{override}" for override in SMALL_DATA),
            f"model.config={json.dumps(TINY_SOLVER)}",
            f"model.backbone_config={json.dumps(BACKBONE)}",
        ],
    ),
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A folder with everything that the README names but an original checkpoint."""
    folder = tmp_path_factory.mktemp("readme")
    rng = np.random.default_rng(0)
    write_photo(folder / "photo.jpg", rng)
    save_depth_png(rng.uniform(1, 9, (64, 96)), folder / "depth.png")
    write_frames(folder / "my-data", rng)
    save_models(folder)
    shutil.copytree(REPOSITORY / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name, (kind, overrides) in RECIPES.items():
        recipe = load_recipe(REPOSITORY / "scripts/recipes" / name, kind, SHORT + overrides)
        (folder / "scripts/recipes" / name).write_text(dump_recipe(recipe), encoding="utf-8")
    return folder


def save_models(folder: Path) -> None:
    """Untrained, but scaled so that depth maps are positive and not constant."""
    torch.manual_seed(0)
    tokenizer = VQTokenizer(**TINY_TOKENIZER, sample_size=96)
    torch.nn.init.normal_(tokenizer.quantizer.embedding.weight)
    torch.nn.init.constant_(tokenizer.decoder.conv_out.bias, 2.0)  # metres
    tokenizer.save_pretrained(folder / "my-tokenizer")
    tokenizer.save_pretrained(folder / "runs/my-tokenizer")  # which one snippet trains and a slow one builds on
    model = AiTForDepthEstimation(tiny_config(parallel=True))
    torch.nn.init.normal_(model.model.decoder.embed_tokens.weight)
    model.load_tokenizer("depth", tokenizer)
    processor = AiTImageProcessor(size={"height": 96, "width": 96}, do_normalize=False)
    save_with_remote_code(model, processor, folder / "my-model")


def write_photo(path: Path, rng: np.random.Generator) -> None:
    Image.fromarray(rng.integers(0, 256, (*PHOTO_SIZE, 3), dtype=np.uint8)).save(path)


def write_frames(folder: Path, rng: np.random.Generator) -> None:
    frames = []
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    for number, split in enumerate(["train"] * 3 + ["val"] * 2):
        rgb, depth = f"rgb/{number}.jpg", f"depth/{number}.png"
        write_photo(folder / rgb, rng)
        save_depth_png(rng.uniform(1, 9, PHOTO_SIZE), folder / depth)
        frames.append({"rgb": rgb, "depth": depth, "depth_scale": 1000, "split": split})
    (folder / "index.json").write_text(json.dumps(frames), encoding="utf-8")


def run_bash(code: str, folder: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def run_python(code: str, folder: Path, monkeypatch) -> dict:
    monkeypatch.chdir(folder)
    names = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec"), names)
    return names


def write_original_checkpoint(folder: Path, golden: Path) -> None:
    case = golden / "08_e2e_depth_ar"
    config = json.loads((case / "case.json").read_text(encoding="utf-8"))["config"]
    (folder / "original.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copy(case / "checkpoint.pth", folder / "original.pth")


# What must hold after a snippet that contains the words: `names` are its Python variables.


def check_pipeline(folder: Path, names: dict) -> None:
    depth = names["result"]["predicted_depth"]
    assert depth.shape == PHOTO_SIZE and depth.min() < depth.max()


def check_predict(folder: Path, names: dict) -> None:
    assert load_depth_png(folder / "predictions/photo_depth.png").shape == PHOTO_SIZE


def check_generate(folder: Path, names: dict) -> None:
    assert names["result"]["predicted_depth"].shape == names["result"]["uncertainty"].shape == PHOTO_SIZE
    assert names["outputs"].num_forwards == 1


def check_tokenize(folder: Path, names: dict) -> None:
    assert names["ids"].shape == (1, 2, 3)
    assert names["restored"].shape == names["depth"].shape


def check_train_tokenizer(folder: Path, names: dict) -> None:
    history = json.loads((folder / "runs/my-tokenizer/history.json").read_text(encoding="utf-8"))
    assert history[-1]["step"] == 2 and history[-1]["eval_rmse"] > 0
    assert VQTokenizer.from_pretrained(folder / "runs/my-tokenizer").config.sample_size == 64


def check_train(folder: Path, names: dict) -> None:
    assert AiTForDepthEstimation.from_pretrained(folder / "runs/my-model").config.parallel


def check_evaluate(folder: Path, names: dict) -> None:
    result = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["results"]
    assert all(values["rmse"] > 0 and values["num_images"] == 2 for values in result.values())


def check_convert(folder: Path, names: dict) -> None:
    assert not AiTForDepthEstimation.from_pretrained(folder / "converted").config.parallel


def check_remote_code(folder: Path, names: dict) -> None:
    assert type(names["model"]).__name__ == "AiTForDepthEstimation"


CHECKS = {
    "pipeline(": check_pipeline,
    "scripts/predict.py": check_predict,
    "model.generate(": check_generate,
    "tokenizer.tokenize(": check_tokenize,
    "scripts/train_tokenizer.py": check_train_tokenizer,
    "scripts/train.py": check_train,
    "scripts/evaluate.py": check_evaluate,
    "scripts/convert_original_checkpoint.py": check_convert,
    "trust_remote_code=True": check_remote_code,
}


def words_of(snippet: re.Match) -> str:
    found = [words for words in CHECKS if words in snippet["code"]]
    assert len(found) == 1, f"The snippet has {len(found)} checks instead of one:\n{snippet['code']}"
    return found[0]


def test_every_check_has_its_snippet():
    assert sorted(map(words_of, SNIPPETS)) == sorted(CHECKS)


def as_parameter(snippet: re.Match):
    marks = [pytest.mark.slow] if "slow" in (snippet["needs"] or "") else []
    return pytest.param(snippet, id=words_of(snippet), marks=marks)


@pytest.mark.parametrize("snippet", map(as_parameter, SNIPPETS))
def test_snippet_runs(snippet, workspace, request, monkeypatch):
    if "original checkpoint" in (snippet["needs"] or ""):
        write_original_checkpoint(workspace, request.getfixturevalue("golden_dir"))
    is_bash = "```bash" in snippet[0]
    names = {} if is_bash else run_python(snippet["code"], workspace, monkeypatch)
    if is_bash:
        run_bash(snippet["code"], workspace)
    CHECKS[words_of(snippet)](workspace, names)


def test_commands_are_those_of_the_makefile():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"^make ([\w-]+)", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.M)
    assert commands == ["demo", "test"]
    assert all(re.search(rf"^{command}:", makefile, re.M) for command in commands)
