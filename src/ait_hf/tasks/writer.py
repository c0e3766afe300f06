# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What the prediction of files calls for the photographs of a batch: the `*_writer` of every kind makes one."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


# Writes the predictions of some photographs, given with their files, into a folder; gives a picture of each photograph's,
# uint8 (height, width, 3) at its size.
Writer = Callable[[Sequence[Path], Sequence[Image.Image]], list[np.ndarray]]
