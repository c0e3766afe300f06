# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Soft maps of a language model's scores, against sums written out."""

import pytest
import torch
import torch.nn.functional as F
from text_models import DEPTH, NUM_CODES, vq_tokenizer

from ait_hf.tokens import TokenFormat, TokenVocabulary, code_noise, soft_decode


VOCABULARY = TokenVocabulary(DEPTH, codes=range(12, 12 + NUM_CODES), start=10, end=11)
SIZE = 40


@pytest.fixture(scope="module")
def codec():
    return vq_tokenizer()


def random_scores(*shape: int) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_expected_embeddings_of_the_code_columns(codec):
    scores = random_scores(2, 6, SIZE)
    decoded = soft_decode(scores, VOCABULARY, codec, temperature=0.7)
    codes = codec.quantizer.embedding.weight
    columns = scores[..., 12:32].double()
    weights = (0.7 * columns).exp() / (0.7 * columns).exp().sum(-1, keepdim=True)
    latents = (weights @ codes.double()).float().view(2, 2, 3, -1).permute(0, 3, 1, 2)
    expected = (codec.decoder(latents) + 1) / 2
    torch.testing.assert_close(decoded.sample, expected)
    torch.testing.assert_close(decoded.probabilities.flatten(1, 2), weights.float())
    entropy = -(weights * weights.log()).sum(-1) / torch.tensor(20.0).log()
    torch.testing.assert_close(decoded.entropy.flatten(1), entropy.float())
    values = codec.code_values()[:, 0].double()
    mean = weights @ values
    deviation = ((weights * (values - mean[..., None]).square()).sum(-1)).sqrt().float().view(2, 1, 2, 3)
    spread = F.interpolate(deviation, size=(8, 12), mode="bilinear")[:, 0]
    torch.testing.assert_close(decoded.uncertainty, spread, rtol=1e-3, atol=1e-5)
    assert torch.equal(decoded.ids.flatten(1), columns.argmax(-1)) and decoded.batch_indices.tolist() == [0, 1]
    # The columns alone, and one tensor for each step.
    alone = soft_decode(scores[..., 12:32], DEPTH, codec, temperature=0.7)
    steps = soft_decode(tuple(scores.unbind(1)), VOCABULARY, codec, temperature=0.7)
    for other in (alone, steps):
        torch.testing.assert_close(other.sample, decoded.sample)
    one = soft_decode(scores[1:], VOCABULARY, codec, temperature=0.7)
    torch.testing.assert_close(one.sample, decoded.sample[1:])


def test_certain_scores_give_the_hard_map_and_others_may_be_impossible(codec):
    ids = torch.tensor([[3, 1, 4, 1, 5, 9]])
    scores = torch.full((1, 6, SIZE), -torch.inf).scatter(2, ids[..., None] + 12, 5.0)
    decoded = soft_decode(scores, VOCABULARY, codec)
    torch.testing.assert_close(decoded.sample, codec.detokenize(ids=ids.view(1, 2, 3)))
    assert (decoded.entropy == 0).all() and torch.equal(decoded.ids.flatten(), ids[0])
    assert decoded.uncertainty.max() < 1e-3 * codec.code_values().std()


def test_a_loss_on_the_map_reaches_the_scores(codec):
    scores = random_scores(1, 6, SIZE).requires_grad_()
    target = codec.detokenize(ids=torch.full((1, 2, 3), 7)).detach()
    before = (soft_decode(scores, VOCABULARY, codec).sample - target).square().mean()
    before.backward()
    codes = scores.grad[..., 12:32]
    assert (codes != 0).any(-1).all() and not scores.grad[..., :12].any() and not scores.grad[..., 32:].any()
    with torch.no_grad():
        after = (soft_decode(scores - 20 * scores.grad, VOCABULARY, codec).sample - target).square().mean()
    assert after < before


