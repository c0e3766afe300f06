# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The whole AiT model: task-solver, classifier, tokenizers; and its task heads, which share all weights."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache
from transformers.modeling_outputs import (
    BaseModelOutput,
    DepthEstimatorOutput,
    ModelOutput,
    SemanticSegmenterOutput,
    Seq2SeqLMOutput,
)
from transformers.modeling_utils import slice_logits_to_keep
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple
from transformers.utils.deprecation import deprecate_kwarg

from .configuration_ait import DEFAULT_TOKENIZER_TYPE, AiTConfig
from .generation_ait import AiTGenerateOutput, AiTGenerationConfig, AiTGenerationMixin
from .group_objectives_ait import ObjectObjective, SemanticObjective
from .loss_ait import IGNORE_INDEX, MINIMUM_DEPTH, token_cross_entropy
from .map_objectives_ait import DepthObjective, LabelMapObjective, PoseObjective, ValuesObjective
from .modeling_solver_ait import AiTModel, AiTPreTrainedModel, without_autocast
from .objectives_ait import Objective, ObjectiveOutput, Tokenizer, TrainingSequence
from .sequences_ait import TaskGrammar
from .tokenization_pose import PoseTokenizer
from .tokenization_vq import VQTokenizer


TOKENIZER_CLASSES = {tokenizer.tokenizer_type: tokenizer for tokenizer in (VQTokenizer, PoseTokenizer)}
OBJECTIVES = (Objective, DepthObjective, LabelMapObjective, ObjectObjective, PoseObjective)
OBJECTIVES += (SemanticObjective, ValuesObjective)


def _build_tokenizer(tokenizer_type: str = DEFAULT_TOKENIZER_TYPE, **arguments) -> Tokenizer:
    """Frozen, and float32 whatever the dtype that a model is being built in."""
    return TOKENIZER_CLASSES[tokenizer_type](**arguments).float().freeze()


@dataclass
class AiTTrainingOutput(ModelOutput):
    """
    Losses of one batch of one or several tasks.

    Args:
        loss (`torch.FloatTensor` of shape `()`): Sum over tasks of `loss_weight * total / max(num_tokens, 1)`.
        losses (`dict[str, dict[str, torch.Tensor]]`): Per task `total` (sum over the supervised tokens, without the
            task's weight), `num_tokens` (float32, supervised tokens) and detached means for the log.
        decoded (`dict[str, torch.Tensor]`): Per task the output decoded from the teacher-forced logits: depth (batch,
            height, width), other maps (batch, channels, height, width), poses (batch, joints, 2), or the masks (groups,
            size, size) of the annotated objects or classes.
        encoder_hidden_states, encoder_attentions (`tuple`, *optional*): As asked for; of the last image size only
            where tasks have different ones.
    """

    loss: torch.FloatTensor | None = None
    losses: dict[str, dict[str, torch.Tensor]] | None = None
    decoded: dict[str, torch.Tensor] | None = None
    encoder_hidden_states: tuple[torch.FloatTensor, ...] | None = None
    encoder_attentions: tuple[torch.FloatTensor, ...] | None = None


