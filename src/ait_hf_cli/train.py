# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Trains from a recipe: an AiT or AiT-P model for one task or several, if it has `tasks`, or else a tokenizer, which a model
needs first. `--list` shows the recipes that the package brings: of the published models, of rendered rooms, and of small sets
of your own.

    # random rooms, minutes on a laptop: a depth tokenizer, and a model on top of it
    ait train demo_tokenizer
    ait train demo_ait

    # your own frames: a folder with rgb/ and depth/, an index.json or a CSV file
    ait train sample_rgbd_tokenizer data.index=FOLDER output_dir=runs/my-tokenizer
    accelerate launch scripts/train.py sample_rgbd_aitp \\
        tasks.depth.data.index=FOLDER tasks.depth.tokenizer=runs/my-tokenizer output_dir=runs/mine

    # the published tokenizer and model on NYU Depth v2, on 8 GPUs
    accelerate launch --num_processes 8 scripts/train.py tokenizer_depth_nyu data.root=NYU_FOLDER
    accelerate launch --num_processes 8 scripts/train.py ait_swinv2_b_nyu tasks.depth.data.root=NYU_FOLDER \\
        tasks.depth.tokenizer=runs/tokenizer_depth_nyu model.backbone=SIMMIM_FOLDER

    # objects in COCO's format; poses and classes likewise
    accelerate launch scripts/train.py sample_coco_aitp model.config.num_classes=CLASSES output_dir=runs/mine \\
        "tasks.instance-segmentation.data.train={annotations: TRAIN.json, images: FOLDER}"

    # two processes without a GPU
    ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 --num_machines 1 scripts/train.py demo_joint

Without a clone, `accelerate launch -m ait_hf.commands.train` does the same. What the data say (channels, classes, joints,
unit, size) need not be said again in model.config. Processes share the batch_size of each task, whatever their number. Any key
of the recipe can be overridden, as in `train.max_steps=100 optimizer.lr=1e-3 model.config.d_model=64`.
The same command again goes on from the newest checkpoint in output_dir, if `train.save_every` is set.
"""

import argparse

from .arguments import Arguments, Options, command_parser, recipe, seed
from .recipes import recipe_list


class ListAction(argparse.Action):
    """Prints the shipped recipes and ends, whatever else is given or missing."""

    def __call__(self, parser, *_):
        print(recipe_list())
        parser.exit()


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    parser = command_parser(__doc__, prog)
    parser.add_argument("recipe", type=recipe, help="YAML file, or the name of a recipe that the package brings")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to replace in the recipe")
    parser.add_argument("--list", action=ListAction, nargs=0, help="print the recipes that the package brings")
    parser.add_argument("--seed", type=seed, help="same as seed=SEED")
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="same as hub.repo_id=USER/NAME: publish the result")
    return parser.parse_intermixed_args(arguments)
