# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Trains a tokenizer of depth maps or of object masks from a recipe.

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

    # two processes without a GPU
    ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 --num_machines 1 \
        scripts/train_tokenizer.py scripts/recipes/demo_tokenizer.yaml data.batch_size=16

Any key of the recipe can be overridden, as in `train.max_steps=100 optimizer.lr=1e-3 model.config.downsample_ratio=16`.
The same command again goes on from the newest checkpoint in output_dir, if `train.save_every` is set.
"""

from ait_hf.training.command import run_recipe
from ait_hf.training.tokenizer import TokenizerRecipe, train_tokenizer


if __name__ == "__main__":
    run_recipe(__doc__, TokenizerRecipe, train_tokenizer)
