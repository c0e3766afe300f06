# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
How outputs of groups are learned and predicted: objects, by sequences of boxes, classes and masks with noise objects
among them, and semantic segmentation, by classes and the masks of all their pixels (paper §4, reference §8).

The noise is Pix2Seq's sequence augmentation as in the released model (reference §4). Every random draw comes from one
[`Draws`] per image, in a fixed order, so a sequence can be built again exactly.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .generation_ait import AiTGenerateOutput, AiTGenerationMixin
from .loss_ait import IGNORE_INDEX, dice_loss
from .masks_ait import crop_masks
from .objectives_ait import Objective, ObjectiveOutput, SequenceDraft, Tokenizer, TrainingSequence
from .sequences_ait import TaskGrammar
from .tokenization_vq import IGNORED_LABEL, VQTokenizer


OBJECT, DUPLICATE, BAD = range(3)
JITTER = 0.1  # of a duplicate's side, at two standard deviations
CORRUPTION = 0.5  # share of the input's classes that are random; the others are noise


@dataclass
class GroupDraft(SequenceDraft):
    """Sequences of groups without their masks, on the host."""

    class_tokens: torch.LongTensor  # (batch, groups), vocabulary ids to predict
    input_class_tokens: torch.LongTensor  # (batch, groups), what the decoder reads in their place
    supervised: torch.BoolTensor  # (batch, length), which tokens are predicted
    places: torch.LongTensor  # as of a `TrainingSequence`
    mask_rows: torch.LongTensor  # as of a `TrainingSequence`


class GroupObjective(Objective):
    """What tasks of groups (objects, classes) share: cross-entropy weighted by kind of slot, DICE + mse of masks."""

    def _places(self, supervised: torch.BoolTensor, is_object: torch.BoolTensor) -> dict[str, torch.Tensor]:
        """What of a [`GroupDraft`] follows from which tokens (batch, length) are learned and which are of objects."""
        places = supervised.flatten().nonzero()[:, 0]
        shows_mask = is_object.flatten()[places]
        if self.grammar.codebook is not None:
            shows_mask = shows_mask & self.grammar.dense_mask(places)
        return {
            "num_tokens": torch.tensor(float(len(places))),
            "supervised": supervised,
            "places": places,
            "mask_rows": shows_mask.nonzero()[:, 0],
        }

    def _sequence(
        self,
        draft: GroupDraft,
        box_tokens: torch.LongTensor | None,
        mask_tokens: torch.LongTensor | None,
        masks: torch.Tensor | None,
    ) -> TrainingSequence:
        """From the tokens of boxes and masks, as of [`TaskGrammar.objects_to_tokens`], and the masks of objects."""
        tokens, targets = (
            self.grammar.objects_to_tokens(box_tokens, class_tokens, mask_tokens)
            for class_tokens in (draft.input_class_tokens, draft.class_tokens)
        )
        labels = targets.masked_fill(~draft.supervised, IGNORE_INDEX)
        return TrainingSequence(tokens, labels, masks, draft.places, draft.mask_rows)

    def loss(self, logits: torch.Tensor, sequence: TrainingSequence, tokenizer: Tokenizer | None) -> ObjectiveOutput:
        cross_entropy = F.cross_entropy(logits.float(), sequence.select(sequence.labels), reduction="none")
        slots = sequence.places % len(self.grammar.group)
        weights = {"box": 1.0, "class": self.task.class_loss_weight, "mask": self.task.dense_loss_weight}
        names = {"box": "coordinate", "class": "class", "mask": self.grammar.codebook}
        kinds = {name: self.grammar.is_slot(slots, slot) for name, slot in names.items() if slot in self.grammar.group}
        sums = {name: torch.where(chosen, cross_entropy, 0).sum() for name, chosen in kinds.items()}
        total, decoded = sum(weights[name] * value for name, value in sums.items()), None
        parts = {name: value.detach() / kinds[name].sum().clamp(min=1) for name, value in sums.items()}
        if self.task.auxiliary_loss == "dice_mse":
            auxiliary = total.new_zeros(())  # stays where no mask is learned; the log has it all the same
            if self.task.mask_supervision != "none" and len(sequence.target):
                decoded = self._decode_logits(logits[sequence.mask_rows], tokenizer)[:, 0]
                auxiliary = dice_loss(decoded, sequence.target) + F.mse_loss(decoded, sequence.target)
                weight = self.task.auxiliary_loss_weight * self.task.dense_loss_weight
                total = total + weight * kinds["mask"].sum() * auxiliary
            parts["auxiliary"] = auxiliary.detach()
        num_tokens = total.new_full((), len(sequence.places), dtype=torch.float32)
        return ObjectiveOutput(total, num_tokens, parts, decoded)


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
    """What fills the `n = num_groups` groups of one image: the annotated objects in order, then noise objects."""

    boxes: torch.Tensor  # (n, 4): x1, y1, x2, y2, pixels of the frame
    class_tokens: torch.LongTensor  # (n,), vocabulary ids; noise for noise objects
    input_class_tokens: torch.LongTensor  # (n,), what the decoder reads in their place
    kinds: torch.LongTensor  # (n,): OBJECT, DUPLICATE (a jittered object) or BAD (a box at random)
    sources: torch.LongTensor  # (n,), annotated object that the group shows or repeats; -1 for BAD


