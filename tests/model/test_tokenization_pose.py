# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The pose tokenizer against closed forms and invariants."""

import math

import pytest
import torch
import torch.nn as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from ait_hf.model.tokenization_pose import MixerBlock, PoseTokenizer, mask_joints


TINY = {
    "num_joints": 5,
    "num_tokens": 4,
    "num_vq_embeddings": 8,
    "vq_embed_dim": 6,
    "hidden_size": 16,
    "encoder_layers": 2,
    "decoder_hidden_size": 8,
    "token_mlp_dim": 8,
    "channel_mlp_dim": 16,
    "decoder_token_mlp_dim": 8,
    "decoder_channel_mlp_dim": 8,
    "sample_size": 64,
}


def _tiny(**kwargs):
    torch.manual_seed(0)
    tokenizer = PoseTokenizer(**{**TINY, **kwargs}).eval()
    tokenizer.quantizer.embedding.weight.normal_()
    return tokenizer


def _poses(batch_size, num_joints=5, size=64, seed=0):
    """Poses with about a third of the joints unknown, the first one never."""
    generator = torch.Generator().manual_seed(seed)
    coordinates = size * torch.rand(batch_size, num_joints, 2, generator=generator)
    visibility = torch.randint(3, (batch_size, num_joints, 1), generator=generator).float()
    visibility[:, 0] = 2
    return torch.cat([coordinates * (visibility > 0), visibility], dim=2)


# ---- what it is


def test_published_size():
    """Layer by layer from the published widths: linear maps with biases, two norms per mixer block."""
    with torch.device("meta"):
        tokenizer = PoseTokenizer()

    def mixer(places, width, token_mlp, channel_mlp):
        mlps = (2 * places * token_mlp + places + token_mlp) + (2 * width * channel_mlp + width + channel_mlp)
        return mlps + 2 * 2 * width

    encoder = (2 * 512 + 512) + 512 + 4 * mixer(17, 512, 64, 512) + 2 * 512 + (17 * 34 + 34) + (512 * 512 + 512)
    decoder = (34 * 17 + 17) + (512 * 32 + 32) + mixer(17, 32, 64, 64) + 2 * 32 + (32 * 2 + 2)
    assert sum(p.numel() for p in tokenizer.parameters() if p.requires_grad) == encoder + decoder
    assert tokenizer.quantizer.embedding.weight.shape == (2048, 512)
    assert tokenizer.num_tokens == 34 and tokenizer.config.sample_size == 256


def test_mixer_block_mixes_first_over_places_then_over_channels():
    torch.manual_seed(0)
    block = MixerBlock(3, 4, 5, 6)
    x = torch.randn(2, 3, 4)
    with torch.no_grad():
        (places_in, _, places_out), (channels_in, _, channels_out) = block.token_mlp, block.channel_mlp
        normed = nn.functional.layer_norm(x, (4,))
        hidden = nn.functional.gelu(torch.einsum("hp,bpc->bhc", places_in.weight, normed) + places_in.bias[:, None])
        middle = x + torch.einsum("ph,bhc->bpc", places_out.weight, hidden) + places_out.bias[:, None]
        hidden = nn.functional.gelu(nn.functional.layer_norm(middle, (4,)) @ channels_in.weight.T + channels_in.bias)
        expected = middle + hidden @ channels_out.weight.T + channels_out.bias
        torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_joints": 0}, "num_joints must be at least 1"),
        ({"num_tokens": 0}, "num_tokens must be at least 1"),
        ({"sample_size": 0}, "sample_size must be at least one pixel high and wide, got 0"),
        ({"sample_size": (64, 0)}, "sample_size must be at least one pixel high and wide"),
        ({"sample_size": (64, 48, 3)}, "sample_size must be at least one pixel high and wide"),
        ({"token_per_joint": True}, "num_tokens must be num_joints, 5, got 4"),
        ({"num_vq_embeddings": 1}, "num_vq_embeddings must be at least 2"),
        ({"smooth_l1_beta": 0.0}, "smooth_l1_beta must be above 0"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"revival_threshold": 1.0}, "revival_threshold"),
    ],
)
def test_bad_configuration_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PoseTokenizer(**{**TINY, **arguments})


