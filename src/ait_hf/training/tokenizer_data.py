# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What of its samples is hidden from a tokenizer in training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
        stream, train_transform=_Masked(stream.train_transform, mask), collate=_CollatedInputs(stream.collate)
    )


@dataclass(frozen=True)
class _Masked:
    transform: Callable[[Sample], Sample]
    mask: InputMask

    def __call__(self, example: Sample) -> Sample:
        sample = self.transform(example)
        return sample | {"inputs": self.mask(sample["labels"][None])[0]}


@dataclass(frozen=True)
class _CollatedInputs:
    collate: Callable[[Sequence[Sample]], Batch]

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        inputs = [sample["inputs"] for sample in samples if "inputs" in sample]  # evaluation has none
        return self.collate(samples) | ({"inputs": torch.stack(inputs)} if inputs else {})
