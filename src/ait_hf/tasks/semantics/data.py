# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data of semantic segmentation and of tokenizers of label maps (the same ones), and masks of single classes for the
tokenizer of these."""

from collections.abc import Callable, Sequence
from dataclasses import field
from functools import partial
from typing import Any, ClassVar, Literal

import datasets
import torch
from torch.utils.data import Dataset, default_collate

from ...data import semantic_transforms as transforms
from ...data.classes import DataClasses, learning_warnings
from ...data.label_maps import (
    ade20k_classes,
    load_ade20k,
    load_class_mask_shards,
    load_label_map_shards,
    load_label_maps,
    shown_in_label_maps,
    split_folders,
)
from ...data.pixels import depth_collator
from ...data.tables import AnyTable, numbers_shown
from ...model.configuration_ait import AiTConfig
from ...model.tokenization_vq import IGNORED_LABEL
from ...recipes.from_folder import VALIDATION_NAMES, FineTuning, Section
from ...recipes.parsing import as_section, joined
from ...recipes.sources import NamedClasses, Rooms, Shards
from ...recipes.streams import Batch, DataRecipe, Sample, Source, Stream
from ..base import FrameTransformRecipe


@as_section
class NumberedClasses(NamedClasses):
    """Label maps whose numbers one has to know."""

    first_id: int = 0  # number in the files of the first class
    # Number of every class, in order, where these do not follow one another: 0 and 255 of black and white masks.
    class_ids: list[int] | None = None
    ignored_ids: list[int] | None = None  # numbers of pixels that do not count; by default 255, unless a class's

    @property
    def numbers(self) -> dict[str, Any]:
        """As arguments of the functions that load label maps."""
        return {"first_id": self.first_id, "class_ids": self.class_ids, "ignored_ids": self.ignored_ids}


@as_section
class LabelMapFiles(Source):
    """Images and label maps in the folder `root`."""

    root: str

    def title(self, split: str) -> str:
        return f"{self.root} ({split})"


@as_section
class LabelMapFolder(LabelMapFiles, NumberedClasses):
    """Your own images and label maps in `images/SPLIT` and `annotations/SPLIT`, or in `SPLIT` and `SPLITannot`, see
    [`~ait_hf.data.label_maps.load_label_maps`]."""

    name: Literal["label_maps"] = "label_maps"

    def label_maps(self, split: str, for_training: bool) -> datasets.Dataset:
        return load_label_maps(*split_folders(self.root, split), len(self.class_names()), **self.numbers)


@as_section
class ADE20K(LabelMapFiles):
    """ADE20K's scene parsing benchmark, see [`~ait_hf.data.label_maps.load_ade20k`]."""

    name: Literal["ade20k"] = "ade20k"

    def class_names(self) -> list[str]:
        return ade20k_classes(self.root)

    def label_maps(self, split: str, for_training: bool) -> datasets.Dataset:
        return load_ade20k(self.root, split)


@as_section
class ShardsOfClassMasks(Shards, NumberedClasses):
    """Any 🤗 data set with label maps, in `label_map_column` (of WebDataset the files' ending, such as "png"), and a
    column `classes` as of [`~ait_hf.data.label_maps.load_label_maps`]."""

    name: Literal["label_map_shards"] = "label_map_shards"
    label_map_column: str = "label_map"

    def class_masks(self, split: str) -> AnyTable:
        """Rows with `label_map`, once for each of its classes, and `class_number`."""
        return self._load(load_class_mask_shards, split)

    def _load(self, load: Callable[..., AnyTable], split: str, **columns: str) -> AnyTable:
        columns["label_map_column"] = self.label_map_column
        num_classes = len(self.class_names())
        return load(self.path, split, num_classes, streaming=self.streaming, **columns, **self.numbers)


@as_section
class ShardsOfLabelMaps(ShardsOfClassMasks):
    """Any 🤗 data set with label maps and images, these in `image_column` (of WebDataset their ending, as "jpg")."""

    image_column: str = "image"

    def label_maps(self, split: str, for_training: bool) -> AnyTable:
        return self._load(load_label_map_shards, split, image_column=self.image_column)


@as_section
class SemanticTransformRecipe(FrameTransformRecipe):
    """As [`FrameTransformRecipe`]; `color_p` (`float`) is the share of images whose colours are changed."""

    scale_range: list[float] = field(default_factory=lambda: [0.5, 2.0])
    color_p: float = 0.5


@as_section
class LabelData(DataRecipe):
    """What the views of label maps share."""

    transform: SemanticTransformRecipe

    def class_names(self) -> list[str]:
        """Names of the classes, in the order of their numbers in label maps."""
        return self.source.class_names()

    def data_classes(self, split: str | None = None) -> DataClasses:
        """The classes of a split, by default of the rows to train on. Of which there is something, a view's `shown_classes`
        says, if that is known of some rows."""
        rows = self.load_for_training() if split is None else self.load(split)
        return DataClasses(self.source.title(split or self.split), self.class_names(), self.shown_classes(rows))

    def tokenizer_warnings(self) -> list[str]:
        return learning_warnings(self.data_classes())


