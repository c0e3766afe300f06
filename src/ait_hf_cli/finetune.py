# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Train a published or own model on your own images, see docs/fine_tuning.md.

    # depth: a folder with images/NAME.jpg and depth/NAME.png (16 bits, millimetres)
    accelerate launch scripts/finetune.py --model runs/ait_swinv2_b_nyu --task depth --data my-rooms --depth-scale 1000 \\
        --output runs/my-rooms

    # objects of your own classes, in COCO's format, training only low-rank adapters
    accelerate launch scripts/finetune.py --model runs/ait_swinv2_b_insseg --task instance-segmentation \\
        --data my-objects --output runs/my-objects --lora 8

    # people, in COCO's format; and maps of a task of your own: a folder with SPLIT/images and SPLIT/maps
    ait finetune --model runs/ait_swinv2_b_pose --task keypoint-detection --data my-people --output runs/my-people
    ait finetune --model runs/normals --task normals --data my-normals --scale 0.00784 --offset -1 --output runs/mine

The same command again goes on where it was. Any key of the recipe that this writes can be overridden,
as in `--override train.save_every=100 model.lora.alpha=8`.
"""

from .arguments import Arguments, Options, add_model, command_parser, seed


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    parser = command_parser(__doc__, prog)
    add_model(parser, what="folder or Hub name of the model to start from")
    parser.add_argument("--task", required=True, help="depth, object-detection, keypoint-detection, ...")
    parser.add_argument("--data", required=True, help="folder, index, COCO json file or Hub name of a data set")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="of the new model")
    parser.add_argument("--images", metavar="FOLDER", help="of the images that the COCO json file names")
    parser.add_argument("--validation", metavar="JSON", help="COCO json file to evaluate on (else: every tenth image)")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="classes of label maps, in order")
    ids = {"type": int, "metavar": "ID"}
    parser.add_argument("--class-ids", **ids, nargs="+", help="of every class in label maps (0, 1, ...)")
    parser.add_argument("--ignored-ids", **ids, nargs="*", help="in label maps, do not count (255)")
    parser.add_argument("--depth-scale", type=float, help="divisor from stored depth to metres")
    parser.add_argument("--scale", type=float, help="values of one's own maps are stored * scale + offset (1)")
    parser.add_argument("--offset", type=float, help="see --scale (0)")
    parser.add_argument("--image-column", help="of shards and data sets of the Hub (image)")
    parser.add_argument("--depth-column", help="of shards and data sets of the Hub (depth)")
    parser.add_argument("--map-column", help="of one's own maps in shards and data sets of the Hub")
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="pixels (the model's)")
    parser.add_argument("--steps", type=int, help="optimiser steps (1000)")
    parser.add_argument("--batch-size", type=int, help="samples a step, which processes share (8)")
    parser.add_argument("--lr", type=float, help="learning rate (1e-4; 1e-3 with --lora)")
    parser.add_argument("--lora", type=int, metavar="RANK", help="train low-rank adapters instead of all weights")
    parser.add_argument("--seed", type=seed, help="of everything (0)")
    values = {"nargs": "+", "metavar": "KEY=VALUE"}
    parser.add_argument("--override", **values, default=[], help="values to replace in the recipe")
    return parser.parse_args(arguments)
