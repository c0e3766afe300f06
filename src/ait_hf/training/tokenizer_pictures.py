# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a tokenizer in training rebuilds."""

import torch
from PIL import Image

from ..drawing.page import arrange, column_edges
from ..model.objectives_ait import Tokenizer
from ..recipes.streams import DataRecipe
from .tokenizer_data import InputMask


CELL = 256  # longer side of each picture, pixels


@torch.no_grad()
def draw_reconstructions(data: DataRecipe, model: Tokenizer, samples: torch.Tensor, mask: InputMask) -> Image.Image:
    """
    Samples beside what the tokenizer makes of them, one line each. Where training hides a part of the input, there are two
    more columns: a sample of which as much is hidden, always the same part, and what the tokenizer makes of that.

    Args:
        data: Section of the recipe.
        model: In evaluation mode.
        samples (`torch.Tensor`): A batch of the data's `labels`, on the CPU.
        mask (`InputMask`): What training hides.
    """
    kind = mask.kind
    columns = {"ground truth": samples, "reconstruction": kind.rebuild(model, samples)}
    if mask.ratio > 0:
        hidden = mask(samples, torch.Generator().manual_seed(0))
        columns |= {"partly hidden": hidden, "its reconstruction": kind.rebuild(model, hidden)}
    paint, scale = kind.painter(data, samples, CELL)
    lines = [[paint(values.numpy()) for values in line] for line in zip(*columns.values())]
    titles = [f"ground truth{scale}", *list(columns)[1:]]
    width = column_edges(len(columns), CELL)[-1] + CELL
    legend = kind.legend(data, [values.numpy() for values in columns.values()], width)
    return arrange(titles, lines, CELL, footer=legend)
