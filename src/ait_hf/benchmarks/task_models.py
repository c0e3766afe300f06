# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A model of every task with random weights, training batches of random numbers, and steps on them."""

from typing import Any

import torch

from ..model.configuration_ait import AiTConfig
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.objectives_ait import SequenceDraft
from ..training.optimizer import OptimizerRecipe, build_optimizer
from .models import BOX, MASK_TOKENIZER, SOLVER, own_backbone_config


OBJECTS_PER_IMAGE = 7  # of COCO
NUM_CLASSES = 80
NUM_JOINTS = 17
CELL = 32  # pixels per code of a map


def _tokenizers(size: int) -> dict[str, dict[str, Any]]:
    maps = {"sample_size": size, "downsample_ratio": CELL}
    channels = {"in_channels": NUM_CLASSES, "out_channels": NUM_CLASSES}
    return {
        "mask": MASK_TOKENIZER,
        "depth": maps,
        "segment": MASK_TOKENIZER,
        "pose": {"tokenizer_type": "pose", "num_joints": NUM_JOINTS, "sample_size": size},
        "labels": maps | channels | {"unit": "class", "loss_type": "cross_entropy"},
        "normals": maps | {"in_channels": 3, "out_channels": 3, "unit": "unit_vector"},
    }


def _tasks(size: int, num_objects: int, num_groups: int) -> dict[str, dict[str, Any]]:
    grid, squares = [size // CELL, size // CELL], [4, 4]
    objects = {"output_type": "objects", "num_groups": num_objects}
    declared = {
        "object-detection": {"slots": [*BOX, "class"], **objects},
        "instance-segmentation": {
            "slots": [*BOX, "class", "mask"],
            "grid_size": squares,
            "dense_loss_weight": 0.2,
            "auxiliary_loss": "dice_mse",
            "auxiliary_loss_weight": 5.0,
            **objects,
        },
        "depth": {"slots": ["depth"], "output_type": "depth", "grid_size": grid, "auxiliary_loss": "silog"},
        "keypoint-detection": {
            "slots": ["pose"],
            "output_type": "pose",
            "grid_size": [1, 34],
            "auxiliary_loss": "smooth_l1",
        },
        "semantic-segmentation": {
            "slots": ["class", "segment"],
            "output_type": "semantic",
            "grid_size": squares,
            "num_groups": num_groups,
            "auxiliary_loss": "dice_mse",
        },
        "labels": {
            "slots": ["labels"],
            "output_type": "label_map",
            "grid_size": grid,
            "auxiliary_loss": "cross_entropy",
        },
        "normals": {"slots": ["normals"], "output_type": "map", "grid_size": grid, "auxiliary_loss": "smooth_l1"},
    }
    return {
        name: {"task_id": number, "image_size": [size, size], **task}
        for number, (name, task) in enumerate(declared.items())
    }


ALL_TASKS = tuple(_tasks(CELL, 1, 1))


def task_model(
    tasks: tuple[str, ...],
    size: int,
    shape: dict[str, Any],
    *,
    parallel: bool,
    num_objects: int = 100,
    num_groups: int = 20,
    solver: dict[str, Any] = SOLVER,
) -> AiTForDenseTokenGeneration:
    """
    The published model for some of [`ALL_TASKS`], in evaluation mode.

    Args:
        size (`int`): Side of the images, pixels, a multiple of 32.
        shape: Of [`~ait_hf.benchmarks.models.swinv2_shape`].
        parallel (`bool`): AiT-P.
        num_objects, num_groups (`int`): In sequences of objects, and of classes with masks.
        solver: Sizes of encoder and decoder.
    """
    declared = {name: task for name, task in _tasks(size, num_objects, num_groups).items() if name in tasks}
    codebooks = {task["slots"][-1] for task in declared.values()}
    tokenizers = {name: settings for name, settings in _tokenizers(size).items() if name in codebooks}
    config = AiTConfig(
        backbone_config=own_backbone_config(size, shape).to_dict(),
        tasks=declared,
        tokenizers=tokenizers,
        codebooks=[[name, 2048 if name == "pose" else 128] for name in tokenizers],
        num_task_ids=len(ALL_TASKS),
        num_classes=NUM_CLASSES,
        parallel=parallel,
        max_position_embeddings=2100,
        **solver,
    )
    return AiTForDenseTokenGeneration(config).eval()


def random_labels(task: str, batch_size: int, size: int) -> Any:
    """Annotations as [`AiTForDenseTokenGeneration.forward`] takes them, from torch's CPU generator."""
    match task:
        case "object-detection" | "instance-segmentation":
            return [_random_objects(size, with_masks=task == "instance-segmentation") for _ in range(batch_size)]
        case "depth":
            return torch.rand(batch_size, size, size) * 9 + 0.5
        case "keypoint-detection":
            joints = torch.rand(batch_size, NUM_JOINTS, 3) * size
            joints[..., 2] = 2
            return joints
        case "normals":
            return torch.nn.functional.normalize(torch.randn(batch_size, 3, size, size), dim=1)
        case _:  # one class for every cell
            cells = torch.randint(NUM_CLASSES, (batch_size, size // CELL, size // CELL))
            return cells.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)


def _random_objects(size: int, with_masks: bool) -> dict[str, torch.Tensor]:
    """With boxes of a quarter to a half of the image's sides."""
    corners = torch.rand(OBJECTS_PER_IMAGE, 2) * size / 2
    boxes = torch.cat([corners, corners + size * (0.25 + torch.rand(OBJECTS_PER_IMAGE, 2) / 4)], dim=1)
    objects = {
        "boxes": boxes,
        "class_labels": torch.randint(NUM_CLASSES, (OBJECTS_PER_IMAGE,)),
        "seed": torch.randint(2**62, ()),
    }
    if with_masks:
        objects["masks"] = torch.randint(2, (OBJECTS_PER_IMAGE, size, size), dtype=torch.uint8)
    return objects


class TrainingStep:
    """
    Steps of one task on one batch, from the host's memory to new weights: copy, loss, gradients, clipping, AdamW.

    Args:
        model: In training mode, on its device; perhaps wrapped for several processes.
        objective: Of the task, which drafts the sequences once, as data workers would.
        dtype (`torch.dtype`): Of autocast; float32 for none.
    """

    def __init__(self, model, objective, task: str, batch_size: int, size: int, dtype: torch.dtype):
        self.model, self.task, self.dtype = model, task, dtype
        self.device = next(model.parameters()).device
        images = torch.rand(batch_size, 3, size, size)
        draft: SequenceDraft = objective.draft(random_labels(task, batch_size, size))
        pinned = self.device.type == "cuda"
        self.images, self.draft = (images.pin_memory(), draft.pin_memory()) if pinned else (images, draft)
        self.optimizer = build_optimizer(model, OptimizerRecipe(lr=1e-4, weight_decay=0.05))

    def forward(self) -> torch.Tensor:
        batch = {"pixel_values": self.images.to(self.device, non_blocking=True), "labels": self.draft}
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.model(batches={self.task: batch}).loss

    def __call__(self) -> torch.Tensor:
        """The loss, which nobody has waited for."""
        loss = self.forward()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


__all__ = ["ALL_TASKS", "TrainingStep", "random_labels", "task_model"]
