# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Semantic segmentation as a task of a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from huggingface_hub.dataclasses import strict
from PIL import Image

from ...data.classes import Pairs, pair_classes
from ...data.pixels import height_and_width
from ...model.configuration_ait import AiTTaskConfig
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTForSemanticSegmentation
from ...model.tokenization_vq import VQTokenizer
from ...recipes.streams import Batch, Stream
from ..base import SYNTHETIC, Kind, ShortForm, code_grid, frame_processor, mask_grid, resized
from ..card_text import GRID_LIMIT, TaskText
from ..writer import Writer
from .data import ClassMaskData, SemanticData, labels_from_folder
from .drawing import class_legend, colorize_label_map, semantic_gallery
from .evaluation import (
    evaluate_semantic,
    evaluate_semantic_tokenizer,
    labelled_image_collator,
    semantic_gallery_rows,
)
from .prediction import SEMANTIC_TASK, SemanticWriter


LABELS, ADE20K = "labels:", "ade20k:"


@strict
@dataclass
class SemanticSettings:
    """
    Args:
        method (`str`): `"masks"`: for every class its name and then the codes of the mask of all its pixels, squeezed
            into the square that the mask tokenizer was trained on, as in the paper; `"label_map"`: the codes of the whole
            label map, by default, as it was ahead on rooms (README).
        num_groups (`int`, *optional*): How many classes a sequence of masks holds, absent ones included; all by
            default. Of more classes in an image the largest are kept.
        object_order, mask_supervision, class_loss_weight: Of masks only; fields of [`AiTTaskConfig`].
        auxiliary_loss (`bool`): Whether the soft-decoded output has a loss: DICE + mse of the masks, or cross-entropy of
            the label map.
        soft_temperature, dense_loss_weight, auxiliary_loss_weight, loss_weight: Fields of [`AiTTaskConfig`].
    """

    method: Literal["masks", "label_map"] = "label_map"
    num_groups: int | None = None
    object_order: Literal["random", "by_class"] = "random"
    mask_supervision: Literal["objects", "absent", "none"] = "objects"
    class_loss_weight: float = 1.0
    soft_temperature: float = 1.0
    dense_loss_weight: float = 1.0
    auxiliary_loss: bool = True
    auxiliary_loss_weight: float = 1.0
    loss_weight: float = 1.0

    def validate_num_groups(self):
        if self.num_groups is not None and self.num_groups < 1:
            raise ValueError(f"num_groups must be at least 1, got {self.num_groups}.")

    def validate_method(self):
        if self.method == "masks":
            return
        for name in MASK_SETTINGS:
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise ValueError(f"{name} has no meaning for the method {self.method!r}: leave it out.")


MASK_SETTINGS = ("num_groups", "object_order", "mask_supervision", "class_loss_weight")
COMMON_SETTINGS = ("soft_temperature", "dense_loss_weight", "auxiliary_loss_weight", "loss_weight")


