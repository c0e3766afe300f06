# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A published or own model, trained on one's own images: `ait finetune`."""

import argparse
import logging

from accelerate import PartialState
from transformers.utils.logging import disable_progress_bar

from ..data.pixels import height_and_width
from ..inference.loading import load_config
from ..recipes.from_folder import FineTuning, Section, recipe_values
from ..recipes.parsing import apply_override, build
from ..tasks.kinds import KINDS, kind_of_output
from ..training.solver import SolverRecipe, train_solver


def run(options: argparse.Namespace) -> None:
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ait_hf").setLevel(logging.INFO)
    disable_progress_bar()  # of files; that of the training stays
    given = {name: value for name, value in vars(options).items() if value is not None}
    overrides = given.pop("override")
    with PartialState().main_process_first():
        values = fine_tuning_values(FineTuning(**given))
    for override in overrides:
        apply_override(values, override)
    train_solver(build(SolverRecipe, values))
    PartialState().destroy_process_group()


def fine_tuning_values(request: FineTuning) -> Section:
    """
    The values of a [`~ait_hf.training.solver.SolverRecipe`]. Lists of frames and annotations that are divided into a
    training and a validation part are written to `data/` in the output folder. `OSError` if the model or the data do
    not exist, `ValueError` if the model has no such task, or an argument does not go with it.
    """
    config = load_config(request.model)
    if request.task not in config.tasks:
        raise ValueError(f"{request.model} was not trained for {request.task!r} but for {', '.join(config.tasks)}.")
    declared = config.task(request.task)
    kind = kind_of_output(request.task, declared.output_type)
    foreign = {name for other in KINDS for name in other.finetune_options} - set(kind.finetune_options)
    if given := request.given(*sorted(foreign)):
        raise ValueError(f"{next(iter(given))} has no meaning for {request.task!r}: leave it out.")
    size = declared.image_size if request.image_size is None else height_and_width(tuple(request.image_size))
    task, validation = kind.from_folder(request, config, list(size))
    return recipe_values(request, task, validation)
