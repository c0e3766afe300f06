# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A task of a model, or a tokenizer, for other runtimes: `ait export`."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from transformers import BaseImageProcessor, PreTrainedConfig, set_seed
from transformers.utils import logging

from ..data.writing import write_folder
from ..hub.files import is_tokenizer
from ..inference.export import Component, check_parity, export, model_component, task_config, tokenizer_components
from ..inference.loading import load_model_and_processor, load_tokenizer
from ..inference.runtimes import check_packages


def run(options: argparse.Namespace) -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if options.output.exists() and not options.overwrite:
        raise FileExistsError(f"{options.output} exists: choose another folder or pass --overwrite.")
    check_packages(options.format)
    components, *beside = of_tokenizer(options) if is_tokenizer(Path(options.model)) else of_model(options)
    set_seed(0)  # of what the graph is tried on
    differences = []

    def write(folder):
        exported = export(components, options.format, options.int8)
        exported.save_pretrained(folder)
        for part in beside:
            part.save_pretrained(folder)
        differences.append(check_parity(components, folder, options.int8))

    write_folder(options.output, write)
    size = sum(path.stat().st_size for path in options.output.iterdir()) / 1e6
    (worst,) = differences
    measured = f"on average {worst:.1%} of the largest number" if options.int8 else f"at most {worst:.0e} of the range"
    print(f"Wrote {size:.1f} MB to {options.output}: what it gives differs from the model's by {measured}.")


def of_model(options: argparse.Namespace) -> tuple[Mapping[str, Component], PreTrainedConfig, BaseImageProcessor]:
    """The graph of a task, and what lies beside it."""
    if options.task is None:
        raise ValueError(f"{options.model} is a model: say which --task of it to export.")
    model, processor = load_model_and_processor(options.model, options.task)
    return {"model": model_component(model, options.task)}, task_config(model, options.task), processor


def of_tokenizer(options: argparse.Namespace) -> tuple[Mapping[str, Component]]:
    """The graphs of a tokenizer."""
    if options.task is not None:
        raise ValueError(f"{options.model} is a tokenizer, which has no tasks: leave out --task.")
    if options.int8:
        raise ValueError(f"{options.model} is a tokenizer, whose ids eight bits would change: leave out --int8.")
    return (tokenizer_components(load_tokenizer(options.model)),)
