# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Depth as a task of a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, ClassVar, Literal

from PIL import Image

from ...data.pixels import without_channel
from ...drawing.colors import known_limits
from ...model.modeling_ait import AiTForDepthEstimation
from ...recipes.parsing import as_section
from ...recipes.streams import Batch
from ..base import GRID_LIMIT, SYNTHETIC, DenseSettings, ShortForm, TaskText
from ..maps.task import Maps
from ..writer import Writer
from .data import DepthData, depth_from_folder
from .drawing import colorize_depth, depth_gallery
from .evaluation import depth_gallery_rows, evaluate_depth, evaluate_tokenizer, rgbd_collator
from .prediction import DepthWriter


NYU = "nyu_depth:"


@as_section
class DepthSettings(DenseSettings):
    """As [`DenseSettings`]."""

    auxiliary_loss: Literal["silog"] | None = "silog"


@as_section
class Depth(Maps):
    """Depth of the whole image: a map of one channel, in metres."""

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
        *("rmse", "rmse_pooled", "delta1", "abs_rel", "log10", "rmse_log", "silog"),
        *("ause_rmse", "ause_abs_rel", "token_distance", "perplexity", "num_images"),
    )
    short_forms: ClassVar[Mapping[str, ShortForm]] = {
        SYNTHETIC: ShortForm(SYNTHETIC),
        NYU: ShortForm("nyu_depth:ROOT"),
        "": ShortForm("an index of RGB-D pairs", ("root", "depth_scale")),
    }
    task_id: ClassVar[int] = 2
    model_class: ClassVar[type] = AiTForDepthEstimation
    kind: ClassVar[str] = "map"  # no key of the section, which its name tells from others
    card: ClassVar[TaskText] = TaskText(
        gives="depth in metres, and how far off it may be, for every pixel",
        result='processor.post_process_depth_estimation(outputs, target_sizes=sizes)[0]["predicted_depth"]',
        comment="(height, width), metres",
        limits=(
            GRID_LIMIT,
            "Depth is metric and learnt from the cameras of the training data; other cameras see another scale.",
            "Not for use where a wrong distance can hurt somebody.",
        ),
        pipeline_tag="depth-estimation",
    )

    name: Literal["depth"] = "depth"
    data: DepthData
    settings: DepthSettings = field(default_factory=DepthSettings)

    @classmethod
    def short_data(cls, options, image_size, class_names) -> dict[str, Any]:
        transform = {"transform": {"crop_size": image_size}}
        if options.data == SYNTHETIC:
            return transform | {"name": "synthetic", "size": image_size}
        if options.data.startswith(NYU):
            return transform | {"name": "nyu_depth", "root": options.data.removeprefix(NYU)}
        frames = {"index": options.data, "root": options.root, "depth_scale": options.depth_scale}
        return transform | {"name": "rgbd", **frames}

    @classmethod
    def check_options(cls, options) -> None:
        if options.calibrate and options.protocol == "tta":
            raise ValueError(
                "--calibrate fits the probabilities of codes, which windows do not share: leave out --protocol tta."
            )

    @classmethod
    def prediction_settings(cls, options, declared) -> dict[str, Any]:
        return {"tta": options.protocol == "tta"}

    @classmethod
    def measuring_settings(cls, options) -> dict[str, Any]:
        crop = "eigen" if options.eigen_crop else None
        return {"min_depth": options.min_depth, "max_depth": options.max_depth, "crop": crop}

    def collate(self, rows, processor) -> Batch:
        return rgbd_collator(rows)

    def evaluate(self, model, processor, batches, options, classes=None, **measuring) -> dict[str, float]:
        return evaluate_depth(model, processor, batches, task=self.name, **measuring)

    _rebuild = staticmethod(evaluate_tokenizer)
    reconstruction = staticmethod(lambda unit: "depth")

    @classmethod
    def map_painter(cls, config, truth):
        (low,), (high,) = known_limits(truth.numpy()[..., None])
        scale = f", {low:.1f} (blue) to {high:.1f} m (red)"
        return lambda depth: colorize_depth(without_channel(depth), low, high), scale

    def gallery(self, model, processor, rows, classes=None, **settings) -> Image.Image:
        return depth_gallery(depth_gallery_rows(model, processor, rows, **settings))

    from_folder = staticmethod(depth_from_folder)
