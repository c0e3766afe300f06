# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Values as colours, by matplotlib's colour maps.

Functions of this package and of the tasks' `drawing` take arrays (numpy, or torch tensors on the CPU) or plain Python
values.
"""

import matplotlib
import numpy as np
from matplotlib.colors import Normalize

from ..data.pixels import finite_map


ERROR_COLORS = "Reds"  # white is no error, so that black can mean no ground truth
UNCERTAINTY_COLORS = "viridis"


def paint(values: np.ndarray, vmin: float, vmax: float, cmap: str) -> np.ndarray:
    """Values (height, width) from `vmin` to `vmax` in the colours of a map, as uint8 (height, width, 3).

    Raises:
        ValueError: if vmax < vmin, or the colour map is unknown.
    """
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
    """Paint an uncertainty map (height, width), 0..1, as uint8 (height, width, 3).

    Raises:
        ValueError: if the shape is wrong, a value is outside 0..1 or not finite, or the colour map is unknown.
    """
    uncertainty = finite_map(uncertainty, "uncertainty")
    if uncertainty.min() < 0 or uncertainty.max() > 1:
        raise ValueError(
            f"uncertainty must lie within 0..1, but reaches from {uncertainty.min():g} to {uncertainty.max():g}."
        )
    return paint(uncertainty, 0.0, 1.0, cmap)