def draw_object_groups(
    grammar: TaskGrammar, boxes: torch.Tensor, class_labels: torch.LongTensor, size: tuple[int, int], draws: Draws
) -> ObjectGroups:
    """
    Fills the groups of one image's training sequence, on the CPU, from boxes (objects, 4: x1, y1, x2, y2 in pixels of
    the frame) and classes (objects,), numbers of the model's table. Noise boxes lie within `size`, height and width of
    the image inside the frame. `ValueError` if there are more objects than groups, or a class is out of range.
    """
    num_groups, vocabulary = grammar.task.num_groups, grammar.vocabulary
    if len(boxes) > num_groups:
        raise ValueError(f"An image has {len(boxes)} objects, but a sequence holds {num_groups}: keep the largest.")
    first = grammar.task.first_class
    last = first + len(grammar.classes) - 1
    if len(class_labels) and not first <= int(class_labels.min()) <= int(class_labels.max()) <= last:
        raise ValueError(f"class_labels must be {first} to {last}, got {class_labels.tolist()}.")
    in_order = grammar.task.object_order == "left_to_right"
    order = boxes[:, 0].argsort(stable=True) if in_order else draws.permutation(len(boxes))
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
    original = boxes[tiled[draws.permutation(len(tiled))[:num_bad]]]
    halves = (original[:, 2:] - original[:, :2]) / 2
    centers = draws.uniform((len(halves), 2)) * limits
    shifted = torch.cat([centers - halves, centers + halves], dim=1)
    centers = draws.uniform((num_bad, 2)) * limits
    halves = draws.truncated_normal((num_bad, 2)).abs() / 4 * limits
    pool = torch.cat([torch.cat([centers - halves, centers + halves], dim=1), shifted])
    bad = pool[draws.permutation(len(pool))[:num_bad]]
    sources = tiled[draws.permutation(len(tiled))[:num_duplicates]]
    repeated = boxes[sources]
    if len(boxes):
        jitter = draws.truncated_normal((num_duplicates, 4)) / 2 * JITTER
        repeated = repeated + (repeated[:, 2:] - repeated[:, :2]).repeat(1, 2) * jitter
    shuffle = draws.permutation(count)
    noise = torch.minimum(torch.cat([bad, repeated]).clamp(min=0), limits.repeat(2))
    return noise[shuffle], torch.cat([sources.new_full((num_bad,), -1), sources])[shuffle]


