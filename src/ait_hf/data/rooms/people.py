# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures of capsules that stand, walk, sit, crouch and wave, with COCO's 17 joints.

A figure's own coordinates are metres: x forward, y to its left, z up, the origin on the floor below the pelvis.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..skeletons import COCO_SKELETON
from .rendering import CLASS_NAMES, Material, SceneObject, random_material
from .shapes import Box, Capsules


HEIGHT = (1.5, 1.9)  # metres
BUILD = (0.9, 1.25)  # factor on every radius
SIDES = {"left": 1, "right": -1}

# Lengths and radii below are shares of the height, those of an average adult.
HIP, SHOULDER = 0.06, 0.105  # from the middle of the body to a joint
TRUNK, NECK, HEAD = 0.29, 0.115, 0.06  # pelvis to shoulders, shoulders to the head's middle, the head's radius
UPPER_ARM, FOREARM, HAND = 0.175, 0.15, 0.04
THIGH, SHIN, ANKLE, FOOT = 0.245, 0.24, 0.03, 0.09

# In head radii along the head's forward, left and up.
FACE = {
    "nose": (1.05, 0.0, -0.1), "left_eye": (0.88, 0.36, 0.25), "right_eye": (0.88, -0.36, 0.25),
    "left_ear": (0.0, 1.0, 0.0), "right_ear": (0.0, -1.0, 0.0), "hair": (-0.25, 0.0, 0.3),
}  # fmt: skip

# Capsules: between which two points, radius, and what they are dressed in. Names without a side stand for both sides.
BODY = (
    ("chest", "pelvis", 0.062, "shirt"),
    ("left_shoulder", "right_shoulder", 0.042, "shirt"),
    ("{}_shoulder", "{}_hip", 0.048, "shirt"),
    ("{}_shoulder", "{}_elbow", 0.029, "shirt"),
    ("{}_elbow", "{}_wrist", 0.022, "sleeves"),
    ("{}_wrist", "{}_hand", 0.021, "skin"),
    ("chest", "head", 0.03, "skin"),
    ("head", "head", HEAD, "skin"),
    ("nose", "nose", 0.012, "skin"),
    ("{}_ear", "{}_ear", 0.013, "skin"),
    ("{}_eye", "{}_eye", 0.009, "hair"),
    ("hair", "hair", 1.05 * HEAD, "hair"),
    ("left_hip", "right_hip", 0.056, "trousers"),
    ("{}_hip", "{}_knee", 0.044, "trousers"),
    ("{}_knee", "{}_ankle", 0.03, "legs"),
    ("{}_ankle", "{}_toe", 0.024, "shoes"),
)
CAPSULES = tuple(
    (start.format(side), end.format(side), radius, garment)
    for start, end, radius, garment in BODY
    for side in (SIDES if "{}" in start else ("",))
)
ENDS = tuple(dict.fromkeys(end for capsule in CAPSULES for end in capsule[:2]))  # of capsules; all joints among them
STARTS_AT, ENDS_AT = ([ENDS.index(capsule[end]) for capsule in CAPSULES] for end in (0, 1))
JOINTS_AT = [ENDS.index(name) for name in COCO_SKELETON.joints]
SOLES_AT = [ENDS.index(f"{side}_{end}") for side in SIDES for end in ("ankle", "toe")]
RADII = np.array([radius for _, _, radius, _ in CAPSULES])
WORN = [garment for _, _, _, garment in CAPSULES]
THIGHS, SHOES = WORN.index("trousers"), WORN.index("shoes")

# How far below the surface a joint lies; the head's are on it, but a pixel may see the head a little beside them.
JOINT_DEPTH = {
    "nose": 0.02, "eye": 0.02, "ear": 0.035, "shoulder": 0.05, "elbow": 0.03, "wrist": 0.025, "hip": 0.07,
    "knee": 0.045, "ankle": 0.032,
}  # fmt: skip
JOINT_DEPTHS = np.array([JOINT_DEPTH[name.split("_")[-1]] for name in COCO_SKELETON.joints])
DEPTH_TOLERANCE = 1.5  # a surface seen aslant lies farther before the joint than its radius

