# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images with label maps in any 🤗 data set, such as shards of what [`~ait_hf.data.label_maps.load_label_maps`] gives."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, ClassVar

import datasets
import numpy as np

from ..tokenization_vq import IGNORED_LABEL
from .label_maps import class_numbers, class_of_id, classes_in
from .shards import AnyTable, check_columns, check_first_rows, choose_columns, load_any, spread_rows


@dataclass
class LabelMap(datasets.Image):
    """Label map feature: stored as `datasets.Image`, on access a uint8 array `(height, width)` of classes 0..n-1, 255 =
    ignored.

    Args:
        num_classes, first_id, ignored_ids: as in [`~ait_hf.data.label_maps.load_label_maps`].

    Raises:
        ValueError: on access, naming the file, if it has not one channel of 8 bits, a number that is neither a class nor
            ignored, or no pixel of a class.
    """

    num_classes: int = 1
    first_id: int = 0
    ignored_ids: Sequence[int] = (IGNORED_LABEL,)
    dtype: ClassVar[str] = "numpy.ndarray"
    _type: str = field(default="LabelMap", init=False, repr=False)

    def decode_example(self, value: dict[str, Any], token_per_repo_id: dict | None = None) -> np.ndarray:
        """Reads the file and gives its classes."""
        numbers = class_numbers(super().decode_example(value, token_per_repo_id), name := value["path"] or "in a row")
        table = class_of_id(self.num_classes, self.first_id, self.ignored_ids)
        if not classes_in(numbers, table, name):
            raise ValueError(f"The label map {name} has no pixel of a class: leave it out of the data set.")
        return table[numbers].astype(np.uint8)


def load_label_map_shards(
    path_or_repo: str | PathLike,
    split: str,
    num_classes: int,
    *,
    image_column: str = "image",
    label_map_column: str = "label_map",
    first_id: int = 0,
    ignored_ids: Sequence[int] = (IGNORED_LABEL,),
    streaming: bool = False,
) -> AnyTable:
    """Loads any 🤗 data set that has a column of images and one of label maps.

    Args:
        path_or_repo: a Hub repository, a folder of shards or another that `load_dataset` understands, or one that
            `save_to_disk` wrote.
        split: split to load.
        num_classes, first_id, ignored_ids: as in [`~ait_hf.data.label_maps.load_label_maps`], of the stored numbers.
        image_column, label_map_column: names of the columns; of WebDataset the files' endings.
        streaming: `True` gives an `IterableDataset`.

    Returns:
        Examples with `image` (PIL, RGB) and `label_map` (uint8 array `(height, width)`, classes 0..n-1, 255 = ignored).

    Raises:
        ValueError: if the split or a column does not exist, the numbers make no sense, or none of the first label maps
            can be used.
    """
    class_of_id(num_classes, first_id, ignored_ids)
    label_map = LabelMap(num_classes=num_classes, first_id=first_id, ignored_ids=tuple(ignored_ids))
    features = {"image": datasets.Image(mode="RGB"), "label_map": label_map}
    return _load(path_or_repo, split, features, {"image": image_column, "label_map": label_map_column}, streaming)


def load_class_mask_shards(
    path_or_repo: str | PathLike,
    split: str,
    num_classes: int,
    *,
    label_map_column: str = "label_map",
    first_id: int = 0,
    ignored_ids: Sequence[int] = (IGNORED_LABEL,),
    streaming: bool = False,
) -> AnyTable:
    """Loads the label maps of any 🤗 data set once for each of their classes, for
    [`~ait_hf.data.semantic_transforms.ClassMaskTransform`].

    Arguments and errors as in [`load_label_map_shards`]; the data set needs a column `classes`, the list of the classes in
    each label map (0..n-1), as [`~ait_hf.data.label_maps.load_label_maps`] makes it.

    Returns:
        Examples with `label_map`, as there, and `class_number`, one of its classes.
    """
    class_of_id(num_classes, first_id, ignored_ids)
    label_map = LabelMap(num_classes=num_classes, first_id=first_id, ignored_ids=tuple(ignored_ids))
    features = {"label_map": label_map, "classes": datasets.List(datasets.Value("int64"))}
    dataset = _load(path_or_repo, split, features, {"label_map": label_map_column}, streaming)
    dataset = dataset.cast_column("label_map", datasets.Image(decode=False))
    features = datasets.Features({"label_map": label_map, "class_number": datasets.Value("int64")})
    return spread_rows(dataset, _one_by_one, features)


def _load(
    path_or_repo: str | PathLike, split: str, features: dict[str, Any], stored_as: dict[str, str], streaming: bool
) -> AnyTable:
    dataset = load_any(path_or_repo, split, streaming)
    check_columns(dataset, [stored_as.get(column, column) for column in features], path_or_repo)
    dataset = choose_columns(dataset, features, stored_as)
    check_first_rows(dataset)
    return dataset


def _one_by_one(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The label map as often as it has classes."""
    return [{"label_map": row["label_map"], "class_number": number} for number in row["classes"]]


with warnings.catch_warnings():  # datasets calls its registration experimental at every call
    warnings.simplefilter("ignore", UserWarning)
    datasets.features.features.register_feature(LabelMap, "LabelMap")
