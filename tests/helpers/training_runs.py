# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Tiny trainings on rooms of 32 x 32 pixels, for the tests of the training loop, in one process or several."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.multiprocessing as mp
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from repository import REPOSITORY, SCRIPTS
from safetensors.torch import load_file

from ait_hf.recipes.parsing import load_recipe
from ait_hf.recipes.streams import training_batches
from ait_hf.training.solver import SolverRecipe
from ait_hf.training.tokenizer import TokenizerRecipe, build_tokenizer


COMMON = [
    "evaluation.num_samples=6",
    "evaluation.batch_size=4",
    "train.num_workers=0",
    "train.log_every=2",
    "train.eval_every=null",
    "train.trackers=[]",
]
TOKENIZER = [
    "data.size=[32, 32]",
    "data.transform.crop_size=32",
    "data.batch_size=4",
    "model.config={downsample_ratio: 8, base_channels: 4, num_vq_embeddings: 16, vq_embed_dim: 8}",
]
SOLVER = [
    "tasks.depth.data.size=[32, 32]",
    "tasks.depth.data.transform.crop_size=32",
    "tasks.depth.data.batch_size=4",
    "model.backbone_config={embed_dim: 8, depths: [1, 1], num_heads: [1, 2], window_sizes: [4, 4], "
    "shifted_stages: [true, false], pretrained_window_sizes: [0, 0], drop_path_rate: 0.1}",
    "model.config={codebooks: [[depth, 16]], num_coordinate_bins: 0, num_classes: 0, d_model: 16, encoder_layers: 1, "
    "decoder_layers: 1, num_heads: 2, ffn_dim: 32, dropout: 0.1, drop_path_rate: 0.1, max_position_embeddings: 17}",
]
# No fewer than 16 channels: of 1x1 convolutions with a stride oneDNN's gradients write beyond their memory where channels are last
# and fewer than a vector's (uxlfoundation/oneDNN#6035), which ends a training of two threads.
TINY_RESNET = (
    "model.backbone_config={model_type: resnet, embedding_size: 16, hidden_sizes: [16, 32], depths: [1, 1], "
    "layer_type: basic, out_features: [stage2]}"
)
TINY_SOLVER = (
    "model.config={num_coordinate_bins: 32, d_model: 16, encoder_layers: 1, decoder_layers: 1, num_heads: 2, "
    "ffn_dim: 32, dropout: 0.1, drop_path_rate: 0.1, max_position_embeddings: 65}"
)


def tokenizer_recipe(folder: Path, *overrides: str) -> TokenizerRecipe:
    overrides = [*COMMON, *TOKENIZER, f"output_dir={folder}", "train.max_steps=4", *overrides]
    return load_recipe("demo_tokenizer", TokenizerRecipe, overrides)


def solver_recipe(folder: Path, tokenizer: Path | str, *overrides: str) -> SolverRecipe:
    """With dropout and stochastic depth."""
    overrides = [
        *COMMON,
        *SOLVER,
        f"output_dir={folder}",
        f"tasks.depth.tokenizer={tokenizer}",
        "train.max_steps=4",
        *overrides,
    ]
    return load_recipe("demo_ait", SolverRecipe, overrides)


def save_tokenizer(folder: Path) -> Path:
    torch.manual_seed(0)  # how far losses of solvers can fall depends on it
    build_tokenizer(tokenizer_recipe(folder)).save_pretrained(folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def assert_equal_weights(first: Path, second: Path) -> None:
    torch.testing.assert_close(weights(first), weights(second), rtol=0, atol=0)


def without_measurements(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """What of a history must be the same when a run is repeated."""
    measured = ("samples_per_second", "cpu_seconds", "peak_memory_gb")
    return [{key: value for key, value in row.items() if key not in measured} for row in history]


def without_order(row: dict[str, float]) -> dict[str, float]:
    """
    Metrics but those that sort pixels by their uncertainty: where sums are taken in another order, pixels of nearly the same
    uncertainty change places, and their errors differ by far more than rounding.
    """
    return {key: value for key, value in row.items() if not re.search("ause_|reliability/", key)}


def run_in_processes(number: int, function: Callable, *arguments) -> None:
    """
    `function(*arguments)` in processes that Accelerate takes for those of a launch on the CPU. They are forked: to import
    everything anew takes longer than these trainings.
    """
    context = start_processes(number, function, *arguments)
    while not context.join():
        pass


def start_processes(number: int, function: Callable, *arguments) -> mp.ProcessContext:
    """As [`run_in_processes`], without waiting for them."""
    arguments = (number, _free_port(), function, arguments)
    return mp.start_processes(_as_launched, arguments, number, join=False, start_method="fork")


def _as_launched(rank: int, number: int, port: int, function: Callable, arguments: tuple) -> None:
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
    }
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    os.environ |= {"OMP_NUM_THREADS": "1"}
    function(*arguments)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def run_processes(number: int, script: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--multi_gpu", "--num_processes", str(number), "--main_process_port", "0", "--dynamo_backend", "no"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(SCRIPTS / script), *arguments], env=environment, cwd=REPOSITORY, check=True)


def batches(stream, *, node: int = 0, num_nodes: int = 1, num_batches: int, done: int = 0, num_workers: int = 0):
    process = Accelerator()
    if num_nodes > 1:  # all that a stream asks of an accelerator
        process = SimpleNamespace(process_index=node, num_processes=num_nodes, device=torch.device("cpu"))
        stream = replace(stream, data=replace(stream.data, batch_size=num_nodes))  # one sample each
    options = {"num_batches": num_batches, "done": done, "num_workers": num_workers, "seed": 3}
    return list(training_batches(stream, process, **options))
