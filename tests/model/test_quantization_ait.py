# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The EMA codebook against closed forms, one process against two, and the arithmetic of soft tokens."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ait_hf.model.quantization_ait import EMACodebook, FSQCodebook, apply_temperature, token_agreement, token_entropy


def _codebook(codes, **kwargs):
    codes = torch.as_tensor(codes, dtype=torch.float32)
    codebook = EMACodebook(*codes.shape, **kwargs)
    codebook.embedding.weight.copy_(codes)
    return codebook


def _trained_codebook(num_embeddings=6, embedding_dim=4, **kwargs):
    generator = torch.Generator().manual_seed(0)
    codebook = _codebook(torch.randn(num_embeddings, embedding_dim, generator=generator), **kwargs)
    codebook.ema_cluster_size.copy_(1 + 9 * torch.rand(num_embeddings, generator=generator))
    codebook.ema_sums.copy_(codebook.embedding.weight * codebook.ema_cluster_size[:, None])
    return codebook


def _latents(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_lookup_matches_brute_force():
    codebook = _codebook(_latents(11, 5)).eval()
    latents = _latents(3, 5, 2, 4, seed=2)
    output = codebook(latents)
    distances = (latents.permute(0, 2, 3, 1)[..., None, :] - codebook.embedding.weight).square().sum(dim=-1)
    assert torch.equal(output.indices, distances.argmin(dim=-1))
    codes = codebook.embedding.weight[output.indices].permute(0, 3, 1, 2)
    torch.testing.assert_close(output.quantized, codes)
    torch.testing.assert_close(output.commit_loss, (latents - codes).square().mean())


def test_gradient_is_straight_through():
    codebook = _codebook(_latents(11, 5))
    latents = _latents(2, 5, 3, 3, seed=2).requires_grad_()
    output = codebook(latents)
    weight = _latents(2, 5, 3, 3, seed=3)
    (output.quantized * weight).sum().backward()
    torch.testing.assert_close(latents.grad, weight)
    assert codebook.embedding.weight.grad is None


def test_perplexity_closed_forms():
    codebook = _codebook([[0.0], [1.0], [2.0], [3.0]]).eval()
    same = codebook(torch.zeros(1, 1, 2, 2))
    each_once = codebook(torch.tensor([0.0, 1.0, 2.0, 3.0]).view(1, 1, 2, 2))
    assert same.perplexity.item() == pytest.approx(1)
    assert each_once.perplexity.item() == pytest.approx(4)


def test_evaluation_never_moves_the_codebook():
    codebook = _trained_codebook(revival_threshold=0.5).eval()
    before = {key: value.clone() for key, value in codebook.state_dict().items()}
    codebook(_latents(2, 4, 3, 3))
    assert all(torch.equal(before[key], value) for key, value in codebook.state_dict().items())


def test_training_step_in_closed_form():
    # Two codes; three latents go to the first, none to the second.
    codebook = _codebook([[0.0], [10.0]], decay=0.9, epsilon=0.0)
    codebook.ema_cluster_size.copy_(torch.tensor([2.0, 4.0]))
    codebook.ema_sums.copy_(torch.tensor([[0.0], [40.0]]))
    output = codebook(torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3))
    assert torch.equal(output.indices, torch.zeros(1, 1, 3, dtype=torch.long))
    torch.testing.assert_close(codebook.ema_cluster_size, torch.tensor([0.9 * 2 + 0.1 * 3, 0.9 * 4]))
    torch.testing.assert_close(codebook.ema_sums, torch.tensor([[0.1 * 6], [36.0]]))
    torch.testing.assert_close(codebook.embedding.weight, torch.tensor([[0.6 / 2.1], [10.0]]))
    # The step itself used the codes from before.
    torch.testing.assert_close(output.quantized, torch.zeros(1, 1, 1, 3), atol=1e-6, rtol=0)


