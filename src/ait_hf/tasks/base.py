# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a kind of task is: all that training and commands ask of it."""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch.utils.data import DataLoader
from transformers import BaseImageProcessor

from ..data import classes as naming
from ..data.classes import DataClasses, Pairs
from ..data.pixels import Normalize, height_and_width, mean_and_std, processor_arguments
from ..metrics.reconstruction import ReconstructionErrors, ReconstructionKind
from ..model.configuration_ait import TOKENIZER_CONFIGS, AiTConfig, AiTTaskConfig
from ..model.image_processing_ait import AiTImageProcessor
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.objectives_ait import Tokenizer
from ..model.tokenization_vq import IGNORED_LABEL, VQTokenizer, mask_augmentation
from ..recipes.from_folder import FineTuning, Section
from ..recipes.parsing import as_section
from ..recipes.streams import Batch, DataRecipe, EvalSamples, EvaluationRecipe, Sample, Stream, concatenated
from .writer import Writer


# What paints a sample as uint8 `(height, width, 3)` or a picture, and what a title says of its colours.
Painter = tuple[Callable[[np.ndarray], Image.Image | np.ndarray], str]
CLASSES_BY_ORDER = "model.classes_by_order=true"
ADVICE = " model.adapt=true gives the model the classes of the data."
SYNTHETIC = "synthetic"
GRID_LIMIT = "A map is decoded from a coarse grid of codes: fine structures are smoothed."
RELEASED_CODEBOOKS = ("mask", "depth")  # come first in the vocabulary, in this order; others follow as tasks name them


@dataclass(frozen=True)
class ShortForm:
    """What `ait evaluate --data` takes in the place of a recipe."""

    written: str  # how messages write it
    options: Sequence[str] = ()  # that say more of the data
    required: Mapping[str, str] = field(default_factory=dict)  # what messages say if one of them is missing
    has_splits: bool = True  # whether `--split` says which part of the data

    def means(self, start: str, data: str) -> bool:
        """Whether `data` is of this form, which begins with `start`."""
        return data == start or not start or (start.endswith(":") and data.startswith(start))


@dataclass(frozen=True)
class TaskText:
    """What model cards say of a task."""

    gives: str  # what the task gives, for readers
    result: str  # its code, from `outputs`, `processor`, `sizes` and, where the task needs them, `boxes`
    comment: str  # what the result is
    limits: tuple[str, ...] = ()  # what it does not do
    pipeline_tag: str | None = None  # the Hub's name of such a task, if it has one
    needs_boxes: bool = False  # whether the image processor takes boxes of people


@as_section
class DenseSettings:
    """Settings of tasks of one dense block: fields of [`AiTTaskConfig`]."""

    soft_temperature: float = 1.0
    auxiliary_loss_weight: float = 1.0
    loss_weight: float = 1.0
    auxiliary_loss: Literal["smooth_l1"] | None = "smooth_l1"


