# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Generation with soft tokens (paper §3.3) and parallel blocks (paper §3.5), inside transformers' `generate()`."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, GenerationMixin, LogitsProcessor, LogitsProcessorList
from transformers import generation as library
from transformers.generation import GenerationMode, StoppingCriteriaList

from .caching_ait import CACHE_NAME, new_cache
from .quantization_ait import apply_temperature
from .sequences_ait import TaskGrammar


# Settings of `generate()` that the library does not have, with their defaults.
AIT_SETTINGS = {"task": None, "soft_solver": None, "soft_detokenizer": True, "soft_temperature": None}
AIT_SETTINGS |= {"num_objects": None, "stop_below_score": None, "box_tolerance": None}
# What sampling does to scores, unlike other processors: a soft token is what the model holds likely, sampled or not.
SAMPLING_WARPERS = (library.TopHLogitsWarper, library.TopKLogitsWarper, library.TopPLogitsWarper)
SAMPLING_WARPERS += (library.MinPLogitsWarper, library.TypicalLogitsWarper, library.TemperatureLogitsWarper)
SAMPLING_WARPERS += (library.EpsilonLogitsWarper, library.EtaLogitsWarper)


class AiTGenerationConfig(GenerationConfig):
    """
    [`GenerationConfig`] with AiT's own settings.

    Where neither `max_length`, which counts the task token, nor `max_new_tokens` is set, sequences are whole.

    Args:
        task (`str`, *optional*): Which task to solve; a model with one task needs no saying.
        soft_solver (`bool`, *optional*): Feed soft tokens (expected embeddings) back into the decoder instead of the
            most likely code. On by default in autoregressive models; without effect in parallel ones, which feed
            nothing back.
        soft_detokenizer (`bool`): Give the detokenizer soft tokens instead of the most likely codes.
        soft_temperature (`float`, *optional*): `tau` of `softmax(tau * logits)` at the detokenizer; the task's own by
            default.
        num_objects (`int`, *optional*): Stop after so many groups of the sequence; all by default.
        stop_below_score (`float`, *optional*): Stop after the first group whose class score is below this in every image
            of the batch. Models learn to write noise behind the objects, so that little is left to come. Off by default.
        box_tolerance (`float`, *optional*): As of [`AiTTaskConfig`], for `box_scores`; the task's own by default, 0 for none.
        kwargs: The library's settings. `temperature`, `top_k` and `top_p` act on sparse slots only; `top_k` is off
            unless asked for, as the library's 50 of 2000 coordinate bins would hardly be sampling. Other logits processors
            act on all slots. Stopping criteria are asked of every token, an image that is done being written on, not padded,
            until all are; a parallel model finishes its block.
    """

    def __init__(self, **kwargs):
        for name, default in AIT_SETTINGS.items():
            setattr(self, name, kwargs.pop(name, default))
        kwargs.setdefault("return_dict_in_generate", True)
        super().__init__(**kwargs)

    @classmethod
    def from_model_config(cls, model_config) -> "AiTGenerationConfig":
        """Defaults of a model: its only task, and soft tokens in the solver if it feeds tokens back."""
        tasks = list(model_config.tasks)
        config = cls(task=tasks[0] if len(tasks) == 1 else None, soft_solver=not model_config.parallel)
        config.use_cache = model_config.use_cache
        return config


