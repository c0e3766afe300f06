# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Detection and instance segmentation as tasks of a recipe."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from PIL import Image

from ...data.classes import DataClasses
from ...model.configuration_ait import AiTTaskConfig
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTForDenseTokenGeneration, AiTForInstanceSegmentation, AiTForObjectDetection
from ...model.tokenization_vq import VQTokenizer
from ...recipes.streams import Stream
from ..base import Kind, mask_grid
from ..card_text import TaskText
from ..writer import Writer
from .command import COCO_PREFIX, DETECTION_TASK, _generation_settings, evaluate_object_task
from .data import MaskData, ObjectData, objects_from_folder
from .drawing import colorize_mask, object_gallery
from .evaluation import evaluate_objects, object_gallery_rows
from .prediction import OBJECT_TASKS, ObjectWriter


_, INSTANCES = OBJECT_TASKS
MASK_SETTINGS = (
    "soft_temperature",
    "dense_loss_weight",
    "auxiliary_loss",
    "auxiliary_loss_weight",
    "mask_supervision",
)


@strict
@dataclass
class ObjectSettings:
    """
    `num_objects` is how many objects a sequence holds, noise included; the rest are fields of [`AiTTaskConfig`], those
    from `soft_temperature` on of masks only.
    """

    num_objects: int = 100
    object_order: Literal["random", "left_to_right"] = "random"
    class_loss_weight: float = 1.0
    loss_weight: float = 1.0
    soft_temperature: float = 1.0
    dense_loss_weight: float = 0.2
    auxiliary_loss: Literal["dice_mse"] | None = "dice_mse"
    auxiliary_loss_weight: float = 5.0
    mask_supervision: Literal["objects", "duplicates", "none"] = "objects"

    def validate_num_objects(self):
        if self.num_objects < 1:
            raise ValueError(f"num_objects must be at least 1, got {self.num_objects}.")


