# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""SwinV2 weights of the original code, transformers and timm give the same features here as there."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Swinv2Config,
    Swinv2ForImageClassification,
    Swinv2ForMaskedImageModeling,
    Swinv2Model,
)
from transformers.models.swinv2.modeling_swinv2 import Swinv2Backbone

from ait_hf.conversion.swinv2 import (
    convert_swinv2_state_dict,
    load_pretrained_backbone,
    swinv2_config_from_original,
)
from ait_hf.model.configuration_swinv2_ait import AiTSwinv2Config


STOCK = {
    "image_size": 64,
    "embed_dim": 8,
    "depths": [2, 2, 2, 2],
    "num_heads": [1, 2, 2, 4],
    "window_size": 4,
    "drop_path_rate": 0.0,
    "encoder_stride": 32,
}
TIMM_ARGUMENTS = {
    "img_size": 64,
    "embed_dim": 8,
    "depths": [2, 2, 2, 2],
    "num_heads": [1, 2, 2, 4],
    "window_size": 4,
    "num_classes": 5,
}


def randomise(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3)
            if "logit_scale" in name or ("norm" in name and name.endswith("weight")):
                parameter.add_(1.0)
    return model.eval()


def save_timm(folder, model, architecture="swinv2_tiny_window8_256"):
    folder.mkdir(exist_ok=True)
    config = {"architecture": architecture, "model_args": TIMM_ARGUMENTS}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "model.safetensors")


def feature_map(tokens, side):
    return tokens.transpose(1, 2).unflatten(2, (side, side))


