# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How outputs of one dense block are learned and predicted: depth, poses, label maps and any other map."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .generation_ait import AiTGenerateOutput, AiTGenerationMixin
from .loss_ait import MINIMUM_DEPTH, silog_loss, smooth_l1_loss
from .objectives_ait import Objective, ObjectiveOutput, SequenceDraft, Tokenizer, TrainingSequence
from .poses_ait import scale_points
from .quantization_ait import token_agreement, token_entropy
from .tokenization_pose import check_poses, known_coordinates
from .tokenization_vq import IGNORED_LABEL, check_labels, check_values


@dataclass
class MapDraft(SequenceDraft):
    """As of [`SequenceDraft`], for maps and poses: `labels` as annotated, their values being checked."""

    labels: torch.Tensor


class MapObjective(Objective, ABC):
    """One dense block per image: cross-entropy of its codes, and a loss of the soft-decoded output."""

    def draft(self, labels: torch.Tensor, seeds: torch.LongTensor | None = None) -> MapDraft:
        self._check(labels)
        return MapDraft(torch.tensor(float(len(labels) * self.grammar.length)), labels)

    def complete(self, draft: MapDraft, tokenizer: Tokenizer) -> TrainingSequence:
        expected, shape = self._expected_shape(tokenizer), tuple(draft.labels.shape)
        if shape[1:] != expected:
            sides = ", ".join(map(str, expected))
            raise ValueError(f"Labels of task {self.grammar.name!r} must be of shape (batch, {sides}), got {shape}.")
        target = self._target(draft.labels)
        tokens = self.grammar.codes_to_tokens(tokenizer.tokenize(target, validate=False))
        return TrainingSequence(tokens, tokens, target=target)

    def _check(self, labels: torch.Tensor) -> None:
        """`ValueError` for values that the tokenizer does not take."""
        check_values(labels)

    def _expected_shape(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Of one image's labels: height and width of the map that the block's codes stand for."""
        return tuple(side * tokenizer.config.downsample_ratio for side in self.task.grid_size)

    def _target(self, labels: torch.Tensor) -> torch.Tensor:
        """Labels as the tokenizer takes them."""
        return labels

    @abstractmethod
    def _auxiliary(self, decoded: torch.Tensor, target: torch.Tensor, tokenizer: Tokenizer) -> torch.Tensor:
        """The loss `auxiliary_loss` of the soft-decoded output, a mean."""

    def loss(self, logits: torch.Tensor, sequence: TrainingSequence, tokenizer: Tokenizer) -> ObjectiveOutput:
        labels = sequence.labels.flatten()
        cross_entropy = F.cross_entropy(logits.float(), labels, reduction="sum")
        decoded = self._decode_logits(logits, tokenizer)
        total, num_tokens = cross_entropy, labels.numel()
        parts = {"cross_entropy": cross_entropy.detach() / num_tokens}
        if self.task.auxiliary_loss is not None:
            auxiliary = self._auxiliary(decoded, sequence.target, tokenizer)
            total = total + self.task.auxiliary_loss_weight * num_tokens * auxiliary
            parts["auxiliary"] = auxiliary.detach()
        total = self.task.dense_loss_weight * total
        return ObjectiveOutput(total, total.new_full((), num_tokens, dtype=torch.float32), parts, decoded)


class DepthObjective(MapObjective):
    """Labels: (batch, height, width), metres, 0 where unknown. SILog of the soft-decoded depth (paper §4.2)."""

    output_type = "depth"

    def _target(self, labels: torch.Tensor) -> torch.Tensor:
        return labels[:, None]

    def _auxiliary(self, decoded: torch.Tensor, target: torch.Tensor, tokenizer: Tokenizer) -> torch.Tensor:
        return silog_loss(decoded, target)

    def loss(self, logits: torch.Tensor, sequence: TrainingSequence, tokenizer: Tokenizer) -> ObjectiveOutput:
        output = super().loss(logits, sequence, tokenizer)
        output.decoded = output.decoded[:, 0]
        return output

    def predict(self, outputs: AiTGenerateOutput, model: AiTGenerationMixin) -> None:
        outputs.predicted_depth = model.detokenize(outputs).clamp(min=MINIMUM_DEPTH)
        outputs.uncertainty = model.uncertainty(outputs)


class ValuesObjective(MapObjective):
    """
    Labels: (batch, channels, height, width), all channels 0 where unknown. Smooth-L1 at known pixels, of values as the
    tokenizer's network sees them, so that the loss does not depend on their unit.
    """

    output_type = "map"

    def _expected_shape(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        return tokenizer.config.in_channels, *super()._expected_shape(tokenizer)

    def _auxiliary(self, decoded: torch.Tensor, target: torch.Tensor, tokenizer: Tokenizer) -> torch.Tensor:
        lowest, highest = tokenizer.config.value_range or (-1, 1)
        scale = 2 / (highest - lowest)
        return smooth_l1_loss(decoded * scale, target * scale, (target != 0).any(dim=1, keepdim=True))

    def predict(self, outputs: AiTGenerateOutput, model: AiTGenerationMixin) -> None:
        maps = model.detokenize(outputs)
        outputs.predicted_map = maps if maps.ndim == 4 else maps[:, None]
        outputs.uncertainty = model.uncertainty(outputs)


class LabelMapObjective(MapObjective):
    """Labels: int64 (batch, height, width), classes of the model's table, 255 ignored. Cross-entropy of each pixel."""

    output_type = "label_map"

    def _target(self, labels: torch.Tensor) -> torch.Tensor:
        return torch.where(labels == IGNORED_LABEL, labels, labels - self.task.first_class)

    def _check(self, labels: torch.Tensor) -> None:
        check_labels(self._target(labels), len(self.grammar.classes))

    def _auxiliary(self, decoded: torch.Tensor, target: torch.Tensor, tokenizer: Tokenizer) -> torch.Tensor:
        num_known = (target != IGNORED_LABEL).sum().clamp(min=1)
        return F.cross_entropy(decoded, target, ignore_index=IGNORED_LABEL, reduction="sum") / num_known

    def predict(self, outputs: AiTGenerateOutput, model: AiTGenerationMixin) -> None:
        scores, first = model.detokenize(outputs).softmax(1), self.task.first_class
        outputs.class_maps = scores.new_zeros(scores.shape[0], len(self.grammar.vocabulary.classes), *scores.shape[2:])
        outputs.class_maps[:, first : first + scores.shape[1]] = scores
        outputs.uncertainty = token_entropy(scores.movedim(1, -1))


class PoseObjective(MapObjective):
    """Labels: (batch, joints, 3), x and y in pixels of the crop and visibility, 0 where unknown. Smooth-L1 of the known
    joints in pixels, as in the tokenizer's own loss (reference §8)."""

    output_type = "pose"

    def _expected_shape(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        return tokenizer.config.num_joints, 3

    def _check(self, labels: torch.Tensor) -> None:
        if labels.ndim == 3 and labels.shape[2] == 3:  # else it is refused for its shape
            check_poses(labels)

    def _auxiliary(self, decoded: torch.Tensor, target: torch.Tensor, tokenizer: Tokenizer) -> torch.Tensor:
        coordinates, known = known_coordinates(target)
        return smooth_l1_loss(decoded, coordinates, known, tokenizer.config.smooth_l1_beta)

    def decode(self, probabilities: torch.Tensor, tokenizer: Tokenizer, temperature: float) -> torch.Tensor:
        return self._decode_blocks(probabilities, tokenizer, temperature)

    def predict(self, outputs: AiTGenerateOutput, model: AiTGenerationMixin) -> None:
        tokenizer, keypoints = model.task_tokenizer(self.grammar.name), model.detokenize(outputs)
        (height, width), (crop_height, crop_width) = self.task.image_size, tokenizer.crop_size
        # Whole numbers are the centres of pixels.
        outputs.pred_keypoints = scale_points(keypoints + 0.5, width / crop_width, height / crop_height) - 0.5
        scores = token_agreement(outputs.soft_tokens, tokenizer.quantizer.embedding.weight)
        if not tokenizer.config.token_per_joint:
            scores = scores.mean(1, keepdim=True).expand(keypoints.shape[:2])
        outputs.keypoint_scores = scores
