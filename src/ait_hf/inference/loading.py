# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Saved models and tokenizers, in a folder or on the Hub: loaded whole, or refused in a sentence that names them."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from huggingface_hub.errors import HTTPError, StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoImageProcessor

from ..model.configuration_ait import AiTConfig
from ..model.image_processing_ait import AiTImageProcessor
from ..model.modeling_ait import TOKENIZER_CLASSES, AiTForDenseTokenGeneration
from ..model.tokenization_base import TokenizerBase


CONFIG, EXPORT = "config.json", "export.json"
MODEL, TOKENIZER, EXPORTED = "a saved AiT model", "a saved tokenizer", "an exported AiT model"
# What libraries raise for files that are missing, damaged or of something else, and for a Hub that cannot be asked.
LOADING_ERRORS = (OSError, ValueError, SafetensorError, StrictDataclassError, HTTPError)
_HUB_NAME = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?")
_LONGEST_REASON = 300  # characters; some libraries list all that they know

Solver = TypeVar("Solver", bound=AiTForDenseTokenGeneration)


@contextmanager
def loading(source: str | Path, what: str, file: str = CONFIG) -> Iterator[None]:
    """Libraries may load `what` from `source`, a folder with such a `file` or a name on the Hub, inside: their
    errors become a `ValueError` that names both. `FileNotFoundError` or `NotADirectoryError` if it is neither."""
    path = Path(source)
    if path.is_dir():
        if not (path / file).is_file():
            raise FileNotFoundError(f"{path / file} does not exist: give the folder of {what}.")
    elif path.exists():
        raise NotADirectoryError(f"{path} is a file: give the folder of {what}.")
    elif isinstance(source, Path) or not _HUB_NAME.fullmatch(source):
        raise FileNotFoundError(f"{path} does not exist: give the folder of {what}.")
    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"The weights in {source} are truncated or damaged ({error}): copy them again.") from error
    except LOADING_ERRORS as error:
        where = "" if path.is_dir() else "there is no such folder, and on the Hub: "
        cause = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
        reason = " ".join(str(cause).split())
        reason = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]} ..."
        raise ValueError(f"{source} cannot be loaded as {what}: {where}{reason}") from error


def load_config(source: str | Path) -> AiTConfig:
    """The configuration of a saved model; errors as of [`load_solver`]."""
    with loading(source, MODEL):
        return AiTConfig.from_pretrained(source)


def load_solver(source: str | Path, kind: type[Solver] = AiTForDenseTokenGeneration, **arguments) -> Solver:
    """A saved model in evaluation mode, all of whose weights are there and fit: from a folder or by its Hub name, of
    the class `kind`, with `arguments` of `from_pretrained`.

    Raises:
        FileNotFoundError: The folder or a file in it is missing.
        ValueError: It holds another architecture, or a damaged, incomplete or exported checkpoint.
    """
    load_config(source)
    if (Path(source) / EXPORT).is_file():
        raise ValueError(f"{source} is {EXPORTED}, without weights for torch: `ait predict --runtime` runs it.")
    with loading(source, MODEL):
        arguments |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # refused below, with names
        model, report = kind.from_pretrained(source, **arguments)
    _check_report(source, report, ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model


def load_model_and_processor(
    folder: str | Path, task: str = "depth", device: str | torch.device = "cpu", dtype: str | torch.dtype = "float32"
) -> tuple[AiTForDenseTokenGeneration, AiTImageProcessor]:
    """Load a saved model, ready to predict, and the image processor of the task: that in `image_processors/TASK`,
    where a model of several tasks has one for each, or else the one beside the model.

    Args:
        folder (`str` or `Path`): As [`~ait_hf.hub.remote_code.save_with_remote_code`] or `save_pretrained` wrote it.
        task (`str`): A task that the model has to have.
        device (`str` or `torch.device`): Where to put the model.
        dtype (`str` or `torch.dtype`): Of its weights; the codebook stays float32.

    Raises:
        FileNotFoundError, ValueError: As [`load_solver`], or the model does not have the task.
    """
    processor = load_processor(folder, task)  # sooner refused than weights are read
    return load_model(folder, device, dtype), processor


def load_model(
    folder: str | Path, device: str | torch.device = "cpu", dtype: str | torch.dtype = "float32"
) -> AiTForDenseTokenGeneration:
    """The model alone, as [`load_model_and_processor`] loads it."""
    return load_solver(Path(folder), dtype=dtype).to(device)


def load_processor(folder: str | Path, task: str) -> AiTImageProcessor:
    """The image processor of a task of a saved model, as of [`load_model_and_processor`], with its errors."""
    load_config(Path(folder)).task(task)
    own = Path(folder) / "image_processors" / task
    processor_folder = own if own.is_dir() else Path(folder)
    if not (file := processor_folder / "preprocessor_config.json").is_file():
        raise FileNotFoundError(f"{file} does not exist: give the folder of {MODEL}.")
    with loading(Path(folder), MODEL):
        processor = AutoImageProcessor.from_pretrained(processor_folder)
        if not isinstance(processor, AiTImageProcessor):
            raise ValueError(f"{file} is that of a {type(processor).__name__}.")
        return processor


def load_tokenizer(
    source: str | Path, kinds: Sequence[type[TokenizerBase]] = tuple(TOKENIZER_CLASSES.values())
) -> TokenizerBase:
    """A saved tokenizer of one of the classes `kinds`, in evaluation mode; `source` and errors as of
    [`load_solver`]."""
    names = {kind.__name__: kind for kind in kinds}
    what = f"a saved {kinds[0].__name__}" if len(kinds) == 1 else TOKENIZER
    with loading(source, what):
        name = TokenizerBase.load_config(source).get("_class_name")
    if name not in names:
        raise ValueError(f"{source} is not that of a {' or '.join(names)}, but of {name or 'something else'}.")
    with loading(source, what):
        tokenizer, report = names[name].from_pretrained(source, use_safetensors=True, output_loading_info=True)
    _check_report(source, report, ("missing_keys", "unexpected_keys"))
    return tokenizer.eval()


def _check_report(source: str | Path, report: dict[str, Sequence], problems: Sequence[str]) -> None:
    for problem in problems:
        if keys := sorted(map(str, report[problem])):
            raise ValueError(
                f"The checkpoint in {source} does not fit its config.json: {len(keys)} {problem.replace('_', ' ')}, "
                f"first {keys[0]}."
            )
