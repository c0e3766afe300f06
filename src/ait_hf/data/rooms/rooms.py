# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Random furnished rooms, perhaps with people, as scenes for [`~ait_hf.data.rooms.rendering`]."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .people import Figure, draw_figure
from .rendering import CLASS_NAMES, STRUCTURE, Camera, Scene, SceneObject, random_material
from .shapes import Box, Cylinder, Plane, Sphere


Extent = tuple[float, float, float]  # width along x, length along y, height along z, metres

# All metres. No corner is farther from the camera than 10 m, the farthest that NYUv2's sensor reads.
ROOM_WIDTH, ROOM_LENGTH, ROOM_HEIGHT = (2.5, 6.5), (2.8, 7.6), (2.3, 3.2)
NUM_OBJECTS, NUM_PORTRAIT_OBJECTS = (2, 8), (0, 3)
NUM_PEOPLE = (1, 3)
NEAREST_PERSON = 2.0  # from the camera to a person's middle: nearer ones lose their heads
WALL_OBJECT_SHARE = 0.3
PLACEMENT_ATTEMPTS = 24
NEAREST_OBJECT = 0.6  # from the camera to an object's nearest point
CAMERA_CLEARANCE = 0.3  # from the camera to the walls

# Of portraits. Metres, too.
DISTANCE = (1.9, 4.2)  # from the camera to the person
EYE_HEIGHT = (0.8, 1.7)
COMPANION_SHARE = 0.25  # of the pictures with a second person
PERSON_CLEARANCE = 0.4  # from a person's middle to the walls


def random_scene(rng: random.Random, people: bool = False) -> Scene:
    """Draw a furnished room and a camera in it: a closed scene in which every depth lies between about 0.3 and 10
    metres. `people` adds up to three people where the furniture leaves room; the rest of the room stays what it is."""
    room = random_extent(rng)
    camera = _random_camera(room, rng)
    light = random_light(room, rng)
    objects = [*room_structure(room, rng), *furniture(room, camera, rng.randint(*NUM_OBJECTS), rng)]
    scene = Scene(camera, tuple(objects), light)
    if not people:
        return scene
    return with_figures(scene, crowd(room, camera, rng.randint(*NUM_PEOPLE), objects, rng))


def portrait_scene(rng: random.Random) -> Scene:
    """Draw a closed room, with joints, where the camera looks at a person; perhaps with furniture and another."""
    room, person, camera = _meeting(rng)
    objects = furniture(room, camera, rng.randint(*NUM_PORTRAIT_OBJECTS), rng, others=person.parts(0))
    companions = []
    if rng.random() < COMPANION_SHARE:
        companions = crowd(room, camera, 1, [*objects, *person.parts(0)], rng)
    scene = Scene(camera, (*room_structure(room, rng), *objects), random_light(room, rng))
    return with_figures(scene, [person, *companions])


def _meeting(rng: random.Random) -> tuple[Extent, Figure, Camera]:
    """A room, a person in it, who is likelier to face the camera than not, and the camera."""
    figure = draw_figure(rng)
    while True:  # not every place in a room has another in the right distance, and not every posture fits there
        room = random_extent(rng)
        x, y = (rng.uniform(PERSON_CLEARANCE, length - PERSON_CLEARANCE) for length in room[:2])
        distance, angle = rng.uniform(*DISTANCE), rng.uniform(-math.pi, math.pi)
        eye = (x + distance * math.cos(angle), y + distance * math.sin(angle), rng.uniform(*EYE_HEIGHT))
        if any(not CAMERA_CLEARANCE < eye[axis] < room[axis] - CAMERA_CLEARANCE for axis in (0, 1)):
            continue
        person = figure.moved(x, y, angle + rng.triangular(-math.pi, math.pi))
        middle = 0.5 * person.points[:, 2].max()
        camera = Camera.looking(
            eye,
            yaw=angle + math.pi / 2 + rng.gauss(0, 0.08),
            pitch=math.atan2(middle - eye[2], distance) + rng.gauss(0, 0.06),
            roll=math.radians(rng.gauss(0, 2)),
            field_of_view=math.radians(rng.uniform(50, 68)),
        )
        if figure_fits(person, room, camera, ()):
            return room, person, camera


def with_figures(scene: Scene, figures: Sequence[Figure]) -> Scene:
    """The scene and the figures in it, numbered in their order."""
    parts = [part for number, figure in enumerate(figures) for part in figure.parts(number)]
    joints = tuple((figure.points, figure.depths) for figure in figures)
    return replace(scene, objects=(*scene.objects, *parts), joints=joints)


