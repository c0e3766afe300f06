# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The SwinV2 backbone against the released model's numbers and against a plain restatement of its formulas."""

import json
import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from torch.nn import functional as F

from ait_hf.conversion.swinv2 import convert_swinv2_state_dict, swinv2_config_from_original
from ait_hf.model.configuration_swinv2_ait import AiTSwinv2Config
from ait_hf.model.modeling_swinv2_ait import AiTSwinv2Backbone, AiTSwinv2PositionBias, merge_windows, partition_windows


CASES = ["480like", "480like_shiftall", "640like", "odd_input", "window_gt_map", "realgeom_480", "realgeom_640"]
TINY = {
    "image_size": 64,
    "embed_dim": 8,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "window_sizes": (4, 5),
    "shifted_stages": (True, True),
    "pretrained_window_sizes": (3, 0),
}


def random_backbone(attn_implementation="sdpa", seed=0, **changes):
    """A tiny backbone with every parameter random; the normal initialisation makes all blocks pass-throughs."""
    torch.manual_seed(seed)
    config = AiTSwinv2Config(**{**TINY, **changes})
    backbone = AiTSwinv2Backbone._from_config(config, attn_implementation=attn_implementation)
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            parameter.normal_(std=0.5)
            if name.endswith("norm.weight"):
                parameter.add_(1.0)
    return backbone.eval()


def golden_case(golden_dir, name):
    """Configuration, original weights, image and outputs of one golden case."""
    folder = golden_dir / f"02_swin_{name}"
    original = json.loads((folder / "case.json").read_text())["config"]
    tensors = load_file(folder / "io.safetensors")
    size = original.pop("input_size", None)
    if size is None:
        image = tensors["image"]
    else:  # the recipe in case.json
        image = F.interpolate(tensors["image_u8"].float() / 255 * 4 - 2, size=(size, size), mode="nearest")
        steps = torch.arange(size, dtype=torch.float32)
        image = image + 0.25 * torch.sin(0.7 * steps) + 0.25 * torch.cos(0.9 * steps)[:, None]
    config = AiTSwinv2Config.from_dict(swinv2_config_from_original(original, size or 96))
    return config, load_file(golden_dir / "02_swin_weights.safetensors"), image, tensors


def golden_backbone(config, weights, attn_implementation="sdpa"):
    backbone = AiTSwinv2Backbone._from_config(config, attn_implementation=attn_implementation)
    backbone.load_state_dict(convert_swinv2_state_dict(weights, config, "original"))
    return backbone.eval()


def relative(actual, expected):
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def tokens(feature_map):
    return feature_map.flatten(2).transpose(1, 2)


