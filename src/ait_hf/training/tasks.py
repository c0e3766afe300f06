# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The tasks of a task-solver's recipe: data, sequence, losses, evaluation and image processor of each."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from accelerate import Accelerator
from huggingface_hub.dataclasses import strict
from torch.utils.data import DataLoader

from ..image_processing_ait import AiTImageProcessor
from ..metrics.depth import DepthMetric, depth_errors
from ..modeling_ait import (
    AiTForDenseTokenGeneration,
    AiTForDepthEstimation,
    AiTForInstanceSegmentation,
    AiTForObjectDetection,
)
from ..object_evaluation import evaluate_objects
from ..tokenization_vq import VQTokenizer
from .data import Stream
from .depth_data import AnyDepthData
from .loop import EvaluationRecipe
from .object_data import AnyObjectData


@strict
@dataclass
class DepthSettings:
    """Fields of [`AiTTaskConfig`]."""

    soft_temperature: float = 1.0
    auxiliary_loss: Literal["silog"] | None = "silog"
    auxiliary_loss_weight: float = 1.0
    loss_weight: float = 1.0


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
class SolverTask(ABC):
    """
    What the sections of all tasks share. (Dense tasks also have `tokenizer`: folder or Hub name of the trained
    [`VQTokenizer`] of a new model.)

    Args:
        every (`int`): The task takes part in every so-manieth step of the training, from the first on.

    Attributes:
        codebook: Name of the tokenizer, if the task has dense tokens.
        unit: What its tokenizer's maps are in.
        model_class: Head of a model that solves nothing else.
        best_metric, lower_is_better: Which metric says how good a model is, and its direction.
    """

    codebook: ClassVar[str | None] = None
    unit: ClassVar[str | None] = None
    model_class: ClassVar[type[AiTForDenseTokenGeneration]]
    best_metric: ClassVar[str]
    lower_is_better: ClassVar[bool]

    every: int = 1

    def validate_every(self):
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}.")

    @abstractmethod
    def declaration(self, tokenizer: VQTokenizer | None) -> dict[str, Any]:
        """Arguments of [`AiTTaskConfig`] in a new model."""

    @abstractmethod
    def stream(self, num_groups: int) -> Stream:
        """Training and evaluation samples for a model whose sequences have `num_groups` groups."""

    @abstractmethod
    def processor(self) -> AiTImageProcessor:
        """Makes of any image what the evaluation samples hold."""

    @abstractmethod
    def evaluate(
        self,
        model: AiTForDenseTokenGeneration,
        loader: DataLoader,
        accelerator: Accelerator,
        options: EvaluationRecipe,
    ) -> dict[str, float]:
        """Metrics on the evaluation samples, at least on the main process; all processes call it."""


@strict
@dataclass(kw_only=True)
class DepthTask(SolverTask):
    """Depth of the whole image."""

    codebook: ClassVar[str] = "depth"
    unit: ClassVar[str] = "metre"
    model_class: ClassVar[type] = AiTForDepthEstimation
    best_metric: ClassVar[str] = "rmse"
    lower_is_better: ClassVar[bool] = True

    name: Literal["depth"] = "depth"
    data: AnyDepthData
    tokenizer: str | None = None
    settings: DepthSettings = field(default_factory=DepthSettings)

    def declaration(self, tokenizer: VQTokenizer) -> dict[str, Any]:
        ratio, (height, width) = tokenizer.config.downsample_ratio, self.data.image_size
        if height % ratio or width % ratio:
            raise ValueError(
                f"tasks.depth.data.transform.crop_size ({height} x {width}) must be a multiple of the tokenizer's "
                f"{ratio} pixels per code."
            )
        return {
            "task_id": 2,
            "slots": ["depth"],
            "output_type": "depth",
            "grid_size": [height // ratio, width // ratio],
            "image_size": [height, width],
            **asdict(self.settings),
        }

    def stream(self, num_groups: int) -> Stream:
        return self.data.stream(self.every)

    def processor(self) -> AiTImageProcessor:
        height, width = self.data.image_size
        return AiTImageProcessor(size={"height": height, "width": width}, do_normalize=False)

    def evaluate(self, model, loader, accelerator, options) -> dict[str, float]:
        metric = DepthMetric(keep_in_memory=True)
        for batch in loader:
            outputs = model.generate(pixel_values=batch["pixel_values"], task=self.name, return_dict_in_generate=True)
            errors = accelerator.gather_for_metrics(depth_errors(outputs.predicted_depth, batch["labels"]))
            if accelerator.is_main_process:
                metric.add_errors(errors)
        return metric.compute() if accelerator.is_main_process else {}


@strict
@dataclass(kw_only=True)
class ObjectTask(SolverTask):
    """What both object tasks share."""

    lower_is_better: ClassVar[bool] = False
    task_id: ClassVar[int]

    data: AnyObjectData

    def declaration(self, tokenizer: VQTokenizer | None) -> dict[str, Any]:
        settings = asdict(self.settings)
        return {
            "task_id": self.task_id,
            "slots": ["coordinate"] * 4 + ["class"],
            "output_type": "objects",
            "num_groups": settings.pop("num_objects"),
            "image_size": list(self.data.image_size),
            **settings,
        }

    def stream(self, num_groups: int) -> Stream:
        return self.data.stream(self.every, max_objects=num_groups, with_masks=self.codebook is not None)

    def processor(self) -> AiTImageProcessor:
        height, width = self.data.image_size
        return AiTImageProcessor(
            size={"max_height": height, "max_width": width},
            do_normalize=self.data.transform.normalize,
            do_pad=True,
            pad_size={"height": height, "width": width},
        )

    def evaluate(self, model, loader, accelerator, options) -> dict[str, float]:
        metrics, _ = evaluate_objects(
            model,
            self.processor(),
            loader,
            self.data.ground_truth(options.split, options.num_samples),
            task=self.name,
            category_ids=self.data.classes()[1],
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
        side = tokenizer.config.sample_size // tokenizer.config.downsample_ratio
        declaration = super().declaration(tokenizer)
        return declaration | {"slots": [*declaration["slots"], "mask"], "grid_size": [side, side]}


AnyTask = DetectionTask | InstanceTask | DepthTask