def _train_worker(rank, folder, latents, revival_threshold, forwards):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.manual_seed(rank)
    codebook = _trained_codebook(revival_threshold=revival_threshold)
    parts = latents.chunk(2 * forwards)[rank::2]
    with codebook.one_update() as update:
        for part in parts:
            codebook(part)
    fresh = EMACodebook(6, 4)
    fresh.init_from_latents(*parts)
    state = {**codebook.state_dict(), **{f"fresh.{key}": value for key, value in fresh.state_dict().items()}}
    torch.save({**state, "perplexity": update.perplexity}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("forwards", [1, 2])
@pytest.mark.parametrize("revival_threshold", [0.0, 0.9])
def test_two_processes_learn_what_one_learns_from_the_whole_batch(tmp_path, revival_threshold, forwards):
    latents = _latents(4, 4, 3, 3)
    # fork, because importing torch anew in every process takes longer than everything else here.
    arguments = (str(tmp_path), latents, revival_threshold, forwards)
    mp.start_processes(_train_worker, args=arguments, nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    torch.manual_seed(0)
    single = _trained_codebook(revival_threshold=revival_threshold)
    output = single(latents)
    fresh = EMACodebook(6, 4)
    fresh.init_from_latents(latents)
    expected = {**single.state_dict(), "perplexity": output.perplexity}
    expected |= {f"fresh.{key}": value for key, value in fresh.state_dict().items()}
    for key, value in expected.items():
        torch.testing.assert_close(first[key], value, msg=lambda message, key=key: f"{key}: {message}")
    reachable = latents.permute(0, 2, 3, 1).reshape(-1, 4)
    revived = (first["embedding.weight"][:, None] == reachable).all(dim=-1).any(dim=-1)
    assert revived.any() == (revival_threshold > 0)
    assert single.num_dead() == revived.sum()


def test_one_update_moves_the_codes_at_its_end_alone():
    codebook, latents = _trained_codebook(), _latents(2, 4, 3, 3)
    before = {key: value.clone() for key, value in codebook.state_dict().items()}
    with pytest.raises(RuntimeError, match="in the midst"), codebook.one_update():
        codebook(latents)
        raise RuntimeError("in the midst")
    with codebook.one_update() as update:
        first, second = (codebook(part) for part in latents.chunk(2))
        torch.testing.assert_close(codebook.state_dict(), before, rtol=0, atol=0)
    at_once = _trained_codebook()
    whole = at_once(latents)
    torch.testing.assert_close(codebook.state_dict(), at_once.state_dict())
    torch.testing.assert_close(torch.cat([first.quantized, second.quantized]), whole.quantized)
    torch.testing.assert_close(update.perplexity, whole.perplexity)
    codebook(latents)  # at once again
    assert not torch.equal(codebook.embedding.weight, at_once.embedding.weight)


def test_revival_places_dead_codes_on_latents_with_consistent_statistics():
    torch.manual_seed(0)
    codebook = _codebook([[0.0, 0.0], [100.0, 100.0], [200.0, 200.0]], decay=0.5, revival_threshold=0.1)
    codebook.ema_cluster_size.copy_(torch.tensor([8.0, 0.1, 0.1]))
    codebook.ema_sums.copy_(codebook.embedding.weight * codebook.ema_cluster_size[:, None])
    latents = _latents(1, 2, 4, 4)
    codebook(latents)
    codes, size = codebook.embedding.weight, codebook.ema_cluster_size
    flat = latents.permute(0, 2, 3, 1).reshape(-1, 2)
    assert all((flat == code).all(dim=1).any() for code in codes[1:])
    assert not torch.equal(codes[1], codes[2])
    torch.testing.assert_close(codebook.ema_sums, codes * size[:, None])
    # After the EMA step the sizes are 0.5 * 8 + 0.5 * 16 and twice 0.05; the dead get a tenth of their mean.
    torch.testing.assert_close(size, torch.tensor([12.0, 12.1 / 30, 12.1 / 30]), rtol=1e-4, atol=0)


def test_revival_brings_perplexity_up():
    perplexity = {}
    for threshold in (0.0, 0.1):
        torch.manual_seed(0)
        # Eight clusters, but every code starts far away on the same side, so that at first one code is used.
        centres = 5 * _latents(8, 3)
        codebook = _codebook(50 + _latents(8, 3, seed=2), decay=0.9, revival_threshold=threshold)
        codebook.ema_cluster_size.fill_(8)
        codebook.ema_sums.copy_(codebook.embedding.weight * 8)
        for step in range(100):
            noise = 0.1 * _latents(64, 3, seed=step)
            batch = centres[torch.arange(64) % 8] + noise
            output = codebook(batch.t().reshape(1, 3, 8, 8))
        perplexity[threshold] = output.perplexity.item()
    assert perplexity[0.0] < 3
    assert perplexity[0.1] > 5


def test_init_from_latents_covers_separate_clusters():
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    latents = centres[torch.arange(64) % 4] + 0.01 * _latents(64, 2)
    codebook = EMACodebook(4, 2)
    codebook.init_from_latents(latents.t().reshape(1, 2, 8, 8))
    assert (torch.cdist(centres, codebook.embedding.weight).min(dim=1).values < 0.1).all()
    torch.testing.assert_close(codebook.ema_cluster_size, torch.ones(4))
    torch.testing.assert_close(codebook.ema_sums, codebook.embedding.weight)


def test_init_from_fewer_distinct_latents_than_codes():
    codebook = EMACodebook(5, 2)
    codebook.init_from_latents(torch.tensor([[1.0, 2.0]]).view(1, 2, 1, 1).expand(1, 2, 3, 3))
    torch.testing.assert_close(codebook.embedding.weight, torch.tensor([[1.0, 2.0]]).expand(5, 2))


@pytest.mark.parametrize("cast", [torch.bfloat16, torch.float16])
def test_casts_and_autocast_do_not_reach_inside(cast):
    codebook = _trained_codebook()
    exact = {key: value.clone() for key, value in codebook.state_dict().items()}
    outer = torch.nn.Sequential(codebook).to(cast)
    for key, value in codebook.state_dict().items():
        assert torch.equal(value, exact[key]) and value.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = outer(_latents(2, 4, 3, 3).to(cast))
    assert output.quantized.dtype == cast
    assert output.commit_loss.dtype == torch.float32
    assert codebook.ema_sums.dtype == torch.float32


def test_moves_off_the_meta_device():
    with torch.device("meta"):
        codebook = EMACodebook(3, 2)
    assert codebook.embedding.weight.is_meta
    assert not codebook.to_empty(device="cpu").ema_sums.is_meta


def test_wrong_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="takes latents of shape"):
        EMACodebook(3, 2)(torch.zeros(1, 5, 2, 2))


def test_expected_embedding_of_one_hot_is_the_code():
    codebook = _codebook(_latents(7, 5))
    torch.testing.assert_close(codebook.expected_embedding(torch.eye(7)), codebook.embedding.weight)
    even = codebook.expected_embedding(torch.full((2, 3, 7), 1 / 7))
    torch.testing.assert_close(even, codebook.embedding.weight.mean(dim=0).expand(2, 3, 5))


def test_temperature_equals_scaled_logits():
    logits = 5 * _latents(4, 9)
    probabilities = logits.softmax(dim=-1)
    for tau in (0.3, 0.8, 2.5):
        torch.testing.assert_close(apply_temperature(probabilities, tau), (tau * logits).softmax(dim=-1))
    assert apply_temperature(probabilities, 1.0) is probabilities


def test_temperature_keeps_zeros_and_their_gradient_finite():
    probabilities = torch.tensor([0.0, 0.25, 0.75], requires_grad=True)
    flatter = apply_temperature(probabilities, 0.5)
    torch.testing.assert_close(flatter, torch.tensor([0.0, 0.5, math.sqrt(0.75)]) / (0.5 + math.sqrt(0.75)))
    flatter[1].backward()
    assert torch.isfinite(probabilities.grad).all()
    with pytest.raises(ValueError, match="must be positive"):
        apply_temperature(probabilities, 0.0)


def test_token_entropy_closed_forms():
    probabilities = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    torch.testing.assert_close(token_entropy(probabilities), torch.tensor([0.0, 0.5, 1.0]))


def test_token_agreement_closed_forms():
    square = torch.tensor([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0]])  # codes sqrt(2) from the middle
    probabilities = torch.tensor(
        [[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0], [0.5, 0, 0, 0.5], [0.9, 0.1, 0, 0]]
    )
    expected = torch.tensor([1.0, 0.0, 0.5, 0.0, 1 - 0.9 * 0.1 * 4 / 2])
    torch.testing.assert_close(token_agreement(probabilities, square), expected)
    torch.testing.assert_close(token_agreement(probabilities, 3 * square + 5), expected)
    assert torch.equal(token_agreement(probabilities, torch.zeros(4, 2)), torch.ones(5))


