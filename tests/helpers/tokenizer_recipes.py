# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Recipes of tiny tokenizers of every kind of data."""

import json
from pathlib import Path

from ait_hf.recipes.parsing import load_recipe
from ait_hf.training.tokenizer import TokenizerRecipe


TINY_MAP = {"downsample_ratio": 8, "base_channels": 8, "num_res_blocks": 1, "num_vq_embeddings": 16, "vq_embed_dim": 8}
TINY_POSE = {"num_tokens": 4, "num_vq_embeddings": 16, "vq_embed_dim": 8, "hidden_size": 16, "encoder_layers": 1}
SIZE = {"size": [32, 32], "batch_size": 4}
DATA = {
    "pose": {"name": "synthetic_poses", **SIZE, "num_images": 4, "transform": {"image_size": 32}},
    "label_map": {"name": "synthetic_labels", **SIZE, "num_rooms": 4, "transform": {"image_size": 32}},
    "class_mask": {"name": "synthetic_class_masks", **SIZE, "mask_size": 16, "transform": {"image_size": 32}},
    "normals": {"name": "synthetic_normals", **SIZE, "num_rooms": 4, "transform": {"crop_size": 32}},
    "map": {
        "name": "map_folder",
        "path": "nowhere",
        "unit": "reflectance",
        "num_channels": 2,
        "batch_size": 4,
        "transform": {"crop_size": 32},
    },
}


def recipe(kind: str, folder: Path, *overrides: str) -> TokenizerRecipe:
    config = TINY_POSE if kind == "pose" else TINY_MAP
    values = [
        f"data={json.dumps(DATA[kind])}",
        f"model={json.dumps({'config': config})}",
        f"output_dir={folder}",
        "mask_augmentation={}",
        "train={max_steps: 4, trackers: [], log_every: 2, eval_every: 2}",
        "evaluation={split: validation, num_samples: 3, batch_size: 2}",
        *overrides,
    ]
    return load_recipe("demo_tokenizer", TokenizerRecipe, values)
