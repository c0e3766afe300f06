# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sections of recipes for objects (images with boxes, classes, masks) and for masks alone."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import datasets
from huggingface_hub.dataclasses import strict
from torch.utils.data import Dataset, default_collate
from torchvision.transforms import v2

from ...data.classes import DataClasses
from ...data.coco import coco_classes, load_coco, shown_labels
from ...data.coco_files import read_coco_file
from ...data.coco_shards import load_coco_shards, load_mask_shards, usable_objects
from ...data.collation import object_collator
from ...data.object_transforms import (
    CutMask,
    MaskCrops,
    MaskTrainTransform,
    ObjectEvalTransform,
    ObjectTrainTransform,
)
from ...data.pixels import height_and_width
from ...data.rooms.objects import OBJECT_CLASSES, PEOPLE_CLASSES, SyntheticMaskCrops, SyntheticObjects
from ...data.shards import stored_names
from ...recipes.shards import NamedClasses, Shards
from ...recipes.streams import DataRecipe, Sample, Stream
from .evaluation import coco_ground_truth


@strict
@dataclass
class CocoSplit:
    """A COCO annotation file and the folder of its images."""

    annotations: str
    images: str


@strict
@dataclass(kw_only=True)
class CocoFiles(DataRecipe):
    """
    Any data set in COCO's format, such as COCO and LVIS.

    Args:
        train, validation, test (`CocoSplit`): Files of the splits; the latter two may be left out.
    """

    train: CocoSplit
    validation: CocoSplit | None = None
    test: CocoSplit | None = None

    def files(self, split: str) -> CocoSplit:
        """`ValueError` for a split that the section does not have."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        given = {name: files for name, files in splits.items() if files is not None}
        if split not in given:
            raise ValueError(f"The data section {self.name} has no files of split {split!r}: it has {list(given)}.")
        return given[split]


@strict
@dataclass
class ObjectTransformRecipe:
    """
    Arguments of [`~ait_hf.data.object_transforms.ObjectTrainTransform`].

    Args:
        image_size (`int` or `list[int]`): Height and width of the frame that images are fitted into, pixels.
        scale_range (`list[float]`): Of the random scale, 1 being the largest image that fits.
        flip_p (`float`): Share of mirrored images.
        normalize (`bool`): By ImageNet's mean and standard deviation.
    """

    image_size: int | list[int]
    scale_range: list[float] = field(default_factory=lambda: [0.1, 3.0])
    flip_p: float = 0.5
    normalize: bool = True


@strict
@dataclass(kw_only=True)
class ObjectData(DataRecipe):
    """
    What all data sections for objects share.

    Args:
        transform (`ObjectTransformRecipe`): Augmentation.
    """

    transform: ObjectTransformRecipe
    with_masks: ClassVar[bool] = False  # see `wanting`

    @property
    def image_size(self) -> tuple[int, int]:
        return height_and_width(self.transform.image_size)

    def class_names(self) -> list[str]:
        """Names of the classes of a new model."""
        return self.categories()[0]

    def wanting(self, with_masks: bool) -> Self:
        """The section, whose files' objects without a mask are left out if `with_masks`."""
        data = copy.copy(self)
        data.with_masks = with_masks
        return data

    def categories(self, split: str | None = None) -> tuple[list[str], list[int]]:
        """Names and category ids (of the ground truth) of a split's classes, in the order of its `class_labels`; by
        default of the split to train on."""
        raise NotImplementedError

    def data_classes(self, split: str | None = None) -> DataClasses:
        """The classes of a split, by default of the rows to train on."""
        raise NotImplementedError

    def ground_truth(self, split: str, num_samples: int | None) -> dict[str, Any]:
        """A COCO dictionary with at least the annotations of the evaluated images, without what training leaves out."""
        raise NotImplementedError

    def check_ground_truth(self, split: str, num_samples: int | None) -> None:
        """`ValueError` for objects in shards that [`ObjectData.ground_truth`] cannot use."""

    def stream(
        self,
        every: int,
        *,
        max_objects: int,
        with_masks: bool,
        first_class: int = 0,
        class_numbers: Sequence[int] | None = None,
    ) -> Stream:
        """
        Samples with `pixel_values` and `labels`, dictionaries of boxes, classes (those to train on numbered by
        `class_numbers`, by default as in the data, from `first_class` on) and, if wanted, masks: then objects without one
        are left out.
        """
        train_transform = ObjectTrainTransform(
            self.image_size,
            scale_range=tuple(self.transform.scale_range),
            flip_p=self.transform.flip_p,
            max_objects=max_objects,
            normalize=self.transform.normalize,
            with_masks=with_masks,
            class_numbers=class_numbers,
        )
        eval_transform = ObjectEvalTransform(self.image_size, normalize=self.transform.normalize)
        collate = partial(object_collator, first_class=first_class)
        return Stream(self.wanting(with_masks), train_transform, eval_transform, collate, every)


