# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Random rooms with known depth, classes and normals, made on the fly: endless training sets and fixed evaluation
sets, no download."""

import math
import random
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from datasets import IterableDataset
from torch.utils.data import Dataset

from .rendering import HOLE_FRACTION, render
from .rooms import random_scene


SPLITS = ("train", "validation", "test")
NUM_SHARDS = 64  # the most processes times workers that can share a split
EVALUATION_EXAMPLES = 64
ENDLESS = 2**62
LATEST_PIXELS = 2**20  # of rooms that are remembered, about 14 MB: 256 rooms of 64 x 64 pixels

_latest: OrderedDict[tuple, dict[str, np.ndarray]] = OrderedDict()


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width as whole numbers; `ValueError` if they are none above 0."""
    if np.shape(size) != (2,) or any(int(length) != length or length < 1 for length in size):
        raise ValueError(f"size must be (height, width) in whole pixels, at least 1 each, but is {size!r}.")
    return int(size[0]), int(size[1])


def render_room(
    seed: int | Sequence[int] | np.random.SeedSequence,
    size: tuple[int, int] = (64, 64),
    people: bool = False,
    hole_fraction: tuple[float, float] = HOLE_FRACTION,
    *,
    normals: bool = False,
    sensor: bool = True,
) -> dict[str, np.ndarray]:
    """Render one random room; the same seed shows the same room at every size, and with people the same furniture.

    Args:
        seed: whatever `numpy.random.default_rng` takes as a seed; the same seed gives the same bytes.
        size: (height, width), pixels; `ValueError` if these are not two positive whole numbers.
        people: puts up to three people into the room, and `keypoints` (of
            [`~ait_hf.data.skeletons.COCO_SKELETON`]) and `person_ids` into the result.
        hole_fraction, normals, sensor: as of [`~ait_hf.data.rooms.rendering.render`]; by default `depth` lacks about 5 to
            15 % of the pixels.

    Returns:
        The picture of [`~ait_hf.data.rooms.rendering.render`].
    """
    size = check_size(size)
    rng = np.random.default_rng(seed)
    # The scene's many single numbers come from Python's generator, five times faster than numpy's for those.
    scene = random_scene(random.Random(rng.bytes(16)), people)
    return render(scene, size, rng, normals=normals, sensor=sensor, hole_fraction=hole_fraction)


def mean_depth(size: tuple[int, int], num_rooms: int) -> np.ndarray:
    """The mean of every pixel's known depths over the first rooms of the training split, float64 `size`, metres."""
    rooms, total, count = SyntheticDepth("train", size), np.zeros(size), np.zeros(size)
    for number in range(num_rooms):
        depth = rooms[number]["depth"]
        total += depth
        count += depth > 0
    return total / np.maximum(count, 1)


