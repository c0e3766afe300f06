# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from saved_model import picture, tiny_model
from training_runs import without_order

from ait_hf import VQTokenizer
from ait_hf.data.pixels import depth_collator
from ait_hf.inference.generating import decoding_modes
from ait_hf.tasks.depth.drawing import depth_gallery
from ait_hf.tasks.depth.evaluation import depth_gallery_rows, evaluate_depth, evaluate_tokenizer, rgbd_collator
from ait_hf.tasks.depth.prediction import predict_depth


def sample(height: int, width: int, seed: int) -> dict:
    depth = np.random.default_rng(seed).uniform(0.5, 5, (height, width)).astype(np.float32)
    depth[: height // 4] = 0  # unknown
    return {"image": picture(height, width, seed), "depth": depth}


@pytest.fixture(scope="module")
def model_and_processor():
    return tiny_model()


@pytest.fixture(scope="module")
def samples():
    return [sample(60, 80, 1), sample(96, 96, 2), sample(60, 80, 3)]


@pytest.mark.parametrize("tta", [False, True])
def test_depth_errors_are_means_over_images_at_the_ground_truths_size(model_and_processor, samples, tta):
    batches = [rgbd_collator(samples[:2]), rgbd_collator(samples[2:])]
    result = evaluate_depth(*model_and_processor, batches, tta=tta, max_depth=4.0)
    predictions = predict_depth(*model_and_processor, [sample["image"] for sample in samples], tta=tta)
    rmse, delta = [], []
    for prediction, example in zip(predictions, samples):
        valid = (example["depth"] > 1e-3) & (example["depth"] < 4)
        predicted, true = prediction["predicted_depth"].numpy()[valid], example["depth"][valid]
        rmse.append(np.sqrt(np.mean((predicted - true) ** 2)))
        delta.append(np.mean(np.maximum(predicted / true, true / predicted) < 1.25))
    assert result["rmse"] == pytest.approx(np.mean(rmse), rel=1e-4)
    assert result["delta1"] == pytest.approx(np.mean(delta), abs=1e-3)
    assert result["num_images"] == 3
    assert ("token_distance" in result) is not tta


def test_token_distance_is_that_of_the_codes_that_the_detokenizer_reads(model_and_processor):
    model, processor = model_and_processor
    example = sample(96, 96, 4)
    tokenizer = model.tokenizers["depth"]
    codes = tokenizer.quantizer.embedding.weight
    true = codes[tokenizer.tokenize(torch.tensor(example["depth"])[None, None]).flatten()]
    outputs = model.generate(**processor(example["image"], return_tensors="pt"))
    logits = outputs.soft_tokens[0].log()
    expected = {
        True: (0.5 * logits).softmax(-1) @ codes,
        False: torch.stack([codes[token] for token in logits.argmax(-1)]),
    }
    for soft, predicted in expected.items():
        settings = {"soft_detokenizer": soft, "soft_temperature": 0.5}
        result = evaluate_depth(model, processor, [rgbd_collator([example])], **settings)
        assert result["token_distance"] == pytest.approx((predicted - true).norm(dim=-1).mean().item(), rel=1e-4)


def test_batches_of_the_training_collator_give_the_same(model_and_processor):
    example = sample(96, 96, 5)
    pixels = torch.tensor(np.asarray(example["image"])).permute(2, 0, 1) / 255
    batch = depth_collator([{"pixel_values": pixels, "labels": torch.tensor(example["depth"])}])
    results = [without_order(evaluate_depth(*model_and_processor, [b])) for b in (batch, rgbd_collator([example]))]
    assert results[0] == pytest.approx(results[1], rel=1e-4)


def test_training_mode_comes_back(samples):
    model, processor = tiny_model()
    model.train()
    evaluate_depth(model, processor, [rgbd_collator(samples[:1])])
    assert model.training and not model.tokenizers["depth"].training


def test_what_cannot_be_measured_is_refused(model_and_processor, samples):
    with pytest.raises(ValueError, match="no images to evaluate"):
        evaluate_depth(*model_and_processor, [])
    with pytest.raises(ValueError, match="Eigen crop is defined on 480x640"):
        evaluate_depth(*model_and_processor, [rgbd_collator(samples)], crop="eigen")
    with pytest.raises(ValueError, match="valid pixel"):
        evaluate_depth(*model_and_processor, [rgbd_collator(samples)], max_depth=0.1)


def test_tokenizer_reconstruction_at_the_maps_own_size():
    torch.manual_seed(0)
    tokenizer = VQTokenizer(downsample_ratio=8, base_channels=4, num_vq_embeddings=16, vq_embed_dim=8, sample_size=32)
    depth = torch.rand(24, 40) * 3 + 1
    ids = tokenizer.eval().tokenize(depth[None, None])
    error = (tokenizer.detokenize(ids=ids)[0, 0].clamp(min=1e-3) - depth).square().mean().item()
    counts = np.bincount(ids.flatten()) / ids.numel()
    result = evaluate_tokenizer(tokenizer, [{"labels": depth[None]}])
    assert result["rmse"] == pytest.approx(math.sqrt(error), rel=1e-4)
    assert result["perplexity"] == pytest.approx(np.exp(-np.sum(counts * np.log(counts + 1e-12))), rel=1e-4)


def test_tokenizer_reconstruction_in_the_eigen_crop():
    torch.manual_seed(0)
    tokenizer = VQTokenizer(downsample_ratio=8, base_channels=4, num_vq_embeddings=16, vq_embed_dim=8, sample_size=32)
    depth = torch.rand(48, 64) * 5 + 1
    ids = tokenizer.eval().tokenize(depth[None, None])
    squares = (tokenizer.detokenize(ids=ids)[0, 0].clamp(min=1e-3) - depth).square()
    result = evaluate_tokenizer(tokenizer, [{"labels": depth[None]}], crop="eigen")
    assert result["mse"] == pytest.approx(squares[4:47, 4:60].mean().item(), rel=1e-5)


def test_tokenizer_reconstruction_at_a_models_size(samples):
    """Maps of a size that is no multiple of the ratio, at what the model would see of them."""
    torch.manual_seed(0)
    tokenizer = VQTokenizer(downsample_ratio=8, base_channels=4, num_vq_embeddings=16, vq_embed_dim=8, sample_size=32)
    labels = rgbd_collator([sample(50, 60, 1), sample(33, 77, 2)])
    assert evaluate_tokenizer(tokenizer, [labels])["num_images"] == 2
    # A constant map stays the same at every size, and so does what a squeezed one is rebuilt to.
    constant = {"labels": [torch.full((64, 96), 2.0)]}
    squeezed = evaluate_tokenizer(tokenizer, [constant], image_size=[32, 32])
    direct = evaluate_tokenizer(tokenizer, [{"labels": [torch.full((32, 32), 2.0)]}])
    assert squeezed["perplexity"] == pytest.approx(direct["perplexity"])
    kept = evaluate_tokenizer(tokenizer, [constant], image_size=[32, 32], tta=True)
    same_shape = evaluate_tokenizer(tokenizer, [{"labels": [torch.full((32, 48), 2.0)]}])
    assert kept["perplexity"] == pytest.approx(same_shape["perplexity"])


def test_decoding_modes_are_all_combinations():
    assert len({tuple(settings.items()) for settings in decoding_modes(parallel=False).values()}) == 4
    assert [settings["soft_detokenizer"] for settings in decoding_modes(parallel=True).values()] == [False, True]


def test_gallery_rows_have_one_size_and_can_be_drawn(model_and_processor, samples):
    rows = depth_gallery_rows(*model_and_processor, samples)
    assert {row[name].shape[:2] for row in rows for name in row} == {(60, 80)}
    (prediction,) = predict_depth(*model_and_processor, [samples[2]["image"]])
    np.testing.assert_allclose(rows[2]["prediction"], prediction["predicted_depth"].numpy(), rtol=1e-3)
    np.testing.assert_array_equal(rows[0]["depth"], samples[0]["depth"])
    assert depth_gallery(rows).width > 5 * 60
