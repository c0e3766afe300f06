# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The AiT task-solver (paper §3.2). Read from top to bottom: parts, encoder, decoder, model."""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import StochasticDepth
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPastAndCrossAttentions,
    Seq2SeqModelOutput,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple
from transformers.utils.deprecation import deprecate_kwarg
from transformers.utils.generic import maybe_autocast, merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .backbone_ait import batch_norms, build_backbone
from .caching_ait import CACHE_NAME, new_cache
from .configuration_ait import AiTConfig
from .modeling_swinv2_ait import AiTSwinv2MLP, eager_attention_forward
from .quantization_ait import EMACodebook


def without_autocast(states: torch.Tensor) -> AbstractContextManager:
    """Inside, on the device of the states, nothing is autocast."""
    return maybe_autocast(states.device.type, enabled=False)


def solver_autocast(config: AiTConfig, states: torch.Tensor) -> AbstractContextManager:
    """Inside, autocast is as outside with `autocast_solver`, else off: as released, only the backbone is autocast."""
    return nullcontext() if config.autocast_solver else without_autocast(states)


class AiTAttention(nn.Module):
    """Multi-head attention with separate projections, all with biases."""

    def __init__(self, config: AiTConfig, layer_idx: int | None = None, is_causal: bool = False):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.is_causal = is_causal
        self.head_dim = config.d_model // config.num_heads
        self.scaling = self.head_dim**-0.5
        self.q_proj = nn.Linear(config.d_model, config.d_model)
        self.k_proj = nn.Linear(config.d_model, config.d_model)
        self.v_proj = nn.Linear(config.d_model, config.d_model)
        self.out_proj = nn.Linear(config.d_model, config.d_model)

    def split_heads(self, states: torch.Tensor) -> torch.Tensor:
        """(batch, length, d_model) to (batch, heads, length, head_dim), a view."""
        return states.view(*states.shape[:2], -1, self.head_dim).transpose(1, 2)

    def attend(
        self, hidden_states: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        query = self.split_heads(self.q_proj(hidden_states))
        output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=self.scaling, **kwargs)
        return self.out_proj(output.flatten(2)), weights

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        cache: EncoderDecoderCache | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        key, value = self.split_heads(self.k_proj(hidden_states)), self.split_heads(self.v_proj(hidden_states))
        if cache is not None:
            key, value = cache.self_attention_cache.update(key, value, self.layer_idx)
        return self.attend(hidden_states, key, value, attention_mask, **kwargs)


