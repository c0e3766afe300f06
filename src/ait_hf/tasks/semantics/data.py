# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sections of recipes for semantic segmentation, for tokenizers of label maps (the same ones), and for the
tokenizer of the masks of single classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import datasets
import torch
from huggingface_hub.dataclasses import strict
from torch.utils.data import Dataset, default_collate

from ...data.classes import DataClasses, learning_warnings
from ...data.collation import depth_collator
from ...data.label_map_shards import load_class_mask_shards, load_label_map_shards, shown_in_label_maps
from ...data.label_maps import ade20k_classes, load_ade20k, load_label_maps, shown_classes, split_folders
from ...data.pixels import height_and_width
from ...data.rooms.labels import LABEL_CLASSES, SyntheticLabelMaps
from ...data.semantic_transforms import (
    ClassMasks,
    ClassMaskTransform,
    EndlessClassMasks,
    SemanticEvalTransform,
    SemanticTrainTransform,
)
from ...model.tokenization_vq import IGNORED_LABEL
from ...recipes.shards import NamedClasses, Shards
from ...recipes.streams import Batch, DataRecipe, Sample, Stream


@strict
@dataclass
class SemanticTransformRecipe:
    """
    Arguments of [`~ait_hf.data.semantic_transforms.SemanticTrainTransform`].

    Args:
        image_size (`int` or `list[int]`): Height and width of the frame that images are fitted into, pixels.
        scale_range (`list[float]`): Of the random scale, 1 being the largest image that fits.
        flip_p (`float`): Share of mirrored images.
        color_p (`float`): Share of images whose colours are changed.
        normalize (`bool`): By ImageNet's mean and standard deviation.
    """

    image_size: int | list[int]
    scale_range: list[float] = field(default_factory=lambda: [0.5, 2.0])
    flip_p: float = 0.5
    color_p: float = 0.5
    normalize: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frame, pixels."""
        return height_and_width(self.image_size)


@strict
@dataclass(kw_only=True)
class LabelData(DataRecipe):
    """
    What all data sections with label maps share.

    Args:
        transform (`SemanticTransformRecipe`): Augmentation.
    """

    transform: SemanticTransformRecipe

    def class_names(self) -> list[str]:
        """Names of the classes, in the order of their numbers in `label_map`."""
        raise NotImplementedError

    def data_classes(self, split: str | None = None) -> DataClasses:
        """The classes of a split, by default of the rows to train on. Which of them are shown is known of tables."""
        rows = self.training_label_maps() if split is None else self.label_maps(split)
        shown = self.shown_classes(rows) if isinstance(rows, datasets.Dataset) else None
        return DataClasses(f"{self.source} ({split or self.split})", self.class_names(), shown)

    def tokenizer_warnings(self) -> list[str]:
        return learning_warnings(self.data_classes())

    def shown_classes(self, table: datasets.Dataset) -> set[int]:
        """The classes that some label map has."""
        return shown_classes(table)

    @property
    def source(self) -> str:
        """What messages call the data."""
        raise NotImplementedError

    def label_maps(self, split: str) -> Dataset | datasets.Dataset:
        """Rows with `image` and `label_map`."""
        raise NotImplementedError

    def training_label_maps(self) -> Dataset | datasets.Dataset:
        """The rows to train on."""
        return self.label_maps(self.split)


@strict
@dataclass(kw_only=True)
class SemanticData(LabelData):
    """Images with label maps, for semantic segmentation and for tokenizers of label maps."""

    unit: ClassVar[str] = "class"

    @property
    def image_size(self) -> tuple[int, int]:
        return self.transform.size

    @property
    def num_classes(self) -> int:
        return len(self.class_names())

    def load(self, split: str) -> Dataset | datasets.Dataset:
        return self.label_maps(split)

    def load_for_training(self) -> Dataset | datasets.Dataset:
        return self.training_label_maps()

    def stream(self, every: int = 1, *, first_class: int = 0, class_numbers: Sequence[int] | None = None) -> Stream:
        """
        Samples with `pixel_values`, `labels` (class numbers, 255 = ignored) and, in evaluation, `label_map`, that of the
        data set at the image's own size.

        Args:
            first_class: Number, in `labels`, of the task's first class.
            class_numbers: For every class of the data its number among the task's; by default the same.

        Raises:
            ValueError: A class would get the number that means ignored.
        """
        last = first_class + max(range(self.num_classes) if class_numbers is None else class_numbers)
        if last >= IGNORED_LABEL:
            raise ValueError(
                f"Classes of label maps must have numbers below {IGNORED_LABEL}, but those of {self.name} are "
                f"{first_class} to {last} in the model: give the task first in `tasks`."
            )
        size, normalize = self.image_size, self.transform.normalize
        numbers = {"first_class": first_class, "class_numbers": class_numbers}
        train_transform = SemanticTrainTransform(
            size,
            scale_range=tuple(self.transform.scale_range),
            flip_p=self.transform.flip_p,
            color_p=self.transform.color_p,
            normalize=normalize,
            **numbers,
        )
        eval_transform = SemanticEvalTransform(size, normalize, **numbers)
        return Stream(self, train_transform, eval_transform, semantic_collator, every)


def semantic_collator(samples: Sequence[Sample]) -> Batch:
    """Stacks `pixel_values` (float32 `(B, 3, H, W)`) and `labels` (int64 `(B, H, W)`), in training also `seeds` (int64
    `(B,)`); `label_map`, where the samples have it, differs in size and stays a list, `label_maps`. Errors as
    [`~ait_hf.data.collation.depth_collator`]."""
    batch = depth_collator(samples)
    if "seed" in samples[0]:
        batch["seeds"] = torch.stack([sample["seed"] for sample in samples])
    if "label_map" in samples[0]:
        batch["label_maps"] = [sample["label_map"] for sample in samples]
    return batch


@strict
@dataclass(kw_only=True)
class NumberedClasses(NamedClasses):
    """
    Label maps whose numbers one has to know.

    Args:
        first_id (`int`): Number in the files of the first class.
        class_ids (`list[int]`, *optional*): Number in the files of every class, in order, where these do not follow one
            another: 0 and 255 of black and white masks.
        ignored_ids (`list[int]`, *optional*): Numbers in the files of pixels that do not count; by default 255, unless
            that is a class's.
    """

    first_id: int = 0
    class_ids: list[int] | None = None
    ignored_ids: list[int] | None = None

    @property
    def numbers(self) -> dict[str, Any]:
        """As arguments of the functions that load label maps."""
        return {"first_id": self.first_id, "class_ids": self.class_ids, "ignored_ids": self.ignored_ids}


@strict
@dataclass(kw_only=True)
class LabelMapFolder(NumberedClasses, LabelData):
    """
    Your own images and label maps, see [`~ait_hf.data.label_maps.load_label_maps`].

    Args:
        root (`str`): Folder with `images/SPLIT` and `annotations/SPLIT`, or with `SPLIT` and `SPLITannot`.
    """

    root: str

    @property
    def source(self) -> str:
        return self.root

    def label_maps(self, split: str) -> datasets.Dataset:
        folders = split_folders(self.root, split)
        return load_label_maps(*folders, len(self.class_names()), **self.numbers)


@strict
@dataclass(kw_only=True)
class ADE20KFolder(LabelData):
    """ADE20K's scene parsing benchmark in the folder `root`, see [`~ait_hf.data.label_maps.load_ade20k`]."""

    root: str

    @property
    def source(self) -> str:
        return self.root

    def class_names(self) -> list[str]:
        return ade20k_classes(self.root)

    def label_maps(self, split: str) -> datasets.Dataset:
        return load_ade20k(self.root, split)


