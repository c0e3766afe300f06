# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How much memory a recipe takes on each GPU, and how many days: `ait plan`."""

import argparse
import dataclasses
import json

from ait_hf_cli.plan import GPUS
from ait_hf_cli.recipes import find_recipe

from ..benchmarks.paper.report import read_rows
from ..benchmarks.paper.runs import NUM_SEEDS, runs_of, said_left
from ..benchmarks.paper.tables import TABLES
from ..benchmarks.planning import make_plan, measure
from ..recipes.parsing import read_values
from ..training.solver import read_recipe


def run(options: argparse.Namespace) -> None:
    if options.paper is not None:
        minutes = read_rows(options.paper)[0]["budget_minutes"]
        print(said_left(runs_of(TABLES, NUM_SEEDS, output=options.paper, minutes=minutes)))
        return
    gpu = GPUS[options.gpu]
    if options.gpu_memory is not None:
        gpu = gpu._replace(memory=options.gpu_memory)
    recipe, folder = read_recipe(read_values(options.recipe, options.overrides)), find_recipe(options.recipe).parent
    recipe.train.mixed_precision = options.precision or recipe.train.mixed_precision
    recipe.train.max_steps = options.steps or recipe.train.max_steps
    measured = measure(recipe, folder) if options.measure else None
    share = options.utilisation if measured is None else measured["share_of_peak"]
    plan = make_plan(recipe, folder, num_gpus=options.gpus, gpu=gpu, utilisation=share, sharded=options.sharded)
    if options.json:
        print(json.dumps({**dataclasses.asdict(plan), "measured": measured}, indent=1))
        return
    samples = ", ".join(f"{count} of {name}" for name, count in plan.samples_per_gpu.items())
    print(f"{plan.parameters / 1e6:.1f} M parameters, {plan.trainable_parameters / 1e6:.1f} M of them trained")
    print(f"{options.gpus} x {options.gpu}, samples per GPU and forward: {samples}")
    for name, size in plan.memory.items():
        print(f"  {name:18} {size:7.2f} GB")
    print(f"  {'of':18} {gpu.memory:7.2f} GB: {'fits' if plan.fits else 'does not fit'}")
    source = "an assumed" if measured is None else "a measured"
    print(
        f"{plan.flops_per_step / 1e12:.2f} TFLOP and {plan.kernels_per_step:.0f} kernels a step: "
        f"{plan.seconds_per_step:.3f} s at {source} {plan.utilisation:.0%} of the matrix peak, {plan.days:.2f} days in all"
    )
    if measured is not None:
        print("On this machine: " + ", ".join(f"{name} {value:.4g}" for name, value in measured.items()))
