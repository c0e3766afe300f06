# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Metrics as `evaluate.Metric` classes; they need no network and are fed from the main process only."""

from .coco import COCO_VALUES, CocoMetric, mask_boundary, read_coco
from .depth import DepthMetric, TokenDistanceMetric, depth_errors, token_embedding_distance
from .maps import MapMetric, map_errors
from .reconstruction import (
    ReconstructionMetric,
    code_usage,
    depth_reconstruction_errors,
    label_map_reconstruction_errors,
    mask_reconstruction_errors,
    pose_errors,
)
from .semantic import SemanticMetric, class_counts


__all__ = ["COCO_VALUES", "CocoMetric", "DepthMetric", "MapMetric", "ReconstructionMetric", "SemanticMetric"]
__all__ += ["TokenDistanceMetric", "class_counts", "code_usage", "depth_errors", "depth_reconstruction_errors"]
__all__ += ["map_errors", "label_map_reconstruction_errors", "mask_boundary", "mask_reconstruction_errors"]
__all__ += ["pose_errors", "read_coco", "token_embedding_distance"]
