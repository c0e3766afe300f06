# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The pose tokenizer: the joints of a person to a row of discrete codes and back."""

import torch
import torch.nn as nn
from diffusers.configuration_utils import register_to_config

from .loss_ait import smooth_l1_loss
from .quantization_ait import EMACodebook
from .tokenization_base import TokenizerBase, check_codebook


class MixerBlock(nn.Module):
    """MLP-Mixer layer: an MLP over the places, then one over the channels, each behind a norm and with a residual."""

    def __init__(self, num_places: int, channels: int, token_mlp_dim: int, channel_mlp_dim: int):
        super().__init__()
        self.token_norm = nn.LayerNorm(channels)
        self.token_mlp = _mlp(num_places, token_mlp_dim)
        self.channel_norm = nn.LayerNorm(channels)
        self.channel_mlp = _mlp(channels, channel_mlp_dim)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        mixed = self.token_mlp(self.token_norm(hidden_states).transpose(1, 2))
        hidden_states = hidden_states + mixed.transpose(1, 2)
        return hidden_states + self.channel_mlp(self.channel_norm(hidden_states))


class PoseEncoder(nn.Module):
    """Joints `(batch, num_joints, 3)`, coordinates in -1..1 and visibility, to latents `(batch, channels, 1, tokens)`."""

    def __init__(self, joints_to_tokens: nn.Module, hidden_size: int, latent_channels: int, blocks: nn.ModuleList):
        super().__init__()
        self.embed = nn.Linear(2, hidden_size)
        self.unknown_joint = nn.Embedding(1, hidden_size)
        nn.init.trunc_normal_(self.unknown_joint.weight, std=0.02)
        self.blocks = blocks
        self.norm = nn.LayerNorm(hidden_size)
        self.joints_to_tokens = joints_to_tokens
        self.out = nn.Linear(hidden_size, latent_channels)

    def forward(self, joints: torch.Tensor) -> torch.Tensor:
        hidden_states = torch.where(joints[..., 2:] > 0, self.embed(joints[..., :2]), self.unknown_joint.weight)
        for block in self.blocks:
            hidden_states = block(hidden_states)
        tokens = self.joints_to_tokens(self.norm(hidden_states).transpose(1, 2))
        return self.out(tokens.transpose(1, 2)).transpose(1, 2).unsqueeze(2)


class PoseDecoder(nn.Module):
    """Latents `(batch, channels, 1, num_tokens)` to coordinates `(batch, num_joints, 2)`, in -1..1 inside the crop."""

    def __init__(
        self, num_tokens: int, to_joints: nn.Module, hidden_size: int, latent_channels: int, blocks: nn.ModuleList
    ):
        super().__init__()
        self.num_tokens = num_tokens
        self.tokens_to_joints = to_joints
        self.embed = nn.Linear(latent_channels, hidden_size)
        self.blocks = blocks
        self.norm = nn.LayerNorm(hidden_size)
        self.out = nn.Linear(hidden_size, 2)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        if latents.shape[2:] != (1, self.num_tokens):
            raise ValueError(
                f"A pose is one row of {self.num_tokens} codes, got {latents.shape[2]} row(s) of {latents.shape[3]}."
            )
        hidden_states = self.embed(self.tokens_to_joints(latents.squeeze(2)).transpose(1, 2))
        for block in self.blocks:
            hidden_states = block(hidden_states)
        return self.out(self.norm(hidden_states))


