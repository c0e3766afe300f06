# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data of poses: people in images, and poses alone for the pose tokenizer."""

from collections.abc import Collection
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import datasets
from torch.utils.data import Dataset, default_collate
from torchvision.transforms import v2

from ...data.classes import DataClasses, learning_warnings, pair_joints
from ...data.coco_files import CocoContent, read_coco_file
from ...data.coco_keypoints import (
    keypoint_classes,
    load_coco_keypoints,
    person_category,
)
from ...data.coco_shards import load_keypoint_shards
from ...data.pose_transforms import PoseEvalTransform, PoseTrainTransform, checked_person, pose_collator
from ...data.rooms.objects import SyntheticPoses
from ...data.skeletons import COCO_SKELETON, Skeleton, check_skeleton_name, skeleton
from ...data.tables import AnyTable, evenly, examples
from ...model.configuration_ait import AiTConfig
from ...recipes.from_folder import FineTuning, Section, coco_splits, processor_of
from ...recipes.parsing import as_section, joined
from ...recipes.sources import CocoFiles, Shards
from ...recipes.streams import DataRecipe, Sample, Source, Stream
from ..base import FrameTransformRecipe
from .evaluation import pose_ground_truth


@as_section
class People(Source):
    """What sources of people share; each gives them one by one."""

    skeleton: ClassVar[str | list[str]] = COCO_SKELETON.name

    @property
    def joints(self) -> Skeleton:
        """What the joints are."""
        return skeleton(self.skeleton)

    def classes(self, split: str) -> DataClasses:
        """The joints that the people have."""
        return DataClasses(f"The data section {self.name}", self.joints.joints)


@as_section
class AnnotatedPeople(People):
    """What people with annotated joints share."""

    # What the joints are: "coco", a .json file in COCO's format that names them, or their names.
    skeleton: str | list[str] = COCO_SKELETON.name

    def validate_skeleton(self):
        check_skeleton_name(self.skeleton)


@as_section
class CocoPeople(CocoFiles, AnnotatedPeople):
    """People of a data set in COCO's format with at least one annotated joint."""

    def people(self, split: str, for_training: bool, with_images: bool) -> datasets.Dataset:
        files = self.files(split)
        people = load_coco_keypoints(files.annotations, files.images, skeleton=self.skeleton)
        return people if with_images else people.remove_columns("image")

    def annotations(self, split: str, left_out: Collection[int]) -> dict[str, Any]:
        """The file's content without the people with these ids."""
        content = read_coco_file(Path(self.files(split).annotations)).content
        return content | {"annotations": [entry for entry in content["annotations"] if entry["id"] not in left_out]}

    def classes(self, split: str) -> DataClasses:
        people = self.people(split, for_training=False, with_images=False)
        return keypoint_classes(self.files(split).annotations, people, self.joints)


@as_section
class ShardsOfPeople(Shards, AnnotatedPeople):
    """Shards with rows as of [`~ait_hf.data.coco_keypoints.load_coco_keypoints`]."""

    name: Literal["coco_shards"] = "coco_shards"

    def people(self, split: str, for_training: bool, with_images: bool) -> AnyTable:
        return load_keypoint_shards(self.path, split, with_images=with_images, streaming=self.streaming)


@as_section
class Portraits(People):
    """People in rooms rendered on the fly, see [`~ait_hf.data.rooms.objects.SyntheticPoses`]. (They are rendered for poses
    alone, too, which tells what is seen.)"""

    is_endless: ClassVar[bool] = True

    name: Literal["synthetic"] = "synthetic"
    size: list[int]  # height and width of the pictures that crops are cut from, pixels
    seed: int = 0  # which pictures
    num_images: int | None = None  # train on so many again and again, rendered once: cheaper than ever new ones

    def people(self, split: str, for_training: bool, with_images: bool) -> Dataset:
        return SyntheticPoses(split, self.size, self.seed, self.num_images if for_training else None)


