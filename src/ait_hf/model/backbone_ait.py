# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The backbone that a configuration describes: which of its maps is read, and what of it is learned."""

import copy
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from transformers import AutoBackbone, PreTrainedConfig, PreTrainedModel

from .configuration_ait import AiTConfig
from .modeling_swinv2_ait import AiTSwinv2Backbone


def build_backbone(config: AiTConfig) -> tuple[PreTrainedModel, set[str]]:
    """
    A new backbone, and the names of its parameters that its last map does not depend on. (In training over several processes
    they would be waited for.)

    With `feature_stride` the last map of that stride is the only one, and stages behind it are left out.

    Raises:
        ValueError: The backbone has no map of that stride, or no batch norm that could be frozen.
    """
    described, unused = config.backbone_config, set()
    if config.feature_stride is not None:
        index, unused = _probed(config)
        described.out_indices = [index]
    backbone = _new(described)
    _leave_out(backbone, unused)
    if config.freeze_batch_norm and not any(batch_norms(backbone)):
        raise ValueError(f"freeze_batch_norm is for backbones with batch norm, which {described.model_type} lacks.")
    return backbone, unused


def _leave_out(backbone: nn.Module, unused: set[str]) -> None:
    """Stages and blocks all of whose parameters are unused; and norms, which may be for the channels of stages left out."""
    for name, module in list(backbone.named_modules()):
        while isinstance(module, nn.ModuleList | nn.Sequential) and len(module):
            last = {f"{name}.{len(module) - 1}.{key}" for key, _ in module[-1].named_parameters()}
            if not last or not last <= unused:
                break
            del module[-1]
    for name, module in list(backbone.named_modules()):
        if isinstance(module, nn.LayerNorm) and f"{name}.weight" in unused:
            backbone.set_submodule(name, nn.Identity())


def batch_norms(backbone: nn.Module) -> Iterator[nn.Module]:
    """All of its batch norms."""
    return (module for module in backbone.modules() if isinstance(module, BatchNorm))


def _new(config: PreTrainedConfig) -> PreTrainedModel:
    is_ours = config.model_type == AiTSwinv2Backbone.config_class.model_type
    return AiTSwinv2Backbone(config) if is_ours else AutoBackbone.from_config(config)


def _probed(config: AiTConfig) -> tuple[int, set[str]]:
    """Number of the last map of `feature_stride`, and names of the parameters that it does not depend on; `ValueError` if there
    is none."""
    with torch.device("meta"), torch.enable_grad():  # so that only shapes are computed
        every = copy.deepcopy(config.backbone_config)
        every.out_indices = list(range(len(_new(every).stage_names)))
        size = config.pad_images_to or next(iter(config.tasks.values()))["image_size"]
        image = torch.empty(1, 3, *(-(-side // 32) * 32 for side in size))
        backbone = _new(every).eval()
        maps = backbone(image).feature_maps
        strides = [round(image.shape[-1] / feature_map.shape[-1]) for feature_map in maps]
        if config.feature_stride not in strides:
            raise ValueError(
                f"feature_stride is {config.feature_stride}, but the maps of this backbone ({every.model_type}) have the "
                f"strides {', '.join(map(str, dict.fromkeys(strides)))}."
            )
        index = len(strides) - 1 - strides[::-1].index(config.feature_stride)
        maps[index].sum().backward()
    learned = ((name, parameter) for name, parameter in backbone.named_parameters() if parameter.requires_grad)
    return index, {name for name, parameter in learned if parameter.grad is None}
