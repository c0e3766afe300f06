# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs whose recipes are from before version 2, when `batch_size` was that of one forward of one process."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkpoints import MANIFEST


def check_batch_sizes(before: Mapping[str, Any], now: Mapping[str, Any], resumed: Path) -> dict[str, Any]:
    """
    The values that a run was started with, `batch_size` being that of a step.

    Args:
        before: Of the run's saved recipe, flattened; `version` is `None` if it does not say.
        now: Of the recipe that it is resumed with, flattened.
        resumed: Its checkpoint.

    Raises:
        ValueError: `before` is from when `batch_size` was that of a process and forward, and `now` does not have the number
            that they made together; the message has it.
    """
    if before.get("version") is not None:
        return dict(before)
    num_processes = json.loads((resumed / MANIFEST).read_text(encoding="utf-8"))["num_processes"]
    forwards = before["train.gradient_accumulation_steps"]
    totals = {
        key: value * num_processes * forwards for key, value in before.items() if key.endswith("data.batch_size")
    }
    if differing := [f"{key}={total}" for key, total in totals.items() if now.get(key, total) != total]:
        raise ValueError(
            f"{resumed} was saved when batch_size was that of one process and forward; it now is that of a whole step, "
            f"of which this run had {num_processes} processes with {forwards} forwards each: to go on, write "
            f"{' '.join(differing)}."
        )
    return {**before, **totals, "version": now["version"]}
