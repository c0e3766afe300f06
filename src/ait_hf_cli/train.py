# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Trains from a recipe: an AiT or AiT-P model for one task or several, if it has `tasks`, or else a tokenizer, which a model
needs first.

    # random rooms, minutes on a laptop: a depth tokenizer, and models on top of it and of demo_mask_tokenizer.yaml
    ait train scripts/recipes/demo_tokenizer.yaml
    ait train scripts/recipes/demo_ait.yaml
    ait train scripts/recipes/demo_joint.yaml

    # your own frames: a folder with rgb/ and depth/, an index.json or a CSV file
    ait train scripts/recipes/sample_rgbd_tokenizer.yaml data.index=FOLDER output_dir=runs/my-tokenizer
    accelerate launch scripts/train.py scripts/recipes/sample_rgbd_aitp.yaml \\
        tasks.depth.data.index=FOLDER tasks.depth.tokenizer=runs/my-tokenizer output_dir=runs/mine

    # the published tokenizer and model on NYU Depth v2, on 8 GPUs
    accelerate launch --num_processes 8 scripts/train.py scripts/recipes/tokenizer_depth_nyu.yaml data.root=NYU_FOLDER
    accelerate launch --num_processes 8 scripts/train.py scripts/recipes/ait_swinv2_b_nyu.yaml \\
        tasks.depth.data.root=NYU_FOLDER tasks.depth.tokenizer=runs/tokenizer_depth_nyu \\
        model.backbone=SIMMIM_FOLDER

    # masks, then objects of random rooms, or your own in COCO's format: from nothing (a small model) or from a detector,
    # as published. Poses likewise, with tokenizer_pose_coco.yaml
    ait train scripts/recipes/demo_mask_tokenizer.yaml
    ait train scripts/recipes/rooms_insseg_aitp.yaml
    accelerate launch scripts/train.py scripts/recipes/tokenizer_mask_coco.yaml \\
        data.train.annotations=TRAIN.json data.train.images=FOLDER \\
        data.validation.annotations=VALIDATION.json data.validation.images=FOLDER
    accelerate launch scripts/train.py scripts/recipes/sample_coco_aitp.yaml \\
        tasks.instance-segmentation.data.train.annotations=TRAIN.json \\
        tasks.instance-segmentation.data.train.images=FOLDER output_dir=runs/mine model.config.num_classes=CLASSES
    accelerate launch --num_processes 8 scripts/train.py scripts/recipes/ait_swinv2_b_insseg.yaml \\
        tasks.instance-segmentation.data.train.annotations=TRAIN.json \\
        tasks.instance-segmentation.data.train.images=FOLDER \\
        tasks.instance-segmentation.data.validation.annotations=VALIDATION.json \\
        tasks.instance-segmentation.data.validation.images=FOLDER \\
        model.config.num_classes=CLASSES

    # label maps (a class per pixel) or masks of single classes, for semantic segmentation; maps of your own
    # (docs/new_task.md)
    ait train scripts/recipes/rooms_label_tokenizer.yaml
    ait train scripts/recipes/rooms_class_mask_tokenizer.yaml
    ait train scripts/recipes/rooms_normals_tokenizer.yaml

    # two processes without a GPU
    ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 --num_machines 1 \\
        scripts/train.py scripts/recipes/demo_joint.yaml

Without a clone, `accelerate launch -m ait_hf.commands.train` does the same. What the data say (channels, classes, joints,
unit, size) need not be said again in model.config. Processes share the batch_size of each task, whatever their number. Any key
of the recipe can be overridden, as in `train.max_steps=100 optimizer.lr=1e-3 model.config.d_model=64`.
The same command again goes on from the newest checkpoint in output_dir, if `train.save_every` is set.
"""

import argparse
from collections.abc import Sequence

from .arguments import command_parser, seed


def parse_arguments(arguments: Sequence[str] | None, prog: str | None) -> argparse.Namespace:
    parser = command_parser(__doc__, prog)
    parser.add_argument("recipe", help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to replace in the recipe")
    parser.add_argument("--seed", type=seed, help="same as seed=SEED")
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="same as hub.repo_id=USER/NAME: publish the result")
    return parser.parse_args(arguments)
