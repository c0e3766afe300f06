# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Random rooms with known depth, made on the fly: an endless training set and fixed evaluation sets, no download."""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from datasets import IterableDataset
from torch.utils.data import Dataset

from .rendering import CLASS_NAMES, render
from .rooms import random_scene


__all__ = [
    "CLASS_NAMES",
    "SPLITS",
    "NumberedPictures",
    "NumberedRooms",
    "SyntheticDepth",
    "random_scene",
    "render_room",
    "synthetic_rooms",
]

SPLITS = ("train", "validation", "test")
NUM_SHARDS = 64  # the most processes times workers that can share a split
EVALUATION_EXAMPLES = 64
ENDLESS = 2**62


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width as whole numbers; `ValueError` if they are none above 0."""
    if np.shape(size) != (2,) or any(int(length) != length or length < 1 for length in size):
        raise ValueError(f"size must be (height, width) in whole pixels, at least 1 each, but is {size!r}.")
    return int(size[0]), int(size[1])


def room_key(split: str, seed: int) -> tuple[int, int]:
    """First words of the seed of every room of a split; `ValueError` for an unknown one."""
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r} of synthetic rooms; there are: {', '.join(SPLITS)}.")
    return SPLITS.index(split), seed


def render_room(
    seed: int | Sequence[int] | np.random.SeedSequence,
    size: tuple[int, int] = (64, 64),
    *,
    people: bool = False,
    normals: bool = False,
    sensor: bool = True,
) -> dict[str, np.ndarray]:
    """Render one random room; the same seed shows the same room at every size, and with people the same furniture.

    Args:
        seed: whatever `numpy.random.default_rng` takes as a seed; the same seed gives the same bytes.
        size: (height, width), pixels.
        people: puts up to three people into the room, and `keypoints` and `person_ids` into the result.
        normals: adds `normals`.
        sensor: `False` leaves out `depth`, which takes a fifth of the time for small pictures.

    Returns:
        `image` uint8 (height, width, 3);
        `depth` float32 (height, width), metres along the optical axis, 0 where the simulated sensor has no reading
        (about 5 to 15 % of the pixels);
        `depth_complete`, the same without holes;
        `object_ids` uint8 (height, width), 0 for floor, ceiling and walls, 1..n for the visible objects;
        `class_ids` int64 (n,), the class of object id k in entry k - 1, an index into `CLASS_NAMES`;
        `label_map` uint8 (height, width), indices into [`LABEL_CLASSES`](~ait_hf.data.rooms.rendering);
        `keypoints` float32 (people, 17, 3), of every visible person the joints of
        [`~ait_hf.data.skeletons.COCO_SKELETON`]: x and y in pixels, whole numbers being the centres of pixels as in
        COCO, and visibility, 2 seen, 1 hidden, 0 outside the image (x and y are then 0 as well);
        `person_ids` uint8 (people,), their object ids;
        `normals` float32 (height, width, 3), unit vectors in camera axes (right, down, forward) that point out of the
        surface, so towards the camera.

    Raises:
        ValueError: if `size` is not two positive whole numbers.
    """
    size = check_size(size)
    rng = np.random.default_rng(seed)
    # The scene's many single numbers come from Python's generator, five times faster than numpy's for those.
    scene = random_scene(random.Random(rng.bytes(16)), people)
    return render(scene, size, rng, normals=normals, sensor=sensor)


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
        self.key = room_key(split, seed)
        self.split = split
        self.size = check_size(size)
        self.num_rooms = num_rooms
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
    """Random rooms by number, without end: those of [`synthetic_rooms`].

    Args:
        split, size, seed, num_rooms: see [`NumberedPictures`].
        people (`bool`): with people in the rooms.
    """

    def __init__(
        self, split: str, size: tuple[int, int], seed: int = 0, num_rooms: int | None = None, people: bool = False
    ):
        super().__init__(split, size, seed, num_rooms)
        self.people = people

    def render(self, index: int, **what) -> dict[str, np.ndarray]:
        """The room of that number, as of [`render_room`]."""
        return render_room((*self.key, index), self.size, people=self.people, **what)


class SyntheticDepth(NumberedRooms):
    """As [`NumberedRooms`]; items as [`render_room`] gives them."""

    def picture(self, index: int) -> dict[str, Any]:
        return self.render(index)


def synthetic_rooms(
    split: str, *, size: tuple[int, int], seed: int = 0, num_examples: int | None = None
) -> IterableDataset:
    """Random rooms as a 🤗 datasets `IterableDataset` of the fields of [`render_room`].

    Examples are plain numpy arrays (the data set has no `features`, which would send every array through Arrow). Use
    them as they are: `with_format("numpy")` and `with_format("torch")` would turn uint8 into int64.
    `class_ids` differs in length between examples. The data set has up to 64 shards, so several processes
    (`split_dataset_by_node`) and `DataLoader` workers see different rooms, and it resumes from `state_dict()`
    without rendering what came before. `set_epoch` changes the order of the shards.

    Args:
        split: "train", "validation" or "test". No two splits share a room, whatever their seeds.
        size: (height, width), pixels.
        seed: which rooms; at least 0 and below 2**32.
        num_examples: how many rooms. Defaults to no end (no room comes twice) for "train", and 64 otherwise.

    Raises:
        ValueError: if an argument is not one of these.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, but is {split!r}.")
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
    render_index = partial(_render_index, split=SPLITS.index(split), seed=seed, size=check_size(size))
    return indices.map(render_index, input_columns="index", remove_columns="index")


def _room_indices(shards: list[range]) -> Iterator[dict[str, int]]:
    for shard in shards:
        for index in shard:
            yield {"index": index}


def _render_index(index: int, *, split: int, seed: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    # Split and seed take one 32-bit word each, so different (split, seed, index) never make the same entropy.
    return render_room((split, seed, index), size)
