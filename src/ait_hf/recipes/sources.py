# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Sources of samples that several kinds of tasks take views of, and what sources share."""

from collections.abc import Sequence
from dataclasses import field
from typing import Any, ClassVar, Literal

from torch.utils.data import Dataset

from ..data.label_maps import check_class_names, read_class_names
from ..data.rooms.depth import SyntheticDepth, SyntheticLabelMaps, SyntheticNormals
from ..data.rooms.objects import OBJECT_CLASSES, PEOPLE_CLASSES, SyntheticMaskCrops, SyntheticObjects
from ..data.rooms.rendering import HOLE_FRACTION, LABEL_CLASSES, ROOM_CLASSES
from ..data.tables import examples
from .parsing import as_section
from .streams import Source


@as_section
class Rooms(Source):
    """
    Rooms rendered on the fly; never the same one twice in training, unless `num_rooms` says so.

    Args:
        size (`list[int]`): Height and width in pixels.
        seed (`int`): Which rooms.
        num_rooms (`int`, *optional*): Train on so many rooms again and again, rendered once: cheaper than ever new
            ones, which are the default.
        people (`bool` or `float`): With people in the rooms, or in this share of them; they are one more class.
        hole_fraction (`list[float]`): Depth lacks a share of the pixels between these two.
    """

    is_endless: ClassVar[bool] = True

    name: Literal["synthetic"] = "synthetic"
    size: list[int]
    seed: int = 0
    num_rooms: int | None = None
    people: bool | float = False
    hole_fraction: list[float] = field(default_factory=lambda: list(HOLE_FRACTION))

    def title(self, split: str) -> str:
        """What messages call it."""
        return "The data set of synthetic rooms"

    def depth(self, split: str, for_training: bool) -> Dataset:
        return SyntheticDepth(**self._rooms(split, for_training), hole_fraction=self.hole_fraction)

    def normals(self, split: str, for_training: bool, shorter_side: int | None) -> Dataset:
        """`shorter_side` has no effect: normals are exact at every size."""
        return SyntheticNormals(**self._rooms(split, for_training))

    def objects(self, split: str, for_training: bool, with_masks: bool) -> Dataset:
        return SyntheticObjects(**self._rooms(split, for_training))

    def annotations(self, split: str, count: int, with_masks: bool) -> Sequence:
        return examples(self.objects(split, False, with_masks), count)

    def mask_crops(self, split: str, for_training: bool, mask_size: int) -> Dataset:
        return SyntheticMaskCrops(**self._rooms(split, for_training), mask_size=mask_size)

    def categories(self, split: str) -> tuple[list[str], list[int]]:
        names = PEOPLE_CLASSES if self.people else OBJECT_CLASSES
        return list(names), list(range(len(names)))

    def label_maps(self, split: str, for_training: bool) -> Dataset:
        return SyntheticLabelMaps(**self._rooms(split, for_training))

    def class_names(self) -> list[str]:
        """Of label maps."""
        return list(LABEL_CLASSES if self.people else ROOM_CLASSES)

    def _rooms(self, split: str, for_training: bool) -> dict[str, Any]:
        num_rooms = self.num_rooms if for_training else None
        return {"split": split, "size": self.size, "seed": self.seed, "num_rooms": num_rooms, "people": self.people}


@as_section
class CocoSplit:
    """A COCO annotation file and the folder of its images."""

    annotations: str
    images: str


@as_section
class CocoFiles(Source):
    """
    Any data set in COCO's format, such as COCO and LVIS.

    Args:
        train, validation, test (`CocoSplit`): Files of the splits; the latter two may be left out.
    """

    name: Literal["coco"] = "coco"
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


@as_section
class Shards(Source):
    """
    A 🤗 data set.

    Args:
        path (`str`): Folder of shards or another that `load_dataset` understands, a Hub repository, or a folder that
            `save_to_disk` wrote.
        streaming (`bool`): Read its shards in order, instead of making a table of them first.
    """

    is_checked: ClassVar[bool] = False

    path: str
    streaming: bool = False

    def title(self, split: str) -> str:
        """What messages call a split."""
        return f"{self.path} ({split})"


@as_section
class NamedClasses(Source):
    """
    Data whose files do not name their classes.

    Args:
        classes (`list[str]` or `str`): Names of the classes, or a file of them (one per line, or a table with the column
            `Name`).
    """

    classes: list[str] | str

    def class_names(self) -> list[str]:
        """In the order of their numbers; `FileNotFoundError` or `ValueError` if there are none, or one comes twice."""
        if isinstance(self.classes, str):
            return read_class_names(self.classes, None)
        check_class_names(self.classes, f"The list `classes` of the data section {self.name}", None)
        return [name.strip() for name in self.classes]