@strict
@dataclass(kw_only=True)
class SyntheticRooms(LabelData):
    """
    Rooms rendered on the fly, where floor, ceiling, walls and kinds of objects are the classes.

    Args:
        size (`list[int]`): Height and width in pixels.
        num_rooms (`int`, *optional*): Train on so many rooms again and again, rendered once: cheaper than ever new
            ones, which are the default.
        people (`bool`): With people, one class more.
    """

    size: list[int]
    seed: int = 0
    num_rooms: int | None = None
    people: bool = False

    @property
    def source(self) -> str:
        return "The data set of synthetic rooms"

    @property
    def is_endless(self) -> bool:
        return True

    def class_names(self) -> list[str]:
        return list(LABEL_CLASSES if self.people else LABEL_CLASSES[:-1])

    def label_maps(self, split: str) -> Dataset:
        return SyntheticLabelMaps(split, tuple(self.size), self.seed, people=self.people)

    def training_label_maps(self) -> Dataset:
        return SyntheticLabelMaps(self.split, tuple(self.size), self.seed, self.num_rooms, people=self.people)


@strict
@dataclass(kw_only=True)
class LabelMapsData(LabelMapFolder, SemanticData):
    """As [`LabelMapFolder`]."""

    name: Literal["label_maps"] = "label_maps"


@strict
@dataclass(kw_only=True)
class ADE20KData(ADE20KFolder, SemanticData):
    """As [`ADE20KFolder`]."""

    name: Literal["ade20k"] = "ade20k"


