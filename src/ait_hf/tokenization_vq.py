# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The VQ tokenizer: depth maps, masks and label maps to grids of discrete codes and back."""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import AutoencoderMixin, DecoderOutput
from diffusers.models.autoencoders.vq_model import VQEncoderOutput
from diffusers.utils import BaseOutput
from diffusers.utils.accelerate_utils import apply_forward_hook

from .quantization_ait import EMACodebook, QuantizerOutput, apply_temperature


LOSS_TYPES = ("mse", "masked_mse", "smooth_l1", "cross_entropy")
IGNORED_LABEL = 255


@dataclass
class VQTokenizerOutput(BaseOutput):
    """
    Output of [`VQTokenizer`]'s forward.

    Args:
        sample (`torch.Tensor` of shape `(batch_size, out_channels, height, width)`):
            Reconstruction in the config's unit (class logits for label maps).
        loss (`torch.FloatTensor` of shape `()`): `reconstruction_loss + commit_loss`.
        reconstruction_loss (`torch.FloatTensor` of shape `()`): See [`~VQTokenizer.reconstruction_loss`].
        commit_loss (`torch.FloatTensor` of shape `()`):
            `commitment_cost` times the mean squared error between latents and codes.
        indices (`torch.LongTensor` of shape `(batch_size, height / ratio, width / ratio)`): Codes.
        perplexity (`torch.FloatTensor` of shape `()`): Of the code usage, see [`QuantizerOutput`].
    """

    sample: torch.Tensor
    loss: torch.FloatTensor
    reconstruction_loss: torch.FloatTensor
    commit_loss: torch.FloatTensor
    indices: torch.LongTensor
    perplexity: torch.FloatTensor