@dataclass
class ObjectDraft(GroupDraft):
    """As of [`GroupDraft`], for objects."""

    box_tokens: torch.LongTensor  # (batch, groups, 4), vocabulary ids
    masks: list[torch.Tensor]  # of every image, (n, height, width); none for a task without masks
    boxes: list[torch.Tensor]  # of every image, (m, 4): where masks are cut, x1, y1, x2, y2 in their pixels
    sources: list[torch.LongTensor]  # of every image, (m,): which mask each box cuts
    mask_numbers: torch.LongTensor  # (batch, groups), of the cut masks, from 1; 0 for the empty one of boxes at random
    objects: torch.LongTensor  # (annotated objects,): which of the cut masks are theirs, counted from 1


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
            shape = tuple(labels.shape)
            raise ValueError(f"class_labels must have shape ({len(boxes)},) as there are boxes, got {shape}.")
        if self.grammar.codebook is not None and (masks is None or masks.ndim != 3 or len(masks) != len(boxes)):
            shape = None if masks is None else tuple(masks.shape)
            raise ValueError(
                f"Task {self.grammar.name!r} needs masks of shape ({len(boxes)}, height, width) in the labels of every "
                f"image, got {shape}."
            )

    def draft_of_groups(self, groups: list[ObjectGroups], masks: list[torch.Tensor | None]) -> ObjectDraft:
        """Of drawn groups, one per image, and the masks (n, height, width) of the annotated objects."""
        kinds = torch.stack([group.kinds for group in groups])
        is_shown, is_object = kinds != BAD, kinds == OBJECT
        numbers = is_shown.flatten().cumsum(0).view_as(kinds) * is_shown
        return ObjectDraft(
            class_tokens=torch.stack([group.class_tokens for group in groups]),
            input_class_tokens=torch.stack([group.input_class_tokens for group in groups]),
            **self._places(self._supervised(kinds), is_object.repeat_interleave(len(self.grammar.group), dim=1)),
            box_tokens=self.grammar.boxes_to_tokens(torch.stack([group.boxes for group in groups])),
            masks=[] if self.grammar.codebook is None else masks,
            boxes=[group.boxes[group.kinds != BAD] for group in groups],
            sources=[group.sources[group.kinds != BAD] for group in groups],
            mask_numbers=numbers,
            objects=numbers[is_object],
        )

    def complete(self, draft: ObjectDraft, tokenizer: VQTokenizer | None) -> TrainingSequence:
        if self.grammar.codebook is None:
            return self._sequence(draft, draft.box_tokens, None, None)
        size = tokenizer.config.sample_size
        nothing = draft.box_tokens.new_zeros(1, size, size, dtype=torch.float32)  # what all bad boxes show
        crops = [crop_masks(*of_image, size) for of_image in zip(draft.masks, draft.boxes, draft.sources)]
        crops = torch.cat([nothing, *crops])
        codes = self.grammar.codes_to_tokens(tokenizer.tokenize(crops[:, None], validate=False))
        return self._sequence(draft, draft.box_tokens, codes[draft.mask_numbers], crops[draft.objects])

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
        bins = self.grammar.box_tokens(outputs.sequences[:, 1:]) - self.grammar.vocabulary.coordinates.start
        written = outputs.coordinate_logits
        if written is not None and written.shape[1] == bins[0].numel():  # of a box that was given nothing is known
            outputs.box_scores = box_scores(written, bins, outputs.box_tolerance)
        boxes, outputs.class_labels = self.grammar.tokens_to_objects(outputs.sequences[:, 1:])
        height, width = self.task.image_size
        outputs.pred_boxes = torch.stack([boxes[..., ::2] / width, boxes[..., 1::2] / height], dim=-1).flatten(-2)
        outputs.pred_masks = None if self.grammar.codebook is None else model.detokenize(outputs)


def box_scores(logits: torch.FloatTensor, bins: torch.LongTensor, tolerance: float) -> torch.FloatTensor:
    """
    Probability `(batch, objects)` that no side of a box is off by more than `tolerance` times its width or height, of
    boxes whose coordinates `bins`, x1, y1, x2, y2 `(batch, objects, 4)`, were written by `logits`
    `(batch, 4 * objects, bins)`. The class is learned of true boxes only, so that its own probability says whether an
    object is left to be found, and hardly where it is.
    """
    sizes = (bins[..., 2:] - bins[..., :2]).abs().repeat(1, 1, 2)
    offsets = torch.arange(logits.shape[-1], device=logits.device) - bins[..., None]
    is_near = offsets.abs() <= (tolerance * sizes)[..., None]
    return (logits.softmax(-1).view_as(is_near) * is_near).sum(-1).prod(-1)


@dataclass
class SemanticDraft(GroupDraft):
    """As of [`GroupDraft`], for semantic groups."""

    label_maps: torch.ByteTensor  # (batch, height, width), as annotated
    classes: torch.LongTensor  # (batch, groups), numbers of the model's table
    objects: torch.LongTensor  # (present classes,): which groups show a class, counted over the batch


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
        name, (height, width), shape = self.grammar.name, self.task.image_size, tuple(labels.shape)
        if shape[1:] != (height, width):
            raise ValueError(f"Labels of task {name!r} must be of shape (batch, {height}, {width}), got {shape}.")
        labels = labels.cpu()
        generators = [None] * len(labels)
        if seeds is not None:
            generators = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]
        classes, is_present = (torch.stack(parts) for parts in zip(*map(self._groups, labels, generators)))
        class_tokens = classes + self.grammar.vocabulary.classes.start
        supervised = torch.ones(*classes.shape, len(self.grammar.group), dtype=torch.bool)
        learned = {"objects": is_present, "absent": torch.ones_like(is_present), "none": torch.zeros_like(is_present)}
        supervised[..., 1:] = learned[self.task.mask_supervision][..., None]
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
