# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The card of a checkpoint, from what its folder says of itself. What it does not say, the card calls unknown."""

import math
from importlib import resources
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData
from safetensors import safe_open

from ..model.configuration_ait import AiTConfig, AiTTaskConfig
from ..recipes.parsing import read_values
from ..tasks.card_text import TaskText
from ..tasks.kinds import kind_of_output, kind_of_unit
from .card_results import eval_results, read_results
from .files import CONFIG, HISTORY, MODEL_WEIGHTS, RECIPE, TOKENIZER_WEIGHTS, is_tokenizer, read_json, weight_files


TEMPLATE = resources.files(__package__) / "card_template.md"


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
    facts = (_tokenizer if is_tokenizer(folder) else _model)(folder)
    recipe_text = public_recipe(folder / RECIPE).strip() if (folder / RECIPE).is_file() else "null"
    recipe = yaml.safe_load(recipe_text)
    sections = _data_sections(recipe)
    data = {task: section["path" if section["name"] == _HUB_DATA else "name"] for task, section in sections.items()}
    results = read_results(folder, data, None if recipe is None else recipe["evaluation"]["split"])
    name = repo_id.rpartition("/")[2]
    card_data = ModelCardData(
        library_name=facts.pop("library"),
        license=license or "unknown",
        pipeline_tag=facts.pop("pipeline_tag", None),
        tags=["ait", "ait_hf", *facts.pop("tags")],
        datasets=sorted({section["path"] for section in sections.values() if section["name"] == _HUB_DATA}) or None,
        model_name=name if results else None,
        eval_results=eval_results(results) or None,
    )
    history = read_json(folder / HISTORY) if (folder / HISTORY).is_file() else None
    return ModelCard.from_template(
        card_data,
        template_str=template,
        title=name,
        repo_id=repo_id,
        license=license,
        recipe=recipe,
        recipe_text=recipe_text,
        sections=sections,
        data=data,
        results=results,
        measured={result.task: result.num_images for result in results},
        steps=None if history is None else history[-1]["step"],
        starts=[f"`{recipe['model'][key]}`" for key in _STARTS if recipe["model"].get(key)] if recipe else [],
        **facts,
    )


def read_template() -> str:
    """The template of cards; `ImportError` if what renders it is not installed."""
    if find_spec("jinja2") is None:
        raise ImportError("A model card needs jinja2: pip install 'ait-hf[train]'.")
    return TEMPLATE.read_text(encoding="utf-8")


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
    config = AiTConfig.from_pretrained(folder)
    tasks = {name: _task_text(name, config.task(name)) for name in config.tasks}
    pipeline_tags = [text.pipeline_tag for text in tasks.values() if text.pipeline_tag is not None]
    return {
        "library": "transformers",
        "tags": ["soft-tokens", *config.tasks],
        "pipeline_tag": pipeline_tags[0] if pipeline_tags else None,
        "config": config,
        "tasks": tasks,
        "millions": _millions(folder, MODEL_WEIGHTS),
        "limits": [*dict.fromkeys(limit for text in tasks.values() for limit in text.limits), *_COMMON_LIMITS],
    }


def _tokenizer(folder: Path) -> dict[str, Any]:
    """What a tokenizer's card says of it."""
    config = read_json(folder / CONFIG)
    return {
        "library": "diffusers",
        "tags": ["vq-vae"],
        "config": config,
        "sample_code": kind_of_unit(config["unit"]).sample_code(config),
        "millions": _millions(folder, TOKENIZER_WEIGHTS),
        "limits": ["What is unlike its training data is restored badly; details smaller than a code are lost."],
    }


_HUB_DATA = "hub"  # name of the sections whose `path` is a data set on the Hub
_STARTS = ("pretrained", "initialize_from", "backbone")  # keys of a recipe's section `model` that name trained weights
_TOKENS = TaskText(gives="a sequence of tokens", result="outputs.sequences[:, 1:]", comment="ids of the vocabulary")
_COMMON_LIMITS = (
    "How it does on images unlike those it was trained on was not measured.",
    "Probabilities and uncertainties are not calibrated.",
)


def _task_text(name: str, task: AiTTaskConfig) -> TaskText:
    return _TOKENS if task.output_type is None else kind_of_output(name, task.output_type).text(task)


def _millions(folder: Path, stem: str) -> str:
    """Of numbers in the weights."""
    count = 0
    for name in weight_files(folder, stem):
        with safe_open(folder / name, "pt") as weights:
            count += sum(math.prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118
    return f"{count / 1e6:.3g}"


def _data_sections(recipe: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The recipe's sections of data by task; a tokenizer's one section has no name."""
    if recipe is None:
        return {}
    return {name: task["data"] for name, task in recipe.get("tasks", {"": recipe}).items()}
