# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A small ray caster for indoor scenes: a description of the scene goes in, colour, depth and object ids come out.

World coordinates are in metres: x and y span the floor, z points up. Camera axes are right, down and forward. Camera
rays have a forward component of 1, so the ray parameter *is* the depth along the optical axis, as NYUv2 stores it.
Arrays of vectors have their three components first: (3, number of rays or points).
"""

import math
from dataclasses import dataclass

import numpy as np


STRUCTURE = 0  # class id of floor, ceiling and walls, which all have object id 0
CLASS_NAMES = ("structure", "box", "sphere", "cylinder")

INFINITY = np.float32(np.inf)
NEAREST_HIT = 1e-3  # metres: hits nearer than this are behind or on the camera
AMBIENT_LIGHT = 0.34
LIGHT_HALF_DISTANCE = 4.0  # metres at which the lamp's light has fallen to a half
SENSOR_NOISE = 2.5  # standard deviation in grey levels of 255

PROJECTOR_BASELINE = 0.075  # metres between the depth sensor's projector and its camera, as in a Kinect
HOLE_FRACTION = (0.05, 0.15)
HOLE_BLOB_CELLS = (7, 23)  # cells along the longer side of the noise whose peaks become holes: blobs and crumbs


def _column(vector) -> np.ndarray:
    return np.asarray(vector, dtype=np.float32)[:, None]


def _dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->j", first, second)


def _slab(origin: np.ndarray, directions: np.ndarray, half: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Ray parameters where rays enter and leave |component| <= half, for every component separately."""
    first = (-half - origin) / directions
    second = (half - origin) / directions
    return np.minimum(first, second), np.maximum(first, second)


