# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A small ray caster for indoor scenes: a description of the scene goes in; colour, depth, ids and joints come out.

World coordinates are in metres: x and y span the floor, z points up. Camera axes are right, down and forward. Camera
rays have a forward component of 1, so the ray parameter *is* the depth along the optical axis, as NYUv2 stores it.
Arrays of vectors have their three components first: (3, number of rays or points).
"""

import math
import random
from dataclasses import dataclass

import numpy as np

from ..skeletons import COCO_SKELETON
from .shapes import INFINITY, Box, Capsules, Cylinder, Plane, Sphere, column, dot


STRUCTURE = 0  # class id of floor, ceiling and walls, which all have object id 0
CLASS_NAMES = ("structure", "box", "sphere", "cylinder", "person")
LABEL_CLASSES = ("floor", "ceiling", "wall", *CLASS_NAMES[1:])  # of label maps
ROOM_CLASSES = LABEL_CLASSES[:-1]  # where nobody is in the room

AMBIENT_LIGHT = 0.34
LIGHT_HALF_DISTANCE = 4.0  # metres at which the lamp's light has fallen to a half
SENSOR_NOISE = 2.5  # standard deviation in grey levels of 255

PROJECTOR_BASELINE = 0.075  # metres between the depth sensor's projector and its camera, as in a Kinect
HOLE_FRACTION = (0.05, 0.15)
HOLE_BLOB_CELLS = (7, 23)  # cells along the longer side of the noise whose peaks become holes: blobs and crumbs


@dataclass(frozen=True)
class Material:
    """Two colours (red, green, blue, linear, each 0..1) in a smooth wave pattern. `frequency` counts half waves per
    metre along the two texture coordinates: (0, 0) gives the first colour alone, one zero stripes, none a
    checkerboard."""

    colors: tuple[tuple[float, float, float], tuple[float, float, float]]
    frequency: tuple[float, float] = (0.0, 0.0)


def random_material(
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


@dataclass(frozen=True)
class SceneObject:
    """One thing with one surface. `class_id` is an index into `CLASS_NAMES`; everything of class `STRUCTURE` shares
    object id 0. `figure` is the number of the figure that it is a part of: the parts of one figure follow each other
    in the scene, have one object id, and cast no shadow on each other."""

    shape: Plane | Box | Sphere | Cylinder | Capsules
    material: Material
    class_id: int
    figure: int | None = None

    @property
    def label(self) -> int:
        """Index into `LABEL_CLASSES`."""
        if self.class_id != STRUCTURE:
            return LABEL_CLASSES.index(CLASS_NAMES[self.class_id])
        is_upright = self.shape.axis != 2
        return LABEL_CLASSES.index("wall" if is_upright else "floor" if self.shape.facing > 0 else "ceiling")


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion; the principal point is the middle of the image. `position` is x, y, z,
    metres, `rotation` (3, 3) has the camera's right, down and forward axes in world coordinates as its columns,
    `field_of_view` is the angle that the longer side of the image spans, radians."""

    position: tuple[float, float, float]
    rotation: np.ndarray
    field_of_view: float

    @classmethod
    def looking(
        cls, position: tuple[float, float, float], yaw: float, pitch: float, roll: float, field_of_view: float
    ) -> "Camera":
        """A camera turned by `yaw` about the vertical (0 looks along +y), `pitch` up and `roll` sideways, radians."""
        sin_yaw, cos_yaw, sin_pitch, cos_pitch = math.sin(yaw), math.cos(yaw), math.sin(pitch), math.cos(pitch)
        level = np.array([cos_yaw, sin_yaw, 0.0])
        down = np.array([-sin_yaw * sin_pitch, cos_yaw * sin_pitch, -cos_pitch])
        forward = np.array([-sin_yaw * cos_pitch, cos_yaw * cos_pitch, sin_pitch])
        cos_roll, sin_roll = math.cos(roll), math.sin(roll)
        axes = (cos_roll * level + sin_roll * down, cos_roll * down - sin_roll * level, forward)
        return cls(position, np.stack(axes, axis=1), field_of_view)

    def focal_length(self, size: tuple[int, int]) -> float:
        """Focal length in pixels for an image of `size` (height, width)."""
        return max(size) / 2 / math.tan(self.field_of_view / 2)

    def rays(self, size: tuple[int, int]) -> np.ndarray:
        """World directions (3, height, width), float32, through the pixel centres, with forward component 1."""
        height, width = size
        focal = self.focal_length(size)
        right = ((np.arange(width) + 0.5 - width / 2) / focal).astype(np.float32)
        down = ((np.arange(height) + 0.5 - height / 2) / focal).astype(np.float32)
        axes = self.rotation.astype(np.float32)[:, :, None, None]
        return axes[:, 0] * right + (axes[:, 1] * down[:, None] + axes[:, 2])

    def project(self, points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Where `points` (n, 3), world coordinates, metres, appear: (n, 2) x and y in pixels, where the first pixel
        spans 0..1, and (n,) depth along the optical axis, metres; places with a depth that is not above 0 mean
        nothing."""
        local = (points - self.position) @ self.rotation
        with np.errstate(divide="ignore", invalid="ignore"):
            places = local[:, :2] / local[:, 2:] * self.focal_length(size)
        return places + np.array(size[::-1]) / 2, local[:, 2]

    def window(self, center: tuple[float, float, float], radius: float, size: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns that contain the picture of a ball; empty where it is out of sight."""
        right, down, forward = ((np.array(center) - self.position) @ self.rotation).tolist()
        focal = self.focal_length(size)

        def place(angle: float, pixels: int) -> float:
            """Where along an image axis a line of sight ends, held to the image (at its border if behind)."""
            angle = min(max(angle, -math.pi / 2), math.pi / 2)
            return min(max(pixels / 2 + focal * math.tan(angle), 0.0), float(pixels))

        def between_tangents(sideways: float, pixels: int) -> slice:
            distance = math.hypot(sideways, forward)
            if distance <= radius:
                return slice(0, pixels)
            middle, half = math.atan2(sideways, forward), math.asin(radius / distance)
            return slice(math.floor(place(middle - half, pixels)), math.ceil(place(middle + half, pixels)))

        return between_tangents(down, size[0]), between_tangents(right, size[1])


@dataclass(frozen=True)
class Scene:
    """Everything that decides what a picture shows, apart from its size and noise: `objects` with the structure,
    `light`, x, y and z of the lamp, metres, and the `joints` of every figure by number: (joints, 3), world
    coordinates, and (joints,), how far each may lie behind the visible surface and count as seen; metres; `None` for
    no keypoints."""

    camera: Camera
    objects: tuple[SceneObject, ...]
    light: tuple[float, float, float]
    joints: tuple[tuple[np.ndarray, np.ndarray], ...] | None = None


def trace(scene: Scene, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """What every pixel of an image of `size` (height, width) sees: depth float32 (height, width), metres along the
    optical axis, inf where nothing is hit, and the index of the seen object in `scene.objects`, uint8 (height, width),
    0 where nothing is hit. `ValueError` if the scene has more objects than ids, 255."""
    if len(scene.objects) > 255:
        raise ValueError(f"A scene may have at most 255 objects, but this one has {len(scene.objects)}.")
    origin = column(scene.camera.position)
    rays = scene.camera.rays(size)
    depth, seen = np.full(size, INFINITY), np.zeros(size, dtype=np.uint8)
    with np.errstate(divide="ignore", invalid="ignore"):  # rays parallel to a face divide by zero, and miss it
        for index, item in enumerate(scene.objects):
            sphere = item.shape.bounding_sphere
            window = (slice(None), slice(None)) if sphere is None else scene.camera.window(*sphere, size)
            best = depth[window]
            distance = item.shape.distance(origin, rays[:, *window].reshape(3, -1)).reshape(best.shape)
            nearer = distance < best
            np.copyto(best, distance, where=nearer)
            np.copyto(seen[window], index, where=nearer)
    return depth, seen


def render(
    scene: Scene,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    normals: bool = False,
    sensor: bool = True,
    hole_fraction: tuple[float, float] = HOLE_FRACTION,
) -> dict[str, np.ndarray]:
    """Photograph a closed scene with a colour camera and a depth sensor.

    Args:
        scene: what to photograph; every ray must hit something.
        size: (height, width), pixels.
        rng: draws the colour camera's noise and the depth sensor's holes.
        normals: adds `normals`, which take a few percent of the time.
        sensor: `False` leaves out the depth sensor and its `depth`, a fifth of the time for small pictures.
        hole_fraction: smallest and largest share of the pixels without a reading.

    Returns:
        `image` uint8 (height, width, 3); `depth_complete` float32 (height, width), metres along the optical axis;
        `depth`, the same with 0 where the sensor has no reading; `object_ids` uint8 (height, width), 0 for structure
        (floor, ceiling, walls) and 1..n for the visible objects; `class_ids` int64 (n,), where entry k - 1 is the
        class of object id k, an index into `CLASS_NAMES`; `label_map` uint8 (height, width), indices into
        `LABEL_CLASSES`; with normals also `normals` float32 (height, width, 3), unit vectors in camera axes (right,
        down, forward) that point out of the surface, so towards the camera; and if the scene has `joints`, of the m
        figures that are visible `person_ids` uint8 (m,), their object ids, and `keypoints` float32 (m, joints, 3): x
        and y in pixels, whole numbers being the centres of pixels as in COCO, and visibility: 2 seen, 1 hidden, 0
        outside the image (x and y are then 0 as well).

    Raises:
        ValueError: if a ray hits nothing.
    """
    depth, seen = trace(scene, size)
    if not np.isfinite(depth).all():
        raise ValueError("The scene is open: some pixels see nothing; close it with planes on all sides.")
    colors, facing, world_normals = _shade(scene, depth, seen, normals)
    levels = 255 * np.sqrt(np.clip(colors, 0, 1))  # the square root is nearly the sRGB curve
    levels += SENSOR_NOISE * rng.standard_normal(levels.shape, dtype=np.float32)
    image = np.clip(levels, 0, 255).astype(np.uint8)
    ids, class_ids = _visible_objects(scene, seen)
    picture = {"image": image, "depth_complete": depth, "object_ids": ids[seen], "class_ids": class_ids}
    picture["label_map"] = np.take(np.array([item.label for item in scene.objects], dtype=np.uint8), seen)
    if sensor:
        holes = sensor_holes(depth, image, facing, scene.camera.focal_length(size), rng, hole_fraction)
        picture["depth"] = np.where(holes, np.float32(0), depth)
    if normals:
        picture["normals"] = world_normals @ scene.camera.rotation.astype(np.float32)
    if scene.joints is not None:
        picture |= _keypoints(scene, depth, ids)
    return picture


def _shade(
    scene: Scene, depth: np.ndarray, seen: np.ndarray, with_normals: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Linear colours (height, width, 3), the cosine (height, width) between normal and line of sight, and, if wanted,
    the normals (height, width, 3) in world axes."""
    order = np.argsort(seen, axis=None, kind="stable")  # by what pixels see, so that every object's are one slice
    rays = np.take(scene.camera.rays(depth.shape).reshape(3, -1), order, axis=1)
    distance = np.take(depth, order)
    points = rays * distance + column(scene.camera.position)
    footprint = distance / scene.camera.focal_length(depth.shape)
    normals, albedo = np.empty_like(points), np.empty_like(points)
    ends = np.cumsum(np.bincount(seen.reshape(-1), minlength=len(scene.objects))).tolist()
    pixels = [slice(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]
    for item, own in zip(scene.objects, pixels, strict=True):
        if own.start < own.stop:
            normals[:, own], texture = item.shape.surface(points[:, own])
            albedo[:, own] = _pattern(item.material, texture, footprint[own])

    colors = albedo * _light(scene, pixels, points, normals)
    facing = -dot(normals, rays) / np.sqrt(dot(rays, rays))
    place = np.empty_like(order)
    place[order] = np.arange(order.size)  # undoes the sorting
    return (
        np.take(colors.T, place, axis=0).reshape(*depth.shape, 3),
        np.take(facing, place).reshape(depth.shape),
        np.take(normals.T, place, axis=0).reshape(*depth.shape, 3) if with_normals else None,
    )


def _pattern(material: Material, texture: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Linear surface colours (3, n); `footprint` (n,) is a pixel's width on the surface, metres."""
    first, second = (column(color) for color in material.colors)
    highest = max(material.frequency)
    if highest == 0:
        return first
    waves = np.cos(texture * (math.pi * column(material.frequency))).prod(0)
    # Waves clipped at a height that follows the pixel's footprint make sharp tiles nearby and fade, instead of
    # aliasing, where a pixel covers a whole tile.
    mix = 0.5 - 0.5 * np.clip(waves * (0.5 / (highest * footprint + 0.05)), -1, 1)
    return first + (second - first) * mix


def _light(scene: Scene, pixels: list[slice], points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Light (n,) that reaches every point: ambient, and the lamp's with falloff and soft shadows."""
    to_light = column(scene.light) - points
    squared_distance = dot(to_light, to_light)
    lambert = np.maximum(dot(normals, to_light) / np.sqrt(squared_distance), 0)
    falloff = 1 / (1 + squared_distance / LIGHT_HALF_DISTANCE**2)
    shadow = np.ones_like(squared_distance)  # how much of the lamp is seen past other objects, taken as soft balls
    for item, own in zip(scene.objects, _figure_slices(scene, pixels), strict=True):
        if item.shape.bounding_sphere is None:
            continue
        center, radius = item.shape.bounding_sphere
        to_center = np.array(center, dtype=np.float32) - np.array(scene.light, dtype=np.float32)
        along = -to_center @ to_light
        squared_miss = to_center @ to_center - along * along / squared_distance
        lit = np.clip(squared_miss * (0.7 * radius) ** -2 - 0.3, 0.25, 1)
        lit[(along > squared_distance) | (along < 0)] = 1  # the point is nearer to the lamp, or on its other side
        lit[own] = 1
        shadow *= lit
    return AMBIENT_LIGHT * (0.6 + 0.4 * shadow) + 1.1 * lambert * falloff * shadow


def _figure_slices(scene: Scene, pixels: list[slice]) -> list[slice]:
    """For every object its own pixels, and for the parts of a figure those of the whole figure."""
    whole: dict[int, slice] = {}
    for item, own in zip(scene.objects, pixels, strict=True):
        if item.figure is not None:
            whole[item.figure] = slice(whole.get(item.figure, own).start, own.stop)
    return [whole.get(item.figure, own) for item, own in zip(scene.objects, pixels, strict=True)]


def _visible_objects(scene: Scene, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Object ids of the scene's objects, counted over the visible ones, and the classes of these (n,)."""
    classes = np.array([item.class_id for item in scene.objects])
    visible = (np.bincount(seen.reshape(-1), minlength=len(classes)) > 0) & (classes != STRUCTURE)
    ids = np.zeros(len(classes), dtype=np.uint8)
    class_ids: list[int] = []
    figures: dict[int, int] = {}  # id of every figure that has a visible part
    for index in np.flatnonzero(visible).tolist():
        item = scene.objects[index]
        if item.figure not in figures:
            class_ids.append(item.class_id)
            if item.figure is not None:
                figures[item.figure] = len(class_ids)
        ids[index] = len(class_ids) if item.figure is None else figures[item.figure]
    return ids, np.array(class_ids, dtype=np.int64)


def _keypoints(scene: Scene, depth: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    """`person_ids` and `keypoints` of the figures with a visible part; `ids` (objects,) are 0 for invisible parts."""
    keypoints, person_ids = [np.zeros((0, len(COCO_SKELETON.joints), 3))], []
    for figure, joints in enumerate(scene.joints):
        own = [number for number, item in zip(ids, scene.objects, strict=True) if item.figure == figure]
        if max(own) > 0:
            keypoints.append(_joints_in_view(scene.camera, *joints, depth)[None])
            person_ids.append(max(own))
    keypoints = np.concatenate(keypoints).astype(np.float32)
    return {"keypoints": keypoints, "person_ids": np.array(person_ids, dtype=np.uint8)}


def _joints_in_view(camera: Camera, points: np.ndarray, behind: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """x, y and visibility (joints, 3) in the picture with `depth` (height, width)."""
    height, width = depth.shape
    (x, y), own_depth = (part.T for part in camera.project(points, depth.shape))
    is_inside = (own_depth > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    rows, columns = (np.where(is_inside, place, 0).astype(int) for place in (y, x))
    is_seen = own_depth - behind <= depth[rows, columns]
    places = np.stack([x, y], axis=1) - 0.5  # from edges of pixels to their centres
    return np.column_stack([np.where(is_inside[:, None], places, 0), is_inside * (1 + is_seen)])


def sensor_holes(
    depth: np.ndarray,
    image: np.ndarray,
    facing: np.ndarray,
    focal: float,
    rng: np.random.Generator,
    fraction: tuple[float, float] = HOLE_FRACTION,
) -> np.ndarray:
    """Where a structured-light depth sensor such as a Kinect gives no reading, bool (height, width).

    What the projector, right of the camera, cannot reach past a nearer edge is always missing. The rest are blobs,
    likelier where the surface (`depth` float32 (height, width), metres, `image` uint8 (height, width, 3)) is dark,
    turned away from the camera (`facing` float32 (height, width) is the cosine of the angle between normal and line of
    sight), or next to an edge; they fill up the holes to a share drawn from `fraction`. `focal` is in pixels.
    """
    score = sum(_smooth_noise(depth.shape, cells, rng) for cells in HOLE_BLOB_CELLS)
    score += 1.5 * (image.mean(-1) < 50) + 1.5 * (facing < 0.25) + 1.0 * _depth_edges(depth)
    # A pixel's column in the projector's view is its own less its disparity. A nearer surface further right in the
    # picture that lands in the same or an earlier column has caught the light. Slopes do not shadow themselves.
    columns = np.arange(depth.shape[1], dtype=np.float32) - focal * PROJECTOR_BASELINE / depth
    shadow = columns > np.minimum.accumulate(columns[:, ::-1], axis=1)[:, ::-1] + 0.25
    score += 100 * shadow
    count = round(rng.uniform(*fraction) * score.size)
    return shadow | (score > np.partition(score, -count - 1, axis=None)[-count - 1])


def _depth_edges(depth: np.ndarray) -> np.ndarray:
    """Pixels on either side of a jump in depth by more than 8 %."""
    edges = np.zeros(depth.shape, dtype=bool)
    for values, found in ((depth, edges), (depth.T, edges.T)):
        jump = np.abs(values[1:] - values[:-1]) > 0.08 * np.minimum(values[1:], values[:-1])
        found[1:] |= jump
        found[:-1] |= jump
    return edges


def _smooth_noise(size: tuple[int, int], cells: int, rng: np.random.Generator) -> np.ndarray:
    """Normal noise (height, width), linear between the points of a grid with `cells` cells along the longer side."""
    weights = []  # of the points for every row, and for every column
    for length in size:
        position = np.arange(length) / (max(size) / cells)
        points = np.arange(int(position[-1]) + 2)
        weights.append(np.maximum(1 - np.abs(position[:, None] - points), 0).astype(np.float32))
    rows, columns = weights
    return rows @ rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32) @ columns.T
