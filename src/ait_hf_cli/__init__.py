# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
The console command `ait`. Of every verb, the file of its name here reads the arguments, and the one in `ait_hf.commands` does
what they ask for. Only the latter imports `ait_hf` and torch, so that `--help` and slips of the pen are answered at once.
"""

import logging
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module


VERBS = {
    "train": "a task-solver or a tokenizer, from a recipe",
    "evaluate": "measure a model or a tokenizer on ground truth",
    "predict": "depth, objects, poses, classes or maps of photographs",
    "finetune": "a model on your own images",
    "export": "a model or a tokenizer for ONNX Runtime, OpenVINO or torch.export",
    "convert": "released weights into a folder that AutoModel loads",
    "push": "a model or a tokenizer to the Hugging Face Hub",
    "plan": "memory and days that a recipe takes on GPUs",
    "benchmark": "time and memory of the model's parts",
    "app": "all that a model sees in a photograph, in a browser",
    "demo": "what a small model sees, and how one learns, on rendered rooms",
    "env": "versions and devices, for reports of bugs",
    "tokens": "maps and masks as text for vision-language models, and back",
}

# diffusers imports torchao wherever that is installed; what these log of it then concerns nobody here.
TALKATIVE = ("diffusers.quantizers.torchao.torchao_quantizer", "torch.utils._pytree")


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Runs `ait VERB ...`.

    Args:
        arguments: After `ait`; those of the process by default.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    verbs = "\n".join(f"  {verb:10} {purpose}" for verb, purpose in VERBS.items())
    said = f"All in Tokens: vision tasks as tokens.\n\n{verbs}\n\n`ait VERB --help` says more."
    parser = ArgumentParser(
        "ait", "ait VERB ...    (ait --help lists the verbs)", said, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", metavar="VERB", choices=VERBS, help="what to do, see above")
    verb = parser.parse_args(arguments[:1]).verb
    run(verb, arguments[1:], f"ait {verb}")


def run(verb: str, arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    """
    Runs one verb. What it is given wrongly ends the process with one sentence and status 2.

    Args:
        arguments: Its own; those of the process by default.
        prog: What messages begin with.
    """
    call(verb, "run", import_module(f"{__name__}.{verb}").parse_arguments(arguments, prog), prog)


def call(verb: str, function: str, options: Namespace, prog: str | None) -> None:
    """Calls a function of the verb's file in `ait_hf.commands`, as [`run`] does; in a new process it may be the first."""
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    faults = import_module("ait_hf.recipes.faults")
    faults.command(prog)(getattr(import_module(f"ait_hf.commands.{verb}"), function))(options)


def script(verb: str, prog: str) -> Callable[..., None]:
    """The `main` of a script: what [`run`] does of one verb."""
    return partial(run, verb, prog=prog)
