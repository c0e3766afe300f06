# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The card of a checkpoint, from what its folder says of itself. What it does not say, the card calls unknown."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from safetensors import safe_open

from ..metrics.uncertainty import RELIABILITY
from ..model.configuration_ait import AiTConfig
from ..recipes.parsing import read_values
from ..tasks.base import TaskText
from ..tasks.kinds import kind_of_output, kind_of_unit
from . import files


TEMPLATE = resources.files(__package__) / "card_template.md"
_HUB_DATA = "hub"  # name of the sections whose `path` is a data set on the Hub
_STARTS = ("pretrained", "initialize_from", "backbone")  # keys of a recipe's section `model` that name trained weights
_TOKENS = TaskText(gives="a sequence of tokens", result="outputs.sequences[:, 1:]", comment="ids of the vocabulary")
_COMMON_LIMITS = (
    "How it does on images unlike those it was trained on was not measured.",
    "Probabilities and uncertainties are not calibrated.",
)
RECONSTRUCTION = "reconstruction"  # the Hub has no name for what tokenizers do
_EVALUATED = "eval_"  # what keys of a history begin with that are of an evaluation
_COUNTS = ("num_images", "num_excluded")


def render_card(folder: str | Path, repo_id: str, license: str | None = None) -> ModelCard:
    """
    The card of a saved model or tokenizer: how to use it, results (also as `model-index`), data and split, recipe,
    limits, licence.

    Args:
        folder (`str` or `Path`): With `config.json` and weights; `history.json`, `recipe.yaml` and `metrics.json` (of
            `ait evaluate`) are read if there.
        repo_id (`str`): Where it will be, `"user/name"`.
        license (`str`, *optional*): Of the weights, as the Hub abbreviates it.

    Raises:
        FileNotFoundError, ValueError: A file is missing or damaged.
    """
    template = read_template()
    folder = Path(folder)
    facts = (_tokenizer if files.is_tokenizer(folder) else _model)(folder)
    recipe_text = public_recipe(folder / files.RECIPE).strip() if (folder / files.RECIPE).is_file() else "null"
    recipe = yaml.safe_load(recipe_text)
    tasks = {} if recipe is None else recipe.get("tasks", {"": recipe})  # a tokenizer's one section has no name
    sections = {name: task["data"] for name, task in tasks.items()}
    data = {task: section["path" if section["name"] == _HUB_DATA else "name"] for task, section in sections.items()}
    history = files.read_json(folder / files.HISTORY) if (folder / files.HISTORY).is_file() else []
    results = read_results(folder, history, data, None if recipe is None else recipe["evaluation"]["split"])
    name = repo_id.rpartition("/")[2]
    card_data = ModelCardData(
        library_name=facts.pop("library"),
        license=license or "unknown",
        pipeline_tag=facts.pop("pipeline_tag", None),
        tags=["ait", "ait_hf", *facts.pop("tags")],
        datasets=sorted({section["path"] for section in sections.values() if section["name"] == _HUB_DATA}) or None,
        model_name=name if results else None,
        eval_results=[entry for result in results for entry in result.entries()] or None,
    )
    facts |= {"title": name, "repo_id": repo_id, "license": license, "data": data, "sections": sections}
    facts |= {"recipe": recipe, "recipe_text": recipe_text, "steps": history[-1]["step"] if history else None}
    facts |= {"results": results, "measured": {result.task: result.num_images for result in results}}
    facts["starts"] = [f"`{recipe['model'][key]}`" for key in _STARTS if recipe["model"].get(key)] if recipe else []
    return ModelCard.from_template(card_data, template_str=template, **facts)


