# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Counted operations against closed forms, counted memory against what torch's profiler sees, and plans of recipes."""

import json
import runpy
import sys

import pytest
import torch
from repository import SCRIPTS
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ait_hf import AiTForDenseTokenGeneration, AiTTokenizerConfig
from ait_hf.benchmarks.models import random_draft
from ait_hf.benchmarks.planning import LAUNCH_SECONDS, PRECISIONS, count_cost, count_step, make_plan, planned_model
from ait_hf.recipes.parsing import read_values
from ait_hf.training.solver import read_recipe
from ait_hf_cli.plan import GPUS
from ait_hf_cli.recipes import find_recipe


# The published recipe with a model that takes seconds: one block a stage, 4 x 4 codes.
BACKBONE = {"embed_dim": 32, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8], "window_sizes": [8, 8, 8, 4]}
BACKBONE |= {"shifted_stages": [True, True, False, False]}
SMALL = ["tasks.depth.data.transform.crop_size=128", "model.config.decoder_layers=2", "model.config.encoder_layers=1"]
SMALL += ["model.backbone=null", f"model.backbone_config={json.dumps(BACKBONE)}"]
PUBLISHED = find_recipe("ait_swinv2_b_nyu").parent


def recipe(name: str, *overrides: str):
    return read_recipe(read_values(name, overrides))


def plan(recipe, **changes):
    options = {"num_gpus": 1, "gpu": GPUS["A100"], "utilisation": 0.5} | changes
    return make_plan(recipe, PUBLISHED, **options)


