# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The published models that use AiT's tokenizers: architecture of the weights, preprocessing and text of each."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .token_format import TokenFormat


@dataclass(frozen=True)
class Preset:
    """
    Args:
        tokenizer: Arguments of [`VQTokenizer`].
        convention (`str`): Of [`AiTTokenProcessor`].
        token_format ([`TokenFormat`]): Of its texts.
        source (`str`): Which file the weights are published as.
    """

    tokenizer: MappingProxyType[str, Any]
    convention: str
    token_format: TokenFormat
    source: str


def _preset(convention: str, token_format: TokenFormat, source: str, **tokenizer) -> Preset:
    shared = {"base_channels": 16, "num_res_blocks": 2, "loss_type": "mse", "num_vq_embeddings": 128}
    shared |= {"vq_embed_dim": 512, "value_range": (0.0, 1.0)}
    return Preset(MappingProxyType(shared | tokenizer), convention, token_format, source)


_DEPTH = {"downsample_ratio": 32, "sample_size": 320, "unit": "relative_inverse_depth"}
_GRID = {"num_codes": 128, "grid": (10, 10)}
_UPPER_CASE = TokenFormat(code="<DEPTH_{}>", start="<DEPTH_START>", end="<DEPTH_END>", **_GRID)
_LOWER_CASE = TokenFormat(
    code="<depth_{}>", start="<depth_start>", end="<depth_end>", prefix="<depth_output>", **_GRID
)
_PALIGEMMA = TokenFormat(
    code="<seg{:03d}>", num_codes=128, grid=(4, 4), location="<loc{:04d}>", labels=True, block_separator=" ; "
)
_OF_PALIGEMMA = "vae-oid.npz of Big Vision's PaliGemma"
_PRESETS = (
    _preset("paligemma-mask", _PALIGEMMA, _OF_PALIGEMMA, downsample_ratio=16, sample_size=64, unit="mask"),
    _preset("molmoact-depth", _UPPER_CASE, "the depth VQ-VAE of MolmoAct", value_range=None, **_DEPTH),
    _preset("molmoact2-depth", _LOWER_CASE, "the depth VQ-VAE of MolmoAct 2", **_DEPTH),
    _preset("aurora-depth", _UPPER_CASE, "the depth VQ-VAE of Aurora", **_DEPTH),
)
PRESETS = MappingProxyType({preset.convention: preset for preset in _PRESETS})  # which have the names of conventions


def get_preset(name: str) -> Preset:
    """`ValueError` that lists the names, if there is no preset of this one."""
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
    return PRESETS[name]
