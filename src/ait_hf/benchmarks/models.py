# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Models with random weights: the published sizes of AiT, and what the libraries have."""

from typing import Any

import torch
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn
from transformers import (
    BeitConfig,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DetrConfig,
    DetrForObjectDetection,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
    GLPNConfig,
    GLPNForDepthEstimation,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    ResNetConfig,
    Swinv2Backbone,
    Swinv2Config,
    ZoeDepthConfig,
    ZoeDepthForDepthEstimation,
)

from ..model.configuration_ait import AiTConfig
from ..model.configuration_swinv2_ait import AiTSwinv2Config
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.modeling_swinv2_ait import AiTSwinv2Backbone


SOLVER = {"d_model": 256, "encoder_layers": 6, "decoder_layers": 6, "num_heads": 8, "ffn_dim": 1024}
MASK_TOKENIZER = {
    "sample_size": 64,
    "downsample_ratio": 16,
    "value_range": [0.0, 1.0],
    "unit": "mask",
    "loss_type": "mse",
}
BOX = ["coordinate"] * 4


SWINV2_B = {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]}
SWINV2_L = {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48]}


def swinv2_shape(full: bool) -> dict[str, Any]:
    """SwinV2-B, or something small of the same make."""
    if full:
        return SWINV2_B
    return {"embed_dim": 32, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}


def own_backbone_config(size: int, shape: dict[str, Any]) -> AiTSwinv2Config:
    """The published backbone of a [`swinv2_shape`]: windows of a sixteenth of the image, shifted where several cover the map."""
    window = size // 16
    return AiTSwinv2Config(
        **shape,
        image_size=size,
        window_sizes=[window, window, window, max(window // 2, 1)],
        pretrained_window_sizes=[0] * 4,
        drop_path_rate=0.0,
        out_features=["stage4"],
    )


def library_backbone_config(size: int, full: bool) -> Swinv2Config:
    return Swinv2Config(
        **swinv2_shape(full),
        image_size=size,
        window_size=size // 16,
        pretrained_window_sizes=[0] * 4,
        drop_path_rate=0.0,
        out_features=["stage4"],
    )


def _backbone_config(size: int, full: bool, of_library: bool) -> AiTSwinv2Config | Swinv2Config:
    return library_backbone_config(size, full) if of_library else own_backbone_config(size, swinv2_shape(full))


def backbones(size: int, full: bool) -> dict[str, nn.Module]:
    """The same sizes and windows three times."""
    timm = SwinTransformerV2(
        img_size=size, window_size=size // 16, num_classes=0, global_pool="", drop_path_rate=0.0, **swinv2_shape(full)
    )
    return {
        "transformers": Swinv2Backbone(library_backbone_config(size, full)),
        "timm": timm,
        "ait_hf": AiTSwinv2Backbone(own_backbone_config(size, swinv2_shape(full))),
    }


def depth_model(
    size: int,
    full: bool,
    *,
    parallel: bool,
    library_backbone: bool = False,
    grid: int | None = None,
    attn_implementation: str = "sdpa",
) -> AiTForDenseTokenGeneration:
    """The published depth model; `grid` codes in a row and a column (one for 32 pixels by default)."""
    grid = size // 32 if grid is None else grid
    depth = {
        "task_id": 2,
        "slots": ["depth"],
        "output_type": "depth",
        "grid_size": [grid, grid],
        "image_size": [size, size],
        "auxiliary_loss": "silog",
    }
    config = AiTConfig(
        backbone_config=_backbone_config(size, full, library_backbone).to_dict(),
        tasks={"depth": depth},
        parallel=parallel,
        max_position_embeddings=max(grid**2, 2100),
        **SOLVER,
    )
    return AiTForDenseTokenGeneration._from_config(config, attn_implementation=attn_implementation).eval()


def object_model(
    size: int, full: bool, num_objects: int, *, parallel: bool, library_backbone: bool = False
) -> AiTForDenseTokenGeneration:
    """The published model of instance segmentation: 21 tokens for each object."""
    objects = {
        "task_id": 1,
        "slots": [*BOX, "class", "mask"],
        "output_type": "objects",
        "num_groups": num_objects,
        "grid_size": [4, 4],
        "image_size": [size, size],
        "auxiliary_loss": "dice_mse",
    }
    config = AiTConfig(
        backbone_config=_backbone_config(size, full, library_backbone).to_dict(),
        tasks={"instance-segmentation": objects},
        tokenizers={"mask": MASK_TOKENIZER},
        parallel=parallel,
        **SOLVER,
    )
    return AiTForDenseTokenGeneration(config).eval()


def spread_weights(model: nn.Module) -> None:
    """Outputs of newly initialised models are all alike; with these weights they depend on the image."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)


def library_depth_models() -> dict[str, tuple[nn.Module, tuple[int, int]]]:
    """Depth models of transformers at their standard sizes, with the height and width of their images."""
    dinov2 = Dinov2Config(
        image_size=518,
        patch_size=14,
        out_features=["stage3", "stage6", "stage9", "stage12"],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    anything = DepthAnythingConfig(
        backbone_config=dinov2,
        reassemble_hidden_size=768,
        neck_hidden_sizes=[96, 192, 384, 768],
        fusion_hidden_size=128,
    )
    dpt = DPTConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        backbone_out_indices=[5, 11, 17, 23],
        neck_hidden_sizes=[256, 512, 1024, 1024],
    )
    beit = BeitConfig(
        image_size=384,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        use_relative_position_bias=True,
        reshape_hidden_states=False,
        out_features=["stage6", "stage12", "stage18", "stage24"],
    )
    zoe = ZoeDepthConfig(backbone_config=beit, neck_hidden_sizes=[256, 512, 1024, 1024], backbone_hidden_size=1024)
    glpn = GLPNConfig(depths=[3, 8, 27, 3], hidden_sizes=[64, 128, 320, 512], decoder_hidden_size=64)
    return {
        "DepthAnything-B": (DepthAnythingForDepthEstimation(anything).eval(), (518, 518)),
        "DPT-L": (DPTForDepthEstimation(dpt).eval(), (384, 384)),
        "GLPN": (GLPNForDepthEstimation(glpn).eval(), (480, 640)),
        "ZoeDepth": (ZoeDepthForDepthEstimation(zoe).eval(), (384, 512)),
    }


def library_object_models() -> dict[str, nn.Module]:
    """Detection and segmentation with 100 queries."""
    detr = DetrConfig(use_timm_backbone=False, use_pretrained_backbone=False, backbone=None)
    detr.backbone_config = ResNetConfig(out_features=["stage4"])
    return {
        "DETR-R50": DetrForObjectDetection(detr).eval(),
        "Mask2Former-T": Mask2FormerForUniversalSegmentation(Mask2FormerConfig()).eval(),
    }


__all__ = [
    "SWINV2_B",
    "SWINV2_L",
    "backbones",
    "depth_model",
    "library_depth_models",
    "library_object_models",
    "object_model",
    "own_backbone_config",
    "spread_weights",
    "swinv2_shape",
]