@strict
@dataclass(kw_only=True)
class Objects(Kind):
    """Boxes and classes and, of instance segmentation, masks."""

    title: ClassVar[str] = "objects"
    tasks: ClassVar[Sequence[str]] = OBJECT_TASKS
    output_types: ClassVar[Sequence[str]] = ("objects",)
    units: ClassVar[Sequence[str]] = ("mask",)
    predict_options: ClassVar[Sequence[str]] = ("threshold",)
    tokenizer_data: ClassVar[Any] = MaskData
    tokenizer_defaults: ClassVar[Mapping[str, Any]] = {"value_range": [0.0, 1.0], "loss_type": "mse"}
    finetune_options: ClassVar[Sequence[str]] = ("images", "validation")
    writer: ClassVar[type[Writer]] = ObjectWriter
    columns: ClassVar[Sequence[str]] = (
        *(f"{kind}_{name}" for kind in ("bbox", "segm", "boundary") for name in ("AP", "AP50", "AP75")),
        *("mse", "iou", "perplexity", "num_objects", "num_images"),
    )
    lower_is_better: ClassVar[bool] = False

    name: Literal["object-detection", "instance-segmentation"]
    data: ObjectData
    tokenizer: str | None = None
    settings: ObjectSettings = field(default_factory=ObjectSettings)

    def validate_masks(self):
        if self.has_masks:
            return
        if self.tokenizer is not None:
            raise ValueError(f"There is no key 'tokenizer' in section tasks.{self.name}, which has no masks.")
        for name in MASK_SETTINGS:
            if getattr(self.settings, name) != getattr(ObjectSettings, name):
                raise ValueError(
                    f"There is no key {name!r} in section tasks.{self.name}.settings: it is one of masks."
                )

    @property
    def has_masks(self) -> bool:
        return self.name == INSTANCES

    @property
    def codebook(self) -> str | None:
        return "mask" if self.has_masks else None

    @property
    def unit(self) -> str | None:
        return self.codebook

    @property
    def task_id(self) -> int:
        return self.tasks.index(self.name)

    @property
    def model_class(self) -> type[AiTForDenseTokenGeneration]:
        return AiTForInstanceSegmentation if self.has_masks else AiTForObjectDetection

    @property
    def best_metric(self) -> str:
        return "segm_AP" if self.has_masks else "bbox_AP"

    def declaration(self, tokenizer: VQTokenizer | None) -> dict[str, Any]:
        settings = asdict(self.settings)
        declaration = {
            "slots": ["coordinate"] * 4 + ["class"],
            "output_type": "objects",
            "num_groups": settings.pop("num_objects"),
            "image_size": list(self.data.image_size),
        }
        if not self.has_masks:
            return declaration | {name: value for name, value in settings.items() if name not in MASK_SETTINGS}
        slots = [*declaration["slots"], "mask"]
        return declaration | settings | {"slots": slots, "grid_size": mask_grid(tokenizer)}

    def class_names(self) -> list[str]:
        return self.data.class_names()

    def data_classes(self, split: str | None = None) -> DataClasses:
        return self.data.wanting(self.has_masks).data_classes(split)

    def stream(self, declared: AiTTaskConfig, class_numbers: Sequence[int] | None = None) -> Stream:
        return self.data.stream(
            self.every,
            max_objects=declared.num_groups,
            with_masks=self.has_masks,
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
            self.data.wanting(self.has_masks).ground_truth(options.split, options.num_samples),
            task=self.name,
            category_ids=category_ids if classes is None else classes.by_name(category_ids),
            accelerator=accelerator,
        )
        return metrics

    @staticmethod
    def text(declared: AiTTaskConfig) -> TaskText:
        limits = ("Nothing removes duplicates: the model learns to give them low scores.",)
        if declared.grid_size is None:
            return TaskText(
                gives="boxes, classes and scores of objects",
                result="processor.post_process_object_detection(outputs, threshold=0.3, target_sizes=sizes)[0]",
                comment="scores, labels, boxes (x1, y1, x2, y2 in pixels)",
                limits=limits,
                pipeline_tag="object-detection",
            )
        coarse = "A mask is decoded from a few codes and stretched over its box: outlines are coarse."
        return TaskText(
            gives="boxes, classes, scores and masks of objects",
            result="processor.post_process_instance_segmentation(outputs, threshold=0.3, target_sizes=sizes)[0]",
            comment="a map of segments, and class and score of each",
            limits=(*limits, coarse),
            pipeline_tag="image-segmentation",
        )

    @staticmethod
    def reconstruction(unit: str) -> str:
        return "mask"

    @classmethod
    def painter(cls, data, truth, longer_side):
        return colorize_mask, ""

    def gallery(self, model, processor, rows, classes=None, **settings) -> Image.Image:
        names, numbers = (self.class_names(), None) if classes is None else (classes.names, classes.numbers)
        settings |= {"task": self.name, "class_names": names, "class_numbers": numbers}
        return object_gallery(object_gallery_rows(model, processor, rows, **settings))

    from_folder = staticmethod(objects_from_folder)
    evaluate_command = staticmethod(evaluate_object_task)

    @classmethod
    def check_options(cls, options: argparse.Namespace) -> None:
        if options.task == DETECTION_TASK:
            of_masks = (options.tokenizer, options.tokenizer_reconstruction, options.modes == "all")
            if any(of_masks):
                raise ValueError(
                    f"{DETECTION_TASK} has no masks: leave out --tokenizer, --tokenizer-reconstruction and --modes all."
                )
        if options.data.startswith(COCO_PREFIX):
            if options.images is None:
                raise ValueError("Give the folder of the annotated images: --images DIR.")
            if options.split is not None:
                raise ValueError("A file of COCO annotations is one split: leave out --split.")
            if options.people:
                raise ValueError("--people goes with synthetic rooms.")
        elif options.data != "synthetic":
            raise ValueError(f"Objects are evaluated on coco:ANNOTATIONS.json or synthetic, not on {options.data}.")
        elif options.images is not None:
            raise ValueError("Synthetic rooms have no files: leave out --images.")
        elif options.split is None:
            raise ValueError("Give the --split of the synthetic rooms to evaluate.")
        elif options.split == "train" and options.limit is None:
            raise ValueError("Synthetic training rooms have no end: give --limit.")
        of_model = (options.results is not None, options.top_k is not None, bool(_generation_settings(options)))
        if options.model is None and any(of_model):
            raise ValueError("--results, --num-objects, --top-k, --do-sample and --top-p need --model.")
        if options.top_k is not None and options.top_k < 1:
            raise ValueError("--top-k must be at least 1.")
        if options.results is not None and options.modes == "all":
            raise ValueError("One file holds the results of one mode: leave out --results or --modes all.")
        if options.top_p is not None and not options.do_sample:
            raise ValueError("Without sampling nothing is drawn: add --do-sample or leave out --top-p.")