SKIN_COLORS = ((0.85, 0.6, 0.45), (0.2, 0.1, 0.06))  # linear red, green, blue of the palest and the darkest
HAIR_COLORS = ((0.02, 0.015, 0.01), (0.12, 0.05, 0.02), (0.45, 0.28, 0.1), (0.35, 0.35, 0.36))
LONG_SLEEVES_SHARE, LONG_TROUSERS_SHARE = 0.5, 0.75


@dataclass(frozen=True)
class Arm:
    """Angles in degrees: forward `swing` from hanging down, sideways `spread`, `elbow` (0 = straight); `inward` and
    `upward` say where, besides forward, the bent forearm points."""

    swing: float
    spread: float
    elbow: float
    inward: float
    upward: float


@dataclass(frozen=True)
class Leg:
    """Angles in degrees: forward `swing` of the thigh from hanging down, sideways `spread`, `knee` (0 = straight)."""

    swing: float
    spread: float
    knee: float


@dataclass(frozen=True)
class Posture:
    """Angles in degrees of a whole figure, arms and legs by side: `lean` of the trunk, forward, `twist` of the
    shoulders against the pelvis, to the left, `turn` and `nod` of the head, to the left and down. `sits` puts a seat
    below."""

    arms: Mapping[str, Arm]
    legs: Mapping[str, Leg]
    lean: float
    twist: float
    turn: float
    nod: float
    sits: bool = False


@dataclass(frozen=True)
class Figure:
    """A dressed person in some place: `starts` and `ends` (capsules, 3) and `radii` (capsules,) in the order of
    `CAPSULES`, metres; `points` (17, 3), the joints of [`~ait_hf.data.skeletons.COCO_SKELETON`], metres, and their
    `depths` (17,), see [`~ait_hf.data.rooms.rendering.Scene`]; as `clothes` materials, and the capsules that each
    covers; and a `seat`, if it sits."""

    starts: np.ndarray
    ends: np.ndarray
    radii: np.ndarray
    points: np.ndarray
    depths: np.ndarray
    clothes: Sequence[tuple[Material, Sequence[int]]]
    seat: Box | None
    seat_material: Material

    def moved(self, x: float, y: float, yaw: float) -> "Figure":
        """Turned by `yaw` (radians, counterclockwise from above) and then moved by `x` and `y` metres."""
        turn = _turn(yaw)
        starts, ends, points = (part @ turn + (x, y, 0) for part in (self.starts, self.ends, self.points))
        seat = self.seat
        if seat is not None:
            seat = Box(tuple((np.array(seat.center) @ turn + (x, y, 0)).tolist()), seat.half_size, seat.yaw + yaw)
        return replace(self, starts=starts, ends=ends, points=points, seat=seat)

    def parts(self, number: int) -> list[SceneObject]:
        """What it adds to a scene, as the figure of that number; the seat is a box and no part of the figure."""
        person = CLASS_NAMES.index("person")
        parts = [
            SceneObject(Capsules(self.starts[own], self.ends[own], self.radii[own]), material, person, number)
            for material, own in self.clothes
        ]
        if self.seat is not None:
            parts.append(SceneObject(self.seat, self.seat_material, CLASS_NAMES.index("box")))
        return parts

    def balls(self) -> tuple[np.ndarray, np.ndarray]:
        """Centers (n, 3) and radii (n,), metres, of balls around the ends of the capsules, and around the seat."""
        centers, radii = np.concatenate([self.starts, self.ends]), np.concatenate([self.radii, self.radii])
        if self.seat is None:
            return centers, radii
        center, radius = self.seat.bounding_sphere
        return np.concatenate([centers, [center]]), np.append(radii, radius)