def plain_swinv2(weights, config, image):
    """
    The released backbone, written down step by step from its description: padding before the projections, an explicit
    mask, loops over windows. Returns the token map of every stage and the final map.
    """
    weights = {key: value.to(image.dtype) for key, value in weights.items()}

    def norm(x, prefix):
        return F.layer_norm(x, x.shape[-1:], weights[prefix + ".weight"], weights[prefix + ".bias"], 1e-6)

    def attention(x, prefix, stage, shift):
        window, heads = config.window_sizes[stage], config.num_heads[stage]
        batch, height, width, channels = x.shape
        x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
        tall, wide = x.shape[1:3]
        label = torch.zeros(tall, wide)
        if shift:
            bounds = [slice(0, -window), slice(-window, -shift), slice(-shift, None)]
            for row, vertical in enumerate(bounds):
                for column, horizontal in enumerate(bounds):
                    label[vertical, horizontal] = 3 * row + column
        x = torch.roll(x, (-shift, -shift), (1, 2))
        steps = torch.arange(window)
        positions = torch.cartesian_prod(steps, steps)
        offset = (positions[:, None] - positions[None]).to(x.dtype)
        offset = offset * 8 / (config.pretrained_window_sizes[stage] - 1)
        offset = offset.sign() * torch.log2(offset.abs() + 1) / math.log2(8)
        hidden = F.relu(F.linear(offset, weights[prefix + "rpe_mlp.0.weight"], weights[prefix + "rpe_mlp.0.bias"]))
        bias = 16 * torch.sigmoid(F.linear(hidden, weights[prefix + "rpe_mlp.2.weight"])).permute(2, 0, 1)
        scale = weights[prefix + "logit_scale"].clamp(max=math.log(100)).exp()
        qkv_bias = torch.cat([weights[prefix + "q_bias"], torch.zeros(channels), weights[prefix + "v_bias"]])
        out = torch.zeros_like(x)
        for top in range(0, tall, window):
            for left in range(0, wide, window):
                part = slice(None), slice(top, top + window), slice(left, left + window)
                qkv = F.linear(x[part].reshape(batch, -1, channels), weights[prefix + "qkv.weight"], qkv_bias)
                q, k, v = qkv.view(batch, window**2, 3, heads, -1).permute(2, 0, 3, 1, 4)
                q, k = (t / (t.norm(dim=-1, keepdim=True) + 5e-5) for t in (q, k))
                region = label[part[1:]].reshape(-1)
                mask = torch.where(region[:, None] == region[None], 0.0, -100.0)
                attended = (q @ k.transpose(-2, -1) * scale + bias + mask).softmax(-1) @ v
                out[part] = attended.transpose(1, 2).reshape(x[part].shape)
        out = torch.roll(out, (shift, shift), (1, 2))[:, :height, :width]
        return F.linear(out, weights[prefix + "proj.weight"], weights[prefix + "proj.bias"])

    height, width = image.shape[-2:]
    x = F.pad(image, (0, -width % 4, 0, -height % 4))
    x = F.conv2d(x, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=4)
    x = norm(x.permute(0, 2, 3, 1), "patch_embed.norm")
    stages = []
    for stage, depth in enumerate(config.depths):
        for block in range(depth):
            prefix = f"layers.{stage}.blocks.{block}."
            shift = config.window_sizes[stage] // 2 if block % 2 and config.shifted_stages[stage] else 0
            x = x + norm(attention(x, prefix + "attn.", stage, shift), prefix + "norm1")
            hidden = F.gelu(F.linear(x, weights[prefix + "mlp.fc1.weight"], weights[prefix + "mlp.fc1.bias"]))
            hidden = F.linear(hidden, weights[prefix + "mlp.fc2.weight"], weights[prefix + "mlp.fc2.bias"])
            x = x + norm(hidden, prefix + "norm2")
        stages.append(x.flatten(1, 2))
        if stage < len(config.depths) - 1:
            x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
            x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], dim=-1)
            x = norm(
                F.linear(x, weights[f"layers.{stage}.downsample.reduction.weight"]), f"layers.{stage}.downsample.norm"
            )
    return stages, norm(x, f"norm{len(config.depths) - 1}").permute(0, 3, 1, 2)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", CASES)
def test_golden(golden_dir, name, attn_implementation):
    # The golden numbers are float32, up to 5e-4 from the exact ones: logit scales near 100 and norms after attention
    # amplify rounding. Hence the wide bounds here, and the narrow ones of the float64 test below.
    config, weights, image, expected = golden_case(golden_dir, name)
    backbone = golden_backbone(config, weights, attn_implementation)
    with torch.no_grad():
        output = backbone(image, output_hidden_states=True)
    assert relative(output.feature_maps[0], expected["feat3"]) < 1e-3
    difference = output.feature_maps[0] - expected["feat3"]
    assert difference.norm() / expected["feat3"].norm() < 2e-4
    if "patch_embed" in expected:
        assert relative(output.hidden_states[0], expected["patch_embed"]) < 1e-5
    for stage, bound in enumerate([5e-5, 1e-4, 1e-3, 1e-3]):
        if f"stage{stage}" in expected:
            assert relative(tokens(output.hidden_states[stage + 1]), expected[f"stage{stage}"]) < bound


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", CASES[:5])
def test_exact_in_float64(golden_dir, name, attn_implementation):
    config, weights, image, golden = golden_case(golden_dir, name)
    backbone = golden_backbone(config, weights, attn_implementation).double()
    with torch.no_grad():
        stages, last = plain_swinv2(weights, config, image.double())
        output = backbone(image.double(), output_hidden_states=True)
    assert relative(last, golden["feat3"]) < 6e-4  # the restatement describes the released model
    assert relative(output.feature_maps[0], last) < 1e-11
    for stage, expected in enumerate(stages):
        assert relative(tokens(output.hidden_states[stage + 1]), expected) < 1e-11


