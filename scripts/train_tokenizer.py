# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Trains a tokenizer from a recipe: of depth, masks, label maps, poses, or any other map.

    # random rooms, minutes on a laptop
    python scripts/train_tokenizer.py scripts/recipes/demo_tokenizer.yaml

    # your own frames: a folder with rgb/ and depth/, an index.json or a CSV file
    python scripts/train_tokenizer.py scripts/recipes/sample_rgbd_tokenizer.yaml data.index=FOLDER output_dir=runs/mine

    # masks of the objects in random rooms, or in COCO's format
    python scripts/train_tokenizer.py scripts/recipes/demo_mask_tokenizer.yaml
    accelerate launch scripts/train_tokenizer.py scripts/recipes/tokenizer_mask_coco.yaml \
        data.train.annotations=TRAIN.json data.train.images=FOLDER \
        data.validation.annotations=VALIDATION.json data.validation.images=FOLDER

    # the published depth tokenizer on NYU Depth v2
    accelerate launch scripts/train_tokenizer.py scripts/recipes/tokenizer_depth_nyu.yaml data.root=NYU_FOLDER

    # poses of people in random rooms, or the published pose tokenizer on COCO's
    python scripts/train_tokenizer.py scripts/recipes/rooms_pose_tokenizer.yaml
    accelerate launch scripts/train_tokenizer.py scripts/recipes/tokenizer_pose_coco.yaml \
        data.train.annotations=TRAIN.json data.train.images=FOLDER \
        data.validation.annotations=VALIDATION.json data.validation.images=FOLDER

    # label maps (a class per pixel) or masks of single classes of random rooms, for semantic segmentation
    python scripts/train_tokenizer.py scripts/recipes/rooms_label_tokenizer.yaml
    python scripts/train_tokenizer.py scripts/recipes/rooms_class_mask_tokenizer.yaml

    # surface normals, as any map of your own (docs/new_task.md)
    python scripts/train_tokenizer.py scripts/recipes/rooms_normals_tokenizer.yaml

    # two processes without a GPU
    ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 --num_machines 1 \
        scripts/train_tokenizer.py scripts/recipes/demo_tokenizer.yaml

What the data say (channels, classes, joints, unit, size) need not be said again in model.config.
Processes share the batch_size, whatever their number. Any key of the recipe can be overridden, as in `train.max_steps=100 optimizer.lr=1e-3 model.config.downsample_ratio=16`.
The same command again goes on from the newest checkpoint in output_dir, if `train.save_every` is set.
"""

from ait_hf.commands.recipe import run_recipe
from ait_hf.recipes.faults import command
from ait_hf.training.tokenizer import TokenizerRecipe, train_tokenizer


@command("train_tokenizer.py")
def main(arguments: list[str] | None = None) -> None:
    run_recipe(__doc__, TokenizerRecipe, train_tokenizer, arguments)


if __name__ == "__main__":
    main()
