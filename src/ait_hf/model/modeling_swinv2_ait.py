# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
SwinV2 backbone with a window, and a choice of shifting, for each stage ("Swin Transformer V2", arXiv 2111.09883).

It computes what the released AiT backbone computes. What differs is how: the maps stay in (batch, height, width,
channels) layout, padding comes after the projection to queries, keys and values, and no mask is ever built for shifted
windows. Maps that one unshifted window covers are neither padded, rolled nor copied.
"""

import math
from itertools import islice

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BackboneOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import logging
from transformers.utils.generic import can_return_tuple, maybe_autocast

from .configuration_swinv2_ait import AiTSwinv2Config
from .window_attention_ait import at_least_float32, autocast_dtype, unfold_table, window_attention


logger = logging.get_logger(__name__)

MAX_LOGIT_SCALE = math.log(100.0)
POSITION_BIAS_WIDTH = 512  # hidden width of the position-bias network
REGION_PENALTY = 100.0  # subtracted from the score of two tokens that only the cyclic shift made neighbours
LARGE_WINDOW = 16  # from here on, scores are worth computing twice instead of writing them to memory
REGION_CHANNELS = 8  # four regions at most; fused attention kernels want head sizes that are multiples of 8


def partition_windows(hidden_states: torch.Tensor, window: int, shift: int) -> torch.Tensor:
    """
    Cuts a map `(batch, height, width, channels)`, zero-padded at the bottom and right to multiples of `window`, then
    rolled up and left by `shift`, into square windows `(batch * rows * columns, window**2, channels)`, row-major; a
    view where nothing moves.
    """
    batch, height, width, channels = hidden_states.shape
    if height % window or width % window:
        hidden_states = F.pad(hidden_states, (0, 0, 0, -width % window, 0, -height % window))
    if shift:
        hidden_states = hidden_states.roll((-shift, -shift), dims=(1, 2))
    rows, columns = hidden_states.shape[1] // window, hidden_states.shape[2] // window
    hidden_states = hidden_states.view(batch, rows, window, columns, window, channels).transpose(2, 3)
    return hidden_states.reshape(batch * rows * columns, window * window, channels)


def merge_windows(windows: torch.Tensor, window: int, shift: int, height: int, width: int) -> torch.Tensor:
    """Inverse of [`partition_windows`]: a map of shape `(batch, height, width, channels)`, without the padding."""
    rows, columns = -(-height // window), -(-width // window)
    hidden_states = windows.view(-1, rows, columns, window, window, windows.shape[-1]).transpose(2, 3)
    hidden_states = hidden_states.reshape(-1, rows * window, columns * window, windows.shape[-1])
    if shift:
        hidden_states = hidden_states.roll((shift, shift), dims=(1, 2))
    return hidden_states[:, :height, :width]


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention step by step, in the library's interface; softmax in float32 at least. Returns result, weights."""
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask[..., : key.shape[-2]]
    weights = F.softmax(scores, dim=-1, dtype=at_least_float32(query.dtype)).to(query.dtype)
    return (weights @ value).transpose(1, 2), weights


class AiTSwinv2Embeddings(nn.Module):
    """Patches as tokens, `(batch, 3, H, W)` to `(batch, ceil(H / patch), ceil(W / patch), embed_dim)`, normalised."""

    def __init__(self, config: AiTSwinv2Config):
        super().__init__()
        size = config.patch_size
        self.projection = nn.Conv2d(config.num_channels, config.embed_dim, kernel_size=size, stride=size)
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.layer_norm_eps)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        height, width = pixel_values.shape[-2:]
        patch_height, patch_width = self.projection.kernel_size
        if height % patch_height or width % patch_width:
            pixel_values = F.pad(pixel_values, (0, -width % patch_width, 0, -height % patch_height))
        # The channels-last convolution writes the layout that the blocks read.
        pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        return self.norm(self.projection(pixel_values).permute(0, 2, 3, 1))


class AiTSwinv2PatchMerging(nn.Module):
    """Joins 2 x 2 tokens into one of twice the channels; odd maps are zero-padded at the bottom and right."""

    def __init__(self, config: AiTSwinv2Config, channels: int):
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(2 * channels, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        height, width = hidden_states.shape[1:3]
        if height % 2 or width % 2:
            hidden_states = F.pad(hidden_states, (0, 0, 0, width % 2, 0, height % 2))
        # The reduction expects a patch column by column: upper left, lower left, upper right, lower right.
        patches = hidden_states.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2, 5)
        return self.norm(self.reduction(patches.flatten(3)))


