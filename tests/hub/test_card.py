# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import ast
import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from card_schema import card_errors
from hub_server import serve_hub
from huggingface_hub import ModelCard
from repository import REPOSITORY
from saved_model import picture, save_tiny_model
from tiny_dense import KEYPOINTS, LABELS, NORMALS, SEMANTICS, TOKENIZERS, dense_config, dense_model
from tiny_objects import DETECTION, INSTANCES, object_config, object_model, object_processor

import ait_hf
from ait_hf import AiTImageProcessor, PoseTokenizer, VQTokenizer
from ait_hf.hub.card import render_card
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.model.image_processing_pose_ait import AiTPoseImageProcessor


CARDS = sorted(REPOSITORY.glob("model_cards/*.md"))
CARD_NAMES = [
    "ait-swinv2-b-coco-detection",
    "ait-swinv2-b-coco-instances",
    "ait-swinv2-b-coco-keypoints",
    "ait-swinv2-b-joint",
    "ait-swinv2-b-nyu",
    "ait-swinv2-l-nyu",
    "aitp-swinv2-b-ade20k",
    "aitp-swinv2-b-coco-keypoints",
    "aitp-swinv2-b-nyu",
    "aitp-swinv2-l-nyu",
    "pose-tokenizer-coco",
    "vq-tokenizer-class-mask-ade20k",
    "vq-tokenizer-depth-nyu",
    "vq-tokenizer-mask-coco",
]
RECIPE = {
    "train": {"max_steps": 10},
    "evaluation": {"split": "validation"},
    "tasks": {"depth": {"data": {"name": "hub", "path": "user/rooms", "split": "train"}}},
    "model": {"pretrained": "user/ait-before", "backbone": None},
}
HISTORY = [
    {"step": 5, "eval_depth/rmse": 0.9},
    {"step": 10, "loss": 1.0},
    {"step": 10, "eval_depth/rmse": 0.25, "eval_depth/sq_rel": float("nan"), "eval_depth/num_images": 64},
]


def test_published_names_have_cards():
    assert [path.stem for path in CARDS] == CARD_NAMES


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_card_of_a_published_name(path):
    card = ModelCard.load(path)
    assert card_errors(str(card)) == []
    assert card.data.license == "apache-2.0"
    assert (card.data.library_name == "diffusers") == ("tokenizer" in path.stem)
    assert card.data.eval_results is None  # nothing has been measured on the full data sets
    assert "No weights are published" in card.text
    assert "not reproduced here" in card.text
    for title in ("Use", "Training", "Results", "Limits", "Citation"):
        assert f"\n## {title}\n" in card.text
    links = re.findall(r"\]\((\.\./[^)]+)\)", card.text)
    assert links and all((path.parent / link).is_file() for link in links)
    for code in re.findall(r"```python\n(.*?)```", card.text, re.DOTALL):
        imported = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
        assert all(
            alias.name in ait_hf.__all__ for node in imported if node.module == "ait_hf" for alias in node.names
        )


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("card") / "model")


@pytest.fixture
def trained(depth_folder):
    """The folder with what a training leaves beside the model."""
    files = {"recipe.yaml": yaml.safe_dump(RECIPE), "history.json": json.dumps(HISTORY)}
    for name, text in files.items():
        (depth_folder / name).write_text(text)
    yield depth_folder
    for name in (*files, "metrics.json"):
        (depth_folder / name).unlink(missing_ok=True)


def test_what_the_folder_says_stands_on_the_card(trained):
    card = render_card(trained, "user/ait-tiny", license="mit")
    assert card_errors(str(card)) == []
    data = ModelCard(str(card)).data
    assert data.to_dict() == card.data.to_dict()
    assert (data.license, data.library_name, data.pipeline_tag) == ("mit", "transformers", "depth-estimation")
    assert data.datasets == ["user/rooms"]
    assert {"ait", "depth", "soft-tokens"} <= set(data.tags)
    (result,) = data.eval_results  # the last evaluation; what is not finite is no result
    assert (result.metric_type, result.metric_value) == ("rmse", 0.25)
    assert (result.task_type, result.dataset_name, result.dataset_split) == ("depth", "user/rooms", "validation")
    assert "10 of 10 steps, from `user/ait-before`" in card.text
    assert "| depth | user/rooms | train | validation, 64 samples |" in card.text
    (recipe,) = re.findall(r"```yaml\n(.*?)```", card.text, re.DOTALL)
    assert yaml.safe_load(recipe) == RECIPE


