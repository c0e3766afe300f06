# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How objects are learned, by sequences of boxes, classes and masks with noise objects among them, and predicted."""

from dataclasses import dataclass

import torch

from .generation_ait import AiTGenerateOutput, AiTGenerationMixin
from .masks_ait import crop_masks
from .objectives_ait import GroupDraft, GroupObjective, TrainingSequence
from .objects_ait import BAD, DUPLICATE, OBJECT, Draws, ObjectGroups, draw_object_groups
from .tokenization_vq import VQTokenizer


@dataclass
class ObjectDraft(GroupDraft):
    """
    As of [`GroupDraft`], for objects.

    Args:
        box_tokens (`torch.LongTensor` of shape `(batch, groups, 4)`): Vocabulary ids.
        masks (`list[torch.Tensor]`): Of every image, (n, height, width); none for a task without masks.
        boxes (`list[torch.Tensor]`): Of every image (m, 4): where masks are cut, x1, y1, x2, y2 in their pixels.
        sources (`list[torch.LongTensor]`): Of every image (m,): which mask each box cuts.
        mask_numbers (`torch.LongTensor` of shape `(batch, groups)`): Of the cut masks, counted over the batch from 1; 0
            for the empty one of boxes at random.
        objects (`torch.LongTensor` of shape `(annotated objects,)`): Which of the cut masks are theirs, counted from 1.
    """

    box_tokens: torch.LongTensor
    masks: list[torch.Tensor]
    boxes: list[torch.Tensor]
    sources: list[torch.LongTensor]
    mask_numbers: torch.LongTensor
    objects: torch.LongTensor


class ObjectObjective(GroupObjective):
    """
    Objects with a box, a class and perhaps a mask: cross-entropy, and DICE + mse of the soft-decoded masks.

    The random draws of an image (see [`draw_object_groups`]) follow from `seed` in its labels, or come from torch's
    CPU generator where there is none.
    """

    output_type = "objects"

    def draft(self, labels: list[dict[str, torch.Tensor]], seeds: torch.LongTensor | None = None) -> ObjectDraft:
        """
        `labels`: one dictionary per image with `boxes` (n, 4), pixels of the frame, `class_labels` (n,), `masks`
        (n, height, width) if the task has masks, and optionally `size` (height, width of the image inside the frame;
        the whole frame by default) and `seed`.
        """
        groups = [self._groups(image) for image in labels]
        return self.draft_of_groups(groups, [image.get("masks") for image in labels])

    def _groups(self, image: dict[str, torch.Tensor]) -> ObjectGroups:
        # Masks stay where they are: they are cut on the model's device.
        image = {name: values if name == "masks" else values.cpu() for name, values in image.items()}
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

    def draft_of_groups(self, groups: list[ObjectGroups], masks: list[torch.Tensor | None]) -> ObjectDraft:
        """Of drawn groups, one per image, and the masks (n, height, width) of the annotated objects."""
        kinds = torch.stack([group.kinds for group in groups])
        has_masks = self.grammar.codebook is not None
        is_shown = kinds != BAD
        numbers = is_shown.flatten().cumsum(0).view_as(kinds) * is_shown
        return ObjectDraft(
            class_tokens=torch.stack([group.class_tokens for group in groups]),
            input_class_tokens=torch.stack([group.input_class_tokens for group in groups]),
            **self._places(
                self._supervised(kinds), (kinds == OBJECT).repeat_interleave(len(self.grammar.group), dim=1)
            ),
            box_tokens=self.grammar.boxes_to_tokens(torch.stack([group.boxes for group in groups])),
            masks=masks if has_masks else [],
            boxes=[group.boxes[group.kinds != BAD] for group in groups],
            sources=[group.sources[group.kinds != BAD] for group in groups],
            mask_numbers=numbers,
            objects=numbers[kinds == OBJECT],
        )

    def complete(self, draft: ObjectDraft, tokenizer: VQTokenizer | None) -> TrainingSequence:
        mask_tokens = target = None
        if self.grammar.codebook is not None:
            mask_tokens, target = self._mask_tokens(draft, tokenizer)
        return self._sequence(draft, draft.box_tokens, mask_tokens, target)

    def _mask_tokens(self, draft: ObjectDraft, tokenizer: VQTokenizer) -> tuple[torch.LongTensor, torch.Tensor]:
        """Codes of every group's mask, (batch, groups, codes), all-zero for bad boxes; and the objects' masks."""
        size = tokenizer.config.sample_size
        nothing = draft.box_tokens.new_zeros(1, size, size, dtype=torch.float32)  # what all bad boxes show
        crops = [crop_masks(*of_image, size) for of_image in zip(draft.masks, draft.boxes, draft.sources)]
        crops = torch.cat([nothing, *crops])
        codes = self.grammar.codes_to_tokens(tokenizer.tokenize(crops[:, None], validate=False))
        return codes[draft.mask_numbers], crops[draft.objects]

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

    def predict(self, outputs: AiTGenerateOutput, model: AiTGenerationMixin) -> None:
        boxes, outputs.class_labels = self.grammar.tokens_to_objects(outputs.sequences[:, 1:])
        height, width = self.task.image_size
        outputs.pred_boxes = torch.stack([boxes[..., ::2] / width, boxes[..., 1::2] / height], dim=-1).flatten(-2)
        outputs.pred_masks = None if self.grammar.codebook is None else model.detokenize(outputs)