# ---- codes and soft tokens


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**16))
def test_round_trip_shapes_and_one_hot_equals_hard(batch_size, num_joints, num_tokens, seed):
    tokenizer = _tiny(num_joints=num_joints, num_tokens=num_tokens)
    ids = torch.randint(8, (batch_size, 1, num_tokens), generator=torch.Generator().manual_seed(seed))
    hard = tokenizer.detokenize(ids)
    assert hard.shape == (batch_size, num_joints, 2)
    one_hot = nn.functional.one_hot(ids, 8).float()
    torch.testing.assert_close(tokenizer.detokenize(probabilities=one_hot), hard)
    torch.testing.assert_close(tokenizer.detokenize(probabilities=one_hot, temperature=0.5), hard)
    again = tokenizer.tokenize(torch.cat([hard, torch.ones_like(hard[..., :1])], dim=2))
    assert again.shape == ids.shape and again.dtype == torch.int64


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**16), st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.inf))
def test_unknown_joints_do_not_change_anything(seed, coordinate):
    tokenizer, poses = _tiny(), _poses(3, seed=seed)
    other = torch.where(poses[..., 2:] > 0, poses, torch.tensor([coordinate, -coordinate, 0.0]))
    assert torch.equal(tokenizer.encode(other).latents, tokenizer.encode(poses).latents)
    assert torch.equal(tokenizer.tokenize(other), tokenizer.tokenize(poses))
    # Nor does it matter how visible a known joint is.
    other = torch.cat([poses[..., :2], poses[..., 2:].clamp(max=1) * 0.3], dim=2)
    assert torch.equal(tokenizer.encode(other).latents, tokenizer.encode(poses).latents)
    # As targets they are worth nothing, with no gradient either.
    changed = torch.where(poses[..., 2:] > 0, poses, torch.tensor([7.0, math.nan, 0.0]))
    losses = [tokenizer(poses, target).reconstruction_loss for target in (poses, changed)]
    assert torch.equal(*losses)
    losses[1].backward()
    assert all(torch.isfinite(p.grad).all() for p in tokenizer.parameters() if p.grad is not None)


def test_known_joints_do_change_the_latents():
    tokenizer, poses = _tiny(), _poses(2)
    moved, hidden = poses.clone(), poses.clone()
    moved[:, 0, 0] += 1
    hidden[:, 0, 2] = 0
    hidden[:, 1, 2] = 1
    for other in (moved, hidden):
        assert not torch.allclose(tokenizer.encode(other).latents, tokenizer.encode(poses).latents, atol=1e-4)


def test_token_per_joint_says_where_its_joint_is_and_nothing_else():
    tokenizer = _tiny(token_per_joint=True, num_tokens=5, encoder_layers=0)
    poses, moved = _poses(16), _poses(16)
    moved[:, 2] = torch.tensor([3.0, 60.0, 2.0])
    before, after = (tokenizer.encode(part).latents for part in (poses, moved))
    others = [0, 1, 3, 4]
    torch.testing.assert_close(after[..., others], before[..., others], rtol=0, atol=0)
    assert (after[..., 2] != before[..., 2]).flatten(1).any(1).all()
    swapped = poses[:, [1, 0, 2, 3, 4]]  # one codebook of places, whichever joint is there
    torch.testing.assert_close(tokenizer.encode(swapped).latents, before[..., [1, 0, 2, 3, 4]], rtol=0, atol=0)


def test_scale_follows_the_sample_size():
    """The same weights read and write poses of twice the size in a crop of twice the size."""
    small, large = _tiny(), _tiny(sample_size=128)
    poses = _poses(3)
    twice = poses * torch.tensor([2.0, 2.0, 1.0])
    assert torch.equal(small.tokenize(poses), large.tokenize(twice))
    ids = small.tokenize(poses)
    torch.testing.assert_close(large.detokenize(ids), 2 * small.detokenize(ids))


