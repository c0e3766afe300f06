# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The card of a checkpoint, from what its folder says of itself. What it does not say, the card calls unknown."""

from dataclasses import dataclass
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
from .card_results import Result, eval_results, read_results, results_table
from .files import CONFIG, HISTORY, MODEL_WEIGHTS, RECIPE, TOKENIZER_WEIGHTS, is_tokenizer, read_json, weight_files


TEMPLATE = resources.files(__package__) / "card_template.md"


@dataclass(frozen=True)
class _Kind:
    """What differs between the card of a model and that of a tokenizer."""

    library: str
    tags: list[str]
    pipeline_tag: str | None
    summary: str
    usage: str
    usage_note: str
    limits: list[str]


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
    kind = (_tokenizer if is_tokenizer(folder) else _model)(folder, repo_id)
    recipe = yaml.safe_load(public_recipe(folder / RECIPE)) if (folder / RECIPE).is_file() else None
    sections = _data_sections(recipe)
    results = read_results(folder, {task: _data_name(data) for task, data in sections.items()}, _split(recipe))
    name = repo_id.rpartition("/")[2]
    data = ModelCardData(
        library_name=kind.library,
        license=license or "unknown",
        pipeline_tag=kind.pipeline_tag,
        tags=["ait", "ait_hf", *kind.tags],
        datasets=sorted({section["path"] for section in sections.values() if section["name"] == _HUB_DATA}) or None,
        model_name=name if results else None,
        eval_results=eval_results(results) or None,
    )
    return ModelCard.from_template(
        data,
        template_str=template,
        title=name,
        summary=kind.summary,
        usage=kind.usage,
        usage_note=kind.usage_note,
        results=results_table(results),
        data=_data_text(sections, recipe, results),
        training=_training_text(folder, recipe),
        limits="\n".join(f"- {limit}" for limit in kind.limits),
        licence=_licence_text(license),
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


def _model(folder: Path, repo_id: str) -> _Kind:
    config = AiTConfig.from_pretrained(folder)
    texts = {name: _task_text(config.task(name)) for name in config.tasks}
    pipeline_tags = [text.pipeline_tag for text in texts.values() if text.pipeline_tag is not None]
    way = "in parallel (AiT-P)" if config.parallel else "one after the other (AiT)"
    tasks = "\n".join(f"- `{name}`: {text.gives}" for name, text in texts.items())
    return _Kind(
        library="transformers",
        tags=["soft-tokens", *config.tasks],
        pipeline_tag=pipeline_tags[0] if pipeline_tags else None,
        summary="An All-in-Tokens model: it reads an image and writes the answer as a sequence of tokens, dense tokens "
        f"{way}. {_size(folder, MODEL_WEIGHTS)}\n\nTasks:\n\n{tasks}",
        usage=_model_usage(config, repo_id),
        usage_note="The code that this runs is in this repository, and is that of `ait_hf`: where `ait_hf` is installed, "
        "`import ait_hf` does without `trust_remote_code`.",
        limits=[*dict.fromkeys(limit for text in texts.values() for limit in text.limits), *_COMMON_LIMITS],
    )


def _tokenizer(folder: Path, repo_id: str) -> _Kind:
    config = read_json(folder / CONFIG)
    return _Kind(
        library="diffusers",
        tags=["vq-vae"],
        pipeline_tag=None,
        summary=f"A tokenizer (VQ-VAE) of All-in-Tokens models for values in the unit `{config['unit']}`: it writes them "
        f"as codes, {config['num_vq_embeddings']} of which there are, and reads codes back. "
        + _size(folder, TOKENIZER_WEIGHTS),
        usage=_tokenizer_usage(config, repo_id),
        usage_note="This needs `ait_hf` to be installed.",
        limits=["What is unlike its training data is restored badly; details smaller than a code are lost."],
    )


_TOKENS = TaskText(gives="a sequence of tokens", result="outputs.sequences[:, 1:]", comment="ids of the vocabulary")


def _task_text(task: AiTTaskConfig) -> TaskText:
    return _TOKENS if task.output_type is None else kind_of_output(task.output_type).text(task)


def _model_usage(config: AiTConfig, repo_id: str) -> str:
    """Code that runs every task of a model on `photo.jpg`, where ait_hf need not be installed."""
    lines = [
        "from PIL import Image, ImageOps",
        "from transformers import AutoImageProcessor, AutoModel",
        "",
        f'name = "{repo_id}"',
        "model = AutoModel.from_pretrained(name, trust_remote_code=True)",
        'image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")',
        "sizes = [(image.height, image.width)]",
    ]
    for name in config.tasks:
        text = _task_text(config.task(name))
        subfolder = f', subfolder="image_processors/{name}"' if len(config.tasks) > 1 else ""
        lines += [
            "",
            f"processor = AutoImageProcessor.from_pretrained(name{subfolder}, trust_remote_code=True)",
        ]
        if text.needs_boxes:
            lines.append(
                "boxes = [[[120, 40, 80, 210]]]  # of every image, of every person: x, y, width, height in pixels"
            )
        boxes = ", boxes=boxes" if text.needs_boxes else ""
        lines += [
            f'outputs = model.generate(**processor(image{boxes}, return_tensors="pt"), task="{name}")',
            f"result = {text.result}",
            f"print(result)  # {text.comment}",
        ]
    return "\n".join(lines)


def _tokenizer_usage(config: dict[str, Any], repo_id: str) -> str:
    """Code that writes a sample as codes and reads it back, for a tokenizer of that `config.json`."""
    class_name = config["_class_name"]
    return "\n".join(
        [
            "import torch",
            "",
            f"from ait_hf import {class_name}",
            "",
            f'tokenizer = {class_name}.from_pretrained("{repo_id}").eval()',
            f"sample = {kind_of_unit(config['unit']).sample_code(config)}",
            "ids = tokenizer.tokenize(sample)  # (1, rows, columns)",
            "restored = tokenizer.detokenize(ids=ids)",
        ]
    )


_HUB_DATA = "hub"  # name of the sections whose `path` is a data set on the Hub
_COMMON_LIMITS = (
    "How it does on images unlike those it was trained on was not measured.",
    "Probabilities and uncertainties are not calibrated.",
)


def _size(folder: Path, stem: str) -> str:
    count = 0
    for name in weight_files(folder, stem):
        with safe_open(folder / name, "pt") as weights:
            for key in weights.keys():  # noqa: SIM118 (it is no dictionary)
                values = 1
                for length in weights.get_slice(key).get_shape():
                    values *= length
                count += values
    return f"Its weights are {count / 1e6:.3g} million numbers, the statistics of its codebooks included."


def _data_sections(recipe: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The recipe's sections of data by task; a tokenizer's one section has no name."""
    if recipe is None:
        return {}
    if "tasks" in recipe:
        return {name: task["data"] for name, task in recipe["tasks"].items()}
    return {"": recipe["data"]}


def _data_name(section: dict[str, Any]) -> str:
    return section["path"] if section["name"] == _HUB_DATA else section["name"]


def _split(recipe: dict[str, Any] | None) -> str | None:
    return None if recipe is None else recipe["evaluation"]["split"]


def _data_text(sections: dict[str, dict[str, Any]], recipe: dict[str, Any] | None, results: list[Result]) -> str:
    if recipe is None:
        return "Not known: the folder had no recipe of a training."
    measured = {result.task: result.num_images for result in results}
    lines = ["| Task | Data | Trained on | Evaluated on |", "|---|---|---|---|"]
    for task, section in sections.items():
        name = _data_name(section)
        number = measured.get(task)
        images = "" if number is None else f", {number} samples"
        lines.append(
            f"| {task or 'reconstruction'} | {name} | {section.get('split', 'train')} | {_split(recipe)}{images} |"
        )
    return "\n".join(lines) + "\n\nThe names are those of the data sections below."


def _training_text(folder: Path, recipe: dict[str, Any] | None) -> str:
    if recipe is None:
        return "Not known: the folder had no recipe of a training."
    steps = recipe["train"]["max_steps"]
    done = f"{steps} steps"
    if (folder / HISTORY).is_file():
        done = f"{read_json(folder / HISTORY)[-1]['step']} of {steps} steps"
    sources = [f"`{recipe['model'][key]}`" for key in _STARTS if recipe["model"].get(key)]
    start = f", from {', '.join(sources)}" if sources else ""
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True).strip()
    return f"By `ait_hf`, {done}{start}.\n\n<details>\n<summary>Recipe</summary>\n\n```yaml\n{text}\n```\n\n</details>"


# Keys of a recipe's section `model` that name trained weights.
_STARTS = ("pretrained", "initialize_from", "backbone")


def _licence_text(license: str | None) -> str:
    weights = "not stated by who published them" if license is None else license
    return f"Of the weights: {weights}. Of the code in this repository and of `ait_hf`: Apache-2.0."