@pytest.mark.parametrize("pretrained", [[0, 0, 0, 0], [3, 3, 3, 2]])
def test_transformers_model(tmp_path, pretrained):
    stock = randomise(Swinv2Model(Swinv2Config(**STOCK, pretrained_window_sizes=pretrained)))
    stock.save_pretrained(tmp_path)
    config, backbone = load_pretrained_backbone(str(tmp_path), image_size=64)
    assert config.window_sizes == [4, 4, 4, 2]
    assert config.shifted_stages == [True, True, False, False]
    assert config.pretrained_window_sizes == ([4, 4, 4, 2] if pretrained[0] == 0 else pretrained)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = stock(image, output_hidden_states=True)
        output = backbone(image, output_hidden_states=True)
    torch.testing.assert_close(output.hidden_states[0], expected.reshaped_hidden_states[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        output.feature_maps[0], feature_map(expected.last_hidden_state, 2), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("head", [Swinv2ForImageClassification, Swinv2ForMaskedImageModeling])
def test_transformers_model_with_a_head(tmp_path, head):
    stock = randomise(head(Swinv2Config(**STOCK)))
    stock.save_pretrained(tmp_path)
    _, backbone = load_pretrained_backbone(str(tmp_path), image_size=64)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = feature_map(stock.swinv2(image).last_hidden_state, 2)
        torch.testing.assert_close(backbone(image).feature_maps[0], expected, rtol=1e-4, atol=1e-4)


def test_transformers_backbone_has_no_final_norm(tmp_path, caplog):
    stock = randomise(Swinv2Backbone(Swinv2Config(**STOCK, out_features=["stage2", "stage4"])))
    stock.save_pretrained(tmp_path)
    _, backbone = load_pretrained_backbone(str(tmp_path), image_size=64)
    assert "newly initialised: norm.weight, norm.bias" in caplog.text
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        stage2, stage4 = stock(image).feature_maps
        output = backbone(image, output_hidden_states=True)
    torch.testing.assert_close(output.hidden_states[2], stage2, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(output.hidden_states[4], stage4, rtol=1e-4, atol=1e-4)
    normalised = torch.nn.functional.layer_norm(stage4.permute(0, 2, 3, 1), (64,)).permute(0, 3, 1, 2)
    torch.testing.assert_close(output.feature_maps[0], normalised, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("pretrained", [(0, 0, 0, 0), (3, 3, 3, 2)])
def test_timm_model(tmp_path, monkeypatch, pretrained):
    transformer = pytest.importorskip("timm.models.swin_transformer_v2")
    monkeypatch.setitem(TIMM_ARGUMENTS, "pretrained_window_sizes", list(pretrained))
    stock = randomise(transformer.SwinTransformerV2(**TIMM_ARGUMENTS))
    save_timm(tmp_path, stock)
    config, backbone = load_pretrained_backbone(str(tmp_path), image_size=64, drop_path_rate=0.2)
    assert config.drop_path_rate == 0.2
    assert config.window_sizes == [4, 4, 4, 2]
    assert config.pretrained_window_sizes == ([4, 4, 4, 2] if pretrained[0] == 0 else list(pretrained))
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = stock.forward_features(image).permute(0, 3, 1, 2)
        torch.testing.assert_close(backbone(image).feature_maps[0], expected, rtol=1e-4, atol=1e-4)


def test_timm_weights_with_original_names(golden_dir):
    weights = load_file(golden_dir / "02_swin_weights.safetensors")
    original = json.loads((golden_dir / "02_swin_480like" / "case.json").read_text())["config"]
    config = AiTSwinv2Config.from_dict(swinv2_config_from_original(original, 96))
    old = {key.replace("rpe_mlp", "cpb_mlp").replace("norm3.", "norm."): value for key, value in weights.items()}
    converted = convert_swinv2_state_dict(old, config, "timm")
    for key, value in convert_swinv2_state_dict(weights, config, "original").items():
        assert torch.equal(converted[key], value), key


def test_new_windows_keep_the_bias_of_every_offset(tmp_path):
    randomise(Swinv2Model(Swinv2Config(**STOCK))).save_pretrained(tmp_path)
    _, old = load_pretrained_backbone(str(tmp_path), image_size=64)
    config, new = load_pretrained_backbone(str(tmp_path), image_size=(96, 160), window_sizes=[6, 6, 6, 3])
    assert config.image_size == [96, 160]
    assert config.window_sizes == [6, 6, 6, 3]
    assert config.pretrained_window_sizes == [4, 4, 4, 2]
    assert config.shifted_stages == [True, True, False, False]
    _, shifted = load_pretrained_backbone(str(tmp_path), image_size=64, shifted_stages=[True] * 4)
    assert shifted.config.shifted_stages == [True] * 4

    def bias(backbone, window):
        with torch.no_grad():
            return backbone.stages[0].blocks[0].attention.position_bias(window).flip(2).unflatten(3, (window, window))

    # the first token against the first 4 x 4 tokens
    torch.testing.assert_close(bias(new, 6)[:, :, 0, :4, :4], bias(old, 4)[:, :, 0])
    assert new(torch.randn(1, 3, 96, 160)).feature_maps[0].shape == (1, 64, 3, 5)


def test_original_names_by_way_of_transformers(golden_dir):
    weights = load_file(golden_dir / "02_swin_weights.safetensors")
    original = json.loads((golden_dir / "02_swin_480like" / "case.json").read_text())["config"]
    config = AiTSwinv2Config.from_dict(swinv2_config_from_original(original, 96))
    inventory = json.loads((golden_dir / "07_inventory" / "backbone_to_transformers_swinv2_keys.json").read_text())
    stock = {}
    for key, value in weights.items():
        target = inventory["mapping"][f"backbone.{key}"]
        if isinstance(target, list):
            stock.update(zip(target, value.chunk(3)))
        else:
            stock[target] = value
    direct = convert_swinv2_state_dict(weights, config, "original")
    prefixed = convert_swinv2_state_dict({f"backbone.{k}": v for k, v in weights.items()}, config, "original")
    indirect = convert_swinv2_state_dict(stock, config, "transformers")
    assert direct.keys() == prefixed.keys() == indirect.keys()
    for key, value in direct.items():
        assert torch.equal(value, prefixed[key]) and torch.equal(value, indirect[key]), key


def test_released_checkpoints_fit(golden_dir):
    released = json.loads((golden_dir / "07_inventory" / "released_hyperparameters.json").read_text())
    assert released
    for name in ("swinv2b_480reso_depthonly", "swinv2b_640reso_joint", "swinv2l_480reso_depthonly"):
        original = released[name]["model"]["backbone"]
        arguments = swinv2_config_from_original(original, 480)
        assert arguments["window_sizes"] == [30, 30, 30, 15]
        assert arguments["drop_path_rate"] == (0.3 if "640" in name else 0.1)
        config = AiTSwinv2Config.from_dict(arguments)
        keys = json.loads((golden_dir / "07_inventory" / f"{name}.json").read_text())["keys"]
        weights = {
            key: torch.empty(entry["shape"], device="meta")
            for key, entry in keys.items()
            if key.startswith("backbone.")
        }
        assert len(convert_swinv2_state_dict(weights, config, "original")) == sum(
            "relative_" not in key for key in weights
        )


def test_weights_that_do_not_fit():
    config = AiTSwinv2Config(
        embed_dim=8,
        depths=(1,),
        num_heads=(1,),
        window_sizes=(4,),
        shifted_stages=(False,),
        pretrained_window_sizes=(0,),
    )
    stock = Swinv2Model(Swinv2Config(embed_dim=8, depths=[1], num_heads=[1]), add_pooling_layer=False).state_dict()
    assert "norm.weight" in convert_swinv2_state_dict(stock, config, "transformers")

    stock["embeddings.position_embeddings"] = torch.zeros(1)
    stock["embeddings.norm.weight"] = torch.zeros(5)
    del stock["encoder.layers.0.blocks.0.attention.self.key.weight"]
    with pytest.raises(ValueError) as error:
        convert_swinv2_state_dict(stock, config, "transformers")
    message = str(error.value)
    assert "missing stages.0.blocks.0.attention.qkv.weight" in message
    assert "unexpected embeddings.position_embeddings" in message
    assert "embeddings.norm.weight has shape (5,) instead of (8,)" in message
    with pytest.raises(ValueError, match="missing norm.weight"):
        convert_swinv2_state_dict({}, config, "original")
    with pytest.raises(ValueError, match="unexpected absolute_pos_embed"):
        convert_swinv2_state_dict({"absolute_pos_embed": torch.zeros(1)}, config, "timm")


def test_original_configurations_that_are_not_supported():
    original = {
        "embed_dim": 8,
        "depths": [2, 2],
        "num_heads": [1, 1],
        "window_size": [4, 4],
        "use_shift": [True, False],
        "pretrain_window_size": [4, 4],
    }
    arguments = swinv2_config_from_original(original, (32, 64))
    assert AiTSwinv2Config.from_dict(arguments).image_size == [32, 64]
    for changes, message in [
        ({"ape": True}, "ape=True is not supported"),
        ({"out_indices": [0, 1]}, r"out_indices=\[0, 1\] is not supported"),
        ({"strid16": True}, "unknown keys: strid16"),
    ]:
        with pytest.raises(ValueError, match=message):
            swinv2_config_from_original({**original, **changes}, 32)
    del original["use_shift"]
    with pytest.raises(ValueError, match="lacks use_shift"):
        swinv2_config_from_original(original, 32)


@pytest.mark.parametrize(
    "stored", [{"model_type": "swin"}, {"architecture": "swinv2_cr_tiny_ns_224"}, {"architecture": "resnet50"}]
)
def test_other_models_are_refused(tmp_path, stored):
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="is not a SwinV2 checkpoint"):
        load_pretrained_backbone(str(tmp_path), image_size=64)


def test_absolute_positions_are_refused(tmp_path):
    Swinv2Config(**STOCK, use_absolute_embeddings=True).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="absolute position embeddings"):
        load_pretrained_backbone(str(tmp_path), image_size=64)


def test_missing_files(tmp_path):
    with pytest.raises(OSError, match="config.json"):
        load_pretrained_backbone(str(tmp_path), image_size=64)
    Swinv2Config(**STOCK).save_pretrained(tmp_path)
    with pytest.raises(OSError, match="model.safetensors"):
        load_pretrained_backbone(str(tmp_path), image_size=64)
