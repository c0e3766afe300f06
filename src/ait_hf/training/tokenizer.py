# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Training of tokenizers: of depth, masks, label maps, poses and one's own maps (AiT paper, sections 3.2 and 3.4)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from torch.utils.data import DataLoader

from ..data.classes import learning_warnings, pair_joints
from ..data.maps import UNIT_VECTOR
from ..inference.loading import load_tokenizer
from ..metrics.reconstruction import ReconstructionKind, ReconstructionMetric
from ..model.configuration_ait import AiTPoseTokenizerConfig, AiTTokenizerConfig
from ..model.tokenization_pose import PoseTokenizer
from ..model.tokenization_vq import IGNORED_LABEL, VQTokenizer
from ..recipes.evaluation import EvaluationRecipe
from ..recipes.parsing import check_keys
from ..recipes.streams import Batch
from ..tasks.maps.data import MapData
from ..tasks.poses.data import PersonData
from ..tasks.semantics.data import LabelData, SemanticData
from .loop import Recipe, TrainingTask, train
from .tokenizer_data import AnyTokenizerData, InputMask, Tokenizer, masked_stream
from .tokenizer_pictures import draw_reconstructions


SAMPLES = "samples"  # the one source of samples
TARGETS = "targets"  # what its reconstruction loss is divided by
PATCH_SIZE = 16  # of masked maps, pixels, unless the recipe says otherwise


@dataclass(frozen=True)
class TokenizerKind:
    """What goes with the unit of a tokenizer's samples: errors, which of them counts, how much input is masked."""

    errors: ReconstructionKind
    best_metric: str
    lower_is_better: bool = True
    mask_ratio: float = 0.0


KINDS = {
    "metre": TokenizerKind("depth", "rmse", mask_ratio=0.5),
    "mask": TokenizerKind("mask", "mse"),
    "class": TokenizerKind("label_map", "accuracy", lower_is_better=False),
    "pixel": TokenizerKind("pose", "joint_error", mask_ratio=0.2),
    UNIT_VECTOR: TokenizerKind("normals", "mean_angle"),
}
ANY_MAP = TokenizerKind("map", "rmse")
MASK_DEFAULTS = {"value_range": [0.0, 1.0], "loss_type": "mse"}


@strict
@dataclass
class TokenizerModelRecipe:
    """
    Args:
        pretrained (`str`, *optional*): Folder or Hub name of a tokenizer to train on.
        config (`dict`): Arguments of a new [`VQTokenizer`] or, for poses, [`PoseTokenizer`]; not with `pretrained`. What
            follows from the data need not be said: the sample size, channels, classes or joints, and the unit. Masks
            are by default mapped from 0..1 (`value_range`) and learned by `mse`.
    """

    pretrained: str | None = None
    config: dict[str, Any] = field(default_factory=dict)

    def validate_source(self):
        if self.pretrained is not None and self.config:
            raise ValueError("model.pretrained brings its own configuration: leave model.config out.")


@strict
@dataclass
class MaskAugmentationRecipe:
    """
    What is hidden from the input while the target keeps it.

    Args:
        ratio (`float`, *optional*): Share of the square patches of a map ([`mask_augmentation`]) or of the known joints
            of a pose ([`mask_joints`]); by default 0.5 for depth, 0.2 for poses and 0 for all else.
        patch_size (`int`, *optional*): Side of the patches in pixels, 16 by default; poses have none.
    """

    ratio: float | None = None
    patch_size: int | None = None


@strict
@dataclass(kw_only=True)
class TokenizerRecipe(Recipe):
    """Recipe of `scripts/train_tokenizer.py`."""

    data: AnyTokenizerData
    model: TokenizerModelRecipe = field(default_factory=TokenizerModelRecipe)
    mask_augmentation: MaskAugmentationRecipe = field(default_factory=MaskAugmentationRecipe)

    def validate_parts(self):
        known = {f.name for f in fields(_config_class(self.data))} - {"sample_size"}
        check_keys("section model.config", self.model.config, known)
        if isinstance(self.data, PersonData) and self.mask_augmentation.patch_size is not None:
            raise ValueError("Poses have no patches: leave mask_augmentation.patch_size out.")


