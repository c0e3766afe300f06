# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Training of the task-solver for depth (AiT paper, section 3.3), its tokenizer being fixed."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from torch.utils.data import DataLoader
from transformers import AutoBackbone, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from ..configuration_ait import AiTConfig, AiTSwinv2Config, AiTTokenizerConfig
from ..conversion.swinv2 import load_pretrained_backbone
from ..image_processing_ait import AiTImageProcessor
from ..metrics.depth import DepthMetric, depth_errors
from ..modeling_ait import AiTForDepthEstimation
from ..remote_code import save_with_remote_code
from ..tokenization_vq import VQTokenizer
from .data import Batch
from .loop import Recipe, TrainingTask, train
from .recipes import check_keys


DEPTH_TASK_ID = 2  # as released
# What the recipe sets elsewhere is not a key of its sections `model.config` and `model.backbone_config`.
_CONFIG_KEYS = set(AiTConfig.__annotations__) - {"backbone_config", "tokenizers", "tasks", "parallel", "model_type"}
_SWINV2_KEYS = {key for key in AiTSwinv2Config.__annotations__ if not key.startswith("_")} - {"image_size"}
_PRETRAINED_SWINV2_KEYS = {"window_sizes", "shifted_stages", "drop_path_rate"}


@strict
@dataclass
class DepthTaskRecipe:
    """Fields of [`AiTTaskConfig`] that the depth recipes differ in."""

    soft_temperature: float = 1.0
    auxiliary_loss: Literal["silog"] | None = "silog"
    auxiliary_loss_weight: float = 1.0


@strict
@dataclass
class SolverModelRecipe:
    """
    Args:
        pretrained (`str`, *optional*): Folder or Hub name of a whole AiT model to train on; nothing else but
            `gradient_checkpointing` goes with it.
        tokenizer (`str`, *optional*): Folder or Hub name of the trained [`VQTokenizer`] of a new model.
        backbone (`str`, *optional*): Folder or Hub name of weights to start the backbone from: a SwinV2 of
            transformers or timm (which becomes ours), or any `AutoBackbone`; a name without a slash is timm's.
        backbone_config (`dict`): Fields of [`AiTSwinv2Config`] (but `image_size`, which is the crop), or of another
            backbone's configuration if `model_type` is among them. With a SwinV2 `backbone` only `window_sizes`,
            `shifted_stages`, `drop_path_rate`; with another none.
        parallel (`bool`): AiT-P: all codes are predicted in one forward.
        config (`dict`): Other fields of [`AiTConfig`].
        task (`DepthTaskRecipe`): Losses and soft tokens.
        gradient_checkpointing (`bool`): Computes activations twice instead of keeping them.
    """

    pretrained: str | None = None
    tokenizer: str | None = None
    backbone: str | None = None
    backbone_config: dict[str, Any] = field(default_factory=dict)
    parallel: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    task: DepthTaskRecipe = field(default_factory=DepthTaskRecipe)
    gradient_checkpointing: bool = False

    def validate_source(self):
        check_keys("section model.config", self.config, _CONFIG_KEYS)
        if (self.pretrained is None) == (self.tokenizer is None):
            raise ValueError("Give either tokenizer (the folder of a trained one) or pretrained (a whole AiT model).")
        if self.pretrained is not None:
            for f in fields(self):
                default = f.default_factory() if callable(f.default_factory) else f.default
                if f.name not in ("pretrained", "gradient_checkpointing") and getattr(self, f.name) != default:
                    raise ValueError(f"{f.name} has no effect with pretrained, which is a whole model: leave it out.")


@strict
@dataclass(kw_only=True)
class SolverRecipe(Recipe):
    """Recipe of `scripts/train.py`."""

    model: SolverModelRecipe


