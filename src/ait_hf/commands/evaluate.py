# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Errors of a model, or of a tokenizer, on ground truth: `ait evaluate`."""

import json
import logging as std_logging
import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import diffusers
from accelerate import Accelerator
from transformers import set_seed
from transformers.utils import logging

from ait_hf_cli import script
from ait_hf_cli.evaluate import foreign_options
from ait_hf_cli.models import shipped_models
from ait_hf_cli.recipes import shipped_recipes

from ..data.pixels import height_and_width
from ..data.rooms.depth import EVALUATION_EXAMPLES
from ..data.tables import evenly
from ..data.writing import write_text
from ..drawing.picture_files import save_image
from ..hub.remote_code import save_tasks
from ..inference.generating import decoding_modes
from ..inference.loading import CONFIG, load_config, load_model_and_processor, load_processor, load_tokenizer
from ..metrics.measuring import evaluating
from ..model.objectives_ait import Tokenizer
from ..recipes.parsing import as_section, build, read_values
from ..recipes.streams import DataRecipe, EvaluationRecipe, evaluation_batches
from ..tasks.base import SYNTHETIC, Kind, pair_split
from ..tasks.kinds import check_unit, kind_of, kind_of_output
from ..training.processes import set_tf32
from ..training.tokenizer import AnyTokenizerData, evaluate_reconstructions


logger = std_logging.getLogger(__name__)

GALLERY_ROWS = 6
Results = dict[str, dict[str, float]]
Section = tuple[dict[str, Any], str]  # data of a recipe, and the name of its task; none for a tokenizer


def check_options(options: Namespace, kind: type[Kind], foreign: dict[str, Any]) -> None:
    """`foreign`: options of other kinds of tasks, with their defaults."""
    for name, default in foreign.items():
        if getattr(options, name) != default:
            raise ValueError(f"{_written([name])} has no meaning for {kind.title}: leave it out.")
    all_modes, no_model = options.modes == "all", options.model is None
    needs_model = options.gallery or options.tokenizer_reconstruction or all_modes
    is_writable = not no_model and Path(options.model, CONFIG).is_file() and os.access(options.model, os.W_OK)
    smallest = min(number for number in (options.batch_size, options.limit) if number is not None)
    for message, is_wrong in {
        "There is nothing to evaluate: give --model, --tokenizer or both.": no_model and options.tokenizer is None,
        "A tokenizer has no classes to pair: leave out --classes-by-order.": no_model and options.classes_by_order,
        "--gallery, --tokenizer-reconstruction and --modes all need --model.": no_model and needs_model,
        "--calibrate needs --model, and fits one mode: leave out --modes all.": options.calibrate
        and (no_model or all_modes),
        f"--calibrate fits the uncertainty of a map, which {options.task} does not have: leave it out.": options.calibrate
        and not kind.gives_uncertainty,
        f"--calibrate changes the config.json of a saved model: {options.model} is no folder with one to write into.": (
            options.calibrate and not is_writable
        ),
        f"--calibrate would change the model that the package brings: copy {options.model} and give the copy.": (
            options.calibrate and not no_model and Path(options.model) in shipped_models().values()
        ),
        "One file holds the results of one mode: leave out --results or --modes all.": options.results and all_modes,
        "--batch-size and --limit must be at least 1.": smallest < 1,
    }.items():
        if is_wrong:
            raise ValueError(message)
    for path in (options.output, options.gallery, options.results):
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"The folder of {path} does not exist: create it first.")
        if path is not None and path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: give the name of a file in it.")
    if options.model is not None:
        check_task(options, kind)
    check_data(options, kind)
    kind.check_options(options)


def check_task(options: Namespace, kind: type[Kind]) -> None:
    """`ValueError` unless the model has the task (another name is more likely a slip than a task of one's own), and puts out
    what is measured under that name."""
    output_type = load_config(options.model).task(options.task).output_type
    given = None if output_type is None else kind_of_output(options.task, output_type)
    if given is not kind:
        what = "nothing that can be measured" if given is None else given.title
        found = f"{options.task} of {options.model} gives {what}"
        raise ValueError(f"{found}, but a task of that name is of {kind.title}.")


