# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Embeddings of codes that start as waves over the codebook."""

import pytest
import torch
from tiny_dense import KEYPOINTS, NORMALS, dense_config

from ait_hf import AiTForDenseTokenGeneration
from ait_hf.training.adaptation import codebook_waves, start_from_codebooks


def test_neighbours_are_alike_and_others_are_not():
    torch.manual_seed(0)
    places = torch.stack(torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij"), -1).flatten(0, 1)
    waves = codebook_waves(places @ torch.linalg.qr(torch.randn(8, 8))[0][:2], 512)
    assert waves.mean().abs() < 0.05 and (waves.var() - 1).abs() < 0.05
    alike, distance = waves @ waves.T / 512, torch.cdist(places, places)
    means = [alike[(distance >= low) & (distance < low + 1)].mean() for low in range(10)]
    assert all(nearer > farther for nearer, farther in zip(means, means[1:6]))
    assert means[0] > 0.9 and means[1] > 0.6 and abs(means[9]) < 0.25


def test_only_codes_change_and_the_classifier_with_them():
    torch.manual_seed(0)
    model = AiTForDenseTokenGeneration(dense_config((KEYPOINTS, NORMALS)))
    for tokenizer in model.tokenizers.values():
        tokenizer.quantizer.embedding.weight.data.normal_()
    before = model.get_input_embeddings().weight.detach().clone()
    start_from_codebooks(model)
    after = model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is after
    changed = (after != before).any(dim=1)
    codes = [id for codebook in model.config.vocabulary.codebooks.values() for id in codebook]
    assert changed.nonzero().flatten().tolist() == sorted(codes)
    assert after[codes].std().item() == pytest.approx(model.config.initializer_range, rel=0.1)


def test_untrained_codebooks_are_refused():
    with pytest.raises(ValueError, match="train the tokenizer"):
        codebook_waves(torch.zeros(8, 4), 16)
