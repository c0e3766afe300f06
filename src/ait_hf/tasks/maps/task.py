# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A dense task of one's own, with a map of any number of channels, as a task of a recipe."""

import re
from collections.abc import Sequence
from dataclasses import field
from typing import Any, ClassVar, Literal

import torch
from PIL import Image

from ...data.maps import UNIT_VECTOR
from ...data.pixels import processor_arguments
from ...drawing.colors import known_limits
from ...metrics.maps import ANGLE_ERRORS, VALUE_ERRORS
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTForDenseTokenGeneration
from ...model.tokenization_vq import VQTokenizer
from ...recipes.parsing import as_section
from ...recipes.streams import Batch
from ..base import GRID_LIMIT, DenseSettings, Kind, TaskText, code_grid, resized
from ..writer import Writer
from .data import AnyMapData, maps_from_folder
from .drawing import colorize_map, map_gallery
from .evaluation import (
    calibrate_entropy,
    evaluate_map_tokenizer,
    evaluate_maps,
    map_collator,
    map_gallery_rows,
    map_reconstruction,
)
from .prediction import MapWriter


# Words of sequences: the name of an own task is also that of its codes.
TAKEN_NAMES = ("coordinate", "class", "mask", "depth", "pose", "segment", "labels")


@as_section
class Maps(Kind):
    """A map of the whole image. The task's name, which is its key in the recipe's `tasks`, is also that of its codes."""

    title: ClassVar[str] = "dense tasks of one's own"
    tasks: ClassVar[Sequence[str]] = ()
    output_types: ClassVar[Sequence[str]] = ("map",)
    tokenizer_data: ClassVar[Any] = AnyMapData
    finetune_options: ClassVar[Sequence[str]] = ("scale", "offset", "image_column", "map_column")
    writer: ClassVar[type[Writer]] = MapWriter
    columns: ClassVar[Sequence[str]] = (*ANGLE_ERRORS, *VALUE_ERRORS, "perplexity", "num_images")
    model_class: ClassVar[type] = AiTForDenseTokenGeneration
    lower_is_better: ClassVar[bool] = True
    gives_uncertainty: ClassVar[bool] = True
    card: ClassVar[TaskText] = TaskText(
        gives="a map of the image, and how far off it may be, in the unit of its tokenizer",
        result='processor.post_process_dense_prediction(outputs, target_sizes=sizes)[0]["predicted_map"]',
        comment="(channels, height, width)",
        limits=(GRID_LIMIT,),
    )

    kind: Literal["map"] = "map"  # tells the section of an own task from those of the known ones
    data: AnyMapData  # of the tokenizer's unit and channels
    tokenizer: str | None = None  # folder or Hub name of the trained one of a new model
    settings: DenseSettings = field(default_factory=DenseSettings)

    def validate_name(self):
        if self.name in self.tasks:
            return
        if not re.fullmatch(r"[A-Za-z_][\w-]*", self.name) or self.name in TAKEN_NAMES:
            raise ValueError(
                f"{self.name!r} cannot be the name of an own task: take letters, digits, _ and -, and none of "
                f"{', '.join(TAKEN_NAMES)}."
            )

    @property
    def codebook(self) -> str:
        return self.name

    @property
    def unit(self) -> str:
        return self.data.unit

    @property
    def best_metric(self) -> str:
        return "mean_angle" if self.unit == UNIT_VECTOR else "rmse"

    def declaration(self, tokenizer: VQTokenizer) -> dict[str, Any]:
        if tokenizer.config.in_channels != self.data.num_channels:
            raise ValueError(
                f"tasks.{self.name}.tokenizer has {tokenizer.config.in_channels} channel(s), but the maps of "
                f"tasks.{self.name}.data have {self.data.num_channels}."
            )
        where = f"tasks.{self.name}.data.transform.crop_size"
        grid = {"grid_size": code_grid(where, self.data.image_size, tokenizer)}
        return super().declaration(tokenizer) | {"slots": [self.codebook], "output_type": self.output_types[0], **grid}

    def processor(self) -> AiTImageProcessor:
        height, width = self.data.image_size
        normalization = processor_arguments(self.data.transform.normalization)
        return AiTImageProcessor(size={"height": height, "width": width}, **normalization)

    def collate(self, rows, processor) -> Batch:
        transform = self.data.eval_transform()
        return map_collator([transform(row) for row in rows])

    def evaluate(self, model, processor, batches, options, classes=None, **measuring) -> dict[str, float]:
        self._check_tokenizer(model.task_tokenizer(self.name), "the model")
        return evaluate_maps(model, processor, batches, task=self.name, **measuring)

    def calibrate(self, model, processor, batches, **measuring) -> dict[str, float]:
        return calibrate_entropy(model, processor, batches, task=self.name, **measuring)

    def evaluate_tokenizer(
        self, tokenizer, rows, options, classes=None, *, image_size, processor=None, **measuring
    ) -> dict[str, float]:
        self._check_tokenizer(tokenizer, measuring["description"])
        batches = self.batches(rows, processor, measuring["accelerator"], options.batch_size)
        return self._rebuild(tokenizer, batches, image_size=image_size, **measuring)

    _rebuild = staticmethod(evaluate_map_tokenizer)

    def _check_tokenizer(self, tokenizer: VQTokenizer, name: str) -> None:
        config, data = tokenizer.config, self.data
        if (config.unit, config.in_channels) != (data.unit, data.num_channels):
            raise ValueError(
                f"The tokenizer of {name} is of {config.in_channels} channel(s) in {config.unit!r}, but the data "
                f"{data.name} are of {data.num_channels} in {data.unit!r}."
            )

    def adapted(self, declared, tokenizer, before, after, keeping) -> dict[str, Any]:
        return resized(self.name, self.data.image_size, tokenizer)

    reconstruction = staticmethod(map_reconstruction)

    @classmethod
    def tokenizer_config(cls, data) -> dict[str, Any]:
        return {"unit": data.unit, "in_channels": data.num_channels, "out_channels": data.num_channels}

    @classmethod
    def blank_sample(cls, data) -> torch.Tensor:
        return torch.zeros(1, data.num_channels, *data.image_size)

    @classmethod
    def map_painter(cls, config, truth):
        limits, unit = known_limits(truth.movedim(1, -1).numpy()), config["unit"]
        scale = f", {limits[0][0]:.3g} to {limits[1][0]:.3g} {unit}" if config["out_channels"] == 1 else ""
        return lambda values: colorize_map(values.transpose(1, 2, 0), unit, limits), scale

    def gallery(self, model, processor, rows, classes=None, **settings) -> Image.Image:
        batch = self.collate(rows, processor)
        return map_gallery(map_gallery_rows(model, processor, batch, task=self.name, **settings), self.unit)

    from_folder = staticmethod(maps_from_folder)
