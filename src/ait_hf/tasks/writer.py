# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What `ait predict` does with photographs."""

from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from transformers import BaseImageProcessor

from ..inference.generating import check_frame
from ..model.modeling_ait import AiTForDenseTokenGeneration


Photographs = Mapping[Path, Image.Image]


class Writer(ABC):
    """Predicts photographs and writes what a task of a model, or an [`~ait_hf.inference.runtimes.ExportedTask`], says of
    them: by the `options` of the command, the `sizes` (height and width) of all photographs by their files, and `settings` of
    `generate()`. `ValueError` if the options or the image processor do not fit the model, or the photographs do not."""

    function: ClassVar[Callable[..., Sequence[Any]]]  # predicts a list of images

    def __init__(
        self,
        model: AiTForDenseTokenGeneration,
        processor: BaseImageProcessor,
        task: str,
        options: Namespace,
        sizes: Mapping[Path, tuple[int, int]],
        **settings,
    ):
        self.model, self.processor, self.task, self.options, self.settings = model, processor, task, options, settings
        self.check(sizes)

    def check(self, sizes: Mapping[Path, tuple[int, int]]) -> None:
        """`ValueError` for what does not fit; made ready is what the photographs need."""
        check_frame(self.model, self.processor, self.task)

    def __call__(self, photographs: Photographs, output: Path) -> list[np.ndarray]:
        """A picture of each, uint8 `(height, width, 3)`; files `NAME_ENDING` are written into the folder `output`."""
        return [
            np.asarray(self.write(prediction, image, lambda ending, stem=path.stem: output / f"{stem}_{ending}"))
            for (path, image), prediction in zip(photographs.items(), self.predict(photographs), strict=True)
        ]

    def predict(self, photographs: Photographs, **chosen) -> Sequence[Any]:
        """A prediction of each; `chosen` are settings that options say."""
        images = list(photographs.values())
        return self.function(self.model, self.processor, images, task=self.task, **chosen, **self.settings)

    def numbers(self, prediction: Any) -> dict[str, np.ndarray]:
        """All numbers of a photograph's prediction, by their names, as `npz` files hold them."""
        return {name: values.cpu().numpy() for name, values in prediction.items()}

    @abstractmethod
    def summary(self, prediction: Any) -> str:
        """What the prediction of a photograph says, in one sentence."""

    @abstractmethod
    def write(self, prediction: Any, image: Image.Image, file: Callable[[str], Path]) -> Image.Image | np.ndarray:
        """Writes the files of a photograph, which `file` names by their endings; gives a picture."""
