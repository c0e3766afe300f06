# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Trains an AiT or AiT-P model from a recipe, for one task or several, on top of trained tokenizers (see
train_tokenizer.py).

    # random rooms, minutes on a laptop
    accelerate launch scripts/train.py scripts/recipes/demo_ait.yaml
    accelerate launch scripts/train.py scripts/recipes/demo_joint.yaml

    # your own frames: a folder with rgb/ and depth/, an index.json or a CSV file
    accelerate launch scripts/train.py scripts/recipes/sample_rgbd_aitp.yaml \
        tasks.depth.data.index=FOLDER output_dir=runs/mine

    # the published model on NYU Depth v2, on 8 GPUs
    accelerate launch --num_processes 8 scripts/train.py scripts/recipes/ait_swinv2_b_nyu.yaml \
        tasks.depth.data.root=NYU_FOLDER tasks.depth.tokenizer=runs/tokenizer_depth_nyu \
        model.backbone=SIMMIM_FOLDER

    # objects of random rooms, on top of recipes/demo_mask_tokenizer.yaml
    accelerate launch scripts/train.py scripts/recipes/rooms_insseg_aitp.yaml

    # your own objects in COCO's format, from nothing (a small model) or from a detector, as published
    accelerate launch scripts/train.py scripts/recipes/sample_coco_aitp.yaml \
        tasks.instance-segmentation.data.train.annotations=TRAIN.json \
        tasks.instance-segmentation.data.train.images=FOLDER output_dir=runs/mine model.config.num_classes=CLASSES
    accelerate launch --num_processes 8 scripts/train.py scripts/recipes/ait_swinv2_b_insseg.yaml \
        tasks.instance-segmentation.data.train.annotations=TRAIN.json \
        tasks.instance-segmentation.data.train.images=FOLDER \
        tasks.instance-segmentation.data.validation.annotations=VALIDATION.json \
        tasks.instance-segmentation.data.validation.images=FOLDER \
        model.config.num_classes=CLASSES

    # two processes without a GPU
    ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 --num_machines 1 \
        scripts/train.py scripts/recipes/demo_joint.yaml

Processes share the batch_size of each task, whatever their number. Any key of the recipe can be overridden, as in `train.max_steps=100 optimizer.lr=1e-3 model.config.d_model=64`.
The same command again goes on from the newest checkpoint in output_dir, if `train.save_every` is set.
"""

from ait_hf.commands.recipe import run_recipe
from ait_hf.recipes.faults import command
from ait_hf.training.solver import SolverRecipe, train_solver


@command("train.py")
def main(arguments: list[str] | None = None) -> None:
    run_recipe(__doc__, SolverRecipe, train_solver, arguments)


if __name__ == "__main__":
    main()