class AiTSwinv2PositionBias(nn.Module):
    """
    Continuous relative position bias (Swin V2, section 3.3): a small network maps log-spaced offsets between two tokens
    to one bias in (0, 16) for each head, so that a window of any size can be used. It computes in float32, whatever the
    type of the weights and autocast.
    """

    def __init__(self, num_heads: int, pretrained_window: int):
        super().__init__()
        self.reach = max(pretrained_window - 1, 1)  # offset in tokens that maps to 8
        self.fc1 = nn.Linear(2, POSITION_BIAS_WIDTH)
        self.fc2 = nn.Linear(POSITION_BIAS_WIDTH, num_heads, bias=False)

    def table(self, window: int) -> torch.Tensor:
        """The bias by offset, `(heads, 2 * window - 1, 2 * window - 1)`, from large offsets to small ones."""
        device, dtype = self.fc1.weight.device, at_least_float32(self.fc1.weight.dtype)
        offsets = torch.arange(window - 1, -window, -1, device=device, dtype=dtype)
        offsets = offsets / self.reach * 8.0
        offsets = offsets.sign() * torch.log2(offsets.abs() + 1.0) / math.log2(8.0)
        offsets = torch.stack(torch.meshgrid(offsets, offsets, indexing="ij"), dim=-1)
        with maybe_autocast(device.type, enabled=False):
            hidden = F.relu(F.linear(offsets, self.fc1.weight.to(dtype), self.fc1.bias.to(dtype)))
            table = 16.0 * torch.sigmoid(F.linear(hidden, self.fc2.weight.to(dtype)))
        return table.permute(2, 0, 1).contiguous()

    def forward(
        self, window: int, dtype: torch.dtype = torch.float32, buffer: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        The bias `(1, heads, window**2, window**2)` between every query and every key of a window of so many tokens a
        side, with the **queries in reverse order** and the keys in row-major order. That order turns the whole tensor
        into overlapping slices of one small table, which are copied instead of gathered, to the `buffer` `(heads,
        window, window, window, window)` if there is one. Where the dtype holds less than the table, the largest bias
        of each head is subtracted first: that changes no softmax, and rounds those least that matter most.
        """
        table = self.table(window)
        if dtype.itemsize < table.dtype.itemsize:
            table = table - table.detach().amax(dim=(1, 2), keepdim=True)
        bias = unfold_table(table, window)
        # Rounded while it is copied, so that the gradient is summed in the type of the table.
        bias = (bias if buffer is None else buffer.copy_(bias)).to(dtype)
        return bias.reshape(1, -1, window**2, window**2)


class AiTSwinv2Attention(nn.Module):
    """
    Cosine attention (Swin V2, section 3.2) with a learned temperature and position bias inside the windows of a stage,
    counted from 0, which are shifted down and right by so many tokens.
    """

    def __init__(self, config: AiTSwinv2Config, stage: int, shift: int):
        super().__init__()
        self.config = config
        self.window = config.window_sizes[stage]
        self.shift = shift
        self.num_heads = config.num_heads[stage]
        channels = config.embed_dim * 2**stage
        self.head_dim = channels // self.num_heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.query_bias = nn.Parameter(torch.zeros(channels))
        self.value_bias = nn.Parameter(torch.zeros(channels))
        self.logit_scale = nn.Parameter(torch.full((self.num_heads, 1, 1), math.log(10.0)))
        self.position_bias = AiTSwinv2PositionBias(
            self.num_heads, config.pretrained_window_sizes[stage] or self.window
        )
        self.projection = nn.Linear(channels, channels)

    def unit(self, vectors: torch.Tensor, scale: torch.Tensor | float = 1.0) -> torch.Tensor:
        """Vectors of length `scale` (of length 0, if they were); half precision could not hold `scale / epsilon`."""
        norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True, dtype=at_least_float32(vectors.dtype))
        return (vectors * (scale / (norm + self.config.cosine_eps))).to(vectors.dtype)

    def separate_regions(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, height: int, width: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Appends channels to queries and keys that add `-REGION_PENALTY` to the score of two tokens from different
        regions and exactly 0 within a region: a mask that costs no memory. Values get zeros, as kernels want one size.
        A token's region is the part of the map that it came from before the roll, which brings the first rows next to
        the last ones, and the same for columns, so that a window holds at most four regions.
        """
        height, width = height + -height % self.window, width + -width % self.window
        bottom = torch.arange(height, device=query.device) >= height - self.shift
        right = torch.arange(width, device=query.device) >= width - self.shift
        regions = F.one_hot(2 * bottom.long()[:, None] + right.long(), REGION_CHANNELS)
        regions = partition_windows(regions[None].to(query.dtype), self.window, shift=0)
        images = query.shape[0] // regions.shape[0]
        regions = regions[None, :, None].expand(images, -1, self.num_heads, -1, -1).flatten(0, 1)
        query = torch.cat((query, REGION_PENALTY * regions), dim=-1)
        key = torch.cat((key, regions - 1.0), dim=-1)
        return query, key, F.pad(value, (0, REGION_CHANNELS))

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias_buffer: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Softmax attention with the position bias; queries, keys and values are `(windows, heads, tokens, channels)`, the
        queries in reverse order. Returns the result, `(windows, tokens, heads, channels)`, and the weights or `None`.
        """
        implementation = self.config._attn_implementation
        is_cpu_training = query.requires_grad and query.device.type == "cpu" and not torch.compiler.is_compiling()
        if implementation == "sdpa" and is_cpu_training and self.window >= LARGE_WINDOW:
            attended = window_attention(query, key, value, self.position_bias.table(self.window))
            return attended.transpose(1, 2), None
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        bias = self.position_bias(self.window, query.dtype, bias_buffer)
        return attend(self, query, key, value, attention_mask=bias, scaling=1.0, dropout=0.0, is_causal=False)

    def forward(
        self, hidden_states: torch.Tensor, bias_buffer: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        A map `(batch, height, width, channels)`, and memory for the position bias, to the new map, and with the eager
        implementation the weights `(batch * windows, heads, window**2, window**2)`, else `None`.
        """
        height, width = hidden_states.shape[1:3]
        # Padding after a projection without biases leaves padded keys and values exactly zero, as they have to be.
        windows = partition_windows(self.qkv(hidden_states), self.window, self.shift)
        query, key, value = windows.unflatten(-1, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        scale = self.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
        # Biases in the type that autocast gives the projection: else what follows would be float32.
        query_bias = self.query_bias.to(query.dtype).view(self.num_heads, 1, self.head_dim)
        query = self.unit(query + query_bias, scale)
        key = self.unit(key)
        if self.shift:
            query, key, value = self.separate_regions(query, key, value, height, width)
        attended, weights = self.attend(query.flip(2), key, value, bias_buffer)
        attended = attended[..., : self.head_dim].flip(1).flatten(2)
        attended = merge_windows(attended, self.window, self.shift, height, width)
        # The weights of a query sum to one, hence the value bias can be added to the result instead of every value.
        attended = self.projection(attended + self.value_bias.to(attended.dtype))
        return attended, None if weights is None else weights.flip(2)


class AiTSwinv2MLP(nn.Module):
    """Two linear layers with an activation, and perhaps dropout, between them."""

    def __init__(self, channels: int, hidden_channels: int, activation: str, dropout: float | None = None):
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.activation = ACT2FN[activation]
        self.dropout = nn.Identity() if dropout is None else nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden_channels, channels)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = self.activation(self.fc1(hidden_states))
        return self.fc2(self.dropout(hidden_states) if self.training else hidden_states)


class AiTSwinv2ResidualNorm(nn.LayerNorm):
    """Norm of what a block adds to the residual stream; starts at zero, so that new blocks pass their input on."""


class AiTSwinv2Block(GradientCheckpointingLayer):
    """Attention and MLP, each normalised before it is added to the residual stream (Swin V2, section 3.2)."""

    def __init__(self, config: AiTSwinv2Config, stage: int, shift: int, drop_path: float):
        super().__init__()
        channels = config.embed_dim * 2**stage
        self.attention = AiTSwinv2Attention(config, stage, shift)
        self.attention_norm = AiTSwinv2ResidualNorm(channels, eps=config.layer_norm_eps)
        self.mlp = AiTSwinv2MLP(channels, int(config.mlp_ratio * channels), config.hidden_act)
        self.mlp_norm = AiTSwinv2ResidualNorm(channels, eps=config.layer_norm_eps)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(
        self, hidden_states: torch.Tensor, bias_buffer: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        attended, weights = self.attention(hidden_states, bias_buffer)
        hidden_states = hidden_states + self.drop_path(self.attention_norm(attended))
        hidden_states = hidden_states + self.drop_path(self.mlp_norm(self.mlp(hidden_states)))
        return hidden_states, weights


class AiTSwinv2Stage(nn.Module):
    """The blocks of one resolution, and the patch merging (`None` in the last stage) that leads to the next one."""

    def __init__(self, config: AiTSwinv2Config, stage: int, drop_path: list[float]):
        super().__init__()
        self.num_heads = config.num_heads[stage]
        self.window = config.window_sizes[stage]
        shift = self.window // 2 if config.shifted_stages[stage] else 0
        self.blocks = nn.ModuleList(
            AiTSwinv2Block(config, stage, shift if index % 2 else 0, rate) for index, rate in enumerate(drop_path)
        )
        is_last = stage == config.num_layers - 1
        self.merging = None if is_last else AiTSwinv2PatchMerging(config, config.embed_dim * 2**stage)

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor | None, ...]]:
        """Runs the blocks, not the merging. Returns the map and the attention weights of every block."""
        # A position bias takes tens of megabytes; on a CPU, getting fresh memory for each one costs more than the
        # arithmetic. Nothing keeps it when there is no backward pass, so that the blocks can share one buffer.
        bias_buffer = None
        if not torch.is_grad_enabled():
            shape = (self.num_heads,) + (self.window,) * 4
            bias_buffer = hidden_states.new_empty(shape, dtype=autocast_dtype(hidden_states))
        attentions = ()
        for block in self.blocks:
            hidden_states, weights = block(hidden_states, bias_buffer)
            attentions += (weights,)
        return hidden_states, attentions


