# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What [`~ait_hf.commands.evaluate`] does for dense tasks of one's own."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from huggingface_hub.dataclasses import strict
from torch.utils.data import DataLoader, Dataset

from ...data.map_transforms import MapEvalTransform
from ...data.subset import evenly, examples
from ...drawing.picture_files import save_image
from ...inference.generating import decoding_modes
from ...inference.loading import load_model_and_processor
from ...model.tokenization_vq import VQTokenizer
from ...recipes.parsing import build, read_values
from ...recipes.streams import EvalSamples
from .data import AnyMapData
from .drawing import map_gallery
from .evaluation import (
    evaluate_map_tokenizer,
    evaluate_maps,
    map_collator,
    map_gallery_rows,
    task_tokenizer,
)


GALLERY_ROWS = 6


@strict
@dataclass
class _RecipeOfData:
    data: AnyMapData


def read_map_data(path: str | Path, task: str) -> AnyMapData:
    """
    The data section of a task-solver's recipe or of a tokenizer's.

    Args:
        path: YAML file.
        task: Name of the task, if it is the recipe of a task-solver.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has no such section, or no valid one.
    """
    values = read_values(Path(path))
    if "tasks" in values and task not in values["tasks"]:
        raise ValueError(f"{path} has no section tasks.{task}; its tasks are: {', '.join(values['tasks'])}.")
    section = values["tasks"][task] if "tasks" in values else values
    if "data" not in section:
        raise ValueError(f"{path} has no data section: it is no recipe of a training.")
    return build(_RecipeOfData, {"data": section["data"]}).data


def evaluate_map_task(
    options: argparse.Namespace, tokenizer: VQTokenizer | None, accelerator: Accelerator
) -> dict[str, dict[str, float]]:
    """The values of every mode of the model and of every tokenizer, by name; draws the gallery."""
    data = read_map_data(options.data, options.task)
    model = processor = image_size = None
    tokenizers = {}
    if tokenizer is not None:
        _check_data(tokenizer, data, options.tokenizer)
        tokenizers["tokenizer"] = tokenizer
    if options.model is not None:
        model, processor = load_model_and_processor(options.model, options.task, accelerator.device, options.dtype)
        image_size = model.config.task(options.task).image_size
        own = task_tokenizer(model, options.task)
        _check_data(own, data, options.model)
        if options.tokenizer_reconstruction:
            tokenizers["the model's tokenizer"] = own
    samples = _load_samples(data, options)
    loader = accelerator.prepare(DataLoader(samples, batch_size=options.batch_size, collate_fn=map_collator))

    results = {}
    if model is not None:
        modes = decoding_modes(model.config.parallel) if options.modes == "all" else {"as the checkpoint says": {}}
        for mode, settings in modes.items():
            results[mode] = evaluate_maps(
                model, processor, loader, task=options.task, accelerator=accelerator, description=mode, **settings
            )
    for name, measured in tokenizers.items():
        results[name] = evaluate_map_tokenizer(
            measured, loader, image_size=image_size, accelerator=accelerator, description=name
        )
    if accelerator.is_main_process and options.gallery is not None:
        chosen = evenly(samples, GALLERY_ROWS)
        rows = map_gallery_rows(model, processor, [chosen[i] for i in range(len(chosen))], task=options.task)
        save_image(map_gallery(rows, data.unit), options.gallery)
    return results


def _check_data(tokenizer: VQTokenizer, data: AnyMapData, path: str) -> None:
    config = tokenizer.config
    if (config.unit, config.in_channels) != (data.unit, data.num_channels):
        raise ValueError(
            f"The tokenizer of {path} is of {config.in_channels} channel(s) in {config.unit!r}, but the data "
            f"{data.name} are of {data.num_channels} in {data.unit!r}."
        )


def _load_samples(data: AnyMapData, options: argparse.Namespace) -> Sequence | Dataset:
    """Whole samples by number."""
    dataset = examples(data.load(options.split), options.limit)
    return EvalSamples(dataset, MapEvalTransform(data.column, data.unit, data.num_channels))
