# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Errors of a model, or of a tokenizer, on ground truth.

    ait evaluate --model runs/demo/aitp --task depth --data synthetic --split test --modes all
    ait evaluate --model DIR --task depth --data my_rgbd/index.json --split val --gallery gallery.png
    ait evaluate --model DIR --task depth --data my_rgbd/index.json --split val --calibrate
    accelerate launch scripts/evaluate.py --model DIR --task depth --data nyu_depth:ROOT --split test \\
        --protocol tta --eigen-crop
    ait evaluate --tokenizer DIR --task depth --data my_rgbd/index.json --split val

    ait evaluate --model DIR --task instance-segmentation --results results.json \\
        --data coco:annotations/instances_val2017.json --images val2017
    ait evaluate --model DIR --task object-detection --data synthetic --split test --limit 200
    ait evaluate --model DIR --task instance-segmentation --data coco:val.json --images images --tile-size 128 --tile-overlap 32
    ait evaluate --tokenizer DIR --task instance-segmentation --data synthetic --split test

    ait evaluate --model DIR --task keypoint-detection --data coco:person_keypoints_val2017.json \\
        --images val2017 --boxes detections.json --flip-test
    ait evaluate --model DIR --task keypoint-detection --data synthetic --split test --limit 200
    ait evaluate --model DIR --task keypoint-detection --data coco:lspet/val.json --images lspet/images --pck-share 0.2

    ait evaluate --model DIR --task semantic-segmentation --data labels:ROOT --split val --ignored-ids 11
    ait evaluate --model DIR --task semantic-segmentation --data ade20k:ROOT --split validation

    ait evaluate --model DIR --task normals --data DIR/recipe.yaml --split test --limit 128
    ait evaluate --tokenizer DIR --task depth --data DIR/recipe.yaml --split validation --limit 64

