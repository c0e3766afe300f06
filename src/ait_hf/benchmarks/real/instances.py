# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Instances by torchvision's Mask R-CNN."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.encoders import get_encoder
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from ...data.segmentations import encoded_mask
from ...metrics.measuring import Row, evaluating
from ...model.image_processing_ait import fitted_size
from ...recipes.streams import Batch, Stream
from ...tasks.base import Kind
from ...tasks.objects.evaluation import measure_objects
from .baselines import ENCODER, Baseline, with_imagenet


CHANNELS = 128  # of the pyramid
MOST_OBJECTS = 100  # of an image, as many as COCO counts
LEVELS = ("4", "8", "16", "32")  # pixels per step
ANCHORS = ((8,), (16,), (32,), (64,), (128,))  # sides in pixels, of these levels and one more


class InstancesByMaskRCNN(Baseline):
    """
    With anchors from 8 pixels on, since the things to be found are small. Images come normalised and at the size that they
    are seen in: the network changes neither.
    """

    def __init__(self, task: Kind):
        super().__init__()
        side = max(task.data.image_size)
        self.network = MaskRCNN(
            _Pyramid(),
            len(task.data.class_names()) + 1,
            min_size=min(task.data.image_size),
            max_size=side,
            image_mean=[0.0] * 3,
            image_std=[1.0] * 3,
            rpn_anchor_generator=AnchorGenerator(ANCHORS, ((0.5, 1.0, 2.0),) * len(ANCHORS)),
            box_roi_pool=MultiScaleRoIAlign(LEVELS, output_size=7, sampling_ratio=2),
            mask_roi_pool=MultiScaleRoIAlign(LEVELS, output_size=14, sampling_ratio=2),
            rpn_pre_nms_top_n_train=1000,
            rpn_post_nms_top_n_train=500,
            rpn_post_nms_top_n_test=500,
            box_batch_size_per_image=128,
            box_detections_per_img=MOST_OBJECTS,
        )

    @staticmethod
    def stream(task: Kind) -> Stream:
        return task.data.stream(max_objects=MOST_OBJECTS, with_masks=True)

    def inputs(self, batch: Batch) -> dict[str, Any]:
        targets = [
            {"boxes": label["boxes"], "labels": label["class_labels"] + 1, "masks": label["masks"]}
            for label in batch["labels"]
        ]
        return {"pixel_values": batch["pixel_values"], "targets": targets}

    def forward(self, pixel_values: torch.Tensor, targets: list[dict[str, torch.Tensor]] | None = None) -> Any:
        return self.network(list(pixel_values), targets)

    def loss(self, outputs: dict[str, torch.Tensor], batch: Batch) -> dict[str, torch.Tensor]:
        return outputs

    def evaluate(self, task, processor, batches, options, *, accelerator, description=None) -> dict[str, float]:
        _, category_ids = task.data.categories(options.split)

        def find(batch: Batch) -> list[Row]:
            found = self(batch["pixel_values"].to(accelerator.device))
            return [
                {"image_id": int(label["image_id"]), "results": _results(objects, label, task, category_ids)}
                for objects, label in zip(found, batch["labels"])
            ]

        truth = task.data.ground_truth(options.split, options.num_samples)
        measuring = {"category_ids": category_ids, "with_masks": True}
        measuring |= {"accelerator": accelerator, "description": description}
        with evaluating(self):
            return measure_objects(find, batches, truth, **measuring)[0]


class _Pyramid(nn.Module):
    """Maps of one width of every level, and of one more, which is the last one halved."""

    out_channels = CHANNELS

    def __init__(self):
        super().__init__()
        self.encoder = with_imagenet(get_encoder(ENCODER, weights=None))
        widths = self.encoder.out_channels[-len(LEVELS) :]
        self.pyramid = FeaturePyramidNetwork(list(widths), CHANNELS, LastLevelMaxPool())

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        images = images.contiguous(memory_format=torch.channels_last)  # where convolutions are faster
        return self.pyramid(OrderedDict(zip(LEVELS, self.encoder(images)[-len(LEVELS) :])))


def _results(
    objects: dict[str, torch.Tensor], label: dict[str, torch.Tensor], task: Kind, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """What was found in one image in COCO's results format, in pixels of the image before it was fitted into the frame."""
    height, width = label["orig_size"].tolist()
    seen_height, seen_width = fitted_size(height, width, task.data.image_size)
    scale = torch.tensor([width / seen_width, height / seen_height] * 2)
    corners = objects["boxes"].cpu() * scale
    boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1).tolist()
    masks = objects["masks"][:, :, :seen_height, :seen_width].cpu()
    masks = F.interpolate(masks, size=(height, width), mode="bilinear")[:, 0] >= 0.5 if len(masks) else masks
    labels, scores = (objects[name].tolist() for name in ("labels", "scores"))
    return [
        {"image_id": int(label["image_id"]), "category_id": category_ids[number - 1], "bbox": box, "score": score}
        | {"segmentation": encoded_mask(mask.numpy())}
        for number, box, score, mask in zip(labels, boxes, scores, masks)
    ]
