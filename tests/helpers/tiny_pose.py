# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A tiny untrained pose model, whose poses differ between crops, and people to try it on."""

from typing import Any

import numpy as np
import torch
from tiny import spread_weights, tiny_config
from tiny_objects import object_config

from ait_hf import AiTConfig, AiTForPoseEstimation
from ait_hf.data.skeletons import COCO_SKELETON
from ait_hf.model.image_processing_pose_ait import AiTPoseImageProcessor


POSES = "keypoint-detection"
SIDE = 64  # of crops, pixels
NUM_JOINTS = len(COCO_SKELETON.joints)
POSE_TOKENIZER = {
    "tokenizer_type": "pose",
    "num_tokens": 4,
    "num_vq_embeddings": 20,
    "vq_embed_dim": 12,
    "hidden_size": 16,
    "encoder_layers": 1,
    "decoder_hidden_size": 16,
    "sample_size": SIDE,
}
POSE_TASK = {
    "task_id": 3,
    "slots": ["pose"],
    "output_type": "pose",
    "grid_size": [1, 4],
    "image_size": [SIDE, SIDE],
    "auxiliary_loss": "smooth_l1",
}


def pose_config(**changes) -> AiTConfig:
    fields = {"tokenizers": {"pose": POSE_TOKENIZER}, "tasks": {POSES: POSE_TASK}, "codebooks": [["pose", 20]]}
    return tiny_config(**(fields | changes))


def people_finder_config(**changes) -> AiTConfig:
    """Detection and poses in one model; with `id2label`, whose classes are six."""
    objects = object_config(("object-detection",))
    return pose_config(tasks=objects.tasks | {POSES: POSE_TASK}, pad_images_to=[64, 96], **changes)


def pose_model(config: AiTConfig, model_class: type = AiTForPoseEstimation):
    """Random, in evaluation mode; the usual initialisation is so small that all crops would look alike."""
    torch.manual_seed(0)
    model = model_class(config).eval()
    spread_weights(model)
    with torch.no_grad():
        model.model.decoder.embed_positions.weight.mul_(10)
        model.lm_head.weight.mul_(3)
        model.tokenizers["pose"].quantizer.embedding.weight.normal_()
    return model


def pose_processor() -> AiTPoseImageProcessor:
    return AiTPoseImageProcessor(size={"height": SIDE, "width": SIDE})


def person(number: int = 0, size: tuple[int, int] = (50, 70), **changes) -> dict[str, Any]:
    """A row with an image of noise and 17 joints inside a box."""
    rng = np.random.default_rng(number)
    height, width = size
    box = np.array([0.2 * width, 0.1 * height, 0.7 * width, 0.9 * height], dtype=np.float32)
    joints = np.concatenate([rng.uniform(box[:2], box[2:] - 1, (NUM_JOINTS, 2)), np.full((NUM_JOINTS, 1), 2)], axis=1)
    row = {
        "image": rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "height": height,
        "width": width,
        "image_id": number,
        "id": 100 + number,
        "box": box,
        "keypoints": joints.astype(np.float32),
        "area": float((box[2] - box[0]) * (box[3] - box[1])),
        "iscrowd": False,
        "path": f"noise {number}",
    }
    return row | changes
