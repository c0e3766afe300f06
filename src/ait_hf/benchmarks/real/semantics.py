# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Classes of pixels by a U-Net decoder, and by the library's SegFormer-B0 from nothing."""

from abc import abstractmethod
from types import SimpleNamespace

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from ...metrics.measuring import evaluating
from ...model.tokenization_vq import IGNORED_LABEL
from ...recipes.streams import Batch
from ...tasks.base import Kind
from ...tasks.semantics.evaluation import measure_label_maps
from .baselines import DECODER_CHANNELS, ENCODER, Baseline, padded, with_imagenet


class SemanticBaseline(Baseline):
    """Scores of the classes for every pixel, learned by their cross-entropy."""

    @abstractmethod
    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Logits `(batch, classes, height, width)` of images of that size."""

    def loss(self, outputs: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        return {"cross_entropy": F.cross_entropy(outputs, batch["labels"].long(), ignore_index=IGNORED_LABEL)}

    def evaluate(self, task, processor, batches, options, *, accelerator, **measuring) -> dict[str, float]:
        def predict(batch: Batch) -> list[torch.Tensor]:
            scores = SimpleNamespace(class_maps=self(batch["pixel_values"].to(accelerator.device)).softmax(1))
            sizes = [tuple(label_map.shape) for label_map in batch["label_maps"]]
            return processor.post_process_semantic_segmentation(scores, sizes)

        with evaluating(self):
            return measure_label_maps(predict, batches, task.data.class_names(), accelerator=accelerator, **measuring)


class SemanticUNet(SemanticBaseline):
    def __init__(self, task: Kind):
        super().__init__()
        channels, classes = DECODER_CHANNELS, len(task.data.class_names())
        self.network = smp.Unet(ENCODER, encoder_weights=None, decoder_channels=channels, classes=classes)
        with_imagenet(self.network.encoder)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        height, width = pixel_values.shape[-2:]
        return self.network(padded(pixel_values))[..., :height, :width]


class SegFormer(SemanticBaseline):
    def __init__(self, task: Kind):
        super().__init__()
        self.network = SegformerForSemanticSegmentation(SegformerConfig(num_labels=len(task.data.class_names())))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return F.interpolate(self.network(pixel_values).logits, size=pixel_values.shape[-2:], mode="bilinear")