@as_section
class PoseTransformRecipe(FrameTransformRecipe):
    """Arguments of [`~ait_hf.data.pose_transforms.PoseTrainTransform`]: as [`FrameTransformRecipe`], the frame being the crop
    around a person and scale 1 that of the evaluation, and others."""

    box_scale: float = 1.25  # how much is shown around a person's box
    scale_range: list[float] = field(default_factory=lambda: [0.75, 1.25])
    shift: float = 0.1  # random, as a share of the box's sides
    rotation: float = 40.0  # the greatest random one, degrees
    rotation_p: float = 0.6  # share of turned crops


@as_section
class PersonData(DataRecipe):
    """People with joints, each in the crop around its box."""

    unit: ClassVar[str] = "pixel"
    with_images: ClassVar[bool] = True

    of: Literal["people"] = "people"
    source: CocoPeople | ShardsOfPeople | Portraits = joined()
    transform: PoseTransformRecipe

    @property
    def joints(self) -> Skeleton:
        """What the joints are."""
        return self.source.joints

    def rows(self, split: str, for_training: bool = False) -> Dataset | AnyTable:
        return self.source.people(split, for_training, self.with_images)

    def data_classes(self, split: str | None = None) -> DataClasses:
        """The joints of a split, by default of the people to train on."""
        return self.source.classes(split or self.split)

    def tokenizer_warnings(self) -> list[str]:
        joints = self.data_classes()
        return learning_warnings(joints, pair_joints(self.joints.joints, joints, self.joints.name).lacking)

    def ground_truth(self, split: str, num_samples: int | None) -> dict[str, Any]:
        """A COCO dictionary of the people that are evaluated; `ValueError` if one is not as it should be. Of files it has
        what else they hold beside people with joints, too: crowds, and people without joints, which neither count as
        missed nor make what is found there wrong."""
        people = self.source.people(split, for_training=False, with_images=False)
        if isinstance(self.source, CocoFiles):
            ids = list(people["id"])
            return self.source.annotations(split, left_out=set(ids) - set(evenly(ids, num_samples)))
        chosen = examples(people, num_samples)
        rows = (checked_person(chosen[number], self.joints) for number in range(len(chosen)))
        return pose_ground_truth(rows, self.joints)

    def stream(self, every: int = 1) -> Stream:
        """Samples with `pixel_values` and `labels`, float32 `(joints, 3)`; for evaluation also `persons`."""
        return Stream(self, *self._transforms(), pose_collator, every)

    def _transforms(self) -> tuple[PoseTrainTransform, PoseEvalTransform]:
        arguments = self.transform.arguments() | {"image_size": self.image_size}
        common = {"skeleton": self.joints, "with_images": self.with_images}
        evaluation = {name: arguments[name] for name in ("image_size", "box_scale", "normalize")}
        return PoseTrainTransform(**arguments, **common), PoseEvalTransform(**evaluation, **common)


@as_section
class PoseData(PersonData):
    """As [`PersonData`], but the poses alone: images are not read."""

    with_images: ClassVar[bool] = False

    of: Literal["poses"] = "poses"

    def stream(self, every: int = 1) -> Stream:
        """Samples with `labels`."""
        transforms = (v2.Compose([transform, _labels_only]) for transform in self._transforms())
        return Stream(self, *transforms, default_collate, every)


def _labels_only(sample: Sample) -> Sample:
    return {"labels": sample["labels"]}


def poses_from_folder(request: FineTuning, config: AiTConfig, size: list[int]) -> tuple[Section, str]:
    """As [`~ait_hf.tasks.base.Kind.from_folder`]: COCO json files of people with joints."""
    names = config.tokenizers[config.task(request.task).slots[-1]].get("joint_names")
    joints = skeleton(names or COCO_SKELETON.name)
    section = {"name": "coco"} | coco_splits(request, partial(_images_of_people, joints=joints))
    section |= {"skeleton": list(names)} if names else {}
    processor = processor_of(request, config)
    transform = {"image_size": size, "box_scale": processor.box_scale}
    return {"data": section | {"transform": transform}}, "validation"


def _images_of_people(content: CocoContent, joints: Skeleton) -> set[int]:
    """Of images without anybody there is nothing to evaluate."""
    person, _ = person_category(content.content, content.name, joints)
    people = (entry for entry in content.content["annotations"] if entry["category_id"] == person)
    return {entry["image_id"] for entry in people if entry.get("num_keypoints")}
