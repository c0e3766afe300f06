# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Depth as a task of a recipe."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from PIL import Image

from ...data.pixels import without_channel
from ...drawing.colors import known_limits
from ...metrics.depth import DepthMetric, depth_errors
from ...model.configuration_ait import AiTTaskConfig
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTForDepthEstimation
from ...model.tokenization_vq import VQTokenizer
from ...recipes.streams import Stream
from ..base import DenseSettings, Kind, code_grid, resized
from ..card_text import GRID_LIMIT, TaskText
from ..writer import Writer
from .command import NYU_PREFIX, evaluate_depth_task
from .data import DepthData, depth_from_folder
from .drawing import colorize_depth, depth_gallery
from .evaluation import depth_gallery_rows
from .prediction import DepthWriter


@strict
@dataclass
class DepthSettings(DenseSettings):
    """As [`DenseSettings`]."""

    auxiliary_loss: Literal["silog"] | None = "silog"


@strict
@dataclass(kw_only=True)
class Depth(Kind):
    """Depth of the whole image."""

    title: ClassVar[str] = "depth"
    tasks: ClassVar[Sequence[str]] = ("depth",)
    output_types: ClassVar[Sequence[str]] = ("depth",)
    units: ClassVar[Sequence[str]] = ("metre",)
    predict_options: ClassVar[Sequence[str]] = ("tta",)
    tokenizer_data: ClassVar[Any] = DepthData
    mask_ratio: ClassVar[float] = 0.5
    finetune_options: ClassVar[Sequence[str]] = ("depth_scale", "image_column", "depth_column")
    writer: ClassVar[type[Writer]] = DepthWriter
    columns: ClassVar[Sequence[str]] = (
        *("rmse", "delta1", "abs_rel", "log10", "rmse_log", "silog"),
        *("token_distance", "perplexity", "num_images"),
    )
    codebook: ClassVar[str] = "depth"
    unit: ClassVar[str] = "metre"
    task_id: ClassVar[int] = 2
    model_class: ClassVar[type] = AiTForDepthEstimation
    best_metric: ClassVar[str] = "rmse"
    lower_is_better: ClassVar[bool] = True

    name: Literal["depth"] = "depth"
    data: DepthData
    tokenizer: str | None = None
    settings: DepthSettings = field(default_factory=DepthSettings)

    def declaration(self, tokenizer: VQTokenizer) -> dict[str, Any]:
        where = "tasks.depth.data.transform.crop_size"
        return {
            "slots": ["depth"],
            "output_type": "depth",
            "grid_size": code_grid(where, self.data.image_size, tokenizer),
            "image_size": list(self.data.image_size),
            **asdict(self.settings),
        }

    def stream(self, declared: AiTTaskConfig, class_numbers: Sequence[int] | None = None) -> Stream:
        return self.data.stream(self.every)

    def processor(self) -> AiTImageProcessor:
        height, width = self.data.image_size
        return AiTImageProcessor(size={"height": height, "width": width}, do_normalize=False)

    def evaluate(self, model, loader, accelerator, options, classes=None) -> dict[str, float]:
        metric = DepthMetric(keep_in_memory=True)
        for batch in loader:
            outputs = model.generate(pixel_values=batch["pixel_values"], task=self.name)
            errors = accelerator.gather_for_metrics(depth_errors(outputs.predicted_depth, batch["labels"]))
            if accelerator.is_main_process:
                metric.add_errors(errors)
        return metric.compute() if accelerator.is_main_process else {}

    def adapted(self, declared, tokenizer, before, after, keeping) -> dict[str, Any]:
        return resized(self.name, self.data.image_size, tokenizer)

    @staticmethod
    def text(declared: AiTTaskConfig) -> TaskText:
        return TaskText(
            gives="depth in metres and an uncertainty in 0..1 for every pixel",
            result='processor.post_process_depth_estimation(outputs, target_sizes=sizes)[0]["predicted_depth"]',
            comment="(height, width), metres",
            limits=(
                GRID_LIMIT,
                "Depth is metric and learnt from the cameras of the training data; other cameras see another scale.",
                "Not for use where a wrong distance can hurt somebody.",
            ),
            pipeline_tag="depth-estimation",
        )

    @staticmethod
    def reconstruction(unit: str) -> str:
        return "depth"

    @classmethod
    def painter(cls, data, truth, longer_side):
        (low,), (high,) = known_limits(truth.numpy()[..., None])
        scale = f", {low:.1f} (blue) to {high:.1f} m (red)"
        return lambda depth: colorize_depth(without_channel(depth), low, high), scale

    def gallery(self, model, processor, rows, classes=None, **settings) -> Image.Image:
        return depth_gallery(depth_gallery_rows(model, processor, rows, **settings))

    from_folder = staticmethod(depth_from_folder)
    evaluate_command = staticmethod(evaluate_depth_task)

    @classmethod
    def check_options(cls, options: argparse.Namespace) -> None:
        has_index = options.data != "synthetic" and not options.data.startswith(NYU_PREFIX)
        if not has_index and (options.root is not None or options.depth_scale is not None):
            raise ValueError("--root and --depth-scale go with an index of RGB-D pairs.")
        if options.split is None:
            raise ValueError("Give the --split of the data to evaluate.")
