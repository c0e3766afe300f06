# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a kind of task is: all that training and commands ask of it."""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
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
from ..metrics.reconstruction import ReconstructionErrors, ReconstructionKind
from ..model.configuration_ait import TOKENIZER_CONFIGS, AiTConfig, AiTTaskConfig
from ..model.image_processing_ait import AiTImageProcessor
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.objectives_ait import Tokenizer
from ..model.tokenization_vq import IGNORED_LABEL, VQTokenizer, mask_augmentation
from ..recipes.evaluation import EvaluationRecipe
from ..recipes.from_folder import FineTuning, Section
from ..recipes.streams import Batch, DataRecipe, EvalSamples, Sample, Stream, concatenated, evaluation_loader
from .card_text import TaskText
from .writer import Writer


CLASSES_BY_ORDER = "model.classes_by_order=true"
SYNTHETIC = "synthetic"
RELEASED_CODEBOOKS = ("mask", "depth")  # come first in the vocabulary, in this order; others follow as tasks name them


@dataclass(frozen=True)
class ShortForm:
    """
    What `ait evaluate --data` takes in the place of a recipe.

    Args:
        written: How messages write it.
        options: Options that say more of the data.
        required: What messages say if one of them is missing.
        has_splits: Whether `--split` says which part of the data.
    """

    written: str
    options: Sequence[str] = ()
    required: Mapping[str, str] = field(default_factory=dict)
    has_splits: bool = True

    def means(self, start: str, data: str) -> bool:
        """Whether `data` is of this form, which begins with `start`."""
        return data == start or not start or (start.endswith(":") and data.startswith(start))


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
        short_forms: What `ait evaluate --data` takes beside recipes, by what it begins with.
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
    short_forms: ClassVar[Mapping[str, ShortForm]] = {}
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
    def check_options(cls, options: argparse.Namespace) -> None:
        """`ValueError` for options of `ait evaluate` that do not go together."""
        return

    @classmethod
    def short_data(
        cls, options: argparse.Namespace, image_size: list[int], class_names: Sequence[str]
    ) -> dict[str, Any]:
        """
        The keys of the data section that one of the `short_forms` means, but `batch_size`.

        Args:
            options: Of `ait evaluate`.
            image_size: Height and width of what the model sees, or of a tokenizer's samples, pixels.
            class_names: Of the model's task; none if there is no model.
        """
        raise NotImplementedError

    @classmethod
    def prediction_settings(cls, options: argparse.Namespace, declared: AiTTaskConfig) -> dict[str, Any]:
        """What options of `ait evaluate` say of predictions: settings of [`~Kind.evaluate`] and [`~Kind.gallery`].
        `ValueError` for what the model cannot do."""
        return {}

    @classmethod
    def measuring_settings(cls, options: argparse.Namespace) -> dict[str, Any]:
        """What they say of the measuring: other settings of [`~Kind.evaluate`]."""
        return {}

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
        """Classes of the task's data, numbered from 0."""
        return self.data.class_names()

    @abstractmethod
    def declaration(self, tokenizer: Any) -> dict[str, Any]:
        """Arguments of [`AiTTaskConfig`] in a new model, but `task_id` and `class_range`. `tokenizer` is the trained
        one, if the task has dense tokens."""

    def data_classes(self, split: str | None = None) -> DataClasses | None:
        """Classes or joints of a split, by default of the samples to train on; `None` for a task without any."""
        return self.data.data_classes(split)

    def pair(
        self, data: DataClasses, config: AiTConfig, model: str, *, option: str = CLASSES_BY_ORDER, **pairing
    ) -> Pairs:
        """
        Pairs classes of the data with the model's; arguments and errors as of [`~ait_hf.data.classes.pair_classes`].

        Args:
            model (`str`): What messages call the model.
        """
        return pair_classes(config.class_names(self.name), data, model, option=option, **pairing)

    def shown(self, classes: Pairs | None) -> tuple[Sequence[str], Sequence[int] | None]:
        """Names of the classes in a picture, and which of them those of the data are; `None` if they are the same."""
        return (self.class_names(), None) if classes is None else (classes.names, classes.numbers)

    def owner_of_classes(self, model: str) -> str:
        """What messages say that the model's classes are of."""
        return model

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

    @abstractmethod
    def collate(self, rows: Sequence[Sample], processor: BaseImageProcessor) -> Batch:
        """Whole examples as a batch for [`~Kind.evaluate`], prepared as for a prediction."""

    def batches(
        self,
        rows: Sequence[Sample],
        processor: BaseImageProcessor,
        accelerator: Accelerator,
        batch_size: int,
        num_workers: int = 0,
    ) -> DataLoader:
        """What [`~Kind.evaluate`] takes, of examples by number; `SampleError` for one that cannot be read."""
        samples = EvalSamples(rows, _OneByOne(self, processor))
        return evaluation_loader(samples, concatenated, accelerator, batch_size, num_workers)

    @abstractmethod
    def evaluate(
        self,
        model: AiTForDenseTokenGeneration,
        processor: BaseImageProcessor,
        batches: Iterable[Batch],
        options: EvaluationRecipe,
        classes: Pairs | None = None,
        *,
        accelerator: Accelerator,
        description: str | None = None,
        **settings,
    ) -> dict[str, float]:
        """
        Metrics of a model on whole examples, at their own sizes: in training, and of `ait evaluate`.

        Args:
            model, processor: The model (not wrapped for training) and the image processor of the task.
            batches: Of [`~Kind.batches`].
            options: Which part of the data the batches are of, for its ground truth.
            classes: Those of the part, paired with the model's; `None` if they are the same, or for a task without any.
            accelerator ([`Accelerator`]): What prepared the batches; all processes call this.
            description: Title of a progress bar; without it there is none.
            settings: Of `generate()`, [`~Kind.prediction_settings`] and [`~Kind.measuring_settings`].
        """

    @abstractmethod
    def evaluate_tokenizer(
        self,
        tokenizer: Tokenizer,
        rows: Sequence[Sample],
        options: EvaluationRecipe,
        classes: Pairs | None = None,
        *,
        image_size: Sequence[int],
        processor: BaseImageProcessor | None = None,
        accelerator: Accelerator,
        description: str,
        **settings,
    ) -> dict[str, float]:
        """
        How well a tokenizer rebuilds the truth of whole examples, which a model that makes no mistake could reach, and how
        evenly it uses its codes.

        Args:
            rows: Examples by number.
            image_size: Height and width of what a model sees, pixels.
            processor: The model's image processor, if there is a model.
            description: What messages call the tokenizer, and the title of a progress bar.
            options, classes, accelerator, settings: As of [`~Kind.evaluate`].
        """

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
    def reconstruction(unit: str) -> ReconstructionKind | ReconstructionErrors:
        """What [`~ait_hf.metrics.ReconstructionMetric`] calls values in a unit, or how it measures them."""

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


@dataclass(frozen=True)
class _OneByOne:
    """Examples one after the other, so that one that cannot be read is known by its name."""

    task: Kind
    processor: BaseImageProcessor

    def __call__(self, row: Sample) -> Batch:
        return self.task.collate([row], self.processor)


def frame_processor(image_size: Sequence[int], *, normalize: bool) -> AiTImageProcessor:
    """The image processor that fits images into a frame of `image_size` (height, width) pixels."""
    height, width = image_size
    return AiTImageProcessor(
        size={"max_height": height, "max_width": width},
        do_normalize=normalize,
        do_pad=True,
        pad_size={"height": height, "width": width},
    )


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