class TokenizerTraining(TrainingTask):
    """Reconstruction of samples whose input may be partly masked; the target keeps its values."""

    def __init__(self, recipe: TokenizerRecipe):
        self.recipe = recipe
        self.model = build_tokenizer(recipe)
        self.parts = (self.model.encoder, self.model.decoder)
        self.kind = KINDS.get(recipe.data.unit, ANY_MAP)
        self.best_metric = self.kind.best_metric
        self.lower_is_better = self.kind.lower_is_better
        ratio = recipe.mask_augmentation.ratio
        self.mask_ratio = self.kind.mask_ratio if ratio is None else ratio
        self._mask = InputMask(
            self.mask_ratio,
            recipe.mask_augmentation.patch_size or PATCH_SIZE,
            IGNORED_LABEL if isinstance(recipe.data, SemanticData) else 0,
            isinstance(recipe.data, PersonData),
        )
        if isinstance(recipe.data, LabelData):
            self.warnings = learning_warnings(recipe.data.data_classes())
        if isinstance(recipe.data, PersonData):
            joints, skeleton = recipe.data.data_classes(), recipe.data.joints
            self.warnings = learning_warnings(joints, pair_joints(skeleton.joints, joints, skeleton.name).lacking)
        self.streams = {SAMPLES: masked_stream(recipe.data.stream(), self._mask)}
        # Wrong sizes show now, not in the first step.
        blank = _blank_sample(recipe.data)
        self.model.tokenize(blank)
        self._mask(blank)

    def start(self, model: Tokenizer, forwards: Sequence[Mapping[str, Batch]]) -> None:
        if self.recipe.model.pretrained is None:
            model.init_codebook(*(batches[SAMPLES]["inputs"] for batches in forwards))

    def divisors(self, forwards: Sequence[Mapping[str, Batch]], accelerator: Accelerator) -> dict[str, torch.Tensor]:
        """Known values of a forward, averaged over the forwards of the step and over processes. What is wrong with samples
        is found here, where they are on the host."""
        for batches in forwards:
            self.model.check_samples(batches[SAMPLES]["inputs"])
        counts = [self.model.num_targets(batches[SAMPLES]["labels"]) for batches in forwards]
        mean = torch.stack(counts).mean().to(accelerator.device, non_blocking=True)
        return {TARGETS: accelerator.reduce(mean, "mean").clamp(min=1)}

    def loss(
        self,
        model: torch.nn.Module,
        batches: Mapping[str, Batch],
        accelerator: Accelerator,
        divisors: Mapping[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        samples = batches[SAMPLES]["labels"]
        _, _, reconstruction_loss, commit_loss, _, _ = model(
            batches[SAMPLES]["inputs"], samples, return_dict=False, validate=False
        )
        # A mean over the known values of this forward becomes its part of the mean over those of the whole step.
        reconstruction_loss = reconstruction_loss * self.model.num_targets(samples) / divisors[TARGETS]
        return {
            "loss": reconstruction_loss + commit_loss,
            "reconstruction_loss": reconstruction_loss,
            "commit_loss": commit_loss,
        }

    @contextmanager
    def step(self) -> Iterator[dict[str, torch.Tensor]]:
        """`dead_codes` are those whose share of the latents is, or was before their revival, next to nothing."""
        values: dict[str, torch.Tensor] = {}
        with self.model.quantizer.one_update() as update:
            yield values
        values["perplexity"] = update.perplexity
        values["dead_codes"] = self.model.quantizer.num_dead().float()

    def evaluate(
        self, model: Tokenizer, loaders: Mapping[str, DataLoader], accelerator: Accelerator
    ) -> dict[str, float]:
        metric = ReconstructionMetric(self.kind.errors, keep_in_memory=True)
        for batch in loaders[SAMPLES]:
            ids = model.tokenize(batch["labels"])
            errors = metric.errors(model.detokenize(ids=ids), batch["labels"])
            errors, ids = accelerator.gather_for_metrics((errors, ids))
            if accelerator.is_main_process:
                metric.add_errors(errors, ids)
        if not accelerator.is_main_process:
            return {}
        return metric.compute(num_codes=model.config.num_vq_embeddings)

    def pictures(self, model: Tokenizer, options: EvaluationRecipe) -> dict[str, Image.Image]:
        transform = self.streams[SAMPLES].eval_transform
        rows = self.recipe.data.examples(options.split, options.num_pictures)
        samples = torch.stack([transform(row)["labels"] for row in rows])
        return {"reconstructions": draw_reconstructions(self.recipe.data, model, samples, self._mask)}

    def save(self, model: Tokenizer, folder: Path) -> None:
        model.save_pretrained(folder)


def build_tokenizer(recipe: TokenizerRecipe) -> Tokenizer:
    """
    The tokenizer that a recipe starts from.

    Raises:
        ValueError: A value of `model.config` is wrong, or the tokenizer is not of the data's kind.
    """
    data, options = recipe.data, recipe.model
    kind = PoseTokenizer if isinstance(data, PersonData) else VQTokenizer
    given = _given_by(data)
    if options.pretrained is not None:
        tokenizer = load_tokenizer(options.pretrained, [kind])
        _check_agreement(data, given, tokenizer.config, options.pretrained)
        return tokenizer
    _check_agreement(data, given, options.config, "section model.config")
    defaults = MASK_DEFAULTS if data.unit == "mask" else {}
    try:
        config = _config_class(data)(**defaults | {"sample_size": _sample_size(data)} | options.config | given)
    except StrictDataclassError as error:
        raise ValueError(f"In section model.config: {error.__cause__ or error}") from error
    height, width = data.image_size
    if kind is VQTokenizer and (height % config.downsample_ratio or width % config.downsample_ratio):
        raise ValueError(
            f"The maps of section data, {height} pixels high and {width} pixels wide, must be a multiple of the "
            f"{config.downsample_ratio} pixels per code."
        )
    return kind(**asdict(config))


def train_tokenizer(recipe: TokenizerRecipe) -> list[dict[str, float]]:
    """Runs a recipe; result, files and errors as of [`~ait_hf.training.loop.train`]."""
    set_seed(recipe.seed)
    return train(TokenizerTraining(recipe), recipe)


def _config_class(data: AnyTokenizerData) -> type[AiTTokenizerConfig] | type[AiTPoseTokenizerConfig]:
    return AiTPoseTokenizerConfig if isinstance(data, PersonData) else AiTTokenizerConfig


def _given_by(data: AnyTokenizerData) -> dict[str, Any]:
    """What the data say of the tokenizer's configuration (beside the sample size, which maps may change)."""
    match data:
        case PersonData():
            return {"unit": data.unit, "num_joints": len(data.joints.joints), "sample_size": _sample_size(data)}
        case SemanticData():
            channels = data.num_classes
            loss_type = {"loss_type": "cross_entropy", "class_names": data.class_names()}
        case MapData():
            channels, loss_type = data.num_channels, {}
        case _:
            channels, loss_type = 1, {}
    return {"unit": data.unit, "in_channels": channels, "out_channels": channels, **loss_type}


def _sample_size(data: AnyTokenizerData) -> int | list[int]:
    """One number for squares, as tokenizers save it."""
    height, width = data.image_size
    return height if height == width else [height, width]


def _check_agreement(data: AnyTokenizerData, given: Mapping[str, Any], config: Mapping[str, Any], where: str) -> None:
    for key, value in given.items():
        if config.get(key) not in (None, value):  # tokenizers of before have no names
            raise ValueError(
                f"{where} makes a tokenizer with {key} {config[key]!r}, but that of the data {data.name} is {value!r}."
            )


def _blank_sample(data: AnyTokenizerData) -> torch.Tensor:
    """A batch of one sample, of the shape and type of the data's `labels`."""
    match data:
        case PersonData():
            return torch.ones(1, len(data.joints.joints), 3)
        case SemanticData():
            return torch.zeros(1, *data.image_size, dtype=torch.long)
        case MapData():
            return torch.zeros(1, data.num_channels, *data.image_size)
        case _:
            return torch.zeros(1, *data.image_size)
