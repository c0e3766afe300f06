# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Metrics as `evaluate.Metric` classes; they need no network and are fed from the main process only."""

from .boundary import mask_boundary
from .coco import COCO_VALUES, CocoMetric, read_coco
from .depth import DepthMetric, depth_errors
from .maps import MapMetric, map_errors
from .pose import pose_errors
from .reconstruction import (
    ReconstructionMetric,
    code_usage,
    depth_reconstruction_errors,
    label_map_reconstruction_errors,
    mask_reconstruction_errors,
)
from .semantic import SemanticMetric, class_counts
from .token_distance import TokenDistanceMetric, token_embedding_distance


__all__ = [
    "COCO_VALUES",
    "CocoMetric",
    "DepthMetric",
    "MapMetric",
    "ReconstructionMetric",
    "SemanticMetric",
    "TokenDistanceMetric",
    "class_counts",
    "code_usage",
    "depth_errors",
    "depth_reconstruction_errors",
    "map_errors",
    "label_map_reconstruction_errors",
    "mask_boundary",
    "mask_reconstruction_errors",
    "pose_errors",
    "read_coco",
    "token_embedding_distance",
]
