# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data of objects: images with boxes, classes and masks, and masks alone."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import datasets
from torch.utils.data import Dataset, default_collate
from torchvision.transforms import v2

from ...data import object_transforms as transforms
from ...data.classes import DataClasses
from ...data.coco import coco_classes, load_coco
from ...data.coco_files import read_coco_file
from ...data.coco_shards import load_coco_shards, load_mask_shards, usable_objects
from ...data.pixels import object_collator
from ...data.tables import AnyTable, examples, numbers_shown, stored_names
from ...data.tiles import ObjectTiles
from ...model.configuration_ait import AiTConfig
from ...recipes.from_folder import FineTuning, Section, coco_splits
from ...recipes.parsing import as_section, joined
from ...recipes.sources import CocoFiles, NamedClasses, Rooms, Shards
from ...recipes.streams import DataRecipe, EvalSamples, Sample, Stream
from ..base import FrameTransformRecipe
from .evaluation import coco_ground_truth


@as_section
class CocoObjects(CocoFiles):
    """Objects of a data set in COCO's format; training leaves out images without annotations, as published."""

    def objects(self, split: str, for_training: bool, with_masks: bool) -> datasets.Dataset:
        files = self.files(split)
        return load_coco(files.annotations, files.images, keep_empty=not for_training, with_masks=with_masks)

    def mask_crops(self, split: str, for_training: bool, mask_size: int) -> Dataset:
        rows = self.objects(split, for_training=False, with_masks=True)
        return transforms.MaskCrops(rows, mask_size, self.files(split).annotations)

    def categories(self, split: str) -> tuple[list[str], list[int]]:
        return coco_classes(self.files(split).annotations)

    def title(self, split: str) -> str:
        return self.files(split).annotations

    def annotations(self, split: str, count: int | None, with_masks: bool) -> dict[str, Any]:
        return read_coco_file(Path(self.files(split).annotations), with_masks=with_masks).content


@as_section
class ShardsOfMasks(Shards):
    """Shards with rows as of [`~ait_hf.data.coco.load_coco`]."""

    name: Literal["coco_shards"] = "coco_shards"
    image_column: str = "image"  # of the images; of WebDataset the files' ending, such as "jpg"
    json_column: str | None = None  # of WebDataset, the ending of the files with all other columns

    def mask_crops(self, split: str, for_training: bool, mask_size: int) -> AnyTable:
        """Not cut yet, see [`~ait_hf.data.object_transforms.CutMask`]."""
        return load_mask_shards(self.path, split, streaming=self.streaming, **self.columns)

    @property
    def columns(self) -> dict[str, str | None]:
        return {"image_column": self.image_column, "json_column": self.json_column}


@as_section
class ShardsOfObjects(NamedClasses, ShardsOfMasks):
    """As [`ShardsOfMasks`]; category ids are the numbers of the classes. Where the data set names them itself, as a
    `ClassLabel` does, its numbers are those of its own names."""

    def objects(self, split: str, for_training: bool, with_masks: bool, with_images: bool = True) -> AnyTable:
        chosen = {"with_images": with_images, "streaming": self.streaming, **self.columns}
        return load_coco_shards(self.path, split, len(self.categories(split)[0]), **chosen)

    def annotations(self, split: str, count: int | None, with_masks: bool) -> Iterator[Sample]:
        rows = examples(self.objects(split, False, with_masks, with_images=False), count)
        num_classes = len(self.categories(split)[0])
        return (usable_objects(rows[number], num_classes) for number in range(len(rows)))

    def categories(self, split: str) -> tuple[list[str], list[int]]:
        names = None if self.json_column is not None else stored_names(self.path, split, "class_labels")
        names = names or self.class_names()
        return names, list(range(len(names)))


@as_section
class TilesRecipe:
    """Arguments of [`~ait_hf.data.tiles.ObjectTiles`], which say which objects are a tile's."""

    size: int  # side of a tile, pixels of the image
    overlap: int = 0  # of neighbouring tiles, at least; pixels

    def validate_overlap(self):
        if not 0 <= self.overlap < self.size:
            raise ValueError(f"overlap must be at least 0 and below size, {self.size}, got {self.overlap}.")


