# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
SwinV2 weights of the original AiT code, transformers and timm, as [`AiTSwinv2Backbone`] weights.

What is skipped: tables and masks that follow from the configuration, heads of any kind, mask tokens.
"""

import json
import re
from collections.abc import Iterable
from functools import reduce

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import Swinv2Config
from transformers.utils import cached_file, logging, requires_backends

from ..model.configuration_swinv2_ait import AiTSwinv2Config
from ..model.modeling_swinv2_ait import AiTSwinv2Backbone


logger = logging.get_logger(__name__)

STOCK_COSINE_EPS = 1e-12  # transformers and timm normalise queries and keys with torch's default

ORIGINAL_RULES = (
    (r"^backbone\.", ""),
    (r"^patch_embed\.proj\.", "embeddings.projection."),
    (r"^patch_embed\.norm\.", "embeddings.norm."),
    (r"^layers\.(\d+)\.downsample\.", r"stages.\1.merging."),
    (r"^layers\.", "stages."),
    (r"\.norm1\.", ".attention_norm."),
    (r"\.norm2\.", ".mlp_norm."),
    (r"\.attn\.proj\.", ".attention.projection."),
    (r"\.attn\.q_bias$", ".attention.query_bias"),
    (r"\.attn\.v_bias$", ".attention.value_bias"),
    (r"\.attn\.(?:rpe|cpb)_mlp\.0\.", ".attention.position_bias.fc1."),
    (r"\.attn\.(?:rpe|cpb)_mlp\.2\.", ".attention.position_bias.fc2."),
    (r"\.attn\.", ".attention."),
)
TRANSFORMERS_RULES = (
    (r"^(?:swinv2|backbone)\.", ""),
    (r"^embeddings\.patch_embeddings\.", "embeddings."),
    (r"^encoder\.layers\.(\d+)\.downsample\.", r"stages.\1.merging."),
    (r"^encoder\.layers\.", "stages."),
    (r"\.layernorm_before\.", ".attention_norm."),
    (r"\.layernorm_after\.", ".mlp_norm."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.attention\.output\.dense\.", ".attention.projection."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.self\.query\.bias$", ".query_bias"),
    (r"\.self\.value\.bias$", ".value_bias"),
    (r"\.self\.continuous_position_bias_mlp\.0\.", ".position_bias.fc1."),
    (r"\.self\.continuous_position_bias_mlp\.2\.", ".position_bias.fc2."),
    (r"\.self\.", "."),
    (r"^layernorm\.", "norm."),
)
DERIVED = r"(?:^|\.)(?:relative_coords_table|relative_position_index|attn_mask|k_bias)$"
RULES_AND_SKIPPED = {
    "original": (ORIGINAL_RULES, DERIVED),
    "timm": (ORIGINAL_RULES, DERIVED + r"|^head\."),
    "transformers": (TRANSFORMERS_RULES, DERIVED + r"|^classifier\.|^decoder\.|^(?:swinv2\.)?embeddings\.mask_token$"),
}

ORIGINAL_KEYS = {"embed_dim", "depths", "num_heads", "window_size", "use_shift", "pretrain_window_size"}
# What the released models leave at one value (and the network therefore does not offer), or what training needed only.
ORIGINAL_FIXED = {"type": "SwinV2TransformerRPE2FC", "ape": False, "patch_norm": True}
ORIGINAL_IGNORED = {"init_cfg", "pretrain_img_size", "use_checkpoint"}


def swinv2_config_from_original(backbone_cfg: dict, image_size: int | tuple[int, int]) -> dict:
    """
    The `backbone` dictionary of an original AiT configuration, `model["backbone"]`, for images of that size (height
    and width, or both, in pixels), as arguments of [`AiTSwinv2Config`] with `model_type`, ready for a
    `backbone_config` or for `AiTSwinv2Config.from_dict`. `ValueError` for missing and unknown keys, and for variants
    that no released model uses.
    """
    cfg = dict(backbone_cfg)
    for key in ORIGINAL_IGNORED:
        cfg.pop(key, None)
    for key, value in ORIGINAL_FIXED.items():
        if cfg.pop(key, value) != value:
            raise ValueError(f"backbone {key}={backbone_cfg[key]!r} is not supported; released models use {value!r}.")
    if missing := sorted(ORIGINAL_KEYS - set(cfg)):
        raise ValueError(f"the original backbone configuration lacks {', '.join(missing)}.")
    last = len(cfg["depths"]) - 1
    if list(cfg.pop("out_indices", [last])) != [last]:
        raise ValueError(f"backbone out_indices={backbone_cfg['out_indices']} is not supported; AiT reads [{last}].")
    drop_path_rate = cfg.pop("drop_path_rate", 0.1)
    if unknown := sorted(set(cfg) - ORIGINAL_KEYS):
        raise ValueError(f"the original backbone configuration has unknown keys: {', '.join(unknown)}.")
    return {
        "model_type": AiTSwinv2Config.model_type,
        "image_size": image_size,
        "embed_dim": cfg["embed_dim"],
        "depths": list(cfg["depths"]),
        "num_heads": list(cfg["num_heads"]),
        "window_sizes": list(cfg["window_size"]),
        "shifted_stages": list(cfg["use_shift"]),
        "pretrained_window_sizes": list(cfg["pretrain_window_size"]),
        "drop_path_rate": drop_path_rate,
    }


def renamed(name: str, rules: Iterable[tuple[str, str]]) -> str:
    """The name after all rules, (pattern, replacement) pairs, in order."""
    return reduce(lambda name, rule: re.sub(*rule, name), rules, name)


def convert_swinv2_state_dict(
    state_dict: dict[str, torch.Tensor], config: AiTSwinv2Config, source: str
) -> dict[str, torch.Tensor]:
    """
    Weights of another SwinV2 as exactly the parameters of [`AiTSwinv2Backbone`]; `ValueError` names every missing,
    unexpected or misshapen one (by its name in this package). The source is `"original"`, an AiT checkpoint, with or
    without the leading `backbone.`; `"timm"`, `SwinTransformerV2`; or `"transformers"`, `Swinv2Model`,
    `Swinv2ForImageClassification`, `Swinv2ForMaskedImageModeling` or `Swinv2Backbone`, which has no final norm: nor
    has the result.
    """
    rules, skipped = RULES_AND_SKIPPED[source]
    if source == "original":
        rules = (*rules, (rf"^norm{config.num_layers - 1}\.", "norm."))
    # timm counts a merging to the stage after it; before 0.9, it kept the original names.
    if source == "timm" and "layers.0.downsample.reduction.weight" not in state_dict:
        shifts = [(rf"^layers\.{s + 1}\.downsample\.", f"stages.{s}.merging.") for s in range(config.num_layers)]
        rules = (*shifts, *rules)
    ours = {renamed(key, rules): tensor for key, tensor in state_dict.items() if not re.search(skipped, key)}
    for stage, depth in enumerate(config.depths if source == "transformers" else ()):
        for block in range(depth):
            prefix = f"stages.{stage}.blocks.{block}.attention."
            parts = [f"{prefix}{name}.weight" for name in ("query", "key", "value")]
            if all(part in ours for part in parts):
                ours[f"{prefix}qkv.weight"] = torch.cat([ours.pop(part) for part in parts])
    with torch.device("meta"):
        expected = AiTSwinv2Backbone(config).state_dict()
    optional = ("norm.weight", "norm.bias") if source == "transformers" else ()
    problems = [f"missing {key}" for key in expected if key not in ours and key not in optional]
    problems += [f"unexpected {key}" for key in ours if key not in expected]
    problems += [
        f"{key} has shape {tuple(tensor.shape)} instead of {tuple(expected[key].shape)}"
        for key, tensor in ours.items()
        if key in expected and tensor.shape != expected[key].shape
    ]
    if problems:
        raise ValueError(f"the {source} weights do not fit the SwinV2 configuration: {'; '.join(problems)}.")
    return ours


def _stage_sides(
    image_size: int | tuple[int, int], patch_size: int | list[int] | tuple[int, int], num_stages: int
) -> list[int]:
    """Shorter side of every stage's map, in tokens, as transformers counts them."""
    side = int(np.floor_divide(image_size, patch_size).min())
    return [side // 2**stage for stage in range(num_stages)]


def _describe_transformers(stored: dict) -> dict:
    """Arguments of [`AiTSwinv2Config`] from the `config.json` of a transformers SwinV2 model."""
    source = Swinv2Config.from_dict(stored)
    if source.use_absolute_embeddings:
        raise ValueError("SwinV2 checkpoints with absolute position embeddings are not supported.")
    # No window is larger than its map was in pre-training.
    sides = _stage_sides(source.image_size, source.patch_size, len(source.depths))
    windows = [min(side, source.window_size) for side in sides]
    return {
        "patch_size": source.patch_size,
        "num_channels": source.num_channels,
        "embed_dim": source.embed_dim,
        "depths": source.depths,
        "num_heads": source.num_heads,
        "window_sizes": windows,
        "pretrained_window_sizes": [old or new for old, new in zip(source.pretrained_window_sizes, windows)],
        "mlp_ratio": source.mlp_ratio,
        "hidden_act": source.hidden_act,
        "layer_norm_eps": source.layer_norm_eps,
    }


def _describe_timm(stored: dict) -> dict:
    """Arguments of [`AiTSwinv2Config`] from the `config.json` of a timm SwinV2 model."""
    requires_backends("load_pretrained_backbone", "timm")
    import timm

    with torch.device("meta"):  # only the geometry is needed
        source = timm.create_model(stored["architecture"], pretrained=False, **stored.get("model_args", {}))
    firsts = [stage.blocks[0] for stage in source.layers]
    windows = [block.window_size[0] for block in firsts]
    return {
        "patch_size": source.patch_embed.patch_size,
        "num_channels": source.in_chans,
        "embed_dim": source.embed_dim,
        "depths": [len(stage.blocks) for stage in source.layers],
        "num_heads": [block.num_heads for block in firsts],
        "window_sizes": windows,
        "pretrained_window_sizes": [
            block.attn.pretrained_window_size[0] or window for block, window in zip(firsts, windows)
        ],
        "mlp_ratio": firsts[0].mlp_ratio,
        "layer_norm_eps": source.norm.eps,
    }


def _checkpoint_file(name_or_path: str, name: str) -> str:
    path = cached_file(name_or_path, name)
    if path is None:  # transformers lets folders be without config.json
        raise FileNotFoundError(f"{name_or_path} has no {name}; give a folder or Hub id of a saved SwinV2 model.")
    return path


def load_pretrained_backbone(
    name_or_path: str,
    *,
    image_size: int | tuple[int, int],
    window_sizes: list[int] | None = None,
    shifted_stages: list[bool] | None = None,
    drop_path_rate: float = 0.1,
) -> tuple[AiTSwinv2Config, AiTSwinv2Backbone]:
    """
    A SwinV2 checkpoint of transformers or timm as an AiT backbone, for images and windows of any size.

    Windows may change because the position bias is a continuous function of the offset between two tokens; the offsets
    stay normalised by the window of the pre-training. The epsilons are the checkpoint's own.

    Args:
        name_or_path (`str`):
            Hub id or folder with `config.json` and `model.safetensors`: a transformers `swinv2` model (with or without
            a head) or a timm `swinv2_*` model such as `"timm/swinv2_base_window12_192.ms_in22k"` (needs timm).
        image_size (`int` or pair): Height and width in pixels of the images the backbone is made for.
        window_sizes (list of `int`, *optional*): Window of each stage in tokens; the checkpoint's own by default.
        shifted_stages (list of `bool`, *optional*):
            Which stages shift every second block's windows; by default those whose map is larger than the window.
        drop_path_rate (`float`, defaults to 0.1): Stochastic depth of the last block, in [0, 1).

    Returns:
        The configuration, and the backbone in evaluation mode with the weights in float32. Attach it to a model after
        that model's `post_init()`, which would initialise it anew.

    Raises:
        ValueError: if it is no SwinV2 checkpoint, or its weights do not fit its configuration.
        OSError: if there are no such files.
    """
    with open(_checkpoint_file(name_or_path, "config.json"), encoding="utf-8") as file:
        stored = json.load(file)
    architecture = stored.get("architecture", "")
    if stored.get("model_type") == "swinv2":
        arguments, source = _describe_transformers(stored), "transformers"
    elif architecture.startswith("swinv2_") and not architecture.startswith("swinv2_cr_"):
        arguments, source = _describe_timm(stored), "timm"
    else:
        raise ValueError(
            f"{name_or_path} is not a SwinV2 checkpoint: its config.json has neither model_type swinv2 (transformers) "
            "nor a swinv2_* architecture (timm)."
        )
    if window_sizes is not None:
        arguments["window_sizes"] = window_sizes
    if shifted_stages is None:
        sides = _stage_sides(image_size, arguments["patch_size"], len(arguments["depths"]))
        shifted_stages = [side > window for side, window in zip(sides, arguments["window_sizes"])]
    config = AiTSwinv2Config(
        **arguments,
        image_size=image_size,
        shifted_stages=shifted_stages,
        drop_path_rate=drop_path_rate,
        cosine_eps=STOCK_COSINE_EPS,
    )
    weights = load_file(_checkpoint_file(name_or_path, "model.safetensors"))
    backbone = AiTSwinv2Backbone(config).eval()
    missing = backbone.load_state_dict(convert_swinv2_state_dict(weights, config, source), strict=False).missing_keys
    if missing:
        logger.warning(f"{name_or_path} has no final norm; newly initialised: {', '.join(missing)}.")
    return config, backbone
