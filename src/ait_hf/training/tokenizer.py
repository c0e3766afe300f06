# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Training of the tokenizers of depth and masks (AiT paper, sections 3.2 and 3.4)."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from torch.utils.data import DataLoader

from ..configuration_ait import AiTTokenizerConfig
from ..metrics.reconstruction import (
    ReconstructionMetric,
    depth_reconstruction_errors,
    mask_reconstruction_errors,
)
from ..tokenization_vq import VQTokenizer, mask_augmentation
from .data import Batch
from .depth_data import AnyDepthData
from .loop import Recipe, TrainingTask, train
from .object_data import AnyMaskData
from .recipes import check_keys


MAPS = "maps"  # the one source of samples
# The recipe's crop is what the tokenizer is trained on.
_CONFIG_KEYS = {field.name for field in fields(AiTTokenizerConfig)} - {"sample_size"}


@dataclass
class MapKind:
    """What goes with the unit of a tokenizer's maps: how errors are measured, and how much of the input is masked."""

    name: Literal["depth", "mask"]
    errors: Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]
    best_metric: str
    mask_ratio: float


KINDS = {
    "metre": MapKind("depth", depth_reconstruction_errors, "rmse", 0.5),
    "mask": MapKind("mask", mask_reconstruction_errors, "mse", 0.0),
}


@strict
@dataclass
class TokenizerModelRecipe:
    """
    Args:
        pretrained (`str`, *optional*): Folder or Hub name of a [`VQTokenizer`] to train on.
        config (`dict`): Arguments of a new [`VQTokenizer`] (but `sample_size`, which is the side of the maps); not with
            `pretrained`.
    """

    pretrained: str | None = None
    config: dict[str, Any] = field(default_factory=dict)

    def validate_config(self):
        check_keys("section model.config", self.config, _CONFIG_KEYS)
        if self.pretrained is not None and self.config:
            raise ValueError("model.pretrained brings its own configuration: leave model.config out.")


@strict
@dataclass
class MaskAugmentationRecipe:
    """
    Arguments of [`mask_augmentation`]: the share of the input's square patches set to 0 (by default 0.5 for depth, 0 for
    masks), and their side, pixels.
    """

    ratio: float | None = None
    patch_size: int = 16


@strict
@dataclass(kw_only=True)
class TokenizerRecipe(Recipe):
    """Recipe of `scripts/train_tokenizer.py`."""

    data: AnyDepthData | AnyMaskData
    model: TokenizerModelRecipe = field(default_factory=TokenizerModelRecipe)
    mask_augmentation: MaskAugmentationRecipe = field(default_factory=MaskAugmentationRecipe)


class TokenizerTraining(TrainingTask):
    """Reconstruction of maps whose input may be partly masked; the target keeps its values."""

    lower_is_better = True

    def __init__(self, recipe: TokenizerRecipe):
        self.recipe = recipe
        self.model = build_tokenizer(recipe)
        self.streams = {MAPS: recipe.data.stream()}
        self.kind = KINDS[recipe.data.unit]
        self.best_metric = self.kind.best_metric
        ratio = recipe.mask_augmentation.ratio
        self.mask_ratio = self.kind.mask_ratio if ratio is None else ratio
        # Wrong sizes show now, not in the first step.
        map_of_zeros = torch.zeros(1, 1, *recipe.data.image_size)
        self.model.tokenize(map_of_zeros)
        self._mask(map_of_zeros)

    def start(self, model: VQTokenizer, batches: Mapping[str, Batch]) -> None:
        if self.recipe.model.pretrained is None:
            model.init_codebook(self._mask(batches[MAPS]["labels"][:, None]))

    def loss(
        self, model: torch.nn.Module, batches: Mapping[str, Batch], accelerator: Accelerator
    ) -> dict[str, torch.Tensor]:
        maps = batches[MAPS]["labels"][:, None]
        _, loss, reconstruction_loss, commit_loss, _, perplexity = model(self._mask(maps), maps, return_dict=False)
        return {
            "loss": loss,
            "reconstruction_loss": reconstruction_loss,
            "commit_loss": commit_loss,
            "perplexity": perplexity,
        }

    def evaluate(
        self, model: VQTokenizer, loaders: Mapping[str, DataLoader], accelerator: Accelerator
    ) -> dict[str, float]:
        metric = ReconstructionMetric(self.kind.name, keep_in_memory=True)
        for batch in loaders[MAPS]:
            ids = model.tokenize(batch["labels"][:, None])
            errors = self.kind.errors(model.detokenize(ids=ids)[:, 0], batch["labels"])
            errors, ids = accelerator.gather_for_metrics((errors, ids))
            if accelerator.is_main_process:
                metric.add_errors(errors, ids)
        if not accelerator.is_main_process:
            return {}
        return metric.compute(num_codes=model.config.num_vq_embeddings)

    def save(self, model: VQTokenizer, folder: Path) -> None:
        model.save_pretrained(folder)

    def _mask(self, maps: torch.Tensor) -> torch.Tensor:
        if self.mask_ratio == 0:
            return maps
        return mask_augmentation(maps, self.mask_ratio, self.recipe.mask_augmentation.patch_size)


def build_tokenizer(recipe: TokenizerRecipe) -> VQTokenizer:
    """
    The tokenizer that a recipe starts from.

    Raises:
        ValueError: A value of `model.config` is wrong, or the tokenizer is not of the data's kind of map.
    """
    if recipe.model.pretrained is not None:
        tokenizer = VQTokenizer.from_pretrained(recipe.model.pretrained)
        _check_unit(recipe, tokenizer.config.unit, recipe.model.pretrained)
        return tokenizer
    height, width = recipe.data.image_size
    if height != width:
        raise ValueError(f"A tokenizer is trained on square crops; data.transform.crop_size is {height} x {width}.")
    try:
        config = AiTTokenizerConfig(**recipe.model.config, sample_size=height)
    except StrictDataclassError as error:
        raise ValueError(f"In section model.config: {error.__cause__ or error}") from error
    _check_unit(recipe, config.unit, "section model.config")
    if height % config.downsample_ratio:
        raise ValueError(
            f"The maps of section data, {height} pixels wide, must be a multiple of the {config.downsample_ratio} pixels "
            "per code."
        )
    return VQTokenizer(**asdict(config))


def _check_unit(recipe: TokenizerRecipe, unit: str, where: str) -> None:
    if unit != recipe.data.unit:
        raise ValueError(
            f"{where} makes a tokenizer of {unit!r}, but the data {recipe.data.name} are in {recipe.data.unit!r}."
        )


def train_tokenizer(recipe: TokenizerRecipe) -> list[dict[str, float]]:
    """Runs a recipe; result, files and errors as of [`~ait_hf.training.loop.train`]."""
    set_seed(recipe.seed)
    return train(TokenizerTraining(recipe), recipe)
