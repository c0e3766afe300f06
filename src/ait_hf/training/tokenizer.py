# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Training of the depth tokenizer (AiT paper, sections 3.2 and 3.4)."""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from torch.utils.data import DataLoader

from ..configuration_ait import AiTTokenizerConfig
from ..metrics.reconstruction import ReconstructionMetric, depth_reconstruction_errors
from ..tokenization_vq import VQTokenizer, mask_augmentation
from .data import Batch
from .loop import Recipe, TrainingTask, train
from .recipes import check_keys


# The recipe's crop is what the tokenizer is trained on.
_CONFIG_KEYS = {field.name for field in fields(AiTTokenizerConfig)} - {"sample_size"}


@strict
@dataclass
class TokenizerModelRecipe:
    """
    Args:
        pretrained (`str`, *optional*): Folder or Hub name of a [`VQTokenizer`] to train on.
        config (`dict`): Arguments of a new [`VQTokenizer`] (but `sample_size`, which is the crop); not with
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
    """Arguments of [`mask_augmentation`]: the share of the input's square patches set to 0, and their side, pixels."""

    ratio: float = 0.5
    patch_size: int = 16


@strict
@dataclass(kw_only=True)
class TokenizerRecipe(Recipe):
    """Recipe of `scripts/train_tokenizer.py`."""

    model: TokenizerModelRecipe = field(default_factory=TokenizerModelRecipe)
    mask_augmentation: MaskAugmentationRecipe = field(default_factory=MaskAugmentationRecipe)


class TokenizerTraining(TrainingTask):
    """Reconstruction of depth maps whose input is partly masked; the target keeps its values."""

    def __init__(self, recipe: TokenizerRecipe):
        self.recipe = recipe
        self.model = build_tokenizer(recipe)
        # Wrong sizes show now, not in the first step.
        crop = torch.zeros(1, 1, *recipe.data.transform.size)
        self.model.tokenize(crop)
        self._mask(crop)

    def start(self, model: VQTokenizer, batch: Batch) -> None:
        if self.recipe.model.pretrained is None:
            model.init_codebook(self._mask(batch["labels"][:, None]))

    def loss(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        depth = batch["labels"][:, None]
        _, loss, reconstruction_loss, commit_loss, _, perplexity = model(self._mask(depth), depth, return_dict=False)
        return {
            "loss": loss,
            "reconstruction_loss": reconstruction_loss,
            "commit_loss": commit_loss,
            "perplexity": perplexity,
        }

    def evaluate(self, model: VQTokenizer, batches: DataLoader, accelerator: Accelerator) -> dict[str, float]:
        metric = ReconstructionMetric("depth", keep_in_memory=True)
        for batch in batches:
            ids = model.tokenize(batch["labels"][:, None])
            errors = depth_reconstruction_errors(model.detokenize(ids=ids)[:, 0], batch["labels"])
            errors, ids = accelerator.gather_for_metrics((errors, ids))
            if accelerator.is_main_process:
                metric.add_errors(errors, ids)
        if not accelerator.is_main_process:
            return {}
        return metric.compute(num_codes=model.config.num_vq_embeddings)

    def save(self, model: VQTokenizer, folder: Path) -> None:
        model.save_pretrained(folder)

    def _mask(self, depth: torch.Tensor) -> torch.Tensor:
        return mask_augmentation(depth, self.recipe.mask_augmentation.ratio, self.recipe.mask_augmentation.patch_size)


def build_tokenizer(recipe: TokenizerRecipe) -> VQTokenizer:
    """
    The tokenizer that a recipe starts from.

    Raises:
        ValueError: A value of `model.config` is wrong.
    """
    if recipe.model.pretrained is not None:
        return VQTokenizer.from_pretrained(recipe.model.pretrained)
    height, width = recipe.data.transform.size
    if height != width:
        raise ValueError(f"A tokenizer is trained on square crops; data.transform.crop_size is {height} x {width}.")
    try:
        config = AiTTokenizerConfig(**recipe.model.config, sample_size=height)
    except StrictDataclassError as error:
        raise ValueError(f"In section model.config: {error.__cause__ or error}") from error
    if height % config.downsample_ratio:
        raise ValueError(
            f"data.transform.crop_size {height} must be a multiple of the {config.downsample_ratio} pixels per code."
        )
    return VQTokenizer(**asdict(config))


def train_tokenizer(recipe: TokenizerRecipe) -> list[dict[str, float]]:
    """Runs a recipe; result, files and errors as of [`~ait_hf.training.loop.train`]."""
    set_seed(recipe.seed)
    return train(TokenizerTraining(recipe), recipe)
