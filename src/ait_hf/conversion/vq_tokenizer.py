# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Original VQ-VAE configurations and weights as those of [`VQTokenizer`]."""

from typing import Any

import torch

from ..model.tokenization_vq import VQTokenizer
from .weight_files import check_weights


# What the original trainer calls its losses.
ORIGINAL_LOSS_TYPES = {"mse": "mse", "mse_ignore_zero": "masked_mse"}
# Variants of the original code that no released tokenizer uses are not carried over.
SUPPORTED = {"train_objective": "regression", "residul_type": "v1"}
# Written by some original files and read by none.
UNUSED_KEYS = {"codebook.weight"}
CODES = "_vq_vae._embedding"
# Statistics of the training, which files for inference may lack.
EMA_KEYS = {"_vq_vae._ema_cluster_size", "_vq_vae._ema_w"}


def vq_tokenizer_config_from_original(vae_cfg: dict[str, Any]) -> dict[str, Any]:
    """
    Arguments of [`VQTokenizer`] from an original configuration, in either of its dialects: the task-solver's
    `vae_cfg` (`token_length`, `mask_size`, ...; `hidden_dim` is the greatest width) or the tokenizer trainer's
    (`image_size`, `downsample_ratio`, ...; `hidden_dim` is the smallest width, `num_tokens` the number of codes).

    The task-solver's dialect does not tell the loss that the tokenizer was trained with; its normalised tokenizers are
    taken for masks (`mse`), the others for depth (`masked_mse`), as in the published recipes. Its `tau` belongs to
    generation and is not read. `ValueError` if it is of neither dialect, lacks an entry, or asks for a variant
    that is not supported.
    """
    for key, supported in SUPPORTED.items():
        if (given := vae_cfg.get(key, supported)) != supported:
            raise ValueError(f"Only original tokenizers of {key} {supported!r} can be converted, got {given!r}.")
    normalised = vae_cfg.get("use_norm", True)  # unless it is switched off
    try:
        if "token_length" in vae_cfg:
            channels, names = 1, ("mask_size", "num_embeddings", "embedding_dim")
            ratio = vae_cfg["mask_size"] // int(vae_cfg["token_length"] ** 0.5)
            base_channels = vae_cfg["hidden_dim"] // (ratio // 2)
            loss_type = "mse" if normalised else "masked_mse"
        else:
            loss_type = ORIGINAL_LOSS_TYPES.get(vae_cfg["loss_type"])
            if loss_type is None:
                known = ", ".join(ORIGINAL_LOSS_TYPES)
                raise ValueError(f"The original loss_type {vae_cfg['loss_type']!r} is not known; known are {known}.")
            channels, names = vae_cfg["channels"], ("image_size", "num_tokens", "codebook_dim")
            ratio, base_channels = vae_cfg["downsample_ratio"], vae_cfg["hidden_dim"]
        sample_size, num_vq_embeddings, vq_embed_dim = (vae_cfg[name] for name in names)
        return {
            "in_channels": channels,
            "out_channels": channels,
            "downsample_ratio": ratio,
            "base_channels": base_channels,
            "num_res_blocks": vae_cfg["num_resnet_blocks"],
            "num_vq_embeddings": num_vq_embeddings,
            "vq_embed_dim": vq_embed_dim,
            "sample_size": sample_size,
            "value_range": [0.0, float(vae_cfg.get("max_value", 1.0))] if normalised else None,
            "unit": "mask" if normalised else "metre",
            "loss_type": loss_type,
            "commitment_cost": vae_cfg.get("commitment_cost", 0.25),
            "ema_decay": vae_cfg.get("ema_decay", 0.99),
        }
    except KeyError as error:
        raise ValueError(f"The original tokenizer configuration lacks {error}; it has {sorted(vae_cfg)}.") from error


def convert_vq_tokenizer_state_dict(
    original: dict[str, torch.Tensor], config: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """
    State dict of a [`VQTokenizer`] of these arguments from an original one (`encoder.0.weight`, ...,
    `_vq_vae._embedding`), perhaps with the prefix `module.` of distributed training and without the codebook's moving
    averages, which inference does not need. `ValueError`, with the original names, if keys are missing or unexpected,
    or a tensor has a shape that `config` does not give.
    """
    original = {key.removeprefix("module."): tensor for key, tensor in original.items()}
    original = {key: tensor for key, tensor in original.items() if key not in UNUSED_KEYS}
    if CODES in original and not EMA_KEYS & original.keys():
        # As of a new codebook that was placed on these codes: sizes 1 and sums that agree.
        codes = original[CODES]
        original |= {"_vq_vae._ema_cluster_size": codes.new_ones(len(codes)), "_vq_vae._ema_w": codes.clone()}
    with torch.device("meta"):
        tokenizer = VQTokenizer(**config)
    shapes = {key: tensor.shape for key, tensor in tokenizer.state_dict().items()}
    names = _original_names(len(tokenizer.encoder.down), len(tokenizer.encoder.res_blocks))
    check_weights(original, {key: shapes[name] for key, name in names.items()}, "The original tokenizer")
    return {names[key]: tensor for key, tensor in original.items()}


def _original_names(num_stages: int, num_res_blocks: int) -> dict[str, str]:
    """Original key -> our key. The original counts convolutions, activations and blocks in one `nn.Sequential`."""
    modules = {f"encoder.{2 * num_stages + num_res_blocks}": "encoder.conv_out", "decoder.0": "decoder.conv_in"}
    modules[f"decoder.{2 + num_res_blocks + 2 * num_stages}"] = "decoder.conv_out"
    for i in range(num_stages):
        modules[f"encoder.{2 * i}"] = f"encoder.down.{i}"
        modules[f"decoder.{2 + num_res_blocks + 2 * i}"] = f"decoder.up.{i}"
    for i in range(num_res_blocks):
        for j in range(3):
            modules[f"encoder.{2 * num_stages + i}.net.{2 * j}"] = f"encoder.res_blocks.{i}.conv{j + 1}"
            modules[f"decoder.{2 + i}.net.{2 * j}"] = f"decoder.res_blocks.{i}.conv{j + 1}"
    names = {f"{old}.{leaf}": f"{new}.{leaf}" for old, new in modules.items() for leaf in ("weight", "bias")}
    names |= {CODES: "quantizer.embedding.weight", "_vq_vae._ema_w": "quantizer.ema_sums"}
    return names | {"_vq_vae._ema_cluster_size": "quantizer.ema_cluster_size"}
