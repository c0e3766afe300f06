# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Training of tokenizers: of depth, masks, label maps, poses and one's own maps (AiT paper, sections 3.2 and 3.4)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Union

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from PIL import Image
from torch.utils.data import DataLoader

from ..drawing.page import arrange, column_edges
from ..inference.loading import load_tokenizer
from ..metrics.reconstruction import ReconstructionMetric
from ..model.configuration_ait import TOKENIZER_CONFIGS
from ..model.objectives_ait import Tokenizer
from ..recipes.parsing import as_section, build, check_keys
from ..recipes.streams import Batch, DataRecipe, EvaluationRecipe, Sample, Stream
from ..tasks.base import Kind, sample_size
from ..tasks.kinds import KINDS, check_unit, kind_of_unit
from .loop import Batches, Loaders, Recipe, Scalars, TrainingTask, train


AnyTokenizerData = Union[tuple(kind.tokenizer_data for kind in KINDS)]  # noqa: UP007 (any of them)
SAMPLES = "samples"  # the one source of samples
TARGETS = "targets"  # what its reconstruction loss is divided by
PATCH_SIZE = 16  # of masked maps, pixels, unless the recipe says otherwise
CELL = 256  # longer side of each picture of reconstructions, pixels


@as_section
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


@as_section
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


@as_section
class TokenizerRecipe(Recipe):
    """Recipe of a tokenizer."""

    data: AnyTokenizerData
    model: TokenizerModelRecipe = field(default_factory=TokenizerModelRecipe)
    mask_augmentation: MaskAugmentationRecipe = field(default_factory=MaskAugmentationRecipe)

    def validate_parts(self):
        check_unit(self.data, "data")
        known = {f.name for f in fields(TOKENIZER_CONFIGS[self.kind.tokenizer_class.tokenizer_type])} - {"sample_size"}
        check_keys("section model.config", self.model.config, known)
        if not self.kind.has_patches and self.mask_augmentation.patch_size is not None:
            title = self.kind.title.capitalize()
            raise ValueError(f"{title} have no patches: leave mask_augmentation.patch_size out.")

    @property
    def kind(self) -> type[Kind]:
        """What the tokenizer is of."""
        return kind_of_unit(self.data.unit)


