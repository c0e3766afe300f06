# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Label maps: the numbers in their files, the classes that these are, and the 🤗 datasets feature that decodes them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, BinaryIO, ClassVar

import datasets
import numpy as np

from ..model.tokenization_vq import IGNORED_LABEL
from .stored_images import open_numbers, register, stored_file, stored_name, stored_numbers


MAX_CLASSES = IGNORED_LABEL
_LARGEST = 255  # number in a file
_LABEL_MODES = ("1", "L", "P")  # one channel of at most 8 bits; the values of a palette's image are its class numbers


@dataclass(frozen=True)
class LabelNumbers:
    """What the numbers in label maps mean.

    Args:
        class_ids: number of every class, in the order of the classes.
        ignored_ids: numbers of pixels that do not count.
    """

    class_ids: tuple[int, ...]
    ignored_ids: tuple[int, ...]

    def table(self) -> np.ndarray:
        """The class of every number, int16 `(256,)`: 255 where it is ignored, -1 where it is neither."""
        table = np.full(_LARGEST + 1, -1, dtype=np.int16)
        table[list(self.class_ids)] = np.arange(len(self.class_ids))
        table[list(self.ignored_ids)] = IGNORED_LABEL
        return table

    def classes_of(self, found: Collection[int], name: str) -> list[int]:
        """The classes that the numbers found in a label map are, ascending; `ValueError`, with its `name`, for one that is
        neither a class nor ignored."""
        for number in found:
            if number not in self.class_ids and number not in self.ignored_ids:
                raise ValueError(
                    f"The label map {name} has the number {number}, but classes are {_listed(self.class_ids)} and "
                    f"{list(self.ignored_ids)} are ignored: class_ids gives the number of every class in order, "
                    "ignored_ids those that do not count."
                )
        return [label for label, number in enumerate(self.class_ids) if number in found]

    def check_found(self, found: Collection[int], where: str | PathLike) -> str:
        """
        Args:
            found: all numbers in all label maps.
            where: these are, for the message.

        Returns:
            A remark, or nothing: with a single class nothing but ignored pixels are left beside it.

        Raises:
            ValueError: of several classes all but one are ignored: everything would be that class, and be right.
        """
        ignored = sorted(set(found) & set(self.ignored_ids))
        if not ignored or len(set(found) & set(self.class_ids)) > 1:
            return ""
        numbers = sorted(found)
        if len(self.class_ids) == 1:
            return (
                f"The label maps of {where} have the numbers {numbers}, of which {ignored} are ignored: every pixel that counts "
                f"is the one class, {self.class_ids[0]}. If the ignored ones are to be told from it, name them as a class, too."
            )
        example = f" (such as {numbers})" if len(numbers) == len(self.class_ids) else ""
        raise ValueError(
            f"The label maps of {where} have only the numbers {numbers}, of which {ignored} are ignored: of "
            f"{len(self.class_ids)} classes not even two would be left to tell apart. Give class_ids, the number of every "
            f"class in order{example}, and leave them out of ignored_ids."
        )


def label_numbers(
    num_classes: int,
    first_id: int = 0,
    ignored_ids: Sequence[int] | None = None,
    class_ids: Sequence[int] | None = None,
) -> LabelNumbers:
    """
    Args:
        num_classes: number of classes, 1 to 255.
        first_id: number of the first class; the others follow.
        ignored_ids: numbers of pixels that do not count; by default 255, unless that is a class's.
        class_ids: number of every class, in their order, where these do not follow one another.

    Raises:
        ValueError: there are not so many numbers, one is given twice, or an ignored one is that of a class.
    """
    if class_ids is None:
        class_ids = range(first_id, first_id + num_classes)
        if not 1 <= num_classes <= MAX_CLASSES or first_id < 0 or class_ids[-1] > _LARGEST:
            raise ValueError(
                f"{num_classes} classes from number {first_id} on do not fit label maps of 8 bits: there are numbers 0 to "
                "255, one of them for pixels without a class."
            )
    elif first_id != 0:
        raise ValueError("class_ids says the number of every class: leave out first_id.")
    class_ids = tuple(class_ids)
    good = len(set(class_ids)) == len(class_ids) == num_classes and all(
        0 <= number <= _LARGEST for number in class_ids
    )
    if not good or num_classes > MAX_CLASSES:
        raise ValueError(
            f"class_ids must be {num_classes} different numbers of label maps (0 to 255), one for every class in order, "
            f"got {list(class_ids)}."
        )
    if ignored_ids is None:
        ignored_ids = {IGNORED_LABEL} - set(class_ids)
    for number in ignored_ids:
        if not 0 <= number <= _LARGEST or number in class_ids:
            raise ValueError(
                f"ignored_ids must be numbers of label maps (0 to 255) that are no class ({_listed(class_ids)}), got "
                f"{number}."
            )
    return LabelNumbers(class_ids, tuple(ignored_ids))


@dataclass
class LabelMap(datasets.Image):
    """Label map feature: stored as `datasets.Image`, on access a uint8 array `(height, width)` of classes 0..n-1, 255 =
    ignored.

    Args:
        class_ids, ignored_ids: as of [`LabelNumbers`].

    Raises:
        ValueError: on access, naming the file, if it has not one channel of at most 8 bits, a number that is neither a class
            nor ignored, or no pixel of a class.
    """

    class_ids: Sequence[int] = (0,)
    ignored_ids: Sequence[int] = (IGNORED_LABEL,)
    dtype: ClassVar[str] = "numpy.ndarray"
    _type: str = field(default="LabelMap", init=False, repr=False)

    def decode_example(self, value: dict[str, Any], token_per_repo_id: dict | None = None) -> np.ndarray:
        """Reads the file and gives its classes."""
        name = stored_name(value)
        with stored_file(value) as file:
            numbers = read_label_map(file, name)
        meaning = LabelNumbers(tuple(self.class_ids), tuple(self.ignored_ids))
        labels = np.take(meaning.table(), numbers, mode="clip")  # nothing is out of range; half the time of an index
        least = labels.min()
        if least < 0:
            meaning.classes_of(numbers_in(numbers), name)  # which says what is wrong
        if least == IGNORED_LABEL:
            raise ValueError(f"The label map {name} has no pixel of a class: leave it out of the data set.")
        return labels.astype(np.uint8)


def read_label_map(source: str | PathLike | BinaryIO, name: str) -> np.ndarray:
    """The numbers in a label map, uint8 `(height, width)`; `ValueError`, with its `name`, if it has not one channel of at most
    8 bits."""
    with open_numbers(source, name) as image:
        if image.mode not in _LABEL_MODES:
            raise ValueError(
                f"{name} is no label map: it has the mode {image.mode}, where one channel of 8 bits, or of fewer, or a palette, "
                "has to hold class numbers."
            )
        return stored_numbers(image, name)


def numbers_in(label_map: np.ndarray) -> list[int]:
    """The numbers that occur in a uint8 array, ascending."""
    return np.flatnonzero(np.bincount(label_map.reshape(-1), minlength=_LARGEST + 1)).tolist()


def _listed(numbers: Sequence[int]) -> str:
    if list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return str(list(numbers))


register(LabelMap)