def test_what_the_folder_does_not_say_is_called_unknown(depth_folder):
    card = render_card(depth_folder, "user/ait-tiny")
    assert card_errors(str(card)) == []
    assert card.data.license == "unknown"
    assert card.data.eval_results is None and card.data.datasets is None
    assert card.text.count("Not known: ") == 3  # results, data, training
    assert "not stated by who published them" in card.text


def test_results_of_the_evaluation_script(trained):
    results = {"hard": {"rmse": 0.3, "bbox_APl": -1.0, "num_images": 12}, "soft": {"rmse": 0.2, "num_images": 12}}
    measured = {"task": "depth", "data": "rgbd:/somewhere/private/index.json", "split": "test", "results": results}
    (trained / "metrics.json").write_text(json.dumps(measured))
    card = render_card(trained, "user/ait-tiny")
    assert card_errors(str(card)) == []
    found = {(result.metric_name, result.dataset_split): result for result in card.data.eval_results}
    assert found.keys() == {("rmse", "validation"), ("rmse (hard)", "test"), ("rmse (soft)", "test")}
    assert found["rmse (soft)", "test"].metric_value == 0.2
    assert found["rmse (soft)", "test"].dataset_name == "rgbd:index.json"
    assert "| depth | rgbd:index.json | test | 12 | soft | rmse 0.2 |" in card.text


def test_the_hub_validates_it(trained, monkeypatch):
    card = render_card(trained, "user/ait-tiny", license="mit")
    with serve_hub() as hub:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        card.validate()
        card.data.license = "nobody's"
        with pytest.raises(ValueError, match="license is not valid"):
            card.validate()
        assert hub.requests[-2:] == ["POST /api/validate-yaml"] * 2


def usage(card: ModelCard) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    return code


def dense_folder(task: str, folder: Path) -> Path:
    size = {"height": 96, "width": 96}
    kind = AiTPoseImageProcessor if task == KEYPOINTS else AiTImageProcessor
    save_with_remote_code(dense_model(dense_config((task,))), kind(size=size), folder)
    return folder


def objects_folder(tasks: tuple[str, ...], folder: Path) -> Path:
    processors = {task: object_processor() for task in tasks}
    if "depth" in tasks:
        processors["depth"] = AiTImageProcessor(size={"height": 96, "width": 96})
    save_with_remote_code(object_model(object_config(tasks)), processors, folder)
    return folder


@pytest.mark.parametrize(
    ("make", "tasks", "pipeline_tag"),
    [
        (dense_folder, KEYPOINTS, "keypoint-detection"),
        (dense_folder, SEMANTICS, "image-segmentation"),
        (dense_folder, LABELS, "image-segmentation"),
        (dense_folder, NORMALS, None),
        (objects_folder, (DETECTION,), "object-detection"),
        (objects_folder, (INSTANCES, "depth"), "depth-estimation"),  # by name the first
    ],
)
def test_the_code_on_the_card_runs(make, tasks, pipeline_tag, tmp_path, monkeypatch, capsys):
    folder = make(tasks, tmp_path / "model")
    picture(300, 260).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    card = render_card(folder, "user/model")
    assert card_errors(str(card)) == []
    assert card.data.pipeline_tag == pipeline_tag
    exec(usage(card).replace('"user/model"', '"model"'), {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("name", ["pose", "labels", "normals"])
def test_the_code_on_the_card_of_a_tokenizer_runs(name, tmp_path, monkeypatch):
    arguments = {key: value for key, value in TOKENIZERS[name].items() if key != "tokenizer_type"}
    kind = PoseTokenizer if name == "pose" else VQTokenizer
    kind(**arguments).save_pretrained(tmp_path / "tokenizer")
    monkeypatch.chdir(tmp_path)
    card = render_card(tmp_path / "tokenizer", "user/tokenizer")
    assert card_errors(str(card)) == []
    assert card.data.library_name == "diffusers" and card.data.pipeline_tag is None
    values = {}
    exec(usage(card).replace('"user/tokenizer"', '"tokenizer"'), values)
    assert values["ids"].ndim == 3
    assert torch.isfinite(values["restored"]).all()


def test_a_card_says_what_renders_it(depth_folder, monkeypatch):
    monkeypatch.setattr("ait_hf.hub.card.find_spec", {"jinja2": None}.get)
    with pytest.raises(ImportError, match="needs jinja2: pip install"):
        render_card(depth_folder, "user/ait-tiny")