@strict
@dataclass(kw_only=True)
class CocoData(CocoFiles, ObjectData):
    """Objects of a data set in COCO's format; training leaves out images without annotations, as published."""

    name: Literal["coco"] = "coco"

    def load_for_training(self) -> datasets.Dataset:
        files = self.files(self.split)
        return load_coco(files.annotations, files.images, keep_empty=False, with_masks=self.with_masks)

    def load(self, split: str) -> datasets.Dataset:
        files = self.files(split)
        return load_coco(files.annotations, files.images, with_masks=self.with_masks)

    def categories(self, split: str | None = None) -> tuple[list[str], list[int]]:
        return coco_classes(self.files(split or self.split).annotations)

    def data_classes(self, split: str | None = None) -> DataClasses:
        rows = self.load_for_training() if split is None else self.load(split)
        names, _ = self.categories(split)
        return DataClasses(self.files(split or self.split).annotations, names, shown_labels(rows))

    def ground_truth(self, split: str, num_samples: int | None) -> dict[str, Any]:
        return read_coco_file(Path(self.files(split).annotations), with_masks=self.with_masks).content


@strict
@dataclass(kw_only=True)
class SyntheticObjectsData(ObjectData):
    """
    Objects of rooms rendered on the fly.

    Args:
        size (`list[int]`): Height and width in pixels.
        num_rooms (`int`, *optional*): Train on so many rooms again and again, rendered once: cheaper than ever new
            ones, which are the default.
        people (`bool`): Put people into the rooms, who are one more class.
    """

    name: Literal["synthetic_objects"] = "synthetic_objects"
    size: list[int]
    seed: int = 0
    num_rooms: int | None = None
    people: bool = False

    @property
    def is_endless(self) -> bool:
        return True

    def load(self, split: str) -> Dataset:
        return SyntheticObjects(split, tuple(self.size), self.seed, people=self.people)

    def load_for_training(self) -> Dataset:
        return SyntheticObjects(self.split, tuple(self.size), self.seed, self.num_rooms, self.people)

    def categories(self, split: str | None = None) -> tuple[list[str], list[int]]:
        names = PEOPLE_CLASSES if self.people else OBJECT_CLASSES
        return list(names), list(range(len(names)))

    def data_classes(self, split: str | None = None) -> DataClasses:
        return DataClasses("The data set of synthetic rooms", self.categories(split)[0])

    def ground_truth(self, split: str, num_samples: int) -> dict[str, Any]:
        rooms = self.load(split)
        return coco_ground_truth([rooms[index] for index in range(num_samples)], self.categories(split)[1])


@strict
@dataclass(kw_only=True)
class ObjectShards(Shards):
    """
    Shards with rows as of [`~ait_hf.data.coco.load_coco`].

    Args:
        image_column (`str`): Column of the images; of WebDataset the files' ending, such as "jpg".
        json_column (`str`, *optional*): Of WebDataset, the ending of the files with all other columns.
    """

    image_column: str = "image"
    json_column: str | None = None


