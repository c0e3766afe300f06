# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
What a training sequence of objects holds besides the annotated objects: noise objects and corrupted classes.

Sequence augmentation of Pix2Seq as in the released model (reference §4). Every random draw comes from one [`Draws`]
per image, in a fixed order, so a sequence can be built again exactly.
"""

from dataclasses import dataclass

import torch

from .sequences_ait import TaskGrammar


OBJECT, DUPLICATE, BAD = range(3)
JITTER = 0.1  # of a duplicate's side, at two standard deviations
CORRUPTION = 0.5  # share of the input's classes that are random; the others are noise


class Draws:
    """Random draws from one generator (torch's own CPU generator by default); tensors are on the CPU."""

    def __init__(self, generator: torch.Generator | None = None):
        self.generator = generator

    def permutation(self, count: int) -> torch.LongTensor:
        """A random order of `0..count-1`."""
        return torch.randperm(count, generator=self.generator)

    def integer(self, largest: int) -> int:
        """Uniform in `0..largest`."""
        return int(torch.randint(largest + 1, (), generator=self.generator))

    def integers(self, count: int, shape: tuple[int, ...]) -> torch.LongTensor:
        """Uniform in `0..count-1`."""
        return torch.randint(count, shape, generator=self.generator)

    def uniform(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Uniform in [0, 1)."""
        return torch.rand(shape, generator=self.generator)

    def truncated_normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        """N(0, 1) cut to [-2, 2]."""
        return torch.nn.init.trunc_normal_(torch.empty(shape), a=-2.0, b=2.0, generator=self.generator)


@dataclass
class ObjectGroups:
    """
    What fills the `n = num_groups` groups of one image: the annotated objects in order, then noise objects.

    Args:
        boxes (`torch.Tensor` of shape `(n, 4)`): x1, y1, x2, y2, pixels of the frame.
        class_tokens (`torch.LongTensor` of shape `(n,)`): Vocabulary ids; noise for noise objects.
        input_class_tokens (`torch.LongTensor` of shape `(n,)`): What the decoder reads in their place.
        kinds (`torch.LongTensor` of shape `(n,)`): OBJECT, DUPLICATE (a jittered object) or BAD (a box at random).
        sources (`torch.LongTensor` of shape `(n,)`): Annotated object that the group shows or repeats; -1 for BAD.
    """

    boxes: torch.Tensor
    class_tokens: torch.LongTensor
    input_class_tokens: torch.LongTensor
    kinds: torch.LongTensor
    sources: torch.LongTensor


def draw_object_groups(
    grammar: TaskGrammar,
    boxes: torch.Tensor,
    class_labels: torch.LongTensor,
    size: tuple[int, int],
    draws: Draws,
) -> ObjectGroups:
    """
    Fills the groups of one image's training sequence, on the CPU. `ValueError` if there are more objects than
    groups, or a class is out of range.

    Args:
        grammar ([`TaskGrammar`]): Of an object task.
        boxes (`torch.Tensor` of shape `(objects, 4)`): x1, y1, x2, y2, pixels of the frame.
        class_labels (`torch.LongTensor` of shape `(objects,)`): Numbers of the model's table of classes.
        size (`tuple[int, int]`): Height and width of the image inside the frame, where noise boxes lie.
        draws ([`Draws`]): The random draws.
    """
    num_groups, vocabulary = grammar.task.num_groups, grammar.vocabulary
    if len(boxes) > num_groups:
        raise ValueError(f"An image has {len(boxes)} objects, but a sequence holds {num_groups}: keep the largest.")
    first = grammar.task.first_class
    last = first + len(grammar.classes) - 1
    if len(class_labels) and not first <= int(class_labels.min()) <= int(class_labels.max()) <= last:
        raise ValueError(f"class_labels must be {first} to {last}, got {class_labels.tolist()}.")
    if grammar.task.object_order == "left_to_right":
        order = boxes[:, 0].argsort(stable=True)
    else:
        order = draws.permutation(len(boxes))
    boxes, class_labels = boxes[order].float(), class_labels[order]
    noise_boxes, noise_sources = _draw_noise(boxes, num_groups - len(boxes), size, draws)
    noise_sources = torch.where(noise_sources < 0, -1, torch.cat([order, order.new_zeros(1)])[noise_sources])
    is_noise = torch.arange(num_groups) >= len(boxes)
    sources = torch.cat([order, noise_sources])
    noise_tokens = torch.full_like(noise_sources, vocabulary.noise_id)
    random_classes = draws.integers(len(grammar.classes), (num_groups,)) + grammar.classes.start
    corrupted = torch.where(draws.uniform((num_groups,)) < CORRUPTION, random_classes, vocabulary.noise_id)
    return ObjectGroups(
        boxes=torch.cat([boxes, noise_boxes]),
        class_tokens=torch.cat([class_labels + vocabulary.classes.start, noise_tokens]),
        input_class_tokens=corrupted,
        kinds=torch.where(is_noise, torch.where(sources < 0, BAD, DUPLICATE), OBJECT),
        sources=sources,
    )


def _draw_noise(
    boxes: torch.Tensor, count: int, size: tuple[int, int], draws: Draws
) -> tuple[torch.Tensor, torch.LongTensor]:
    """`count` boxes that are no objects, and the row of `boxes` that each repeats, -1 for those at random places."""
    limits = boxes.new_tensor([size[1], size[0]])
    num_duplicates = draws.integer(count)
    if len(boxes) == 0:
        num_duplicates = 0
    num_bad = count - num_duplicates
    tiled = torch.arange(len(boxes)).repeat(count // len(boxes) + 1 if len(boxes) else 0)

    sides = _sides(boxes[tiled[draws.permutation(len(tiled))[:num_bad]]])
    shifted = _around(draws.uniform((len(sides), 2)) * limits, sides / 2)
    centers = draws.uniform((num_bad, 2))
    random = _around(centers * limits, draws.truncated_normal((num_bad, 2)).abs() / 4 * limits)
    pool = torch.cat([random, shifted])
    bad = pool[draws.permutation(len(pool))[:num_bad]]

    sources = tiled[draws.permutation(len(tiled))[:num_duplicates]]
    repeated = boxes[sources]
    if len(boxes):
        jitter = draws.truncated_normal((num_duplicates, 4)) / 2 * JITTER
        repeated = repeated + _sides(repeated).repeat(1, 2) * jitter

    shuffle = draws.permutation(count)
    noise = torch.minimum(torch.cat([bad, repeated]).clamp(min=0), limits.repeat(2))
    return noise[shuffle], torch.cat([sources.new_full((num_bad,), -1), sources])[shuffle]


def _sides(boxes: torch.Tensor) -> torch.Tensor:
    return boxes[:, 2:] - boxes[:, :2]


def _around(centers: torch.Tensor, half_sides: torch.Tensor) -> torch.Tensor:
    return torch.cat([centers - half_sides, centers + half_sides], dim=1)
