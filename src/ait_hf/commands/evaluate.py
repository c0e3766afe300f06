# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Errors of a model, or of a tokenizer, on ground truth: `ait evaluate`."""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import diffusers
from accelerate import Accelerator
from transformers import set_seed
from transformers.utils import logging

from ait_hf_cli import run as run_command
from ait_hf_cli.evaluate import foreign_options

from ..data.writing import write_text
from ..inference.loading import load_tokenizer
from ..tasks.base import Kind
from ..tasks.kinds import kind_of
from ..training.precision import set_tf32


Results = dict[str, dict[str, float]]


def check_options(options: argparse.Namespace, kind: type[Kind], foreign: dict[str, Any]) -> None:
    """`foreign`: options of other kinds of tasks, with their defaults."""
    for name, default in foreign.items():
        if getattr(options, name) != default:
            raise ValueError(f"--{name.replace('_', '-')} has no meaning for {kind.title}: leave it out.")
    if options.model is None and options.tokenizer is None:
        raise ValueError("There is nothing to evaluate: give --model, --tokenizer or both.")
    if options.model is None and options.classes_by_order:
        raise ValueError("A tokenizer has no classes to pair: leave out --classes-by-order.")
    if options.model is None and (options.gallery or options.tokenizer_reconstruction or options.modes == "all"):
        raise ValueError("--gallery, --tokenizer-reconstruction and --modes all need --model.")
    if options.batch_size < 1 or (options.limit is not None and options.limit < 1):
        raise ValueError("--batch-size and --limit must be at least 1.")
    for path in (options.output, options.gallery, options.results):
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"The folder of {path} does not exist: create it first.")
        if path is not None and path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: give the name of a file in it.")
    kind.check_options(options)


def table(results: Results, columns: Sequence[str]) -> str:
    columns = [name for name in columns if any(name in result for result in results.values())]
    lines = [["", *columns]]
    for mode, result in results.items():
        lines.append([mode, *(f"{result[name]:.4g}" if name in result else "" for name in columns)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(line, widths)))
        for line in lines
    )


def run(options: argparse.Namespace) -> None:
    for library in (logging, diffusers.utils.logging, datasets.utils.logging):
        library.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    accelerator = Accelerator()
    set_tf32(options.tf32)
    set_seed(options.seed)
    kind = kind_of(options.task)
    foreign = foreign_options(kind.title)
    check_options(options, kind, foreign)
    tokenizer = None
    if options.tokenizer is not None:
        tokenizer = load_tokenizer(Path(options.tokenizer), [kind.tokenizer_class]).to(accelerator.device)
        if kind.units and tokenizer.config.unit not in kind.units:
            raise ValueError(
                f"The tokenizer of {options.tokenizer} is of {tokenizer.config.unit!r}, but {options.task} needs one of "
                f"{' or '.join(map(repr, kind.units))}."
            )
    results = kind.evaluate_command(options, tokenizer, accelerator)
    if accelerator.is_main_process:
        files = ("output", "gallery", "results")
        asked = {name: value for name, value in vars(options).items() if name not in (*foreign, *files)}
        write_text(options.output, json.dumps(asked | {"results": results}, indent=2, default=str) + "\n")
        print(table(results, kind.columns))
        print(f"Wrote {options.output}.")
    accelerator.end_training()


main = partial(run_command, "evaluate", prog="evaluate.py")