@strict
@dataclass(kw_only=True)
class Semantics(Kind):
    """The class of every pixel."""

    title: ClassVar[str] = "semantic segmentation"
    tasks: ClassVar[Sequence[str]] = (SEMANTIC_TASK,)
    output_types: ClassVar[Sequence[str]] = ("semantic", "label_map")
    units: ClassVar[Sequence[str]] = ("class", "mask")
    tokenizer_data: ClassVar[Any] = SemanticData | ClassMaskData
    finetune_options: ClassVar[Sequence[str]] = ("classes", "class_ids", "ignored_ids")
    writer: ClassVar[type[Writer]] = SemanticWriter
    columns: ClassVar[Sequence[str]] = ("mIoU", "aAcc", "mAcc", "accuracy", "perplexity", "code_usage", "num_images")
    short_forms: ClassVar[Mapping[str, ShortForm]] = {
        LABELS: ShortForm("labels:ROOT", ("classes", "first_id", "class_ids", "ignored_ids")),
        ADE20K: ShortForm("ade20k:ROOT"),
        SYNTHETIC: ShortForm(SYNTHETIC, ("people",)),
    }
    model_class: ClassVar[type] = AiTForSemanticSegmentation
    best_metric: ClassVar[str] = "mIoU"
    lower_is_better: ClassVar[bool] = False
    task_id: ClassVar[int] = 4

    name: Literal["semantic-segmentation"] = "semantic-segmentation"
    data: SemanticData
    tokenizer: str | None = None
    settings: SemanticSettings = field(default_factory=SemanticSettings)

    @property
    def codebook(self) -> str:
        return "segment" if self.settings.method == "masks" else "labels"

    @property
    def unit(self) -> str:
        return "mask" if self.settings.method == "masks" else "class"

    def declaration(self, tokenizer: VQTokenizer) -> dict[str, Any]:
        declare = self._declare_masks if self.settings.method == "masks" else self._declare_label_map
        return declare(tokenizer) | {
            "image_size": list(self.data.image_size),
            **{name: getattr(self.settings, name) for name in COMMON_SETTINGS},
        }

    def _declare_masks(self, tokenizer: VQTokenizer) -> dict[str, Any]:
        settings = {name: getattr(self.settings, name) for name in MASK_SETTINGS}
        settings["num_groups"] = settings["num_groups"] or len(self.class_names())
        return settings | {
            "slots": ["class", self.codebook],
            "output_type": "semantic",
            "grid_size": mask_grid(tokenizer),
            "auxiliary_loss": "dice_mse" if self.settings.auxiliary_loss else None,
        }

    def _declare_label_map(self, tokenizer: VQTokenizer) -> dict[str, Any]:
        where = f"tasks.{self.name}.data.transform.image_size"
        return {
            "slots": [self.codebook],
            "output_type": "label_map",
            "grid_size": code_grid(where, self.data.image_size, tokenizer),
            "auxiliary_loss": "cross_entropy" if self.settings.auxiliary_loss else None,
        }

    def stream(self, declared: AiTTaskConfig, class_numbers: Sequence[int] | None = None) -> Stream:
        return self.data.stream(self.every, first_class=declared.first_class, class_numbers=class_numbers)

    def processor(self) -> AiTImageProcessor:
        return frame_processor(self.data.image_size, normalize=self.data.transform.normalize)

    def collate(self, rows, processor) -> Batch:
        return labelled_image_collator(rows, processor=processor)

    def evaluate(self, model, processor, batches, options, classes=None, **measuring) -> dict[str, float]:
        measuring |= {"task": self.name, **self._numbered(classes)}
        return evaluate_semantic(model, processor, batches, **measuring)

    def evaluate_tokenizer(
        self, tokenizer, rows, options, classes=None, *, processor=None, **measuring
    ) -> dict[str, float]:
        if names := tokenizer.config.class_names:
            data = self.data_classes(options.split)
            classes = pair_classes(names, data, measuring["description"], option="--classes FILE")
        measuring |= {"batch_size": options.batch_size, **self._numbered(classes)}
        return evaluate_semantic_tokenizer(tokenizer, rows, **measuring)

    def _numbered(self, classes: Pairs | None) -> dict[str, Any]:
        return {"class_names": self.class_names(), "class_numbers": None if classes is None else classes.numbers}

    def adapted(self, declared, tokenizer, before, after, keeping) -> dict[str, Any]:
        if declared.output_type == "label_map":
            if before != after and keeping is not None:
                raise ValueError(
                    f"The tokenizer of {self.name!r} in {keeping} writes label maps of other classes than those of "
                    f"tasks.{self.name}.data: train one on these (`ait train`) and name it in "
                    f"tasks.{self.name}.tokenizer."
                )
            return resized(self.name, self.data.image_size, tokenizer)
        # One group for every class, or for as many as fit.
        fitting = len(after) if declared.num_groups == len(before) else min(declared.num_groups, len(after))
        return super().adapted(declared, tokenizer, before, after, keeping) | {"num_groups": fitting}

    @staticmethod
    def text(declared: AiTTaskConfig) -> TaskText:
        return TaskText(
            gives="the class of every pixel",
            result="processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)[0]",
            comment="(height, width), numbers of model.config.id2label",
            limits=(GRID_LIMIT,),
            pipeline_tag="image-segmentation",
        )

    # Of label maps; a tokenizer of the masks of classes is trained as one of other masks.
    @staticmethod
    def reconstruction(unit: str) -> str:
        return "label_map"

    @classmethod
    def tokenizer_config(cls, data) -> dict[str, Any]:
        names = data.class_names()
        config = {"unit": data.unit, "in_channels": len(names), "out_channels": len(names)}
        return config | {"loss_type": "cross_entropy", "class_names": names}

    @classmethod
    def blank_sample(cls, data) -> torch.Tensor:
        return super().blank_sample(data).long()

    @classmethod
    def sample_code(cls, config) -> str:
        height, width = height_and_width(config["sample_size"])
        return f"torch.zeros(1, {height}, {width}, dtype=torch.long)  # numbers of classes, 255 = unknown"

    @classmethod
    def rebuild(cls, tokenizer, samples) -> torch.Tensor:
        return super().rebuild(tokenizer, samples).argmax(1)

    @classmethod
    def painter(cls, data, truth, longer_side):
        return lambda labels: colorize_label_map(labels, data.num_classes), ""

    @classmethod
    def legend(cls, data, samples, width) -> Image.Image:
        return class_legend(samples, data.class_names(), width)

    def gallery(self, model, processor, rows, classes=None, **settings) -> Image.Image:
        names, numbers = self.shown(classes)
        rows = semantic_gallery_rows(model, processor, rows, task=self.name, class_numbers=numbers, **settings)
        return semantic_gallery(rows, names)

    from_folder = staticmethod(labels_from_folder)

    @classmethod
    def check_options(cls, options) -> None:
        if options.data.startswith(LABELS) and options.model is None and options.classes is None:
            raise ValueError("A tokenizer does not know the names of the classes: give --classes FILE.")

    @classmethod
    def short_data(cls, options, image_size, class_names) -> dict[str, Any]:
        form, _, root = options.data.partition(":")
        transform = {"transform": {"image_size": image_size}}
        if options.data == SYNTHETIC:
            return transform | {"name": "synthetic", "size": image_size, "people": options.people}
        if f"{form}:" == ADE20K:
            return transform | {"name": "ade20k", "root": root}
        numbers = {name: getattr(options, name) for name in ("first_id", "class_ids", "ignored_ids")}
        return transform | {"name": "label_maps", "root": root, "classes": options.classes or class_names, **numbers}