@dataclass
class AiTGenerateOutput(library.GenerateEncoderDecoderOutput):
    """
    What `generate()` returns.

    Args:
        sequences (`torch.LongTensor` of shape `(batch, 1 + tokens)`): The task token, with which decoding starts, then
            vocabulary ids; at dense slots the most likely code.
        soft_tokens (`torch.FloatTensor` of shape `(batch, dense slots, codes)`): The solver's probabilities at dense
            slots, at temperature 1, as logits processors left them, but no sampling. `None` for a task without such.
        class_scores (`torch.FloatTensor` of shape `(batch, class slots)`): Probability of the chosen class among the
            classes and noise. `None` for a task without class slots.
        class_logits (`torch.FloatTensor` of shape `(batch, class slots, num_classes + 1)`): Classes, then noise.
        coordinate_logits (`torch.FloatTensor` of shape `(batch, coordinate slots, bins)`): What `box_scores` are made of;
            `None` without `box_tolerance`.
        num_forwards (`int`): Passes through the decoder.
        task (`str`), soft_detokenizer (`bool`), soft_temperature (`float`): The settings that `detokenize()` uses.
        box_tolerance (`float`): The setting that `box_scores` follow.
        predicted_depth, uncertainty (`torch.FloatTensor` of shape `(batch, height, width)`): For depth: metres, and how
            far off they may be, the standard deviation of the codes' depths, in metres.
        pred_boxes (`torch.FloatTensor` of shape `(batch, objects, 4)`): For objects: x1, y1, x2, y2 as decoded, divided
            by width and height of the task's frame; x2 < x1 may happen.
        box_scores (`torch.FloatTensor` of shape `(batch, objects)`): For objects, with a `box_tolerance`: probability that
            no side of the box is off by more, the four being taken as independent. Processors multiply class scores by it.
            `None` where the call gave coordinates.
        class_labels (`torch.LongTensor` of shape `(batch, objects)`): For objects: the chosen class.
        pred_masks (`torch.FloatTensor` of shape `(batch, objects, height, width)`): For objects with masks: decoded
            masks inside the boxes, about 0..1, not thresholded. For semantic tasks: of the classes, whole images.
        pred_keypoints (`torch.FloatTensor` of shape `(batch, joints, 2)`): For poses: x, y in pixels of the task's
            images.
        keypoint_scores (`torch.FloatTensor` of shape `(batch, joints)`): For poses: how far the codes agree
            ([`token_agreement`]), 0..1; of each joint's token, or, if tokens stand for whole poses, their mean.
        class_maps (`torch.FloatTensor` of shape `(batch, num_classes, height, width)`): For semantic tasks and label
            maps: score of every class of the model's table at every place, 0..1. Label maps also have an `uncertainty`: the
            entropy of these, divided by its maximum, 0..1.
        predicted_map (`torch.FloatTensor` of shape `(batch, channels, height, width)`): For other maps, with
            `uncertainty` in their unit.
    """

    soft_tokens: torch.FloatTensor | None = None
    class_scores: torch.FloatTensor | None = None
    class_logits: torch.FloatTensor | None = None
    coordinate_logits: torch.FloatTensor | None = None
    num_forwards: int | None = None
    task: str | None = None
    soft_detokenizer: bool | None = None
    soft_temperature: float | None = None
    box_tolerance: float | None = None
    predicted_depth: torch.FloatTensor | None = None
    uncertainty: torch.FloatTensor | None = None
    pred_boxes: torch.FloatTensor | None = None
    box_scores: torch.FloatTensor | None = None
    class_labels: torch.LongTensor | None = None
    pred_masks: torch.FloatTensor | None = None
    pred_keypoints: torch.FloatTensor | None = None
    keypoint_scores: torch.FloatTensor | None = None
    class_maps: torch.FloatTensor | None = None
    predicted_map: torch.FloatTensor | None = None


class TaskGrammarLogitsProcessor(LogitsProcessor):
    """
    Leaves only the ids that the next slot of the task may take; everything else becomes -inf. In semantic tasks a class
    that the sequence has already is not among them.

    Args:
        grammar ([`TaskGrammar`]): The task's sequence. The next slot follows from the length of `input_ids` (task
            token included), so the processor keeps no state.
    """

    def __init__(self, grammar: TaskGrammar):
        self.grammar = grammar

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        slot = self.grammar.slot(input_ids.shape[1] - 1)
        allowed = self.grammar.slot_range(slot)
        restricted = torch.full_like(scores, -torch.inf)
        restricted[:, allowed.start : allowed.stop] = scores[:, allowed.start : allowed.stop]
        if slot == "class" and self.grammar.chooses_classes_once:  # its mask shows all there is of a class
            (position,) = self.grammar.slot_positions("class")
            restricted.scatter_(1, input_ids[:, 1 + position :: len(self.grammar.group)], -torch.inf)
        return restricted