@as_section
class Kind(ABC):
    """A kind of task: the section of a recipe, with its data, sequence, losses, evaluation and image processor, and
    what commands ask of it. (Dense tasks also have `tokenizer`: folder or Hub name of the trained tokenizer of a new
    model.)"""

    title: ClassVar[str]  # what messages call it
    tasks: ClassVar[Sequence[str]]  # names of its tasks; none where it is any name
    output_types: ClassVar[Sequence[str]]  # what its models put out, see [`AiTTaskConfig`]
    columns: ClassVar[Sequence[str]]  # metrics that the table of an evaluation shows, if they are there
    best_metric: ClassVar[str]  # which says how good a model is ...
    lower_is_better: ClassVar[bool]  # ... and its direction
    model_class: ClassVar[type[AiTForDenseTokenGeneration]]  # head of a model that solves nothing else
    card: ClassVar[TaskText]  # what the card of a model with such a task says, unless it depends on its declaration
    task_id: ClassVar[int | None] = None  # row of the task embedding in a new model; `None` for the next free one
    writer: ClassVar[type[Writer]]  # what `ait predict` does with photographs for its tasks
    predict_options: ClassVar[Sequence[str]] = ()  # of `ait predict`, that not all kinds have
    finetune_options: ClassVar[Sequence[str]] = ()  # arguments of `FineTuning` that only some kinds have
    gives_uncertainty: ClassVar[bool] = False  # whether predictions have one, see [`~Kind.calibrate`]
    measuring_options: ClassVar[Sequence[str]] = ()  # of `ait evaluate`, that say how to measure
    short_forms: ClassVar[Mapping[str, ShortForm]] = {}  # `ait evaluate --data` beside recipes, by what it begins with
    # Of tokenizers, if the task has dense tokens.
    codebook: ClassVar[str | None] = None  # name of the tokenizer
    unit: ClassVar[str | None] = None  # what its maps are in
    units: ClassVar[Sequence[str]] = ()  # what tokenizers of the kind are in; none where it is any
    tokenizer_class: ClassVar[type[Tokenizer]] = VQTokenizer
    tokenizer_data: ClassVar[Any]  # data sections that they are trained on
    tokenizer_defaults: ClassVar[Mapping[str, Any]] = {}  # what a recipe need not say of a new one's configuration
    measured_as: ClassVar[ReconstructionKind | ReconstructionErrors]  # what is measured of them
    mask_ratio: ClassVar[float] = 0.0  # share of a sample that is hidden in training, unless a recipe says otherwise
    has_patches: ClassVar[bool] = True  # whether it is hidden in square patches

    name: str  # of the task in the model: its key in the recipe's `tasks`
    every: int = 1  # the task takes part in every so-manieth step of the training, from the first on

    def validate_every(self):
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}.")

    @classmethod
    def needs_boxes(cls, config: AiTConfig) -> bool:
        """Whether a model can predict photographs only where boxes are given, since it finds none itself."""
        return False

    @classmethod
    def check_options(cls, options: argparse.Namespace) -> None:
        """`ValueError` for options of `ait evaluate` that do not go together."""
        return

    @classmethod
    def short_data(
        cls, options: argparse.Namespace, image_size: list[int], class_names: Sequence[str]
    ) -> dict[str, Any]:
        """The keys of the data section that one of the `short_forms` means, but `batch_size`. `image_size` is the
        height and width of what the model sees, or of a tokenizer's samples, pixels; `class_names` are
        [`~Kind.names_of_model`] or, if there is no model, [`~Kind.names_of_tokenizer`]."""
        raise NotImplementedError

    @classmethod
    def prediction_settings(cls, options: argparse.Namespace, declared: AiTTaskConfig) -> dict[str, Any]:
        """What options of `ait evaluate` say of predictions: settings of [`~Kind.evaluate`] and [`~Kind.gallery`].
        `ValueError` for what the model cannot do."""
        return {}

    @classmethod
    def measuring_settings(cls, options: argparse.Namespace) -> dict[str, Any]:
        """What they say of the measuring: other settings of [`~Kind.evaluate`]."""
        return {name: getattr(options, name) for name in cls.measuring_options}

    @classmethod
    def names_of_model(cls, config: AiTConfig, task: str) -> list[str]:
        """Names of the classes, or joints, of a model's task; none if it does not know them."""
        return config.class_names(task)

    @classmethod
    def names_of_tokenizer(cls, config: Mapping[str, Any]) -> list[str]:
        """Names that a tokenizer alone knows of what data have to be read by."""
        return []

    @staticmethod
    @abstractmethod
    def from_folder(request: FineTuning, config: AiTConfig, size: list[int]) -> tuple[Section, str]:
        """The section of the task in a recipe that fine-tunes a model of this `config` on what is in a folder, file or
        data set on the Hub (`request.data`), and the name of the split to evaluate on; `size` is the height and width
        of what the model will see, pixels. `FileNotFoundError` or `ValueError` if the data are not there, not what
        they should be, or too few to hold any out."""

    def declaration(self, tokenizer: Any) -> dict[str, Any]:
        """Arguments of [`AiTTaskConfig`] in a new model, but `task_id` and `class_range`; those that all kinds have. `tokenizer`
        is the trained one, if the task has dense tokens."""
        return {"image_size": list(self.data.image_size), **asdict(self.settings)}

    def pair(
        self, data: DataClasses, config: AiTConfig, model: str, *, option: str = CLASSES_BY_ORDER, **pairing
    ) -> Pairs:
        """Pairs classes of the data with those of `model`, as messages call it; see [`~ait_hf.data.classes.pair_classes`]."""
        return naming.pair_classes(config.class_names(self.name), data, model, option=option, **pairing)

    def shown(self, classes: Pairs | None) -> tuple[Sequence[str], Sequence[int] | None]:
        """Names of the classes in a picture, and which of them those of the data are; `None` if they are the same."""
        return (self.data.class_names(), None) if classes is None else (classes.names, classes.numbers)

    def owner_of_classes(self, model: str) -> str:
        """What messages say that the model's classes are of."""
        return model

    def stream(self, declared: AiTTaskConfig, class_numbers: Sequence[int] | None = None) -> Stream:
        """Training and evaluation samples for a model that declares the task so. `class_numbers` say for every class of the
        samples to train on its number among the task's; by default they are the same."""
        return self.data.stream(self.every)

    def processor(self) -> BaseImageProcessor:
        """Makes of any image what the evaluation samples hold."""
        return frame_processor(self.data.image_size, normalize=self.data.transform.normalization)

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
        samples = EvalSamples(rows, partial(self._alone, processor))  # so one that cannot be read is known by its name
        return samples.loader(concatenated, accelerator, batch_size, num_workers)

    def _alone(self, processor: BaseImageProcessor, row: Sample) -> Batch:
        return self.collate([row], processor)

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
        """Metrics of a model on whole examples, at their own sizes: in training, and of `ait evaluate`.

        Args:
            model, processor: The model (not wrapped for training) and the image processor of the task.
            batches: Of [`~Kind.batches`].
            options: Which part of the data the batches are of, for its ground truth.
            classes: Those of the part, paired with the model's; `None` if they are the same, or for a task without any.
            accelerator ([`Accelerator`]): What prepared the batches; all processes call this.
            description: Title of a progress bar; without it there is none.
            settings: Of `generate()`, [`~Kind.prediction_settings`] and [`~Kind.measuring_settings`].
        """

    def calibrate(
        self, model: AiTForDenseTokenGeneration, processor: BaseImageProcessor, batches: Iterable[Batch], **measuring
    ) -> dict[str, float]:
        """The `entropy_temperature` of the task in [`AiTTaskConfig`] that fits these examples, and how well, of a kind that
        `gives_uncertainty`; arguments as of [`~Kind.evaluate`]. `ValueError` if none does."""
        raise NotImplementedError

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
        """How well a tokenizer rebuilds the truth of whole examples, which a model that makes no mistake could reach,
        and how evenly it uses its codes.

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
        """The model's predictions beside the truth, a line for each of the rows, which are examples of the task's
        data; `classes` as of [`~Kind.evaluate`], `settings` of the prediction."""

    def adapted(
        self,
        declared: AiTTaskConfig,
        tokenizer: Tokenizer | None,
        before: Sequence[str],
        after: Sequence[str],
        keeping: str | None,
    ) -> dict[str, Any]:
        """What the data change in the declaration of a trained model's task, but its `class_range`: `before` and
        `after` are names of its classes, `tokenizer` is that of its codes, if it has any, and `keeping` what messages
        call the model, if the tokenizer is still its own. `ValueError` if the tokenizer cannot take the data's classes
        or image size."""
        grid = {} if tokenizer is None else {"grid_size": mask_grid(tokenizer)}
        return {"image_size": list(self.data.image_size), **grid}

    @classmethod
    def text(cls, declared: AiTTaskConfig) -> TaskText:
        """What the card of a model with a task that is declared so says."""
        return cls.card

    # Of tokenizers; `data` is one of the sections `tokenizer_data`, samples are its `labels`.

    @classmethod
    def reconstruction(cls, unit: str) -> ReconstructionKind | ReconstructionErrors:
        """What [`~ait_hf.metrics.ReconstructionMetric`] calls values in a unit, or how it measures them."""
        return cls.measured_as

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
        return cls.decoded(tokenizer.detokenize(ids=tokenizer.tokenize(samples.to(tokenizer.device))))

    @classmethod
    def decoded(cls, output: torch.Tensor) -> torch.Tensor:
        """What a tokenizer's `detokenize` gives, on the CPU, as samples of its data."""
        return output.float().cpu()

    @classmethod
    def painter(cls, data: DataRecipe, truth: torch.Tensor, longer_side: int) -> Painter:
        """What paints a sample of the data, with or without a channel of its own, and what the title says of its
        colours, which are chosen for the samples `truth` and the same for all; `longer_side` is that of the pictures
        made of it, pixels."""
        return cls.map_painter(cls.tokenizer_config(data), truth)

    @classmethod
    def map_painter(cls, config: Mapping[str, Any], truth: torch.Tensor) -> Painter:
        """The same for samples, maps or masks, of a tokenizer of that configuration, whatever data they are of."""
        raise NotImplementedError

    @classmethod
    def legend(cls, data: DataRecipe, samples: Sequence[np.ndarray], width: int) -> Image.Image | None:
        """What stands below the pictures of samples, so many pixels wide."""
        return None