class NumberedPictures(Dataset, ABC):
    """Random pictures by number, without end.

    Args:
        split (`str`): "train", "validation" or "test"; no two share a picture.
        size (`(height, width)`): pixels.
        seed (`int`): which pictures; at least 0 and below 2**32.
        num_rooms (`int`, *optional*): only so many pictures, each rendered once and then kept in memory; item `n` is
            that of number `n % num_rooms`.
    """

    def __init__(self, split: str, size: tuple[int, int], seed: int = 0, num_rooms: int | None = None):
        if num_rooms is not None and num_rooms < 1:
            raise ValueError(f"num_rooms must be at least 1, got {num_rooms}.")
        if split not in SPLITS:
            raise ValueError(f"Unknown split {split!r} of synthetic rooms; there are: {', '.join(SPLITS)}.")
        # The first words of every room's seed, of 32 bits each: different (split, seed, index) never make the same entropy.
        self.key = SPLITS.index(split), seed
        self.split, self.size, self.num_rooms = split, check_size(size), num_rooms
        self._kept: dict[int, dict[str, Any]] = {}

    @abstractmethod
    def picture(self, index: int) -> dict[str, Any]:
        """Renders the picture of that number."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.num_rooms is None:
            return self.picture(index)
        index %= self.num_rooms
        if index not in self._kept:
            self._kept[index] = self.picture(index)
        return self._kept[index]


class NumberedRooms(NumberedPictures):
    """
    Random rooms by number, without end: those of [`synthetic_rooms`].

    Args:
        split, size, seed, num_rooms: As of [`NumberedPictures`].
        people (`bool` or `float`): Puts people into them, or into this share of them, evenly among the numbers.
        hole_fraction (`(float, float)`): The sensor's depth lacks a share of the pixels between these two.
    """

    def __init__(
        self,
        split: str,
        size: tuple[int, int],
        seed: int = 0,
        num_rooms: int | None = None,
        people: bool | float = False,
        hole_fraction: tuple[float, float] = HOLE_FRACTION,
    ):
        super().__init__(split, size, seed, num_rooms)
        if not 0 <= people <= 1:
            raise ValueError(f"people must be true, false or a share of the rooms between 0 and 1, but is {people}.")
        if len(hole_fraction) != 2 or not 0 <= hole_fraction[0] <= hole_fraction[1] < 1:
            raise ValueError(
                f"hole_fraction must be two shares from 0 to below 1, the lower first, not {hole_fraction}."
            )
        self.people, self.hole_fraction = people, tuple(hole_fraction)

    def with_people(self, index: int) -> bool:
        """Whether the room of that number is one that people are put into."""
        return int((index + 1) * self.people) > int(index * self.people)

    def render(self, index: int, sensor: bool = True, normals: bool = False) -> dict[str, np.ndarray]:
        """At least what [`render_room`] gives of the room of that number. The latest rooms are remembered, for several tasks
        often see the same: whoever wants the sensor's depth should come first, and nobody may change the arrays."""
        name = (*self.key, index), self.size, self.with_people(index), self.hole_fraction
        room = _latest.pop(name, None)
        if room is None or (sensor and "depth" not in room) or (normals and "normals" not in room):
            room = render_room(*name, normals=normals, sensor=sensor)
        _latest[name] = room
        while len(_latest) > max(1, LATEST_PIXELS // math.prod(self.size)):
            _latest.popitem(last=False)
        return room

    def columns(self, index: int, *names: str, **what) -> dict[str, Any]:
        """Of that room only these columns, and as its `path` a text that names it."""
        room = self.render(index, sensor=False, **what)
        return {name: room[name] for name in names} | {"path": f"room {self.split}/{index}"}


class SyntheticDepth(NumberedRooms):
    """[`NumberedRooms`] with items as [`render_room`] gives them."""

    def picture(self, index: int) -> dict[str, Any]:
        return self.render(index)


class SyntheticLabelMaps(NumberedRooms):
    """[`NumberedRooms`] with items of `image` uint8 `(h, w, 3)`, `label_map` uint8 `(h, w)` (indices into
    [`LABEL_CLASSES`](~ait_hf.data.rooms.rendering), of which the last, "person", is nowhere without people; no pixel
    is ignored) and `path`."""

    def picture(self, index: int) -> dict[str, Any]:
        return self.columns(index, "image", "label_map")


class SyntheticNormals(NumberedRooms):
    """[`NumberedRooms`] with items of `image` uint8 `(h, w, 3)`, `normals` float32 `(h, w, 3)` (unit vectors in camera
    axes right, down and forward that point towards the camera; every pixel has one) and `path`."""

    def picture(self, index: int) -> dict[str, Any]:
        return self.columns(index, "image", "normals", normals=True)


def synthetic_rooms(
    split: str, *, size: tuple[int, int], seed: int = 0, num_examples: int | None = None
) -> IterableDataset:
    """Random rooms as a 🤗 datasets `IterableDataset` of the fields of [`render_room`].

    Examples are plain numpy arrays (the data set has no `features`, which would send every array through Arrow). Use
    them as they are: `with_format("numpy")` and `with_format("torch")` would turn uint8 into int64.
    `class_ids` differs in length between examples. The data set has up to 64 shards, so several processes
    (`split_dataset_by_node`) and `DataLoader` workers see different rooms, and it resumes from `state_dict()`
    without rendering what came before. `set_epoch` changes the order of the shards.

    Arguments are those of [`NumberedPictures`], and how many rooms: by default without end (no room comes twice) for
    "train", and 64 otherwise. No two splits share a room, whatever their seeds. `ValueError` if an argument is not one
    of these.
    """
    rooms = SyntheticDepth(split, size, seed)
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be at least 0 and below 2**32, but is {seed}.")
    if num_examples is not None and num_examples < 1:
        raise ValueError(f"num_examples must be at least 1, but is {num_examples}.")
    if num_examples is None:
        num_examples = ENDLESS if split == "train" else EVALUATION_EXAMPLES
    num_shards = min(NUM_SHARDS, num_examples)
    shards = [range(first, num_examples, num_shards) for first in range(num_shards)]
    # The generator yields bare numbers and `map` renders them: datasets resumes a generator by running it again.
    indices = IterableDataset.from_generator(_room_indices, gen_kwargs={"shards": shards}, split=split)
    return indices.map(rooms.picture, input_columns="index", remove_columns="index")


def _room_indices(shards: list[range]) -> Iterator[dict[str, int]]:
    yield from ({"index": index} for shard in shards for index in shard)