class AiTCrossAttention(AiTAttention):
    """Attention to the image memory, whose keys and values are computed once per image."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        memory: torch.Tensor,
        memory_norm: nn.Module,
        cache: EncoderDecoderCache | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if cache is not None and cache.is_updated.get(self.layer_idx):
            layer = cache.cross_attention_cache.layers[self.layer_idx]
            key, value = layer.keys, layer.values
        else:
            memory = memory_norm(memory)
            key, value = self.split_heads(self.k_proj(memory)), self.split_heads(self.v_proj(memory))
            if cache is not None:
                key, value = cache.cross_attention_cache.update(key, value, self.layer_idx)
                cache.is_updated[self.layer_idx] = True
        return self.attend(hidden_states, key, value, None, **kwargs)


class AiTMLP(AiTSwinv2MLP):
    """With dropout on the hidden layer only."""

    def __init__(self, config: AiTConfig):
        super().__init__(config.d_model, config.ffn_dim, config.activation_function, config.dropout)


class AiTEncoderLayer(GradientCheckpointingLayer):
    """Pre-norm block: self-attention, MLP."""

    def __init__(self, config: AiTConfig):
        super().__init__()
        self.self_attn_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.self_attn = AiTAttention(config)
        self.mlp_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.mlp = AiTMLP(config)
        self.drop_path = StochasticDepth(config.drop_path_rate, mode="row")

    def forward(self, hidden_states: torch.Tensor, **kwargs) -> torch.Tensor:
        attended, _ = self.self_attn(self.self_attn_norm(hidden_states), **kwargs)
        hidden_states = hidden_states + self.drop_path(attended)
        return hidden_states + self.drop_path(self.mlp(self.mlp_norm(hidden_states)))


class AiTDecoderLayer(GradientCheckpointingLayer):
    """Pre-norm block: self-attention, cross-attention (its query norm also normalises the memory), MLP."""

    def __init__(self, config: AiTConfig, layer_idx: int):
        super().__init__()
        self.self_attn_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.self_attn = AiTAttention(config, layer_idx, is_causal=True)
        self.cross_attn_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.cross_attn = AiTCrossAttention(config, layer_idx)
        self.mlp_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.mlp = AiTMLP(config)
        self.drop_path = StochasticDepth(config.drop_path_rate, mode="row")

    def forward(
        self,
        hidden_states: torch.Tensor,
        memory: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        cache: EncoderDecoderCache | None = None,
        **kwargs,
    ) -> torch.Tensor:
        if (  # one more token of sequences without padding, to be attended to by torch's own function
            hidden_states.shape[1] == 1
            and attention_mask is None
            and cache is not None
            and cache.is_updated.get(self.cross_attn.layer_idx, False)
            and self.self_attn.config._attn_implementation == "sdpa"
            and not self.training
        ):
            return self._step(hidden_states, cache)
        attended, _ = self.self_attn(self.self_attn_norm(hidden_states), attention_mask, cache=cache, **kwargs)
        hidden_states = hidden_states + self.drop_path(attended)
        query, norm = self.cross_attn_norm(hidden_states), self.cross_attn_norm
        attended, _ = self.cross_attn(query, memory, norm, cache=cache, **kwargs)
        hidden_states = hidden_states + self.drop_path(attended)
        return hidden_states + self.drop_path(self.mlp(self.mlp_norm(hidden_states)))

    def _step(self, hidden_states: torch.Tensor, cache: EncoderDecoderCache) -> torch.Tensor:
        """
        The same for one token (batch, 1, d_model). Arithmetic on one token takes so little time that half of it would
        go into preparing attention for every length, mask and implementation.
        """
        attention, states = self.self_attn, self.self_attn_norm(hidden_states)
        heads = (len(states), -1, 1, attention.head_dim)
        key, value = cache.self_attention_cache.update(
            attention.k_proj(states).view(heads), attention.v_proj(states).view(heads), attention.layer_idx
        )
        attended = F.scaled_dot_product_attention(attention.q_proj(states).view(heads), key, value)
        hidden_states = hidden_states + attention.out_proj(attended.view_as(states))
        attention, states = self.cross_attn, self.cross_attn_norm(hidden_states)
        memory = cache.cross_attention_cache.layers[attention.layer_idx]
        attended = F.scaled_dot_product_attention(attention.q_proj(states).view(heads), memory.keys, memory.values)
        hidden_states = hidden_states + attention.out_proj(attended.view_as(states))
        return hidden_states + self.mlp(self.mlp_norm(hidden_states))


def sine_positions(rows: int, columns: int, dim: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """
    Fixed 2-D sine positions, `(rows * columns, dim)`: the row index in the first half of the channels, the column
    index in the second; in each half sine and cosine alternate over frequencies `10000^(-2i / half)`.
    """
    half = dim // 2
    frequencies = 10000.0 ** (-torch.arange(0, half, 2, device=device, dtype=torch.float32) / half)

    def encode(count: int) -> torch.Tensor:
        angles = torch.arange(count, device=device, dtype=torch.float32)[:, None] * frequencies
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)

    parts = encode(rows)[:, None].expand(-1, columns, -1), encode(columns)[None].expand(rows, -1, -1)
    return torch.cat(parts, dim=-1).flatten(0, 1).to(dtype)


def sine_coordinates(count: int, dim: int) -> torch.Tensor:
    """
    Sine and cosine waves over `count` coordinate bins, `(count, dim)` of variance 1; their wavelengths go
    geometrically from 4 bins to twice all bins.
    """
    half = dim // 2
    frequencies = math.pi / 2 * (2 / count) ** torch.linspace(0, 1, half)
    angles = torch.arange(count)[:, None] * frequencies
    return math.sqrt(2) * torch.cat([angles.sin(), angles.cos()], dim=1)


class AiTTokenEmbedding(nn.Embedding):
    """Embeddings of the vocabulary; a class of its own, as its coordinates may have an initialisation of their own."""


class AiTPreTrainedModel(PreTrainedModel):
    """Weight initialisation and what the library needs to know of the family."""

    config: AiTConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _can_compile_fullgraph = True
    _no_split_modules = ["AiTEncoderLayer", "AiTDecoderLayer", "AiTSwinv2Block", "VQTokenizer"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.trunc_normal_(module.weight, std=std)
            if isinstance(module, AiTTokenEmbedding) and self.config.coordinate_initialization == "sine":
                count = len(self.config.vocabulary.coordinates)
                waves = std * sine_coordinates(count, self.config.d_model).to(module.weight)
                init.copy_(module.weight, torch.cat([waves, module.weight[count:]]))
        elif isinstance(module, EMACodebook):
            for buffer in module.buffers(recurse=False):
                init.zeros_(buffer)


class AiTEncoder(AiTPreTrainedModel):
    """
    Backbone and transformer encoder: an image becomes the memory that the decoder reads.

    `forward(pixel_values (batch, 3, height, width))` returns `last_hidden_state` (batch, rows * columns, d_model),
    row-major over the backbone's last feature map.
    """

    _can_record_outputs = {
        "hidden_states": OutputRecorder(AiTEncoderLayer, num_hidden_layers_key="encoder_layers"),
        "attentions": OutputRecorder(AiTAttention, index=1, layer_name="self_attn"),
    }

    def __init__(self, config: AiTConfig):
        super().__init__(config)
        self.backbone, self._unused_in_backbone = build_backbone(config)
        self.input_dropout = nn.Dropout(config.dropout)
        self.input_projection = nn.Linear(self.backbone.channels[-1], config.d_model)
        self.input_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList([AiTEncoderLayer(config) for _ in range(config.encoder_layers)])
        self.norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.memory_projection = nn.Linear(config.d_model, config.d_model)
        self.memory_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.memory_mlp_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.memory_mlp = AiTMLP(config)
        self.drop_path = StochasticDepth(config.drop_path_rate, mode="row")
        self.post_init()
        self.train()

    def train(self, mode: bool = True) -> "AiTEncoder":
        """As of any module, but frozen batch norm normalises by its stored statistics, and neither these nor its weights
        are learned."""
        super().train(mode)
        for name, parameter in self.backbone.named_parameters():
            if name in self._unused_in_backbone:
                parameter.requires_grad_(False)
        for module in batch_norms(self.backbone) if self.config.freeze_batch_norm else ():
            module.eval().requires_grad_(False)
        return self

    def pad(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Zeros at the right and bottom up to `pad_images_to`; `ValueError` for larger images."""
        if self.config.pad_images_to is None:
            return pixel_values
        (height, width), size = self.config.pad_images_to, tuple(pixel_values.shape[-2:])
        missing = (height - size[0], width - size[1])
        if min(missing) < 0:
            raise ValueError(f"Images of {size} pixels are larger than pad_images_to ({height}, {width}).")
        return F.pad(pixel_values, (0, missing[1], 0, missing[0]))

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]) -> BaseModelOutput:
        kwargs.pop("use_cache", None)  # the configuration's, which the library hands on: nothing is cached here
        # With the channels last, where convolutions are faster.
        images = self.pad(pixel_values).contiguous(memory_format=torch.channels_last)
        feature_map = self.backbone(images).feature_maps[-1]
        with solver_autocast(self.config, feature_map):
            features = feature_map.to(self.input_norm.weight.dtype).flatten(2).transpose(1, 2)
            size = feature_map.shape[-2:]
            positions = sine_positions(*size, self.config.d_model, features.device, features.dtype)
            hidden_states = self.input_norm(self.input_projection(self.input_dropout(features))) + positions
            for layer in self.layers:
                hidden_states = layer(hidden_states, **kwargs)
            memory = self.memory_norm(self.memory_projection(self.norm(hidden_states))) + positions
            memory = memory + self.drop_path(self.memory_mlp(self.memory_mlp_norm(memory)))
            return BaseModelOutput(last_hidden_state=memory)