def test_columns_before_rows(codec):
    form = TokenFormat(code="<c{}>", num_codes=NUM_CODES, grid=(2, 3), order="columns")
    scores = random_scores(1, 6, NUM_CODES)
    order = [0, 2, 4, 1, 3, 5]  # of the text's places, row after row
    by_rows = soft_decode(scores[:, order], DEPTH, codec)
    torch.testing.assert_close(soft_decode(scores, form, codec).sample, by_rows.sample)
    assert torch.equal(soft_decode(scores, form, codec).ids, form.to_grid(scores.argmax(-1)))


def test_blocks_among_other_tokens(codec):
    scores = random_scores(2, 12, SIZE)
    codes = [12, 14, 16, 18, 20, 22]
    rows = torch.tensor([[5, 10, *codes, 11, 5, 5, 2], [10, *codes, 11, 10, 12, 13, 14]])
    decoded = soft_decode(scores, VOCABULARY, codec, sequences=rows)
    assert decoded.batch_indices.tolist() == [0, 1]  # the second of the second row was cut off
    expected = torch.stack([scores[0, 2:8, 12:32], scores[1, 1:7, 12:32]]).softmax(-1)
    torch.testing.assert_close(decoded.probabilities.flatten(1, 2), expected)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"temperature": 0}, "must be positive"),
        ({"scores": torch.zeros(6, SIZE)}, r"\(batch, steps, vocabulary\)"),
        ({"scores": torch.zeros(1, 5, SIZE)}, "6 codes, but there are scores of 5 steps"),
        ({"scores": torch.zeros(1, 6, 20)}, "up to id 31, but the scores are of 20"),
        ({"token_format": DEPTH}, "does not say which of 40 columns"),
        ({"sequences": torch.zeros(1, 5, dtype=torch.long)}, r"got \(1, 5\) tokens and scores of \(1, 6\)"),
        ({"sequences": torch.full((1, 6), 12)}, "None of the 1 sequences has a whole block"),
        ({"token_format": TokenFormat(code="<c{}>", num_codes=5, grid=(2, 3))}, "20 codes, the format 5"),
    ],
)
def test_what_does_not_fit_is_refused(codec, change, message):
    arguments = {"scores": torch.zeros(1, 6, SIZE), "token_format": VOCABULARY, "vq_tokenizer": codec} | change
    if "sequences" in change and "whole block" in message:  # six codes without marks are read leniently, so: five
        arguments["sequences"] = torch.tensor([[5, 12, 12, 12, 12, 12]])
    with pytest.raises(ValueError, match=message):
        soft_decode(**arguments)


def test_noise_for_teacher_forcing(codec):
    tokens = torch.randint(0, SIZE, (50, 100), generator=torch.Generator().manual_seed(1))
    is_code = (tokens >= 12) & (tokens < 32)
    assert torch.equal(code_noise(tokens, VOCABULARY, 0.0), tokens)
    for tokenizer in (None, codec):
        noisy = code_noise(tokens, VOCABULARY, 0.3, tokenizer, 4, generator=torch.Generator().manual_seed(2))
        again = code_noise(tokens, VOCABULARY, 0.3, tokenizer, 4, generator=torch.Generator().manual_seed(2))
        changed = noisy != tokens
        assert torch.equal(noisy, again) and torch.equal(noisy[~is_code], tokens[~is_code])
        assert ((noisy[changed] >= 12) & (noisy[changed] < 32)).all()
        assert 0.27 < changed.sum() / is_code.sum() < 0.33
    assert (noisy - tokens)[changed].abs().max() <= 4  # near on the curve of codes
    everywhere = code_noise(tokens, VOCABULARY, 1.0)
    assert (everywhere != tokens)[is_code].all()
    with pytest.raises(ValueError, match="0 to 1, got 1.5"):
        code_noise(tokens, VOCABULARY, 1.5)
    with pytest.raises(ValueError, match="num_neighbors must be 1 to 19"):
        code_noise(tokens, VOCABULARY, 0.5, codec, 20)
