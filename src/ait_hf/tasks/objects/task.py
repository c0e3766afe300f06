# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Detection and instance segmentation as tasks of a recipe."""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from accelerate import PartialState
from PIL import Image

from ...data.writing import write_json
from ...model.configuration_ait import AiTTaskConfig
from ...model.modeling_ait import AiTForDenseTokenGeneration, AiTForInstanceSegmentation, AiTForObjectDetection
from ...model.tokenization_vq import VQTokenizer
from ...recipes.parsing import as_section
from ...recipes.streams import Stream
from ..base import SYNTHETIC, Kind, ShortForm, TaskText, mask_grid
from ..writer import Writer
from .data import MaskData, ObjectData, objects_from_folder
from .drawing import colorize_mask, object_gallery
from .evaluation import CocoResults, evaluate_mask_tokenizer, evaluate_objects, image_collator, object_gallery_rows
from .prediction import OBJECT_TASKS, ObjectWriter


_, INSTANCES = OBJECT_TASKS
COCO = "coco:"
FOLDER_NEEDED = {"images": "Give the folder of the annotated images: --images DIR."}
COCO_FILE = ShortForm("coco:ANNOTATIONS.json", ("images",), required=FOLDER_NEEDED, has_splits=False)
ROOM_SIZE = [96, 96]  # height and width of the rooms that a tokenizer without a model is measured on
MASK_SETTINGS = "soft_temperature", "dense_loss_weight", "auxiliary_loss", "auxiliary_loss_weight", "mask_supervision"


@as_section
class ObjectSettings:
    """`num_objects` is how many objects a sequence holds, noise included; the rest are fields of [`AiTTaskConfig`],
    those from `soft_temperature` on of masks only."""

    num_objects: int = 100
    object_order: Literal["random", "left_to_right"] = "random"
    class_loss_weight: float = 1.0
    box_tolerance: float = 0.0
    loss_weight: float = 1.0
    soft_temperature: float = 1.0
    dense_loss_weight: float = 0.2
    auxiliary_loss: Literal["dice_mse"] | None = "dice_mse"
    auxiliary_loss_weight: float = 5.0
    mask_supervision: Literal["objects", "duplicates", "none"] = "objects"

    def validate_num_objects(self):
        if self.num_objects < 1:
            raise ValueError(f"num_objects must be at least 1, got {self.num_objects}.")

    def validate_box_tolerance(self):
        if not 0 <= self.box_tolerance < math.inf:
            raise ValueError(f"box_tolerance must be at least 0 and finite, got {self.box_tolerance}.")