def check_data(options: Namespace, kind: type[Kind]) -> None:
    """`ValueError` unless `--data` is a recipe or one of the kind's short forms, and other options go with it."""
    is_synthetic = options.data == SYNTHETIC
    given = None
    if not is_recipe(options.data):
        given = next((form for start, form in kind.short_forms.items() if form.means(start, options.data)), None)
        if given is None:
            if not kind.short_forms:
                raise ValueError(
                    f"{options.task!r} is a dense task of one's own, whose data are those of a recipe: give --data "
                    "RECIPE.yaml, such as the recipe.yaml in the folder of a training."
                )
            *forms, last = (form.written for form in kind.short_forms.values())
            forms = f"{', '.join(forms)} or {last}, or the data of a RECIPE.yaml"
            raise ValueError(f"What {kind.title} can be evaluated on is {forms}, but not on {options.data}.")
    for form in kind.short_forms.values():
        if form is not given and any(getattr(options, name) not in (None, False) for name in form.options):
            names = _written(form.options)
            goes = "goes" if len(form.options) == 1 else "go"
            raise ValueError(f"{names} {goes} with {form.written}: for {options.data} leave out {names}.")
    for name, message in given.required.items() if given else ():
        if getattr(options, name) is None:
            raise ValueError(message)
    if given is None or given.has_splits:
        if options.split is None:
            raise ValueError(f"Give the --split of the {'synthetic rooms' if is_synthetic else 'data'} to evaluate.")
    elif options.split is not None:
        raise ValueError("A file of COCO annotations is one split: leave out --split.")
    if is_synthetic and options.split == "train" and options.limit is None:
        raise ValueError("Synthetic training rooms have no end: give --limit.")


def _written(names: Sequence[str]) -> str:
    *first, last = (f"--{name.replace('_', '-')}" for name in names)
    return f"{', '.join(first)} and {last}" if first else last


def is_recipe(data: str) -> bool:
    return Path(data).suffix in (".yaml", ".yml") or data in shipped_recipes()


@as_section
class _RecipeOfData:
    data: AnyTokenizerData

    def validate_unit(self):
        check_unit(self.data, "data")


def read_section(path: Path, task: str) -> tuple[dict[str, Any], str]:
    """The keys of a task-solver's section of the task, or of a tokenizer's recipe, and the section's name."""
    values, section = read_values(path), ""
    if "tasks" in values:
        if task not in values["tasks"]:
            raise ValueError(f"{path} has no section tasks.{task}; its tasks are: {', '.join(values['tasks'])}.")
        values, section = values["tasks"][task], f"tasks.{task}"
    if "data" not in values:
        raise ValueError(f"{path} has no data section: it is no recipe of a training.")
    return values, section


def part_of(data: DataRecipe, options: Namespace) -> EvaluationRecipe:
    """What of the data is measured."""
    num_samples = options.limit
    if num_samples is None and options.data == SYNTHETIC:
        num_samples = EVALUATION_EXAMPLES
    if num_samples is None and data.is_endless:
        raise ValueError(f"The data {data.name} have no end: give --limit.")
    split = data.split if options.split is None else options.split
    return EvaluationRecipe(split=split, num_samples=num_samples, batch_size=options.batch_size)