class PoseTokenizer(TokenizerBase):
    r"""
    VQ-VAE that turns the joints of a person into a row of codes and back: the keypoint tokenizer for AiT (paper, section
    4.4), after "Human Pose as Compositional Tokens" (PCT, https://arxiv.org/abs/2303.11638) without its image guidance.
    Every code can speak of every joint, unless `token_per_joint`. The interface is that of [`VQTokenizer`].

    Samples are poses `(batch_size, num_joints, 3)`: x and y in pixels of the person's crop, and a visibility, 0 for a
    joint of unknown place, anything above for a known one. The coordinates of unknown joints are not looked at. What is
    decoded are x and y of all joints, `(batch_size, num_joints, 2)`. Codes are grids of one row,
    `(batch_size, 1, num_tokens)`.

    The defaults are the published settings. To train from scratch, call [`~PoseTokenizer.init_codebook`] with the first
    batch, see [`EMACodebook`].

    Parameters:
        num_joints (`int`, *optional*, defaults to 17): Joints of the skeleton, in any fixed order.
        num_tokens (`int`, *optional*, defaults to 34): Codes per pose.
        num_vq_embeddings (`int`, *optional*, defaults to 2048): Number of codes in the codebook.
        vq_embed_dim (`int`, *optional*, defaults to 512): Width of a code.
        hidden_size, decoder_hidden_size (`int`, *optional*, default to 512 and 32): Width of encoder and decoder.
        encoder_layers, decoder_layers (`int`, *optional*, default to 4 and 1): Mixer blocks of each.
        token_mlp_dim, decoder_token_mlp_dim (`int`, *optional*, default to 64): Hidden width of its MLPs over joints.
        channel_mlp_dim, decoder_channel_mlp_dim (`int`, *optional*, default to 512 and 64): The same over channels.
        sample_size (`int` or `(height, width)`, *optional*, defaults to 256): Size of the crops in pixels; the
            networks see the longer side, from end to end, as -1..1.
        unit (`str`, *optional*, defaults to `"pixel"`): Unit of the coordinates, for readers of the config.
        smooth_l1_beta (`float`, *optional*, defaults to 0.05): Where the smooth-L1 loss turns from square to line.
        commitment_cost (`float`, *optional*, defaults to 15.0): Weight of the commitment loss.
        ema_decay (`float`, *optional*, defaults to 0.9): See [`EMACodebook`], as the next two.
        ema_epsilon (`float`, *optional*, defaults to 1e-5): Laplace smoothing of the code sizes.
        revival_threshold (`float`, *optional*, defaults to 0.0): Relative size below which a code is re-seeded.
        token_per_joint (`bool`, *optional*, defaults to `False`): Token i stands for joint i, instead of every token
            for the whole pose, which is how it was published; needs `num_tokens == num_joints`. With
            `encoder_layers=0` a code then says where its joint is and nothing else, which a task-solver learns many
            times sooner; `docs/log.md` has the numbers.
        joint_names (`list[str]`, *optional*): What the joints are, in their order, for readers of the config; those of COCO
            if there are 17 and nothing is said.

    Raises:
        ValueError: If an argument is out of its range.
    """

    tokenizer_type = "pose"

    @register_to_config
    def __init__(
        self,
        num_joints: int = 17,
        num_tokens: int = 34,
        num_vq_embeddings: int = 2048,
        vq_embed_dim: int = 512,
        hidden_size: int = 512,
        encoder_layers: int = 4,
        decoder_layers: int = 1,
        decoder_hidden_size: int = 32,
        token_mlp_dim: int = 64,
        channel_mlp_dim: int = 512,
        decoder_token_mlp_dim: int = 64,
        decoder_channel_mlp_dim: int = 64,
        sample_size: int | list[int] | tuple[int, int] = 256,
        unit: str = "pixel",
        smooth_l1_beta: float = 0.05,
        commitment_cost: float = 15.0,
        ema_decay: float = 0.9,
        ema_epsilon: float = 1e-5,
        revival_threshold: float = 0.0,
        token_per_joint: bool = False,
        joint_names: list[str] | None = None,
    ):
        super().__init__()
        for name, count in {"num_joints": num_joints, "num_tokens": num_tokens}.items():
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}.")
        if len(self.crop_size) != 2 or min(self.crop_size) < 1:
            raise ValueError(f"sample_size must be at least one pixel high and wide, got {sample_size}.")
        if token_per_joint and num_tokens != num_joints:
            raise ValueError(f"With token_per_joint, num_tokens must be num_joints, {num_joints}, got {num_tokens}.")
        if smooth_l1_beta <= 0:
            raise ValueError(f"smooth_l1_beta must be above 0, got {smooth_l1_beta}.")
        check_codebook(num_vq_embeddings, ema_decay, revival_threshold)
        encoder_blocks = nn.ModuleList(
            MixerBlock(num_joints, hidden_size, token_mlp_dim, channel_mlp_dim) for _ in range(encoder_layers)
        )
        decoder_blocks = nn.ModuleList(
            MixerBlock(num_joints, decoder_hidden_size, decoder_token_mlp_dim, decoder_channel_mlp_dim)
            for _ in range(decoder_layers)
        )
        to_tokens = nn.Identity() if token_per_joint else nn.Linear(num_joints, num_tokens)
        to_joints = nn.Identity() if token_per_joint else nn.Linear(num_tokens, num_joints)
        self.encoder = PoseEncoder(to_tokens, hidden_size, vq_embed_dim, encoder_blocks)
        self.quantizer = EMACodebook(num_vq_embeddings, vq_embed_dim, ema_decay, ema_epsilon, revival_threshold)
        self.decoder = PoseDecoder(num_tokens, to_joints, decoder_hidden_size, vq_embed_dim, decoder_blocks)

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of the crops that poses lie in, pixels."""
        size = self.config.sample_size
        return (size, size) if isinstance(size, int) else tuple(size)

    @property
    def num_tokens(self) -> int:
        """Number of codes of a pose."""
        return self.config.num_tokens

    def reconstruction_loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.FloatTensor:
        """
        Smooth-L1 of the known joints' coordinates in pixels, in float32: a mean over the known joints and both axes,
        exactly 0 if none is known, of the decoder network's `(batch_size, num_joints, 2)` and poses `(batch_size,
        num_joints, 3)`; `ValueError` for other shapes.
        """
        if target.shape != (*prediction.shape[:2], 3):
            raise ValueError(f"The target has shape {tuple(target.shape)}, the poses {tuple(prediction.shape)}.")
        coordinates, known = known_coordinates(target)
        predicted = self._from_network_range(prediction.float())
        return smooth_l1_loss(predicted, coordinates, known, self.config.smooth_l1_beta)

    def num_targets(self, target: torch.Tensor) -> torch.FloatTensor:
        return 2 * (target[..., 2] > 0).sum().float()

    def _network_input(self, x: torch.Tensor) -> torch.Tensor:
        num_joints = self.config.num_joints
        if x.ndim != 3 or x.shape[1:] != (num_joints, 3):
            raise ValueError(f"Poses must have shape (batch, {num_joints}, 3), got {tuple(x.shape)}.")
        coordinates, known = known_coordinates(x)
        scaled = (coordinates - self._middle(coordinates)) / (max(self.crop_size) / 2)
        return torch.cat([scaled, known.float()], dim=2).to(self.dtype)

    def check_samples(self, x: torch.Tensor) -> None:
        check_poses(x)

    def _from_network_range(self, y: torch.Tensor) -> torch.Tensor:
        return y * (max(self.crop_size) / 2) + self._middle(y)

    def _middle(self, like: torch.Tensor) -> torch.Tensor:
        """x and y of the crop's middle, half its width and height."""
        height, width = self.crop_size
        return torch.cat([like.new_full((1,), side / 2) for side in (width, height)])


def mask_joints(poses: torch.Tensor, ratio: float = 0.2, generator: torch.Generator | None = None) -> torch.Tensor:
    """
    A copy with the visibility of a fixed share of the known joints, chosen at random for every person, set to 0.
    Trained with the unmasked pose as its target, a tokenizer learns to fill in joints that are not seen. Raises
    `ValueError` if `ratio` is not between 0 and 1.

    Args:
        poses (`torch.Tensor` of shape `(batch_size, num_joints, 3)`): As [`PoseTokenizer`] takes them.
        ratio (`float`, *optional*, defaults to 0.2): `round(ratio * n)` of a person's n known joints are masked, but
            not the last one.
        generator (`torch.Generator`, *optional*): On the device of `poses`; torch's global one if not given.
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"The share of masked joints must be between 0 and 1, got {ratio}.")
    known = poses[..., 2] > 0
    num_known = known.sum(dim=1, keepdim=True)
    num_masked = torch.minimum((ratio * num_known).round(), num_known - 1)
    draws = torch.rand(known.shape, generator=generator, device=poses.device)
    rank = draws.masked_fill(~known, 2).argsort(dim=1).argsort(dim=1)  # known joints first, in random order
    masked = poses.clone()
    masked[..., 2].masked_fill_(known & (rank < num_masked), 0)
    return masked


def check_poses(poses: torch.Tensor) -> None:
    """`ValueError` for poses `(batch, joints, 3)` with values that are not finite, or without a known joint."""
    coordinates, known = known_coordinates(poses)
    if not (torch.isfinite(coordinates).all() and torch.isfinite(poses[..., 2]).all()):
        raise ValueError("The poses have NaN or infinite values; mark unknown joints with visibility 0 instead.")
    nobody = ~known.any(dim=1).flatten()
    if nobody.any():
        person = nobody.nonzero()[0].item()
        raise ValueError(
            f"Person {person} of the batch has no known joint (visibility above 0): leave out such people."
        )


def known_coordinates(poses: torch.Tensor) -> tuple[torch.Tensor, torch.BoolTensor]:
    """x and y `(batch, joints, 2)`, 0 where unknown, whatever stands there, and what is known `(batch, joints, 1)`."""
    known = poses[..., 2:] > 0
    return torch.where(known, poses[..., :2].float(), 0.0), known


def _mlp(size: int, hidden_size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, hidden_size), nn.GELU(), nn.Linear(hidden_size, size))
