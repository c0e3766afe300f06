# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Training of other models as AiT is trained: the same data, augmentation, loop, checkpoints and evaluation.

What is particular to a kind of task is a [`Baseline`]: a network on the backbone's maps, its loss, and how predictions are
measured, by the functions that `ait evaluate` measures AiT with.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Union

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from PIL import Image
from safetensors.torch import save_model
from torch import nn
from transformers import BaseImageProcessor

from ...conversion.efficientnet import ARCHITECTURE, load_efficientnet_lite0
from ...recipes.parsing import as_section
from ...recipes.streams import Batch, EvaluationRecipe, Stream
from ...tasks.base import Kind
from ...tasks.kinds import KINDS
from ...training.loop import Batches, Loaders, Scalars, TrainingTask, train
from ...training.settings import Recipe


WEIGHTS = "model.safetensors"
ENCODER = f"tu-{ARCHITECTURE}"  # as segmentation_models_pytorch calls timm's
DECODER_CHANNELS = (128, 64, 32, 32, 16)  # of U-Nets, from the coarsest map on
COARSEST = 32  # pixels per step of the encoder's last map: sides of its images are multiples of it


class Baseline(nn.Module, ABC):
    """A network of one task beside AiT; `Baseline(task)` makes it."""

    @staticmethod
    def stream(task: Kind) -> Stream:
        """Training samples, as AiT sees them."""
        return task.data.stream()

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Losses by name, whose sum is learned, of what `forward(**inputs(batch))` gives."""

    def inputs(self, batch: Batch) -> dict[str, Any]:
        """Arguments of `forward` in training."""
        return {"pixel_values": batch["pixel_values"]}

    @abstractmethod
    def evaluate(
        self,
        task: Kind,
        processor: BaseImageProcessor,
        batches: Iterable[Batch],
        options: EvaluationRecipe,
        *,
        accelerator: Accelerator,
        **measuring,
    ) -> dict[str, float]:
        """As [`~ait_hf.tasks.base.Kind.evaluate`]."""


def with_imagenet(encoder: nn.Module) -> nn.Module:
    """An encoder of segmentation_models_pytorch, with the weights that AiT's backbone starts from."""
    _, weights = load_efficientnet_lite0()
    encoder.model.load_state_dict({name.removeprefix("_backbone."): value for name, value in weights.items()})
    return encoder


def padded(pixel_values: torch.Tensor) -> torch.Tensor:
    """
    Images with their last rows and columns repeated until the encoder can take them, and with the channels last, where
    convolutions are faster.
    """
    height, width = pixel_values.shape[-2:]
    images = F.pad(pixel_values, (0, -width % COARSEST, 0, -height % COARSEST), mode="replicate")
    return images.contiguous(memory_format=torch.channels_last)


@as_section
class BaselineRecipe(Recipe):
    """
    Args:
        tasks (`dict`): The one section of the task, of which the data alone say anything.
        model (`str`): Name of the baseline.
    """

    tasks: dict[str, Union[KINDS]]  # noqa: UP007 (any of them)
    model: Literal["depth-unet", "semantic-unet", "segformer", "mask-rcnn", "heatmaps"]

    @property
    def task(self) -> Kind:
        (task,) = self.tasks.values()
        return task


class BaselineTraining(TrainingTask):
    """A baseline in the loop that trains AiT."""

    parts = ()

    def __init__(self, recipe: BaselineRecipe, baseline: type[Baseline]):
        self.recipe, self.task = recipe, recipe.task
        self.model = baseline(self.task)
        self.streams = {self.task.name: baseline.stream(self.task)}
        self.processor = self.task.processor()
        self.best_metric, self.lower_is_better = self.task.best_metric, self.task.lower_is_better

    def counts(self, batches: Batches) -> Scalars:
        """None: the losses are means over what a forward has."""
        return {}

    def loss(self, model: nn.Module, batches: Batches, accelerator: Accelerator, divisors: Scalars) -> Scalars:
        (batch,) = batches.values()
        losses = self.model.loss(model(**self.model.inputs(batch)), batch)
        return {"loss": sum(losses.values()), **losses}

    def evaluation_loaders(self, accelerator: Accelerator, options: EvaluationRecipe, num_workers: int) -> Loaders:
        rows = self.task.data.examples(options.split, options.num_samples)
        loader = self.task.batches(rows, self.processor, accelerator, options.batch_size, num_workers)
        return {self.task.name: loader}

    def evaluate(self, model: Baseline, loaders: Loaders, accelerator: Accelerator) -> dict[str, float]:
        given = (self.task, self.processor, loaders[self.task.name], self.recipe.evaluation)
        return model.evaluate(*given, accelerator=accelerator)

    def pictures(self, model: Baseline, options: EvaluationRecipe) -> dict[str, Image.Image]:
        """None: `evaluation.pictures_every` is for AiT."""
        return {}

    def save(self, model: Baseline, folder: Path) -> None:
        save_model(model, str(folder / WEIGHTS))


def train_baseline(recipe: BaselineRecipe, baseline: type[Baseline]) -> list[dict[str, float]]:
    """Runs a recipe; result, files and errors as of [`~ait_hf.training.loop.train`]."""
    set_seed(recipe.seed)
    return train(BaselineTraining(recipe, baseline), recipe)
