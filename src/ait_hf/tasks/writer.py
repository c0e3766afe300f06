# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What `ait predict` does with photographs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Writer:
    """
    Predicts photographs and writes what a task says of them.

    Args:
        predict: From the files of a batch and their photographs to a prediction of each.
        write: Writes the files of a prediction, given with its photograph and what names a file by its ending; gives a
            picture, uint8 `(height, width, 3)`.
    """

    predict: Callable[[Sequence[Path], Sequence[Image.Image]], Sequence[Any]]
    write: Callable[[Any, Image.Image, Callable[[str], Path]], np.ndarray]

    def __call__(self, paths: Sequence[Path], images: Sequence[Image.Image], output: Path) -> list[np.ndarray]:
        """The pictures; files `NAME_ENDING` are written into the folder `output`."""
        return [
            self.write(prediction, image, lambda ending, stem=path.stem: output / f"{stem}_{ending}")
            for path, image, prediction in zip(paths, images, self.predict(paths, images), strict=True)
        ]
