# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
How semantic segmentation is learned and predicted as groups of a class and the mask of all its pixels (paper §4,
reference §8).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .generation_ait import AiTGenerateOutput, AiTGenerationMixin
from .objectives_ait import GroupDraft, GroupObjective, TrainingSequence
from .tokenization_vq import IGNORED_LABEL, VQTokenizer


@dataclass
class SemanticDraft(GroupDraft):
    """
    As of [`GroupDraft`], for semantic groups.

    Args:
        label_maps (`torch.ByteTensor` of shape `(batch, height, width)`): As annotated.
        classes (`torch.LongTensor` of shape `(batch, groups)`): Numbers of the model's table.
        objects (`torch.LongTensor` of shape `(present classes,)`): Which groups show a class, counted over the batch.
    """

    label_maps: torch.ByteTensor
    classes: torch.LongTensor
    objects: torch.LongTensor


class SemanticObjective(GroupObjective):
    """
    Classes that an image shows, in random order or by number, then absent classes at random, which are to be called
    noise. (In object sequences the decoder does not read the true class, as the mask follows from the box; here the
    mask follows from the class, so it does.)
    """

    output_type = "semantic"

    def draft(self, labels: torch.LongTensor, seeds: torch.LongTensor | None = None) -> SemanticDraft:
        """
        `labels`: (batch, height, width), classes of the model's table, 255 ignored. Of more classes than groups those
        with the most pixels are kept.
        """
        if tuple(labels.shape[1:]) != tuple(self.task.image_size):
            height, width = self.task.image_size
            raise ValueError(
                f"Labels of task {self.grammar.name!r} must be of shape (batch, {height}, {width}), got "
                f"{tuple(labels.shape)}."
            )
        labels = labels.cpu()
        generators = [None] * len(labels)
        if seeds is not None:
            generators = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]
        classes, is_present = (torch.stack(parts) for parts in zip(*map(self._groups, labels, generators)))
        class_tokens = classes + self.grammar.vocabulary.classes.start
        supervised = torch.ones(*classes.shape, len(self.grammar.group), dtype=torch.bool)
        supervised[..., 1:] = {
            "objects": is_present,
            "absent": torch.ones_like(is_present),
            "none": torch.zeros_like(is_present),
        }[self.task.mask_supervision][..., None]
        return SemanticDraft(
            class_tokens=class_tokens.masked_fill(~is_present, self.grammar.vocabulary.noise_id),
            input_class_tokens=class_tokens,
            **self._places(supervised.flatten(1), is_present.repeat_interleave(len(self.grammar.group), dim=1)),
            label_maps=labels.to(torch.uint8),
            classes=classes,
            objects=is_present.flatten().nonzero()[:, 0],
        )

    def complete(self, draft: SemanticDraft, tokenizer: VQTokenizer) -> TrainingSequence:
        size = [side * tokenizer.config.downsample_ratio for side in self.task.grid_size]
        small = F.interpolate(draft.label_maps[:, None].float(), size=size, mode="nearest-exact")
        masks = (small == draft.classes[:, :, None, None]).float()
        codes = tokenizer.tokenize(masks.flatten(0, 1)[:, None], validate=False)
        mask_tokens = self.grammar.codes_to_tokens(codes).unflatten(0, draft.classes.shape)
        return self._sequence(draft, None, mask_tokens, masks.flatten(0, 1)[draft.objects])

    def _groups(
        self, label_map: torch.LongTensor, generator: torch.Generator | None
    ) -> tuple[torch.LongTensor, torch.BoolTensor]:
        """Class of every group of one image, and whether the image shows it."""
        first, count = self.task.first_class, len(self.grammar.classes)
        known = label_map[label_map != IGNORED_LABEL] - first
        if len(known) and not 0 <= int(known.min()) <= int(known.max()) < count:
            raise ValueError(
                f"Labels of task {self.grammar.name!r} must be classes {first} to {first + count - 1} or "
                f"{IGNORED_LABEL}, got {int(known.min()) + first} to {int(known.max()) + first}."
            )
        sizes = torch.bincount(known, minlength=count)
        order = torch.randperm(count, generator=generator)
        present, absent = order[sizes[order] > 0], order[sizes[order] == 0]
        largest = present[sizes[present].argsort(descending=True)[: self.task.num_groups]]
        present = present[torch.isin(present, largest)]
        if self.task.object_order == "by_class":
            present = present.sort().values
        groups = torch.cat([present, absent])[: self.task.num_groups]
        return groups + first, torch.arange(len(groups)) < len(present)

    def predict(self, outputs: AiTGenerateOutput, model: AiTGenerationMixin) -> None:
        """
        The score of a class everywhere is its soft mask, weighted by how probable it was, when its group was written,
        that anything was left to be said (its own probability would say less of classes in random order).
        """
        outputs.class_labels = self.grammar.tokens_to_class_labels(outputs.sequences[:, 1:])
        outputs.pred_masks = model.detokenize(outputs)
        is_there = 1 - outputs.class_logits.softmax(-1)[..., -1]
        # A little above 0, so that where no mask is, the likeliest of the task's classes wins.
        weighted = outputs.pred_masks.clamp(1e-6, 1) * is_there[..., None, None]
        maps = weighted.new_zeros(len(weighted), len(self.grammar.vocabulary.classes), *weighted.shape[2:])
        outputs.class_maps = maps.scatter_(1, outputs.class_labels[..., None, None].expand_as(weighted), weighted)