class AiTDecoder(AiTPreTrainedModel):
    """
    Transformer decoder over token sequences.

    Input ids below `vocab_size` are tokens; above follow the task tokens and the parallel token
    ([`Vocabulary.task_token_id`], [`Vocabulary.parallel_token_id`]).
    """

    _can_record_outputs = {
        "hidden_states": AiTDecoderLayer,
        "attentions": OutputRecorder(AiTAttention, index=1, layer_name="self_attn"),
        "cross_attentions": OutputRecorder(AiTCrossAttention, index=1, layer_name="cross_attn"),
    }

    def __init__(self, config: AiTConfig):
        super().__init__(config)
        self.embed_tokens = AiTTokenEmbedding(config.vocab_size, config.d_model)
        self.embed_special = nn.Embedding(config.num_task_ids + int(config.parallel), config.d_model)
        self.embed_positions = nn.Embedding(config.num_task_ids * config.max_position_embeddings, config.d_model)
        self.layers = nn.ModuleList([AiTDecoderLayer(config, index) for index in range(config.decoder_layers)])
        self.norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.post_init()

    def _embed(
        self, input_ids: torch.LongTensor, soft_tokens: torch.Tensor | None, soft_token_start: int
    ) -> torch.Tensor:
        num_tokens = self.embed_tokens.num_embeddings
        tokens = self.embed_tokens(input_ids.clamp(max=num_tokens - 1))
        special = self.embed_special((input_ids - num_tokens).clamp(min=0))
        embeddings = torch.where((input_ids >= num_tokens)[..., None], special, tokens)
        if soft_tokens is None:
            return embeddings
        # Paper Eq. 4. Here and not in the generation loop, so that sharded embeddings are gathered.
        soft_ids = slice(soft_token_start, soft_token_start + soft_tokens.shape[-1])
        expected = soft_tokens.to(embeddings.dtype) @ self.embed_tokens.weight[soft_ids]
        return torch.where((soft_tokens.sum(-1) > 0)[..., None], expected, embeddings)

    def _task_ids(self, input_ids: torch.LongTensor, task_ids: torch.LongTensor | None) -> torch.LongTensor:
        if task_ids is not None:
            return task_ids
        if len(self.config.tasks) == 1:
            (task,) = self.config.tasks.values()
            return torch.full_like(input_ids[:, 0], task["task_id"])
        return input_ids[:, 0] - self.embed_tokens.num_embeddings

    def _block_ids(self, input_ids: torch.LongTensor, past_length: int) -> torch.LongTensor:
        """Of every token up to the last input a number, (batch, length), the same for parallel tokens in a row and the token
        before them, whose outputs are one block; -1 for those in the cache, which see nothing new."""
        is_parallel = input_ids == self.config.vocabulary.parallel_token_id
        return F.pad((~is_parallel).cumsum(1), (past_length, 0), value=-1)

    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.LongTensor,
        encoder_hidden_states: torch.Tensor,
        task_ids: torch.LongTensor | None = None,
        soft_tokens: torch.Tensor | None = None,
        soft_token_start: int = 0,
        attention_mask: torch.Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        with solver_autocast(self.config, encoder_hidden_states):
            if use_cache and cache is None:
                cache = new_cache(self.config)
            past_length = cache.get_seq_length() if cache is not None else 0
            inputs_embeds = self._embed(input_ids, soft_tokens, soft_token_start)
            positions = torch.arange(input_ids.shape[1], device=input_ids.device) + past_length
            rows = self._task_ids(input_ids, task_ids)[:, None] * self.config.max_position_embeddings + positions
            hidden_states = inputs_embeds + self.embed_positions(rows)
            self_attention_cache = cache.self_attention_cache if cache is not None else None
            blocks = self._block_ids(input_ids, past_length) if self.config.bidirectional_blocks else None
            given = (self.config, inputs_embeds, attention_mask, self_attention_cache)
            causal_mask = create_causal_mask(*given, block_sequence_ids=blocks)
            for layer in self.layers:
                hidden_states = layer(hidden_states, encoder_hidden_states, causal_mask, cache=cache, **kwargs)
            return BaseModelOutputWithPastAndCrossAttentions(self.norm(hidden_states), **{CACHE_NAME: cache})


