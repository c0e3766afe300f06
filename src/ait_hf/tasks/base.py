# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a kind of task is: all that training and commands ask of it."""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate import Accelerator
from huggingface_hub.dataclasses import strict
from PIL import Image
from torch.utils.data import DataLoader
from transformers import BaseImageProcessor

from ..data.classes import DataClasses, Pairs, pair_classes
from ..data.pixels import height_and_width
from ..metrics.reconstruction import ReconstructionKind
from ..model.configuration_ait import TOKENIZER_CONFIGS, AiTConfig, AiTTaskConfig
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.objectives_ait import Tokenizer
from ..model.tokenization_vq import IGNORED_LABEL, VQTokenizer, mask_augmentation
from ..recipes.evaluation import EvaluationRecipe
from ..recipes.from_folder import FineTuning, Section
from ..recipes.streams import DataRecipe, Stream
from .card_text import TaskText
from .writer import Writer


CLASSES_BY_ORDER = "model.classes_by_order=true"


@strict
@dataclass
class DenseSettings:
    """Settings that tasks of one dense block share: fields of [`AiTTaskConfig`]. Each adds its `auxiliary_loss`."""

    soft_temperature: float = 1.0
    auxiliary_loss_weight: float = 1.0
    loss_weight: float = 1.0


@strict
@dataclass(kw_only=True)
class Kind(ABC):
    """
    A kind of task: the section of a recipe, with its data, sequence, losses, evaluation and image processor, and what
    commands ask of it. (Dense tasks also have `tokenizer`: folder or Hub name of the trained tokenizer of a new model.)

    Args:
        name (`str`): Name of the task in the model: its key in the recipe's `tasks`.
        every (`int`): The task takes part in every so-manieth step of the training, from the first on.

    Attributes:
        title: What messages call it.
        tasks: Names of its tasks; none where it is any name.
        output_types: What its models put out, see [`AiTTaskConfig`].
        units: What its tokenizers are in; none where it is any.
        tokenizer_class: Their class.
        columns: Metrics that the table of an evaluation shows, if they are there.
        writer: What `ait predict` does with photographs for its tasks.
        finetune_options: Arguments of [`~ait_hf.recipes.from_folder.FineTuning`] that only some kinds have.
        predict_options: Options of `ait predict` that not all kinds have.
        tokenizer_data: Data sections that its tokenizers are trained on.
        tokenizer_defaults: What a recipe need not say of the configuration of a new tokenizer.
        mask_ratio: Share of a sample that is hidden from a tokenizer in training, unless a recipe says otherwise.
        has_patches: Whether it is hidden in square patches.
        codebook: Name of the tokenizer, if the task has dense tokens.
        unit: What its tokenizer's maps are in.
        task_id: Row of the task embedding in a new model; `None` for the next free one.
        model_class: Head of a model that solves nothing else.
        best_metric, lower_is_better: Which metric says how good a model is, and its direction.
    """

    title: ClassVar[str]
    tasks: ClassVar[Sequence[str]]
    output_types: ClassVar[Sequence[str]]
    units: ClassVar[Sequence[str]] = ()
    tokenizer_class: ClassVar[type[Tokenizer]] = VQTokenizer
    columns: ClassVar[Sequence[str]]
    writer: ClassVar[type[Writer]]
    predict_options: ClassVar[Sequence[str]] = ()
    finetune_options: ClassVar[Sequence[str]] = ()
    tokenizer_data: ClassVar[Any]
    tokenizer_defaults: ClassVar[Mapping[str, Any]] = {}
    mask_ratio: ClassVar[float] = 0.0
    has_patches: ClassVar[bool] = True
    codebook: ClassVar[str | None] = None
    unit: ClassVar[str | None] = None
    task_id: ClassVar[int | None] = None
    model_class: ClassVar[type[AiTForDenseTokenGeneration]]
    best_metric: ClassVar[str]
    lower_is_better: ClassVar[bool]

    name: str
    every: int = 1

    def validate_every(self):
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}.")

    @classmethod
    @abstractmethod
    def check_options(cls, options: argparse.Namespace) -> None:
        """`ValueError` for options of `ait evaluate` that do not go together."""

    @staticmethod
    @abstractmethod
    def evaluate_command(
        options: argparse.Namespace, tokenizer: Tokenizer | None, accelerator: Accelerator
    ) -> dict[str, dict[str, float]]:
        """The values of every mode of the model and of every tokenizer, by name; writes what the options ask for."""

    @staticmethod
    @abstractmethod
    def from_folder(request: FineTuning, config: AiTConfig, size: list[int]) -> tuple[Section, str]:
        """
        The section of the task in a recipe that fine-tunes a model on what is in a folder, and the name of the split to
        evaluate on.

        Args:
            request: What is asked for, `request.data` being the folder, file or name on the Hub.
            config: Of the model.
            size: Height and width of what the model will see, pixels.

        Raises:
            FileNotFoundError, ValueError: The data are not there, not what they should be, or too few to hold any out.
        """

    def class_names(self) -> list[str]:
        """Classes of the task's data, numbered from 0; none by default."""
        return []

    @abstractmethod
    def declaration(self, tokenizer: Any) -> dict[str, Any]:
        """Arguments of [`AiTTaskConfig`] in a new model, but `task_id` and `class_range`. `tokenizer` is the trained
        one, if the task has dense tokens."""

    def data_classes(self, split: str | None = None) -> DataClasses | None:
        """Classes or joints of a split, by default of the samples to train on; `None` for a task without any."""
        return None

    def pair(self, data: DataClasses, config: AiTConfig, model: str, advice: str = "") -> Pairs:
        """
        Pairs classes of the data with the model's.

        Args:
            model (`str`): What messages call the model.
            advice (`str`): What messages say that can be done.

        Raises:
            ValueError: As [`~ait_hf.data.classes.pair_classes`].
        """
        return pair_classes(config.class_names(self.name), data, model, option=CLASSES_BY_ORDER, advice=advice)

    @abstractmethod
    def stream(self, declared: AiTTaskConfig, class_numbers: Sequence[int] | None = None) -> Stream:
        """
        Training and evaluation samples for a model that declares the task so.

        Args:
            class_numbers: For every class of the samples to train on its number among the task's; by default the same.
        """

    @abstractmethod
    def processor(self) -> BaseImageProcessor:
        """Makes of any image what the evaluation samples hold."""

    def check_evaluation(self, options: EvaluationRecipe) -> None:
        """`ValueError` for ground truth that an evaluation could not use, before a training starts. (Files are checked when
        their table is built.)"""
        return

    @abstractmethod
    def evaluate(
        self,
        model: AiTForDenseTokenGeneration,
        loader: DataLoader,
        accelerator: Accelerator,
        options: EvaluationRecipe,
        classes: Pairs | None = None,
    ) -> dict[str, float]:
        """Metrics on the evaluation samples, at least on the main process; all processes call it. Their `classes` have
        been paired with the model's; without, they are the same."""

    @abstractmethod
    def gallery(
        self,
        model: AiTForDenseTokenGeneration,
        processor: BaseImageProcessor,
        rows: Sequence[dict[str, Any]],
        classes: Pairs | None = None,
        **settings,
    ) -> Image.Image:
        """
        The model's predictions beside the truth.

        Args:
            rows: Examples of the task's data, one line of the picture each.
            classes: Those of the rows, paired with the model's; `None` if they are the same, or for a task without any.
            settings: Of the prediction.
        """

    def adapted(
        self,
        declared: AiTTaskConfig,
        tokenizer: Tokenizer | None,
        before: Sequence[str],
        after: Sequence[str],
        keeping: str | None,
    ) -> dict[str, Any]:
        """
        What the data change in the declaration of a trained model's task, but its `class_range`.

        Args:
            tokenizer: Of the task's codes, if it has any.
            before, after: Names of its classes.
            keeping: What messages call the model, if the tokenizer is still its own.

        Raises:
            ValueError: The tokenizer cannot take the data's classes or image size.
        """
        grid = {} if tokenizer is None else {"grid_size": mask_grid(tokenizer)}
        return {"image_size": list(self.data.image_size), **grid}

    @staticmethod
    @abstractmethod
    def text(declared: AiTTaskConfig) -> TaskText:
        """What the card of a model with such a task says."""

    # Of tokenizers; `data` is one of the sections `tokenizer_data`, samples are its `labels`.

    @staticmethod
    @abstractmethod
    def reconstruction(unit: str) -> ReconstructionKind:
        """What [`~ait_hf.metrics.ReconstructionMetric`] calls values in a unit."""

    @classmethod
    def tokenizer_config(cls, data: DataRecipe) -> dict[str, Any]:
        """What the data say of their tokenizer's configuration (beside the sample size, which maps may change)."""
        return {"unit": data.unit, "in_channels": 1, "out_channels": 1}

    @classmethod
    def blank_sample(cls, data: DataRecipe) -> torch.Tensor:
        """A batch of one sample, of the shape and type of the data's."""
        return torch.zeros(1, *data.image_size)

    @classmethod
    def sample_code(cls, config: Mapping[str, Any]) -> str:
        """Code of a sample for a tokenizer of that configuration, for its card."""
        height, width = height_and_width(config["sample_size"])
        return f"torch.rand(1, {config['in_channels']}, {height}, {width})  # {config['unit']}"

    @classmethod
    def hide(
        cls, samples: torch.Tensor, ratio: float, patch_size: int, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Samples of which a share is unknown; drawn from torch's global generator, unless one is given."""
        unknown = 0 if samples.is_floating_point() else IGNORED_LABEL
        return mask_augmentation(samples, ratio, patch_size, generator, value=unknown)

    @classmethod
    def rebuild(cls, tokenizer: Tokenizer, samples: torch.Tensor) -> torch.Tensor:
        """What a tokenizer makes of samples, on the CPU, as [`~Kind.painter`] takes them."""
        return tokenizer.detokenize(ids=tokenizer.tokenize(samples.to(tokenizer.device))).float().cpu()

    @classmethod
    @abstractmethod
    def painter(
        cls, data: DataRecipe, truth: torch.Tensor, longer_side: int
    ) -> tuple[Callable[[np.ndarray], Image.Image | np.ndarray], str]:
        """
        What paints a sample, with or without a channel of its own.

        Args:
            truth: Samples that the colours are chosen for.
            longer_side: Of the pictures that are made of it, pixels.

        Returns:
            A function to a picture, and what the title says of its colours, which are the same for all samples.
        """

    @classmethod
    def legend(cls, data: DataRecipe, samples: Sequence[np.ndarray], width: int) -> Image.Image | None:
        """What stands below the pictures of samples, so many pixels wide."""
        return None


def resized(name: str, size: tuple[int, int], tokenizer: VQTokenizer) -> dict[str, list[int]]:
    """What an adapted task whose codes stand for the whole image declares of that image's size; errors as of
    [`code_grid`]."""
    return {"image_size": list(size), "grid_size": code_grid(f"The image size of tasks.{name}.data", size, tokenizer)}


def code_grid(where: str, image_size: tuple[int, int], tokenizer: VQTokenizer) -> list[int]:
    """
    Rows and columns of codes that stand for an image.

    Args:
        where (`str`): Key of the recipe that the image's size comes from, for the message.

    Raises:
        ValueError: A side is no multiple of the tokenizer's pixels per code.
    """
    ratio, (height, width) = tokenizer.config.downsample_ratio, image_size
    if height % ratio or width % ratio:
        raise ValueError(
            f"{where} ({height} x {width}) must be a multiple of the tokenizer's {ratio} pixels per code."
        )
    return [height // ratio, width // ratio]


def sample_size(data: DataRecipe) -> int | list[int]:
    """One number for squares, as tokenizers save it."""
    height, width = data.image_size
    return height if height == width else [height, width]


def mask_grid(tokenizer: VQTokenizer) -> list[int]:
    """Rows and columns of codes that stand for a mask; `ValueError` if its masks are no squares."""
    height, width = tokenizer.map_size
    if height != width:
        raise ValueError(f"Masks are cut out as squares, but this tokenizer's are {height} x {width} pixels.")
    return [height // tokenizer.config.downsample_ratio] * 2


def class_table(classes: Mapping[str, Sequence[str]]) -> tuple[list[str], dict[str, list[int]]]:
    """
    All classes of a model, and the part of them that every task with classes uses: tasks with the same classes share
    them, the classes of others follow.

    Args:
        classes: Names of every task's classes; none for tasks without.
    """
    table: list[str] = []
    ranges, known = {}, {}
    for name, names in classes.items():
        if names and tuple(names) not in known:
            known[tuple(names)] = [len(table), len(table) + len(names)]
            table += names
        if names:
            ranges[name] = known[tuple(names)]
    return table, ranges


def classes_of_model(task: Kind, tokenizer: Tokenizer | None) -> list[str]:
    """Names of the classes of a task, in the model's order: where a tokenizer writes label maps, that of its numbers."""
    names = tokenizer.config.class_names if isinstance(tokenizer, VQTokenizer) else None
    return list(names) if names else task.class_names()


def tokenizer_arguments(tokenizer: Tokenizer) -> dict[str, Any]:
    """What [`AiTConfig`] says of a trained tokenizer."""
    names = [field.name for field in fields(TOKENIZER_CONFIGS[tokenizer.tokenizer_type])]
    return {"tokenizer_type": tokenizer.tokenizer_type, **{name: tokenizer.config[name] for name in names}}
