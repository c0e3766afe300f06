# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Made-up weights of the published tokenizers under their original names."""

import zlib
from pathlib import Path

import numpy as np
import torch
from golden_data import load_case

from ait_hf import VQTokenizer
from ait_hf.conversion.vq_tokenizer import _original_names
from ait_hf.tokens import get_preset


def made_up_weights(preset: str) -> dict[str, torch.Tensor]:
    """Random weights of a preset under the original names."""
    torch.manual_seed(0)
    tokenizer = VQTokenizer(**get_preset(preset).tokenizer)
    ours = tokenizer.state_dict()
    names = _original_names(len(tokenizer.encoder.down), len(tokenizer.encoder.res_blocks))
    return {old: ours[new].clone() for old, new in names.items()}


def molmoact_weights(golden_dir: Path) -> dict[str, torch.Tensor]:
    """Those of the golden cases 11 and 12, by their recipe."""
    case, tensors = load_case(golden_dir, "11_molmoact_depth")
    weights = {}
    for key, shape in case["weights"].items():
        if key == "_vq_vae._embedding":
            weights[key] = tensors[key]
            continue
        rs = np.random.RandomState((zlib.crc32(key.encode()) + 7919 * case["seed"]) % 2**32)
        values = _draw(rs, key, shape)
        if key.startswith("decoder.14."):
            values = values * case["decoder_scale"]
        if key == "decoder.14.bias":
            values = values + case["decoder_shift"]
        values = values.astype(np.float32)
        assert zlib.crc32(np.ascontiguousarray(values).tobytes()) == case["weights_crc32"][key], key
        weights[key] = torch.from_numpy(values)
    return weights


def _draw(rs: np.random.RandomState, key: str, shape: list[int]) -> np.ndarray:
    if key.endswith("_ema_cluster_size"):
        return rs.uniform(0.5, 20, shape)
    if key.endswith("_ema_w"):
        return rs.standard_normal(shape)
    if key.endswith(".bias"):
        return 0.1 * rs.standard_normal(shape)
    if key.startswith("decoder.") and "net" not in key and shape[2:] == [4, 4]:
        k = np.array([0.25, 0.75, 0.75, 0.25])
        smooth = rs.standard_normal(shape[:2])[:, :, None, None] * np.outer(k, k)
        return (smooth + 0.05 * rs.standard_normal(shape)) * 1.4 / np.sqrt(shape[0])
    gain = 0.7 if "net" in key else 1.4
    return rs.standard_normal(shape) * gain / np.sqrt(np.prod(shape[1:]))


def paligemma_masks(golden_dir: Path) -> tuple[dict, dict[str, torch.Tensor], VQTokenizer]:
    """The golden case 10 and its tokenizer."""
    case, tensors = load_case(golden_dir, "10_paligemma_mask")
    file = golden_dir / "10_paligemma_mask/vae-oid-like.npz"
    return case, tensors, VQTokenizer.from_original(file, preset="paligemma-mask")


def paligemma_text(tokens: torch.Tensor, case: dict) -> str:
    """Ids of an answer of the golden case 10 as text; ids of other tokens are prose."""
    first, pieces = case["token_ids"], []
    for token in tokens.tolist():
        if first["loc0000"] <= token < first["loc0000"] + 1024:
            pieces.append(f"<loc{token - first['loc0000']:04d}>")
        elif first["seg000"] <= token < first["seg000"] + 128:
            pieces.append(f"<seg{token - first['seg000']:03d}>")
        elif token not in (first["end"], first["padding"]):
            pieces.append(" word ")
    return "".join(pieces)
