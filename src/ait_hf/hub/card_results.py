# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Results of a checkpoint, from the files that training and `ait evaluate` leave, for its card."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import EvalResult

from .files import HISTORY, METRICS, read_json


RECONSTRUCTION = "reconstruction"  # the Hub has no name for what tokenizers do
_EVALUATED = "eval_"
_COUNTS = ("num_images", "num_excluded")


@dataclass(frozen=True)
class Result:
    """
    Metrics of one task on one set of samples.

    Args:
        task: Name of the task; empty for a tokenizer.
        data: Name of the data set.
        split: Part of it; `None` where it is not known or has none.
        mode: How it was decoded, if `ait evaluate` measured it, and `None` for the evaluation in training.
        num_images: How many samples; `None` if not known.
        metrics: Finite values by name.
    """

    task: str
    data: str
    split: str | None
    mode: str | None
    num_images: int | None
    metrics: dict[str, float]


def read_results(folder: Path, data: Mapping[str, str], split: str | None) -> list[Result]:
    """
    What the folder knows: the last evaluation in `history.json`, and `metrics.json` of `ait evaluate`.

    Args:
        folder (`Path`): Of a checkpoint.
        data (`dict`): Name of the data by task, as the recipe says; an evaluation in training without it is left out.
        split (`str`, *optional*): What training evaluated on.
    """
    results = []
    if (folder / HISTORY).is_file():
        rows = [row for row in read_json(folder / HISTORY) if any(key.startswith(_EVALUATED) for key in row)]
        evaluated = {key.removeprefix(_EVALUATED): value for key, value in (rows[-1] if rows else {}).items()}
        for task, name in data.items():
            prefix = f"{task}/" if task else ""
            values = {key.removeprefix(prefix): value for key, value in evaluated.items() if key.startswith(prefix)}
            values.pop("step", None)
            if values:
                results.append(_result(task, name, split, None, values))
    if (folder / METRICS).is_file():
        measured = read_json(folder / METRICS)
        prefix, colon, path = measured["data"].rpartition(":")
        name = f"{prefix}{colon}{PurePath(path).name}"
        for mode, values in measured["results"].items():
            results.append(_result(measured["task"], name, measured["split"], mode, values))
    return results


def eval_results(results: list[Result]) -> list[EvalResult]:
    """For the `model-index` of the card's metadata."""
    return [
        EvalResult(
            task_type=result.task or RECONSTRUCTION,
            dataset_type=result.data,
            dataset_name=result.data,
            dataset_split=result.split,
            metric_type=name,
            metric_name=name if result.mode is None else f"{name} ({result.mode})",
            metric_value=value,
        )
        for result in results
        for name, value in result.metrics.items()
    ]


def _result(task: str, data: str, split: str | None, mode: str | None, values: Mapping[str, Any]) -> Result:
    metrics = {
        name: value
        for name, value in values.items()
        # -1 is COCO's value where there is nothing to measure, such as no large object.
        if name not in _COUNTS and math.isfinite(value) and value != -1
    }
    return Result(task, data, split, mode, values.get("num_images"), metrics)