@strict
@dataclass(kw_only=True)
class SyntheticLabelsData(SyntheticRooms, SemanticData):
    """As [`SyntheticRooms`]."""

    name: Literal["synthetic_labels"] = "synthetic_labels"


@strict
@dataclass(kw_only=True)
class LabelMapShards(Shards, NumberedClasses, LabelData):
    """
    Any 🤗 data set with label maps.

    Args:
        label_map_column (`str`): Name of their column; of WebDataset the files' ending, such as "png".
    """

    label_map_column: str = "label_map"

    @property
    def source(self) -> str:
        return self.path

    def shown_classes(self, table: datasets.Dataset) -> set[int]:
        return shown_in_label_maps(table)


@strict
@dataclass(kw_only=True)
class LabelMapShardsData(LabelMapShards, SemanticData):
    """
    As [`LabelMapShards`].

    Args:
        image_column (`str`): Name of the column of images; of WebDataset the files' ending, such as "jpg".
    """

    name: Literal["label_map_shards"] = "label_map_shards"
    image_column: str = "image"

    def label_maps(self, split: str) -> datasets.Dataset | datasets.IterableDataset:
        return load_label_map_shards(
            self.path,
            split,
            len(self.class_names()),
            image_column=self.image_column,
            label_map_column=self.label_map_column,
            streaming=self.streaming,
            **self.numbers,
        )


AnySemanticData = LabelMapsData | LabelMapShardsData | ADE20KData | SyntheticLabelsData


@strict
@dataclass(kw_only=True)
class ClassMaskData(LabelData):
    """
    What the data sections for masks of whole classes share. Of `transform` the colours have no effect.

    Args:
        mask_size (`int`): Side of the square that every mask is squeezed into, pixels: the size at which the model
            knows it.
    """

    unit: ClassVar[str] = "mask"

    mask_size: int = 64

    @property
    def image_size(self) -> tuple[int, int]:
        return self.mask_size, self.mask_size

    def load(self, split: str) -> Dataset:
        return self._masks_of(self.label_maps(split))

    def load_for_training(self) -> Dataset:
        return self._masks_of(self.training_label_maps())

    def _masks_of(self, label_maps: Dataset | datasets.Dataset) -> Dataset:
        return EndlessClassMasks(label_maps) if self.is_endless else ClassMasks(label_maps)

    def stream(self) -> Stream:
        """Samples with `labels`, float32, 0 or 1."""
        size, transform = self.transform.size, self.transform
        train_transform = ClassMaskTransform(size, self.mask_size, tuple(transform.scale_range), transform.flip_p)
        return Stream(self, train_transform, ClassMaskTransform(size, self.mask_size), default_collate)


@strict
@dataclass(kw_only=True)
class LabelMapMasks(ClassMaskData, LabelMapFolder):
    """As [`LabelMapFolder`]."""

    name: Literal["label_map_masks"] = "label_map_masks"


@strict
@dataclass(kw_only=True)
class ADE20KMasks(ClassMaskData, ADE20KFolder):
    """As [`ADE20KFolder`]."""

    name: Literal["ade20k_masks"] = "ade20k_masks"


@strict
@dataclass(kw_only=True)
class SyntheticClassMasks(ClassMaskData, SyntheticRooms):
    """As [`SyntheticRooms`]."""

    name: Literal["synthetic_class_masks"] = "synthetic_class_masks"


@strict
@dataclass(kw_only=True)
class LabelMapMaskShards(LabelMapShards, ClassMaskData):
    """As [`LabelMapShards`], with a column `classes` as of [`~ait_hf.data.label_maps.load_label_maps`]; images are not read."""

    name: Literal["label_map_mask_shards"] = "label_map_mask_shards"

    def label_maps(self, split: str) -> datasets.Dataset | datasets.IterableDataset:
        """Rows with `label_map`, once for each of its classes, and `class_number`."""
        return load_class_mask_shards(
            self.path,
            split,
            len(self.class_names()),
            label_map_column=self.label_map_column,
            streaming=self.streaming,
            **self.numbers,
        )

    def shown_classes(self, table: datasets.Dataset) -> set[int]:
        return set(table.unique("class_number"))

    def load(self, split: str) -> datasets.Dataset | datasets.IterableDataset:
        return self.label_maps(split)

    def load_for_training(self) -> datasets.Dataset | datasets.IterableDataset:
        return self.label_maps(self.split)


AnyClassMaskData = LabelMapMasks | LabelMapMaskShards | ADE20KMasks | SyntheticClassMasks