def test_training_computes_the_same_as_inference(golden_dir):
    # With gradients, position biases get memory of their own and sdpa another kernel.
    config, weights, image, _ = golden_case(golden_dir, "odd_input")
    backbone = golden_backbone(config, weights).double()
    with torch.no_grad():
        expected = backbone(image.double()).feature_maps[0]
    torch.testing.assert_close(backbone(image.double()).feature_maps[0], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("size", [(64, 64), (32, 48), (37, 90), (16, 200)])
def test_eager_equals_sdpa(size):
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    maps = []
    for attn_implementation in ("eager", "sdpa"):
        backbone = random_backbone(attn_implementation).double()
        maps.append(backbone(image).feature_maps[0])
    assert maps[0].shape == (2, 16, math.ceil(math.ceil(size[0] / 4) / 2), math.ceil(math.ceil(size[1] / 4) / 2))
    torch.testing.assert_close(maps[0], maps[1])


def test_windows_can_be_put_back():
    hidden_states = torch.randn(2, 7, 9, 3)
    windows = partition_windows(hidden_states, 4, 2)
    assert windows.shape == (2 * 2 * 3, 16, 3)
    torch.testing.assert_close(merge_windows(windows, 4, 2, 7, 9), hidden_states, rtol=0, atol=0)


def test_one_window_is_not_copied():
    hidden_states = torch.randn(2, 5, 5, 3)
    assert partition_windows(hidden_states, 5, 0).data_ptr() == hidden_states.data_ptr()


def test_position_bias_by_pairs():
    torch.manual_seed(0)
    window, pretrained = 4, 3
    module = AiTSwinv2PositionBias(num_heads=2, pretrained_window=pretrained)
    bias = module(window).flip(2)[0]
    for query in range(window**2):
        for key in range(window**2):
            offset = torch.tensor([query // window - key // window, query % window - key % window]) * 8.0 / 2
            offset = offset.sign() * torch.log2(offset.abs() + 1) / 3
            expected = 16 * torch.sigmoid(module.fc2(F.relu(module.fc1(offset))))
            torch.testing.assert_close(bias[:, query, key], expected)


def test_changed_weights_take_effect():
    backbone, image = random_backbone(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = backbone(image).feature_maps[0]
        for parameter in backbone.parameters():
            parameter.data.mul_(1.1)  # behind the version counter
        after = backbone(image).feature_maps[0]
        other = random_backbone(seed=1)
        backbone.load_state_dict(other.state_dict())
        torch.testing.assert_close(backbone(image).feature_maps[0], other(image).feature_maps[0], rtol=0, atol=0)
    assert (before - after).abs().max() > 1e-3


def test_images_of_a_batch_do_not_mix():
    backbone, images = random_backbone(), torch.randn(3, 3, 50, 70)
    with torch.no_grad():
        together = backbone(images).feature_maps[0]
        alone = torch.cat([backbone(image[None]).feature_maps[0] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


def test_all_outputs():
    backbone = random_backbone("eager", out_features=["stem", "stage1", "stage2"])
    with torch.no_grad():
        output = backbone(torch.randn(2, 3, 40, 64), output_hidden_states=True, output_attentions=True)
    shapes = [(2, 8, 10, 16), (2, 8, 10, 16), (2, 16, 5, 8)]
    assert [tuple(value.shape) for value in output.hidden_states] == shapes
    assert [tuple(value.shape) for value in output.feature_maps] == shapes
    assert backbone.channels == [8, 8, 16]
    # 10 x 16 tokens in windows of 4: 3 x 4 of them; 5 x 8 in windows of 5: 1 x 2
    assert [tuple(w.shape) for w in output.attentions] == [(24, 2, 16, 16)] * 2 + [(4, 4, 25, 25)] * 2
    for weights in output.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    for feature_map, hidden_state in zip(output.feature_maps[:2], output.hidden_states):
        torch.testing.assert_close(feature_map, hidden_state, rtol=0, atol=0)
    normalised = backbone.norm(output.hidden_states[2].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(output.feature_maps[2], normalised)


def test_attention_rows_belong_to_their_query():
    # With a huge logit scale and no bias to speak of, a token attends to itself if all tokens differ.
    backbone = random_backbone("eager", shifted_stages=(False, False))
    attention = backbone.stages[0].blocks[0].attention
    with torch.no_grad():
        attention.logit_scale.fill_(10.0)
        attention.query_bias.zero_()
        attention.position_bias.fc2.weight.zero_()
        attention.qkv.weight[8:16] = attention.qkv.weight[:8]
        _, weights = attention(torch.randn(1, 4, 4, 8))
    assert (weights.argmax(-1) == torch.arange(16)).all()


def test_only_the_last_stage_by_default():
    output = random_backbone()(torch.randn(1, 3, 64, 64), return_dict=True)
    assert len(output.feature_maps) == 1
    assert output.hidden_states is None
    assert output.attentions is None


def test_only_eager_attention_has_weights():
    """The library's convention: other implementations return none of them, with a warning, and no error."""
    assert random_backbone("sdpa")(torch.randn(1, 3, 32, 32), output_attentions=True).attentions == ()


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_gradient_checkpointing_gives_the_same_gradients(use_reentrant):
    image = torch.randn(2, 3, 48, 64, requires_grad=True)
    gradients = []
    for checkpointing in (False, True):
        backbone = random_backbone(drop_path_rate=0.0).train()
        if checkpointing:
            backbone.activation_checkpointing_enable({"use_reentrant": use_reentrant})
        backbone(image).feature_maps[0].square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in backbone.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient, msg=lambda text, name=name: f"{name}: {text}")


def test_stochastic_depth():
    image = torch.randn(1, 3, 32, 32)
    backbone = random_backbone(drop_path_rate=0.9)
    rates = [block.drop_path.p for stage in backbone.stages for block in stage.blocks]
    assert rates == pytest.approx([0.0, 0.3, 0.6, 0.9])
    with torch.no_grad():
        assert torch.equal(backbone(image).feature_maps[0], backbone(image).feature_maps[0])
        backbone.train()
        draws = torch.stack([backbone(image).feature_maps[0] for _ in range(8)])
    assert draws.std(0).max() > 1e-3


def test_initialisation_passes_the_input_through():
    torch.manual_seed(0)
    backbone = AiTSwinv2Backbone(AiTSwinv2Config(**TINY)).eval()
    with torch.no_grad():
        output = backbone(torch.randn(1, 3, 64, 64), output_hidden_states=True)
    torch.testing.assert_close(output.hidden_states[0], output.hidden_states[1], rtol=0, atol=0)
    scales = [block.attention.logit_scale for stage in backbone.stages for block in stage.blocks]
    assert all((scale == math.log(10.0)).all() for scale in scales)
    assert backbone.norm.weight.eq(1).all()


def test_saving_and_loading(tmp_path):
    backbone, image = random_backbone(), torch.randn(1, 3, 64, 64)
    backbone.save_pretrained(tmp_path)
    # from_pretrained builds the model on the meta device: nothing but the file's weights may matter
    loaded, report = AiTSwinv2Backbone.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert not list(loaded.named_buffers())
    with torch.no_grad():
        expected = backbone(image).feature_maps[0]
        torch.testing.assert_close(loaded(image).feature_maps[0], expected, rtol=0, atol=0)
    assert loaded.config.to_json_string() == backbone.config.to_json_string()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    image = torch.randn(1, 3, 50, 70)
    backbone = random_backbone()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.mul_(0.3)
        backbone.stages[0].blocks[1].attention.query_bias.zero_()  # padded queries have norm 0
        expected = backbone(image).feature_maps[0]
        with torch.autocast("cpu", dtype=dtype):
            mixed = backbone(image).feature_maps[0]
        half = backbone.to(dtype)(image.to(dtype)).feature_maps[0]
    assert half.dtype == dtype
    assert relative(mixed.float(), expected) < 0.1
    assert relative(half.float(), expected) < 0.1


def test_configuration_survives_json(tmp_path):
    config = AiTSwinv2Config(**TINY, out_indices=(1, 2), layer_norm_eps=1e-5)
    config.save_pretrained(tmp_path)
    loaded = AiTSwinv2Config.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict() == AiTSwinv2Config.from_dict(config.to_dict()).to_dict()
    assert loaded.out_features == ["stage1", "stage2"]
    assert loaded.shifted_stages == [True, True]
    assert AiTSwinv2Config.from_dict({**config.to_dict(), "embed_dim": 32}).hidden_size == 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_sizes": (4,)}, "window_sizes needs one entry for each of the 2 stages"),
        ({"shifted_stages": (True,) * 3}, "shifted_stages needs one entry"),
        ({"window_sizes": (4, 0)}, "every entry of window_sizes must be at least 1"),
        ({"num_heads": (3, 4)}, "the 8 channels of stage 1 cannot be split into 3 heads"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must be in"),
        ({"image_size": 0}, "image_size must be"),
        ({"depths": "2222"}, "depths"),
    ],
)
def test_impossible_configurations(changes, message):
    with pytest.raises(StrictDataclassError, match=message):
        AiTSwinv2Config(**{**TINY, **changes})


def test_unknown_stage():
    with pytest.raises(ValueError, match="subset of stage_names"):
        AiTSwinv2Config(**TINY, out_features=["stage3"])


def test_wrong_input():
    backbone = random_backbone()
    with pytest.raises(ValueError, match=r"must have the shape \(batch, 3, height, width\); got \(1, 1, 32, 32\)"):
        backbone(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match="must have the shape"):
        backbone(torch.zeros(3, 32, 32))