def random_extent(rng: random.Random) -> Extent:
    """Size of a room."""
    return tuple(rng.uniform(*extent) for extent in (ROOM_WIDTH, ROOM_LENGTH, ROOM_HEIGHT))


def random_light(room: Extent, rng: random.Random) -> tuple[float, float, float]:
    """A lamp under the ceiling."""
    return room[0] * rng.uniform(0.3, 0.7), room[1] * rng.uniform(0.3, 0.7), room[2] - 0.2


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


def room_structure(room: Extent, rng: random.Random) -> list[SceneObject]:
    """Floor, ceiling and four walls."""
    floor = random_material(rng, brightness=(0.15, 0.6), saturation=0.5, pattern_share=0.8, tile=(0.3, 0.9))
    ceiling = random_material(rng, brightness=(0.7, 0.95), saturation=0.1, pattern_share=0.3, tile=(0.5, 0.9))
    paint = random_material(rng, brightness=(0.4, 0.9), saturation=0.35, pattern_share=0.3, tile=(0.15, 0.5))
    accent = random_material(rng, brightness=(0.3, 0.9), saturation=0.6, pattern_share=0.3, tile=(0.15, 0.5))
    accented = rng.randrange(4)  # one wall is painted differently, as people like it
    walls = [Plane(0, 0.0, 1), Plane(0, room[0], -1), Plane(1, 0.0, 1), Plane(1, room[1], -1)]
    surfaces = [(wall, accent if index == accented else paint) for index, wall in enumerate(walls)]
    surfaces += [(Plane(2, 0.0, 1), floor), (Plane(2, room[2], -1), ceiling)]
    return [SceneObject(shape, material, STRUCTURE) for shape, material in surfaces]


def furniture(
    room: Extent, camera: Camera, count: int, rng: random.Random, others: Sequence[SceneObject] = ()
) -> list[SceneObject]:
    """Objects in front of the camera whose bounding balls keep apart from each other and from `others`; a crowded room
    gets fewer than `count`."""
    objects = []
    for _ in range(count):
        place = _on_wall if rng.random() < WALL_OBJECT_SHARE else _on_floor
        for _ in range(PLACEMENT_ATTEMPTS):
            shape = place(room, camera, rng)
            if shape is not None and _is_free(shape, [*others, *objects], camera):
                material = random_material(rng, (0.1, 0.9), saturation=0.9, pattern_share=0.4, tile=(0.08, 0.3))
                objects.append(SceneObject(shape, material, CLASS_NAMES.index(type(shape).__name__.lower())))
                break
    return objects


def crowd(room: Extent, camera: Camera, count: int, others: Sequence[SceneObject], rng: random.Random) -> list[Figure]:
    """People in front of the camera, apart from each other and from `others`; fewer than `count` in a full room."""
    figures: list[Figure] = []
    taken = list(others)
    for number in range(count):
        figure = draw_figure(rng)
        for _ in range(PLACEMENT_ATTEMPTS):
            direction, distance = _in_view(camera, rng), rng.uniform(NEAREST_PERSON, room[1])
            x, y = camera.position[0] + distance * direction[0], camera.position[1] + distance * direction[1]
            placed = figure.moved(x, y, rng.uniform(-math.pi, math.pi))
            if figure_fits(placed, room, camera, taken):
                figures.append(placed)
                taken += placed.parts(number)
                break
    return figures


def figure_fits(figure: Figure, room: Extent, camera: Camera, objects: Sequence[SceneObject]) -> bool:
    """Whether no part of a figure leaves the room, touches an object's bounding ball or comes too near the camera."""
    centers, radii = figure.balls()
    # Every figure stands on the floor, which the ball around a seat may pass.
    if (centers[:, :2] < radii[:, None]).any() or (centers + radii[:, None] > room).any():
        return False
    spheres = [item.shape.bounding_sphere for item in objects if item.shape.bounding_sphere is not None]
    spheres.append((camera.position, NEAREST_OBJECT))
    other_centers, other_radii = (np.array(part) for part in zip(*spheres, strict=True))
    distances = np.linalg.norm(centers[:, None] - other_centers, axis=2)
    return bool((distances > radii[:, None] + other_radii).all())


def _is_free(shape: Box | Sphere | Cylinder, objects: list[SceneObject], camera: Camera) -> bool:
    center, radius = shape.bounding_sphere
    others = [(camera.position, NEAREST_OBJECT), *(item.shape.bounding_sphere for item in objects)]
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
