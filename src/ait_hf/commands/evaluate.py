# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Errors of a model, or of a tokenizer, on ground truth.

    python scripts/evaluate.py --model runs/demo/aitp --task depth --data synthetic --split test --modes all
    python scripts/evaluate.py --model DIR --task depth --data my_rgbd/index.json --split val --gallery gallery.png
    accelerate launch scripts/evaluate.py --model DIR --task depth --data nyu_depth:ROOT --split test \\
        --protocol tta --eigen-crop
    python scripts/evaluate.py --tokenizer DIR --task depth --data my_rgbd/index.json --split val

    python scripts/evaluate.py --model DIR --task instance-segmentation --results results.json \\
        --data coco:annotations/instances_val2017.json --images val2017
    python scripts/evaluate.py --model DIR --task object-detection --data synthetic --split test --limit 200
    python scripts/evaluate.py --tokenizer DIR --task instance-segmentation --data synthetic --split test

    python scripts/evaluate.py --model DIR --task keypoint-detection --data coco:person_keypoints_val2017.json \\
        --images val2017 --boxes detections.json --flip-test
    python scripts/evaluate.py --model DIR --task keypoint-detection --data synthetic --split test --limit 200

    python scripts/evaluate.py --model DIR --task semantic-segmentation --data labels:ROOT --split val --ignored-ids 11
    python scripts/evaluate.py --model DIR --task semantic-segmentation --data ade20k:ROOT --split validation

    python scripts/evaluate.py --model DIR --task normals --data DIR/recipe.yaml --split test --limit 128

Errors of depth are computed per image at the ground truth's size and averaged over images. Boxes and masks are measured
by COCO's average precision, joints likewise by their similarity (OKS), classes of pixels by mean intersection over
union; all in pixels of the original images. Classes and joints of the model and of the data are paired by name. The
device is Accelerate's choice.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import diffusers
from accelerate import Accelerator
from transformers import set_seed
from transformers.utils import logging

from ..data.writing import write_text
from ..inference.loading import load_tokenizer
from ..inference.objects import OBJECT_TASKS
from ..inference.poses import POSE_TASK
from ..model.tokenization_pose import PoseTokenizer
from ..model.tokenization_vq import VQTokenizer
from ..recipes.arguments import seed
from ..recipes.faults import command
from ..tasks.depth.command import DEPTH_COLUMNS, add_depth_arguments, check_depth_options, evaluate_depth_task
from ..tasks.depth.prediction import DEPTH_TASK
from ..tasks.maps.command import MAP_COLUMNS, add_map_arguments, check_map_options, evaluate_map_task
from ..tasks.objects.command import (
    OBJECT_COLUMNS,
    add_object_arguments,
    check_object_options,
    evaluate_object_task,
)
from ..tasks.poses.command import POSE_COLUMNS, add_pose_arguments, check_pose_options, evaluate_pose_task
from ..tasks.semantics.command import (
    SEMANTIC_COLUMNS,
    add_semantic_arguments,
    check_semantic_options,
    evaluate_semantic_task,
)
from ..tasks.semantics.prediction import SEMANTIC_TASK
from ..training.precision import set_tf32


Results = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Kind:
    """
    What the tasks of one kind have of their own: options, their checks, the evaluation, columns of the table, and the
    class of their tokenizers. `shared` are options for several kinds, though not for all; `units` what their tokenizers
    are in, if that is known.
    """

    name: str
    tasks: Sequence[str]
    add_arguments: Callable[[argparse.ArgumentParser], list[str]]
    check_options: Callable[[argparse.Namespace], None]
    evaluate: Callable[[argparse.Namespace, VQTokenizer | PoseTokenizer | None, Accelerator], Results]
    columns: Sequence[str]
    shared: Sequence[str] = ()
    units: Sequence[str] = ()
    tokenizer_class: type = VQTokenizer


DEPTH = Kind(
    "depth",
    (DEPTH_TASK,),
    add_depth_arguments,
    check_depth_options,
    evaluate_depth_task,
    DEPTH_COLUMNS,
    units=("metre",),
)
OBJECTS = Kind(
    "objects",
    OBJECT_TASKS,
    add_object_arguments,
    check_object_options,
    evaluate_object_task,
    OBJECT_COLUMNS,
    shared=("images", "results", "people", "classes_by_order"),
    units=("mask",),
)
POSES = Kind(
    "poses",
    (POSE_TASK,),
    add_pose_arguments,
    check_pose_options,
    evaluate_pose_task,
    POSE_COLUMNS,
    shared=("images", "results"),
    units=("pixel",),
    tokenizer_class=PoseTokenizer,
)
SEMANTICS = Kind(
    "semantic segmentation",
    (SEMANTIC_TASK,),
    add_semantic_arguments,
    check_semantic_options,
    evaluate_semantic_task,
    SEMANTIC_COLUMNS,
    shared=("people", "classes_by_order"),
    units=("class", "mask"),
)
MAPS = Kind("dense tasks of one's own", (), add_map_arguments, check_map_options, evaluate_map_task, MAP_COLUMNS)
KINDS = (DEPTH, OBJECTS, POSES, SEMANTICS, MAPS)
TASKS = tuple(task for kind in KINDS for task in kind.tasks)


def kind_of(task: str) -> Kind:
    """Every other name is that of a dense task of one's own."""
    return next((kind for kind in KINDS if task in kind.tasks), MAPS)