@strict
@dataclass(kw_only=True)
class CocoShardsData(ObjectShards, NamedClasses, ObjectData):
    """As [`ObjectShards`]; category ids are the numbers of the classes. Where the data set names them itself, as a
    `ClassLabel` does, its numbers are those of its own names."""

    name: Literal["coco_shards"] = "coco_shards"

    def load(self, split: str) -> datasets.Dataset | datasets.IterableDataset:
        return self._rows(split, with_images=True)

    def categories(self, split: str | None = None) -> tuple[list[str], list[int]]:
        names = None if self.json_column is not None else stored_names(self.path, split or self.split, "class_labels")
        names = names or self.class_names()
        return names, list(range(len(names)))

    def data_classes(self, split: str | None = None) -> DataClasses:
        """Which of them a stream shows is not known before it is read."""
        split = split or self.split
        shown = None if self.streaming else shown_labels(self._rows(split, with_images=False))
        return DataClasses(f"{self.path} ({split})", self.categories(split)[0], shown)

    def ground_truth(self, split: str, num_samples: int | None) -> dict[str, Any]:
        rows = self._rows(split, with_images=False)
        if self.streaming and num_samples is not None:  # the first ones, as `evaluation_batches` takes them
            rows = rows.take(num_samples)
        ids = self.categories(split)[1]
        return coco_ground_truth((usable_objects(row, len(ids)) for row in rows), ids)

    def check_ground_truth(self, split: str, num_samples: int | None) -> None:
        self.ground_truth(split, num_samples)

    def stream(self, every: int, **arguments) -> Stream:
        """As [`ObjectData.stream`]; a row that is not as it should be counts as unreadable."""
        stream, num_classes = super().stream(every, **arguments), len(self.categories()[0])
        train_transform, eval_transform = (
            partial(_checked, num_classes=num_classes, transform=transform)
            for transform in (stream.train_transform, stream.eval_transform)
        )
        return replace(stream, train_transform=train_transform, eval_transform=eval_transform)

    def _rows(self, split: str, with_images: bool) -> datasets.Dataset | datasets.IterableDataset:
        return load_coco_shards(
            self.path,
            split,
            len(self.categories(split)[0]),
            image_column=self.image_column,
            json_column=self.json_column,
            with_images=with_images,
            streaming=self.streaming,
        )


def _checked(row: Sample, *, num_classes: int, transform: Callable[[Sample], Sample]) -> Sample:
    return transform(usable_objects(row, num_classes))


AnyObjectData = CocoData | CocoShardsData | SyntheticObjectsData


@strict
@dataclass(kw_only=True)
class MaskData(DataRecipe):
    """
    What the data sections of the mask tokenizer share: masks of single objects, cut to their boxes.

    Args:
        mask_size (`int`): Side of the cut masks, pixels.
        flip_p (`float`): Share of mirrored masks in training.
    """

    unit: ClassVar[str] = "mask"

    mask_size: int = 64
    flip_p: float = 0.5

    @property
    def image_size(self) -> tuple[int, int]:
        return self.mask_size, self.mask_size

    def stream(self) -> Stream:
        """Samples with `labels`, 0 or 1."""
        return Stream(self, MaskTrainTransform(self.flip_p), _unchanged, default_collate)


@strict
@dataclass(kw_only=True)
class CocoMasks(CocoFiles, MaskData):
    """Masks of the objects of a data set in COCO's format; crowds, boxes under two pixels and objects without a mask are
    left out."""

    name: Literal["coco_masks"] = "coco_masks"

    def load(self, split: str) -> Dataset:
        files = self.files(split)
        rows = load_coco(files.annotations, files.images, with_masks=True)
        return MaskCrops(rows, self.mask_size, files.annotations)


@strict
@dataclass(kw_only=True)
class SyntheticMasks(MaskData):
    """Masks of the objects (and of the people) of rooms rendered on the fly, `size` = height and width in pixels."""

    name: Literal["synthetic_masks"] = "synthetic_masks"
    size: list[int]
    seed: int = 0
    people: bool = False

    @property
    def is_endless(self) -> bool:
        return True

    def load(self, split: str) -> Dataset:
        return SyntheticMaskCrops(split, tuple(self.size), self.seed, self.mask_size, self.people)


@strict
@dataclass(kw_only=True)
class CocoMaskShards(ObjectShards, MaskData):
    """As [`ObjectShards`]; crowds, boxes under two pixels and objects without a mask are left out, images
    not read."""

    name: Literal["coco_mask_shards"] = "coco_mask_shards"

    def load(self, split: str) -> datasets.Dataset | datasets.IterableDataset:
        return load_mask_shards(
            self.path,
            split,
            image_column=self.image_column,
            json_column=self.json_column,
            streaming=self.streaming,
        )

    def stream(self) -> Stream:
        """Samples with `labels`, 0 or 1."""
        cut = CutMask(self.mask_size)
        return Stream(self, v2.Compose([cut, MaskTrainTransform(self.flip_p)]), cut, default_collate)


AnyMaskData = CocoMasks | CocoMaskShards | SyntheticMasks


def _unchanged(sample: Sample) -> Sample:
    return sample
