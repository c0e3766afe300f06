# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The VQ tokenizer against the released one (golden data), closed forms and invariants."""

import json

import pytest
import torch
import torch.nn as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import PreTrainedConfig, PreTrainedModel

from ait_hf.conversion.vq_tokenizer import convert_vq_tokenizer_state_dict, vq_tokenizer_config_from_original
from ait_hf.model.tokenization_vq import VQTokenizer, mask_augmentation


TINY = {
    "downsample_ratio": 8,
    "base_channels": 4,
    "num_res_blocks": 1,
    "num_vq_embeddings": 6,
    "vq_embed_dim": 5,
    "sample_size": 32,
}
CLASSES = {**TINY, "in_channels": 3, "out_channels": 3, "loss_type": "cross_entropy", "unit": "class"}


def _tiny(**kwargs):
    torch.manual_seed(0)
    tokenizer = VQTokenizer(**{**TINY, **kwargs}).eval()
    tokenizer.quantizer.embedding.weight.normal_()
    return tokenizer


def _maps(*shape, seed=0):
    return 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _assert_close(actual, expected, tolerance=1e-5):
    """To this share of the largest value."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * expected.abs().max().item())


def _golden(folder, **config):
    case = json.loads((folder / "case.json").read_text())
    weights = load_file(folder / "weights.safetensors")
    config = {**vq_tokenizer_config_from_original(case["config"]), **config}
    tokenizer = VQTokenizer(**config)
    tokenizer.load_state_dict(convert_vq_tokenizer_state_dict(weights, config))
    return tokenizer.eval(), load_file(folder / "io.safetensors"), case["config"]


# ---- golden data


@pytest.mark.parametrize("case", ["01_vqvae_depth", "01_vqvae_mask"])
def test_golden_inference(golden_dir, case):
    # The recorded forward takes all pixels into its loss.
    tokenizer, io, original = _golden(golden_dir / case, loss_type="mse")
    batch_size, side = len(io["image"]), int(original["token_length"] ** 0.5)
    grid = (batch_size, side, side)
    with torch.no_grad():
        _assert_close(tokenizer.encode(io["image"]).latents, io["latents"])
        assert torch.equal(tokenizer.tokenize(io["image"]).flatten(1), io["indices"])
        _assert_close(tokenizer.detokenize(io["indices"].view(grid))[:, 0], io["decoded"])
        _assert_close(tokenizer.detokenize(io["rand_indices"].view(grid))[:, 0], io["decoded_rand"])
        probabilities = io["logits"].softmax(dim=1).permute(0, 2, 3, 1)
        soft = tokenizer.detokenize(probabilities=probabilities, temperature=original["tau"])
        _assert_close(soft[:, 0], io["decoded_soft"])
        _assert_close(tokenizer.decode(io["soft_latents"], force_not_quantize=True).sample[:, 0], io["decoded_soft"])
        decoded = tokenizer.decode(io["latents"])
        _assert_close(decoded.sample[:, 0], io["decoded"])
        _assert_close(decoded.commit_loss, io["fwd_vq_loss"])
        output = tokenizer(io["image"])
    _assert_close(output.sample, io["fwd_out"])
    _assert_close(output.loss, io["fwd_total_loss"])
    _assert_close(output.reconstruction_loss, io["fwd_recon_loss"])
    _assert_close(output.commit_loss, io["fwd_vq_loss"])
    assert torch.equal(output.indices.flatten(1), io["indices"])


@pytest.mark.parametrize("case, loss_type", [("01_vqvae_train_depth", "masked_mse"), ("01_vqvae_train_mask", "mse")])
def test_golden_training_step(golden_dir, case, loss_type):
    tokenizer, io, _ = _golden(golden_dir / case)
    assert tokenizer.config.loss_type == loss_type
    quantizer = tokenizer.quantizer
    assert torch.equal(quantizer.embedding.weight, io["embedding_before"])
    assert torch.equal(quantizer.ema_sums, io["ema_w_before"])
    assert torch.equal(quantizer.ema_cluster_size, io["ema_cluster_size_before"])

    output = tokenizer.train()(io["input"], io["target"])
    output.loss.backward()

    assert torch.equal(output.indices.flatten(1), io["indices"])
    _assert_close(output.sample, io["out"])
    _assert_close(output.loss, io["total_loss"])
    _assert_close(output.reconstruction_loss, io["recon_loss"])
    _assert_close(output.commit_loss, io["vq_loss"])
    _assert_close(quantizer.embedding.weight, io["embedding_after"])
    _assert_close(quantizer.ema_sums, io["ema_w_after"])
    _assert_close(quantizer.ema_cluster_size, io["ema_cluster_size_after"])

    gradients = {name: parameter.grad for name, parameter in tokenizer.named_parameters()}
    last_encoder = next(key for key in io if key.startswith("grad.encoder.1"))
    last_decoder = next(key for key in io if key.startswith("grad.decoder.1"))
    recorded = {
        "encoder.down.0.weight": io["grad.encoder.0.weight"],
        "encoder.down.0.bias": io["grad.encoder.0.bias"],
        "encoder.conv_out.weight": io[last_encoder],
        "decoder.conv_in.weight": io["grad.decoder.0.weight"],
        "decoder.conv_out.bias": io[last_decoder],
    }
    for name, gradient in recorded.items():
        _assert_close(gradients[name], gradient, tolerance=5e-5)


RELEASED = {
    "vqvae_depth": (
        {"token_length": 225, "mask_size": 480, "hidden_dim": 256, "use_norm": False},
        {},
        7_689_201,
    ),
    "vqvae_insseg": (
        {"token_length": 16, "mask_size": 64, "hidden_dim": 128},
        {"downsample_ratio": 16, "sample_size": 64, "value_range": [0.0, 1.0], "unit": "mask", "loss_type": "mse"},
        1_985_393,
    ),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_sizes(golden_dir, name):
    original, changes, num_parameters = RELEASED[name]
    config = vq_tokenizer_config_from_original(
        {**original, "embedding_dim": 512, "num_embeddings": 128, "num_resnet_blocks": 2}
    )
    with torch.device("meta"):
        tokenizer, documented = VQTokenizer(**config), VQTokenizer(**changes)
    assert config == {key: documented.config[key] for key in config}
    # The published counts are those of the convolutions: what gradients train.
    assert sum(p.numel() for p in tokenizer.parameters() if p.requires_grad) == num_parameters
    inventory = json.loads((golden_dir / "07_inventory" / f"{name}.json").read_text())["keys"]
    weights = {f"module.{key}": torch.empty(entry["shape"], device="meta") for key, entry in inventory.items()}
    assert convert_vq_tokenizer_state_dict(weights, config).keys() == tokenizer.state_dict().keys()


# ---- conversion errors


def test_conversion_names_what_does_not_fit(golden_dir):
    folder = golden_dir / "01_vqvae_mask"
    config = vq_tokenizer_config_from_original(json.loads((folder / "case.json").read_text())["config"])
    weights = load_file(folder / "weights.safetensors")
    lacking = {key: value for key, value in weights.items() if key != "decoder.0.bias"}
    with pytest.raises(ValueError, match=r"lacks decoder\.0\.bias"):
        convert_vq_tokenizer_state_dict(lacking, config)
    with pytest.raises(ValueError, match=r"does not: encoder\.99\.weight"):
        convert_vq_tokenizer_state_dict({**weights, "encoder.99.weight": torch.zeros(1)}, config)
    with pytest.raises(ValueError, match=r"_vq_vae\._embedding is \(3, 2\), not \(32, 24\)"):
        convert_vq_tokenizer_state_dict({**weights, "_vq_vae._embedding": torch.zeros(3, 2)}, config)


def test_config_conversion_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="lacks"):
        vq_tokenizer_config_from_original({"token_length": 16})
    with pytest.raises(ValueError, match="train_objective"):
        vq_tokenizer_config_from_original({"train_objective": "segmentation"})
    with pytest.raises(ValueError, match="'huber' is not known"):
        vq_tokenizer_config_from_original({"loss_type": "huber"})


# ---- configuration


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"downsample_ratio": 12}, "power of two"),
        ({"downsample_ratio": 1}, "power of two"),
        ({"num_res_blocks": 6}, "1 to 5"),
        ({"num_vq_embeddings": 1}, "at least 2"),
        ({"sample_size": 33}, "multiple of downsample_ratio"),
        ({"value_range": [1.0, 0.0]}, "smallest, largest"),
        ({"loss_type": "l1"}, "loss_type must be one of"),
        ({"loss_type": "cross_entropy"}, "number of classes"),
        ({"loss_type": "cross_entropy", "in_channels": 3, "out_channels": 3, "value_range": [0, 1]}, "no value_range"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"revival_threshold": -0.1}, "revival_threshold"),
    ],
)
def test_bad_configuration_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        VQTokenizer(**{**TINY, **arguments})


@pytest.mark.parametrize("ratio", [2, 4, 8, 16, 32])
def test_shapes_at_every_ratio(ratio):
    tokenizer = _tiny(downsample_ratio=ratio, base_channels=2)
    ids = tokenizer.tokenize(_maps(2, 1, 2 * ratio, 3 * ratio))
    assert ids.shape == (2, 2, 3) and ids.dtype == torch.int64
    assert tokenizer.detokenize(ids).shape == (2, 1, 2 * ratio, 3 * ratio)
    assert tokenizer.num_tokens == (32 // ratio) ** 2


# ---- saving, casting, living inside another model


def test_save_and_load_are_identical(tmp_path):
    tokenizer = _tiny(value_range=(0.0, 2.0), unit="metre", revival_threshold=0.1)
    tokenizer.quantizer.ema_cluster_size.fill_(3.0)
    tokenizer.save_pretrained(tmp_path / "tokenizers" / "depth")
    assert (tmp_path / "tokenizers" / "depth" / "diffusion_pytorch_model.safetensors").is_file()
    loaded = VQTokenizer.from_pretrained(tmp_path, subfolder="tokenizers/depth")
    assert list(loaded.config.value_range) == [0.0, 2.0]
    assert loaded.quantizer.revival_threshold == 0.1
    assert loaded.state_dict().keys() == tokenizer.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in tokenizer.state_dict().items())
    x = _maps(2, 1, 32, 32)
    assert torch.equal(loaded(x).sample, tokenizer(x).sample)


def test_bfloat16_keeps_the_codebook_exact(tmp_path):
    tokenizer = _tiny()
    tokenizer.save_pretrained(tmp_path)
    x = _maps(2, 1, 32, 32)
    for half in (VQTokenizer.from_pretrained(tmp_path, torch_dtype=torch.bfloat16), _tiny().to(torch.bfloat16)):
        assert half.dtype == torch.bfloat16 and half.encoder.conv_out.weight.dtype == torch.bfloat16
        assert torch.equal(half.quantizer.embedding.weight, tokenizer.quantizer.embedding.weight)
        decoded = half.detokenize(half.tokenize(x))
        assert decoded.dtype == torch.bfloat16
        expected = tokenizer.detokenize(half.tokenize(x))
        torch.testing.assert_close(decoded.float(), expected, rtol=0, atol=0.02)
        output = half.train()(x)
        output.loss.backward()
        assert torch.isfinite(output.loss) and torch.isfinite(half.encoder.conv_out.weight.grad).all()


def test_autocast_does_not_change_tokens_or_maps():
    tokenizer, x = _tiny(), _maps(4, 1, 64, 64)
    ids = tokenizer.tokenize(x)
    maps = tokenizer.detokenize(ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(tokenizer.tokenize(x), ids)
        assert torch.equal(tokenizer.detokenize(ids), maps)
        output = tokenizer.train()(x)
    assert output.loss.dtype == torch.float32


class _OuterConfig(PreTrainedConfig):
    model_type = "vq_tokenizer_test"


class _Outer(PreTrainedModel):
    config_class = _OuterConfig
    _keep_in_fp32_modules_strict = ["quantizer"]

    def __init__(self, config):
        super().__init__(config)
        self.tokenizers = nn.ModuleDict({"depth": VQTokenizer(**TINY)})
        self.tokenizers["depth"].freeze()
        self.post_init()


def test_inside_a_transformers_model(tmp_path):
    outer = _Outer(_OuterConfig())
    source = _tiny()
    source.quantizer.ema_sums.normal_()
    outer.tokenizers["depth"].load_state_dict(source.state_dict())
    outer.save_pretrained(tmp_path)
    x = _maps(2, 1, 32, 32)
    loaded = _Outer.from_pretrained(tmp_path).tokenizers["depth"]
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in source.state_dict().items())
    assert torch.equal(loaded.detokenize(loaded.tokenize(x)), source.detokenize(source.tokenize(x)))
    half = _Outer.from_pretrained(tmp_path, dtype=torch.bfloat16).tokenizers["depth"]
    assert half.encoder.conv_out.weight.dtype == torch.bfloat16
    assert torch.equal(half.quantizer.embedding.weight, source.quantizer.embedding.weight)
    assert torch.equal(half.quantizer.ema_sums, source.quantizer.ema_sums)


def test_frozen_tokenizer_never_moves_but_passes_gradients():
    tokenizer = _tiny().freeze()
    outer = nn.ModuleDict({"depth": tokenizer}).train()
    assert outer.training and not any(module.training for module in tokenizer.modules())
    before = {key: value.clone() for key, value in tokenizer.state_dict().items()}
    tokenizer(_maps(2, 1, 32, 32))
    logits = torch.randn(2, 4, 4, 6, requires_grad=True)
    tokenizer.detokenize(probabilities=logits.softmax(dim=-1), temperature=0.8).square().mean().backward()
    assert logits.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in tokenizer.parameters())
    assert all(torch.equal(before[key], value) for key, value in tokenizer.state_dict().items())


# ---- codes and soft tokens


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**16))
def test_round_trip_shapes_and_one_hot_equals_hard(batch_size, rows, columns, seed):
    tokenizer = _tiny(value_range=[0.0, 1.0])
    ids = torch.randint(6, (batch_size, rows, columns), generator=torch.Generator().manual_seed(seed))
    hard = tokenizer.detokenize(ids)
    assert hard.shape == (batch_size, 1, 8 * rows, 8 * columns)
    one_hot = nn.functional.one_hot(ids, 6).float()
    torch.testing.assert_close(tokenizer.detokenize(probabilities=one_hot), hard)
    torch.testing.assert_close(tokenizer.detokenize(probabilities=one_hot, temperature=0.5), hard)
    assert tokenizer.tokenize(hard).shape == ids.shape
    assert torch.equal(tokenizer.tokenize(hard[:, 0]), tokenizer.tokenize(hard))


def test_tokenize_refuses_bad_maps():
    tokenizer = _tiny()
    with pytest.raises(ValueError, match="multiples of 8"):
        tokenizer.tokenize(_maps(1, 1, 32, 30))
    with pytest.raises(ValueError, match=r"shape \(batch, 1, height, width\)"):
        tokenizer.tokenize(_maps(1, 2, 32, 32))
    for bad in (float("nan"), float("inf")):
        x = _maps(1, 1, 32, 32)
        x[0, 0, 3, 4] = bad
        with pytest.raises(ValueError, match="NaN or infinite"):
            tokenizer.tokenize(x)


def test_detokenize_refuses_bad_input():
    tokenizer = _tiny()
    ids, even = torch.zeros(1, 2, 2, dtype=torch.long), torch.full((1, 2, 2, 6), 1 / 6)
    for both_or_none in ({}, {"ids": ids, "probabilities": even}):
        with pytest.raises(ValueError, match="exactly one"):
            tokenizer.detokenize(**both_or_none)
    for bad in (-1, 6):
        with pytest.raises(ValueError, match="0 to 5"):
            tokenizer.detokenize(ids + bad)
    with pytest.raises(ValueError, match="ids must have shape"):
        tokenizer.detokenize(ids.flatten(1))
    with pytest.raises(ValueError, match=r"\(batch, height, width, 6\)"):
        tokenizer.detokenize(probabilities=even[..., :5])
    with pytest.raises(ValueError, match="no meaning for ids"):
        tokenizer.detokenize(ids, temperature=0.8)


# ---- losses


def test_value_range_maps_to_minus_one_and_one():
    tokenizer = _tiny(value_range=[0.0, 1.0], loss_type="mse")
    plain = _tiny(value_range=None)
    plain.load_state_dict(tokenizer.state_dict())
    mask = (_maps(2, 1, 32, 32) > 0.5).float()
    torch.testing.assert_close(tokenizer.encode(mask).latents, plain.encode(2 * mask - 1).latents)
    ids = plain.tokenize(2 * mask - 1)
    torch.testing.assert_close(tokenizer.detokenize(ids), plain.detokenize(ids) / 2 + 0.5)
    # A network output of 0 is a mask of 0.5, one unit away from every target.
    assert tokenizer.reconstruction_loss(torch.zeros_like(mask), mask).item() == pytest.approx(1)


def test_masked_mse_ignores_invalid_pixels():
    tokenizer = _tiny(loss_type="masked_mse")
    prediction = torch.full((1, 1, 2, 2), 3.0, requires_grad=True)
    target = torch.tensor([[[[1.0, 5.0], [0.0, float("nan")]]]])
    loss = tokenizer.reconstruction_loss(prediction, target)
    loss.backward()
    assert loss.item() == pytest.approx((2**2 + 2**2) / 2)
    torch.testing.assert_close(prediction.grad, torch.tensor([[[[2.0, -2.0], [0.0, 0.0]]]]))
    assert tokenizer.reconstruction_loss(prediction, torch.zeros(1, 1, 2, 2)).item() == 0.0


def test_masked_mse_of_several_channels_counts_pixels_with_any_value():
    tokenizer = _tiny(in_channels=2, out_channels=2)
    prediction = torch.full((1, 2, 1, 4), 3.0, requires_grad=True)
    # Known in both channels, in one (whose 0 is a value), negative, and unknown.
    target = torch.tensor([[[[1.0, 5.0, -1.0, 0.0]], [[2.0, 0.0, 0.0, 0.0]]]])
    loss = tokenizer.reconstruction_loss(prediction, target)
    loss.backward()
    assert loss.item() == pytest.approx((2**2 + 1 + 2**2 + 3**2 + 4**2 + 3**2) / 6)
    torch.testing.assert_close(prediction.grad[..., 3], torch.zeros(1, 2, 1))
    assert (prediction.grad[..., :3] != 0).all()


def test_smooth_l1_closed_form():
    tokenizer = _tiny(loss_type="smooth_l1")
    target = torch.tensor([[[[0.01, 1.0]]]])
    expected = (0.5 * 0.01**2 / 0.05 + (1.0 - 0.025)) / 2
    assert tokenizer.reconstruction_loss(torch.zeros(1, 1, 1, 2), target).item() == pytest.approx(expected)


def test_cross_entropy_on_label_maps():
    tokenizer = _tiny(**CLASSES)
    labels = torch.randint(3, (2, 32, 32), generator=torch.Generator().manual_seed(0))
    labels[:, :8] = 255
    ids = tokenizer.tokenize(labels)
    assert torch.equal(ids, tokenizer.tokenize(labels.unsqueeze(1)))
    assert tokenizer.detokenize(ids).shape == (2, 3, 32, 32)
    output = tokenizer(labels)
    picked = output.sample.log_softmax(dim=1)[:, :, 8:].gather(1, labels[:, None, 8:])
    torch.testing.assert_close(output.reconstruction_loss, -picked.mean())
    nothing = torch.full((1, 32, 32), 255)
    assert tokenizer.reconstruction_loss(torch.randn(1, 3, 32, 32), nothing).item() == 0.0
    # An ignored pixel is of no class: 0 in every channel.
    torch.testing.assert_close(tokenizer.encode(nothing).latents, tokenizer.encoder(torch.zeros(1, 3, 32, 32)))
    with pytest.raises(ValueError, match="0 to 2, or 255"):
        tokenizer.tokenize(torch.full((1, 32, 32), 3))
    with pytest.raises(ValueError, match="integer tensor"):
        tokenizer.tokenize(torch.zeros(1, 32, 32))


def test_loss_is_the_sum_and_target_must_fit():
    tokenizer = _tiny(commitment_cost=2.0)
    x = _maps(2, 32, 32)
    output = tokenizer(x)
    torch.testing.assert_close(output.loss, output.reconstruction_loss + output.commit_loss)
    latents = tokenizer.encode(x).latents
    codes = tokenizer.quantizer.embedding(output.indices).permute(0, 3, 1, 2)
    torch.testing.assert_close(output.commit_loss, 2 * (latents - codes).square().mean())
    as_tuple = tokenizer(x, return_dict=False)
    assert torch.equal(as_tuple[0], output.sample) and len(as_tuple) == 6
    with pytest.raises(ValueError, match="The target has shape"):
        tokenizer(x, _maps(2, 1, 16, 16))


def test_a_new_decoder_starts_at_the_mean_of_what_is_known():
    """Without what its last layer would add: of depth, of vectors, of masks in their range, and the shares of classes."""
    depth = _maps(4, 1, 16, 16) * (torch.rand(4, 1, 16, 16) > 0.3)
    vectors = nn.functional.normalize(_maps(4, 3, 16, 16), dim=1) * (torch.rand(4, 1, 16, 16) > 0.3)
    masks = (torch.rand(4, 1, 16, 16) > 0.8).float()
    labels = torch.randint(3, (4, 16, 16)).clamp_min(1)  # of class 0 there is nothing
    labels[:, :3] = 255
    of_masks = {"value_range": (0, 1), "unit": "mask", "loss_type": "mse"}
    counted = labels[labels != 255]
    cases = [
        (TINY, depth, depth[depth != 0].mean()[None]),
        (TINY | {"in_channels": 3, "out_channels": 3}, vectors, vectors.sum((0, 2, 3)) / (vectors != 0).any(1).sum()),
        (TINY | of_masks, masks, masks.mean()[None]),
        (CLASSES, labels, torch.stack([(counted == index).float().mean() for index in range(3)])),
    ]
    for config, target, expected in cases:
        tokenizer = VQTokenizer(**config)
        tokenizer.init_output(target[:1], target[1:])
        assert all((tokenizer.decoder.up[-1].bias > 0).tolist())
        nn.init.zeros_(tokenizer.decoder.conv_out.weight)
        output = tokenizer.detokenize(torch.zeros(1, 2, 2, dtype=torch.long))
        output = output.softmax(1) if target is labels else output
        torch.testing.assert_close(output, expected[None, :, None, None].expand_as(output), rtol=1e-5, atol=1e-3)


def test_learns_simple_maps():
    torch.manual_seed(0)
    tokenizer = VQTokenizer(**{**TINY, "base_channels": 8, "num_vq_embeddings": 16, "vq_embed_dim": 16}).train()
    # Every 8 x 8 square has one of four depths, and a tenth of the pixels is invalid.
    squares = torch.randint(1, 5, (16, 1, 4, 4)).float()
    target = squares.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    target = target * (torch.rand_like(target) > 0.1)
    tokenizer.init_codebook(target)
    tokenizer.init_output(target)
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr=3e-3)
    for _ in range(150):
        output = tokenizer(target)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    # Predicting the mean depth everywhere would leave the variance.
    assert output.reconstruction_loss < 0.2 * squares.var()
    assert output.perplexity > 3


def test_learns_label_maps_and_unit_vectors():
    torch.manual_seed(0)
    squares = torch.randint(3, (8, 4, 4))
    labels = squares.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    labels[:, ::5, ::3] = 255
    directions = nn.functional.normalize(torch.randn(3, 3), dim=1)[squares].permute(0, 3, 1, 2)
    directions = directions.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3) * (labels != 255)[:, None]
    sizes = {"base_channels": 8, "num_vq_embeddings": 16, "vq_embed_dim": 16}
    maps = {"in_channels": 3, "out_channels": 3, "unit": "unit_vector"}
    for config, target in ((CLASSES, labels), (TINY | maps, directions)):
        tokenizer = VQTokenizer(**config | sizes).train()
        tokenizer.init_codebook(target)
        tokenizer.init_output(target)
        optimizer = torch.optim.Adam(tokenizer.parameters(), lr=3e-3)
        for _ in range(150):
            output = tokenizer(target)
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()
        rebuilt, counted = tokenizer.eval().detokenize(tokenizer.tokenize(target)), labels != 255
        if target is labels:
            assert (rebuilt.argmax(dim=1) == labels)[counted].float().mean() > 0.9
        else:
            cosine = nn.functional.cosine_similarity(rebuilt, directions)[counted]
            assert cosine.mean() > 0.9  # of the mean direction it is about 0.5


# ---- mask augmentation


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.floats(0, 1), st.integers(0, 2**16)
)
def test_mask_augmentation_masks_a_fixed_share(batch_size, rows, columns, patch_size, ratio, seed):
    x = torch.ones(batch_size, 2, rows * patch_size, columns * patch_size)
    masked = mask_augmentation(x, ratio, patch_size, torch.Generator().manual_seed(seed))
    patches = masked.view(batch_size, 2, rows, patch_size, columns, patch_size).permute(0, 2, 4, 1, 3, 5).flatten(3)
    # A patch is wholly kept or wholly masked, in all channels.
    assert torch.equal(patches.amin(dim=-1), patches.amax(dim=-1))
    num_masked = (patches[..., 0] == 0).flatten(1).sum(dim=1)
    assert (num_masked == round(ratio * rows * columns)).all()
    assert torch.equal(x, torch.ones_like(x))
    again = mask_augmentation(x[:, 0], ratio, patch_size, torch.Generator().manual_seed(seed))
    assert torch.equal(again, masked[:, 0])


def test_mask_augmentation_draws_per_sample_and_refuses_bad_input():
    masked = mask_augmentation(torch.ones(8, 64, 64), generator=torch.Generator().manual_seed(0))
    assert len({tuple(sample[::16, ::16].flatten().tolist()) for sample in masked}) > 1
    labels = mask_augmentation(torch.ones(1, 32, 32, dtype=torch.long), value=255)
    assert set(labels.flatten().tolist()) == {1, 255} and (labels == 255).sum() == 512
    with pytest.raises(ValueError, match="between 0 and 1"):
        mask_augmentation(torch.ones(1, 32, 32), ratio=1.5)
    with pytest.raises(ValueError, match="multiples of patch_size 16"):
        mask_augmentation(torch.ones(1, 40, 32))