def test_crops_may_be_higher_than_wide(tmp_path):
    """As in the square around the crop, of which it is the middle: a code is as large in x as in y."""
    square, portrait = _tiny(), _tiny(sample_size=(64, 40))
    poses = _poses(3)
    inside = poses - torch.tensor([12.0, 0.0, 0.0])
    assert portrait.crop_size == (64, 40) and torch.equal(square.tokenize(poses), portrait.tokenize(inside))
    ids = square.tokenize(poses)
    torch.testing.assert_close(portrait.detokenize(ids), square.detokenize(ids) - torch.tensor([12.0, 0.0]))
    portrait.save_pretrained(tmp_path)
    assert PoseTokenizer.from_pretrained(tmp_path).crop_size == (64, 40)


def test_bad_poses_are_refused():
    tokenizer, poses = _tiny(), _poses(3)
    for wrong in (poses[:, :4], poses[..., :2], poses[0]):
        with pytest.raises(ValueError, match=r"Poses must have shape \(batch, 5, 3\), got"):
            tokenizer.tokenize(wrong)
    for bad in (math.nan, math.inf):
        for column in (0, 2):
            broken = poses.clone()
            broken[1, 0, column] = bad
            with pytest.raises(ValueError, match="NaN or infinite"):
                tokenizer.tokenize(broken)
    nobody = poses.clone()
    nobody[1, :, 2] = 0
    with pytest.raises(ValueError, match="Person 1 of the batch has no known joint"):
        tokenizer.tokenize(nobody)
    with pytest.raises(ValueError, match="one row of 4 codes, got 2 row"):
        tokenizer.detokenize(torch.zeros(1, 2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="one row of 4 codes, got 1 row.s. of 3"):
        tokenizer.detokenize(torch.zeros(1, 1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="0 to 7"):
        tokenizer.detokenize(torch.full((1, 1, 4), 8))
    with pytest.raises(ValueError, match="The target has shape"):
        tokenizer(poses, poses[..., :2])


# ---- loss


def test_loss_is_smooth_l1_in_pixels_over_known_joints():
    tokenizer = _tiny(smooth_l1_beta=0.5)
    target = torch.tensor([[[10.0, 20.0, 1.0], [30.0, 40.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]]])
    off = torch.tensor([[[0.1, 3.0], [0.0, -1.0], [9.0, 9.0], [9.0, 9.0], [9.0, 9.0]]])
    prediction = 2 * (target[..., :2] + off) / 64 - 1
    expected = (0.1**2 / (2 * 0.5) + (3 - 0.25) + 0 + (1 - 0.25)) / 4
    assert tokenizer.reconstruction_loss(prediction, target).item() == pytest.approx(expected, rel=1e-4)
    assert tokenizer.reconstruction_loss(prediction, torch.zeros(1, 5, 3)).item() == 0.0


def test_loss_is_the_sum():
    tokenizer, poses = _tiny(commitment_cost=3.0), _poses(4)
    output = tokenizer(poses)
    torch.testing.assert_close(output.loss, output.reconstruction_loss + output.commit_loss)
    latents = tokenizer.encode(poses).latents
    assert latents.shape == (4, 6, 1, 4)
    codes = tokenizer.quantizer.embedding(output.indices).permute(0, 3, 1, 2)
    torch.testing.assert_close(output.commit_loss, 3 * (latents - codes).square().mean())
    torch.testing.assert_close(output.sample, tokenizer.detokenize(output.indices))


# ---- saving, casting, freezing


def test_save_and_load_are_identical(tmp_path):
    tokenizer, poses = _tiny(revival_threshold=0.1), _poses(3)
    tokenizer.quantizer.ema_cluster_size.fill_(3.0)
    tokenizer.save_pretrained(tmp_path / "tokenizers" / "pose")
    loaded = PoseTokenizer.from_pretrained(tmp_path, subfolder="tokenizers/pose")
    assert loaded.state_dict().keys() == tokenizer.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in tokenizer.state_dict().items())
    assert torch.equal(loaded(poses).sample, tokenizer(poses).sample)
    assert loaded.config.unit == "pixel" and loaded.quantizer.revival_threshold == 0.1
    half = PoseTokenizer.from_pretrained(tmp_path, subfolder="tokenizers/pose", torch_dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half.quantizer.embedding.weight, tokenizer.quantizer.embedding.weight)
    ids = half.tokenize(poses)
    torch.testing.assert_close(half.detokenize(ids).float(), tokenizer.detokenize(ids), rtol=0.05, atol=1.0)


def test_autocast_does_not_change_codes_or_poses():
    tokenizer, poses = _tiny(), _poses(4)
    ids = tokenizer.tokenize(poses)
    decoded = tokenizer.detokenize(ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(tokenizer.tokenize(poses), ids)
        assert torch.equal(tokenizer.detokenize(ids), decoded)
        assert tokenizer.train()(poses).loss.dtype == torch.float32


def test_frozen_tokenizer_never_moves_but_passes_gradients():
    tokenizer = _tiny().freeze()
    nn.ModuleDict({"pose": tokenizer}).train()
    assert not any(module.training for module in tokenizer.modules())
    before = {key: value.clone() for key, value in tokenizer.state_dict().items()}
    tokenizer(_poses(2))
    logits = torch.randn(2, 1, 4, 8, requires_grad=True)
    tokenizer.detokenize(probabilities=logits.softmax(dim=-1)).square().mean().backward()
    assert logits.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in tokenizer.parameters())
    assert all(torch.equal(before[key], value) for key, value in tokenizer.state_dict().items())


# ---- masked joints


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(1, 17), st.floats(0, 1), st.integers(0, 2**16))
def test_mask_joints_hides_a_fixed_share_of_the_known(batch_size, num_joints, ratio, seed):
    poses = _poses(batch_size, num_joints, seed=seed)
    before = poses.clone()
    masked = mask_joints(poses, ratio, torch.Generator().manual_seed(seed))
    assert torch.equal(poses, before)
    assert torch.equal(masked[..., :2], poses[..., :2])
    kept = masked[..., 2] > 0
    assert torch.equal(masked[..., 2][kept], poses[..., 2][kept])
    for known, left in zip((poses[..., 2] > 0).sum(1).tolist(), kept.sum(1).tolist()):
        assert left == max(known - round(ratio * known), 1)


