# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Semantic segmentation as a task of a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, ClassVar, Literal

import torch
from PIL import Image

from ...data.classes import Pairs, pair_classes
from ...data.pixels import height_and_width
from ...model.configuration_ait import AiTTaskConfig
from ...model.modeling_ait import AiTForSemanticSegmentation
from ...model.tokenization_vq import VQTokenizer
from ...recipes.parsing import as_section
from ...recipes.streams import Stream
from ..base import GRID_LIMIT, SYNTHETIC, Kind, ShortForm, TaskText, code_grid, mask_grid, resized
from ..writer import Writer
from . import evaluation
from .data import ClassMaskData, SemanticData, labels_from_folder
from .drawing import class_legend, colorize_label_map, semantic_gallery
from .prediction import SEMANTIC_TASK, SemanticWriter


LABELS, ADE20K = "labels:", "ade20k:"


@as_section
class SemanticSettings:
    """Of the codes of masks or of a label map; what is not said here is a field of [`AiTTaskConfig`]."""

    # "masks": for every class its name and then the codes of the mask of all its pixels, squeezed into the square that the
    # mask tokenizer was trained on, as in the paper; "label_map": the codes of the whole label map, as it was ahead on rooms
    # (README).
    method: Literal["masks", "label_map"] = "label_map"
    # Of masks only: how many classes a sequence holds, absent ones included; all by default. Of more classes in an image the
    # largest are kept.
    num_groups: int | None = None
    object_order: Literal["random", "by_class"] = "random"  # of masks only, as the next two
    mask_supervision: Literal["objects", "absent", "none"] = "objects"
    class_loss_weight: float = 1.0
    soft_temperature: float = 1.0
    dense_loss_weight: float = 1.0
    auxiliary_loss: bool = True  # of the soft-decoded output: DICE + mse of masks, or cross-entropy of the label map
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


@as_section
class Semantics(Kind):
    """The class of every pixel."""

    title: ClassVar[str] = "semantic segmentation"
    tasks: ClassVar[Sequence[str]] = (SEMANTIC_TASK,)
    output_types: ClassVar[Sequence[str]] = ("semantic", "label_map")
    units: ClassVar[Sequence[str]] = ("class", "mask")
    tokenizer_data: ClassVar[Any] = SemanticData | ClassMaskData
    measured_as: ClassVar[str] = "label_map"  # a tokenizer of the masks of classes is trained as one of other masks
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
    card: ClassVar[TaskText] = TaskText(
        gives="the class of every pixel",
        result="processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)[0]",
        comment="(height, width), numbers of model.config.id2label",
        limits=(GRID_LIMIT,),
        pipeline_tag="image-segmentation",
    )

    name: Literal["semantic-segmentation"] = "semantic-segmentation"
    data: SemanticData
    tokenizer: str | None = None
    settings: SemanticSettings = field(default_factory=SemanticSettings)

    @property
    def has_masks(self) -> bool:
        return self.settings.method == "masks"

    @property
    def codebook(self) -> str:
        return "segment" if self.has_masks else "labels"

    @property
    def unit(self) -> str:
        return "mask" if self.has_masks else "class"

    def declaration(self, tokenizer: VQTokenizer) -> dict[str, Any]:
        declared = super().declaration(tokenizer)
        masks = {name: declared.pop(name) for name in ("method", *MASK_SETTINGS)}
        if masks.pop("method") == "masks":
            declared |= masks | {"slots": ["class", self.codebook], "output_type": "semantic"}
            declared["num_groups"] = masks["num_groups"] or len(self.data.class_names())
            declared["grid_size"], loss = mask_grid(tokenizer), "dice_mse"
        else:
            where = f"tasks.{self.name}.data.transform.image_size"
            declared |= {"slots": [self.codebook], "output_type": "label_map"}
            declared["grid_size"], loss = code_grid(where, self.data.image_size, tokenizer), "cross_entropy"
        return declared | {"auxiliary_loss": loss if self.settings.auxiliary_loss else None}

    def stream(self, declared: AiTTaskConfig, class_numbers: Sequence[int] | None = None) -> Stream:
        return self.data.stream(self.every, first_class=declared.first_class, class_numbers=class_numbers)

    def evaluate(self, model, processor, batches, options, classes=None, **measuring) -> dict[str, float]:
        measuring |= {"task": self.name, **self._numbered(classes)}
        return evaluation.evaluate_semantic(model, processor, batches, **measuring)

    def evaluate_tokenizer(
        self, tokenizer, rows, options, classes=None, *, processor=None, **measuring
    ) -> dict[str, float]:
        if names := tokenizer.config.class_names:
            data = self.data.data_classes(options.split)
            classes = pair_classes(names, data, measuring["description"], option="--classes FILE")
        measuring |= {"batch_size": options.batch_size, **self._numbered(classes)}
        return evaluation.evaluate_semantic_tokenizer(tokenizer, rows, **measuring)

    def _numbered(self, classes: Pairs | None) -> dict[str, Any]:
        return {"class_names": self.data.class_names(), "class_numbers": None if classes is None else classes.numbers}

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
    def decoded(cls, output) -> torch.Tensor:
        return super().decoded(output).argmax(1)

    @classmethod
    def map_painter(cls, config, truth):
        return lambda labels: colorize_label_map(labels, config["out_channels"]), ""

    @classmethod
    def legend(cls, data, samples, width) -> Image.Image:
        return class_legend(samples, data.class_names(), width)

    def gallery(self, model, processor, rows, classes=None, **settings) -> Image.Image:
        names, numbers = self.shown(classes)
        settings |= {"task": self.name, "class_numbers": numbers}
        rows = evaluation.semantic_gallery_rows(model, processor, rows, **settings)
        return semantic_gallery(rows, names)

    collate, from_folder = staticmethod(evaluation.labelled_image_collator), staticmethod(labels_from_folder)

    @classmethod
    def check_options(cls, options) -> None:
        if options.data.startswith(LABELS) and options.model is None and options.classes is None:
            raise ValueError("A tokenizer does not know the names of the classes: give --classes FILE.")

    @classmethod
    def short_data(cls, options, image_size, class_names) -> dict[str, Any]:
        transform = {"transform": {"image_size": image_size}}
        if options.data == SYNTHETIC:
            return transform | {"name": "synthetic", "size": image_size, "people": options.people}
        form, _, root = options.data.partition(":")
        if f"{form}:" == ADE20K:
            return transform | {"name": "ade20k", "root": root}
        numbers = {name: getattr(options, name) for name in ("first_id", "class_ids", "ignored_ids")}
        return transform | {"name": "label_maps", "root": root, "classes": options.classes or class_names, **numbers}