def profiled_peak(step) -> int:
    """Largest sum of what torch's CPU allocator gave and did not get back, as its profiler writes it down."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step().backward()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    living = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        living += event.nbytes()
        peak = max(peak, living)
    return peak


def count(module: nn.Module, loss, precision: str = "no"):
    return count_step(module, loss, precision, lowered=module)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_operations_of_a_linear_layer(precision):
    layer, inputs = nn.Linear(30, 50, device="meta"), torch.empty(7, 30, device="meta", requires_grad=True)

    def step():
        outputs = layer(inputs)
        assert outputs.dtype is PRECISIONS[precision]
        return outputs.sum()

    cost = count(layer, step, precision)
    assert cost.flops == 3 * 2 * 7 * 30 * 50  # outputs, gradients of inputs and of weights


def test_operations_and_memory_of_attention():
    batch, heads, length, dim = 2, 3, 64, 8
    shape = (batch, heads, length, dim)
    query, key, value = (torch.empty(shape, device="meta", requires_grad=True) for _ in range(3))
    bias = torch.empty(1, heads, length, length, device="meta", requires_grad=True)

    class Attention(nn.Module):
        is_causal = False

        def forward(self):
            attend = ALL_ATTENTION_FUNCTIONS["sdpa"]
            return attend(self, query, key, value, bias, scaling=1.0, is_causal=False)[0].sum()

    product = 2 * batch * heads * length * length * dim
    attention = Attention()
    cost = count(attention, attention)
    assert cost.flops == 2 * product + 5 * product  # backward computes the scores again
    # No scores of all images are kept; the gradient of the bias is of that size, and of one image when it is summed up.
    assert cost.bytes < 4 * (batch * heads * length * length * 1.5 + 12 * batch * heads * length * dim)
    assert "sdpa" in ALL_ATTENTION_FUNCTIONS and ALL_ATTENTION_FUNCTIONS["sdpa"].__module__.startswith("transformers")


def test_memory_of_layers_in_a_row():
    """Every layer keeps its output of 4,000 bytes a sample; two more are there while one is computed, and its gradient."""
    layers = [module for _ in range(10) for module in (nn.Linear(1000, 1000, bias=False, device="meta"), nn.Tanh())]
    model = nn.Sequential(*layers)
    costs = [count(model, lambda n=n: model(torch.empty(n, 1000, device="meta")).sum()) for n in (200, 400, 800)]
    outputs = 4000 * 800 * 11  # those of tanh, and the input
    gradient = 4 * 1000 * 1000  # of one layer's weights, before it is added
    assert outputs <= costs[2].bytes <= outputs + 3 * 4000 * 800 + gradient
    per_sample = (costs[1].bytes - costs[0].bytes) / 200
    assert costs[2].bytes == pytest.approx(costs[1].bytes + 400 * per_sample, rel=0.01)


def test_memory_of_a_model_is_what_the_profiler_sees():
    demo = recipe("demo_ait")
    planned = planned_model(demo, find_recipe("demo_ait").parent)
    real = AiTForDenseTokenGeneration(planned.config).train()

    def forward(num_samples: int) -> torch.Tensor:
        images = torch.rand(num_samples, 3, *real.config.task("depth").image_size)
        batch = {"pixel_values": images, "labels": random_draft(real, "depth", num_samples)}
        return real(batches={"depth": batch}).loss

    forward(1).backward()  # gradients, into which those of the next step are added
    for samples in (4, 8):
        measured = profiled_peak(lambda count=samples: forward(count))
        assert count_cost(demo, planned, {"depth": samples}).bytes == pytest.approx(measured, rel=0.15)


def test_plans_of_published_recipes_need_no_files(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    small = recipe("ait_swinv2_b_nyu", *SMALL)
    one, eight = plan(small), plan(small, num_gpus=8)
    assert one.samples_per_gpu == {"depth": 24} and eight.samples_per_gpu == {"depth": 3}
    tokenizer = AiTTokenizerConfig()
    assert one.parameters - one.trainable_parameters > tokenizer.num_vq_embeddings * tokenizer.vq_embed_dim
    assert eight.flops_per_step == pytest.approx(one.flops_per_step, rel=0.05)
    assert one.memory["gradients"] == eight.memory["gradients"]
    assert eight.memory["activations"] < one.memory["activations"]
    sharded = plan(small, num_gpus=8, sharded=True)
    assert sharded.memory["optimizer"] == pytest.approx(eight.memory["optimizer"] / 8)
    small.train.ema_decay = 0.99
    averaged = [plan(small, num_gpus=8, sharded=sharded).memory["averaged weights"] for sharded in (False, True)]
    assert averaged[0] == pytest.approx(4e-9 * one.trainable_parameters) == pytest.approx(8 * averaged[1])
    small.train.ema_decay = None
    assert one.memory["total"] == pytest.approx(sum(size for name, size in one.memory.items() if name != "total"))
    assert not plan(small, gpu=GPUS["A100"]._replace(memory=1.0)).fits
    small.train.max_steps = 86400
    slow = plan(small, utilisation=0.001)
    assert slow.seconds_per_step == pytest.approx(slow.flops_per_step / (312e12 * 0.001)) == pytest.approx(slow.days)
    assert one.seconds_per_step == pytest.approx(one.kernels_per_step * LAUNCH_SECONDS)  # too small a model for a GPU
    with pytest.raises(ValueError, match="24 samples of 'depth' cannot be shared out over 5 GPUs"):
        plan(small, num_gpus=5)


def test_half_precision_takes_less(monkeypatch, tmp_path):
    """What follows a product is of half the size, what follows a norm is not."""
    monkeypatch.chdir(tmp_path)
    small = recipe("aitp_swinv2_b_nyu", *SMALL, "tasks.depth.settings.auxiliary_loss=null")
    bytes_of = {}
    for small.train.mixed_precision in ("bf16", "no"):
        cost = count_cost(small, planned_model(small, PUBLISHED), {"depth": 24})
        bytes_of[small.train.mixed_precision] = cost.bytes
    half, single = bytes_of["bf16"], bytes_of["no"]
    assert 0.5 * single < half < 0.8 * single


@pytest.mark.parametrize("precision", ["bf16", "no"])
def test_computing_activations_twice_takes_less_memory_and_more_operations(monkeypatch, tmp_path, precision):
    monkeypatch.chdir(tmp_path)
    small, costs = recipe("ait_swinv2_b_nyu", *SMALL, f"train.mixed_precision={precision}"), []
    for small.model.gradient_checkpointing in (False, True):
        costs.append(count_cost(small, planned_model(small, PUBLISHED), {"depth": 8}))
    assert costs[1].bytes < 0.8 * costs[0].bytes
    assert 1.1 * costs[0].flops < costs[1].flops < 1.4 * costs[0].flops  # a second forward, of what is checkpointed


@pytest.mark.parametrize("name", ["ait_swinv2_b_joint", "aitp_swinv2_b_ade20k", "ait_swinv2_b_coco_keypoints"])
def test_models_of_published_recipes_are_known_without_files(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    model = planned_model(recipe(name), PUBLISHED)
    assert 100e6 < sum(parameter.numel() for parameter in model.parameters()) < 150e6
    assert set(model.config.tasks) == set(recipe(name).tasks) and model.config.backbone_config.embed_dim == 128


def test_what_a_model_is_built_on_may_be_of_another_folder_of_the_package(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    of_tokenizer = recipe("demo_tokenizer").model.config
    tokenizer = planned_model(recipe("rooms_depth_aitp"), tmp_path).config.tokenizers["depth"]
    assert {key: tokenizer[key] for key in of_tokenizer} == of_tokenizer


def test_what_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="neither a folder runs/other nor a recipe"):
        planned_model(recipe("ait_swinv2_b_nyu", "tasks.depth.tokenizer=runs/other"), PUBLISHED)


def test_command(monkeypatch, capsys):
    name = "demo_tokenizer"
    monkeypatch.setattr(sys, "argv", ["plan.py", name, "--gpus", "2", "--steps", "10", "--json"])
    runpy.run_path(str(SCRIPTS / "plan.py"), run_name="__main__")
    printed = json.loads(capsys.readouterr().out)
    assert printed["fits"] and printed["memory"]["total"] > 1 and printed["measured"] is None
    monkeypatch.setattr(sys, "argv", ["plan.py", name, "--gpus", "2", "--gpu-memory", "0.5"])
    runpy.run_path(str(SCRIPTS / "plan.py"), run_name="__main__")
    assert "does not fit" in capsys.readouterr().out
