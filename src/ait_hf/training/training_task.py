# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What the training loop asks of a kind of model."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from ..recipes.evaluation import EvaluationRecipe
from ..recipes.streams import Batch, Stream, evaluation_batches


class TrainingTask(ABC):
    """
    What is particular to one kind of model.

    Attributes:
        model: What is trained.
        parts: Modules of it that `train.compile` makes graphs of, an encoder and a decoder.
        streams: Sources of samples by name.
        best_metric: Name of the metric that the best model is chosen by.
        lower_is_better: Whether the best is the lowest.
        warnings: What the user should know before the training starts.
    """

    model: nn.Module
    parts: Sequence[nn.Module]
    streams: dict[str, Stream]
    best_metric: str
    lower_is_better: bool
    warnings: Sequence[str] = ()

    @abstractmethod
    def loss(
        self,
        model: nn.Module,
        batches: Mapping[str, Batch],
        accelerator: Accelerator,
        divisors: Mapping[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """
        `"loss"` and other scalars to log, on every process the same names; `model` is `self.model` as Accelerate
        wrapped it, `batches` has a batch, on its device, of every stream that takes part in this step, `divisors` are its
        [`~TrainingTask.divisors`].
        """

    def divisors(self, forwards: Sequence[Mapping[str, Batch]], accelerator: Accelerator) -> dict[str, torch.Tensor]:
        """
        What the losses of one step are divided by, from the batches of all its forwards, which are still on the host, so
        that accumulated gradients are those of one large batch. None by default, for losses that are means over samples
        of one size.
        """
        return {}

    @contextmanager
    def step(self) -> Iterator[dict[str, torch.Tensor]]:
        """
        What the loop opens around the forwards of one step. Yields a dictionary that afterwards has the scalars that
        belong to the step as a whole, to log as those of `loss`.
        """
        yield {}

    def evaluation_loaders(
        self, accelerator: Accelerator, options: EvaluationRecipe, num_workers: int
    ) -> dict[str, DataLoader]:
        """What is evaluated, by the names of the streams; errors of the data show here."""
        return {
            name: evaluation_batches(
                stream,
                accelerator,
                split=options.split,
                num_samples=options.num_samples,
                batch_size=options.batch_size,
                num_workers=num_workers,
            )
            for name, stream in self.streams.items()
        }

    @abstractmethod
    def evaluate(
        self, model: nn.Module, loaders: Mapping[str, DataLoader], accelerator: Accelerator
    ) -> dict[str, float]:
        """Metrics, `best_metric` among them, at least on the main process; all processes call it."""

    def pictures(self, model: nn.Module, options: EvaluationRecipe) -> dict[str, Image.Image]:
        """Predictions beside the truth, drawn for every task by its name; called on the main process, if asked for."""
        return {}

    @abstractmethod
    def save(self, model: nn.Module, folder: Path) -> None:
        """Writes what `from_pretrained` loads."""

    def start(self, model: nn.Module, forwards: Sequence[Mapping[str, Batch]]) -> None:  # noqa: B027 (most need none)
        """Called once before the first step with the batches of its forwards, but not when a run is resumed."""