@dataclass(frozen=True)
class InputMask:
    """What a tokenizer in training sees of a batch of samples, see [`MaskAugmentationRecipe`]; draws from torch's
    global generator, unless one is given."""

    kind: type[Kind]
    ratio: float
    patch_size: int

    def __call__(self, samples: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return samples if self.ratio == 0 else self.kind.hide(samples, self.ratio, self.patch_size, generator)

    def stream(self, stream: Stream) -> Stream:
        """
        The same samples, in training with `inputs` beside their `labels`: what of them the tokenizer sees.

        What is hidden is drawn where a sample is made, like its augmentation, so that it depends on the sample alone
        and not on the process that trains with it.
        """
        transform, collate = partial(self._masked, stream.train_transform), partial(_with_inputs, stream.collate)
        return replace(stream, train_transform=transform, collate=collate)

    def _masked(self, transform: Callable[[Sample], Sample], example: Sample) -> Sample:
        sample = transform(example)
        return sample | {"inputs": self(sample["labels"][None])[0]}


def _with_inputs(collate: Callable[[Sequence[Sample]], Batch], samples: Sequence[Sample]) -> Batch:
    inputs = [sample["inputs"] for sample in samples if "inputs" in sample]  # evaluation has none
    return collate(samples) | ({"inputs": torch.stack(inputs)} if inputs else {})


class TokenizerTraining(TrainingTask):
    """Reconstruction of samples whose input may be partly masked; the target keeps its values."""

    def __init__(self, recipe: TokenizerRecipe):
        self.recipe = recipe
        self.model = build_tokenizer(recipe)
        self.parts = (self.model.encoder, self.model.decoder)
        metric = reconstruction_metric(recipe.data)
        self.best_metric, self.lower_is_better = metric.best, metric.lower_is_better
        self.warnings = recipe.data.tokenizer_warnings()
        ratio, patch_size = recipe.mask_augmentation.ratio, recipe.mask_augmentation.patch_size
        self.mask_ratio = recipe.kind.mask_ratio if ratio is None else ratio
        self._mask = InputMask(recipe.kind, self.mask_ratio, patch_size or PATCH_SIZE)
        self.streams = {SAMPLES: self._mask.stream(recipe.data.stream())}
        # Wrong sizes show now, not in the first step.
        blank = recipe.kind.blank_sample(recipe.data)
        self.model.tokenize(blank)
        self._mask(blank)

    def start(self, model: Tokenizer, forwards: Sequence[Batches]) -> None:
        if self.recipe.model.pretrained is None:
            model.init_codebook(*(batches[SAMPLES]["inputs"] for batches in forwards))
            model.init_output(*(batches[SAMPLES]["labels"] for batches in forwards))

    def counts(self, batches: Batches) -> Scalars:
        """Known values. What is wrong with samples is found here, where they are on the host."""
        self.model.check_samples(batches[SAMPLES]["inputs"])
        return {TARGETS: self.model.num_targets(batches[SAMPLES]["labels"])}

    def loss(self, model: torch.nn.Module, batches: Batches, accelerator: Accelerator, divisors: Scalars) -> Scalars:
        inputs, samples = batches[SAMPLES]["inputs"], batches[SAMPLES]["labels"]
        _, _, reconstruction, commitment, _, _ = model(inputs, samples, return_dict=False, validate=False)
        # A mean over the known values of this forward becomes its part of the mean over those of the whole step.
        reconstruction = reconstruction * self.model.num_targets(samples) / divisors[TARGETS]
        parts = {"reconstruction_loss": reconstruction, "commit_loss": commitment}
        return {"loss": reconstruction + commitment, **parts}

    @contextmanager
    def step(self) -> Iterator[Scalars]:
        """`dead_codes` are those whose share of the latents is, or was before their revival, next to nothing."""
        values: Scalars = {}
        with self.model.quantizer.one_update() as update:
            yield values
        values["perplexity"] = update.perplexity
        values["dead_codes"] = self.model.quantizer.num_dead().float()

    def evaluate(self, model: Tokenizer, loaders: Loaders, accelerator: Accelerator) -> dict[str, float]:
        return evaluate_reconstructions(model, loaders[SAMPLES], self.recipe.data, accelerator)

    def pictures(self, model: Tokenizer, options: EvaluationRecipe) -> dict[str, Image.Image]:
        transform = self.streams[SAMPLES].eval_transform
        rows = self.recipe.data.examples(options.split, options.num_pictures)
        samples = torch.stack([transform(row)["labels"] for row in rows])
        return {"reconstructions": draw_reconstructions(self.recipe.data, model, samples, self._mask)}

    def save(self, model: Tokenizer, folder: Path) -> None:
        model.save_pretrained(folder)


def build_tokenizer(recipe: TokenizerRecipe) -> Tokenizer:
    """The tokenizer that a recipe starts from; `ValueError` for a wrong value of `model.config`, or if the tokenizer is
    not of the data's kind."""
    data, options, kind = recipe.data, recipe.model, recipe.kind
    given = kind.tokenizer_config(data)
    tokenizer, config, where = None, options.config, "section model.config"
    if options.pretrained is not None:
        tokenizer = load_tokenizer(options.pretrained, [kind.tokenizer_class])
        config, where = tokenizer.config, options.pretrained
    for key, value in given.items():
        if config.get(key) not in (None, value):  # tokenizers of before have no names
            raise ValueError(
                f"{where} makes a tokenizer with {key} {config[key]!r}, but that of the data {data.name} is {value!r}."
            )
    if tokenizer is not None:
        return tokenizer
    assumed = {"sample_size": sample_size(data), **kind.tokenizer_defaults}
    config = build(
        TOKENIZER_CONFIGS[kind.tokenizer_class.tokenizer_type], assumed | options.config | given, "model.config"
    )
    height, width = data.image_size
    if kind.has_patches and (height % config.downsample_ratio or width % config.downsample_ratio):
        raise ValueError(
            f"The maps of section data, {height} pixels high and {width} pixels wide, must be a multiple of the "
            f"{config.downsample_ratio} pixels per code."
        )
    return kind.tokenizer_class(**asdict(config))


def reconstruction_metric(data: DataRecipe) -> ReconstructionMetric:
    """What a tokenizer of these data is measured by."""
    return ReconstructionMetric(kind_of_unit(data.unit).reconstruction(data.unit), keep_in_memory=True)


def evaluate_reconstructions(
    tokenizer: Tokenizer, loader: DataLoader, data: DataRecipe, accelerator: Accelerator
) -> dict[str, float]:
    """Errors of the samples that a tokenizer of `data` rebuilds, and the use of its codes: in training, and of
    `ait evaluate`. On the main process; all processes call it."""
    metric = reconstruction_metric(data)
    for batch in loader:
        ids = tokenizer.tokenize(batch["labels"])
        errors = metric.errors(tokenizer.detokenize(ids=ids), batch["labels"])
        errors, ids = accelerator.gather_for_metrics((errors, ids))
        if accelerator.is_main_process:
            metric.add_errors(errors, ids)
    return metric.compute(num_codes=tokenizer.config.num_vq_embeddings) if accelerator.is_main_process else {}


@torch.no_grad()
def draw_reconstructions(data: DataRecipe, model: Tokenizer, samples: torch.Tensor, mask: InputMask) -> Image.Image:
    """
    Samples beside what the tokenizer makes of them, one line each. Where training hides a part of the input, there are two
    more columns: a sample of which as much is hidden, always the same part, and what the tokenizer makes of that.
    `samples` are a batch of the data's `labels` on the CPU, `model` is in evaluation mode.
    """
    kind = mask.kind
    columns = {"ground truth": samples, "reconstruction": kind.rebuild(model, samples)}
    if mask.ratio > 0:
        hidden = mask(samples, torch.Generator().manual_seed(0))
        columns |= {"partly hidden": hidden, "its reconstruction": kind.rebuild(model, hidden)}
    paint, scale = kind.painter(data, samples, CELL)
    lines = [[paint(values.numpy()) for values in line] for line in zip(*columns.values())]
    titles = [f"ground truth{scale}", *list(columns)[1:]]
    width = column_edges(len(columns), CELL)[-1] + CELL
    legend = kind.legend(data, [values.numpy() for values in columns.values()], width)
    return arrange(titles, lines, CELL, footer=legend)


def train_tokenizer(recipe: TokenizerRecipe) -> list[dict[str, float]]:
    """Runs a recipe; result, files and errors as of [`~ait_hf.training.loop.train`]."""
    set_seed(recipe.seed)
    return train(TokenizerTraining(recipe), recipe)
