# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a tokenizer in training rebuilds."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from ..drawing.page import arrange, column_edges, resize_picture
from ..tasks.depth.drawing import colorize_depth
from ..tasks.maps.data import MapData
from ..tasks.maps.drawing import colorize_map
from ..tasks.poses.data import PersonData
from ..tasks.poses.drawing import draw_poses
from ..tasks.semantics.data import SemanticData
from ..tasks.semantics.drawing import class_legend, colorize_label_map
from .tokenizer_data import AnyTokenizerData, InputMask, Tokenizer


CELL = 256  # longer side of each picture, pixels
BACKGROUND = 48  # of poses, which come without their image
INSIDE = 220  # of masks, which white would not set off from the page


@torch.no_grad()
def draw_reconstructions(
    data: AnyTokenizerData, model: Tokenizer, samples: torch.Tensor, mask: InputMask
) -> Image.Image:
    """
    Samples beside what the tokenizer makes of them, one line each. Where training hides a part of the input, there are two
    more columns: a sample of which as much is hidden, always the same part, and what the tokenizer makes of that.

    Args:
        data: Section of the recipe.
        model: In evaluation mode.
        samples (`torch.Tensor`): A batch of the data's `labels`, on the CPU.
        mask (`InputMask`): What training hides.
    """
    columns = {"ground truth": samples, "reconstruction": _rebuild(data, model, samples)}
    if mask.ratio > 0:
        hidden = mask(samples, torch.Generator().manual_seed(0))
        columns |= {"partly hidden": hidden, "its reconstruction": _rebuild(data, model, hidden)}
    paint, scale = _painter(data, samples)
    lines = [[paint(values.numpy()) for values in line] for line in zip(*columns.values())]
    titles = [f"ground truth{scale}", *list(columns)[1:]]
    legend = _legend(data, columns) if isinstance(data, SemanticData) else None
    return arrange(titles, lines, CELL, footer=legend)


def _rebuild(data: AnyTokenizerData, model: Tokenizer, samples: torch.Tensor) -> torch.Tensor:
    rebuilt = model.detokenize(ids=model.tokenize(samples.to(model.device))).float().cpu()
    return rebuilt.argmax(1) if isinstance(data, SemanticData) else rebuilt


def _painter(data: AnyTokenizerData, truth: torch.Tensor) -> tuple[Callable[[np.ndarray], Image.Image], str]:
    """What draws a sample, with or without a channel of its own, and what the title says of its colours, which are the
    same for all."""
    match data:
        case PersonData():
            blank = np.full((*data.image_size, 3), BACKGROUND, dtype=np.uint8)
            return lambda pose: draw_poses(blank, pose[None], skeleton=data.joints, longer_side=CELL), ""
        case SemanticData():
            return lambda labels: resize_picture(colorize_label_map(labels, data.num_classes), CELL), ""
        case MapData():
            limits = _limits(truth)
            scale = f", {limits[0][0]:.3g} to {limits[1][0]:.3g} {data.unit}" if data.num_channels == 1 else ""
            return lambda values: resize_picture(
                colorize_map(values.transpose(1, 2, 0), data.unit, limits), CELL
            ), scale
        case _ if data.unit == "mask":
            return _paint_mask, ""
        case _:
            (low,), (high,) = _limits(truth[:, None])
            scale = f", {low:.1f} (blue) to {high:.1f} m (red)"
            return lambda depth: resize_picture(colorize_depth(_without_channel(depth), low, high), CELL), scale


def _limits(maps: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest value of every channel of the known pixels of maps `(B, C, H, W)`; 0 and 1 if there are none."""
    pixels = maps.movedim(1, -1).flatten(0, -2)
    known = pixels[(pixels != 0).any(1)]
    if not len(known):
        return np.zeros(maps.shape[1]), np.ones(maps.shape[1])
    return known.amin(0).numpy(), known.amax(0).numpy()


def _paint_mask(mask: np.ndarray) -> Image.Image:
    grey = (INSIDE * _without_channel(mask).clip(0, 1)).round().astype(np.uint8)
    return resize_picture(np.repeat(grey[..., None], 3, axis=2), CELL)


def _without_channel(values: np.ndarray) -> np.ndarray:
    return values.reshape(values.shape[-2:])


def _legend(data: SemanticData, columns: dict[str, torch.Tensor]) -> Image.Image:
    label_maps = [values.numpy() for values in columns.values()]
    return class_legend(label_maps, data.class_names(), column_edges(len(columns), CELL)[-1] + CELL)
