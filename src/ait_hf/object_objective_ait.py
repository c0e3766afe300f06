# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How objects are learned: sequences of boxes, classes and masks with noise objects among them."""

import torch

from .loss_ait import IGNORE_INDEX
from .masks_ait import crop_masks
from .objectives_ait import GroupObjective, TrainingSequence
from .objects_ait import BAD, DUPLICATE, OBJECT, Draws, ObjectGroups, draw_object_groups
from .tokenization_vq import VQTokenizer


class ObjectObjective(GroupObjective):
    """
    Objects with a box, a class and perhaps a mask: cross-entropy, and DICE + mse of the soft-decoded masks.

    The random draws of an image (see [`draw_object_groups`]) follow from `seed` in its labels, or come from torch's
    CPU generator where there is none.
    """

    def sequence(self, labels: list[dict[str, torch.Tensor]], tokenizer: VQTokenizer | None) -> TrainingSequence:
        """
        `labels`: one dictionary per image with `boxes` (n, 4), pixels of the frame, `class_labels` (n,), `masks`
        (n, height, width) if the task has masks, and optionally `size` (height, width of the image inside the frame;
        the whole frame by default) and `seed`.
        """
        groups = [self._groups(image) for image in labels]
        return self.sequence_of_groups(groups, [image.get("masks") for image in labels], tokenizer)

    def num_tokens(self, labels: list[dict[str, torch.Tensor]]) -> int:
        """As of the parent class. Where the masks of duplicates are learned, these are drawn, from each image's `seed`."""
        if self.task.mask_supervision == "duplicates":
            kinds = torch.stack([self._groups(image).kinds for image in labels])
            return int(self._supervised(kinds).sum())
        learned = torch.ones(1, 1, dtype=torch.long) * OBJECT
        per_object = int(self._supervised(learned).sum())
        num_objects = sum(len(image["boxes"]) for image in labels)
        # Noise objects are supervised in their class alone.
        return num_objects * per_object + (len(labels) * self.task.num_groups - num_objects)

    def _groups(self, image: dict[str, torch.Tensor]) -> ObjectGroups:
        self._check(image)
        generator = torch.Generator().manual_seed(int(image["seed"])) if "seed" in image else None
        size = image["size"].tolist() if "size" in image else self.task.image_size
        return draw_object_groups(self.grammar, image["boxes"], image["class_labels"], size, Draws(generator))

    def _check(self, image: dict[str, torch.Tensor]) -> None:
        boxes, labels, masks = image["boxes"], image["class_labels"], image.get("masks")
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not torch.isfinite(boxes).all():
            raise ValueError(f"boxes must be finite numbers of shape (objects, 4), got shape {tuple(boxes.shape)}.")
        if labels.shape != boxes.shape[:1]:
            raise ValueError(
                f"class_labels must have shape ({len(boxes)},) as there are boxes, got {tuple(labels.shape)}."
            )
        if self.grammar.codebook is None:
            return
        if masks is None or masks.ndim != 3 or len(masks) != len(boxes):
            shape = None if masks is None else tuple(masks.shape)
            raise ValueError(
                f"Task {self.grammar.name!r} needs masks of shape ({len(boxes)}, height, width) in the labels of every "
                f"image, got {shape}."
            )

    def sequence_of_groups(
        self, groups: list[ObjectGroups], masks: list[torch.Tensor | None], tokenizer: VQTokenizer | None
    ) -> TrainingSequence:
        """Sequences of drawn groups, one per image, and the masks (n, height, width) of the annotated objects."""
        boxes = self.grammar.boxes_to_tokens(torch.stack([group.boxes for group in groups]))
        kinds = torch.stack([group.kinds for group in groups])
        mask_tokens = target = None
        if self.grammar.codebook is not None:
            mask_tokens, target = self._mask_tokens(groups, masks, tokenizer)
        full = self.grammar.objects_to_tokens(boxes, torch.stack([g.class_tokens for g in groups]), mask_tokens)
        read = self.grammar.objects_to_tokens(boxes, torch.stack([g.input_class_tokens for g in groups]), mask_tokens)
        return TrainingSequence(
            tokens=read,
            labels=full.masked_fill(~self._supervised(kinds), IGNORE_INDEX),
            target=target,
            is_object=(kinds == OBJECT).repeat_interleave(len(self.grammar.group), dim=1),
        )

    def _mask_tokens(
        self, groups: list[ObjectGroups], masks: list[torch.Tensor | None], tokenizer: VQTokenizer
    ) -> tuple[torch.LongTensor, torch.Tensor]:
        """Codes of every group's mask, (batch, groups, codes), all-zero for bad boxes; and the objects' masks."""
        size = tokenizer.config.sample_size
        kinds = torch.stack([group.kinds for group in groups])
        crops = torch.cat(
            [
                crop_masks(image_masks, group.boxes[group.kinds != BAD], group.sources[group.kinds != BAD], size)
                for group, image_masks in zip(groups, masks)
            ]
        )
        nothing = crops.new_zeros(1, size, size)  # what all bad boxes show
        codes = self.grammar.codes_to_tokens(tokenizer.tokenize(torch.cat([nothing, crops])[:, None]))
        tokens = codes[:1].repeat(kinds.numel(), 1).unflatten(0, kinds.shape)
        tokens[kinds != BAD] = codes[1:]
        return tokens, crops[kinds[kinds != BAD] == OBJECT]

    def _supervised(self, kinds: torch.LongTensor) -> torch.BoolTensor:
        """Which tokens are learned, (batch, length), from the kinds of the groups (batch, groups)."""
        supervised = torch.zeros(*kinds.shape, len(self.grammar.group), dtype=torch.bool, device=kinds.device)
        supervised[..., self.grammar.slot_positions("class")] = True
        supervised[..., self.grammar.slot_positions("coordinate")] = (kinds == OBJECT)[..., None]
        if self.grammar.codebook is not None:
            learned = {"none": (), "objects": (OBJECT,), "duplicates": (OBJECT, DUPLICATE)}[self.task.mask_supervision]
            has_mask = torch.isin(kinds, kinds.new_tensor(learned))
            supervised[..., self.grammar.slot_positions(self.grammar.codebook)] = has_mask[..., None]
        return supervised.flatten(1)


__all__ = ["ObjectObjective"]
