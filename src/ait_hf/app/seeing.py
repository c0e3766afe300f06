# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What every task of a model gives of one photograph: as a picture, in a sentence and as files."""

from argparse import Namespace
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import set_seed

from ..data.writing import write_file, write_json
from ..drawing.colors import colorize_uncertainty
from ..drawing.picture_files import save_image
from ..inference.images import image_height_and_width
from ..inference.loading import load_model, load_processor
from ..model.image_reading_ait import read_image
from ..tasks.base import Kind
from ..tasks.kinds import KINDS, kind_of_output


SEED = 0  # as that of `ait predict`
PERSON = "person"  # the name of their class
Box = list[float]  # x, y, width, height, pixels


@dataclass(frozen=True)
class Seen:
    """
    What a task gives of a photograph.

    Args:
        image: The photograph as it is read, uint8 `(height, width, 3)`.
        picture: What `ait predict` draws, uint8 `(height, width, 3)`.
        uncertainty: Its picture at the photograph's size, uint8, of tasks that give one.
        summary: One sentence.
        files: Those of `ait predict`, and `NAME_TASK.npz` with all numbers.
    """

    image: np.ndarray
    picture: np.ndarray
    uncertainty: np.ndarray | None
    summary: str
    files: list[Path]


class Seer:
    """
    A saved model with all its tasks.

    Args:
        folder: Of the model.
        device, dtype: As of [`~ait_hf.inference.loading.load_model`], with its errors.
    """

    def __init__(self, folder: str | Path, device: str | torch.device = "cpu", dtype: str = "float32"):
        self.folder = Path(folder)
        self.model = load_model(folder, device, dtype)
        config = self.model.config
        self.kinds: dict[str, type[Kind]] = {
            task: kind_of_output(task, config.task(task).output_type)
            for task in sorted(config.tasks, key=lambda task: config.task(task).task_id)
            if config.task(task).output_type is not None
        }
        if not self.kinds:
            raise ValueError(f"No task of {folder} declares a type of output: there is nothing to show.")
        self.processors = {task: load_processor(folder, task) for task in self.kinds}

    def takes(self, option: str) -> bool:
        """Whether an option of `ait predict`, that not all kinds have, means anything for the model."""
        return any(option in kind.predict_options for kind in self.kinds.values())

    @property
    def needs_boxes(self) -> bool:
        """Whether a task can do nothing without boxes of people, as no other task finds them."""
        return any(kind.needs_boxes(self.model.config) for kind in self.kinds.values())

    @property
    def knows_people(self) -> bool:
        """Whether a task is about people."""
        return self.takes("boxes") or PERSON in self.model.config.id2label.values()

    def see(
        self, photograph: Path, output: Path, threshold: float | None = None, boxes: list[Box] | None = None
    ) -> dict[str, Seen]:
        """
        All tasks of one photograph, in the order of the model's tasks.

        Args:
            photograph: Its file.
            output: Folder for the files, one inside it for each task.
            threshold: Least score, 0..1, of objects and of people that the model itself finds.
            boxes: Where people are; by default where the model finds them.

        Raises:
            ValueError: The file is no image, a box has no area in it, or a task cannot do without boxes.
        """
        image = read_image(photograph, photograph.name)
        options = dict.fromkeys(option for kind in KINDS for option in kind.predict_options)
        options |= {"model": self.folder, "threshold": threshold}
        file = output / "boxes.json"
        if boxes is not None:
            write_json(file, {photograph.name: boxes})
            options["boxes"] = file
        try:
            return {
                task: self._see(task, photograph, image, output / task, Namespace(**options)) for task in self.kinds
            }
        except ValueError as error:
            if boxes is None:
                raise
            raise ValueError(str(error).replace(str(file), "The boxes of people")) from error

    def _see(self, task: str, photograph: Path, image: Image.Image, folder: Path, options: Namespace) -> Seen:
        set_seed(SEED)  # objects are drawn at random, and the same photograph is to show the same ones
        folder.mkdir()
        sizes = {photograph: image_height_and_width(image)}
        writer = self.kinds[task].writer(self.model, self.processors[task], task, options, sizes)
        (prediction,) = writer.predict({photograph: image})
        name = partial("{}_{}".format, photograph.stem)
        picture = np.asarray(writer.write(prediction, image, lambda ending: folder / name(ending)))
        uncertainty = None
        if self.kinds[task].gives_uncertainty:
            uncertainty = colorize_uncertainty(prediction["uncertainty"].cpu().numpy().clip(0, 1))
            save_image(uncertainty, folder / name("uncertainty.png"))
        numbers = writer.numbers(prediction)
        write_file(folder / name(f"{task}.npz"), lambda file: np.savez_compressed(file, **numbers))
        return Seen(np.asarray(image), picture, uncertainty, writer.summary(prediction), sorted(folder.iterdir()))