What a training evaluates is measured alike: with the recipe in its folder, the split and as many examples, the numbers are
those of its history.json. Errors of depth are computed per image at the ground truth's size and averaged over images. Boxes and masks are measured
by COCO's average precision, joints likewise by their similarity (OKS) and by how many are correct (PCK), classes of pixels by mean intersection over
union; all in pixels of the original images. Classes and joints of the model and of the data are paired by name. The
device is Accelerate's choice.
"""

import argparse
from pathlib import Path
from typing import Any

from .arguments import Arguments, Options, add_model, add_tf32, command_parser, positive, seed


TASKS = ("depth", "object-detection", "instance-segmentation", "keypoint-detection", "semantic-segmentation")


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    parser = command_parser(__doc__, prog)
    add_model(parser, required=False)
    parser.add_argument("--tokenizer", metavar="DIR", help="folder of a tokenizer to measure by its reconstructions")
    own = "measure the model's own tokenizer in the same way"
    parser.add_argument("--tokenizer-reconstruction", action="store_true", help=own)
    parser.add_argument("--task", required=True, help=f"what to evaluate: {', '.join(TASKS)}, or one of your own")
    data = "a RECIPE.yaml with data of the task, such as the one in the folder of a training, or the name of one that the "
    data += "package brings: in files, in shards or on the Hub; or synthetic; for depth an index.json, CSV file or folder of "
    data += "RGB-D pairs, or nyu_depth:ROOT; for objects and poses coco:ANNOTATIONS.json; for semantic segmentation "
    data += "labels:ROOT or ade20k:ROOT"
    parser.add_argument("--data", required=True, metavar="DATA", help=data)
    parser.add_argument("--split", help="which part of the data; a file of COCO annotations has none")
    parser.add_argument("--limit", type=int, help="at most so many examples, spread evenly over the split")
    parser.add_argument("--batch-size", type=int, default=8, help="images at a time and process (default: 8)")
    modes = "decode as the checkpoint says, or with every combination of hard and soft tokens"
    parser.add_argument("--modes", choices=("checkpoint", "all"), default="checkpoint", help=modes)
    calibrate = (
        "depth, own maps: fit the temperature of the uncertainty to these examples (of a validation split) and write "
    )
    calibrate += "it into the config.json of --model; depth and codes stay the same"
    parser.add_argument("--calibrate", action="store_true", help=calibrate)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    add_tf32(parser)
    parser.add_argument("--seed", type=seed, default=0, help="of what --do-sample draws; nothing else is random")
    parser.add_argument("--output", type=Path, default=Path("metrics.json"), metavar="FILE.json")
    parser.add_argument("--gallery", type=Path, metavar="FILE.png", help="picture of some predictions")
    add_options(parser, SHARED)
    for group, options, _ in KINDS.values():
        add_options(parser.add_argument_group(group), options)
    return parser.parse_args(arguments)


FLAG, COCO_JSON = {"action": "store_true"}, {"type": Path, "metavar": "FILE.json"}
BY_ORDER = "objects, semantic segmentation: pair classes of the model and of the data by their order, "
BY_ORDER += "as a model without names of its classes needs (default: by name)"
# Options that several kinds of tasks have, though not all.
SHARED = {
    "--images": {"metavar": "DIR", "help": "objects, poses: folder of the images of coco:ANNOTATIONS.json"},
    "--people": FLAG | {"help": "objects, semantic segmentation: synthetic rooms with people in them"},
    "--classes-by-order": FLAG | {"help": BY_ORDER},
    "--results": COCO_JSON | {"help": "objects, poses: write what was found, in COCO's results format"},
}
DEPTH = {
    "--root": {"metavar": "DIR", "help": "where the index's relative paths start (default: at the index)"},
    "--depth-scale": {"type": float, "help": "stored depth per metre, if the index does not say"},
    "--protocol": {
        "choices": ("resize", "tta"),
        "default": "resize",
        "help": "squeeze the image into the model's input, or the published windows and mirroring (default: resize)",
    },
    "--eigen-crop": FLAG | {"help": "count the Eigen crop only, of 480x640 maps or others of that shape"},
    "--min-depth": {"type": float, "default": 1e-3, "help": "metres (default: 0.001)"},
    "--max-depth": {"type": float, "default": 10.0, "help": "metres (default: 10)"},
}
TILE_SIZE = (
    "cut images into square tiles, each measured as an image: objects with at least half of their box in a tile are its own, "
    "cut to it, and what is seen of others neither has to be found nor is wrong"
)
OBJECTS = {
    "--tile-size": {"type": positive(int), "metavar": "PIXELS", "help": TILE_SIZE},
    "--tile-overlap": {"type": int, "metavar": "PIXELS", "help": "of neighbouring tiles, at least (default: 0)"},
    "--num-objects": {"type": int, "help": "objects per image (default: as many as the model has)"},
    "--top-k": {
        "type": int,
        "metavar": "N",
        "help": "count the N likeliest pairs of an object and a class of an image (default: every object once, with its "
        "chosen class, as published)",
    },
    "--box-tolerance": {
        "type": float,
        "metavar": "SHARE",
        "help": "multiply scores by how sure the model is that no side of the box is off by more than this share of its width "
        "or height; 0 for the class alone (default: as the model says)",
    },
    "--do-sample": FLAG | {"help": "draw boxes and classes instead of the likeliest"},
    "--top-p": {"type": float, "help": "draw among the likeliest that have this probability together"},
}
BOXES = "people that a detector found, in COCO's results format (default: the annotated boxes)"
SKELETON = "what the joints are: coco, or a .json file in COCO's format that names them (default: those of the model, or coco)"
PCK_REFERENCE = (
    "joints are correct that are off by at most a share of the distance of these two; people who lack one are not counted "
    "(default: the torso, right_shoulder and left_hip)"
)
POSES = {
    "--boxes": COCO_JSON | {"help": BOXES},
    "--flip-test": FLAG | {"help": "predict people mirrored, too, and average the joints"},
    "--skeleton": {"metavar": "NAME", "help": SKELETON},
    "--pck-reference": {"nargs": 2, "metavar": "JOINT", "help": PCK_REFERENCE},
    "--pck-share": {"type": positive(float), "default": 0.2, "help": "that share (default: 0.2)"},
}
CLASS_IDS = "number of every class in the files, in order, where these do not follow one another"
IGNORED_IDS = "numbers in the files of pixels that do not count (default: 255, unless that is a class's)"
SEMANTICS = {
    "--classes": {"metavar": "FILE", "help": "names of the classes of labels:ROOT (default: those of the model)"},
    "--first-id": {"type": int, "default": 0, "help": "number of the first class in the files (default: 0)"},
    "--class-ids": {"type": int, "nargs": "+", "metavar": "ID", "help": CLASS_IDS},
    "--ignored-ids": {"type": int, "nargs": "*", "metavar": "ID", "help": IGNORED_IDS},
}
NAMED = ("people", "classes_by_order")
# Of every kind of task by its title: how the help calls its tasks, the options that only they have, and those that they share.
KINDS = {
    "depth": ("depth", DEPTH, ()),
    "objects": ("object-detection and instance-segmentation", OBJECTS, ("images", "results", *NAMED)),
    "poses": ("keypoint-detection", POSES, ("images", "results")),
    "semantic segmentation": ("semantic-segmentation", SEMANTICS, NAMED),
    "dense tasks of one's own": (None, {}, ()),  # a recipe says what the data are
}


def add_options(parser: Any, options: dict[str, dict[str, Any]]) -> list[str]:
    """Adds options to a parser or to a group of one; their names."""
    return [parser.add_argument(flag, **arguments).dest for flag, arguments in options.items()]


def foreign_options(kind: str) -> dict[str, Any]:
    """Options that only other kinds of tasks have, with their defaults."""
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser, SHARED)
    own = {name: [*add_options(parser, options), *shared] for name, (_, options, shared) in KINDS.items()}
    others = {option for options in own.values() for option in options}
    return {option: parser.get_default(option) for option in others.difference(own[kind])}
