# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Random rooms with known depth, made on the fly: an endless training set and fixed evaluation sets, no download."""

import math
import random
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from datasets import IterableDataset

from .rendering import (
    CLASS_NAMES,
    STRUCTURE,
    Box,
    Camera,
    Cylinder,
    Material,
    Plane,
    Scene,
    SceneObject,
    Sphere,
    render,
)


__all__ = ["CLASS_NAMES", "SPLITS", "random_scene", "render_room", "synthetic_rooms"]

SPLITS = ("train", "validation", "test")
NUM_SHARDS = 64  # the most processes times workers that can share a split
EVALUATION_EXAMPLES = 64
ENDLESS = 2**62

Extent = tuple[float, float, float]  # width along x, length along y, height along z, metres

# All metres. No corner is farther from the camera than 10 m, the farthest that NYUv2's sensor reads.
ROOM_WIDTH, ROOM_LENGTH, ROOM_HEIGHT = (2.5, 6.5), (2.8, 7.6), (2.3, 3.2)
NUM_OBJECTS = (2, 8)
WALL_OBJECT_SHARE = 0.3
PLACEMENT_ATTEMPTS = 24
NEAREST_OBJECT = 0.6  # from the camera to an object's nearest point
CAMERA_CLEARANCE = 0.3  # from the camera to the walls


def random_scene(rng: random.Random) -> Scene:
    """Draw a furnished room and a camera in it.

    Args:
        rng: the only source of randomness.

    Returns:
        A closed [`~ait_hf.data.rendering.Scene`] in which every depth lies between about 0.3 and 10 metres.
    """
    room = tuple(rng.uniform(*extent) for extent in (ROOM_WIDTH, ROOM_LENGTH, ROOM_HEIGHT))
    camera = _random_camera(room, rng)
    light = (room[0] * rng.uniform(0.3, 0.7), room[1] * rng.uniform(0.3, 0.7), room[2] - 0.2)
    return Scene(camera, (*_structure(room, rng), *_furniture(room, camera, rng)), light)


def _random_camera(room: Extent, rng: random.Random) -> Camera:
    """A camera held at about eye height near the room's border, looking inwards and a little down."""
    x = rng.uniform(CAMERA_CLEARANCE, room[0] - CAMERA_CLEARANCE)
    y = CAMERA_CLEARANCE + rng.uniform(0.0, 0.3) * room[1]
    target_x, target_y = room[0] * rng.uniform(0.1, 0.9), room[1] * rng.uniform(0.6, 1.0)
    return Camera.looking(
        (x, y, rng.uniform(1.1, 1.7)),
        yaw=math.atan2(x - target_x, target_y - y),
        pitch=math.radians(rng.uniform(-28, 0)),
        roll=math.radians(rng.gauss(0, 2)),
        field_of_view=math.radians(rng.uniform(55, 72)),
    )


def _structure(room: Extent, rng: random.Random) -> list[SceneObject]:
    """Floor, ceiling and four walls."""
    floor = _material(rng, brightness=(0.15, 0.6), saturation=0.5, pattern_share=0.8, tile=(0.3, 0.9))
    ceiling = _material(rng, brightness=(0.7, 0.95), saturation=0.1, pattern_share=0.3, tile=(0.5, 0.9))
    paint = _material(rng, brightness=(0.4, 0.9), saturation=0.35, pattern_share=0.3, tile=(0.15, 0.5))
    accent = _material(rng, brightness=(0.3, 0.9), saturation=0.6, pattern_share=0.3, tile=(0.15, 0.5))
    accented = rng.randrange(4)  # one wall is painted differently, as people like it
    walls = [Plane(0, 0.0, 1), Plane(0, room[0], -1), Plane(1, 0.0, 1), Plane(1, room[1], -1)]
    surfaces = [(wall, accent if index == accented else paint) for index, wall in enumerate(walls)]
    surfaces += [(Plane(2, 0.0, 1), floor), (Plane(2, room[2], -1), ceiling)]
    return [SceneObject(shape, material, STRUCTURE) for shape, material in surfaces]


def _furniture(room: Extent, camera: Camera, rng: random.Random) -> list[SceneObject]:
    """Objects in front of the camera whose bounding balls keep apart; a crowded room gets fewer than was drawn."""
    objects = []
    for _ in range(rng.randint(*NUM_OBJECTS)):
        place = _on_wall if rng.random() < WALL_OBJECT_SHARE else _on_floor
        for _ in range(PLACEMENT_ATTEMPTS):
            shape = place(room, camera, rng)
            if shape is not None and _is_free(shape, objects, camera):
                material = _material(rng, brightness=(0.1, 0.9), saturation=0.9, pattern_share=0.4, tile=(0.08, 0.3))
                objects.append(SceneObject(shape, material, CLASS_NAMES.index(type(shape).__name__.lower())))
                break
    return objects


def _is_free(shape: Box | Sphere | Cylinder, objects: list[SceneObject], camera: Camera) -> bool:
    center, radius = shape.bounding_sphere
    if math.dist(center, camera.position) < radius + NEAREST_OBJECT:
        return False
    others = (item.shape.bounding_sphere for item in objects)
    return all(math.dist(center, other) > radius + other_radius for other, other_radius in others)