class AiTForDenseTokenGeneration(AiTPreTrainedModel, AiTGenerationMixin):
    """
    The whole model: task-solver, tied classifier and the (frozen) tokenizers of its tasks. `generate()` writes token
    sequences, `detokenize()` turns them into depth maps and other dense outputs.
    """

    _tied_weights_keys = {"lm_head.weight": "model.decoder.embed_tokens.weight"}
    # The codebook and its statistics lose codes in half precision; the tokenizers are tiny beside the solver.
    _keep_in_fp32_modules_strict = ["tokenizers"]
    generation_config_class = AiTGenerationConfig

    def __init__(self, config: AiTConfig):
        super().__init__(config)
        self.model = AiTModel(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size)
        # Built once: the validation of a task's declaration is nothing that `torch.compile` could trace.
        self.grammars = {name: TaskGrammar.from_config(config, name) for name in config.tasks}
        objectives = {objective.output_type: objective for objective in OBJECTIVES}
        self.objectives = {name: objectives[g.task.output_type](g) for name, g in self.grammars.items()}
        tokenizers = {name: _build_tokenizer(**arguments) for name, arguments in config.tokenizers.items()}
        self.tokenizers = nn.ModuleDict(tokenizers)
        self.post_init()

    def train(self, mode: bool = True) -> "AiTForDenseTokenGeneration":
        """As usual, but the tokenizers stay frozen; loading gives them new, trainable parameters and ends in `eval()`."""
        super().train(mode)
        for tokenizer in self.tokenizers.values():
            tokenizer.freeze()
        return self

    def resize_token_embeddings(self, *args, **kwargs):
        """Refused: the vocabulary is derived from bins, classes and codebooks, and ids have fixed meanings."""
        raise ValueError(
            "The vocabulary of an AiT model follows from its configuration (bins, classes, codebooks): "
            "change that and convert the weights instead of resizing the embedding."
        )

    def grammar(self, task: str) -> TaskGrammar:
        """Sequence grammar of a task; `ValueError` for a task the model does not have."""
        if task not in self.grammars:
            raise ValueError(f"Unknown task {task!r}: this model was built for {sorted(self.grammars)}.")
        return self.grammars[task]

    def task_tokenizer(self, task: str) -> Tokenizer | None:
        """Tokenizer of a task's codebook, `None` for one without dense tokens; `ValueError` as of [`grammar`]."""
        codebook = self.grammar(task).codebook
        return None if codebook is None else self.tokenizers[codebook]

    def load_tokenizer(self, name: str, tokenizer: Tokenizer) -> None:
        """Copies a trained tokenizer's weights; `ValueError` if there is none of that name, or they do not fit."""
        if name not in self.tokenizers:
            raise ValueError(f"This model has the tokenizers {sorted(self.tokenizers)}, not {name!r}.")
        mine, given = (
            {key: tensor.shape for key, tensor in of.state_dict().items()} for of in (self.tokenizers[name], tokenizer)
        )
        if differing := sorted(key for key in mine.keys() | given.keys() if mine.get(key) != given.get(key)):
            raise ValueError(
                f"The tokenizer does not fit the model's {name!r}: {differing[:5]} differ in presence or shape. "
                f"Build the model with the tokenizer's configuration."
            )
        self.tokenizers[name].load_state_dict(tokenizer.state_dict())

    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        task: str | None = None,
        task_ids: torch.LongTensor | None = None,
        decoder_soft_tokens: torch.FloatTensor | None = None,
        soft_token_start: int = 0,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple | None = None,
        cache: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        batches: dict[str, dict[str, Any]] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> Seq2SeqLMOutput | AiTTrainingOutput:
        """
        One pass over token sequences, or, with `batches`, the losses of annotated images; see [`AiTModel.forward`] for
        the arguments not named here.

        Args:
            batches (`dict[str, dict]`, *optional*): Task -> its samples: `pixel_values` (batch, 3, height, width) and
                `labels`, the task's annotations: depth maps (batch, height, width) in metres, 0 where unknown; for
                object tasks one dictionary per image with `boxes` (n, 4; x1, y1, x2, y2 in pixels of the frame),
                `class_labels` (n,), `masks` (n, height, width; 0 or 1) and optionally `size` (height and width of the
                image inside the frame) and `seed` (of the noise objects); poses (batch, joints, 3: x, y in pixels of the
                crop, visibility, 0 where unknown); label maps (batch, height, width; 255 is ignored); other maps
                (batch, channels, height, width; unknown where all channels are 0). Classes are numbers of the model's
                table `id2label`. In place of the annotations, what the task's `objectives[task].draft()` made of them
                will do: where data workers do it, the host need not wait for a GPU. In place of `pixel_values`, `images_of`
                may name another task of them whose images these are: they are encoded once. Nothing else goes with it.
            labels (`torch.LongTensor` of shape `(batch, length)`, *optional*): Target ids, aligned with the logits,
                -100 where nothing is supervised; the loss is the mean cross-entropy over the full vocabulary.
            task (`str`, *optional*): With labels and without `decoder_input_ids`: builds the decoder input of this
                task from the labels (which then must hold no -100).
            logits_to_keep (`int` or `torch.Tensor`): Compute logits of the last so many positions only, 0 for all; or
                the positions themselves.

        Returns:
            [`Seq2SeqLMOutput`] with `logits` (batch, length, vocab_size), or [`AiTTrainingOutput`]; `ValueError` if a
            task is unknown or has no training objective, or labels do not fit it.
        """
        if batches is not None:
            return self._training_forward(batches, **kwargs)
        if decoder_input_ids is None and labels is not None:
            grammar = self.grammar(self._task_name(task))
            decoder_input_ids = grammar.decoder_input_ids(labels)
            task_ids = torch.full_like(labels[:, 0], grammar.task.task_id)
        outputs = self.model(
            pixel_values=pixel_values,
            decoder_input_ids=decoder_input_ids,
            task_ids=task_ids,
            decoder_soft_tokens=decoder_soft_tokens,
            soft_token_start=soft_token_start,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            cache=cache,
            use_cache=use_cache,
            **kwargs,
        )
        logits = self._logits(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = token_cross_entropy(logits, labels) / (labels != IGNORE_INDEX).sum().clamp(min=1)
        states = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        return Seq2SeqLMOutput(loss=loss, logits=logits, **states)

    def _logits(self, states: torch.Tensor) -> torch.Tensor:
        """Decoder states (..., d_model) to logits (..., vocab_size)."""
        with without_autocast(states):
            return self.lm_head(states)

    def _task_name(self, task: str | None) -> str:
        if task is None and len(self.config.tasks) != 1:
            raise ValueError(f"Say which task: this model has {sorted(self.config.tasks)}.")
        return next(iter(self.config.tasks)) if task is None else task

    def _training_forward(self, batches: dict[str, dict[str, Any]], **kwargs) -> AiTTrainingOutput:
        memories, encoder_outputs = {}, None
        images = {
            task: self.model.encoder.pad(batch["pixel_values"])
            for task, batch in batches.items()
            if "pixel_values" in batch
        }
        shown = {task: images[batch.get("images_of", task)] for task, batch in batches.items()}
        # Before the encoder: what is wrong with annotations shows at once, and nothing waits for images.
        sequences = {task: self._sequence(task, shown[task], batch["labels"]) for task, batch in batches.items()}
        for size in dict.fromkeys(tuple(image.shape[-2:]) for image in images.values()):
            tasks = [task for task, image in images.items() if tuple(image.shape[-2:]) == size]
            encoder_outputs = self.model.encoder(torch.cat([images[task] for task in tasks]), **kwargs)
            memories |= zip(tasks, encoder_outputs.last_hidden_state.split([len(images[task]) for task in tasks]))
        outputs = {
            task: self._objective_output(task, memories[batch.get("images_of", task)], sequences[task])
            for task, batch in batches.items()
        }
        return AiTTrainingOutput(
            loss=sum(
                self.grammars[task].task.loss_weight * output.total / output.num_tokens.clamp(min=1)
                for task, output in outputs.items()
            ),
            losses={
                task: {"total": output.total, "num_tokens": output.num_tokens, **output.parts}
                for task, output in outputs.items()
            },
            decoded={task: output.decoded for task, output in outputs.items() if output.decoded is not None},
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
        )

    @torch.no_grad()
    def _sequence(self, task: str, images: torch.Tensor, labels: Any) -> TrainingSequence:
        """What the decoder is to write for a batch of one task."""
        tokenizer = self.task_tokenizer(task)
        draft = self.objectives[task].drafted(labels).to(images.device, non_blocking=True)
        sequence = self.objectives[task].complete(draft, tokenizer)
        if len(sequence.tokens) != len(images):
            raise ValueError(f"Task {task!r} has {len(images)} images but labels of {len(sequence.tokens)}.")
        return sequence

    def _objective_output(self, task: str, memory: torch.Tensor, sequence: TrainingSequence) -> ObjectiveOutput:
        """Loss of one task on the images whose memory is given."""
        grammar = self.grammar(task)
        input_ids = grammar.decoder_input_ids(sequence.tokens)
        if self.training and self.config.code_noise and grammar.codebook is not None:
            input_ids = grammar.with_code_noise(input_ids, self.config.code_noise)
        states = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=memory),
            decoder_input_ids=input_ids,
            task_ids=torch.full_like(sequence.tokens[:, 0], grammar.task.task_id),
            use_cache=False,
        ).last_hidden_state
        # Supervised positions only: logits over the vocabulary are the largest tensors of a training step.
        logits = self._logits(sequence.select(states))
        return self.objectives[task].loss(logits, sequence, self.task_tokenizer(task))