class AiTModel(AiTPreTrainedModel):
    """The bare task-solver: encoder and decoder, without classifier and tokenizers."""

    def __init__(self, config: AiTConfig):
        super().__init__(config)
        self.encoder = AiTEncoder(config)
        self.decoder = AiTDecoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.decoder.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding):
        self.decoder.embed_tokens = value

    def get_encoder(self, modality: str | None = None) -> AiTEncoder:
        return self.encoder  # the library's own lookup gives the whole model for the modality "image"

    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        task_ids: torch.LongTensor | None = None,
        decoder_soft_tokens: torch.FloatTensor | None = None,
        soft_token_start: int = 0,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple | None = None,
        cache: Cache | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> Seq2SeqModelOutput:
        """
        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch, 3, height, width)`): Images, prepared by
                [`AiTImageProcessor`]. May be left out if `encoder_outputs` are given, else a `ValueError`.
            decoder_input_ids (`torch.LongTensor` of shape `(batch, length)`): Token ids, task tokens and parallel
                tokens; the first column of a sequence is its task token. By default just the task token of a model
                with one task, in others a `ValueError`.
            task_ids (`torch.LongTensor` of shape `(batch,)`, *optional*): Row of the position table; needed in a model
                with several tasks where `decoder_input_ids` do not begin with the task token (cached decoding).
            decoder_soft_tokens (`torch.FloatTensor` of shape `(batch, length, ids)`, *optional*): Where a row is not all
                zero, the input is the probability-weighted embedding (paper Eq. 4) and the id is ignored.
            soft_token_start (`int`): The id that the first column of the soft tokens stands for; the next ones follow.
            decoder_attention_mask (`torch.Tensor` of shape `(batch, length)`, *optional*): 0 for padding.
            encoder_outputs: What the encoder returned, to encode an image once and decode several times.
            cache ([`EncoderDecoderCache`], *optional*): Keys and values of earlier calls.
        """
        if encoder_outputs is None:
            if pixel_values is None:
                raise ValueError("Give pixel_values (the images) or encoder_outputs (what the encoder made of them).")
            encoder_outputs = self.encoder(pixel_values=pixel_values, **kwargs)
        elif not isinstance(encoder_outputs, BaseModelOutput):
            encoder_outputs = BaseModelOutput(*encoder_outputs)
        memory = encoder_outputs.last_hidden_state
        if decoder_input_ids is None:
            if len(self.config.tasks) != 1:
                raise ValueError(
                    f"Give decoder_input_ids: a model with the tasks {sorted(self.config.tasks)} has no default one."
                )
            (task,) = self.config.tasks.values()
            start = self.config.vocabulary.task_token_id(task["task_id"])
            decoder_input_ids = torch.full((memory.shape[0], 1), start, dtype=torch.long, device=memory.device)
        decoder_outputs = self.decoder(
            input_ids=decoder_input_ids,
            encoder_hidden_states=memory,
            task_ids=task_ids,
            soft_tokens=decoder_soft_tokens,
            soft_token_start=soft_token_start,
            attention_mask=decoder_attention_mask,
            cache=cache,
            use_cache=use_cache,
            **kwargs,
        )
        return Seq2SeqModelOutput(
            last_hidden_state=decoder_outputs.last_hidden_state,
            decoder_hidden_states=decoder_outputs.hidden_states,
            decoder_attentions=decoder_outputs.attentions,
            cross_attentions=decoder_outputs.cross_attentions,
            encoder_last_hidden_state=memory,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
            **{CACHE_NAME: decoder_outputs.get(CACHE_NAME)},
        )
