# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What model cards say of a task."""

from dataclasses import dataclass


GRID_LIMIT = "A map is decoded from a coarse grid of codes: fine structures are smoothed."


@dataclass(frozen=True)
class TaskText:
    """
    Args:
        gives: What the task gives, for readers.
        result: Code of the result, from `outputs`, `processor`, `sizes` and, where the task needs them, `boxes`.
        comment: What the result is.
        limits: What it does not do.
        pipeline_tag: The Hub's name of such a task, if it has one.
        needs_boxes: Whether the image processor takes boxes of people.
    """

    gives: str
    result: str
    comment: str
    limits: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    needs_boxes: bool = False