def test_fsq_rounds_every_axis_and_never_moves():
    """Codes against rounding axis by axis: nearest of the levels -1, 0, 1 and of -1, -1/3, 1/3, 1 to tanh."""
    levels = (3, 4)
    codebook = FSQCodebook(levels).train()
    before = codebook.embedding.weight.clone()
    latents = _latents(5, 2, 3, 3, seed=2).requires_grad_()
    codebook.init_from_latents(latents.detach())
    output = codebook(latents)
    output.quantized.sum().backward()
    bounded = latents.detach().tanh()
    steps = [((bounded[:, axis] + 1) / 2 * (number - 1)).round() for axis, number in enumerate(levels)]
    assert torch.equal(output.indices, (steps[0] * levels[1] + steps[1]).long())
    values = torch.stack([2 * step / (number - 1) - 1 for step, number in zip(steps, levels)], dim=1)
    torch.testing.assert_close(output.quantized.detach(), values)
    torch.testing.assert_close(output.commit_loss, (bounded - values).square().mean())
    torch.testing.assert_close(latents.grad, 1 - bounded.square())  # straight through the rounding, not through tanh
    assert torch.equal(codebook.embedding.weight, before)
    flat = latents.detach().permute(0, 2, 3, 1).reshape(-1, 2)
    assert torch.equal(codebook.nearest(flat).view(output.indices.shape), output.indices)
    soft = torch.full((12,), 1 / 12)
    torch.testing.assert_close(codebook.expected_embedding(soft), torch.zeros(2))  # the middle of the grid
