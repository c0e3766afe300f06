# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Tiny untrained models of objects whose predictions are clear and differ between images."""

from collections.abc import Sequence

import torch
from tiny import mixed_config, spread_weights, tiny_config

from ait_hf import AiTConfig, AiTForDenseTokenGeneration, AiTImageProcessor


DETECTION, INSTANCES = "object-detection", "instance-segmentation"
FRAME = (64, 96)  # height, width
NUM_OBJECTS = 3
BOX = ["coordinate"] * 4


def object_config(
    tasks: Sequence[str] = (DETECTION, INSTANCES), slots: Sequence[str] = ("class", "mask"), **changes
) -> AiTConfig:
    """3 objects of 6 classes in a frame of 64x96 pixels, masks of 4 codes; `slots` follow the box."""
    objects = {"output_type": "objects", "num_groups": NUM_OBJECTS, "image_size": list(FRAME)}
    masks = {"slots": [*BOX, *slots], "grid_size": [2, 2], "dense_loss_weight": 0.2, "auxiliary_loss": "dice_mse"}
    declared = {
        DETECTION: {"task_id": 0, **objects, "slots": [*BOX, "class"]},
        INSTANCES: {"task_id": 1, **objects, **masks},
        "depth": tiny_config().tasks["depth"],
    }
    tokenizers = {}
    if INSTANCES in tasks:
        tokenizers |= mixed_config().tokenizers
    if "depth" in tasks:
        tokenizers |= tiny_config().tokenizers
    return tiny_config(tokenizers=tokenizers, tasks={name: declared[name] for name in tasks}, **changes)


def object_model(
    config: AiTConfig, model_class: type[AiTForDenseTokenGeneration] = AiTForDenseTokenGeneration
) -> AiTForDenseTokenGeneration:
    """Random, in evaluation mode; the usual initialisation is so small that all images would look alike."""
    torch.manual_seed(0)
    model = model_class(config).eval()
    spread_weights(model)
    with torch.no_grad():
        model.model.decoder.embed_positions.weight.mul_(10)  # else every object is like the one before
        model.lm_head.weight.mul_(3)
        for tokenizer in model.tokenizers.values():
            tokenizer.quantizer.embedding.weight.normal_()
            for layer in tokenizer.decoder.up:
                layer.weight.mul_(2)
            tokenizer.decoder.conv_out.weight.mul_(3)
            tokenizer.decoder.conv_out.bias.fill_(0.2)
    return model


def object_processor() -> AiTImageProcessor:
    """Fits images into the frame, as for the COCO models."""
    return AiTImageProcessor(
        size={"max_height": FRAME[0], "max_width": FRAME[1]},
        do_normalize=True,
        do_pad=True,
        pad_size={"height": FRAME[0], "width": FRAME[1]},
    )


def object_labels() -> list[dict[str, torch.Tensor]]:
    """An image with two objects, one with none."""
    masks = torch.zeros(2, *FRAME)
    masks[0, 10:30, 5:25], masks[1, 20:60, 30:80] = 1, 1
    boxes = torch.tensor([[5.0, 10, 25, 30], [30, 20, 80, 60]])
    some = {"boxes": boxes, "class_labels": torch.tensor([1, 4]), "masks": masks}
    return [some, {"boxes": boxes[:0], "class_labels": torch.zeros(0, dtype=torch.long), "masks": masks[:0]}]
