# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sections of recipes for poses: people in images, and poses alone for the pose tokenizer."""

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import datasets
from huggingface_hub.dataclasses import strict
from torch.utils.data import Dataset, default_collate

from ...data.classes import DataClasses, learning_warnings, pair_joints
from ...data.coco_keypoints import keypoint_classes, load_coco_keypoints
from ...data.coco_shards import load_keypoint_shards
from ...data.pixels import height_and_width
from ...data.pose_transforms import PoseEvalTransform, PoseTrainTransform, checked_person, pose_collator
from ...data.rooms.poses import SyntheticPoses
from ...data.skeletons import COCO_SKELETON, Skeleton, skeleton
from ...data.subset import evenly
from ...recipes.shards import Shards
from ...recipes.streams import DataRecipe, Sample, Stream
from ..objects.data import CocoFiles
from .evaluation import pose_ground_truth


@strict
@dataclass
class PoseTransformRecipe:
    """
    Arguments of [`~ait_hf.data.pose_transforms.PoseTrainTransform`].

    Args:
        image_size (`int` or `list[int]`): Height and width of the crops around people, pixels.
        box_scale (`float`): How much is shown around a person's box.
        scale_range (`list[float]`): Of the random size of the part that is shown, 1 being that of the evaluation.
        shift (`float`): Random shift, as a share of the box's sides.
        rotation (`float`): Greatest random rotation, degrees.
        rotation_p, flip_p (`float`): Shares of turned and of mirrored crops.
        normalize (`bool`): By ImageNet's mean and standard deviation.
    """

    image_size: int | list[int]
    box_scale: float = 1.25
    scale_range: list[float] = field(default_factory=lambda: [0.75, 1.25])
    shift: float = 0.1
    rotation: float = 40.0
    rotation_p: float = 0.6
    flip_p: float = 0.5
    normalize: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the model sees, pixels."""
        return height_and_width(self.image_size)


@strict
@dataclass(kw_only=True)
class PersonData(DataRecipe):
    """
    What all data sections for people with joints share.

    Args:
        transform (`PoseTransformRecipe`): Crops and augmentation.
    """

    unit: ClassVar[str] = "pixel"

    transform: PoseTransformRecipe

    @property
    def image_size(self) -> tuple[int, int]:
        return self.transform.size

    @property
    def joints(self) -> Skeleton:
        """What the joints are."""
        return COCO_SKELETON

    def data_classes(self, split: str | None = None) -> DataClasses:
        """The joints of a split, by default of the people to train on."""
        return DataClasses(f"The data section {self.name}", self.joints.joints)

    def tokenizer_warnings(self) -> list[str]:
        joints = self.data_classes()
        return learning_warnings(joints, pair_joints(self.joints.joints, joints, self.joints.name).lacking)

    def ground_truth(self, split: str, num_samples: int | None) -> dict[str, Any]:
        """A COCO dictionary of the people that are evaluated."""
        raise NotImplementedError

    def check_ground_truth(self, split: str, num_samples: int | None) -> None:
        """`ValueError` for people in shards that [`PersonData.ground_truth`] cannot use."""

    def stream(self, every: int = 1) -> Stream:
        """Samples with `pixel_values` and `labels`, float32 `(joints, 3)`; for evaluation also `persons`."""
        return Stream(self, *self._transforms(with_images=True), pose_collator, every)

    def _transforms(self, with_images: bool) -> tuple[PoseTrainTransform, PoseEvalTransform]:
        arguments = asdict(self.transform) | {"image_size": self.image_size}
        common = {"skeleton": self.joints, "with_images": with_images}
        evaluation = {name: arguments[name] for name in ("image_size", "box_scale", "normalize")}
        return PoseTrainTransform(**arguments, **common), PoseEvalTransform(**evaluation, **common)


@strict
@dataclass(kw_only=True)
class AnnotatedPeople(PersonData):
    """
    What people with annotated joints share, each in the crop around its annotated box.

    Args:
        skeleton (`str`): What the joints are, see [`~ait_hf.data.skeletons.skeleton`].
    """

    skeleton: str = COCO_SKELETON.name

    def validate_skeleton(self):
        skeleton(self.skeleton)

    @property
    def joints(self) -> Skeleton:
        return skeleton(self.skeleton)


@strict
@dataclass(kw_only=True)
class CocoKeypointsData(CocoFiles, AnnotatedPeople):
    """People of a data set in COCO's format with at least one annotated joint."""

    name: Literal["coco_keypoints"] = "coco_keypoints"

    def load(self, split: str) -> datasets.Dataset:
        files = self.files(split)
        return load_coco_keypoints(files.annotations, files.images, skeleton=self.skeleton)

    def data_classes(self, split: str | None = None) -> DataClasses:
        annotations = self.files(split or self.split).annotations
        return keypoint_classes(annotations, CocoKeypointsData.load(self, split or self.split), self.joints)

    def ground_truth(self, split: str, num_samples: int | None) -> dict[str, Any]:
        people = CocoKeypointsData.load(self, split).remove_columns("image")
        chosen = evenly(people, num_samples)
        return pose_ground_truth((chosen[number] for number in range(len(chosen))), self.joints)


