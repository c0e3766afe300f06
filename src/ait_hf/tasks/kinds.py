# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""All tasks that a task-solver's recipe may name."""

from .depth.task import DepthTask
from .maps.task import MapTask
from .objects.task import DetectionTask, InstanceTask
from .poses.task import PoseTask
from .semantics.task import SemanticTask


AnyTask = DetectionTask | InstanceTask | DepthTask | PoseTask | SemanticTask | MapTask