@as_section
class SemanticData(LabelData):
    """Images with label maps, for semantic segmentation and for tokenizers of label maps."""

    unit: ClassVar[str] = "class"

    of: Literal["labels"] = "labels"
    source: LabelMapFolder | ADE20K | ShardsOfLabelMaps | Rooms = joined()

    @property
    def num_classes(self) -> int:
        return len(self.class_names())

    def rows(self, split: str, for_training: bool = False) -> Dataset | AnyTable:
        return self.source.label_maps(split, for_training)

    def shown_classes(self, rows: Dataset | AnyTable) -> set[int] | None:
        if not isinstance(rows, datasets.Dataset):
            return None
        return shown_in_label_maps(rows) if isinstance(self.source, Shards) else numbers_shown(rows, "classes")

    def stream(self, every: int = 1, *, first_class: int = 0, class_numbers: Sequence[int] | None = None) -> Stream:
        """Samples with `pixel_values`, `labels` (class numbers, 255 = ignored) and, in evaluation, `label_map`, that
        of the data set at the image's own size.

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
        numbers = {"first_class": first_class, "class_numbers": class_numbers}
        changed = self.transform.arguments() | {"image_size": self.image_size}
        train_transform = transforms.SemanticTrainTransform(**changed, **numbers)
        eval_transform = transforms.SemanticEvalTransform(self.image_size, self.transform.normalization, **numbers)
        return Stream(self, train_transform, eval_transform, semantic_collator, every)


def semantic_collator(samples: Sequence[Sample]) -> Batch:
    """Stacks `pixel_values` (float32 `(B, 3, H, W)`) and `labels` (int64 `(B, H, W)`), in training also `seeds` (int64
    `(B,)`); `label_map`, where the samples have it, differs in size and stays a list, `label_maps`. Errors as
    [`~ait_hf.data.pixels.depth_collator`]."""
    batch = depth_collator(samples)
    if "seed" in samples[0]:
        batch["seeds"] = torch.stack([sample["seed"] for sample in samples])
    if "label_map" in samples[0]:
        batch["label_maps"] = [sample["label_map"] for sample in samples]
    return batch


@as_section
class ClassMaskData(LabelData):
    """Masks of whole classes, each squeezed into a square of `mask_size` (`int`) pixels: the size at which the model
    knows it. Of `transform` the colours have no effect."""

    unit: ClassVar[str] = "mask"

    of: Literal["class_masks"] = "class_masks"
    source: LabelMapFolder | ADE20K | ShardsOfClassMasks | Rooms = joined()
    mask_size: int = 64

    @property
    def image_size(self) -> tuple[int, int]:
        return self.mask_size, self.mask_size

    def rows(self, split: str, for_training: bool = False) -> Dataset | AnyTable:
        if isinstance(self.source, ShardsOfClassMasks):
            return self.source.class_masks(split)
        masks_of = transforms.EndlessClassMasks if self.is_endless else transforms.ClassMasks
        return masks_of(self.source.label_maps(split, for_training))

    def shown_classes(self, rows: Dataset | AnyTable) -> set[int] | None:
        if isinstance(rows, transforms.ClassMasks):
            return {number for _, number in rows.pairs}
        return set(rows.unique("class_number")) if isinstance(rows, datasets.Dataset) else None

    def stream(self, every: int = 1) -> Stream:
        """Samples with `labels`, float32, 0 or 1."""
        transform_to = partial(transforms.ClassMaskTransform, super().image_size, self.mask_size)
        changed = transform_to(tuple(self.transform.scale_range), self.transform.flip_p)
        return Stream(self, changed, transform_to(), default_collate, every)


def labels_from_folder(request: FineTuning, config: AiTConfig, size: list[int]) -> tuple[Section, str]:
    """As [`~ait_hf.tasks.base.Kind.from_folder`]: a folder of images and label maps."""
    if request.classes is None:
        raise ValueError("Label maps have numbers only: name their classes in order (classes).")
    for validation in VALIDATION_NAMES:
        try:
            split_folders(request.data, validation)
        except ValueError:  # no such split; a folder that has none at all is another error
            continue
        break
    else:
        raise ValueError(f"{request.data} has no split to evaluate on: name one of {', '.join(VALIDATION_NAMES)}.")
    split_folders(request.data, "train")
    transform = {"image_size": size}
    section = {"name": "label_maps", "root": request.data, "transform": transform}
    return {"data": section | request.given("classes", "class_ids", "ignored_ids")}, validation
