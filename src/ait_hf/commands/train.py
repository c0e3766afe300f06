# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A training from a recipe, of a task-solver or of a tokenizer: `ait train`, or `accelerate launch -m ait_hf.commands.train`."""

import argparse
import logging

from accelerate import PartialState
from transformers.utils.logging import disable_progress_bar

from ait_hf_cli import run as run_command

from ..recipes.parsing import read_values
from ..training.solver import SolverRecipe, read_recipe, train_solver
from ..training.tokenizer import train_tokenizer


def run(options: argparse.Namespace) -> None:
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ait_hf").setLevel(logging.INFO)
    disable_progress_bar()  # of files; that of the training stays
    overrides = options.overrides + ([] if options.seed is None else [f"seed={options.seed}"])
    overrides += [] if options.push_to_hub is None else [f"hub.repo_id={options.push_to_hub}"]
    recipe = read_recipe(read_values(options.recipe, overrides))
    if isinstance(recipe, SolverRecipe):
        train_solver(recipe)
    else:
        train_tokenizer(recipe)
    PartialState().destroy_process_group()


if __name__ == "__main__":
    run_command("train", prog="train.py")