class SolverTraining(TrainingTask):
    """The model's own loss on images and depth maps."""

    def __init__(self, recipe: SolverRecipe):
        self.model = build_solver(recipe)
        height, width = recipe.data.transform.size
        self.processor = AiTImageProcessor(size={"height": height, "width": width}, do_normalize=False)
        if recipe.model.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()

    def loss(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        return {"loss": model(**batch).loss}

    def evaluate(
        self, model: AiTForDepthEstimation, batches: DataLoader, accelerator: Accelerator
    ) -> dict[str, float]:
        metric = DepthMetric(keep_in_memory=True)
        for batch in batches:
            errors = depth_errors(model(pixel_values=batch["pixel_values"]).predicted_depth, batch["labels"])
            errors = accelerator.gather_for_metrics(errors)
            if accelerator.is_main_process:
                metric.add_errors(errors)
        return metric.compute() if accelerator.is_main_process else {}

    def save(self, model: AiTForDepthEstimation, folder: Path) -> None:
        save_with_remote_code(model, self.processor, folder)


def build_solver(recipe: SolverRecipe) -> AiTForDepthEstimation:
    """
    The model that a recipe starts from, with its tokenizer and its pretrained backbone.

    Raises:
        FileNotFoundError, OSError: A checkpoint does not exist.
        ValueError: The parts do not fit together.
    """
    options, size = recipe.model, list(recipe.data.transform.size)
    if options.pretrained is not None:
        model = AiTForDepthEstimation.from_pretrained(options.pretrained)
        if model.config.task("depth").image_size != size:
            raise ValueError(
                f"{options.pretrained} takes images of {model.config.task('depth').image_size} pixels, but "
                f"data.transform.crop_size is {size}."
            )
        return model
    if not Path(options.tokenizer).is_dir() and options.tokenizer.count("/") != 1:  # so it is no Hub name either
        raise FileNotFoundError(f"There is no tokenizer at {options.tokenizer}: run scripts/train_tokenizer.py first.")
    tokenizer = VQTokenizer.from_pretrained(options.tokenizer)
    backbone_config, backbone = _backbone(options, size)
    try:
        config = _config(options, size, tokenizer, backbone_config)
    except StrictDataclassError as error:
        raise ValueError(f"In section model: {error.__cause__ or error}") from error
    model = AiTForDepthEstimation(config)
    if backbone is not None:
        model.model.encoder.backbone.load_state_dict(backbone.state_dict())
    model.load_tokenizer("depth", tokenizer)
    return model


def train_solver(recipe: SolverRecipe) -> list[dict[str, float]]:
    """Runs a recipe; result, files and errors as of [`~ait_hf.training.loop.train`]."""
    set_seed(recipe.seed)
    return train(SolverTraining(recipe), recipe)


def _config(
    options: SolverModelRecipe, size: list[int], tokenizer: VQTokenizer, backbone_config: PreTrainedConfig
) -> AiTConfig:
    ratio = tokenizer.config.downsample_ratio
    if size[0] % ratio or size[1] % ratio:
        raise ValueError(
            f"data.transform.crop_size {size} must be a multiple of the tokenizer's {ratio} pixels per code."
        )
    task = {
        "task_id": DEPTH_TASK_ID,
        "slots": ["depth"],
        "output_type": "depth",
        "grid_size": [size[0] // ratio, size[1] // ratio],
        "image_size": size,
        **asdict(options.task),
    }
    codebooks = [["mask", 128], ["depth", tokenizer.config.num_vq_embeddings]]
    arguments = {
        "backbone_config": backbone_config,
        "tokenizers": {"depth": {f.name: tokenizer.config[f.name] for f in fields(AiTTokenizerConfig)}},
        "tasks": {"depth": task},
        "parallel": options.parallel,
    }
    return AiTConfig(**({"codebooks": codebooks} | options.config | arguments))


def _backbone(options: SolverModelRecipe, size: list[int]) -> tuple[PreTrainedConfig, PreTrainedModel | None]:
    """Configuration and, if there are any, weights of the backbone."""
    arguments = dict(options.backbone_config)
    if options.backbone is None:
        model_type = arguments.pop("model_type", AiTSwinv2Config.model_type)
        if model_type != AiTSwinv2Config.model_type:
            return AutoConfig.for_model(model_type, **arguments), None
        check_keys("section model.backbone_config", arguments, _SWINV2_KEYS)
        try:
            return AiTSwinv2Config(image_size=size, **arguments), None
        except StrictDataclassError as error:
            raise ValueError(f"In section model.backbone_config: {error.__cause__ or error}") from error
    is_folder = Path(options.backbone).is_dir()
    if (is_folder or "/" in options.backbone) and _is_swinv2(options.backbone):
        check_keys("section model.backbone_config beside model.backbone", arguments, _PRETRAINED_SWINV2_KEYS)
        return load_pretrained_backbone(options.backbone, image_size=size, **arguments)
    check_keys("section model.backbone_config beside model.backbone", arguments, ())
    if is_folder:  # which AutoBackbone.from_pretrained takes for a Hub name
        with torch.device("meta"):
            kind = type(AutoBackbone.from_config(AutoConfig.from_pretrained(options.backbone)))
        backbone = kind.from_pretrained(options.backbone)
    else:
        backbone = AutoBackbone.from_pretrained(options.backbone)
    return backbone.config, backbone


def _is_swinv2(name_or_path: str) -> bool:
    stored = json.loads(Path(cached_file(name_or_path, "config.json")).read_text(encoding="utf-8"))
    return stored.get("model_type") == "swinv2" or stored.get("architecture", "").startswith("swinv2_")
