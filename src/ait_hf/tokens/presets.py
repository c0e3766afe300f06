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


def _tokenizer(**arguments) -> MappingProxyType[str, Any]:
    return MappingProxyType({"base_channels": 16, "num_res_blocks": 2, "loss_type": "mse"} | arguments)


_CODES = {"num_vq_embeddings": 128, "vq_embed_dim": 512}
_DEPTH = {"downsample_ratio": 32, "sample_size": 320, "unit": "relative_inverse_depth", **_CODES}
_GRID = {"num_codes": 128, "grid": (10, 10)}
_UPPER_CASE = TokenFormat(code="<DEPTH_{}>", start="<DEPTH_START>", end="<DEPTH_END>", **_GRID)
_LOWER_CASE = TokenFormat(
    code="<depth_{}>", start="<depth_start>", end="<depth_end>", prefix="<depth_output>", **_GRID
)
_PALIGEMMA = TokenFormat(
    code="<seg{:03d}>", num_codes=128, grid=(4, 4), location="<loc{:04d}>", labels=True, block_separator=" ; "
)

PRESETS = MappingProxyType(
    {
        "paligemma-mask": Preset(
            tokenizer=_tokenizer(downsample_ratio=16, sample_size=64, value_range=(0.0, 1.0), unit="mask", **_CODES),
            convention="paligemma-mask",
            token_format=_PALIGEMMA,
            source="vae-oid.npz of Big Vision's PaliGemma",
        ),
        "molmoact-depth": Preset(
            tokenizer=_tokenizer(value_range=None, **_DEPTH),
            convention="molmoact-depth",
            token_format=_UPPER_CASE,
            source="the depth VQ-VAE of MolmoAct",
        ),
        "molmoact2-depth": Preset(
            tokenizer=_tokenizer(value_range=(0.0, 1.0), **_DEPTH),
            convention="molmoact2-depth",
            token_format=_LOWER_CASE,
            source="the depth VQ-VAE of MolmoAct 2",
        ),
        "aurora-depth": Preset(
            tokenizer=_tokenizer(value_range=(0.0, 1.0), **_DEPTH),
            convention="aurora-depth",
            token_format=_UPPER_CASE,
            source="the depth VQ-VAE of Aurora",
        ),
    }
)


def get_preset(name: str) -> Preset:
    """`ValueError` that lists the names, if there is no preset of this one."""
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
    return PRESETS[name]
