# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Keypoint detection as a task of a recipe."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from PIL import Image

from ...data.classes import DataClasses, Pairs, pair_joints
from ...data.pixels import height_and_width
from ...model.configuration_ait import AiTConfig, AiTTaskConfig
from ...model.image_processing_pose_ait import AiTPoseImageProcessor
from ...model.modeling_ait import AiTForPoseEstimation
from ...model.tokenization_pose import PoseTokenizer, mask_joints
from ...recipes.streams import Stream
from ..base import DenseSettings, Kind, sample_size
from ..card_text import TaskText
from ..writer import Writer
from .command import COCO_PREFIX, evaluate_pose_task
from .data import PersonData, PoseData, poses_from_folder
from .drawing import BACKGROUND, draw_poses, pose_gallery
from .evaluation import evaluate_poses, pose_gallery_rows
from .prediction import POSE_TASK, PoseWriter


@strict
@dataclass
class PoseSettings(DenseSettings):
    """As [`DenseSettings`]."""

    auxiliary_loss: Literal["smooth_l1"] | None = "smooth_l1"


@strict
@dataclass(kw_only=True)
class Poses(Kind):
    """Joints of one person, in the crop around the person's box. Evaluated with the annotated boxes."""

    title: ClassVar[str] = "poses"
    tasks: ClassVar[Sequence[str]] = (POSE_TASK,)
    output_types: ClassVar[Sequence[str]] = ("pose",)
    units: ClassVar[Sequence[str]] = ("pixel",)
    tokenizer_class: ClassVar[type] = PoseTokenizer
    predict_options: ClassVar[Sequence[str]] = ("threshold", "boxes", "flip_test", "skeleton")
    tokenizer_data: ClassVar[Any] = PoseData
    mask_ratio: ClassVar[float] = 0.2
    has_patches: ClassVar[bool] = False
    finetune_options: ClassVar[Sequence[str]] = ("images", "validation")
    writer: ClassVar[type[Writer]] = PoseWriter
    columns: ClassVar[Sequence[str]] = (
        *("AP", "AP50", "AP75", "APm", "APl", "AR"),
        *("joint_error", "perplexity", "num_persons", "num_images"),
    )
    codebook: ClassVar[str] = "pose"
    unit: ClassVar[str] = "pixel"
    task_id: ClassVar[int] = 3
    model_class: ClassVar[type] = AiTForPoseEstimation
    best_metric: ClassVar[str] = "AP"
    lower_is_better: ClassVar[bool] = False

    name: Literal["keypoint-detection"] = "keypoint-detection"
    data: PersonData
    tokenizer: str | None = None
    settings: PoseSettings = field(default_factory=PoseSettings)

    def declaration(self, tokenizer: PoseTokenizer) -> dict[str, Any]:
        num_joints, size = tokenizer.config.num_joints, tokenizer.crop_size
        if num_joints != len(self.data.joints.joints):
            raise ValueError(
                f"tasks.{self.name}.tokenizer is of {num_joints} joints, but the data's skeleton "
                f"{self.data.joints.name} has {len(self.data.joints.joints)}."
            )
        if self.data.image_size != size:
            raise ValueError(
                f"tasks.{self.name}.tokenizer is of poses in crops {size[0]} pixels high and {size[1]} wide: set "
                f"tasks.{self.name}.data.transform.image_size to {list(size)}."
            )
        return {
            "slots": ["pose"],
            "output_type": "pose",
            "grid_size": [1, tokenizer.config.num_tokens],
            "image_size": list(self.data.image_size),
            **asdict(self.settings),
        }

    def data_classes(self, split: str | None = None) -> DataClasses:
        return self.data.data_classes(split)

    def pair(self, data: DataClasses, config: AiTConfig, model: str, advice: str = "") -> Pairs:
        """Joints of the data with those of the skeleton, which are the model's; `ValueError` if it has another number."""
        num_joints = config.tokenizers[config.task(self.name).slots[-1]]["num_joints"]
        if num_joints != len(self.data.joints.joints):
            raise ValueError(
                f"{model} writes {num_joints} joints, but the data's skeleton {self.data.joints.name} has "
                f"{len(self.data.joints.joints)}."
            )
        return pair_joints(self.data.joints.joints, data, self.data.joints.name)

    def stream(self, declared: AiTTaskConfig, class_numbers: Sequence[int] | None = None) -> Stream:
        return self.data.stream(self.every)

    def processor(self) -> AiTPoseImageProcessor:
        height, width = self.data.image_size
        transform = self.data.transform
        return AiTPoseImageProcessor(
            size={"height": height, "width": width},
            do_normalize=transform.normalize,
            box_scale=transform.box_scale,
        )

    def check_evaluation(self, options) -> None:
        self.data.check_ground_truth(options.split, options.num_samples)

    def evaluate(self, model, loader, accelerator, options, classes=None) -> dict[str, float]:
        metrics, _ = evaluate_poses(
            model,
            self.processor(),
            loader,
            self.data.ground_truth(options.split, options.num_samples),
            task=self.name,
            skeleton=self.data.joints,
            accelerator=accelerator,
        )
        return metrics

    def adapted(self, declared, tokenizer, before, after, keeping) -> dict[str, Any]:
        if self.data.image_size != tokenizer.crop_size:
            raise ValueError(
                f"The poses of {self.name!r} are written in crops of (height, width) {tokenizer.crop_size} pixels: set "
                f"tasks.{self.name}.data.transform.image_size to that."
            )
        return {"image_size": list(tokenizer.crop_size)}

    @staticmethod
    def text(declared: AiTTaskConfig) -> TaskText:
        return TaskText(
            gives="the joints of people whose boxes are given",
            result="processor.post_process_pose_estimation(outputs, boxes=boxes)[0]",
            comment="of each person keypoints (x, y in pixels), scores, labels",
            limits=("It needs the boxes of people, and finds joints no better than these fit.",),
            pipeline_tag="keypoint-detection",
            needs_boxes=True,
        )

    @staticmethod
    def reconstruction(unit: str) -> str:
        return "pose"

    @classmethod
    def tokenizer_config(cls, data) -> dict[str, Any]:
        return {"unit": data.unit, "num_joints": len(data.joints.joints), "sample_size": sample_size(data)}

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

    from_folder = staticmethod(poses_from_folder)
    evaluate_command = staticmethod(evaluate_pose_task)

    @classmethod
    def check_options(cls, options: argparse.Namespace) -> None:
        if options.data.startswith(COCO_PREFIX):
            if options.images is None:
                raise ValueError("Give the folder of the annotated images: --images DIR.")
            if options.split is not None:
                raise ValueError("A file of COCO annotations is one split: leave out --split.")
        elif options.data != "synthetic":
            raise ValueError(f"Poses are evaluated on coco:ANNOTATIONS.json or synthetic, not on {options.data}.")
        elif options.images is not None or options.boxes is not None:
            raise ValueError("Synthetic people have no files: leave out --images and --boxes.")
        elif options.split is None:
            raise ValueError("Give the --split of the synthetic people to evaluate.")
        elif options.split == "train" and options.limit is None:
            raise ValueError("Synthetic training people have no end: give --limit.")
        if options.model is None and (options.results is not None or options.boxes is not None or options.flip_test):
            raise ValueError("--results, --boxes and --flip-test need --model.")
        if options.results is not None and options.modes == "all":
            raise ValueError("One file holds the results of one mode: leave out --results or --modes all.")
