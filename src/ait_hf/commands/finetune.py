# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A published or own model, trained on one's own images: `ait finetune`."""

import argparse
import dataclasses
import logging

from accelerate import PartialState

from ..recipes.from_folder import FineTuning, fine_tuning_values
from ..recipes.parsing import apply_override, build
from ..training.solver import SolverRecipe, train_solver


def run(options: argparse.Namespace) -> None:
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ait_hf").setLevel(logging.INFO)
    given = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(FineTuning)
        if getattr(options, field.name) is not None
    }
    with PartialState().main_process_first():
        values = fine_tuning_values(FineTuning(**given))
    for override in options.override:
        apply_override(values, override)
    train_solver(build(SolverRecipe, values))