def measure(
    kind: type[Kind], options: Namespace, recipe: Section | None, tokenizer: Tokenizer | None, accelerator: Accelerator
) -> Results:
    """The values of every mode of the model and of every tokenizer, by name; draws the gallery, and writes what is
    calibrated into the model's folder."""
    model = processor = classes = None
    tokenizers = {} if tokenizer is None else {"tokenizer": tokenizer}
    settings, names = {}, [] if tokenizer is None else kind.names_of_tokenizer(tokenizer.config)
    if options.model is not None:
        model, processor = load_model_and_processor(options.model, options.task, accelerator.device, options.dtype)
        declared, names = model.config.task(options.task), kind.names_of_model(model.config, options.task)
        settings = kind.prediction_settings(options, declared)
        if options.tokenizer_reconstruction:
            tokenizers["the model's tokenizer"] = model.task_tokenizer(options.task)
    size = height_and_width(tokenizer.config.sample_size if model is None else declared.image_size)
    if recipe is None:
        data = {"batch_size": 1, **kind.short_data(options, list(size), names)}
        task = build(kind, {"name": options.task, "data": data})
    else:
        data, section = recipe
        task = build(kind, {"name": options.task, "data": data}, section)
        check_unit(task.data, f"{section}.data".lstrip("."))
    part = part_of(task.data, options)
    rows = task.data.examples(part.split, part.num_samples)

    results, measuring = {}, {"accelerator": accelerator, **settings, **kind.measuring_settings(options)}
    if model is not None:
        pairing = {"option": "--classes-by-order", "by_order": options.classes_by_order}
        classes, warnings = pair_split(task, part.split, model.config, options.model, **pairing)
        for warning in warnings if accelerator.is_main_process else ():
            logger.warning(warning)
        batches = task.batches(rows, processor, accelerator, part.batch_size)
        modes = decoding_modes(model.config.parallel) if options.modes == "all" else {"as the checkpoint says": {}}
        fitted = {}
        if options.calibrate:
            fitted = task.calibrate(model, processor, batches, accelerator=accelerator, description="calibration")
            model.config.tasks[options.task]["entropy_temperature"] = fitted["entropy_temperature"]
        for mode, decoding in modes.items():
            how = {**measuring, "description": mode, **decoding}
            results[mode] = task.evaluate(model, processor, batches, part, classes, **how) | fitted
    for name, measured in tokenizers.items():
        how = {**measuring, "description": name, "processor": processor}
        how |= {"image_size": task.data.image_size if model is None else size}
        results[name] = task.evaluate_tokenizer(measured, rows, part, classes, **how)
    if accelerator.is_main_process and options.gallery is not None:
        drawn = list(evenly(rows, GALLERY_ROWS))
        save_image(task.gallery(model, processor, drawn, classes, **settings), options.gallery)
    if accelerator.is_main_process and options.calibrate:
        folder = Path(options.model)
        save_tasks(model, [load_processor(folder, name) for name in model.config.tasks], folder)
        values = "entropy_temperature {entropy_temperature:.4g} (a true code has {code_nll:.4g} nats, then {code_nll_calibrated:.4g})"
        print(f"Wrote {values.format(**fitted)} of {options.task} into {folder / CONFIG}.")
    return results


def measure_as_trained(
    options: Namespace, section: dict[str, Any], tokenizer: Tokenizer, accelerator: Accelerator
) -> Results:
    """The values of a tokenizer on the data of a tokenizer's recipe, as its training measures them."""
    data = build(_RecipeOfData, {"data": section}).data
    if data.unit != tokenizer.config.unit:
        raise ValueError(
            f"The tokenizer of {options.tokenizer} is of {tokenizer.config.unit!r}, but the data {data.name} are in "
            f"{data.unit!r}."
        )
    part = part_of(data, options)
    how = {"split": part.split, "num_samples": part.num_samples, "batch_size": part.batch_size, "num_workers": 0}
    loader = evaluation_batches(data.stream(), accelerator, **how)
    with evaluating(tokenizer):
        return {"tokenizer": evaluate_reconstructions(tokenizer, loader, data, accelerator)}


def table(results: Results, columns: Sequence[str]) -> str:
    columns = [name for name in columns if any(name in result for result in results.values())]
    lines = [["", *columns]]
    for mode, result in results.items():
        lines.append([mode, *(f"{result[name]:.4g}" if name in result else "" for name in columns)])
    first, *widths = (max(map(len, column)) for column in zip(*lines))
    return "\n".join("  ".join([name.ljust(first), *map(str.rjust, cells, widths)]) for name, *cells in lines)


def run(options: Namespace) -> None:
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
    recipe = None
    if is_recipe(options.data):
        values, section = read_section(Path(options.data), options.task)
        recipe = values["data"], section
    if options.model is None and recipe is not None and not recipe[1]:
        results = measure_as_trained(options, recipe[0], tokenizer, accelerator)
    else:
        results = measure(kind, options, recipe, tokenizer, accelerator)
    if accelerator.is_main_process:
        files = ("output", "gallery", "results")
        asked = {name: value for name, value in vars(options).items() if name not in (*foreign, *files)}
        write_text(options.output, json.dumps(asked | {"results": results}, indent=2, default=str) + "\n")
        print(table(results, kind.columns))
        print(f"Wrote {options.output}.")
    accelerator.end_training()


main = script("evaluate", "evaluate.py")
