# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Models with random weights: the published sizes of AiT, and what the libraries have."""

from collections.abc import Sequence
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


MASK_TOKENIZER = {
    "sample_size": 64,
    "downsample_ratio": 16,
    "value_range": [0.0, 1.0],
    "unit": "mask",
    "loss_type": "mse",
}
BOX = ["coordinate"] * 4
NUM_CLASSES = 80
NUM_JOINTS = 17
CELL = 32  # pixels per code of a map

# The published backbones by the first letter of their size, and something small of the same make.
SWINV2 = {
    "t": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]},
    "s": {"embed_dim": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24]},
    "b": {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]},
    "l": {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48]},
}
SMALL = {"embed_dim": 32, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}


def _own_backbone(size: int, shape: dict[str, Any]) -> AiTSwinv2Config:
    """As published: windows of a sixteenth of the image, shifted where several cover the map."""
    window = size // 16
    return AiTSwinv2Config(
        **shape,
        image_size=size,
        window_sizes=[window, window, window, max(window // 2, 1)],
        pretrained_window_sizes=[0] * 4,
        drop_path_rate=0.0,
        out_features=["stage4"],
    )


def _library_backbone(size: int, shape: dict[str, Any]) -> Swinv2Config:
    return Swinv2Config(
        **shape,
        image_size=size,
        window_size=size // 16,
        pretrained_window_sizes=[0] * 4,
        drop_path_rate=0.0,
        out_features=["stage4"],
    )


def backbones(size: int, shape: dict[str, Any]) -> dict[str, nn.Module]:
    """The same sizes and windows three times."""
    timm = SwinTransformerV2(
        img_size=size, window_size=size // 16, num_classes=0, global_pool="", drop_path_rate=0.0, **shape
    )
    return {
        "transformers": Swinv2Backbone(_library_backbone(size, shape)),
        "timm": timm,
        "ait_hf": AiTSwinv2Backbone(_own_backbone(size, shape)),
    }


def _tokenizers(size: int) -> dict[str, dict[str, Any]]:
    maps = {"sample_size": size, "downsample_ratio": CELL}
    channels = {"in_channels": NUM_CLASSES, "out_channels": NUM_CLASSES}
    return {
        "mask": MASK_TOKENIZER,
        "depth": maps,
        "segment": MASK_TOKENIZER,
        "pose": {"tokenizer_type": "pose", "num_joints": NUM_JOINTS, "sample_size": size},
        "labels": maps | channels | {"unit": "class", "loss_type": "cross_entropy"},
        "normals": maps | {"in_channels": 3, "out_channels": 3, "unit": "unit_vector"},
    }


def _tasks(size: int, num_objects: int, num_groups: int) -> dict[str, dict[str, Any]]:
    grid, squares = [size // CELL, size // CELL], [4, 4]
    objects = {"output_type": "objects", "num_groups": num_objects}
    declared = {
        "object-detection": {"slots": [*BOX, "class"], **objects},
        "instance-segmentation": {
            "slots": [*BOX, "class", "mask"],
            "grid_size": squares,
            "dense_loss_weight": 0.2,
            "auxiliary_loss": "dice_mse",
            "auxiliary_loss_weight": 5.0,
            **objects,
        },
        "depth": {"slots": ["depth"], "output_type": "depth", "grid_size": grid, "auxiliary_loss": "silog"},
        "keypoint-detection": {
            "slots": ["pose"],
            "output_type": "pose",
            "grid_size": [1, 34],
            "auxiliary_loss": "smooth_l1",
        },
        "semantic-segmentation": {
            "slots": ["class", "segment"],
            "output_type": "semantic",
            "grid_size": squares,
            "num_groups": num_groups,
            "auxiliary_loss": "dice_mse",
        },
        "labels": {
            "slots": ["labels"],
            "output_type": "label_map",
            "grid_size": grid,
            "auxiliary_loss": "cross_entropy",
        },
        "normals": {"slots": ["normals"], "output_type": "map", "grid_size": grid, "auxiliary_loss": "smooth_l1"},
    }
    return {
        name: {"task_id": number, "image_size": [size, size], **task}
        for number, (name, task) in enumerate(declared.items())
    }


ALL_TASKS = tuple(_tasks(CELL, 1, 1))


def task_model(
    tasks: Sequence[str],
    size: int,
    shape: dict[str, Any],
    *,
    parallel: bool,
    num_objects: int = 100,
    num_groups: int = 20,
    library_backbone: bool = False,
    attn_implementation: str = "sdpa",
    **solver: int,
) -> AiTForDenseTokenGeneration:
    """
    The published model for some of [`ALL_TASKS`], in evaluation mode.

    Args:
        size (`int`): Side of the images, pixels, a multiple of 32.
        shape: Of the backbone.
        parallel (`bool`): AiT-P.
        num_objects, num_groups (`int`): In sequences of objects, and of classes with masks.
        library_backbone (`bool`): That of transformers instead of ours.
        solver: Sizes of encoder and decoder.
    """
    declared = {name: task for name, task in _tasks(size, num_objects, num_groups).items() if name in tasks}
    codebooks = {task["slots"][-1] for task in declared.values()}
    tokenizers = {name: settings for name, settings in _tokenizers(size).items() if name in codebooks}
    config = AiTConfig(
        backbone_config=(_library_backbone if library_backbone else _own_backbone)(size, shape).to_dict(),
        tasks=declared,
        tokenizers=tokenizers,
        codebooks=[[name, 2048 if name == "pose" else 128] for name in tokenizers],
        num_task_ids=len(ALL_TASKS),
        num_classes=NUM_CLASSES,
        parallel=parallel,
        max_position_embeddings=max((size // CELL) ** 2 + 1, 2100),
        **solver,
    )
    return AiTForDenseTokenGeneration._from_config(config, attn_implementation=attn_implementation).eval()


def lower_solver(model: AiTForDenseTokenGeneration, dtype: torch.dtype) -> AiTForDenseTokenGeneration:
    """The solver in another type, for inference; tokenizers stay in float32, as in loaded models."""
    for part in (model.model, model.lm_head):
        part.to(dtype)
    return model.eval()


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
