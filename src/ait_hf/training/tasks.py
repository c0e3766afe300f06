# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""All tasks that a task-solver's recipe may name."""

from .depth_task import DepthTask
from .map_task import MapTask
from .object_task import DetectionTask, InstanceTask
from .pose_task import PoseTask
from .semantic_task import SemanticTask


AnyTask = DetectionTask | InstanceTask | DepthTask | PoseTask | SemanticTask | MapTask
