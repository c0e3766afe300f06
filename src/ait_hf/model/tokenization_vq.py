# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The VQ tokenizer: depth maps, masks, label maps and other maps to grids of discrete codes and back."""

import math
import os
from importlib import import_module

import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config

from .quantization_ait import EMACodebook, FSQCodebook, sum_over_processes
from .tokenization_base import TokenizerBase, check_codebook


LOSS_TYPES = ("mse", "masked_mse", "smooth_l1", "cross_entropy")
IGNORED_LABEL = 255
SMALLEST_SHARE = 1e-3  # that a class is taken to have, whose logarithm its logit starts from


# Activations are computed in place: convolutions do not need their outputs for gradients, and fresh memory for the large
# maps costs a CPU a sixth of the whole decoding.


class VQResidualBlock(nn.Module):
    """`x + conv1x1(relu(conv3x3(relu(conv3x3(x)))))`, without activation after the sum."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv3 = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        residual = F.relu(self.conv1(hidden_states), inplace=True)
        residual = F.relu(self.conv2(residual), inplace=True)
        return hidden_states + self.conv3(residual)


class VQEncoder(nn.Module):
    """Maps `(batch, in_channels, height, width)` to latents, one stride-2 convolution per entry of `widths`."""

    def __init__(self, in_channels: int, widths: list[int], num_res_blocks: int, latent_channels: int):
        super().__init__()
        sizes = zip([in_channels, *widths[:-1]], widths)
        self.down = nn.ModuleList(nn.Conv2d(i, o, 4, stride=2, padding=1) for i, o in sizes)
        self.res_blocks = nn.ModuleList(VQResidualBlock(widths[-1]) for _ in range(num_res_blocks))
        self.conv_out = nn.Conv2d(widths[-1], latent_channels, 1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        for down in self.down:
            hidden_states = F.relu(down(hidden_states), inplace=True)
        for block in self.res_blocks:
            hidden_states = block(hidden_states)
        return self.conv_out(hidden_states)


class VQDecoder(nn.Module):
    """Mirror of [`VQEncoder`]; its first transposed convolution keeps the width, the others halve it."""

    def __init__(self, out_channels: int, widths: list[int], num_res_blocks: int, latent_channels: int):
        super().__init__()
        self.conv_in = nn.Conv2d(latent_channels, widths[-1], 1)
        self.res_blocks = nn.ModuleList(VQResidualBlock(widths[-1]) for _ in range(num_res_blocks))
        sizes = zip([widths[-1], *widths[:0:-1]], widths[::-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 4, stride=2, padding=1) for i, o in sizes)
        self.conv_out = nn.Conv2d(widths[0], out_channels, 1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = F.relu(self.conv_in(hidden_states), inplace=True)
        for block in self.res_blocks:
            hidden_states = block(hidden_states)
        for up in self.up:
            hidden_states = F.relu(up(hidden_states), inplace=True)
        return self.conv_out(hidden_states)


class VQTokenizer(TokenizerBase):
    r"""
    VQ-VAE that turns the output of a dense vision task into a grid of codes and back (AiT paper, section 3.2). One
    code stands for a square of `downsample_ratio` pixels. Maps of any size that is a multiple of it are accepted.

    Samples are maps `(batch_size, in_channels, height, width)` in the config's unit, without the channel axis if one
    likes where there is one channel; label maps are integers `(batch_size, height, width)`. What is decoded has shape
    `(batch_size, out_channels, height, width)`: values in the config's unit, or class logits. NaN and infinite values
    are not tokenized: pixels without a known value are 0 in all channels, in label maps 255.

    The defaults are the released depth tokenizer. The released mask tokenizer is `downsample_ratio=16,
    sample_size=64, value_range=(0, 1), unit="mask", loss_type="mse"`.

    To train from scratch, call [`~VQTokenizer.init_codebook`] and [`~VQTokenizer.init_output`] with the first batch.

    Parameters:
        in_channels (`int`, *optional*, defaults to 1): Channels of a map, or number of classes of a label map.
        out_channels (`int`, *optional*, defaults to 1): Channels of a reconstruction: as `in_channels`.
        downsample_ratio (`int`, *optional*, defaults to 32): Pixels per code and axis: 2, 4, 8, 16, 32, ...
        base_channels (`int`, *optional*, defaults to 16): Width of the first convolution. It doubles with every
            further one, up to `base_channels * downsample_ratio / 2`.
        num_res_blocks (`int`, *optional*, defaults to 2): Residual blocks in the encoder and in the decoder, 1 to 5.
        num_vq_embeddings (`int`, *optional*, defaults to 128): Number of codes.
        vq_embed_dim (`int`, *optional*, defaults to 512): Width of a code.
        sample_size (`int` or `(height, width)`, *optional*, defaults to 480): Size in pixels of the maps it is trained
            on; sets [`~VQTokenizer.num_tokens`]. Masks of objects are squares.
        value_range (`tuple[float, float]`, *optional*): Values that the network sees as -1 and 1; maps are mapped
            linearly on the way in and back on the way out. `None` leaves them as they are.
        unit (`str`, *optional*, defaults to `"metre"`): Unit of the values, for readers of the config.
        loss_type (`str`, *optional*, defaults to `"masked_mse"`): `"mse"`; `"masked_mse"`, over the known pixels,
            those whose target is not 0 in all channels; `"smooth_l1"`, over all pixels, with beta 0.05; or
            `"cross_entropy"`, for label maps: integer maps of ids `0..in_channels - 1` that become one-hot channels
            inside, 255 is ignored, and what is decoded are class logits.
        commitment_cost (`float`, *optional*, defaults to 0.25): Weight of the commitment loss.
        ema_decay (`float`, *optional*, defaults to 0.99): See [`EMACodebook`], as the next two.
        ema_epsilon (`float`, *optional*, defaults to 1e-5): Laplace smoothing of the code sizes.
        revival_threshold (`float`, *optional*, defaults to 0.0): Relative size below which a code is re-seeded.
        fsq_levels (`list[int]`, *optional*): Takes the codes from a fixed grid with so many levels on each axis instead of
            learning them, see [`FSQCodebook`]: `vq_embed_dim` is the number of axes, `num_vq_embeddings` the product of
            the levels. Not in the paper.
        class_names (`list[str]`, *optional*): Of label maps, in the order of their ids, for readers of the config.

    Raises:
        ValueError: If an argument is out of its range.
    """

    tokenizer_type = "map"

    @register_to_config
    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        downsample_ratio: int = 32,
        base_channels: int = 16,
        num_res_blocks: int = 2,
        num_vq_embeddings: int = 128,
        vq_embed_dim: int = 512,
        sample_size: int | list[int] | tuple[int, int] = 480,
        value_range: tuple[float, float] | None = None,
        unit: str = "metre",
        loss_type: str = "masked_mse",
        commitment_cost: float = 0.25,
        ema_decay: float = 0.99,
        ema_epsilon: float = 1e-5,
        revival_threshold: float = 0.0,
        class_names: list[str] | None = None,
        fsq_levels: list[int] | None = None,
    ):
        super().__init__()
        num_stages = downsample_ratio.bit_length() - 1
        if downsample_ratio < 2 or downsample_ratio != 2**num_stages:
            raise ValueError(f"downsample_ratio must be a power of two from 2 up, got {downsample_ratio}.")
        if not 1 <= num_res_blocks <= 5:
            raise ValueError(f"num_res_blocks must be 1 to 5, got {num_res_blocks}.")
        check_codebook(num_vq_embeddings, ema_decay, revival_threshold)
        if len(self.map_size) != 2 or any(side < 1 or side % downsample_ratio for side in self.map_size):
            raise ValueError(
                f"sample_size must be a multiple of downsample_ratio {downsample_ratio}, got {sample_size}."
            )
        if value_range is not None and (len(value_range) != 2 or not value_range[0] < value_range[1]):
            raise ValueError(f"value_range must be None or (smallest, largest), got {value_range}.")
        if loss_type not in LOSS_TYPES:
            raise ValueError(f"loss_type must be one of {', '.join(LOSS_TYPES)}, got {loss_type!r}.")
        if loss_type == "cross_entropy":
            if in_channels != out_channels or not 2 <= in_channels <= IGNORED_LABEL:
                raise ValueError(
                    "loss_type 'cross_entropy' needs in_channels and out_channels to be the number of classes, 2 to "
                    f"{IGNORED_LABEL}, got {in_channels} and {out_channels}."
                )
            if value_range is not None:
                raise ValueError(f"loss_type 'cross_entropy' has no value_range, got {value_range}.")
        if fsq_levels is not None and (
            min(fsq_levels, default=0) < 2
            or (num_vq_embeddings, vq_embed_dim) != (math.prod(fsq_levels), len(fsq_levels))
        ):
            raise ValueError(
                f"fsq_levels {list(fsq_levels)} must be at least 2 each, and ask for num_vq_embeddings "
                f"{math.prod(fsq_levels)} and vq_embed_dim {len(fsq_levels)}, got {num_vq_embeddings} and {vq_embed_dim}."
            )
        widths = [base_channels * 2**i for i in range(num_stages)]
        self.encoder = VQEncoder(in_channels, widths, num_res_blocks, vq_embed_dim)
        if fsq_levels is None:
            self.quantizer = EMACodebook(num_vq_embeddings, vq_embed_dim, ema_decay, ema_epsilon, revival_threshold)
        else:
            self.quantizer = FSQCodebook(fsq_levels)
        self.decoder = VQDecoder(out_channels, widths, num_res_blocks, vq_embed_dim)
        self.register_buffer("_code_values", None, persistent=False)

    @classmethod
    def from_original(cls, file: str | os.PathLike, preset: str) -> "VQTokenizer":
        """
        The tokenizer of a published model that uses AiT's, from the file that its authors publish; in evaluation mode,
        float32.

        Args:
            file (`str` or `os.PathLike`): `.npz`, `.pt` or `.safetensors`. Nothing pickled is run.
            preset (`str`): `"paligemma-mask"`, `"molmoact-depth"`, `"molmoact2-depth"` or `"aurora-depth"`; see
                [`~ait_hf.tokens.PRESETS`].

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: There is no such preset, the file is truncated or holds other things than numbers, or its
                arrays are not those of the preset; the message names them.
        """
        # Not an import statement: this file also travels with checkpoints to where there is no ait_hf.
        return import_module("ait_hf.tokens.original").load_original_tokenizer(cls, file, preset)

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the maps it is trained on, pixels."""
        size = self.config.sample_size
        return (size, size) if isinstance(size, int) else tuple(size)

    @property
    def num_tokens(self) -> int:
        """Number of codes of a map of `sample_size`."""
        return math.prod(side // self.config.downsample_ratio for side in self.map_size)

    @torch.no_grad()
    def code_values(self) -> torch.FloatTensor:
        """
        What each code stands for where all around is the same: mean values `(num_vq_embeddings, out_channels)` of the middle
        of three by three of it, in the config's unit; of label maps, mean logits. A frozen tokenizer decodes them once.
        """
        if self._code_values is not None:
            return self._code_values
        ratio, num_codes = self.config.downsample_ratio, self.config.num_vq_embeddings
        ids = torch.arange(num_codes, device=self.device)[:, None, None].expand(-1, 3, 3)
        middle = self.detokenize(ids, validate=False)[..., ratio : 2 * ratio, ratio : 2 * ratio]
        values = middle.mean((2, 3))
        if self._frozen:
            self._code_values = values
        return values

    def uncertainty(self, soft_tokens: torch.FloatTensor) -> torch.FloatTensor:
        """
        How far the values lie apart that the codes of a soft token stand for ([`~VQTokenizer.code_values`]): their standard
        deviation, of several channels the root of the sum of their variances (of label maps, of the logits). 0 where one code
        is certain.

        Args:
            soft_tokens (`torch.FloatTensor` of shape `(..., rows, columns, num_vq_embeddings)`): Probabilities of codes.

        Returns:
            `(..., height, width)`, in the config's unit, bilinearly between the tokens.
        """
        values = self.code_values().to(soft_tokens.dtype)
        values = values - values.mean(0)  # so that squares are of differences, not of distances from 0
        variance = soft_tokens @ values.square() - (soft_tokens @ values).square()
        deviation = variance.sum(-1).clamp(min=0).sqrt()
        size = [side * self.config.downsample_ratio for side in deviation.shape[-2:]]
        maps = F.interpolate(deviation.flatten(0, -3)[:, None], size=size, mode="bilinear")
        return maps[:, 0].unflatten(0, deviation.shape[:-2])

    def _load_from_state_dict(self, *arguments) -> None:
        self._code_values = None  # of other weights
        super()._load_from_state_dict(*arguments)

    def tokenize(self, x: torch.Tensor, validate: bool = True) -> torch.LongTensor:
        if validate:
            check_values(x)
        return super().tokenize(x, validate)

    def check_samples(self, x: torch.Tensor) -> None:
        if self.config.loss_type == "cross_entropy":
            check_labels(x, self.config.in_channels)

    def reconstruction_loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.FloatTensor:
        """
        The config's `loss_type`, in float32 and in the range that the network sees (-1 to 1 if `value_range` is set):
        a mean over the pixels that count and their channels, exactly 0 if none does.

        Args:
            prediction (`torch.Tensor` of shape `(batch_size, out_channels, height, width)`): Of the decoder network.
            target (`torch.Tensor`): Maps in the config's unit; `(batch_size, height, width)` will do for one channel
                and for label maps. `ValueError` if its shape is not that of the prediction.
        """
        loss_type = self.config.loss_type
        prediction = prediction.float()
        if loss_type == "cross_entropy":
            labels = _label_map(target)
            total = F.cross_entropy(prediction, labels, ignore_index=IGNORED_LABEL, reduction="sum")
            return total / (labels != IGNORED_LABEL).sum().clamp_min(1)
        target = target.unsqueeze(1) if target.ndim == 3 else target
        if target.shape != prediction.shape:
            raise ValueError(f"The target has shape {tuple(target.shape)}, the map {tuple(prediction.shape)}.")
        goal = self._to_network_range(target)
        if loss_type == "mse":
            return F.mse_loss(prediction, goal)
        if loss_type == "smooth_l1":
            return F.smooth_l1_loss(prediction, goal, beta=0.05)
        known = _known(target)
        # Where nothing is known the prediction is its own target: error and gradient are 0 even if the target is NaN.
        total = F.mse_loss(prediction, torch.where(known, goal, prediction.detach()), reduction="sum")
        return total / known.sum().clamp_min(1)

    @torch.no_grad()
    def init_output(self, *targets: torch.Tensor) -> None:
        """
        Starts what is decoded at the mean of the known values of these maps, of label maps at the classes' shares, and the
        last layer, which is the narrowest, with biases above 0. Else all its units may come to lie where ReLU gives nothing
        and passes no gradient, from the start or pushed there together on the way to the mean: one training in thirty ended
        so (docs/log.md). With several processes all must call it; their maps count together.
        """
        of_classes, total, count = self.config.loss_type == "cross_entropy", 0, 0
        for target in targets:
            goal = self._network_input(target).float()
            if self.config.loss_type == "masked_mse":
                goal = torch.where(_known(target.view_as(goal)), goal, 0)
            total, count = total + goal.sum((0, 2, 3)), count + self.num_targets(target)
        mean = sum_over_processes(total) / sum_over_processes(count).clamp_min(1)
        bias = mean.clamp_min(SMALLEST_SHARE).log() if of_classes else mean * self.config.out_channels
        self.decoder.conv_out.bias.copy_(bias)
        self.decoder.up[-1].bias.abs_()

    def num_targets(self, target: torch.Tensor) -> torch.FloatTensor:
        if self.config.loss_type == "cross_entropy":
            return (_label_map(target) != IGNORED_LABEL).sum().float()
        if self.config.loss_type == "masked_mse":
            return _known(target.unsqueeze(1) if target.ndim == 3 else target).sum().float()
        return torch.tensor(float(target.numel()), device=target.device)

    def _network_input(self, x: torch.Tensor) -> torch.Tensor:
        channels, ratio = self.config.in_channels, self.config.downsample_ratio
        if self.config.loss_type == "cross_entropy":
            # The ignored label, like whatever is no class, is 0 in all channels.
            x = (_label_map(x).unsqueeze(1) == torch.arange(channels, device=x.device)[:, None, None]).float()
        elif x.ndim == 3 and channels == 1:
            x = x.unsqueeze(1)
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(f"Maps must have shape (batch, {channels}, height, width), got {tuple(x.shape)}.")
        if x.shape[2] % ratio or x.shape[3] % ratio:
            raise ValueError(
                f"Height and width must be multiples of {ratio}, got {x.shape[2]} and {x.shape[3]}: crop or pad the map."
            )
        return self._to_network_range(x).to(self.dtype)

    def _to_network_range(self, x: torch.Tensor) -> torch.FloatTensor:
        if self.config.value_range is None:
            return x.float()
        low, high = self.config.value_range
        return 2 * (x.float() - low) / (high - low) - 1

    def _from_network_range(self, y: torch.Tensor) -> torch.Tensor:
        if self.config.value_range is None:
            return y
        low, high = self.config.value_range
        return (y + 1) / 2 * (high - low) + low


def mask_augmentation(
    x: torch.Tensor,
    ratio: float = 0.5,
    patch_size: int = 16,
    generator: torch.Generator | None = None,
    value: float = 0,
) -> torch.Tensor:
    """
    A copy with a fixed share of square patches, chosen at random for every sample, set to 0 (AiT paper, section 3.4).
    Trained with the unmasked map as its target, a tokenizer learns to fill in missing values. Raises `ValueError` if
    `ratio` is not between 0 and 1 or height or width is not a multiple of `patch_size`.

    Args:
        x (`torch.Tensor` of shape `(batch_size, channels, height, width)` or `(batch_size, height, width)`): Maps.
        ratio (`float`, *optional*, defaults to 0.5): `round(ratio * n)` of the n patches are set to 0.
        patch_size (`int`, *optional*, defaults to 16): Side of a patch in pixels.
        generator (`torch.Generator`, *optional*): On the device of `x`; torch's global one if not given.
        value (`float`, *optional*, defaults to 0): What masked pixels become: "unknown", which in label maps is 255.
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"The share of masked patches must be between 0 and 1, got {ratio}.")
    height, width = x.shape[-2:]
    if height % patch_size or width % patch_size:
        raise ValueError(f"Height and width must be multiples of patch_size {patch_size}, got {height} and {width}.")
    rows, columns = height // patch_size, width // patch_size
    num_masked = round(ratio * rows * columns)
    order = torch.rand(len(x), rows * columns, generator=generator, device=x.device).argsort(dim=1)
    masked = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, :num_masked], True)
    masked = masked.unflatten(1, (rows, columns))
    masked = masked.repeat_interleave(patch_size, dim=1).repeat_interleave(patch_size, dim=2)
    return x.masked_fill(masked if x.ndim == 3 else masked.unsqueeze(1), value)


def check_values(maps: torch.Tensor) -> None:
    """`ValueError` for maps with values that are not finite."""
    if not torch.isfinite(maps).all():
        raise ValueError("The map to tokenize has NaN or infinite values; mark invalid pixels with 0 instead.")


def check_labels(label_maps: torch.Tensor, num_classes: int) -> None:
    """`ValueError` for label maps with other values than the classes from 0 on and the ignored one."""
    if ((label_maps != IGNORED_LABEL) & ((label_maps < 0) | (label_maps >= num_classes))).any():
        raise ValueError(f"Labels must be 0 to {num_classes - 1}, or {IGNORED_LABEL} for pixels to ignore.")


def _known(target: torch.Tensor) -> torch.BoolTensor:
    """Where maps `(B, C, H, W)` have a value, which all their channels have or none."""
    return (target.nan_to_num(nan=0.0) != 0).any(dim=1, keepdim=True).expand_as(target)


def _label_map(labels: torch.Tensor) -> torch.LongTensor:
    """Integer labels `(B, H, W)` or `(B, 1, H, W)` as `(B, H, W)`."""
    if labels.is_floating_point() or labels.ndim not in (3, 4) or (labels.ndim == 4 and labels.shape[1] != 1):
        raise ValueError(
            "A label map must be an integer tensor of shape (batch, height, width), "
            f"got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    return labels.reshape(labels.shape[0], *labels.shape[-2:]).long()
