# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a saved model sees in photographs: `ait predict`."""

import argparse
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import set_seed
from transformers.utils import logging

from ..drawing.page import arrange
from ..drawing.picture_files import save_image
from ..inference.images import find_images, image_height_and_width
from ..inference.loading import load_model, load_processor
from ..inference.runtimes import ExportedTask
from ..model.configuration_ait import AiTConfig
from ..model.image_reading_ait import read_image
from ..tasks.base import Kind
from ..tasks.kinds import KINDS, kind_of_output
from ..training.processes import set_tf32


ALL_TASKS = "all"
OVERVIEW_CELL = 320  # longer side of each picture, pixels


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def generation_settings(options: argparse.Namespace, parallel: bool) -> dict[str, bool | float]:
    """Settings of `generate()` that were chosen; the others are the checkpoint's."""
    if parallel and options.solver is not None:
        raise ValueError("This is a parallel model, which feeds no tokens back: leave out --solver.")
    if options.detokenizer == "hard" and options.temperature is not None:
        raise ValueError("The temperature is that of soft tokens: leave out --temperature or --detokenizer hard.")
    soft = {None: None, "hard": False, "soft": True}
    settings = {"soft_solver": soft[options.solver], "soft_detokenizer": soft[options.detokenizer]}
    settings["soft_temperature"] = options.temperature
    return {name: value for name, value in settings.items() if value is not None}


def chosen_tasks(config: AiTConfig, name: str) -> dict[str, type[Kind]]:
    """The task of that name, or those of the model that write files of different names, and the kind of each."""
    if name != ALL_TASKS:
        if config.task(name).output_type is None:
            raise ValueError(f"The task {name} declares no type of output: there is nothing to write.")
        return {name: kind_of_output(name, config.task(name).output_type)}
    by_files = {}
    for task in sorted(config.tasks, key=lambda task: config.task(task).task_id):
        if (output_type := config.task(task).output_type) is not None:
            kind = kind_of_output(task, output_type)
            by_files[kind if kind.tasks else task] = task, kind  # files of tasks of one's own have the task's name
    return dict(by_files.values())


def lacking_boxes(tasks: Mapping[str, type[Kind]], config: AiTConfig, options: argparse.Namespace) -> list[str]:
    """Of all tasks of a model those that can do nothing without boxes, which are not given; none if there are no others."""
    found = [task for task, kind in tasks.items() if options.boxes is None and kind.needs_boxes(config)]
    return found if len(found) < len(tasks) else []


def check_options(options: argparse.Namespace, kinds: Iterable[type[Kind]]) -> None:
    known = {name for kind in kinds for name in kind.predict_options}
    for name in [name for kind in KINDS for name in kind.predict_options]:
        if getattr(options, name) not in (None, False) and name not in known:
            raise ValueError(f"--{name.replace('_', '-')} has no meaning for the task {options.task}: leave it out.")
    if options.boxes is not None and options.threshold is not None:
        raise ValueError("--threshold is that of people whom the model finds itself: leave out it or --boxes.")


def run(options: argparse.Namespace) -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    set_tf32(options.tf32)
    set_seed(options.seed)
    paths = find_images(options.images)
    if options.runtime is None:
        model = load_model(options.model, options.device or best_device(), options.dtype)
    else:
        model = ExportedTask(options.model, options.runtime)
    tasks = chosen_tasks(model.config, options.task)
    check_options(options, tasks.values())
    left_out = lacking_boxes(tasks, model.config, options)
    tasks = {task: kind for task, kind in tasks.items() if task not in left_out}
    settings = generation_settings(options, model.config.parallel)
    # Every image is decoded once, so that a bad one is found before the work and not in the middle of it.
    sizes = {path: image_height_and_width(read_image(path)) for path in paths}
    writers = {
        task: kind.writer(model, load_processor(options.model, task), task, options, sizes, **settings)
        for task, kind in tasks.items()
    }
    options.output.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(paths), desc="predicting", unit="image") as progress:
        for start in range(0, len(paths), options.batch_size):
            batch = paths[start : start + options.batch_size]
            photographs = {path: read_image(path) for path in batch}
            pictures = {task: write(photographs, options.output) for task, write in writers.items()}
            if options.task == ALL_TASKS:
                for (path, image), *drawn in zip(photographs.items(), *pictures.values()):
                    page = arrange(["image", *pictures], [[np.asarray(image), *drawn]], OVERVIEW_CELL)
                    save_image(page, options.output / f"{path.stem}_all.png")
            progress.update(len(batch))
    print(f"Wrote {', '.join(tasks)} of {len(paths)} image{'s' * (len(paths) > 1)} to {options.output}.")
    if options.task == ALL_TASKS:
        overview = options.output / f"{paths[0].stem if len(paths) == 1 else '*'}_all.png"
        print(f"Side by side: {overview}. What is in the other files: ait predict --help.")
    if left_out:
        print(f"Left out: {', '.join(left_out)}, as the model finds no people itself. Say where they are by --boxes.")
