# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Models and random draws of the golden cases."""

import json
import types
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tiny import tiny_config
from torch import nn

from ait_hf import AiTForDenseTokenGeneration
from ait_hf.conversion.original import (
    DERIVED,
    DUPLICATE,
    SPECIAL_EMBEDDING,
    config_from_original,
    convert_state_dict,
    original_parameter_name,
)
from ait_hf.model.group_objectives_ait import Draws


class ReplayedDraws(Draws):
    """Recorded draws in the order in which they were made."""

    def __init__(self, recorded):
        self.recorded = iter(recorded)

    def _next(self, shape):
        drawn = next(self.recorded)
        assert tuple(drawn.shape) == shape
        return drawn

    def permutation(self, count):
        return self._next((count,))

    def integer(self, largest):
        return int(self._next(()))

    def integers(self, count, shape):
        return self._next(shape)

    def uniform(self, shape):
        return self._next(shape)

    def truncated_normal(self, shape):
        return self._next(shape)


class GivenFeatures(nn.Module):
    """In place of a backbone where a golden case begins with the backbone's features."""

    def forward(self, pixel_values):
        return types.SimpleNamespace(feature_maps=[pixel_values])


def golden_solver(golden_dir: Path, parallel: bool) -> AiTForDenseTokenGeneration:
    """The task-solver of the golden cases 03, behind a backbone that returns its input."""
    objects = {
        "slots": ["coordinate"] * 4 + ["class"],
        "output_type": "objects",
        "num_groups": 4,
        "image_size": [5, 5],
    }
    masks = {"slots": objects["slots"] + ["mask"], "grid_size": [2, 2]}
    depth = {"slots": ["depth"], "output_type": "depth", "grid_size": [5, 5], "image_size": [5, 5]}
    tokenizer = {"base_channels": 2, "vq_embed_dim": 12}
    config = tiny_config(
        tokenizers={
            "mask": tokenizer | {"num_vq_embeddings": 12, "sample_size": 32, "downsample_ratio": 16},
            "depth": tokenizer | {"num_vq_embeddings": 16, "sample_size": 160},
        },
        tasks={
            "object-detection": {"task_id": 0, **objects},
            "instance-segmentation": {"task_id": 1, **objects, **masks},
            "depth": {"task_id": 2, **depth},
        },
        codebooks=[["mask", 12], ["depth", 16]],
        num_coordinate_bins=40,
        num_classes=5,
        num_reserved_ids=4,
        decoder_layers=3,
        max_position_embeddings=64,
        parallel=parallel,
    )
    assert config.vocab_size == 80
    model = AiTForDenseTokenGeneration(config).eval()
    model.model.encoder.backbone = GivenFeatures()
    model.model.encoder.input_projection = nn.Linear(20, 32)
    original = load_file(golden_dir / "03_transformer_weights.safetensors")
    special = [original.pop("det_embed"), original.pop("mask_embed")]
    weights = {original_parameter_name(f"transformer.{k}"): t for k, t in original.items() if k != "enc_embed"}
    weights[SPECIAL_EMBEDDING] = torch.cat([t.flatten(0, 1) for t in special[: 2 if parallel else 1]])
    weights["model.decoder.embed_positions.weight"] = weights["model.decoder.embed_positions.weight"].flatten(0, 1)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(key.startswith("tokenizers.") or key == "lm_head.weight" for key in missing)
    return model


def released_keys(golden_dir: Path, name: str) -> dict[str, dict]:
    """Keys, shapes and dtypes of a released checkpoint, without the heads' copies of the task-solver."""
    return json.loads((golden_dir / "07_inventory" / f"{name}.json").read_text())["keys"]


def full_size_weights(golden_dir: Path, case: dict) -> dict[str, torch.Tensor]:
    """A full-size golden case's weights, made from the key names by the recipe in its case.json."""
    weights = {}
    for key, entry in released_keys(golden_dir, case["released_config"]).items():
        if DUPLICATE.match(key) or DERIVED.search(key):
            continue
        shape, leaf = entry["shape"], key.rsplit(".", 1)[-1]
        rs = np.random.RandomState((zlib.crc32(key.encode()) + 7919 * case["seed"]) % 2**32)
        if leaf == "logit_scale":
            value = rs.uniform(1.0, 5.2, shape)
        elif leaf == "_ema_cluster_size":
            value = rs.uniform(0.5, 20, shape)
        else:
            z = rs.standard_normal(shape)
            if len(shape) == 1 and leaf == "weight":
                value = 1 + 0.1 * z
            elif leaf == "outp_bias":
                value = 0.3 * z
            elif leaf in ("det_embed", "voc_embed", "dec_embed", "mask_embed"):
                value = 0.15 * z
            elif leaf in ("_embedding", "_ema_w"):
                value = z
            elif len(shape) == 1:
                value = 0.1 * z
            else:
                value = z * 1.4 / np.sqrt(np.prod(shape[1:]))
        weights[key] = torch.from_numpy(np.asarray(value, dtype=np.float32))
    return weights


def full_size_model(case: dict, weights: dict[str, torch.Tensor]) -> AiTForDenseTokenGeneration:
    """The model of a full-size golden case."""
    config = config_from_original(case["config"])
    with torch.device("meta"):
        model = AiTForDenseTokenGeneration(config).eval()
    model.load_state_dict(convert_state_dict(weights, config), strict=False, assign=True)
    model.tie_weights()
    return model


def full_size_image(seed: int, side: int) -> torch.Tensor:
    """Random 4x4 blocks in 0..1, (1, 3, side, side)."""
    blocks = np.random.RandomState(seed).randint(0, 256, (3, side // 4, side // 4))
    image = torch.from_numpy((blocks / 255).astype(np.float32))[None]
    return image.repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2)