@as_section
class Objects(Kind):
    """Boxes and classes and, of instance segmentation, masks."""

    title: ClassVar[str] = "objects"
    tasks: ClassVar[Sequence[str]] = OBJECT_TASKS
    output_types: ClassVar[Sequence[str]] = ("objects",)
    units: ClassVar[Sequence[str]] = ("mask",)
    predict_options: ClassVar[Sequence[str]] = ("threshold",)
    tokenizer_data: ClassVar[Any] = MaskData
    measuring_options: ClassVar[Sequence[str]] = ("top_k", "results")
    measured_as: ClassVar[str] = "mask"
    tokenizer_defaults: ClassVar[Mapping[str, Any]] = {"value_range": [0.0, 1.0], "loss_type": "mse"}
    finetune_options: ClassVar[Sequence[str]] = ("images", "validation")
    writer: ClassVar[type[Writer]] = ObjectWriter
    columns: ClassVar[Sequence[str]] = (
        *(f"{kind}_{name}" for kind in ("bbox", "segm", "boundary") for name in ("AP", "AP50", "AP75")),
        *("mse", "iou", "perplexity", "num_objects", "num_images"),
    )
    short_forms: ClassVar[Mapping[str, ShortForm]] = {
        COCO: replace(COCO_FILE, options=("images", "tile_size", "tile_overlap")),
        SYNTHETIC: ShortForm(SYNTHETIC, ("people",)),
    }
    lower_is_better: ClassVar[bool] = False

    name: Literal["object-detection", "instance-segmentation"]
    data: ObjectData
    tokenizer: str | None = None
    settings: ObjectSettings = field(default_factory=ObjectSettings)

    def __post_init__(self):
        self.data = self.data.wanting(self.has_masks)

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
        declared = super().declaration(tokenizer) | {"slots": ["coordinate"] * 4 + ["class"], "output_type": "objects"}
        declared["num_groups"] = declared.pop("num_objects")
        if not self.has_masks:
            return {name: value for name, value in declared.items() if name not in MASK_SETTINGS}
        return declared | {"slots": [*declared["slots"], "mask"], "grid_size": mask_grid(tokenizer)}

    def stream(self, declared: AiTTaskConfig, class_numbers: Sequence[int] | None = None) -> Stream:
        classes = {"first_class": declared.first_class, "class_numbers": class_numbers}
        return self.data.stream(self.every, max_objects=declared.num_groups, with_masks=self.has_masks, **classes)

    def evaluate(
        self, model, processor, batches, options, classes=None, *, results=None, **measuring
    ) -> dict[str, float]:
        """`results`: a file for what is found, in COCO's results format."""
        _, category_ids = self.data.categories(options.split)
        category_ids = category_ids if classes is None else classes.by_name(category_ids)
        truth = self.data.ground_truth(options.split, options.num_samples)
        measuring |= {"task": self.name, "category_ids": category_ids}
        return written(evaluate_objects(model, processor, batches, truth, **measuring), results)

    def evaluate_tokenizer(
        self, tokenizer, rows, options, classes=None, *, image_size, processor=None, accelerator, description, **_
    ) -> dict[str, float]:
        _, category_ids = self.data.categories(options.split)
        measuring = {"accelerator": accelerator, "batch_size": options.batch_size, "description": description}
        return evaluate_mask_tokenizer(tokenizer, self.data.usable(rows), category_ids, **measuring)

    @classmethod
    def text(cls, declared) -> TaskText:
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

    @classmethod
    def map_painter(cls, config, truth):
        return colorize_mask, ""

    def gallery(self, model, processor, rows, classes=None, **settings) -> Image.Image:
        names, numbers = self.shown(classes)
        settings |= {"task": self.name, "class_names": names, "class_numbers": numbers}
        return object_gallery(object_gallery_rows(model, processor, rows, **settings))

    collate, from_folder = staticmethod(image_collator), staticmethod(objects_from_folder)

    @classmethod
    def check_options(cls, options) -> None:
        if options.task != INSTANCES and (
            options.tokenizer or options.tokenizer_reconstruction or options.modes == "all"
        ):
            raise ValueError(
                f"{options.task} has no masks: leave out --tokenizer, --tokenizer-reconstruction and --modes all."
            )
        of_model = (options.results, options.num_objects, options.top_k, options.top_p, options.box_tolerance)
        if options.model is None and (options.do_sample or any(given is not None for given in of_model)):
            raise ValueError(
                "--results, --num-objects, --top-k, --box-tolerance, --do-sample and --top-p need --model."
            )
        if options.tile_size is None and options.tile_overlap is not None:
            raise ValueError("--tile-overlap is of tiles: give their --tile-size, too, or leave it out.")
        if options.top_k is not None and options.top_k < 1:
            raise ValueError("--top-k must be at least 1.")
        if options.box_tolerance is not None and not 0 <= options.box_tolerance < math.inf:
            raise ValueError("--box-tolerance must be at least 0 and finite.")
        if options.top_p is not None and not options.do_sample:
            raise ValueError("Without sampling nothing is drawn: add --do-sample or leave out --top-p.")

    @classmethod
    def short_data(cls, options, image_size, class_names) -> dict[str, Any]:
        transform = {"transform": {"image_size": image_size}}
        if options.data == SYNTHETIC:
            size = ROOM_SIZE if options.model is None else image_size
            return transform | {"name": "synthetic", "size": size, "people": options.people}
        tiles = {"size": options.tile_size, "overlap": options.tile_overlap or 0}
        tiles = {} if options.tile_size is None else {"tiles": tiles}
        return transform | tiles | {"name": "coco", "train": coco_split(options)}

    @classmethod
    def prediction_settings(cls, options, declared) -> dict[str, Any]:
        if options.num_objects is not None and not 1 <= options.num_objects <= declared.num_groups:
            raise ValueError(f"--num-objects must lie in 1..{declared.num_groups}, the most that this model gives.")
        given = {"num_objects": options.num_objects, "top_p": options.top_p, "do_sample": options.do_sample or None}
        given |= {"box_tolerance": options.box_tolerance}
        return {name: value for name, value in given.items() if value is not None}


def written(measured: tuple[dict[str, float], CocoResults], path: Path | None) -> dict[str, float]:
    """The metrics; what was found is written, if there is a path, by the main process."""
    metrics, found = measured
    if path is not None and PartialState().is_main_process:
        write_json(path, found)
    return metrics


def coco_split(options: argparse.Namespace) -> dict[str, str]:
    """The files that `--data coco:ANNOTATIONS.json --images DIR` names, as keys of a data section."""
    return {"annotations": options.data.removeprefix(COCO), "images": options.images}