@as_section
class ImageTransformRecipe:
    """
    Args:
        normalize: By what images are normalised: `true` for ImageNet's mean and standard deviation, `false` for none (pixels
            are 0..1), or `{mean: [R, G, B], std: [R, G, B]}` of pixels in 0..1. By default as the images were that the
            weights were trained on which `model` starts from; where nothing says how, as `normalize_by_default`. The
            image processor that is saved with the model does the same.
    """

    normalize_by_default: ClassVar[bool] = True

    normalize: bool | dict[str, list[float | int]] | None = None

    def validate_normalize(self):
        mean_and_std(self.normalization)

    @property
    def normalization(self) -> Normalize:
        """What holds in the end."""
        return self.normalize_by_default if self.normalize is None else self.normalize

    def arguments(self) -> dict[str, Any]:
        """Of the transform that the recipe is of."""
        return asdict(self) | {"normalize": self.normalization}


@as_section
class FrameTransformRecipe(ImageTransformRecipe):
    """What is done to images that are fitted into a frame."""

    image_size: int | list[int]  # height and width of the frame, pixels
    scale_range: list[float] = field(
        default_factory=lambda: [0.1, 3.0]
    )  # of the random scale; 1: the largest that fits
    flip_p: float = 0.5  # share of mirrored images


def resized(name: str, size: tuple[int, int], tokenizer: VQTokenizer) -> dict[str, list[int]]:
    """What an adapted task whose codes stand for the whole image declares of that image's size; errors as of
    [`code_grid`]."""
    return {"image_size": list(size), "grid_size": code_grid(f"The image size of tasks.{name}.data", size, tokenizer)}


