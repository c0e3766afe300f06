# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring over the batches of a data loader, in one process or several."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader
from tqdm.auto import tqdm


# One image's numbers, plain so that processes can exchange them.
Row = dict[str, Any]
# What a loader gives: `pixel_values`, the images, and `labels`, their truth.
Batch = dict[str, Sequence[torch.Tensor]]


@contextmanager
def evaluating(module: torch.nn.Module):
    """Evaluation mode without gradients, for a while."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)


def batches_of(rows: Sequence[Any], batch_size: int, accelerator: Accelerator | None) -> DataLoader:
    """Rows by number as lists, shared out over the processes."""
    loader = DataLoader(rows, batch_size=batch_size, collate_fn=list)
    return loader if accelerator is None else accelerator.prepare(loader)


def measure_all(
    batches: Iterable[Batch],
    measure: Callable[[Batch], list[Row]],
    summarize: Callable[[list[Row]], dict[str, float]],
    accelerator: Accelerator | None,
    description: str | None,
) -> dict[str, float]:
    """
    Measures every batch and sums up the rows of all processes.

    Args:
        measure: Batch to one row per image.
        summarize: All rows to the result, on the main process; every process gets it.

    Raises:
        ValueError: There are no images.
    """
    shared = accelerator is not None and accelerator.num_processes > 1
    is_main = not shared or accelerator.is_main_process
    rows: list[Row] = []
    for batch in tqdm(batches, desc=description, disable=description is None or not is_main, unit="batch"):
        measured = measure(batch)
        rows += accelerator.gather_for_metrics(measured) if shared else measured
    if not rows:
        raise ValueError("There are no images to evaluate.")
    result = [summarize(rows) if is_main else None]  # only one process may hold an `evaluate.Metric`
    return broadcast_object_list(result)[0] if shared else result[0]
