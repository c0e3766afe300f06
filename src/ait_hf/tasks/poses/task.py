# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Keypoint detection as a task of a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image

from ...data.classes import DataClasses, Pairs, pair_joints
from ...data.pixels import height_and_width, processor_arguments
from ...data.skeletons import COCO_SKELETON
from ...model.configuration_ait import AiTConfig
from ...model.image_processing_pose_ait import AiTPoseImageProcessor
from ...model.modeling_ait import AiTForPoseEstimation
from ...model.tokenization_pose import PoseTokenizer, mask_joints
from ...recipes.parsing import as_section
from ..base import SYNTHETIC, DenseSettings, Kind, ShortForm, TaskText, sample_size
from ..objects.task import COCO, COCO_FILE, coco_split, written
from ..writer import Writer
from .data import PersonData, PoseData, poses_from_folder
from .drawing import BACKGROUND, draw_poses, pose_gallery
from .evaluation import (
    PCK,
    TORSO_PCK,
    detected_people,
    evaluate_pose_tokenizer,
    evaluate_poses,
    person_collator,
    pose_gallery_rows,
)
from .prediction import POSE_TASK, PoseWriter, check_joints, person_tasks


PICTURE_SIZE = [96, 96]  # height and width of the synthetic pictures that people are cut from


@as_section
class Poses(Kind):
    """Joints of one person, in the crop around the person's box. Evaluated with the annotated boxes."""

    title: ClassVar[str] = "poses"
    tasks: ClassVar[Sequence[str]] = (POSE_TASK,)
    output_types: ClassVar[Sequence[str]] = ("pose",)
    units: ClassVar[Sequence[str]] = ("pixel",)
    tokenizer_class: ClassVar[type] = PoseTokenizer
    predict_options: ClassVar[Sequence[str]] = ("threshold", "boxes", "flip_test", "skeleton")
    tokenizer_data: ClassVar[Any] = PoseData
    measuring_options: ClassVar[Sequence[str]] = ("boxes", "results")
    measured_as: ClassVar[str] = "pose"
    mask_ratio: ClassVar[float] = 0.2
    has_patches: ClassVar[bool] = False
    finetune_options: ClassVar[Sequence[str]] = ("images", "validation")
    writer: ClassVar[type[Writer]] = PoseWriter
    columns: ClassVar[Sequence[str]] = (
        *("AP", "AP50", "AP75", "APm", "APl", "AR", "PCK"),
        *("joint_error", "perplexity", "num_persons", "num_images"),
    )
    short_forms: ClassVar[Mapping[str, ShortForm]] = {
        COCO: replace(COCO_FILE, options=("images", "boxes")),
        SYNTHETIC: ShortForm(SYNTHETIC),
    }
    codebook: ClassVar[str] = "pose"
    unit: ClassVar[str] = "pixel"
    task_id: ClassVar[int] = 3
    model_class: ClassVar[type] = AiTForPoseEstimation
    best_metric: ClassVar[str] = "AP"
    lower_is_better: ClassVar[bool] = False
    card: ClassVar[TaskText] = TaskText(
        gives="the joints of people whose boxes are given",
        result="processor.post_process_pose_estimation(outputs, boxes=boxes)[0]",
        comment="of each person keypoints (x, y in pixels), scores, labels",
        limits=("It needs the boxes of people, and finds joints no better than these fit.",),
        pipeline_tag="keypoint-detection",
        needs_boxes=True,
    )

    name: Literal["keypoint-detection"] = "keypoint-detection"
    data: PersonData
    tokenizer: str | None = None
    settings: DenseSettings = field(default_factory=DenseSettings)

    @classmethod
    def needs_boxes(cls, config) -> bool:
        return not person_tasks(config)

    def declaration(self, tokenizer: PoseTokenizer) -> dict[str, Any]:
        subject, size = f"tasks.{self.name}.tokenizer is of", tokenizer.crop_size
        check_joints(subject, tokenizer.config, "the data's", self.data.joints)
        if self.data.image_size != size:
            raise ValueError(
                f"tasks.{self.name}.tokenizer is of poses in crops {size[0]} pixels high and {size[1]} wide: set "
                f"tasks.{self.name}.data.transform.image_size to {list(size)}."
            )
        grid = {"grid_size": [1, tokenizer.config.num_tokens]}
        return super().declaration(tokenizer) | {"slots": ["pose"], "output_type": "pose", **grid}

    def pair(self, data: DataClasses, config: AiTConfig, model: str, **_) -> Pairs:
        """Joints of the data with those of the skeleton, which are the model's; `ValueError` if it has another number."""
        tokenizer = config.tokenizers[config.task(self.name).slots[-1]]
        check_joints(f"{model} writes", tokenizer, "the data's", self.data.joints)
        return pair_joints(self.data.joints.joints, data, self.data.joints.name)

    def owner_of_classes(self, model: str) -> str:
        return f"the skeleton {self.data.joints.name}"

    def processor(self) -> AiTPoseImageProcessor:
        (height, width), transform = self.data.image_size, self.data.transform
        size = {"height": height, "width": width}
        normalization = processor_arguments(transform.normalization)
        return AiTPoseImageProcessor(size=size, box_scale=transform.box_scale, **normalization)

    def evaluate(
        self, model, processor, batches, options, classes=None, *, boxes=None, results=None, **measuring
    ) -> dict[str, float]:
        """`boxes`: a file of what a detector found, instead of the annotated boxes, in the images of files in COCO's
        format that `options` choose; `results`: a file for what is found. Both in COCO's results format."""
        truth, joints = self.data.ground_truth(options.split, options.num_samples), self.data.joints
        measuring |= {"task": self.name, "skeleton": joints}
        if boxes is not None:
            files = self.data.source.files(options.split)
            found = detected_people(boxes, files.annotations, files.images, joints, options.num_samples)
            truth, measuring["image_ids"], rows = found
            batches = self.batches(rows, processor, measuring["accelerator"], options.batch_size)
        return written(evaluate_poses(model, processor, batches, truth, **measuring), results)

    def evaluate_tokenizer(
        self, tokenizer, rows, options, classes=None, *, image_size, processor=None, pck=TORSO_PCK, **measuring
    ) -> dict[str, float]:
        scale = self.data.transform.box_scale if processor is None else processor.box_scale
        measuring = {name: measuring[name] for name in ("accelerator", "description")}
        measuring |= {"batch_size": options.batch_size, "pck": pck}
        return evaluate_pose_tokenizer(tokenizer, rows, box_scale=scale, skeleton=self.data.joints, **measuring)

    def adapted(self, declared, tokenizer, before, after, keeping) -> dict[str, Any]:
        if self.data.image_size != tokenizer.crop_size:
            raise ValueError(
                f"The poses of {self.name!r} are written in crops of (height, width) {tokenizer.crop_size} pixels: set "
                f"tasks.{self.name}.data.transform.image_size to that."
            )
        return {"image_size": list(tokenizer.crop_size)}

    @classmethod
    def tokenizer_config(cls, data) -> dict[str, Any]:
        joints, size = list(data.joints.joints), sample_size(data)
        return {"unit": data.unit, "num_joints": len(joints), "joint_names": joints, "sample_size": size}

    @classmethod
    def names_of_tokenizer(cls, config) -> list[str]:
        return list(config.get("joint_names") or ())

    @classmethod
    def names_of_model(cls, config, task) -> list[str]:
        return cls.names_of_tokenizer(config.tokenizers[config.task(task).slots[-1]])

    @classmethod
    def blank_sample(cls, data) -> torch.Tensor:
        return torch.ones(1, len(data.joints.joints), 3)

    @classmethod
    def sample_code(cls, config) -> str:
        side = min(height_and_width(config["sample_size"]))
        return f"torch.rand(1, {config['num_joints']}, 3) * {side}  # x, y in pixels, visibility above 0"

    @classmethod
    def hide(cls, samples, ratio, patch_size, generator=None) -> torch.Tensor:
        return mask_joints(samples, ratio, generator)

    @classmethod
    def painter(cls, data, truth, longer_side):
        blank = np.full((*data.image_size, 3), BACKGROUND, dtype=np.uint8)
        return lambda pose: draw_poses(blank, pose[None], skeleton=data.joints, longer_side=longer_side), ""

    def gallery(self, model, processor, rows, classes=None, **settings) -> Image.Image:
        skeleton = self.data.joints
        settings |= {"task": self.name, "skeleton": skeleton}
        return pose_gallery(pose_gallery_rows(model, processor, rows, **settings), skeleton)

    collate, from_folder = staticmethod(person_collator), staticmethod(poses_from_folder)

    @classmethod
    def check_options(cls, options) -> None:
        if options.model is None and (options.results is not None or options.boxes is not None or options.flip_test):
            raise ValueError("--results, --boxes and --flip-test need --model.")
        if options.skeleton is not None and not options.data.startswith(COCO):
            raise ValueError(f"--skeleton goes with coco:ANNOTATIONS.json: for {options.data} leave it out.")

    @classmethod
    def short_data(cls, options, image_size, class_names) -> dict[str, Any]:
        transform = {"transform": {"image_size": image_size}}
        if options.data == SYNTHETIC:
            return transform | {"name": "synthetic", "size": PICTURE_SIZE}
        skeleton = options.skeleton or class_names or COCO_SKELETON.name
        return transform | {"name": "coco", "train": coco_split(options), "skeleton": skeleton}

    @classmethod
    def prediction_settings(cls, options, declared) -> dict[str, Any]:
        return {"flip_test": options.flip_test}

    @classmethod
    def measuring_settings(cls, options) -> dict[str, Any]:
        reference = None if options.pck_reference is None else tuple(options.pck_reference)
        return super().measuring_settings(options) | {"pck": PCK(reference, options.pck_share)}
