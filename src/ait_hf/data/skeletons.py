# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Skeletons: the joints of a pose, in their order, and what belongs to each."""

from dataclasses import dataclass


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

_SKELETONS = {COCO_SKELETON.name: COCO_SKELETON}


def skeleton(name: str) -> Skeleton:
    """A skeleton by its name; `ValueError` for an unknown one."""
    if name not in _SKELETONS:
        raise ValueError(f"Unknown skeleton {name!r}: there is {', '.join(_SKELETONS)}.")
    return _SKELETONS[name]