@strict
@dataclass(kw_only=True)
class SyntheticPeopleData(PersonData):
    """
    People in rooms rendered on the fly, see [`~ait_hf.data.rooms.poses.SyntheticPoses`].

    Args:
        size (`list[int]`): Height and width of the pictures that crops are cut from, pixels.
        num_images (`int`, *optional*): Train on so many pictures again and again, rendered once: cheaper than ever new
            ones, which are the default.
    """

    name: Literal["synthetic_people"] = "synthetic_people"
    size: list[int]
    seed: int = 0
    num_images: int | None = None

    @property
    def is_endless(self) -> bool:
        return True

    def load(self, split: str) -> Dataset:
        return SyntheticPoses(split, tuple(self.size), self.seed)

    def load_for_training(self) -> Dataset:
        return SyntheticPoses(self.split, tuple(self.size), self.seed, self.num_images)

    def ground_truth(self, split: str, num_samples: int) -> dict[str, Any]:
        people = self.load(split)
        return pose_ground_truth((people[number] for number in range(num_samples)), self.joints)


@strict
@dataclass(kw_only=True)
class KeypointShards(Shards, AnnotatedPeople):
    """Shards with rows as of [`~ait_hf.data.coco_keypoints.load_coco_keypoints`]."""

    name: Literal["coco_keypoint_shards"] = "coco_keypoint_shards"

    def load(self, split: str) -> datasets.Dataset | datasets.IterableDataset:
        return load_keypoint_shards(self.path, split, streaming=self.streaming)

    def ground_truth(self, split: str, num_samples: int | None) -> dict[str, Any]:
        people = load_keypoint_shards(self.path, split, with_images=False, streaming=self.streaming)
        if not self.streaming:
            chosen = evenly(people, num_samples)
            people = (chosen[number] for number in range(len(chosen)))
        elif num_samples is not None:
            people = people.take(num_samples)
        return pose_ground_truth((checked_person(person, self.joints) for person in people), self.joints)

    def check_ground_truth(self, split: str, num_samples: int | None) -> None:
        self.ground_truth(split, num_samples)


AnyPersonData = CocoKeypointsData | KeypointShards | SyntheticPeopleData


@strict
@dataclass(kw_only=True)
class CocoPoses(CocoKeypointsData):
    """As [`CocoKeypointsData`], but the poses alone: images are not decoded."""

    name: Literal["coco_poses"] = "coco_poses"

    def load(self, split: str) -> datasets.Dataset:
        return super().load(split).remove_columns("image")

    def stream(self, every: int = 1) -> Stream:
        """Samples with `labels`."""
        return _poses_alone(self, every)


@strict
@dataclass(kw_only=True)
class SyntheticPosesData(SyntheticPeopleData):
    """As [`SyntheticPeopleData`], but the poses alone. (They are rendered all the same, which tells what is seen.)"""

    name: Literal["synthetic_poses"] = "synthetic_poses"

    def stream(self, every: int = 1) -> Stream:
        """Samples with `labels`."""
        return _poses_alone(self, every)


@strict
@dataclass(kw_only=True)
class PoseShards(KeypointShards):
    """As [`KeypointShards`], but the poses alone: images are not read."""

    name: Literal["coco_pose_shards"] = "coco_pose_shards"

    def load(self, split: str) -> datasets.Dataset | datasets.IterableDataset:
        return load_keypoint_shards(self.path, split, with_images=False, streaming=self.streaming)

    def stream(self, every: int = 1) -> Stream:
        """Samples with `labels`."""
        return _poses_alone(self, every)


AnyPoseData = CocoPoses | PoseShards | SyntheticPosesData


def _poses_alone(data: PersonData, every: int) -> Stream:
    train_transform, eval_transform = (_LabelsOnly(transform) for transform in data._transforms(with_images=False))
    return Stream(data, train_transform, eval_transform, default_collate, every)


@dataclass(frozen=True)
class _LabelsOnly:
    transform: PoseEvalTransform

    def __call__(self, row: Sample) -> Sample:
        return {"labels": self.transform(row)["labels"]}
