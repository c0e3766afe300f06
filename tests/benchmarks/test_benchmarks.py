# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The baseline decodes what `generate()` decodes; measurements against what is known of them."""

import time

import pytest
import torch
from tiny import mixed_config, tiny_config
from torch import nn

from ait_hf import AiTForDenseTokenGeneration
from ait_hf.benchmarks.inference_suites import StepByStepDecoder, depth_step_by_step
from ait_hf.benchmarks.measuring import Suite, peak_memory, run_suite, saved_activations
from ait_hf.benchmarks.models import SMALL, backbones, spread_weights


CPU = torch.device("cpu")


def random_model(config):
    torch.manual_seed(0)
    model = AiTForDenseTokenGeneration(config).eval()
    spread_weights(model)
    return model


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("config", [tiny_config, mixed_config])
def test_the_baseline_decodes_the_same(config, parallel):
    model = random_model(config(parallel=parallel))
    images = torch.rand(2, 3, 96, 96)
    outputs = model.generate(pixel_values=images)
    with torch.no_grad():
        memory = model.model.encoder(pixel_values=images).last_hidden_state
        tokens, soft_tokens = StepByStepDecoder(model, outputs.task)(memory)
        assert torch.equal(tokens, outputs.sequences[:, 1:])
        torch.testing.assert_close(soft_tokens, outputs.soft_tokens, rtol=1e-4, atol=1e-5)
        if outputs.predicted_depth is not None:
            depth = depth_step_by_step(model, images).clamp(min=1e-3)
            torch.testing.assert_close(depth, outputs.predicted_depth, rtol=1e-4, atol=1e-4)


def test_backbones_compute_maps_of_the_same_size():
    images = torch.rand(1, 3, 64, 64)
    models = backbones(64, SMALL)
    with torch.no_grad():
        shapes = {name: models[name](images).feature_maps[-1].shape for name in ("transformers", "ait_hf")}
        timm = models["timm"].forward_features(images)
    assert set(shapes.values()) == {(1, 256, 2, 2)}
    assert timm.shape == (1, 2, 2, 256)
    parameters = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    assert max(parameters.values()) < 1.01 * min(parameters.values())


def test_what_is_measured():
    left, right = torch.rand(64, 128), torch.rand(128, 32)

    def slow():
        time.sleep(0.05)
        return left @ right

    suite = Suite({"fast": lambda: left @ right, "slow": slow}, {}, images={"slow": 4})
    report = run_suite(suite, repeats=2, warmup=0, device=CPU, dtype=torch.float32)
    fast, slow = report["contestants"]["fast"], report["contestants"]["slow"]
    assert fast["gflop"] == slow["gflop"] == pytest.approx(2 * 64 * 128 * 32 / 1e9)
    assert slow["median_ms"] >= 50 > slow["cpu_ms"]
    assert slow["images_per_second"] == pytest.approx(4000 / slow["median_ms"])
    assert slow["share_of_peak"] == pytest.approx(slow["gflops"] / report["matrix_peak_gflops"])
    assert fast["ratio_to_baseline"] == {"median": 1.0, "low": 1.0, "high": 1.0}


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="the mark that is read is Linux's, as is MKL here")
def test_peak_memory():
    size = 64 * 2**20 // 4
    assert 120 < peak_memory(lambda: torch.ones(size) + torch.ones(1), CPU) < 140
    assert peak_memory(lambda: None, CPU) < 2


def test_saved_activations():
    """ReLU keeps its output, which the next layer needs as well; a linear layer its input; parameters do not count."""
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 16))
    inputs = torch.rand(1024, 256)
    kept = saved_activations(lambda: model(inputs), model)
    assert kept == pytest.approx(4 * 1024 * (256 + 512) / 2**20)