def read_template() -> str:
    """The template of cards; `ImportError` if what renders it is not installed."""
    if find_spec("jinja2") is None:
        raise ImportError("A model card needs jinja2: pip install 'ait-hf[train]'.")
    return TEMPLATE.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Result:
    """Metrics of one task on one set of samples, as far as they are known."""

    task: str  # empty for a tokenizer
    data: str
    split: str | None
    mode: str | None  # how it was decoded, if `ait evaluate` measured it, and none for the evaluation in training
    num_images: int | None
    metrics: dict[str, float]  # finite ones

    def entries(self) -> list[EvalResult]:
        """For the `model-index` of the card's metadata."""
        about = {"task_type": self.task or RECONSTRUCTION, "dataset_type": self.data, "dataset_name": self.data}
        how = "" if self.mode is None else f" ({self.mode})"
        return [
            EvalResult(metric_type=name, metric_name=name + how, metric_value=value, dataset_split=self.split, **about)
            for name, value in self.metrics.items()
        ]


def read_results(folder: Path, history: list[dict], data: Mapping[str, str], split: str | None) -> list[Result]:
    """What the folder knows: the last evaluation in its history, on a split of the data that the recipe names by task,
    and `metrics.json` of `ait evaluate`."""
    found = []
    rows = [row for row in history if any(key.startswith(_EVALUATED) for key in row)]
    for task, name in data.items() if rows else ():
        prefix = f"{_EVALUATED}{task}/" if task else _EVALUATED
        values = {key.removeprefix(prefix): value for key, value in rows[-1].items() if key.startswith(prefix)}
        found += [(task, name, split, None, values)] if values else []
    if (folder / files.METRICS).is_file():
        measured = files.read_json(folder / files.METRICS)
        prefix, colon, path = measured["data"].rpartition(":")
        name = f"{prefix}{colon}{PurePath(path).name}"
        for mode, values in measured["results"].items():
            found.append((measured["task"], name, measured["split"], mode, values))
    results = []
    for *about, values in found:
        measured = (
            (name, value) for name, value in values.items() if name not in _COUNTS and not name.startswith(RELIABILITY)
        )
        # -1 is COCO's value where there is nothing to measure, such as no large object.
        finite = {name: value for name, value in measured if math.isfinite(value) and value != -1}
        results.append(Result(*about, values.get("num_images"), finite))
    return results


def public_recipe(path: Path) -> str:
    """A recipe as YAML, of absolute paths the last part only: how a machine's folders are named is nobody's business."""
    return yaml.safe_dump(_without_folders(read_values(path)), sort_keys=False, allow_unicode=True)


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return PurePath(value).name if isinstance(value, str) and PurePath(value).is_absolute() else value


def _model(folder: Path) -> dict[str, Any]:
    """What a model's card says of it."""
    config, texts = AiTConfig.from_pretrained(folder), {}
    for name in config.tasks:
        task = config.task(name)
        texts[name] = _TOKENS if task.output_type is None else kind_of_output(name, task.output_type).text(task)
    pipeline_tags = (text.pipeline_tag for text in texts.values() if text.pipeline_tag is not None)
    return {
        "library": "transformers",
        "tags": ["soft-tokens", *config.tasks],
        "pipeline_tag": next(pipeline_tags, None),
        "config": config,
        "tasks": texts,
        "millions": _millions(folder, files.MODEL_WEIGHTS),
        "limits": [*dict.fromkeys(limit for text in texts.values() for limit in text.limits), *_COMMON_LIMITS],
    }


def _tokenizer(folder: Path) -> dict[str, Any]:
    """What a tokenizer's card says of it."""
    config = files.read_json(folder / files.CONFIG)
    return {
        "library": "diffusers",
        "tags": ["vq-vae"],
        "config": config,
        "sample_code": kind_of_unit(config["unit"]).sample_code(config),
        "millions": _millions(folder, files.TOKENIZER_WEIGHTS),
        "limits": ["What is unlike its training data is restored badly; details smaller than a code are lost."],
    }


def _millions(folder: Path, stem: str) -> str:
    """Of numbers in the weights."""
    count = 0
    for name in files.weight_files(folder, stem):
        with safe_open(folder / name, "pt") as weights:
            count += sum(math.prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118
    return f"{count / 1e6:.3g}"