@as_section
class ObjectData(DataRecipe):
    """Images with objects, or tiles of them, which are then what is learned and measured."""

    with_masks: ClassVar[bool] = False  # see `wanting`

    of: Literal["objects"] = "objects"
    source: CocoObjects | ShardsOfObjects | Rooms = joined()
    tiles: TilesRecipe | None = None  # of files in COCO's format
    transform: FrameTransformRecipe

    def validate_tiles(self):
        if self.tiles is not None and not isinstance(self.source, CocoFiles):
            raise ValueError(f"tiles are of files in COCO's format, not of {self.source.name}: leave them out.")

    def rows(self, split: str, for_training: bool = False) -> Dataset | AnyTable:
        rows = self.source.objects(split, for_training, self.with_masks)
        return rows if self.tiles is None else ObjectTiles(rows, **asdict(self.tiles), keep_empty=not for_training)

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
        return self.source.categories(split or self.split)

    def data_classes(self, split: str | None = None) -> DataClasses:
        """The classes of a split, by default of the rows to train on. Which of them are shown is known of tables."""
        rows = self.source.objects(split or self.split, split is None, self.with_masks)
        shown = numbers_shown(rows, "class_labels") if isinstance(rows, datasets.Dataset) else None
        return DataClasses(self.source.title(split or self.split), self.categories(split)[0], shown)

    def ground_truth(self, split: str, num_samples: int | None) -> dict[str, Any]:
        """A COCO dictionary with at least the annotations of the evaluated images, without what training leaves out."""
        if self.tiles is not None:
            return coco_ground_truth(self.load(split), self.categories(split)[1])
        annotations = self.source.annotations(split, num_samples, self.with_masks)
        if isinstance(annotations, dict):
            return annotations
        return coco_ground_truth(annotations, self.categories(split)[1])

    def usable(self, rows: Sequence[Sample]) -> Sequence[Sample]:
        """The rows without objects that nothing can be measured on."""
        if self.source.is_checked:
            return rows
        return EvalSamples(rows, partial(usable_objects, num_classes=len(self.categories()[0])))

    def stream(
        self,
        every: int = 1,
        *,
        max_objects: int,
        with_masks: bool,
        first_class: int = 0,
        class_numbers: Sequence[int] | None = None,
    ) -> Stream:
        """Samples with `pixel_values` and `labels`, dictionaries of boxes, classes (those to train on numbered by
        `class_numbers`, by default as in the data, from `first_class` on) and, if wanted, masks: then objects without
        one are left out. A row of shards that is not as it should be counts as unreadable."""
        chosen = {"max_objects": max_objects, "with_masks": with_masks, "class_numbers": class_numbers}
        chosen |= self.transform.arguments() | {"image_size": self.image_size}
        train_transform = transforms.ObjectTrainTransform(**chosen)
        eval_transform = transforms.ObjectEvalTransform(self.image_size, normalize=self.transform.normalization)
        if not self.source.is_checked:
            checked = partial(usable_objects, num_classes=len(self.categories()[0]))
            train_transform, eval_transform = (v2.Compose([checked, t]) for t in (train_transform, eval_transform))
        collate = partial(object_collator, first_class=first_class)
        return Stream(self.wanting(with_masks), train_transform, eval_transform, collate, every)


@as_section
class MaskData(DataRecipe):
    """Masks of single objects, cut to their boxes, for the mask tokenizer. Crowds, boxes under two pixels and objects without
    a mask are left out, images not read."""

    unit: ClassVar[str] = "mask"

    of: Literal["masks"] = "masks"
    source: CocoObjects | ShardsOfMasks | Rooms = joined()
    mask_size: int = 64  # side of the cut masks, pixels
    flip_p: float = 0.5  # share of mirrored masks in training

    @property
    def image_size(self) -> tuple[int, int]:
        return self.mask_size, self.mask_size

    def rows(self, split: str, for_training: bool = False) -> Dataset | AnyTable:
        return self.source.mask_crops(split, for_training, self.mask_size)

    def stream(self, every: int = 1) -> Stream:
        """Samples with `labels`, 0 or 1."""
        cut = transforms.CutMask(self.mask_size)
        return Stream(self, v2.Compose([cut, v2.RandomHorizontalFlip(self.flip_p)]), cut, default_collate, every)


def objects_from_folder(request: FineTuning, config: AiTConfig, size: list[int]) -> tuple[Section, str]:
    """As [`~ait_hf.tasks.base.Kind.from_folder`]: COCO json files."""
    section = {"name": "coco"} | coco_splits(request)
    transform = {"image_size": size}
    return {"data": section | {"transform": transform}}, "validation"