def _in_view(camera: Camera, rng: random.Random) -> tuple[float, float]:
    """A horizontal unit vector in which the camera looks, from its left border to its right."""
    forward_x, forward_y = camera.rotation[:2, 2].tolist()
    angle = math.atan2(forward_y, forward_x) + rng.uniform(-0.5, 0.5) * camera.field_of_view
    return math.cos(angle), math.sin(angle)


def _on_floor(room: Extent, camera: Camera, rng: random.Random) -> Box | Sphere | Cylinder | None:
    """A box, ball or cylinder standing on the floor; None if it would stick out of the room."""
    direction, distance = _in_view(camera, rng), rng.uniform(0.8, 0.9 * room[1])
    x, y = camera.position[0] + distance * direction[0], camera.position[1] + distance * direction[1]
    kind = rng.randrange(3)
    if kind == 0:
        half = (rng.uniform(0.15, 0.7), rng.uniform(0.15, 0.5), rng.uniform(0.15, 0.9))
        shape, reach = Box((x, y, half[2]), half, rng.uniform(-math.pi, math.pi)), math.hypot(half[0], half[1])
    elif kind == 1:
        reach = rng.uniform(0.12, 0.5)
        shape = Sphere((x, y, reach), reach)
    else:
        reach, half_height = rng.uniform(0.1, 0.45), rng.uniform(0.15, 0.9)
        shape = Cylinder((x, y, half_height), reach, half_height)
    fits = reach < x < room[0] - reach and reach < y < room[1] - reach
    return shape if fits else None


def _on_wall(room: Extent, camera: Camera, rng: random.Random) -> Box | Sphere | None:
    """A picture, cabinet or ball-shaped lamp on the wall that a random line of sight meets; None if it does not fit."""
    direction = _in_view(camera, rng)
    to_walls = [
        ((room[axis] if direction[axis] > 0 else 0.0) - camera.position[axis]) / direction[axis] for axis in (0, 1)
    ]
    axis = to_walls.index(min(to_walls))
    center = [camera.position[0] + to_walls[axis] * direction[0], camera.position[1] + to_walls[axis] * direction[1]]
    center.append(rng.uniform(1.2, room[2] - 0.5))
    is_lamp = rng.random() < 0.25
    depth = rng.uniform(0.1, 0.22) if is_lamp else rng.uniform(0.02, 0.2)
    along = depth if is_lamp else rng.uniform(0.15, 0.6)
    center[axis] -= math.copysign(depth, direction[axis])
    if not along < center[1 - axis] < room[1 - axis] - along:
        return None
    if is_lamp:
        return Sphere(tuple(center), depth)
    half_size = [along, along, rng.uniform(0.15, 0.45)]
    half_size[axis] = depth
    return Box(tuple(center), tuple(half_size))


def _material(
    rng: random.Random,
    brightness: tuple[float, float],
    saturation: float,
    pattern_share: float,
    tile: tuple[float, float],
) -> Material:
    """Plain, checkered or striped, in two shades of one random hue; `tile` is the range of tile widths, metres."""
    hue, gray = rng.random(), 1 - rng.uniform(0.3, 1) * saturation
    level, darker = rng.uniform(*brightness), rng.uniform(0.4, 0.8)
    color = [level * (gray + (1 - gray) * (0.5 + 0.5 * math.cos(2 * math.pi * (hue + k / 3)))) for k in range(3)]
    frequency = [0.0, 0.0]
    if rng.random() < pattern_share:
        frequency = [1 / rng.uniform(*tile)] * 2
        if rng.random() < 0.5:
            frequency[rng.randrange(2)] = 0.0
    return Material((tuple(color), tuple(darker * value for value in color)), tuple(frequency))


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    if np.shape(size) != (2,) or any(int(length) != length or length < 1 for length in size):
        raise ValueError(f"size must be (height, width) in whole pixels, at least 1 each, but is {size!r}.")
    return int(size[0]), int(size[1])


def render_room(
    seed: int | Sequence[int] | np.random.SeedSequence, size: tuple[int, int] = (64, 64)
) -> dict[str, np.ndarray]:
    """Render one random room; the same seed shows the same room at every size.

    Args:
        seed: whatever `numpy.random.default_rng` takes as a seed; the same seed gives the same bytes.
        size: (height, width), pixels.

    Returns:
        `image` uint8 (height, width, 3);
        `depth` float32 (height, width), metres along the optical axis, 0 where the simulated sensor has no reading
        (about 5 to 15 % of the pixels);
        `depth_complete`, the same without holes;
        `object_ids` uint8 (height, width), 0 for floor, ceiling and walls, 1..n for the visible objects;
        `class_ids` int64 (n,), the class of object id k in entry k - 1, an index into `CLASS_NAMES`.

    Raises:
        ValueError: if `size` is not two positive whole numbers.
    """
    size = _check_size(size)
    rng = np.random.default_rng(seed)
    # The scene's many single numbers come from Python's generator, five times faster than numpy's for those.
    return render(random_scene(random.Random(rng.bytes(16))), size, rng)


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
    render_index = partial(_render_index, split=SPLITS.index(split), seed=seed, size=_check_size(size))
    return indices.map(render_index, input_columns="index", remove_columns="index")


def _room_indices(shards: list[range]) -> Iterator[dict[str, int]]:
    for shard in shards:
        for index in shard:
            yield {"index": index}


def _render_index(index: int, *, split: int, seed: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    # Split and seed take one 32-bit word each, so different (split, seed, index) never make the same entropy.
    return render_room((split, seed, index), size)
