# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Skeletons: the joints of a pose, in their order, and what belongs to each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .classes import check_different, clean_name
from .json_values import read_json


@dataclass(frozen=True)
class Skeleton:
    """`ValueError` if a joint number is out of range or in two flip pairs, or there is not one sigma per joint."""

    name: str  # what recipes and models call it
    joints: tuple[str, ...]  # names, in the order of the annotations
    flip_pairs: tuple[tuple[int, int], ...]  # joints (left, right) that change places in a mirrored image; others stay
    edges: tuple[tuple[int, int], ...]  # joints that a bone connects, for drawings
    # Of every joint the spread of human annotations relative to the root of the person's area, which object keypoint
    # similarity divides by (COCO's evaluation).
    sigmas: tuple[float, ...]

    def __post_init__(self):
        flipped = [joint for pair in self.flip_pairs for joint in pair]
        named = flipped + [joint for edge in self.edges for joint in edge]
        count = len(self.joints)
        if any(not 0 <= joint < count for joint in named):
            raise ValueError(f"The skeleton {self.name} has joints 0..{count - 1}, but {max(named)} is used.")
        if len(set(flipped)) != len(flipped):
            raise ValueError(f"A joint of the skeleton {self.name} stands twice in flip_pairs.")
        if len(self.sigmas) != count or min(self.sigmas) <= 0:
            raise ValueError(f"The skeleton {self.name} needs one sigma above 0 for each of {count} joints.")

    @property
    def flip_order(self) -> list[int]:
        """For every joint of the mirrored image the joint that it was."""
        order = list(range(len(self.joints)))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return order


_COCO_JOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
_COCO_BONES = (
    ("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "right_eye"), ("left_eye", "left_ear"),
    ("right_eye", "right_ear"), ("left_ear", "left_shoulder"), ("right_ear", "right_shoulder"),
    ("left_shoulder", "right_shoulder"), ("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow"),
    ("left_elbow", "left_wrist"), ("right_elbow", "right_wrist"), ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"), ("left_hip", "right_hip"), ("left_hip", "left_knee"),
    ("right_hip", "right_knee"), ("left_knee", "left_ankle"), ("right_knee", "right_ankle"),
)  # fmt: skip

COCO_SKELETON = Skeleton(
    name="coco",
    joints=_COCO_JOINTS,
    flip_pairs=tuple((left, left + 1) for left in range(1, 17, 2)),  # every joint but the nose has a left and a right
    edges=tuple((_COCO_JOINTS.index(first), _COCO_JOINTS.index(second)) for first, second in _COCO_BONES),
    sigmas=(.026, .025, .025, .035, .035, .079, .079, .072, .072, .062, .062, .107, .107, .087, .087, .089, .089),
)  # fmt: skip

OTHER_SIGMA = 0.079  # of joints that COCO lacks: what CrowdPose takes for head and neck, and COCO for shoulders


def skeleton_of(joints: Sequence[str], name: str, edges: Sequence[tuple[int, int]] | None = None) -> Skeleton:
    """
    A skeleton of any joints.

    Args:
        joints: names. Those that are called `left_...` and `right_...` alike change places in a mirrored image. Joints of
            COCO have its sigmas, others that of its shoulders.
        name: what messages call it.
        edges: numbers of joints, from 0; by default COCO's bones, as far as both ends are there.

    Raises:
        ValueError: as [`Skeleton`].
    """
    joints = tuple(map(str, joints))
    others = {joint: f"right_{joint.removeprefix('left_')}" for joint in joints if joint.startswith("left_")}
    pairs = [(joints.index(left), joints.index(right)) for left, right in others.items() if right in joints]
    if edges is None:
        edges = [tuple(map(joints.index, bone)) for bone in _COCO_BONES if set(bone) <= set(joints)]
    sigmas = dict(zip(COCO_SKELETON.joints, COCO_SKELETON.sigmas))
    return Skeleton(name, joints, tuple(pairs), tuple(edges), tuple(sigmas.get(j, OTHER_SIGMA) for j in joints))


def skeleton(given: str | Sequence[str]) -> Skeleton:
    """
    What joints are.

    Args:
        given: `"coco"`; a json file in COCO's format, whose one category with `keypoints` names them (see
            [`skeleton_of`]) and may have their bones (`skeleton`, pairs of numbers from 1); or their
            names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, the name is unknown, a joint comes twice, or a bone has no such joint.
    """
    if not isinstance(given, str):
        check_different(given, "The skeleton", "joint")
        return skeleton_of(given, "of these joints")
    if given == COCO_SKELETON.name:
        return COCO_SKELETON
    check_skeleton_name(given)
    if not Path(given).is_file():
        raise FileNotFoundError(f"There is no file {given} that names the joints of a skeleton.")
    return _skeleton_in(given, Path(given).stat().st_mtime_ns)


def check_skeleton_name(given: str | Sequence[str]) -> None:
    """`ValueError` for what cannot be the name of a skeleton; whether a file is there is not looked at."""
    if isinstance(given, str) and given != COCO_SKELETON.name and Path(given).suffix != ".json":
        raise ValueError(
            f"Unknown skeleton {given!r}: give {COCO_SKELETON.name}, or a .json file in COCO's format whose joints it is."
        )


@lru_cache
def _skeleton_in(file: str, changed: int) -> Skeleton:
    """Of the file as it was at the time `changed`."""
    category = category_with_joints(read_json(Path(file)), file)
    names = [clean_name(str(joint)) for joint in category["keypoints"]]
    check_different(names, file, "joint")
    bones = category.get("skeleton")
    try:
        edges = None if bones is None else [(int(first) - 1, int(second) - 1) for first, second in bones]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{file}: skeleton of its category must be pairs of numbers of joints, got {bones}."
        ) from error
    return skeleton_of(names, file, edges)


def category_with_joints(content: Any, name: str) -> dict[str, Any]:
    """The one category of a COCO dictionary that names joints; `ValueError` if there is none, or several."""
    categories = content.get("categories") if isinstance(content, dict) else None
    found = [entry for entry in categories or () if entry.get("keypoints")]
    if len(found) != 1:
        raise ValueError(
            f"{name} has {len(found)} categories with keypoints, but one is needed: give a file of person keypoints."
        )
    return found[0]
