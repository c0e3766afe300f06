# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Training steps of any model on made-up samples."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.objectives_ait import SequenceDraft
from ..training.optimizer import OptimizerRecipe, build_optimizer


OBJECTS_PER_IMAGE = 7  # of COCO
CELLS = 8  # in a row and a column of a label map, of a class each


def random_draft(model: AiTForDenseTokenGeneration, task: str, batch_size: int) -> SequenceDraft:
    """What data workers make of annotations, which torch's CPU generator draws here; the objects of all images are alike."""
    declared, tokenizer = model.config.task(task), model.task_tokenizer(task)
    height, width = declared.image_size
    first, num_classes = declared.first_class, len(model.grammar(task).classes)
    match declared.output_type:
        case "objects":
            number = min(OBJECTS_PER_IMAGE, declared.num_groups)
            corners = torch.rand(number, 2) * torch.tensor([width, height]) / 2
            sides = torch.tensor([width, height]) * (0.25 + torch.rand(number, 2) / 4)
            objects = {"boxes": torch.cat([corners, corners + sides], 1), "seed": torch.randint(2**62, ())}
            objects["class_labels"] = torch.randint(first, first + num_classes, (number,))
            objects["masks"] = torch.randint(2, (number, height, width), dtype=torch.uint8)
            labels: Any = [objects] * batch_size
        case "pose":
            labels = torch.rand(batch_size, tokenizer.config.num_joints, 3) * min(tokenizer.crop_size)
            labels[..., 2] = 2
        case "semantic" | "label_map":
            cells = torch.randint(first, first + num_classes, (batch_size, 1, CELLS, CELLS), dtype=torch.uint8)
            labels = F.interpolate(cells, (height, width), mode="nearest-exact")[:, 0].long()
        case "depth":
            labels = torch.rand(batch_size, height, width) * 9 + 0.5
        case _:
            labels = torch.rand(batch_size, tokenizer.config.in_channels, height, width)
    return model.objectives[task].draft(labels)


class TrainingStep:
    """
    Steps of one task on one batch, from the host's memory to new weights: copy, loss, gradients, clipping, AdamW.

    Args:
        model: In training mode, on its device.
        dtype (`torch.dtype`): Of autocast; float32 for none.
        wrapped: The same model as several processes have it, if it is to run so.
    """

    def __init__(
        self,
        model: AiTForDenseTokenGeneration,
        task: str,
        batch_size: int,
        dtype: torch.dtype,
        wrapped: nn.Module | None = None,
    ):
        self.model, self.task, self.dtype, self.device = wrapped or model, task, dtype, model.device
        images = torch.rand(batch_size, 3, *model.config.task(task).image_size)
        draft = random_draft(model, task, batch_size)
        pinned = self.device.type == "cuda"
        self.images, self.draft = (images.pin_memory(), draft.pin_memory()) if pinned else (images, draft)
        self.optimizer = build_optimizer(self.model, OptimizerRecipe(lr=1e-4, weight_decay=0.05))

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
