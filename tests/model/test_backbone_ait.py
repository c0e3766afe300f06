# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Which map of a backbone is read, and what of it is learned."""

import copy

import pytest
import torch
from tiny import TINY_BACKBONE, tiny_config
from transformers import AutoBackbone, ConvNextConfig, Dinov2Config, ResNetConfig, SwinConfig, TimmBackboneConfig

from ait_hf import AiTConfig, AiTForDepthEstimation, AiTSwinv2Backbone, AiTSwinv2Config
from ait_hf.model.modeling_solver_ait import AiTEncoder


EVERY_STAGE = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1], "layer_type": "basic"}
BACKBONES = {
    "resnet": ResNetConfig(**RESNET, **EVERY_STAGE),
    "convnext": ConvNextConfig(hidden_sizes=[4, 8, 12, 16], depths=[1, 1, 1, 1], **EVERY_STAGE),
    "swin": SwinConfig(embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=3, image_size=96, **EVERY_STAGE),
    "ours": AiTSwinv2Config(**TINY_BACKBONE, **EVERY_STAGE),
    "timm": TimmBackboneConfig(backbone="test_efficientnet", out_indices=[1, 2, 3, 4]),
    "timm, pruned": TimmBackboneConfig(backbone="resnet10t", out_indices=[1, 2, 3, 4]),
}


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", BACKBONES)
def test_map_of_a_stride(name, stride):
    torch.manual_seed(0)
    whole_config = copy.deepcopy(BACKBONES[name])
    whole = (AiTSwinv2Backbone(whole_config) if name == "ours" else AutoBackbone.from_config(whole_config)).eval()
    config = tiny_config(backbone_config=copy.deepcopy(BACKBONES[name]), feature_stride=stride)
    encoder = AiTEncoder(config).eval()
    backbone = encoder.backbone
    assert backbone.load_state_dict(whole.state_dict(), strict=False).missing_keys == []
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        expected = whole(images).feature_maps[(8, 16, 32).index(stride) + 1]
    (features,) = backbone(images).feature_maps
    assert features.shape[-2:] == (96 // stride, 128 // stride)
    torch.testing.assert_close(features, expected)

    sizes = [sum(map(torch.numel, module.parameters())) for module in (backbone, whole)]
    assert stride == 32 or sizes[0] < sizes[1]
    encoder(images).last_hidden_state.sum().backward()  # processes wait for every gradient
    learned = {key: value.grad is not None for key, value in encoder.named_parameters() if value.requires_grad}
    assert all(learned.values()), [key for key, has_gradient in learned.items() if not has_gradient]

    again = AiTEncoder(AiTConfig.from_dict(config.to_dict()))
    again.load_state_dict(encoder.state_dict())


def test_stride_that_a_backbone_does_not_have():
    with pytest.raises(ValueError, match=r"feature_stride is 64, but .* \(resnet\) have the strides 4, 8, 16, 32"):
        AiTEncoder(tiny_config(backbone_config=copy.deepcopy(BACKBONES["resnet"]), feature_stride=64))
    flat = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=96, patch_size=16)
    with pytest.raises(ValueError, match="have the strides 16"):
        AiTEncoder(tiny_config(backbone_config=copy.deepcopy(flat), feature_stride=32))
    assert AiTEncoder(tiny_config(backbone_config=flat, feature_stride=16)).config.backbone_config.out_indices == [2]


@pytest.mark.parametrize("is_frozen", [False, True])
def test_frozen_batch_norm(tmp_path, is_frozen):
    config = tiny_config(backbone_config=ResNetConfig(**RESNET), freeze_batch_norm=is_frozen)
    AiTForDepthEstimation(config).save_pretrained(tmp_path)
    loaded, report = AiTForDepthEstimation.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and loaded.config.freeze_batch_norm == is_frozen
    for model in (AiTForDepthEstimation(config), loaded.train()):  # new, and continued
        encoder = model.get_encoder()
        before = {key: value.clone() for key, value in encoder.backbone.state_dict().items()}
        optimizer = torch.optim.SGD([value for value in encoder.parameters() if value.requires_grad], lr=1.0)
        encoder(torch.randn(2, 3, 96, 96)).last_hidden_state.square().sum().backward()
        optimizer.step()
        changed = {key for key, value in encoder.backbone.state_dict().items() if not torch.equal(value, before[key])}
        of_norms = {key for key in before if "normalization" in key}
        assert changed >= before.keys() - of_norms
        assert changed & of_norms == (set() if is_frozen else of_norms)


def test_nothing_to_freeze():
    with pytest.raises(ValueError, match="freeze_batch_norm is for backbones with batch norm, which ait_swinv2 lacks"):
        AiTEncoder(tiny_config(freeze_batch_norm=True))