class SoftTokenLogitsProcessor(LogitsProcessor):
    """
    At dense slots, turns raw logits into scores whose softmax is the soft token: the code slice at a temperature.
    Sparse slots pass unchanged.

    Args:
        grammar ([`TaskGrammar`]): The task's sequence.
        temperature (`float`): `tau` in `softmax(tau * logits)`; the released task-solver uses 1.
    """

    def __init__(self, grammar: TaskGrammar, temperature: float = 1.0):
        self.restrict = TaskGrammarLogitsProcessor(grammar)
        self.temperature = temperature

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        if not self.restrict.grammar.is_dense(input_ids.shape[1] - 1):
            return scores
        return self.temperature * self.restrict(input_ids, scores)


@contextmanager
def without_cudnn_attention() -> Iterator[None]:
    """
    Inside, torch's attention is any but cuDNN's, which builds a plan for every number of keys: decoding has another one at
    every step. Whoever has switched everything else off keeps it. Nothing changes on devices without cuDNN.
    """
    cuda = torch.backends.cuda
    others = cuda.flash_sdp_enabled() or cuda.mem_efficient_sdp_enabled() or cuda.math_sdp_enabled()
    enabled = cuda.cudnn_sdp_enabled()
    cuda.enable_cudnn_sdp(enabled and not others)
    try:
        yield
    finally:
        cuda.enable_cudnn_sdp(enabled)


def _refuse_shared_hypotheses(mode: GenerationMode) -> None:
    if mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
        raise ValueError(
            f"AiT cannot decode by {mode.value.replace('_', ' ')}: a soft token is a distribution, which hypotheses "
            "cannot share; use num_beams=1 with do_sample=False or do_sample=True."
        )