def _round_interval(local_origin: np.ndarray, directions: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Ray parameters where rays enter and leave the ball (or disc, for two components); (inf, -inf) on a miss."""
    a = _dot(directions, directions)
    b = local_origin[:, 0] @ directions
    discriminant = b * b - a * (np.square(local_origin).sum() - radius * radius)
    missed = discriminant < 0
    root = np.sqrt(np.maximum(discriminant, 0))
    return np.where(missed, INFINITY, (-b - root) / a), np.where(missed, -INFINITY, (root - b) / a)


def _first_hit(enter: np.ndarray, leave: np.ndarray) -> np.ndarray:
    return np.where((enter <= leave) & (enter > NEAREST_HIT), enter, INFINITY)


@dataclass(frozen=True)
class Plane:
    """An infinite plane across one world axis.

    Args:
        axis: 0, 1 or 2, the axis (x, y, z) that the plane cuts.
        offset: where it cuts it, metres.
        facing: +1 or -1, the direction of the normal along the axis.
    """

    axis: int
    offset: float
    facing: int

    bounding_sphere = None

    def distance(self, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Ray parameters (n,) where rays `directions` (3, n) from `origin` (3, 1) first hit; inf where they miss."""
        distance = (self.offset - origin[self.axis]) / directions[self.axis]
        return np.where(distance > NEAREST_HIT, distance, INFINITY)

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit normals (3, n) and texture coordinates in metres (2, n) of `points` (3, n) on the surface."""
        normals = np.zeros_like(points)
        normals[self.axis] = self.facing
        return normals, points[[axis for axis in range(3) if axis != self.axis]]


@dataclass(frozen=True)
class Box:
    """A box on the floor plane's axes, turned about the vertical.

    Args:
        center: (x, y, z), metres.
        half_size: (along x, along y, along z) before turning, metres.
        yaw: turn about the vertical, radians, counterclockwise from above.
    """

    center: tuple[float, float, float]
    half_size: tuple[float, float, float]
    yaw: float = 0.0

    @property
    def bounding_sphere(self) -> tuple[tuple[float, float, float], float]:
        """Center and radius, metres."""
        return self.center, math.hypot(*self.half_size)

    def _to_box(self) -> np.ndarray:
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        return np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]], dtype=np.float32)

    def distance(self, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """See [`Plane.distance`]."""
        to_box = self._to_box()
        enter, leave = _slab(to_box @ (origin - _column(self.center)), to_box @ directions, _column(self.half_size))
        return _first_hit(enter.max(0), leave.min(0))

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See [`Plane.surface`]."""
        to_box = self._to_box()
        local = to_box @ (points - _column(self.center))
        inside = np.abs(local) * (1 / _column(self.half_size))  # 1 on the point's own face, less on the others
        on_face = inside == inside.max(0)
        normals = np.sign(local) * on_face
        texture = np.stack([np.where(on_face[0], local[1], local[0]), np.where(on_face[2], local[1], local[2])])
        return to_box.T @ normals, texture


@dataclass(frozen=True)
class Sphere:
    """A sphere with `center` (x, y, z) and `radius`, metres."""

    center: tuple[float, float, float]
    radius: float

    @property
    def bounding_sphere(self) -> tuple[tuple[float, float, float], float]:
        """Center and radius, metres."""
        return self.center, self.radius

    def distance(self, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """See [`Plane.distance`]."""
        return _first_hit(*_round_interval(origin - _column(self.center), directions, self.radius))

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See [`Plane.surface`]."""
        offsets = points - _column(self.center)
        around = np.arctan2(offsets[1], offsets[0]) * self.radius
        return offsets / self.radius, np.stack([around, offsets[2]])


@dataclass(frozen=True)
class Cylinder:
    """An upright cylinder with `center` (x, y, z), `radius` and `half_height`, metres."""

    center: tuple[float, float, float]
    radius: float
    half_height: float

    @property
    def bounding_sphere(self) -> tuple[tuple[float, float, float], float]:
        """Center and radius, metres."""
        return self.center, math.hypot(self.radius, self.half_height)

    def distance(self, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """See [`Plane.distance`]."""
        local = origin - _column(self.center)
        side_enter, side_leave = _round_interval(local[:2], directions[:2], self.radius)
        cap_enter, cap_leave = _slab(local[2], directions[2], self.half_height)
        return _first_hit(np.maximum(side_enter, cap_enter), np.minimum(side_leave, cap_leave))

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See [`Plane.surface`]."""
        offsets = points - _column(self.center)
        from_axis = np.hypot(offsets[0], offsets[1])
        on_cap = np.abs(offsets[2]) / self.half_height > from_axis / self.radius
        normals = np.where(on_cap, 0, offsets / self.radius)
        normals[2] = np.where(on_cap, np.sign(offsets[2]), 0)
        around = np.arctan2(offsets[1], offsets[0]) * self.radius
        texture = np.where(on_cap, offsets[:2], np.stack([around, offsets[2]]))
        return normals, texture


@dataclass(frozen=True)
class Material:
    """Two colours in a smooth wave pattern: a checkerboard, stripes, or one plain colour.

    Args:
        colors: two (red, green, blue), linear, each 0..1.
        frequency: half waves per metre along the two texture coordinates; (0, 0) gives the first colour alone, one
            zero gives stripes.
    """

    colors: tuple[tuple[float, float, float], tuple[float, float, float]]
    frequency: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class SceneObject:
    """One thing with one surface.

    Args:
        shape: a [`Plane`], [`Box`], [`Sphere`] or [`Cylinder`].
        material: its [`Material`].
        class_id: index into `CLASS_NAMES`; everything of class `STRUCTURE` shares object id 0.
    """

    shape: Plane | Box | Sphere | Cylinder
    material: Material
    class_id: int


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion; the principal point is the middle of the image.

    Args:
        position: (x, y, z), metres.
        rotation: (3, 3); its columns are the camera's right, down and forward axes in world coordinates.
        field_of_view: angle that the longer side of the image spans, radians.
    """

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

    def window(self, center: tuple[float, float, float], radius: float, size: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns that contain the picture of a ball; empty where it is out of sight."""
        right, down, forward = ((np.array(center) - self.position) @ self.rotation).tolist()
        focal = self.focal_length(size)
        return _window(down, forward, radius, focal, size[0]), _window(right, forward, radius, focal, size[1])


def _window(sideways: float, forward: float, radius: float, focal: float, pixels: int) -> slice:
    """Pixels along one image axis that see a ball: those between its two tangents from the camera."""
    distance = math.hypot(sideways, forward)
    if distance <= radius:
        return slice(0, pixels)
    middle, half = math.atan2(sideways, forward), math.asin(radius / distance)
    start, stop = (_column_at(angle, focal, pixels) for angle in (middle - half, middle + half))
    return slice(math.floor(start), math.ceil(stop))


def _column_at(angle: float, focal: float, pixels: int) -> float:
    """Where along the image axis a line of sight ends, held to the image; lines that point behind end at its border."""
    if abs(angle) >= math.pi / 2:
        return 0.0 if angle < 0 else float(pixels)
    return min(max(pixels / 2 + focal * math.tan(angle), 0.0), float(pixels))


@dataclass(frozen=True)
class Scene:
    """Everything that decides what a picture shows, apart from its size and noise.

    Args:
        camera: the [`Camera`].
        objects: the [`SceneObject`]s, structure included.
        light: (x, y, z) of the lamp, metres.
    """

    camera: Camera
    objects: tuple[SceneObject, ...]
    light: tuple[float, float, float]


def trace(scene: Scene, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """What every pixel of an image of `size` (height, width) sees.

    Returns:
        depth float32 (height, width), metres along the optical axis, inf where nothing is hit, and the index of the
        seen object in `scene.objects`, uint8 (height, width), 0 where nothing is hit.

    Raises:
        ValueError: if the scene has more objects than ids, 255.
    """
    if len(scene.objects) > 255:
        raise ValueError(f"A scene may have at most 255 objects, but this one has {len(scene.objects)}.")
    origin = _column(scene.camera.position)
    rays = scene.camera.rays(size)
    depth = np.full(size, INFINITY)
    seen = np.zeros(size, dtype=np.uint8)
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


def render(scene: Scene, size: tuple[int, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Photograph a closed scene with a colour camera and a depth sensor.

    Args:
        scene: what to photograph; every ray must hit something.
        size: (height, width), pixels.
        rng: draws the colour camera's noise and the depth sensor's holes.

    Returns:
        `image` uint8 (height, width, 3); `depth_complete` float32 (height, width), metres along the optical axis;
        `depth`, the same with 0 where the sensor has no reading; `object_ids` uint8 (height, width), 0 for structure
        and 1..n for the visible objects; `class_ids` int64 (n,), where entry k - 1 is the class of object id k.

    Raises:
        ValueError: if a ray hits nothing.
    """
    depth, seen = trace(scene, size)
    if not np.isfinite(depth).all():
        raise ValueError("The scene is open: some pixels see nothing; close it with planes on all sides.")
    colors, facing = _shade(scene, depth, seen)
    image = _photograph(colors, rng)
    holes = sensor_holes(depth, image, facing, scene.camera.focal_length(size), rng)
    object_ids, class_ids = _visible_objects(scene, seen)
    return {
        "image": image,
        "depth": np.where(holes, np.float32(0), depth),
        "depth_complete": depth,
        "object_ids": object_ids,
        "class_ids": class_ids,
    }


def _shade(scene: Scene, depth: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear colours (height, width, 3) and the cosine (height, width) between normal and line of sight.

    Pixels are sorted by what they see, so that every object's are one slice.
    """
    order = np.argsort(seen, axis=None, kind="stable")
    rays = np.take(scene.camera.rays(depth.shape).reshape(3, -1), order, axis=1)
    distance = np.take(depth, order)
    points = rays * distance + _column(scene.camera.position)
    footprint = distance / scene.camera.focal_length(depth.shape)
    normals, albedo = np.empty_like(points), np.empty_like(points)
    pixels = _slices(seen, len(scene.objects))
    for item, own in zip(scene.objects, pixels, strict=True):
        if own.start < own.stop:
            normals[:, own], texture = item.shape.surface(points[:, own])
            albedo[:, own] = _pattern(item.material, texture, footprint[own])

    colors = albedo * _light(scene, pixels, points, normals)
    facing = -_dot(normals, rays) / np.sqrt(_dot(rays, rays))
    place = np.empty_like(order)
    place[order] = np.arange(order.size)  # undoes the sorting
    return np.take(colors.T, place, axis=0).reshape(*depth.shape, 3), np.take(facing, place).reshape(depth.shape)


def _slices(seen: np.ndarray, num_objects: int) -> list[slice]:
    """Where every object's pixels lie once sorted."""
    ends = np.cumsum(np.bincount(seen.reshape(-1), minlength=num_objects)).tolist()
    return [slice(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]


def _pattern(material: Material, texture: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Linear surface colours (3, n); `footprint` (n,) is a pixel's width on the surface, metres."""
    first, second = (_column(color) for color in material.colors)
    highest = max(material.frequency)
    if highest == 0:
        return first
    waves = np.cos(texture * (math.pi * _column(material.frequency))).prod(0)
    # Waves clipped at a height that follows the pixel's footprint make sharp tiles nearby and fade, instead of
    # aliasing, where a pixel covers a whole tile.
    mix = 0.5 - 0.5 * np.clip(waves * (0.5 / (highest * footprint + 0.05)), -1, 1)
    return first + (second - first) * mix


def _light(scene: Scene, pixels: list[slice], points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Light (n,) that reaches every point: ambient, and the lamp's with falloff and soft shadows."""
    to_light = _column(scene.light) - points
    squared_distance = _dot(to_light, to_light)
    lambert = np.maximum(_dot(normals, to_light) / np.sqrt(squared_distance), 0)
    falloff = 1 / (1 + squared_distance / LIGHT_HALF_DISTANCE**2)
    shadow = _shadow(scene, pixels, to_light, squared_distance)
    return AMBIENT_LIGHT * (0.6 + 0.4 * shadow) + 1.1 * lambert * falloff * shadow


def _shadow(scene: Scene, pixels: list[slice], to_light: np.ndarray, squared_distance: np.ndarray) -> np.ndarray:
    """Part of the lamp (n,), 0..1, that every point sees past the other objects, taken as soft balls."""
    shadow = np.ones_like(squared_distance)
    for item, own in zip(scene.objects, pixels, strict=True):
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
    return shadow


def _photograph(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Linear light (height, width, 3) to a noisy uint8 picture of the same shape."""
    levels = 255 * np.sqrt(np.clip(light, 0, 1))  # the square root is nearly the sRGB curve
    levels += SENSOR_NOISE * rng.standard_normal(levels.shape, dtype=np.float32)
    return np.clip(levels, 0, 255).astype(np.uint8)


def sensor_holes(
    depth: np.ndarray, image: np.ndarray, facing: np.ndarray, focal: float, rng: np.random.Generator
) -> np.ndarray:
    """Where a structured-light depth sensor gives no reading.

    What the projector, right of the camera, cannot reach past a nearer edge is always missing. The rest are blobs,
    likelier where the surface is dark, turned away from the camera, or next to an edge; they fill up the holes to a
    fraction drawn from `HOLE_FRACTION`.

    Args:
        depth: float32 (height, width), metres.
        image: uint8 (height, width, 3).
        facing: float32 (height, width), cosine of the angle between surface normal and line of sight.
        focal: focal length, pixels.
        rng: draws the fraction and the blobs.

    Returns:
        bool (height, width), True where the reading is missing.
    """
    score = sum(_smooth_noise(depth.shape, cells, rng) for cells in HOLE_BLOB_CELLS)
    score += 1.5 * (image.mean(-1) < 50) + 1.5 * (facing < 0.25) + 1.0 * _depth_edges(depth)
    shadow = _projector_shadow(depth, focal)
    score += 100 * shadow
    count = round(rng.uniform(*HOLE_FRACTION) * score.size)
    return shadow | (score > np.partition(score, -count - 1, axis=None)[-count - 1])


def _projector_shadow(depth: np.ndarray, focal: float) -> np.ndarray:
    """Pixels whose surface lies behind a nearer one as seen from the projector.

    A pixel's column in the projector's view is its own column less its disparity. A nearer surface further right in
    the picture that lands in the same or an earlier column has caught the light.
    """
    columns = np.arange(depth.shape[1], dtype=np.float32) - focal * PROJECTOR_BASELINE / depth
    first_from_right = np.minimum.accumulate(columns[:, ::-1], axis=1)[:, ::-1]
    return columns > first_from_right + 0.25  # a quarter of a pixel: sloping surfaces do not shadow themselves


def _depth_edges(depth: np.ndarray) -> np.ndarray:
    """Pixels on either side of a jump in depth by more than 8 %."""
    edges = np.zeros(depth.shape, dtype=bool)
    for near, far, near_edges, far_edges in (
        (depth[:, 1:], depth[:, :-1], edges[:, 1:], edges[:, :-1]),
        (depth[1:], depth[:-1], edges[1:], edges[:-1]),
    ):
        jump = np.abs(near - far) > 0.08 * np.minimum(near, far)
        near_edges |= jump
        far_edges |= jump
    return edges


def _smooth_noise(size: tuple[int, int], cells: int, rng: np.random.Generator) -> np.ndarray:
    """Normal noise (height, width), linear between the points of a grid with `cells` cells along the longer side."""
    cell = max(size) / cells
    rows, columns = (_interpolation(length, cell) for length in size)
    grid = rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
    return rows @ grid @ columns.T


def _interpolation(length: int, cell: float) -> np.ndarray:
    """Weights (length, points) that interpolate linearly between points `cell` pixels apart."""
    position = np.arange(length) / cell
    points = np.arange(int(position[-1]) + 2)
    return np.maximum(1 - np.abs(position[:, None] - points), 0).astype(np.float32)


def _visible_objects(scene: Scene, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Object ids (height, width) counted over the visible objects only, and their classes (n,)."""
    classes = np.array([item.class_id for item in scene.objects])
    visible = (np.bincount(seen.reshape(-1), minlength=len(classes)) > 0) & (classes != STRUCTURE)
    ids = np.where(visible, np.cumsum(visible), 0).astype(np.uint8)
    return ids[seen], classes[visible].astype(np.int64)