@dataclass
class AiTDepthEstimatorOutput(DepthEstimatorOutput):
    """
    [`DepthEstimatorOutput`] with the model's own doubt.

    Args:
        loss (`torch.FloatTensor`, *optional*): Training loss, if labels were given.
        predicted_depth (`torch.FloatTensor` of shape `(batch, height, width)`): Metres, at least 1e-3. With labels it
            is decoded from the teacher-forced logits.
        uncertainty (`torch.FloatTensor` of shape `(batch, height, width)`): How far off depth may be, metres.
    """

    uncertainty: torch.FloatTensor | None = None


@dataclass
class AiTObjectDetectionOutput(ModelOutput):
    """
    Objects of the object tasks, every one of the sequence; none is left out for a low score.

    Args:
        loss (`torch.FloatTensor`, *optional*): Training loss, if labels were given; then there are no predictions.
        loss_dict (`dict[str, torch.Tensor]`, *optional*): Its parts.
        logits (`torch.FloatTensor` of shape `(batch, objects, num_classes + 1)`): Classes, then noise (no object).
        pred_boxes, box_scores, class_labels, class_scores, pred_masks: As of [`AiTGenerateOutput`].
        hidden_states, attentions (`tuple`, *optional*): Of the encoder, if asked for.
    """

    loss: torch.FloatTensor | None = None
    loss_dict: dict[str, torch.Tensor] | None = None
    logits: torch.FloatTensor | None = None
    pred_boxes: torch.FloatTensor | None = None
    box_scores: torch.FloatTensor | None = None
    class_labels: torch.LongTensor | None = None
    class_scores: torch.FloatTensor | None = None
    pred_masks: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class AiTPoseEstimatorOutput(ModelOutput):
    """
    Poses of people in crops, one each.

    Args:
        loss (`torch.FloatTensor`, *optional*): Training loss, if labels were given.
        pred_keypoints, keypoint_scores: As of [`AiTGenerateOutput`]. With labels the former are decoded from the
            teacher-forced logits, in pixels of the tokenizer's crop, and there are no scores.
        hidden_states, attentions (`tuple`, *optional*): Of the encoder, if asked for.
    """

    loss: torch.FloatTensor | None = None
    pred_keypoints: torch.FloatTensor | None = None
    keypoint_scores: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class AiTSemanticSegmenterOutput(SemanticSegmenterOutput):
    """
    [`SemanticSegmenterOutput`] with scores.

    Args:
        loss (`torch.FloatTensor`, *optional*): Training loss, if labels were given; then there are no predictions.
        logits (`torch.FloatTensor` of shape `(batch, num_classes, height, width)`): Logarithm of `class_maps`.
        class_maps (`torch.FloatTensor` of shape `(batch, num_classes, height, width)`): Score of every class of the
            model's table at every place, 0..1.
        hidden_states, attentions (`tuple`, *optional*): Of the encoder, if asked for.
    """

    class_maps: torch.FloatTensor | None = None


