# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring over the batches of a data loader, in one process or several."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..data.picture_sizes import swapped_sides
from ..data.pixels import picture_of


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


def pictures_beside(rows: Sequence[dict[str, Any]], column: str, what: str) -> list[np.ndarray]:
    """The images of rows, uint8 `(height, width, 3)`; `ValueError` if one has another size than the map beside it in
    `column`, which is called `what`."""
    images = [picture_of(row) for row in rows]
    for image, row in zip(images, rows):
        if image.shape[:2] != row[column].shape:
            raise ValueError(
                f"An image of {image.shape[:2]} pixels has {what} of {row[column].shape}: resize one of them."
                f"{swapped_sides(image.shape[:2], row[column].shape)}"
            )
    return images


def measure_all(
    batches: Iterable[Batch],
    measure: Callable[[Batch], list[Row]],
    summarize: Callable[[list[Row]], dict[str, float]],
    accelerator: Accelerator | None = None,
    description: str | None = None,
) -> dict[str, float]:
    """Measures every batch and sums up the rows of all processes.

    Args:
        measure: Batch to one row per image.
        summarize: All rows to the result, on the main process; every process gets it.
        accelerator: With several processes, what prepared the loader of the batches.
        description: Title of a progress bar; without it there is none.

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


def measure_rows(
    module: torch.nn.Module,
    rows: Sequence[Any],
    measure: Callable[[list[Any]], list[Row]],
    summarize: Callable[[list[Row]], dict[str, float]],
    *,
    accelerator: Accelerator | None = None,
    batch_size: int = 8,
    description: str | None = None,
) -> dict[str, float]:
    """As [`measure_all`], of lists of rows by number, `batch_size` at a time and process, with a module in evaluation
    mode."""
    batches = DataLoader(rows, batch_size=batch_size, collate_fn=list)
    batches = batches if accelerator is None else accelerator.prepare(batches)
    with evaluating(module):
        return measure_all(batches, measure, summarize, accelerator, description)