class AiTSwinv2Backbone(BackboneMixin, PreTrainedModel):
    """
    The backbone of AiT: an image in, feature maps at strides 4, 8, 16, 32 out.

    The map of the last stage is layer-normalised; maps of earlier stages (and `"stem"`, the patch embedding) are
    returned as they are. Parameter names, for optimizers and conversion: `embeddings.*`, then
    `stages.{s}.blocks.{b}.*` and `stages.{s}.merging.*` in the order in which they run, then `norm.*`.

    Example:

    ```python
    >>> import torch
    >>> from ait_hf import AiTSwinv2Backbone, AiTSwinv2Config

    >>> config = AiTSwinv2Config(embed_dim=16, depths=(1, 1), num_heads=(1, 2), window_sizes=(8, 8),
    ...                          shifted_stages=(False, True), pretrained_window_sizes=(0, 0))
    >>> backbone = AiTSwinv2Backbone(config).eval()
    >>> backbone(torch.zeros(1, 3, 64, 96)).feature_maps[0].shape
    torch.Size([1, 32, 8, 12])

    ```
    """

    config: AiTSwinv2Config
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["AiTSwinv2Block"]
    _input_embed_layer = "projection"
    _supports_sdpa = True

    def __init__(self, config: AiTSwinv2Config):
        super().__init__(config)
        self.num_features = [config.embed_dim] + [config.embed_dim * 2**stage for stage in range(config.num_layers)]
        self.embeddings = AiTSwinv2Embeddings(config)
        total = sum(config.depths)
        rates = iter([config.drop_path_rate * block / max(total - 1, 1) for block in range(total)])
        self.stages = nn.ModuleList(
            AiTSwinv2Stage(config, stage, list(islice(rates, depth))) for stage, depth in enumerate(config.depths)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, AiTSwinv2Attention):
            init.zeros_(module.query_bias)
            init.zeros_(module.value_bias)
            init.constant_(module.logit_scale, math.log(10.0))
        elif isinstance(module, AiTSwinv2ResidualNorm):
            init.zeros_(module.weight)
            init.zeros_(module.bias)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs,
    ) -> BackboneOutput:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, num_channels, H, W)`): Images of any size, normalised as in
                training; sides that the patch size does not divide are zero-padded at the bottom and right.
                `ValueError` for another shape.
            output_hidden_states (`bool`, *optional*): Also return the patch embedding and the map after the blocks of
                every stage, none of them normalised. Defaults to the configuration's value.
            output_attentions (`bool`, *optional*): Also return the attention weights of every block; as everywhere in
                the library, only the eager implementation has any. Defaults to the configuration's value.

        Returns:
            [`~transformers.modeling_outputs.BackboneOutput`] with `feature_maps`, one `(batch, channels, height,
            width)` for each of `config.out_features` (`height = ceil(H / patch / 2**stage)`; the last stage's is
            normalised), `hidden_states`, `1 + stages` such maps, and `attentions`, `(batch * windows, heads,
            window**2, window**2)` for each block.
        """
        channels, shape = self.config.num_channels, tuple(pixel_values.shape)
        if len(shape) != 4 or shape[1] != channels:
            raise ValueError(f"pixel_values must have the shape (batch, {channels}, height, width); got {shape}.")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_attentions and self.config._attn_implementation != "eager":
            logger.warning_once(
                f'attn_implementation="{self.config._attn_implementation}" gives no attention weights; '
                'load the model with attn_implementation="eager" to use output_attentions=True.'
            )
        hidden_states = self.embeddings(pixel_values)
        maps, attentions = [hidden_states], ()
        for stage in self.stages:
            hidden_states, stage_attentions = stage(hidden_states)
            maps.append(hidden_states)
            attentions += tuple(weights for weights in stage_attentions if weights is not None)
            if stage.merging is not None:
                hidden_states = stage.merging(hidden_states)
        last = self.stage_names[-1]
        features = {name: self.norm(value) if name == last else value for name, value in zip(self.stage_names, maps)}
        return BackboneOutput(
            feature_maps=tuple(features[name].permute(0, 3, 1, 2) for name in self.out_features),
            hidden_states=tuple(value.permute(0, 3, 1, 2) for value in maps) if output_hidden_states else None,
            attentions=attentions if output_attentions else None,
        )