def make_parser() -> tuple[argparse.ArgumentParser, dict[Kind, list[str]]]:
    """The parser, and the names of the options that only one kind of task has."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", metavar="DIR", help="folder of a saved model")
    parser.add_argument("--tokenizer", metavar="DIR", help="folder of a tokenizer to measure by its reconstructions")
    parser.add_argument(
        "--tokenizer-reconstruction", action="store_true", help="measure the model's own tokenizer in the same way"
    )
    parser.add_argument("--task", required=True, help=f"what to evaluate: {', '.join(TASKS)}, or one of your own")
    parser.add_argument(
        "--data",
        required=True,
        metavar="DATA",
        help="synthetic; for depth an index.json, CSV file or folder of RGB-D pairs, or nyu_depth:ROOT; for objects "
        "and poses coco:ANNOTATIONS.json; for semantic segmentation labels:ROOT or ade20k:ROOT; for a task of your own a RECIPE.yaml",
    )
    parser.add_argument("--split", help="which part of the data; a file of COCO annotations has none")
    parser.add_argument("--limit", type=int, help="at most so many images, spread evenly over the split")
    parser.add_argument("--batch-size", type=int, default=8, help="images at a time and process (default: 8)")
    parser.add_argument(
        "--modes",
        choices=("checkpoint", "all"),
        default="checkpoint",
        help="decode as the checkpoint says, or with every combination of hard and soft tokens",
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument(
        "--tf32",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="round products of float32 matrices to TF32 on a GPU that has it (default: yes)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of what --do-sample draws; nothing else is random")
    parser.add_argument("--output", type=Path, default=Path("metrics.json"), metavar="FILE.json")
    parser.add_argument("--gallery", type=Path, metavar="FILE.png", help="picture of some predictions")
    parser.add_argument(
        "--images", metavar="DIR", help="objects, poses: folder of the images of coco:ANNOTATIONS.json"
    )
    parser.add_argument(
        "--people", action="store_true", help="objects, semantic segmentation: synthetic rooms with people in them"
    )
    parser.add_argument(
        "--classes-by-order",
        action="store_true",
        help="objects, semantic segmentation: pair classes of the model and of the data by their order, as a model without "
        "names of its classes needs (default: by name)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE.json",
        help="objects, poses: write what was found, in COCO's results format",
    )
    return parser, {kind: [*kind.add_arguments(parser), *kind.shared] for kind in KINDS}


def check_options(options: argparse.Namespace, kind: Kind, foreign: dict[str, Any]) -> None:
    """`foreign`: options of other kinds of tasks, with their defaults."""
    for name, default in foreign.items():
        if getattr(options, name) != default:
            raise ValueError(f"--{name.replace('_', '-')} has no meaning for {kind.name}: leave it out.")
    if options.model is None and options.tokenizer is None:
        raise ValueError("There is nothing to evaluate: give --model, --tokenizer or both.")
    if options.model is None and options.classes_by_order:
        raise ValueError("A tokenizer has no classes to pair: leave out --classes-by-order.")
    if options.model is None and (options.gallery or options.tokenizer_reconstruction or options.modes == "all"):
        raise ValueError("--gallery, --tokenizer-reconstruction and --modes all need --model.")
    if options.batch_size < 1 or (options.limit is not None and options.limit < 1):
        raise ValueError("--batch-size and --limit must be at least 1.")
    for path in (options.output, options.gallery, options.results):
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"The folder of {path} does not exist: create it first.")
        if path is not None and path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: give the name of a file in it.")
    kind.check_options(options)


def table(results: Results, columns: Sequence[str]) -> str:
    columns = [name for name in columns if any(name in result for result in results.values())]
    lines = [["", *columns]]
    for mode, result in results.items():
        lines.append([mode, *(f"{result[name]:.4g}" if name in result else "" for name in columns)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(line, widths)))
        for line in lines
    )


@command("evaluate.py")
def main(arguments: list[str] | None = None) -> None:
    parser, own = make_parser()
    options = parser.parse_args(arguments)
    for library in (logging, diffusers.utils.logging, datasets.utils.logging):
        library.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    accelerator = Accelerator()
    set_tf32(options.tf32)
    set_seed(options.seed)
    kind = kind_of(options.task)
    others = {name for names in own.values() for name in names}
    foreign = {name: parser.get_default(name) for name in others.difference(own[kind])}
    check_options(options, kind, foreign)
    tokenizer = None
    if options.tokenizer is not None:
        tokenizer = load_tokenizer(Path(options.tokenizer), [kind.tokenizer_class]).to(accelerator.device)
        if kind.units and tokenizer.config.unit not in kind.units:
            raise ValueError(
                f"The tokenizer of {options.tokenizer} is of {tokenizer.config.unit!r}, but {options.task} needs one of "
                f"{' or '.join(map(repr, kind.units))}."
            )
    results = kind.evaluate(options, tokenizer, accelerator)
    if accelerator.is_main_process:
        files = ("output", "gallery", "results")
        asked = {name: value for name, value in vars(options).items() if name not in (*foreign, *files)}
        write_text(options.output, json.dumps(asked | {"results": results}, indent=2, default=str) + "\n")
        print(table(results, kind.columns))
        print(f"Wrote {options.output}.")
    accelerator.end_training()