def draw_figure(rng: random.Random) -> Figure:
    """A random person 1.5 to 1.9 m tall in a random posture, looking along x."""
    height = rng.uniform(*HEIGHT)
    draw_posture = rng.choices((_standing, _walking, _sitting, _crouching), weights=(4, 3, 2, 1))[0]
    posture = draw_posture(rng)
    radii = height * rng.uniform(*BUILD) * RADII
    points = place_points(posture)
    places = height * np.array([points[end] for end in ENDS])
    places[:, 2] += radii[SHOES] - places[SOLES_AT, 2].min()  # the lower foot stands on the floor
    seat = None
    if posture.sits:
        half = (places[ENDS.index("pelvis"), 2] - radii[THIGHS]) / 2
        seat = Box((-0.02, 0.0, half), (rng.uniform(0.18, 0.24), rng.uniform(0.18, 0.35), half))
    return Figure(
        starts=places[STARTS_AT],
        ends=places[ENDS_AT],
        radii=radii,
        points=places[JOINTS_AT],
        depths=DEPTH_TOLERANCE * height * JOINT_DEPTHS,
        clothes=_dress(rng),
        seat=seat,
        seat_material=_cloth(rng),
    )


def _standing(rng: random.Random) -> Posture:
    legs = {side: Leg(rng.gauss(0, 5), rng.uniform(1, 9), rng.uniform(0, 12)) for side in SIDES}
    return Posture(_arms(rng), legs, rng.gauss(0, 4), *_head(rng))


def _walking(rng: random.Random) -> Posture:
    stride = rng.uniform(12, 32) * rng.choice((-1, 1))
    arms = _arms(rng, swings={"left": -0.9 * stride, "right": 0.9 * stride})
    swings = {"left": stride, "right": -stride}
    legs = {side: Leg(swing, 2, rng.uniform(0, 15) + max(-swing, 0)) for side, swing in swings.items()}
    return Posture(arms, legs, rng.uniform(0, 10), *_head(rng))


def _sitting(rng: random.Random) -> Posture:
    swings = {side: rng.uniform(78, 92) for side in SIDES}
    legs = {side: Leg(swing, rng.uniform(2, 18), swing + rng.uniform(-30, 6)) for side, swing in swings.items()}
    arms = _arms(rng, swings={side: rng.uniform(5, 45) for side in SIDES})
    return Posture(arms, legs, rng.uniform(-10, 20), *_head(rng), sits=True)


def _crouching(rng: random.Random) -> Posture:
    bend = rng.uniform(25, 70)
    legs = {side: Leg(bend, rng.uniform(2, 15), 1.8 * bend) for side in SIDES}
    arms = _arms(rng, swings={side: rng.uniform(10, 70) for side in SIDES})
    return Posture(arms, legs, rng.uniform(10, 25) + 0.4 * bend, *_head(rng))


def _head(rng: random.Random) -> tuple[float, float, float]:
    """`twist`, `turn` and `nod` of a posture."""
    return rng.gauss(0, 8), max(-60.0, min(60.0, rng.gauss(0, 25))), rng.gauss(5, 12)


def _arms(rng: random.Random, swings: Mapping[str, float] = {"left": 0.0, "right": 0.0}) -> dict[str, Arm]:
    """Arms that hang about `swings`, or are bent, or raised to the side or the front."""
    arms = {}
    for side in SIDES:
        kind = rng.choices(("rests", "bends", "sideways", "forwards"), weights=(10, 4, 3, 3))[0]
        bent = {"inward": rng.uniform(-0.1, 0.7), "upward": rng.uniform(0.2, 0.9)}
        if kind == "rests":
            arms[side] = Arm(swings[side] + rng.gauss(0, 10), rng.uniform(4, 20), rng.uniform(5, 45), **bent)
        elif kind == "bends":
            arms[side] = Arm(rng.uniform(-10, 45), rng.uniform(8, 35), rng.uniform(60, 125), **bent)
        elif kind == "sideways":
            arms[side] = Arm(rng.gauss(0, 15), rng.uniform(60, 165), rng.uniform(0, 80), **bent)
        else:
            arms[side] = Arm(rng.uniform(60, 165), rng.uniform(0, 25), rng.uniform(0, 80), **bent)
    return arms


