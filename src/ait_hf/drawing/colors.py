# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Values as colours, by matplotlib's colour maps.

Functions of this package and of the tasks' `drawing` take arrays (numpy, or torch tensors on the CPU) or plain Python
values.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from ..data.pixels import finite_map


ERROR_COLORS = "Reds"  # white is no error, so that black can mean no ground truth
UNCERTAINTY_COLORS = "viridis"
DOTS_PER_INCH = 100
BARS_HEIGHT = 52
BAR_INSET = 10  # room for the numbers at the ends, which stick out
ColorBar = tuple[int, int, tuple[float, float], str, str]


def paint(values: np.ndarray, vmin: float, vmax: float, cmap: str) -> np.ndarray:
    """Values (height, width) from `vmin` to `vmax` in the colours of a map, as uint8 (height, width, 3); `ValueError`
    if vmax < vmin, or the colour map is unknown."""
    if vmax < vmin:
        raise ValueError(f"vmax ({vmax}) must not be below vmin ({vmin}).")
    scaled = Normalize(vmin, vmax, clip=True)(values)
    return matplotlib.colormaps.get_cmap(cmap)(scaled, bytes=True)[..., :3]


def value_limits(values: np.ndarray, vmin: float | None, vmax: float | None) -> tuple[float, float]:
    """The given limits, or else the range of the values; (0, 1) where there are none."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return low if vmin is None else vmin, high if vmax is None else vmax


def known_limits(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest value of every channel of maps (..., channels); 0 and 1 where no pixel is known, which one is whose
    channels are not all 0."""
    pixels = maps.reshape(-1, maps.shape[-1])
    known = pixels[(pixels != 0).any(1)]
    if not len(known):
        return np.zeros(maps.shape[-1]), np.ones(maps.shape[-1])
    return known.min(0), known.max(0)


def colorize_uncertainty(uncertainty: np.ndarray, cmap: str = UNCERTAINTY_COLORS) -> np.ndarray:
    """Paint an uncertainty map (height, width), 0..1, as uint8 (height, width, 3); `ValueError` if the shape is wrong,
    a value is outside 0..1 or not finite, or the colour map is unknown."""
    uncertainty = finite_map(uncertainty, "uncertainty")
    if uncertainty.min() < 0 or uncertainty.max() > 1:
        raise ValueError(
            f"uncertainty must lie within 0..1, but reaches from {uncertainty.min():g} to {uncertainty.max():g}."
        )
    return paint(uncertainty, 0.0, 1.0, cmap)


def figure_picture(figure: Figure) -> Image.Image:
    """A figure as an RGB picture of its size, on a canvas of its own: matplotlib's global state is left alone."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def color_bars(width: int, bars: Sequence[ColorBar]) -> Image.Image:
    """Horizontal colour bars side by side with their numbers and labels, as an RGB picture so many pixels wide. Each
    is given by its left and right edge in pixels, the values there, a colour map's name and the label."""
    figure = Figure((width / DOTS_PER_INCH, BARS_HEIGHT / DOTS_PER_INCH), DOTS_PER_INCH)
    for left, right, limits, cmap, label in bars:
        length = right - left - 2 * BAR_INSET
        box = ((left + BAR_INSET) / width, 1 - 14 / BARS_HEIGHT, length / width, 10 / BARS_HEIGHT)
        colors = ScalarMappable(Normalize(*limits), cmap)
        drawn = figure.colorbar(colors, figure.add_axes(box), orientation="horizontal")
        drawn.ax.tick_params(labelsize=7, length=2, pad=1)
        drawn.set_label(label, fontsize=8, labelpad=1)
    return figure_picture(figure)