class _TaskHead(AiTForDenseTokenGeneration, ABC):
    """A model that solves the task `task_name` in `forward`: by `generate()`, or, with labels, for the loss."""

    task_name: str
    output_class: type[ModelOutput]

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor | None = None,
        labels: Any = None,
        decoder_input_ids: torch.LongTensor | None = None,
        batches: dict[str, dict[str, Any]] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ModelOutput:
        """
        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch, 3, height, width)`): Images, prepared by the task's image
                processor.
            labels (*optional*): Annotations of the task, see [`AiTForDenseTokenGeneration.forward`].
            decoder_input_ids (`torch.LongTensor` of shape `(batch, length)`, *optional*), batches (`dict`,
                *optional*): If one is given, this is the parent class's `forward` (so `generate()` and training on
                several tasks work on this class too).
            kwargs: Settings of `generate()` (`soft_solver`, `soft_detokenizer`, `num_objects`, `do_sample`, ...).
        """
        if decoder_input_ids is not None or batches is not None:
            kwargs |= {"decoder_input_ids": decoder_input_ids, "batches": batches}
            return super().forward(pixel_values=pixel_values, labels=labels, **kwargs)
        if labels is not None:
            batch = {"pixel_values": pixel_values, "labels": labels}
            outputs = super().forward(batches={self.task_name: batch}, **kwargs)
            values = {"loss": outputs.loss, **self._trained(outputs)}
        else:
            for name in ("output_attentions", "output_hidden_states"):  # `generate()` asks its own configuration only
                kwargs.setdefault(name, getattr(self.config, name))
            kwargs |= {"task": self.task_name, "return_dict_in_generate": True}
            outputs = self.generate(pixel_values=pixel_values, **kwargs)
            values = self._predicted(outputs)
        states = {"hidden_states": outputs.encoder_hidden_states, "attentions": outputs.encoder_attentions}
        return self.output_class(**values, **states)

    def _trained(self, outputs: AiTTrainingOutput) -> dict[str, Any]:
        """What the head's output has beside a loss."""
        return {}

    @abstractmethod
    def _predicted(self, outputs: AiTGenerateOutput) -> dict[str, Any]:
        """The predictions of the head's output."""


