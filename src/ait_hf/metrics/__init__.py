# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Metrics as `evaluate.Metric` classes; they need no network and are fed from the main process only."""

from .depth import DepthMetric, depth_errors
from .reconstruction import (
    ReconstructionMetric,
    code_usage,
    depth_reconstruction_errors,
    mask_reconstruction_errors,
)
from .token_distance import TokenDistanceMetric, token_embedding_distance


__all__ = [
    "DepthMetric",
    "ReconstructionMetric",
    "TokenDistanceMetric",
    "code_usage",
    "depth_errors",
    "depth_reconstruction_errors",
    "mask_reconstruction_errors",
    "token_embedding_distance",
]
