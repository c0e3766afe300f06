# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The baselines by the names that recipes give them."""

from .baselines import Baseline
from .heatmaps import JointHeatmaps
from .instances import InstancesByMaskRCNN
from .regression import DepthRegression
from .semantics import SegFormer, SemanticUNet


BASELINES: dict[str, type[Baseline]] = {
    "depth-unet": DepthRegression,
    "semantic-unet": SemanticUNet,
    "segformer": SegFormer,
    "mask-rcnn": InstancesByMaskRCNN,
    "heatmaps": JointHeatmaps,
}
