# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What matplotlib draws, on canvases of their own: its global state is left alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image


DOTS_PER_INCH = 100
BARS_HEIGHT = 52
BAR_INSET = 10  # room for the numbers at the ends, which stick out


@dataclass
class ColorBar:
    """A colour bar from the pixel `left` to the pixel `right` of a picture, for values within `limits`."""

    left: int
    right: int
    limits: tuple[float, float]
    cmap: str
    label: str


def figure_picture(figure: Figure) -> Image.Image:
    """A figure as an RGB picture of its size."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def color_bars(width: int, bars: Sequence[ColorBar]) -> Image.Image:
    """Horizontal colour bars side by side with their numbers and labels, as an RGB picture so many pixels wide."""
    figure = Figure((width / DOTS_PER_INCH, BARS_HEIGHT / DOTS_PER_INCH), DOTS_PER_INCH)
    for bar in bars:
        left, right = bar.left + BAR_INSET, bar.right - BAR_INSET
        box = (left / width, 1 - 14 / BARS_HEIGHT, (right - left) / width, 10 / BARS_HEIGHT)
        colors = ScalarMappable(Normalize(*bar.limits), bar.cmap)
        drawn = figure.colorbar(colors, figure.add_axes(box), orientation="horizontal")
        drawn.ax.tick_params(labelsize=7, length=2, pad=1)
        drawn.set_label(bar.label, fontsize=8, labelpad=1)
    return figure_picture(figure)
