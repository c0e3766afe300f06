# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Random colours and patterns for [`~ait_hf.data.rooms.rendering`]."""

import math
import random

from .rendering import Material


def random_material(
    rng: random.Random,
    brightness: tuple[float, float],
    saturation: float,
    pattern_share: float,
    tile: tuple[float, float],
) -> Material:
    """Plain, checkered or striped, in two shades of one random hue; `tile` is the range of tile widths, metres."""
    hue, gray = rng.random(), 1 - rng.uniform(0.3, 1) * saturation
    level, darker = rng.uniform(*brightness), rng.uniform(0.4, 0.8)
    color = [level * (gray + (1 - gray) * (0.5 + 0.5 * math.cos(2 * math.pi * (hue + k / 3)))) for k in range(3)]
    frequency = [0.0, 0.0]
    if rng.random() < pattern_share:
        frequency = [1 / rng.uniform(*tile)] * 2
        if rng.random() < 0.5:
            frequency[rng.randrange(2)] = 0.0
    return Material((tuple(color), tuple(darker * value for value in color)), tuple(frequency))
