# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Encoder and decoder as one graph each, in the losses of every task; with `aot_eager`, which writes no C++."""

import json
import shutil

import pytest
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import TorchDynamoPlugin
from sharded_runs import train_sharded
from tiny import TINY_BACKBONE, tiny_config
from tiny_dense import SIZE, dense_config, dense_labels
from tiny_objects import DETECTION, INSTANCES, object_config, object_labels
from torch import nn
from torch._dynamo.utils import counters
from training_runs import (
    run_in_processes,
    save_tokenizer,
    solver_recipe,
    tokenizer_recipe,
    weights,
    without_measurements,
)

from ait_hf import AiTForDenseTokenGeneration
from ait_hf.model.modeling_solver_ait import AiTDecoder, AiTEncoder
from ait_hf.training.processes import compile_parts, uncompiled
from ait_hf.training.solver import train_solver
from ait_hf.training.tokenizer import train_tokenizer


ONE_STAGE = TINY_BACKBONE | {
    "patch_size": 32,
    "depths": [1],
    "num_heads": [2],
    "window_sizes": [2],
    "shifted_stages": [False],
    "pretrained_window_sizes": [0],
}
ONE_LAYER = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16, "num_heads": 2, "ffn_dim": 16}
NO_CHANCE = ["model.config.dropout=0.0", "model.config.drop_path_rate=0.0", "model.backbone_config.drop_path_rate=0.0"]


def every_task(parallel: bool) -> AiTForDenseTokenGeneration:
    """Depth, detection, instances, poses, semantics of both methods and normals in one model."""
    parts = [object_config((DETECTION, INSTANCES)), dense_config(), tiny_config()]
    tasks = {name: task for config in parts for name, task in config.tasks.items()}
    numbers = {name: {"task_id": number, "image_size": [SIZE, SIZE]} for number, name in enumerate(tasks)}
    tokenizers = {name: arguments for config in parts for name, arguments in config.tokenizers.items()}
    torch.manual_seed(0)
    return AiTForDenseTokenGeneration(
        tiny_config(
            tasks={name: task | numbers[name] for name, task in tasks.items()},
            tokenizers=tokenizers,
            codebooks=[[name, arguments["num_vq_embeddings"]] for name, arguments in tokenizers.items()],
            num_task_ids=len(tasks),
            backbone_config=ONE_STAGE,
            parallel=parallel,
            **ONE_LAYER,
        )
    ).train()


def batches_of(task: str) -> list[dict]:
    """Two batches; of objects with other numbers of them."""
    images = torch.rand(2, 2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    if task in (DETECTION, INSTANCES):
        (some, none), two = object_labels(), torch.tensor([0, 1])
        one = {name: values[:1] for name, values in some.items()}
        labels = [[some | {"class_labels": two}, none], [one, some]]
    elif task == "depth":
        labels = [1 + images[0, :, 0], 2 + images[1, :, 0]]
    else:
        labels = [dense_labels(task), dense_labels(task).flip(-1 if task != "keypoint-detection" else 0)]
    return [{"pixel_values": pixels, "labels": of} for pixels, of in zip(images, labels)]


def step(model: nn.Module, task: str, batch: dict) -> list[torch.Tensor]:
    """Loss, and gradients of both ends of the model."""
    torch.manual_seed(1)
    loss = model(batches={task: batch}).loss
    ends = [model.model.encoder.backbone.embeddings.projection.weight, model.model.decoder.embed_positions.weight]
    return [loss, *torch.autograd.grad(loss, ends)]


@pytest.mark.parametrize("parallel", [False, True])
def test_every_task_trains_in_two_graphs_whatever_the_number_of_objects(parallel):
    model = every_task(parallel)
    names, tasks = set(model.state_dict()), list(model.config.tasks)
    assert len(tasks) == 7
    expected = {task: [step(model, task, batch) for batch in batches_of(task)] for task in tasks}
    torch.compiler.reset()
    counters.clear()
    compile_parts((model.get_encoder(), model.get_decoder()), TorchDynamoPlugin(backend="aot_eager"))
    for number, task in enumerate(tasks):
        first, second = batches_of(task)
        torch.testing.assert_close(step(model, task, first), expected[task][0], rtol=1e-4, atol=1e-5)
        with torch._dynamo.config.patch(error_on_recompile=True):
            torch.testing.assert_close(step(model, task, second), expected[task][1], rtol=1e-4, atol=1e-5)
        assert counters["stats"]["unique_graphs"] == (2 if number == 0 else 3)  # the second length is any length
    assert not counters["graph_break"]
    assert set(model.state_dict()) == names
    with uncompiled(), torch._dynamo.config.patch(error_on_recompile=True), torch.no_grad():
        model.eval().generate(pixel_values=batches_of("depth")[0]["pixel_values"], task="depth")


def test_what_is_compiled_and_who_says_so(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **arguments: compiled.append((type(module), arguments)))
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "AOT_EAGER")
    monkeypatch.setenv("ACCELERATE_DYNAMO_MODE", "reduce-overhead")
    AcceleratorState._reset_state(reset_partial_state=True)
    train_solver(solver_recipe(tmp_path / "launched", tokenizer, "train.max_steps=1"))
    arguments = {"backend": "aot_eager", "mode": "reduce-overhead", "fullgraph": True}
    assert compiled == [(AiTEncoder, arguments), (AiTDecoder, arguments)]
    compiled.clear()
    monkeypatch.delenv("ACCELERATE_DYNAMO_MODE")
    train_tokenizer(tokenizer_recipe(tmp_path / "recipe", "train.max_steps=1", "train.compile=eager"))
    assert [arguments for _, arguments in compiled] == [{"backend": "eager", "fullgraph": True}] * 2
    compiled.clear()
    monkeypatch.delenv("ACCELERATE_DYNAMO_BACKEND")
    train_tokenizer(tokenizer_recipe(tmp_path / "neither", "train.max_steps=1"))
    assert compiled == []


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["model.gradient_checkpointing=true", "train.mixed_precision=bf16"]])
@pytest.mark.parametrize("number, train", [(1, train_solver), (2, train_solver), (2, train_sharded)])
def test_compiled_runs_learn_the_same_and_resume(tmp_path, number, train, options):
    """One process, DDP, FSDP2."""
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    common = [*NO_CHANCE, *options, "train.log_every=1", "train.eval_every=2", "train.save_every=2"]
    plain = solver_recipe(tmp_path / "plain", tokenizer, *common)
    compiled = solver_recipe(tmp_path / "compiled", tokenizer, *common, "train.compile=aot_eager")
    run_in_processes(number, train, plain)
    for _ in range(2):
        run_in_processes(number, train, compiled)
        rows, expected = (
            without_measurements(json.loads((tmp_path / name / "history.json").read_text()))
            for name in ("compiled", "plain")
        )
        for row, other in zip(rows, expected, strict=True):
            assert row == pytest.approx(other, rel=1e-3 if options else 1e-4), row
        assert weights(tmp_path / "compiled").keys() == weights(tmp_path / "plain").keys()
        shutil.rmtree(tmp_path / "compiled/checkpoints/step-00000004")  # then goes on from step 2


@pytest.mark.slow
def test_compiled_tokenizers_learn_the_same(tmp_path):
    rows = [
        without_measurements(train_tokenizer(tokenizer_recipe(tmp_path / name, *override)))
        for name, override in [("plain", []), ("compiled", ["train.compile=aot_eager"])]
    ]
    for row, expected in zip(*rows, strict=True):
        assert row == pytest.approx(expected, rel=1e-4), row
