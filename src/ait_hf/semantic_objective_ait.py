# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How semantic segmentation is learned as groups of a class and the mask of all its pixels (paper §4, reference §8)."""

import torch
import torch.nn.functional as F

from .loss_ait import IGNORE_INDEX
from .objectives_ait import GroupObjective, TrainingSequence
from .tokenization_vq import IGNORED_LABEL, VQTokenizer


class SemanticObjective(GroupObjective):
    """
    Classes that an image shows, in random order or by number, then absent classes at random, which are to be called
    noise. (In object sequences the decoder does not read the true class, as the mask follows from the box; here the
    mask follows from the class, so it does.) Random draws come from torch's CPU generator.
    """

    def sequence(self, labels: torch.LongTensor, tokenizer: VQTokenizer) -> TrainingSequence:
        """`labels`: (batch, height, width), classes of the model's table, 255 ignored. Of more classes than groups
        those with the most pixels are kept."""
        if tuple(labels.shape[1:]) != tuple(self.task.image_size):
            height, width = self.task.image_size
            raise ValueError(
                f"Labels of task {self.grammar.name!r} must be of shape (batch, {height}, {width}), got "
                f"{tuple(labels.shape)}."
            )
        classes, is_present = (torch.stack(parts) for parts in zip(*map(self._groups, labels)))
        size = [side * tokenizer.config.downsample_ratio for side in self.task.grid_size]
        small = F.interpolate(labels[:, None].double(), size=size, mode="nearest-exact")
        masks = (small == classes[:, :, None, None]).float()
        codes = self.grammar.codes_to_tokens(tokenizer.tokenize(masks.flatten(0, 1)[:, None]))
        mask_tokens = codes.unflatten(0, classes.shape)
        class_tokens = classes + self.grammar.vocabulary.classes.start
        targets = class_tokens.masked_fill(~is_present, self.grammar.vocabulary.noise_id)
        has_mask = {
            "objects": is_present,
            "absent": torch.ones_like(is_present),
            "none": torch.zeros_like(is_present),
        }[self.task.mask_supervision]
        is_object = is_present.repeat_interleave(len(self.grammar.group), dim=1)
        return TrainingSequence(
            tokens=self.grammar.classes_to_tokens(class_tokens, mask_tokens),
            labels=self.grammar.classes_to_tokens(
                targets, mask_tokens.masked_fill(~has_mask[..., None], IGNORE_INDEX)
            ),
            target=masks[is_present],
            is_object=is_object,
        )

    def num_tokens(self, labels: torch.LongTensor) -> int:
        num_groups = len(labels) * self.task.num_groups
        present = (len(label_map[label_map != IGNORED_LABEL].unique()) for label_map in labels)
        num_present = sum(min(count, self.task.num_groups) for count in present)
        num_masks = {"objects": num_present, "absent": num_groups, "none": 0}[self.task.mask_supervision]
        return num_groups + num_masks * (len(self.grammar.group) - 1)

    def _groups(self, label_map: torch.LongTensor) -> tuple[torch.LongTensor, torch.BoolTensor]:
        """Class of every group of one image, and whether the image shows it."""
        first, count = self.task.first_class, len(self.grammar.classes)
        known = label_map[label_map != IGNORED_LABEL] - first
        if len(known) and not 0 <= int(known.min()) <= int(known.max()) < count:
            raise ValueError(
                f"Labels of task {self.grammar.name!r} must be classes {first} to {first + count - 1} or "
                f"{IGNORED_LABEL}, got {int(known.min()) + first} to {int(known.max()) + first}."
            )
        sizes = torch.bincount(known, minlength=count)
        order = torch.randperm(count).to(sizes.device)
        present, absent = order[sizes[order] > 0], order[sizes[order] == 0]
        largest = present[sizes[present].argsort(descending=True)[: self.task.num_groups]]
        present = present[torch.isin(present, largest)]
        if self.task.object_order == "by_class":
            present = present.sort().values
        groups = torch.cat([present, absent])[: self.task.num_groups]
        return groups + first, torch.arange(len(groups), device=groups.device) < len(present)


__all__ = ["SemanticObjective"]
