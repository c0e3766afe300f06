# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Tiny configurations that the tests share."""

import torch

from ait_hf import AiTConfig, AiTForDenseTokenGeneration


TINY_BACKBONE = {
    "model_type": "ait_swinv2",
    "image_size": 96,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 2, 2, 4],
    "window_sizes": [6, 6, 6, 3],
    "shifted_stages": [True, True, False, False],
    "pretrained_window_sizes": [0, 0, 0, 0],
    "drop_path_rate": 0.0,
}


def tiny_config(**changes) -> AiTConfig:
    """A depth model with 9 codes of 20 on 96x96 images; `changes` replace fields."""
    fields = {
        "backbone_config": dict(TINY_BACKBONE),
        "tokenizers": {
            "depth": {
                "base_channels": 2,
                "vq_embed_dim": 12,
                "num_vq_embeddings": 20,
                "num_res_blocks": 1,
                "sample_size": 96,
            }
        },
        "tasks": {
            "depth": {
                "task_id": 2,
                "slots": ["depth"],
                "output_type": "depth",
                "grid_size": [3, 3],
                "image_size": [96, 96],
                "auxiliary_loss": "silog",
            }
        },
        "codebooks": [["mask", 16], ["depth", 20]],
        "num_coordinate_bins": 64,
        "num_classes": 6,
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "num_heads": 4,
        "ffn_dim": 48,
        "dropout": 0.0,
        "drop_path_rate": 0.0,
        "max_position_embeddings": 105,
    }
    return AiTConfig(**(fields | changes))


def mixed_config(**changes) -> AiTConfig:
    """A model with a task that mixes sparse and dense slots: 3 groups of 4 coordinates, a class and 4 codes."""
    tokenizer = {
        "base_channels": 2,
        "vq_embed_dim": 12,
        "num_vq_embeddings": 16,
        "num_res_blocks": 1,
        "sample_size": 32,
        "downsample_ratio": 16,
        "value_range": [0.0, 1.0],
        "unit": "mask",
        "loss_type": "mse",
    }
    tasks = {
        "objects": {
            "task_id": 1,
            "slots": ["coordinate"] * 4 + ["class", "mask"],
            "num_groups": 3,
            "grid_size": [2, 2],
            "image_size": [96, 96],
        }
    }
    return tiny_config(**({"tokenizers": {"mask": tokenizer}, "tasks": tasks} | changes))


def randomized(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model


def clear_model(config: AiTConfig) -> AiTForDenseTokenGeneration:
    """Untrained logits are all alike; these are spread, so that choices are clear and feedback matters."""
    torch.manual_seed(0)
    model = AiTForDenseTokenGeneration(config).eval()
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight.normal_()
        model.model.decoder.embed_special.weight.normal_()
        for tokenizer in model.tokenizers.values():
            tokenizer.quantizer.embedding.weight.normal_()
    return model


@torch.no_grad()
def spread_weights(model: torch.nn.Module) -> None:
    """Random weights so large that outputs differ from image to image; the usual ones are too small for that."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5)
