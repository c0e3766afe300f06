# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Detection and instance segmentation as tasks of a recipe."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from ...data.classes import DataClasses
from ...model.configuration_ait import AiTTaskConfig
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTForInstanceSegmentation, AiTForObjectDetection
from ...model.tokenization_vq import VQTokenizer
from ...recipes.streams import Stream
from ..base import SolverTask, mask_grid
from .data import AnyObjectData
from .evaluation import evaluate_objects


@strict
@dataclass
class DetectionSettings:
    """`num_objects` is how many objects a sequence holds, noise included; the rest are fields of [`AiTTaskConfig`]."""

    num_objects: int = 100
    object_order: Literal["random", "left_to_right"] = "random"
    class_loss_weight: float = 1.0
    loss_weight: float = 1.0

    def validate_num_objects(self):
        if self.num_objects < 1:
            raise ValueError(f"num_objects must be at least 1, got {self.num_objects}.")


@strict
@dataclass
class InstanceSettings(DetectionSettings):
    """As [`DetectionSettings`]."""

    soft_temperature: float = 1.0
    dense_loss_weight: float = 0.2
    auxiliary_loss: Literal["dice_mse"] | None = "dice_mse"
    auxiliary_loss_weight: float = 5.0
    mask_supervision: Literal["objects", "duplicates", "none"] = "objects"


@strict
@dataclass(kw_only=True)
class ObjectTask(SolverTask):
    """What both object tasks share."""

    lower_is_better: ClassVar[bool] = False

    data: AnyObjectData

    def declaration(self, tokenizer: VQTokenizer | None) -> dict[str, Any]:
        settings = asdict(self.settings)
        return {
            "slots": ["coordinate"] * 4 + ["class"],
            "output_type": "objects",
            "num_groups": settings.pop("num_objects"),
            "image_size": list(self.data.image_size),
            **settings,
        }

    def class_names(self) -> list[str]:
        return self.data.class_names()

    def data_classes(self, split: str | None = None) -> DataClasses:
        return self.data.wanting(self.codebook is not None).data_classes(split)

    def stream(self, declared: AiTTaskConfig, class_numbers: Sequence[int] | None = None) -> Stream:
        return self.data.stream(
            self.every,
            max_objects=declared.num_groups,
            with_masks=self.codebook is not None,
            first_class=declared.first_class,
            class_numbers=class_numbers,
        )

    def processor(self) -> AiTImageProcessor:
        height, width = self.data.image_size
        return AiTImageProcessor(
            size={"max_height": height, "max_width": width},
            do_normalize=self.data.transform.normalize,
            do_pad=True,
            pad_size={"height": height, "width": width},
        )

    def check_evaluation(self, options) -> None:
        self.data.check_ground_truth(options.split, options.num_samples)

    def evaluate(self, model, loader, accelerator, options, classes=None) -> dict[str, float]:
        _, category_ids = self.data.categories(options.split)
        metrics, _ = evaluate_objects(
            model,
            self.processor(),
            loader,
            self.data.wanting(self.codebook is not None).ground_truth(options.split, options.num_samples),
            task=self.name,
            category_ids=category_ids if classes is None else classes.by_name(category_ids),
            accelerator=accelerator,
        )
        return metrics


@strict
@dataclass(kw_only=True)
class DetectionTask(ObjectTask):
    """Boxes and classes."""

    model_class: ClassVar[type] = AiTForObjectDetection
    best_metric: ClassVar[str] = "bbox_AP"
    task_id: ClassVar[int] = 0

    name: Literal["object-detection"] = "object-detection"
    settings: DetectionSettings = field(default_factory=DetectionSettings)


@strict
@dataclass(kw_only=True)
class InstanceTask(ObjectTask):
    """Boxes, classes and masks."""

    codebook: ClassVar[str] = "mask"
    unit: ClassVar[str] = "mask"
    model_class: ClassVar[type] = AiTForInstanceSegmentation
    best_metric: ClassVar[str] = "segm_AP"
    task_id: ClassVar[int] = 1

    name: Literal["instance-segmentation"] = "instance-segmentation"
    tokenizer: str | None = None
    settings: InstanceSettings = field(default_factory=InstanceSettings)

    def declaration(self, tokenizer: VQTokenizer) -> dict[str, Any]:
        declaration = super().declaration(tokenizer)
        return declaration | {"slots": [*declaration["slots"], "mask"], "grid_size": mask_grid(tokenizer)}
