# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Depth by regression: a U-Net decoder whose last map is the depth."""

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F

from ...metrics.measuring import Row, evaluating
from ...model.loss_ait import silog_loss
from ...recipes.streams import Batch
from ...tasks.base import Kind
from ...tasks.depth.evaluation import measure_depth
from .baselines import DECODER_CHANNELS, ENCODER, Baseline, padded, with_imagenet


MAX_DEPTH = 10.0  # metres, as the metric counts them


class DepthRegression(Baseline):
    """Depth as 10 m times a sigmoid, learned by the scale-invariant loss that AiT has as its auxiliary one."""

    def __init__(self, task: Kind):
        super().__init__()
        self.network = smp.Unet(ENCODER, encoder_weights=None, decoder_channels=DECODER_CHANNELS)
        with_imagenet(self.network.encoder)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        height, width = pixel_values.shape[-2:]
        return MAX_DEPTH * self.network(padded(pixel_values))[:, 0, :height, :width].sigmoid()

    def loss(self, outputs: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        return {"silog": silog_loss(outputs, batch["labels"])}

    def evaluate(self, task, processor, batches, options, *, accelerator, **measuring) -> dict[str, float]:
        def predict(batch: Batch) -> list[tuple[torch.Tensor, Row]]:
            pixel_values = processor(batch["pixel_values"], return_tensors="pt")["pixel_values"]
            found = self(pixel_values.to(accelerator.device))[:, None]
            sizes = [tuple(label.shape) for label in batch["labels"]]
            resized = (F.interpolate(depth[None], size=size, mode="bilinear") for depth, size in zip(found, sizes))
            return [(depth[0, 0], {}) for depth in resized]

        with evaluating(self):
            return measure_depth(predict, batches, accelerator=accelerator, **measuring)
