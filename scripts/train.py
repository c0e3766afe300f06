# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Trains an AiT or AiT-P depth model from a recipe, on top of a trained tokenizer (see train_tokenizer.py).

    # random rooms, minutes on a laptop
    accelerate launch scripts/train.py scripts/recipes/demo_ait.yaml
    accelerate launch scripts/train.py scripts/recipes/demo_aitp.yaml

    # your own frames: a folder with rgb/ and depth/, an index.json or a CSV file
    accelerate launch scripts/train.py scripts/recipes/sample_rgbd_aitp.yaml data.index=FOLDER output_dir=runs/mine

    # the published model on NYU Depth v2, on 8 GPUs
    accelerate launch --num_processes 8 scripts/train.py scripts/recipes/ait_swinv2_b_nyu.yaml \
        data.root=NYU_FOLDER model.tokenizer=runs/tokenizer_depth_nyu model.backbone=SIMMIM_FOLDER train.batch_size=3

    # two processes without a GPU
    ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 --num_machines 1 \
        scripts/train.py scripts/recipes/demo_aitp.yaml train.batch_size=16

Any key of the recipe can be overridden, as in `train.max_steps=100 optimizer.lr=1e-3 model.config.d_model=64`.
The same command again goes on from the newest checkpoint in output_dir, if `train.save_every` is set.
"""

from ait_hf.training.command import run_recipe
from ait_hf.training.solver import SolverRecipe, train_solver


if __name__ == "__main__":
    run_recipe(__doc__, SolverRecipe, train_solver)
