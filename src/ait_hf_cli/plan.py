# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
How much memory a recipe takes on each GPU, and how many days; or how many hours `ait benchmark paper` has left.

    ait plan ait_swinv2_b_nyu --gpus 8
    ait plan ait_swinv2_l_nyu --gpus 2 --gpu H100 --sharded --json
    ait plan demo_ait --measure
    ait plan --paper runs/paper

GPUs share the recipe's batch sizes, as in training. Neither its data nor the models that it starts from need be there, and no
GPU: operations and memory are counted from shapes. The time follows from an assumed share of the GPU's matrix peak
(--utilisation), which --measure replaces by that of a few steps on this machine's GPU.
"""

from pathlib import Path
from typing import NamedTuple

from .arguments import Arguments, Options, command_parser, recipe


class GPU(NamedTuple):
    """Memory in GB, and dense matrix peaks in TFLOP/s: bf16 and fp16 on tensor cores, float32 without them."""

    memory: float
    half: float
    single: float

    def peak(self, precision: str, tf32: bool) -> float:
        """TFLOP/s of a precision; that of TF32 is half of half precision's."""
        if precision != "no":
            return self.half
        return self.half / 2 if tf32 else self.single


# From the makers' data sheets (SXM boards where there are several), without sparsity.
GPUS = {"A100": GPU(80, 312, 19.5), "H100": GPU(80, 989, 67), "H200": GPU(141, 989, 67), "L40S": GPU(48, 362, 91.6)}


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    parser = command_parser(__doc__, prog)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "recipe", type=recipe, nargs="?", help="YAML file, or the name of a recipe that the package brings"
    )
    what.add_argument(
        "--paper",
        type=Path,
        metavar="DIR",
        help="alone: how long the rest of `ait benchmark paper --output DIR` takes",
    )
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
    if options.paper is not None and vars(options) != vars(parser.parse_args(["--paper", str(options.paper)])):
        parser.error("--paper stands alone: what is left follows from the rows in it")
    if options.gpus < 1 or not 0 < options.utilisation <= 1:
        parser.error("--gpus must be at least 1 and --utilisation above 0 and at most 1.")
    return options
