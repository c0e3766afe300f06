# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Which files of a folder make a checkpoint, and whether they are all there and whole."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub.utils import filter_repo_objects
from safetensors import SafetensorError, safe_open
from transformers.dynamic_module_utils import get_relative_import_files

from ..model.configuration_ait import AiTConfig


CONFIG, GENERATION_CONFIG, PROCESSOR_CONFIG = "config.json", "generation_config.json", "preprocessor_config.json"
HISTORY, RECIPE, METRICS, CARD = "history.json", "recipe.yaml", "metrics.json", "README.md"
MODEL_WEIGHTS, TOKENIZER_WEIGHTS = "model", "diffusion_pytorch_model"
TOKEN_FORMAT = "token_format.json"
TOKENIZER_CLASSES = ("VQTokenizer", "PoseTokenizer")


def checkpoint_files(folder: str | Path, include: Sequence[str] = ()) -> list[str]:
    """
    The files of a saved model or tokenizer: configuration, weights, and of a model also generation configuration, image
    processors, code and its tokenizers; `recipe.yaml` and `history.json` of the run that made it, if there. What else a
    run leaves (`checkpoints/`, `best/`, `logs/`, results) is not among them.

    Args:
        folder (`str` or `Path`): As `training` or [`~ait_hf.hub.remote_code.save_with_remote_code`] left it.
        include (`Sequence[str]`): Patterns of further files, such as `"logs/*"`; `*` also matches `/`.

    Returns:
        `list[str]`: Paths relative to the folder, with `/`.

    Raises:
        FileNotFoundError: The folder or one of the files is missing.
        ValueError: A file is damaged or half-written, it is no checkpoint of this package, or a pattern of `include`
            matches nothing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    if unfinished := sorted(path.name for path in folder.glob(".*.tmp")):
        raise ValueError(
            f"{folder} is being written or was left half-written ({', '.join(unfinished)}): wait for the run, or run it "
            "again to its end."
        )
    files = _tokenizer_files(folder) if is_tokenizer(folder) else _model_files(folder)
    files += [name for name in (RECIPE, HISTORY) if (folder / name).is_file()]
    paths = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    known = {*files, CARD}
    others = [path for path in paths if path not in known]
    for pattern in include:
        if not any(filter_repo_objects(others, allow_patterns=pattern)):
            raise ValueError(f"No further file of {folder} matches {pattern!r}.")
    return files + (list(filter_repo_objects(others, allow_patterns=list(include))) if include else [])


def is_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer, not a model; `FileNotFoundError` or `ValueError` if its `config.json` is
    missing, damaged or that of something else."""
    config = read_json(folder / CONFIG)
    if config.get("_class_name") in TOKENIZER_CLASSES:
        return True
    if config.get("model_type") == AiTConfig.model_type:
        return False
    raise ValueError(f"{folder / CONFIG} is neither that of an AiT model nor that of a tokenizer.")


def weight_files(folder: Path, stem: str) -> list[str]:
    """Names of the weight files `stem.safetensors`, or of the shards that `stem.safetensors.index.json` lists."""
    index = f"{stem}.safetensors.index.json"
    if (folder / index).is_file():
        return sorted(set(read_json(folder / index)["weight_map"].values()))
    return [f"{stem}.safetensors"]


def read_json(path: Path) -> Any:
    """Raises `FileNotFoundError` or `ValueError` that name the file."""
    _check_is_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}.") from error


def _model_files(folder: Path) -> list[str]:
    config = AiTConfig.from_pretrained(folder)
    files = [CONFIG, GENERATION_CONFIG, PROCESSOR_CONFIG]
    if len(config.tasks) > 1:
        files += [f"image_processors/{task}/{PROCESSOR_CONFIG}" for task in config.tasks]
    configs = [read_json(folder / name) for name in files]
    files += _whole_weights(folder, MODEL_WEIGHTS)
    for name in config.tokenizers:
        files += [f"tokenizers/{name}/{file}" for file in _tokenizer_files(folder / "tokenizers" / name)]
    return files + _code(folder, configs)


def _tokenizer_files(folder: Path) -> list[str]:
    _check_is_file(folder / CONFIG)
    files = [CONFIG, *_whole_weights(folder, TOKENIZER_WEIGHTS)]
    if (folder / TOKEN_FORMAT).is_file():  # for other models, with its preprocessing
        files += [TOKEN_FORMAT, PROCESSOR_CONFIG, *_code(folder, [read_json(folder / PROCESSOR_CONFIG)])]
    return files


def _whole_weights(folder: Path, stem: str) -> list[str]:
    files = weight_files(folder, stem)
    for name in files:
        _check_is_file(folder / name)
        try:
            with safe_open(folder / name, "pt"):
                pass  # it compares the header with the size of the file
        except SafetensorError as error:
            raise ValueError(f"{folder / name} is damaged or half-written: {error}.") from error
    index = f"{stem}.safetensors.index.json"
    return [*files, index] if (folder / index).is_file() else files


def _code(folder: Path, configs: list[dict[str, Any]]) -> list[str]:
    """Modules that the `auto_map`s name, with all that they import from the folder."""
    modules = {name.partition(".")[0] for config in configs for name in _strings(config.get("auto_map", {}))}
    if not modules:
        raise ValueError(
            f"{folder} has no code of the model in it: save it by ait_hf.hub.remote_code.save_with_remote_code, so that it "
            "loads where ait_hf is not installed."
        )
    files = {folder / f"{module}.py" for module in modules}
    for path in sorted(files):
        _check_is_file(path)
        try:
            files |= {Path(imported) for imported in get_relative_import_files(path)}
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error.filename} is missing: {path.name} needs it.") from error
    return sorted(path.name for path in files)


def _strings(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, (dict, list)):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from _strings(item)


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: a checkpoint needs it.")