class AiTGenerationMixin(GenerationMixin):
    """`generate()` for sequences that mix sparse and dense slots; everything else is the library's."""

    def adjust_generation_fn(self, generation_config, *args, **kwargs):
        """Loads the generation settings of a checkpoint as [`AiTGenerationConfig`], so that ours survive a reload."""
        super().adjust_generation_fn(generation_config, *args, **kwargs)
        loaded = {key: value for key, value in self.generation_config.to_dict().items() if value is not None}
        self.generation_config = self.generation_config_class.from_model_config(self.config)
        self.generation_config.update(allow_custom_entries=True, **loaded)

    def _prepare_generation_config(self, generation_config: GenerationConfig | None, **kwargs: Any):
        given = generation_config is not None
        ours = {name: kwargs.pop(name) for name in AIT_SETTINGS if name in kwargs}
        chosen = [kwargs, vars(self.generation_config), vars(generation_config) if given else {}]
        chosen = {name for settings in chosen for name, value in settings.items() if value is not None}
        generation_config, model_kwargs = super()._prepare_generation_config(generation_config, **kwargs)
        if "top_k" not in chosen:
            generation_config.top_k = 0
        for name, default in AIT_SETTINGS.items():
            setattr(generation_config, name, ours.get(name, getattr(generation_config, name, default)))
        if generation_config.soft_solver is None:
            generation_config.soft_solver = not self.config.parallel
        _refuse_shared_hypotheses(generation_config.get_generation_mode())
        grammar = self.grammar(self._task_name(generation_config.task))
        generation_config.task = grammar.name
        if generation_config.box_tolerance is None:
            generation_config.box_tolerance = grammar.task.box_tolerance
        if not 0 <= generation_config.box_tolerance < math.inf:
            raise ValueError(f"box_tolerance must be at least 0 and finite, got {generation_config.box_tolerance}.")
        if generation_config.box_tolerance > 0 and grammar.task.output_type != "objects":
            raise ValueError(f"box_tolerance is of objects, which task {grammar.name!r} does not write.")
        if generation_config.stop_below_score is not None and "class" not in grammar.group:
            raise ValueError(
                f"stop_below_score needs classes with scores, which task {grammar.name!r} does not write."
            )
        if generation_config.decoder_start_token_id is None:
            generation_config.decoder_start_token_id = grammar.start_token_id
        length = self._sequence_length(grammar, generation_config)
        if not {"max_length", "max_new_tokens"} & chosen:
            generation_config.max_new_tokens = length
        return generation_config, model_kwargs

    def _validate_generation_mode(self, generation_mode, generation_config, generation_mode_kwargs):
        _refuse_shared_hypotheses(generation_mode)  # here an assistant model is known as well
        super()._validate_generation_mode(generation_mode, generation_config, generation_mode_kwargs)

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs) -> None:
        chosen = generation_config.cache_implementation is not None or model_kwargs.get(CACHE_NAME) is not None
        if generation_config.use_cache and not chosen:
            model_kwargs[CACHE_NAME] = new_cache(self.config)
            return
        super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)

    @staticmethod
    def _sequence_length(grammar: TaskGrammar, generation_config: GenerationConfig) -> int:
        longest, num_groups = grammar.task.num_groups, generation_config.num_objects
        if num_groups is not None and not 1 <= num_groups <= longest:
            raise ValueError(f"num_objects must lie in 1..{longest}, got {num_groups}.")
        return (longest if num_groups is None else num_groups) * len(grammar.group)

    def _maybe_prepare_encoder_kwargs_for_generation(
        self, inputs_tensor, model_kwargs, model_input_name, generation_config
    ) -> dict[str, Any]:
        if model_kwargs.get("encoder_outputs") is None:
            expected = tuple(self.grammar(generation_config.task).task.image_size)
            if tuple(inputs_tensor.shape[-2:]) != expected:
                raise ValueError(
                    f"Task {generation_config.task!r} takes images of {expected[0]}x{expected[1]} pixels, got "
                    f"{inputs_tensor.shape[-2]}x{inputs_tensor.shape[-1]}: prepare them with the image processor."
                )
            if not torch.isfinite(inputs_tensor).all():
                raise ValueError("pixel_values hold NaN or infinite values: check the images and their normalisation.")
        return super()._maybe_prepare_encoder_kwargs_for_generation(
            inputs_tensor, model_kwargs, model_input_name, generation_config
        )

    def _sample(
        self,
        input_ids,
        logits_processor,
        stopping_criteria,
        generation_config,
        synced_gpus=False,
        streamer=None,
        **kwargs,
    ) -> AiTGenerateOutput | torch.LongTensor:
        """
        The decoding loop, called by `generate()`: one pass per block of slots.

        Overrides the library's loop because a dense slot yields a distribution that is fed back whole, and because a
        parallel model predicts a block of slots at once. Without a criterion all processes run the same number of passes,
        so `synced_gpus` needs no extra ones.
        """
        grammar = self.grammar(generation_config.task)
        limit = max(stopping_criteria.max_length, input_ids.shape[1] + 1) - 1  # a token at least, as the library
        length = min(limit, self._sequence_length(grammar, generation_config))
        loop = _DecodingLoop(self, grammar, generation_config, logits_processor, input_ids, length, kwargs)
        # The loop knows its length; asking the device for it at every step would make the host wait.
        criteria = StoppingCriteriaList(c for c in stopping_criteria if not isinstance(c, library.MaxLengthCriteria))
        if synced_gpus and (criteria or generation_config.stop_below_score is not None):
            raise ValueError(
                "A model that is sharded over processes takes as many steps on each of them: leave out stop_below_score and "
                "stopping criteria other than a length."
            )
        with without_cudnn_attention():
            while loop.position < loop.length:
                new_tokens = loop.step()
                if streamer is not None:
                    streamer.put(new_tokens.cpu())
                if criteria and loop.is_stopped(criteria, new_tokens.shape[1]):
                    break
        if streamer is not None:
            streamer.end()
        if not generation_config.return_dict_in_generate:
            return loop.sequences
        outputs = loop.output()
        if self._is_complete(outputs, grammar):  # not cut short by a length, nor continued from a given prefix
            self.objectives[grammar.name].predict(outputs, self)
        return outputs

    @staticmethod
    def _is_complete(outputs: AiTGenerateOutput, grammar: TaskGrammar) -> bool:
        """Whether the sequence consists of whole groups, all of which were generated."""
        groups, rest = divmod(outputs.sequences.shape[1] - 1, len(grammar.group))
        written = {grammar.codebook: outputs.soft_tokens, "class": outputs.class_scores}
        return not rest and all(
            groups * grammar.group.count(slot) == (0 if values is None else values.shape[1])
            for slot, values in written.items()
        )

    def detokenize(
        self,
        outputs: AiTGenerateOutput,
        task: str | None = None,
        soft: bool | None = None,
        temperature: float | None = None,
    ) -> torch.FloatTensor:
        """
        Turns the codes of a finished sequence into the task's dense output: (batch, height, width) for a task with one
        group (depth: metres), else (batch, groups, height, width). Maps of several channels are (batch, channels,
        height, width), those of label maps being logits of the classes; poses (batch, joints, 2), pixels of the
        tokenizer's crop.

        Args:
            outputs ([`AiTGenerateOutput`]): From `generate()`; `ValueError` if the task has no dense slots, or the
                sequence is not complete.
            task (`str`, *optional*), soft (`bool`, *optional*), temperature (`float`, *optional*): As given to
                `generate()` by default. `soft=False` decodes the most likely codes.
        """
        grammar, soft_tokens = self._complete_soft_tokens(outputs, task)
        if not (outputs.soft_detokenizer if soft is None else soft):
            codes = soft_tokens.argmax(-1)
            soft_tokens = nn.functional.one_hot(codes, soft_tokens.shape[-1]).to(soft_tokens.dtype)
        temperature = outputs.soft_temperature if temperature is None else temperature
        objective, tokenizer = self.objectives[grammar.name], self.task_tokenizer(grammar.name)
        return objective.decode(soft_tokens, tokenizer, temperature)

    def uncertainty(self, outputs: AiTGenerateOutput, task: str | None = None) -> torch.FloatTensor:
        """
        [`VQTokenizer.uncertainty`] of the soft tokens at the task's `entropy_temperature`: how far the values lie apart that
        their codes stand for, in the unit of the map (of a label map, of its logits). Same shape as `detokenize()` gives.
        """
        grammar, soft_tokens = self._complete_soft_tokens(outputs, task)
        # Of the configuration as it is now: it is fitted when the model is there already. Not read through `AiTTaskConfig`,
        # whose validation is nothing that `torch.compile` could trace.
        temperature = self.config.tasks[grammar.name]["entropy_temperature"]
        weights = apply_temperature(soft_tokens, temperature).unflatten(1, (-1, *grammar.task.grid_size))
        maps = self.task_tokenizer(grammar.name).uncertainty(weights)
        return maps.squeeze(1) if grammar.is_one_map else maps

    def _complete_soft_tokens(self, outputs, task) -> tuple[TaskGrammar, torch.FloatTensor]:
        grammar = self.grammar(outputs.task if task is None else task)
        if grammar.codebook is None:
            raise ValueError(f"Task {grammar.name!r} writes no codes: there is nothing to detokenize.")
        if outputs.task != grammar.name or not self._is_complete(outputs, grammar):
            raise ValueError(
                f"These outputs are of task {outputs.task!r} with {outputs.sequences.shape[1] - 1} tokens; {grammar.name!r} "
                f"needs whole groups of {len(grammar.group)} tokens, generated from the start."
            )
        return grammar, outputs.soft_tokens