def frame_processor(image_size: Sequence[int], *, normalize: Normalize) -> AiTImageProcessor:
    """The image processor that fits images into a frame of `image_size` (height, width) pixels."""
    height, width = image_size
    size, padded = {"max_height": height, "max_width": width}, {"height": height, "width": width}
    return AiTImageProcessor(size=size, do_pad=True, pad_size=padded, **processor_arguments(normalize))


def code_grid(where: str, image_size: tuple[int, int], tokenizer: VQTokenizer) -> list[int]:
    """Rows and columns of codes that stand for an image; `ValueError`, which says `where` in the recipe its size comes from,
    if a side is no multiple of the tokenizer's pixels per code."""
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
    """All classes of a model, and the part of them that every task with classes uses, of the names of all tasks' classes: tasks
    with the same classes share them, the classes of others follow."""
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
    return list(names) if names else task.data.class_names()


def tokenizer_arguments(tokenizer: Tokenizer) -> dict[str, Any]:
    """What [`AiTConfig`] says of a trained tokenizer."""
    names = [field.name for field in fields(TOKENIZER_CONFIGS[tokenizer.tokenizer_type])]
    return {"tokenizer_type": tokenizer.tokenizer_type, **{name: tokenizer.config[name] for name in names}}


# The classes (or joints) of a task's data and of the model are paired by name before a training starts.


class TaskClasses(NamedTuple):
    """The classes of one task, paired with the model's; `None` for a task without any."""

    trained: Pairs | None = None  # those of the samples to train on
    evaluated: Pairs | None = None
    warnings: Sequence[str] = ()  # sentences for the user


def pair_task(task: Kind, config: AiTConfig, split: str, pretrained: str | None) -> TaskClasses:
    """The classes of a task and of `split`, which is evaluated, paired with those of a model; `pretrained` names a
    trained one whose classes stay as they are. `ValueError` if the data show a class that the model lacks, two classes
    have one name, or classes have no names."""
    data = task.data.data_classes()
    if data is None:
        return TaskClasses()
    model = pretrained or f"the model of tasks.{task.name}"
    if pretrained is None and data.names and naming.are_unnamed(data.names):
        raise ValueError(f"{data.source} has no names of its classes, only {data.names[0]!r}, ...: give them names.")
    advice = "" if pretrained is None else ADVICE
    trained = task.pair(data, config, model, advice=advice)
    evaluated, warnings = pair_split(task, split, config, model, advice=advice)
    return TaskClasses(trained, evaluated, naming.learning_warnings(data, trained.lacking) + warnings)


def pair_split(task: Kind, split: str, config: AiTConfig, model: str, **pairing) -> tuple[Pairs | None, list[str]]:
    """The classes of a split, paired with the model's by [`Kind.pair`], and what to tell before it is measured; `None` for a
    task without classes."""
    data = task.data.data_classes(split)
    if data is None:
        return None, []
    pairs = task.pair(data, config, model, **pairing)
    return pairs, naming.measuring_warnings(pairs, data, task.owner_of_classes(model))


def name_by_order(config: AiTConfig, tasks: Mapping[str, Kind], model: str) -> None:
    """Gives the classes of a trained model, which have no names, those of the data in their order; `ValueError` if they have
    names, or are not as many."""
    named = {}
    for name, task in tasks.items():
        data, known = task.data.data_classes(), config.class_names(name)
        if not known:
            continue
        pairs = naming.pair_by_order(known, data, model, CLASSES_BY_ORDER)
        named |= dict(zip(config.classes(name), pairs.names))
    if not named:
        raise ValueError(f"No task of this recipe has classes: leave out {CLASSES_BY_ORDER}.")
    config.id2label = config.id2label | named
    config.label2id = {label: number for number, label in config.id2label.items()}