class VQResidualBlock(nn.Module):
    """`x + conv1x1(relu(conv3x3(relu(conv3x3(x)))))`, without activation after the sum."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv3 = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        residual = F.relu(self.conv1(hidden_states))
        residual = F.relu(self.conv2(residual))
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
            hidden_states = F.relu(down(hidden_states))
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
        hidden_states = F.relu(self.conv_in(hidden_states))
        for block in self.res_blocks:
            hidden_states = block(hidden_states)
        for up in self.up:
            hidden_states = F.relu(up(hidden_states))
        return self.conv_out(hidden_states)


class VQTokenizer(ModelMixin, AutoencoderMixin, ConfigMixin):
    r"""
    VQ-VAE that turns the output of a dense vision task into a grid of codes and back (AiT paper, section 3.2). One
    code stands for a square of `downsample_ratio` pixels. Maps of any size that is a multiple of it are accepted.

    The defaults are the released depth tokenizer. The released mask tokenizer is `downsample_ratio=16,
    sample_size=64, value_range=(0, 1), unit="mask", loss_type="mse"`.

    To train from scratch, call [`~VQTokenizer.init_codebook`] with the first batch, see [`EMACodebook`].

    Parameters:
        in_channels (`int`, *optional*, defaults to 1): Channels of a map; for label maps the number of classes.
        out_channels (`int`, *optional*, defaults to 1): Channels of a reconstruction; for label maps as `in_channels`.
        downsample_ratio (`int`, *optional*, defaults to 32): Pixels per code and axis: 2, 4, 8, 16, 32, ...
        base_channels (`int`, *optional*, defaults to 16):
            Width of the first convolution. It doubles with every further one, up to
            `base_channels * downsample_ratio / 2`.
        num_res_blocks (`int`, *optional*, defaults to 2): Residual blocks in the encoder and in the decoder, 1 to 5.
        num_vq_embeddings (`int`, *optional*, defaults to 128): Number of codes.
        vq_embed_dim (`int`, *optional*, defaults to 512): Width of a code.
        sample_size (`int`, *optional*, defaults to 480):
            Height and width in pixels of the maps it is trained on; sets [`~VQTokenizer.num_tokens`].
        value_range (`tuple[float, float]`, *optional*):
            Values that the network sees as -1 and 1; maps are mapped linearly on the way in and back on the way out.
            `None` leaves them as they are.
        unit (`str`, *optional*, defaults to `"metre"`): Unit of the values, for readers of the config.
        loss_type (`str`, *optional*, defaults to `"masked_mse"`):
            `"mse"`; `"masked_mse"`, over pixels whose target is > 0; `"smooth_l1"`, with beta 0.05; or
            `"cross_entropy"`, for label maps: integer maps of ids `0..in_channels - 1` that become one-hot channels
            inside, 255 is ignored, and what is decoded are class logits.
        commitment_cost (`float`, *optional*, defaults to 0.25): Weight of the commitment loss.
        ema_decay (`float`, *optional*, defaults to 0.99): See [`EMACodebook`], as the next two.
        ema_epsilon (`float`, *optional*, defaults to 1e-5): Laplace smoothing of the code sizes.
        revival_threshold (`float`, *optional*, defaults to 0.0): Relative size below which a code is re-seeded.

    Raises:
        ValueError: If an argument is out of its range.
    """

    _keep_in_fp32_modules = ["quantizer"]
    _skip_layerwise_casting_patterns = ["quantizer"]
    _frozen = False

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
        sample_size: int = 480,
        value_range: tuple[float, float] | None = None,
        unit: str = "metre",
        loss_type: str = "masked_mse",
        commitment_cost: float = 0.25,
        ema_decay: float = 0.99,
        ema_epsilon: float = 1e-5,
        revival_threshold: float = 0.0,
    ):
        super().__init__()
        num_stages = downsample_ratio.bit_length() - 1
        if downsample_ratio < 2 or downsample_ratio != 2**num_stages:
            raise ValueError(f"downsample_ratio must be a power of two from 2 up, got {downsample_ratio}.")
        if not 1 <= num_res_blocks <= 5:
            raise ValueError(f"num_res_blocks must be 1 to 5, got {num_res_blocks}.")
        if num_vq_embeddings < 2:
            raise ValueError(f"num_vq_embeddings must be at least 2, got {num_vq_embeddings}.")
        if sample_size < 1 or sample_size % downsample_ratio:
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
        if not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay must be at least 0 and below 1, got {ema_decay}.")
        if not 0 <= revival_threshold < 1:
            raise ValueError(f"revival_threshold must be at least 0 and below 1, got {revival_threshold}.")

        widths = [base_channels * 2**i for i in range(num_stages)]
        self.encoder = VQEncoder(in_channels, widths, num_res_blocks, vq_embed_dim)
        self.quantizer = EMACodebook(num_vq_embeddings, vq_embed_dim, ema_decay, ema_epsilon, revival_threshold)
        self.decoder = VQDecoder(out_channels, widths, num_res_blocks, vq_embed_dim)

    @property
    def num_tokens(self) -> int:
        """Number of codes of a map of `sample_size`."""
        return (self.config.sample_size // self.config.downsample_ratio) ** 2

    def freeze(self) -> "VQTokenizer":
        """
        Fixes the tokenizer for good, as inside a task-solver: no parameter has a gradient, and `train()`, also that of
        a surrounding model, leaves it in evaluation mode, so its codebook does not move. Gradients still pass through
        it to soft tokens. Returns `self`.
        """
        self._frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> "VQTokenizer":
        return super().train(mode and not self._frozen)

    @apply_forward_hook
    def encode(self, x: torch.Tensor, return_dict: bool = True) -> VQEncoderOutput | tuple[torch.Tensor]:
        """
        Args:
            x (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`):
                Maps in the config's unit; height and width multiples of `downsample_ratio`. The channel axis may be
                left out if there is one channel, and for label maps, which are integers.

        Returns:
            `VQEncoderOutput` with `latents` `(batch_size, vq_embed_dim, height / ratio, width / ratio)`, before
            quantisation.

        Raises:
            ValueError: If the shape does not fit, or a label map has an id beyond the classes other than 255.
        """
        latents = self.encoder(self._network_input(x))
        return VQEncoderOutput(latents=latents) if return_dict else (latents,)

    @apply_forward_hook
    def decode(
        self, h: torch.Tensor, force_not_quantize: bool = False, return_dict: bool = True
    ) -> DecoderOutput | tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            h (`torch.Tensor` of shape `(batch_size, vq_embed_dim, height, width)`): Latents.
            force_not_quantize (`bool`, *optional*, defaults to `False`):
                Decode `h` itself, not its nearest codes. Quantising in training mode also moves the codebook.

        Returns:
            `DecoderOutput` with `sample` `(batch_size, out_channels, height * ratio, width * ratio)` in the config's
            unit and `commit_loss` `()`, weighted; 0 if not quantised.
        """
        commit_loss = h.new_zeros((), dtype=torch.float32)
        if not force_not_quantize:
            quantized = self._quantize(h)
            h, commit_loss = quantized.quantized, quantized.commit_loss
        sample = self._from_network_range(self.decoder(h.to(self.dtype)))
        return DecoderOutput(sample=sample, commit_loss=commit_loss) if return_dict else (sample, commit_loss)

    @torch.no_grad()
    def tokenize(self, x: torch.Tensor) -> torch.LongTensor:
        """
        Nearest codes of maps, computed in the dtype of the weights whatever autocast says. Never moves the codebook.

        Args:
            x (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`): As for [`~VQTokenizer.encode`].

        Returns:
            `torch.LongTensor` of shape `(batch_size, height / ratio, width / ratio)`; flattened it is in row-major
            order, as in the token sequence.

        Raises:
            ValueError: As [`~VQTokenizer.encode`], and if `x` has NaN or infinite values.
        """
        if not torch.isfinite(x).all():
            raise ValueError("The map to tokenize has NaN or infinite values; mark invalid pixels with 0 instead.")
        with torch.autocast(device_type=x.device.type, enabled=False):
            latents = self.encode(x).latents
            ids = self.quantizer.nearest(latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1]).float())
        return ids.view(len(latents), *latents.shape[2:])

    @apply_forward_hook
    def detokenize(
        self,
        ids: torch.LongTensor | None = None,
        probabilities: torch.Tensor | None = None,
        temperature: float = 1.0,
    ) -> torch.Tensor:
        """
        Maps of codes or of soft tokens (AiT paper, Eq. 4), computed in the dtype of the weights whatever autocast
        says. Differentiable in `probabilities`, also when the tokenizer is frozen. Give one of the two.

        Args:
            ids (`torch.LongTensor` of shape `(batch_size, height, width)`, *optional*): Codes.
            probabilities (`torch.Tensor` of shape `(batch_size, height, width, num_vq_embeddings)`, *optional*):
                Distribution over the codes at every place, as the softmax of the logits gives it.
            temperature (`float`, *optional*, defaults to 1.0):
                `tau`: the codes are weighted by `softmax(tau * log(probabilities))`, see [`apply_temperature`]. Below
                1 flattens; the released depth models use 0.8.

        Returns:
            `torch.Tensor` of shape `(batch_size, out_channels, height * ratio, width * ratio)` in the config's unit
            (class logits for label maps).

        Raises:
            ValueError: If both or none of the two are given, a shape does not fit, an id is out of range, or the
                temperature is not positive or given for `ids`.
        """
        if (ids is None) == (probabilities is None):
            raise ValueError("detokenize takes either ids or probabilities: give exactly one of them.")
        num_codes = self.config.num_vq_embeddings
        if ids is not None:
            if temperature != 1:
                raise ValueError("A temperature has no meaning for ids; give probabilities instead.")
            if ids.ndim != 3:
                raise ValueError(f"ids must have shape (batch, height, width), got {tuple(ids.shape)}.")
            if ((ids < 0) | (ids >= num_codes)).any():
                raise ValueError(f"ids must be 0 to {num_codes - 1}: the codebook has {num_codes} codes.")
            latents = self.quantizer.embedding(ids)
        else:
            if probabilities.ndim != 4 or probabilities.shape[-1] != num_codes:
                raise ValueError(
                    f"probabilities must have shape (batch, height, width, {num_codes}), "
                    f"got {tuple(probabilities.shape)}."
                )
            latents = self.quantizer.expected_embedding(apply_temperature(probabilities, temperature))
        with torch.autocast(device_type=latents.device.type, enabled=False):
            return self.decode(latents.permute(0, 3, 1, 2), force_not_quantize=True).sample

    def forward(
        self, sample: torch.Tensor, target: torch.Tensor | None = None, return_dict: bool = True
    ) -> VQTokenizerOutput | tuple[torch.Tensor, ...]:
        """
        One reconstruction with its losses. In training mode it also moves the codebook, after using it.

        Args:
            sample (`torch.Tensor` of shape `(batch_size, in_channels, height, width)`):
                Input maps, perhaps with [`mask_augmentation`]; see [`~VQTokenizer.encode`].
            target (`torch.Tensor`, *optional*): What to reconstruct, as `sample`, which it defaults to.

        Returns:
            [`VQTokenizerOutput`], or its values as a tuple.
        """
        quantized = self._quantize(self.encode(sample).latents)
        prediction = self.decoder(quantized.quantized)
        reconstruction_loss = self.reconstruction_loss(prediction, sample if target is None else target)
        output = VQTokenizerOutput(
            sample=self._from_network_range(prediction),
            loss=reconstruction_loss + quantized.commit_loss,
            reconstruction_loss=reconstruction_loss,
            commit_loss=quantized.commit_loss,
            indices=quantized.indices,
            perplexity=quantized.perplexity,
        )
        return output if return_dict else output.to_tuple()

    def reconstruction_loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.FloatTensor:
        """
        The config's `loss_type`, in float32 and in the range that the network sees (-1 to 1 if `value_range` is set).

        Args:
            prediction (`torch.Tensor` of shape `(batch_size, out_channels, height, width)`):
                Output of the decoder network.
            target (`torch.Tensor`): Maps in the config's unit; `(batch_size, height, width)` will do for one channel
                and for label maps.

        Returns:
            `torch.FloatTensor` of shape `()`: mean over the pixels that count, exactly 0 if none does.

        Raises:
            ValueError: If prediction and target differ in shape.
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
        valid = target > 0
        # Where nothing is known the prediction is its own target: error and gradient are 0 even if the target is NaN.
        total = F.mse_loss(prediction, torch.where(valid, goal, prediction.detach()), reduction="sum")
        return total / valid.sum().clamp_min(1)

    @torch.no_grad()
    def init_codebook(self, sample: torch.Tensor) -> None:
        """Places the codes on latents of the maps `sample`, see [`EMACodebook.init_from_latents`]."""
        self.quantizer.init_from_latents(self.encode(sample).latents)

    def _quantize(self, latents: torch.Tensor) -> QuantizerOutput:
        """As the codebook, with the weighted commitment loss."""
        output = self.quantizer(latents)
        output.commit_loss = self.config.commitment_cost * output.commit_loss
        return output

    def _network_input(self, x: torch.Tensor) -> torch.Tensor:
        channels, ratio = self.config.in_channels, self.config.downsample_ratio
        if self.config.loss_type == "cross_entropy":
            x = _one_hot(_label_map(x), channels)
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
    x: torch.Tensor, ratio: float = 0.5, patch_size: int = 16, generator: torch.Generator | None = None
) -> torch.Tensor:
    """
    Sets a fixed share of square patches, chosen at random for every sample, to 0 (AiT paper, section 3.4). Trained
    with the unmasked map as its target, a tokenizer learns to fill in missing values.

    Args:
        x (`torch.Tensor` of shape `(batch_size, channels, height, width)` or `(batch_size, height, width)`): Maps.
        ratio (`float`, *optional*, defaults to 0.5): `round(ratio * n)` of the n patches are set to 0.
        patch_size (`int`, *optional*, defaults to 16): Side of a patch in pixels.
        generator (`torch.Generator`, *optional*): On the device of `x`; torch's global one if not given.

    Returns:
        `torch.Tensor`: a masked copy of `x`.

    Raises:
        ValueError: If `ratio` is not between 0 and 1 or height or width is not a multiple of `patch_size`.
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"The share of masked patches must be between 0 and 1, got {ratio}.")
    batch_size, height, width = x.shape[0], x.shape[-2], x.shape[-1]
    if height % patch_size or width % patch_size:
        raise ValueError(f"Height and width must be multiples of patch_size {patch_size}, got {height} and {width}.")
    rows, columns = height // patch_size, width // patch_size
    num_masked = round(ratio * rows * columns)
    order = torch.rand(batch_size, rows * columns, generator=generator, device=x.device).argsort(dim=1)
    masked = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, :num_masked], True)
    masked = masked.view(batch_size, rows, columns)
    masked = masked.repeat_interleave(patch_size, dim=1).repeat_interleave(patch_size, dim=2)
    return x.masked_fill(masked if x.ndim == 3 else masked.unsqueeze(1), 0)


def _label_map(labels: torch.Tensor) -> torch.LongTensor:
    """Integer labels `(B, H, W)` or `(B, 1, H, W)` as `(B, H, W)`."""
    if labels.is_floating_point() or labels.ndim not in (3, 4) or (labels.ndim == 4 and labels.shape[1] != 1):
        raise ValueError(
            "A label map must be an integer tensor of shape (batch, height, width), "
            f"got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    return labels.reshape(len(labels), *labels.shape[-2:]).long()


def _one_hot(labels: torch.LongTensor, num_classes: int) -> torch.Tensor:
    """`(B, H, W)` to `(B, num_classes, H, W)`; the ignored label is 0 in all channels."""
    ignored = labels == IGNORED_LABEL
    if (~ignored & ((labels < 0) | (labels >= num_classes))).any():
        raise ValueError(f"Labels must be 0 to {num_classes - 1}, or {IGNORED_LABEL} for pixels to ignore.")
    one_hot = torch.zeros(len(labels), num_classes, *labels.shape[1:], device=labels.device)
    return one_hot.scatter_(1, labels.masked_fill(ignored, 0).unsqueeze(1), (~ignored).float().unsqueeze(1))


__all__ = ["VQTokenizer", "VQTokenizerOutput", "mask_augmentation"]
