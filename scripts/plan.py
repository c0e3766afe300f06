# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
How much memory a recipe takes on each GPU, and how many days.

    python scripts/plan.py scripts/recipes/ait_swinv2_b_nyu.yaml --gpus 8
    python scripts/plan.py scripts/recipes/ait_swinv2_l_nyu.yaml --gpus 2 --gpu H100 --sharded --json
    python scripts/plan.py scripts/recipes/demo_ait.yaml --measure

GPUs share the recipe's batch sizes, as in training. Neither its data nor the models that it starts from need be there, and no
GPU: operations and memory are counted from shapes. The time follows from an assumed share of the GPU's matrix peak
(--utilisation), which --measure replaces by that of a few steps on this machine's GPU.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from ait_hf.recipes.faults import command
from ait_hf.recipes.parsing import apply_override, read_values
from ait_hf.training.planning import GPUS, Plan, count_costs, make_plan, measure, read_recipe


@command("plan.py")
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to replace in the recipe")
    parser.add_argument("--gpus", type=int, default=1, help="how many")
    parser.add_argument("--gpu", choices=GPUS, default="A100", help="which (A100)")
    parser.add_argument("--gpu-memory", type=float, metavar="GB", help="of each, instead of the GPU's usual")
    parser.add_argument("--utilisation", type=float, default=0.35, help="share of the matrix peak, 0 to 1 (0.35)")
    parser.add_argument("--precision", choices=("no", "fp16", "bf16"), help="instead of the recipe's")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--sharded", action="store_true", help="FSDP instead of DDP")
    parser.add_argument("--measure", action="store_true", help="also time a few steps on this machine's device")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    options = parser.parse_args(arguments)
    if options.gpus < 1 or not 0 < options.utilisation <= 1:
        parser.error("--gpus must be at least 1 and --utilisation above 0 and at most 1.")
    gpu = GPUS[options.gpu]
    if options.gpu_memory is not None:
        gpu = dataclasses.replace(gpu, memory=options.gpu_memory)
    values = read_values(options.recipe)
    for override in options.overrides:
        apply_override(values, override)
    recipe = read_recipe(values)
    plan = make_plan(
        recipe,
        count_costs(recipe, options.recipe.parent, options.precision),
        num_gpus=options.gpus,
        gpu=gpu,
        utilisation=options.utilisation,
        sharded=options.sharded,
        steps=options.steps,
    )
    measured = measure(recipe, options.recipe.parent, options.precision) if options.measure else None
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


if __name__ == "__main__":
    main()
