# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How much memory a recipe takes on each GPU, and how many days: `ait plan`."""

import argparse
import dataclasses
import json

from ait_hf_cli.recipes import find_recipe

from ..recipes.parsing import read_values
from ..training.planning import GPUS, Plan, count_costs, make_plan, measure, read_recipe


def run(options: argparse.Namespace) -> None:
    gpu = GPUS[options.gpu]
    if options.gpu_memory is not None:
        gpu = dataclasses.replace(gpu, memory=options.gpu_memory)
    recipe, folder = read_recipe(read_values(options.recipe, options.overrides)), find_recipe(options.recipe).parent
    plan = make_plan(
        recipe,
        count_costs(recipe, folder, options.precision),
        num_gpus=options.gpus,
        gpu=gpu,
        utilisation=options.utilisation,
        sharded=options.sharded,
        steps=options.steps,
    )
    measured = measure(recipe, folder, options.precision) if options.measure else None
    if options.json:
        print(json.dumps({**dataclasses.asdict(plan), "measured": measured}, indent=1))
    else:
        print_plan(plan, options.gpus, options.gpu, gpu.memory, measured)


def print_plan(plan: Plan, num_gpus: int, gpu: str, memory: float, measured: dict[str, float] | None) -> None:
    samples = ", ".join(f"{count} of {name}" for name, count in plan.samples_per_gpu.items())
    print(f"{plan.parameters / 1e6:.1f} M parameters, {plan.trainable_parameters / 1e6:.1f} M of them trained")
    print(f"{num_gpus} x {gpu}, samples per GPU and forward: {samples}")
    for name, size in plan.memory.items():
        print(f"  {name:18} {size:7.2f} GB")
    print(f"  {'of':18} {memory:7.2f} GB: {'fits' if plan.fits else 'does not fit'}")
    source = "an assumed" if measured is None else "a measured"
    print(
        f"{plan.flops_per_step / 1e12:.2f} TFLOP and {plan.kernels_per_step:.0f} kernels a step: "
        f"{plan.seconds_per_step:.3f} s at {source} {plan.utilisation:.0%} of the matrix peak, {plan.days:.2f} days in all"
    )
    if measured is not None:
        print("On this machine: " + ", ".join(f"{name} {value:.4g}" for name, value in measured.items()))
