# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Surfaces that the ray caster of [`~ait_hf.data.rooms.rendering`] can hit.

World coordinates are in metres: x and y span the floor, z points up. Rays are given by one origin (3, 1) and
directions (3, n), which need not have length 1; the ray parameter counts in directions. Arrays of vectors have their
three components first. Every surface has

- `bounding_sphere`: center and radius, metres; `None` of a plane;
- `distance(origin, directions)`: ray parameters (n,) where rays first hit; inf where they miss;
- `surface(points)`: unit normals (3, n) and texture coordinates in metres (2, n) of `points` (3, n) on it.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np


INFINITY = np.float32(np.inf)
NEAREST_HIT = 1e-3  # metres: hits nearer than this are behind or on the camera
SHORTEST_AXIS = 1e-6  # metres: keeps balls, whose axis is 0, from dividing by zero


def column(vector) -> np.ndarray:
    """A vector as float32 (3, 1)."""
    return np.asarray(vector, dtype=np.float32)[:, None]


def dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Inner products (n,) of two (3, n)."""
    return np.einsum("ij,ij->j", first, second)


def _slab(origin: np.ndarray, directions: np.ndarray, half: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Ray parameters where rays enter and leave |component| <= half, for every component separately."""
    first = (-half - origin) / directions
    second = (half - origin) / directions
    return np.minimum(first, second), np.maximum(first, second)


