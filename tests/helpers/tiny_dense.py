# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A tiny untrained model of every kind of dense task, and labels for it."""

import torch
from tiny import spread_weights, tiny_config

from ait_hf import AiTConfig, AiTForDenseTokenGeneration


KEYPOINTS, SEMANTICS, LABELS, NORMALS = "keypoint-detection", "semantic-segmentation", "labels", "normals"
SIZE = 96
NUM_JOINTS = 5
CLASSES = range(2, 6)  # of the model's six
_VQ = {"base_channels": 2, "vq_embed_dim": 12, "num_res_blocks": 1, "downsample_ratio": 32, "sample_size": SIZE}

TOKENIZERS = {
    "pose": {
        "tokenizer_type": "pose",
        "num_joints": NUM_JOINTS,
        "num_tokens": 4,
        "num_vq_embeddings": 24,
        "vq_embed_dim": 12,
        "hidden_size": 16,
        "encoder_layers": 1,
        "token_mlp_dim": 8,
        "channel_mlp_dim": 16,
        "decoder_hidden_size": 8,
        "decoder_token_mlp_dim": 8,
        "decoder_channel_mlp_dim": 8,
        "sample_size": SIZE // 2,  # poses scale with the crop
    },
    "segment": _VQ | {"num_vq_embeddings": 14, "value_range": [0.0, 1.0], "unit": "mask", "loss_type": "mse"},
    "labels": _VQ
    | {"num_vq_embeddings": 10, "in_channels": 4, "out_channels": 4, "unit": "class", "loss_type": "cross_entropy"},
    "normals": _VQ | {"num_vq_embeddings": 12, "in_channels": 3, "out_channels": 3, "unit": "unit_vector"},
}
TASKS = {
    KEYPOINTS: {
        "task_id": 3,
        "slots": ["pose"],
        "output_type": "pose",
        "grid_size": [1, 4],
        "auxiliary_loss": "smooth_l1",
    },
    SEMANTICS: {
        "task_id": 4,
        "slots": ["class", "segment"],
        "output_type": "semantic",
        "grid_size": [3, 3],
        "num_groups": 3,
        "class_range": [CLASSES.start, CLASSES.stop],
        "auxiliary_loss": "dice_mse",
    },
    LABELS: {
        "task_id": 0,
        "slots": ["labels"],
        "output_type": "label_map",
        "grid_size": [3, 3],
        "class_range": [CLASSES.start, CLASSES.stop],
        "auxiliary_loss": "cross_entropy",
    },
    NORMALS: {
        "task_id": 5,
        "slots": ["normals"],
        "output_type": "map",
        "grid_size": [3, 3],
        "auxiliary_loss": "smooth_l1",
    },
}


def dense_config(tasks: tuple[str, ...] = tuple(TASKS), settings: dict | None = None, **changes) -> AiTConfig:
    """`settings` replace fields of all the tasks, `changes` those of the configuration."""
    declared = {name: {"image_size": [SIZE, SIZE], **TASKS[name], **(settings or {})} for name in tasks}
    tokenizers = {task["slots"][-1]: TOKENIZERS[task["slots"][-1]] for task in declared.values()}
    codebooks = [[name, arguments["num_vq_embeddings"]] for name, arguments in tokenizers.items()]
    return tiny_config(
        tokenizers=tokenizers, tasks=declared, **({"codebooks": codebooks, "num_task_ids": 6} | changes)
    )


def dense_model(config: AiTConfig, model_class=AiTForDenseTokenGeneration) -> AiTForDenseTokenGeneration:
    """In evaluation mode, its weights so large that its outputs differ from image to image."""
    torch.manual_seed(0)
    model = model_class(config).eval()
    spread_weights(model)
    with torch.no_grad():
        model.lm_head.weight.mul_(3)
        for tokenizer in model.tokenizers.values():
            tokenizer.quantizer.embedding.weight.normal_()
    return model


def dense_labels(task: str, batch_size: int = 2) -> torch.Tensor:
    """Random annotations of a task, some of them unknown."""
    generator = torch.Generator().manual_seed(1)
    if task == KEYPOINTS:
        poses = torch.rand(batch_size, NUM_JOINTS, 3, generator=generator) * (SIZE // 2)
        poses[..., 2] = 2
        poses[:, 0] = 0
        return poses
    if task == NORMALS:
        maps = torch.randn(batch_size, 3, SIZE, SIZE, generator=generator)
        maps = maps / maps.norm(dim=1, keepdim=True)
        maps[:, :, :10] = 0
        return maps
    blocks = torch.randint(CLASSES.start, CLASSES.stop, (batch_size, 3, 3), generator=generator)
    labels = blocks.repeat_interleave(32, 1).repeat_interleave(32, 2)
    labels[:, :5] = 255
    return labels
