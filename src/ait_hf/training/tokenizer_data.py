# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What of its samples is hidden from a tokenizer in training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from ..recipes.streams import Batch, Sample, Stream
from ..tasks.base import Kind


@dataclass(frozen=True)
class InputMask:
    """
    What a tokenizer in training sees of a batch of samples; draws from torch's global generator, unless one is given.

    Args:
        kind: What the samples are.
        ratio, patch_size: See [`MaskAugmentationRecipe`].
    """

    kind: type[Kind]
    ratio: float
    patch_size: int

    def __call__(self, samples: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        if self.ratio == 0:
            return samples
        return self.kind.hide(samples, self.ratio, self.patch_size, generator)


def masked_stream(stream: Stream, mask: InputMask) -> Stream:
    """
    The same samples, in training with `inputs` beside their `labels`: what of them the tokenizer sees.

    What is hidden is drawn where a sample is made, like its augmentation, so that it depends on the sample alone and not
    on the process that trains with it.
    """
    return replace(
        stream,
        train_transform=partial(_masked, transform=stream.train_transform, mask=mask),
        collate=partial(_with_inputs, collate=stream.collate),
    )


def _masked(example: Sample, *, transform: Callable[[Sample], Sample], mask: InputMask) -> Sample:
    sample = transform(example)
    return sample | {"inputs": mask(sample["labels"][None])[0]}


def _with_inputs(samples: Sequence[Sample], *, collate: Callable[[Sequence[Sample]], Batch]) -> Batch:
    inputs = [sample["inputs"] for sample in samples if "inputs" in sample]  # evaluation has none
    return collate(samples) | ({"inputs": torch.stack(inputs)} if inputs else {})