def test_mask_joints_draws_per_person_and_refuses_bad_input():
    poses = torch.ones(64, 17, 3)
    masked = mask_joints(poses, generator=torch.Generator().manual_seed(0))
    assert len({tuple(row) for row in masked[..., 2].tolist()}) > 32
    assert (masked[..., 2] == 0).float().mean(0).min() > 0  # every joint has its turn
    assert torch.equal(mask_joints(torch.zeros(2, 5, 3), 0.5), torch.zeros(2, 5, 3))
    with pytest.raises(ValueError, match="between 0 and 1"):
        mask_joints(poses, 1.2)


def test_learns_poses_and_fills_in_masked_joints():
    """Poses of one degree of freedom each: a joint that is hidden follows from the others."""
    torch.manual_seed(0)
    tokenizer = PoseTokenizer(**{**TINY, "num_vq_embeddings": 32, "commitment_cost": 15.0}).train()
    directions = torch.randn(5, 2)

    def draw(batch_size):
        coordinates = 32 + 10 * torch.randn(batch_size, 1, 1).clamp(-2, 2) * directions
        return torch.cat([coordinates, torch.ones(batch_size, 5, 1)], dim=2)

    tokenizer.init_codebook(draw(256))
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr=5e-3)
    for _ in range(300):
        poses = draw(64)
        output = tokenizer(mask_joints(poses, 0.4), poses)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    tokenizer.eval()
    poses = draw(256)
    spread = (poses[..., :2] - poses[..., :2].mean(0)).norm(dim=2).mean()
    masked = mask_joints(poses, 0.4)
    hidden = masked[..., 2] == 0
    distance = (tokenizer.detokenize(tokenizer.tokenize(masked)) - poses[..., :2]).norm(dim=2)
    assert distance.mean() < 0.2 * spread
    assert distance[hidden].mean() < 0.3 * spread