def place_points(posture: Posture) -> dict[str, np.ndarray]:
    """Joints and other ends of capsules, in shares of the height, with the pelvis in the origin."""
    upright = np.eye(3)  # rows: forward, left, up
    points = {"pelvis": np.zeros(3)}
    for side, sign in SIDES.items():
        points |= _place_leg(posture.legs[side], side, np.array([0, sign * HIP, 0]), sign)

    trunk = _nod(posture.lean) @ upright
    points["chest"] = TRUNK * trunk[2]
    shoulders = _turn(math.radians(posture.twist)) @ trunk
    for side, sign in SIDES.items():
        shoulder = points["chest"] + sign * SHOULDER * shoulders[1]
        points |= _place_arm(posture.arms[side], side, shoulder, sign, shoulders)

    nod = _nod(posture.nod - 0.6 * posture.lean)  # people look up when they lean
    head = nod @ _turn(math.radians(posture.turn)) @ shoulders
    points["head"] = points["chest"] + NECK * (trunk[2] + head[2]) / 2
    return points | {name: points["head"] + HEAD * np.array(place) @ head for name, place in FACE.items()}


def _place_leg(leg: Leg, side: str, hip: np.ndarray, sign: int) -> dict[str, np.ndarray]:
    spread = math.sin(math.radians(leg.spread))
    knee = hip + THIGH * _unit(_sagittal(leg.swing) + [0, sign * spread, 0])
    shin = leg.swing - leg.knee
    ankle = knee + SHIN * _unit(_sagittal(shin) + [0, 0.3 * sign * spread, 0])
    foot = _sagittal(shin + 90)  # across the shin
    toe = ankle + FOOT * foot + ANKLE * _sagittal(shin)
    return {f"{side}_hip": hip, f"{side}_knee": knee, f"{side}_ankle": ankle, f"{side}_toe": toe}


def _place_arm(arm: Arm, side: str, shoulder: np.ndarray, sign: int, frame: np.ndarray) -> dict[str, np.ndarray]:
    """`frame` (3, 3) has the shoulders' forward, left and up as its rows."""
    forward, left, up = frame
    spread, elbow_angle = math.radians(arm.spread), math.radians(arm.elbow)
    upper = math.cos(spread) * (_sagittal(arm.swing) @ frame) + math.sin(spread) * sign * left
    bent = forward - sign * arm.inward * left + arm.upward * up
    bent = _unit(bent - (bent @ upper) * upper)
    lower = math.cos(elbow_angle) * upper + math.sin(elbow_angle) * bent
    elbow = shoulder + UPPER_ARM * upper
    wrist = elbow + FOREARM * lower
    hand = wrist + HAND * lower
    return {f"{side}_shoulder": shoulder, f"{side}_elbow": elbow, f"{side}_wrist": wrist, f"{side}_hand": hand}


def _sagittal(degrees: float) -> np.ndarray:
    """Down, swung forward."""
    return np.array([math.sin(math.radians(degrees)), 0, -math.cos(math.radians(degrees))])


def _nod(degrees: float) -> np.ndarray:
    """Turns the rows of a frame forward and down; multiply from the left."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])


def _turn(radians: float) -> np.ndarray:
    """Turns the rows of a frame to the left; multiply from the left."""
    cosine, sine = math.cos(radians), math.sin(radians)
    return np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / math.sqrt(vector @ vector)


def _dress(rng: random.Random) -> list[tuple[Material, list[int]]]:
    """`clothes` of a figure; sleeves and legs may be short and show the skin."""
    share, (pale, dark) = rng.random(), SKIN_COLORS
    skin = _plain(tuple(share * a + (1 - share) * b for a, b in zip(pale, dark, strict=True)))
    materials = {"skin": skin, "hair": _plain(rng.choice(HAIR_COLORS)), "shirt": _cloth(rng), "trousers": _cloth(rng)}
    materials["shoes"] = _plain((rng.uniform(0.01, 0.5),) * 3)
    sleeves = "shirt" if rng.random() < LONG_SLEEVES_SHARE else "skin"
    legs = "trousers" if rng.random() < LONG_TROUSERS_SHARE else "skin"
    worn = [{"sleeves": sleeves, "legs": legs}.get(garment, garment) for garment in WORN]
    return [(material, [k for k, name in enumerate(worn) if name == own]) for own, material in materials.items()]


def _plain(color: tuple[float, float, float]) -> Material:
    return Material((color, color))


def _cloth(rng: random.Random) -> Material:
    return random_material(rng, brightness=(0.05, 0.9), saturation=0.9, pattern_share=0.3, tile=(0.04, 0.12))