def _round_interval(local_origin: np.ndarray, directions: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Ray parameters where rays enter and leave the ball (or disc, for two components); (inf, -inf) on a miss."""
    a = dot(directions, directions)
    b = local_origin[:, 0] @ directions
    discriminant = b * b - a * (np.square(local_origin).sum() - radius * radius)
    missed = discriminant < 0
    root = np.sqrt(np.maximum(discriminant, 0))
    return np.where(missed, INFINITY, (-b - root) / a), np.where(missed, -INFINITY, (root - b) / a)


def _first_hit(enter: np.ndarray, leave: np.ndarray) -> np.ndarray:
    return np.where((enter <= leave) & (enter > NEAREST_HIT), enter, INFINITY)


@dataclass(frozen=True)
class Plane:
    """An infinite plane that cuts the world axis of the number `axis` (x, y, z) at `offset` metres; its normal is
    along the axis in the direction `facing`, +1 or -1."""

    axis: int
    offset: float
    facing: int

    bounding_sphere = None

    def distance(self, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        distance = (self.offset - origin[self.axis]) / directions[self.axis]
        return np.where(distance > NEAREST_HIT, distance, INFINITY)

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        normals = np.zeros_like(points)
        normals[self.axis] = self.facing
        return normals, points[[axis for axis in range(3) if axis != self.axis]]


@dataclass(frozen=True)
class Box:
    """A box with `center` (x, y, z) and `half_size` (along x, y, z), metres, then turned about the vertical by `yaw`,
    radians, counterclockwise from above."""

    center: tuple[float, float, float]
    half_size: tuple[float, float, float]
    yaw: float = 0.0

    @property
    def bounding_sphere(self) -> tuple[tuple[float, float, float], float]:
        return self.center, math.hypot(*self.half_size)

    def _to_box(self) -> np.ndarray:
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        return np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]], dtype=np.float32)

    def distance(self, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        to_box = self._to_box()
        enter, leave = _slab(to_box @ (origin - column(self.center)), to_box @ directions, column(self.half_size))
        return _first_hit(enter.max(0), leave.min(0))

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        to_box = self._to_box()
        local = to_box @ (points - column(self.center))
        inside = np.abs(local) * (1 / column(self.half_size))  # 1 on the point's own face, less on the others
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
        return self.center, self.radius

    def distance(self, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        return _first_hit(*_round_interval(origin - column(self.center), directions, self.radius))

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        offsets = points - column(self.center)
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
        return self.center, math.hypot(self.radius, self.half_height)

    def distance(self, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        local = origin - column(self.center)
        side_enter, side_leave = _round_interval(local[:2], directions[:2], self.radius)
        cap_enter, cap_leave = _slab(local[2], directions[2], self.half_height)
        return _first_hit(np.maximum(side_enter, cap_enter), np.minimum(side_leave, cap_leave))

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        offsets = points - column(self.center)
        from_axis = np.hypot(offsets[0], offsets[1])
        on_cap = np.abs(offsets[2]) / self.half_height > from_axis / self.radius
        normals = np.where(on_cap, 0, offsets / self.radius)
        normals[2] = np.where(on_cap, np.sign(offsets[2]), 0)
        around = np.arctan2(offsets[1], offsets[0]) * self.radius
        texture = np.where(on_cap, offsets[:2], np.stack([around, offsets[2]]))
        return normals, texture


@dataclass(frozen=True)
class Capsules:
    """Several capsules that make one surface: rods with half balls at both ends, and balls where both ends meet.
    `starts` and `ends` (capsules, 3) are the middles of the half balls, `radii` (capsules,) theirs, metres."""

    starts: np.ndarray
    ends: np.ndarray
    radii: np.ndarray

    @cached_property
    def bounding_sphere(self) -> tuple[tuple[float, float, float], float]:
        low = np.minimum(self.starts, self.ends) - self.radii[:, None]
        high = np.maximum(self.starts, self.ends) + self.radii[:, None]
        corner_low, corner_high = low.min(0), high.max(0)
        return tuple(((corner_low + corner_high) / 2).tolist()), float(np.linalg.norm(corner_high - corner_low)) / 2

    def distance(self, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        is_rod = (self.starts != self.ends).any(1)
        balls = np.concatenate([self.starts, self.ends[is_rod]])
        hits = _balls_hit(origin, directions, balls, np.concatenate([self.radii, self.radii[is_rod]]))
        rods = _rods_hit(origin, directions, self.starts[is_rod], self.ends[is_rod], self.radii[is_rod])
        return np.minimum(hits.min(0), rods.min(0, initial=INFINITY))

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        axes = (self.ends - self.starts).astype(np.float32)
        from_start = points - self.starts.astype(np.float32)[:, :, None]  # (capsules, 3, n)
        squared_length = np.maximum(np.square(axes).sum(1), SHORTEST_AXIS**2)
        along = np.clip(np.einsum("ki,kin->kn", axes, from_start) / squared_length[:, None], 0, 1)
        offsets = from_start - axes[:, :, None] * along[:, None]
        lengths = np.sqrt(np.einsum("kin,kin->kn", offsets, offsets))
        nearest = np.abs(lengths - self.radii.astype(np.float32)[:, None]).argmin(0)
        each = np.arange(points.shape[1])
        return (offsets[nearest, :, each] / lengths[nearest, each, None]).T, points[[0, 2]]


def _balls_hit(origin: np.ndarray, directions: np.ndarray, centers: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """First ray parameters (balls, n); inf on a miss."""
    from_center = (origin[:, 0] - centers).astype(np.float32)
    a = dot(directions, directions)
    b = from_center @ directions
    discriminant = b * b - a * (np.square(from_center).sum(1) - radii**2).astype(np.float32)[:, None]
    enter = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
    return np.where((discriminant >= 0) & (enter > NEAREST_HIT), enter, INFINITY)


def _rods_hit(
    origin: np.ndarray, directions: np.ndarray, starts: np.ndarray, ends: np.ndarray, radii: np.ndarray
) -> np.ndarray:
    """First ray parameters (rods, n) where rays meet the rods' sides; inf on a miss."""
    axes = ends - starts
    lengths = np.linalg.norm(axes, axis=1, keepdims=True)
    axes = (axes / lengths).astype(np.float32)
    from_start = (origin[:, 0] - starts).astype(np.float32)
    start_along = np.einsum("ki,ki->k", axes, from_start)[:, None]
    along = axes @ directions
    # The same equation as for a ball, of what is left of ray and origin across the axis.
    a = dot(directions, directions) - along * along
    b = from_start @ directions - start_along * along
    c = (np.square(from_start).sum(1) - radii**2).astype(np.float32)[:, None] - start_along**2
    discriminant = b * b - a * c
    enter = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
    place = start_along + enter * along
    hits = (discriminant >= 0) & (enter > NEAREST_HIT) & (place > 0) & (place < lengths.astype(np.float32))
    return np.where(hits, enter, INFINITY)
