# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A part of a data set that stands for the whole."""

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Subset


def evenly(samples: Sequence, count: int | None) -> Sequence:
    """`count` of the samples, spread evenly from the first to the last; all if `None` or too many."""
    if count is None or count >= len(samples):
        return samples
    return Subset(samples, np.linspace(0, len(samples) - 1, count).round().astype(int).tolist())