class AiTForDepthEstimation(_TaskHead, AiTGenerationMixin):
    """
    AiT as a depth estimator: images in, [`AiTDepthEstimatorOutput`] out. Same weights as
    [`AiTForDenseTokenGeneration`]; `forward` runs `generate()` and the detokenizer, or, with labels, returns the loss.
    """

    task_name, output_class = "depth", AiTDepthEstimatorOutput

    def _trained(self, outputs: AiTTrainingOutput) -> dict[str, Any]:
        return {"predicted_depth": outputs.decoded[self.task_name].detach().clamp(min=MINIMUM_DEPTH)}

    def _predicted(self, outputs: AiTGenerateOutput) -> dict[str, Any]:
        return {"predicted_depth": outputs.predicted_depth, "uncertainty": outputs.uncertainty}


class AiTForObjectDetection(_TaskHead, AiTGenerationMixin):
    """
    AiT as an object detector: images in, [`AiTObjectDetectionOutput`] out. Same weights as
    [`AiTForDenseTokenGeneration`]. A model without the task "object-detection" detects by its task
    "instance-segmentation".
    """

    output_class = AiTObjectDetectionOutput

    @property
    def task_name(self) -> str:
        return "object-detection" if "object-detection" in self.grammars else "instance-segmentation"

    def _trained(self, outputs: AiTTrainingOutput) -> dict[str, Any]:
        return {"loss_dict": outputs.losses[self.task_name]}

    def _predicted(self, outputs: AiTGenerateOutput) -> dict[str, Any]:
        names = ("pred_boxes", "box_scores", "class_labels", "class_scores", "pred_masks")
        return {"logits": outputs.class_logits, **{name: getattr(outputs, name) for name in names}}


class AiTForInstanceSegmentation(AiTForObjectDetection, AiTGenerationMixin):
    """AiT for instance segmentation: as [`AiTForObjectDetection`], with a mask for every object."""

    task_name = "instance-segmentation"


class AiTForPoseEstimation(_TaskHead, AiTGenerationMixin):
    """
    AiT for the joints of people: crops with a person each in, [`AiTPoseEstimatorOutput`] out. Same weights as
    [`AiTForDenseTokenGeneration`].
    """

    task_name, output_class = "keypoint-detection", AiTPoseEstimatorOutput

    def _trained(self, outputs: AiTTrainingOutput) -> dict[str, Any]:
        return {"pred_keypoints": outputs.decoded[self.task_name].detach()}

    def _predicted(self, outputs: AiTGenerateOutput) -> dict[str, Any]:
        return {"pred_keypoints": outputs.pred_keypoints, "keypoint_scores": outputs.keypoint_scores}


class AiTForSemanticSegmentation(_TaskHead, AiTGenerationMixin):
    """
    AiT for semantic segmentation: images in, [`AiTSemanticSegmenterOutput`] out. Same weights as
    [`AiTForDenseTokenGeneration`].
    """

    task_name, output_class = "semantic-segmentation", AiTSemanticSegmenterOutput

    def _predicted(self, outputs: AiTGenerateOutput) -> dict[str, Any]:
        return {"logits": outputs.class_maps.log(), "class_maps": outputs.class_maps}