class _DecodingLoop:
    """State of one `generate()` call: what has been decided, and what the next pass reads."""

    def __init__(self, model, grammar, generation_config, logits_processor, input_ids, length, model_kwargs):
        self.model = model
        self.grammar = grammar
        self.settings = generation_config
        self.length = length  # slots to decide
        self.sequences = input_ids
        self.cache = model_kwargs.pop(CACHE_NAME, None)
        self.encoder_outputs = model_kwargs.pop("encoder_outputs")
        self.attention_mask = model_kwargs.pop("decoder_attention_mask", None)  # of a given prefix
        own = ("use_cache", "logits_to_keep")
        self.model_kwargs = {name: value for name, value in model_kwargs.items() if name not in own}
        self.restrict = TaskGrammarLogitsProcessor(grammar)
        self.soften = SoftTokenLogitsProcessor(grammar)
        self.warp = logits_processor
        self.process = LogitsProcessorList(p for p in logits_processor if not isinstance(p, SAMPLING_WARPERS))
        self.feed_soft = generation_config.soft_solver and not grammar.parallel
        self.task_ids = torch.full_like(input_ids[:, 0], grammar.task.task_id)
        self.prompt_length = input_ids.shape[1]
        self.stopped = torch.zeros_like(self.task_ids, dtype=torch.bool)
        self.num_read = 0 if self.cache is None else int(self.cache.get_seq_length())  # inputs that the cache holds
        self.num_forwards = 0
        self.soft_tokens, self.class_scores, self.class_logits, self.scores, self.logits = [], [], [], [], []
        self.coordinate_logits = []
        names = ("decoder_attentions", "cross_attentions") if generation_config.output_attentions else ()
        names += ("decoder_hidden_states",) if generation_config.output_hidden_states else ()
        self.recorded = dict.fromkeys(names, ())  # of every pass
        compiled = model._valid_auto_compile_criteria({CACHE_NAME: self.cache}, generation_config)
        self.compiled_call = model.get_compiled_call(generation_config.compile_config) if compiled else None

    @property
    def position(self) -> int:
        """Index of the next slot."""
        return self.sequences.shape[1] - 1

    def step(self) -> torch.LongTensor:
        """One pass: decides the next block of slots; returns the new tokens (batch, n)."""
        block = self.grammar.block_length(self.position, self.length)
        logits = self._forward(block)
        before = self.sequences.shape[1]
        num_dense = sum(self.grammar.is_dense(self.position + offset) for offset in range(block))
        if num_dense:
            self._decide_dense(logits[:, :num_dense])
        if num_dense < block:
            self._decide_sparse(logits[:, -1])
        return self.sequences[:, before:]

    def _forward(self, block: int) -> torch.FloatTensor:
        ids = self.grammar.replace_dense_inputs(self.sequences[:, self.num_read :], start=self.num_read)
        if block > 1:
            ids = nn.functional.pad(ids, (0, block - 1), value=self.grammar.vocabulary.parallel_token_id)
        ids = ids.clone(memory_format=torch.contiguous_format)  # else the strides grow, and every step recompiles
        mask, length = self.attention_mask, self.sequences.shape[1] + block - 1
        if mask is not None:
            mask = nn.functional.pad(mask, (0, length - mask.shape[1]), value=1)
        single_step = self.compiled_call is not None and self.num_forwards > 0 and ids.shape[1] == 1
        outputs = (self.compiled_call if single_step else self.model)(
            decoder_input_ids=ids,
            task_ids=self.task_ids,
            decoder_soft_tokens=self._soft_inputs(),
            soft_token_start=0 if self.grammar.codebook is None else self.grammar.code_range.start,
            decoder_attention_mask=mask,
            encoder_outputs=self.encoder_outputs,
            cache=self.cache,
            use_cache=self.cache is not None,
            logits_to_keep=block,
            **self.model_kwargs,
        )
        self.num_forwards += 1
        if self.cache is not None:
            self.num_read += ids.shape[1]
        self.recorded = {name: (*values, getattr(outputs, name)) for name, values in self.recorded.items()}
        return outputs.logits.to(dtype=torch.float32, copy=True)

    def _soft_inputs(self) -> torch.FloatTensor | None:
        """Soft tokens among the next inputs, (batch, inputs, codes) with zeros where the id counts."""
        first_soft = max(self.num_read, self.prompt_length)
        is_soft = [p >= first_soft and self.grammar.is_dense(p - 1) for p in range(self.num_read, self.position + 1)]
        if not self.feed_soft or not any(is_soft):
            return None
        # One slot each, as nothing is parallel here; put together, for places written by index would come from the host.
        recent = iter(self.soft_tokens[-sum(is_soft) :])
        nothing = torch.zeros_like(self.soft_tokens[-1])
        return torch.cat([next(recent) if soft else nothing for soft in is_soft], dim=1)

    def _decide_dense(self, logits: torch.FloatTensor) -> None:
        """A run of dense slots, (batch, n, vocab_size) logits: keeps their distributions."""
        codes = self.grammar.code_range
        # One slot after the other for processors, which read the tokens of earlier ones.
        for raw in logits.split(1, dim=1) if self.process else [logits]:
            processed = self.process(self.sequences, raw[:, 0])[:, None] if self.process else raw
            code_logits = processed[..., codes.start : codes.stop]
            self.soft_tokens.append(code_logits.softmax(-1))
            scores = self.soften(self.sequences, processed.flatten(0, 1)) if self.settings.output_scores else None
            self._append(raw, scores, code_logits.argmax(-1) + codes.start)

    def _decide_sparse(self, logits: torch.FloatTensor) -> None:
        """One sparse slot, (batch, vocab_size) logits: chooses an id."""
        scores = self.warp(self.sequences, self.restrict(self.sequences, logits))
        if self.settings.do_sample:
            tokens = torch.multinomial(scores.softmax(-1), num_samples=1)
        else:
            tokens = scores.argmax(-1, keepdim=True)
        slot = self.grammar.slot(self.position)
        if slot == "coordinate" and self.settings.box_tolerance > 0:
            coordinates = self.grammar.vocabulary.coordinates
            self.coordinate_logits.append(logits[:, coordinates.start : coordinates.stop])
        if slot == "class":
            # Of the classes, -inf for those that the task does not have, and, last, of noise (reference §6).
            own, vocabulary = self.grammar.classes, self.grammar.vocabulary
            classes, noise = vocabulary.classes, vocabulary.noise_id
            padding = (own.start - classes.start, classes.stop - own.stop)
            known = nn.functional.pad(logits[:, own.start : own.stop], padding, value=-torch.inf)
            self.class_logits.append(torch.cat([known, logits[:, noise : noise + 1]], dim=-1))
            self.class_scores.append(self.class_logits[-1].softmax(-1).gather(1, tokens - classes.start))
            lowest = self.settings.stop_below_score
            if lowest is not None and (self.class_scores[-1] < lowest).all():
                self.length = min(self.length, self.grammar.group_end(self.position))
        self._append(logits[:, None], scores, tokens)

    def _append(self, logits: torch.FloatTensor, scores: torch.FloatTensor | None, tokens: torch.LongTensor) -> None:
        if self.settings.output_logits:
            self.logits += logits.unbind(1)
        if self.settings.output_scores:
            self.scores += scores.view_as(logits).unbind(1)
        self.sequences = torch.cat([self.sequences, tokens], dim=1)

    def is_stopped(self, criteria: StoppingCriteriaList, num_new: int) -> bool:
        """Whether every sequence has met a criterion at one of its tokens, `num_new` of which came last."""
        for end in range(self.sequences.shape[1] - num_new + 1, self.sequences.shape[1] + 1):
            scores = tuple(self.scores[: end - self.prompt_length]) if self.settings.output_scores else None
            self.stopped |= criteria(self.sequences[:, :end], scores)
        return bool(self.stopped.all())

    def output(self) -> AiTGenerateOutput:
        """Everything decided, as the library's output class and ours."""
        settings, task = self.settings, self.grammar.task
        return AiTGenerateOutput(
            sequences=self.sequences,
            scores=tuple(self.scores) if settings.output_scores else None,
            logits=tuple(self.logits) if settings.output_logits else None,
            encoder_attentions=self.encoder_outputs.attentions if settings.output_attentions else None,
            encoder_hidden_states=self.encoder_outputs.hidden_states if settings.output_hidden_states else None,
            soft_tokens=torch.cat(self.soft_tokens, dim=1) if self.soft_tokens else None,
            class_scores=torch.cat(self.class_scores, dim=1) if self.class_scores else None,
            class_logits=torch.stack(self.class_logits, dim=1) if self.class_logits else None,
            coordinate_logits=torch.stack(self.coordinate_logits, dim=1) if self.coordinate_logits else None,
            num_forwards=self.num_forwards,
            task=self.grammar.name,
            soft_detokenizer=settings.soft_detokenizer,
            soft_temperature=task.soft_temperature if settings.soft_temperature is None else settings.soft_temperature,
            box_tolerance=settings.box_tolerance,
            **self.recorded,
            **{CACHE_NAME: self.cache},
        )
