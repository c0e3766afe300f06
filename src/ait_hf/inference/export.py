# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
A task of a parallel model, or a tokenizer, as graphs for other runtimes: ONNX, OpenVINO and `torch.export`, written by
transformers' own exporters. What was written is compared with the model before anybody gets it.
"""

import contextlib
import copy
import io
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.exporters import (
    DynamoConfig,
    DynamoExporter,
    ExportedModel,
    OnnxConfig,
    OnnxExporter,
    OnnxRuntimeDynamicConfig,
    OnnxRuntimeQuantizer,
    OpenVINOConfig,
    OpenVINOExporter,
)

from ..model.configuration_ait import AiTConfig
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.objectives_ait import Tokenizer
from ..model.tokenization_pose import PoseTokenizer
from .one_pass import AiTOnePass
from .runtimes import check_packages, load_exported


EXPORTERS = {
    "onnx": (OnnxExporter, OnnxConfig),
    "openvino": (OpenVINOExporter, OpenVINOConfig),
    "pt2": (DynamoExporter, DynamoConfig),
}
TRACED_BATCH = 2  # of one, a graph takes it that it is always one
CHECKED_BATCHES = (1, 3)
# Of what a runtime gives, largest difference allowed, by the range of the model's own output and by its largest number,
# to which float32 holds 7 digits; and where the model itself is that far from its own numbers in float64, a few times so far.
PARITY, ROUNDING, TIMES_OWN_ROUNDING = 1e-5, 1e-6, 4
INT8_PARITY = 0.1  # mean difference of eight bits, by the largest number; broken graphs are far beyond
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Component:
    """One graph to be: the module, which takes and gives tensors by name; random inputs of so many samples; the model that
    the graph stands for, and what this gives of them."""

    module: nn.Module
    inputs: Callable[[int], Tensors]
    model: nn.Module
    expected: Callable[[nn.Module, Tensors], Mapping[str, torch.Tensor]]


class Tokenize(nn.Module):
    """Samples of a tokenizer to `ids` `(batch, rows, columns)`."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, sample: torch.Tensor) -> Tensors:
        return {"ids": self.tokenizer.tokenize(sample, validate=False)}


class Detokenize(nn.Module):
    """`ids` `(batch, rows, columns)`, or `probabilities` with the codes behind them, to a tokenizer's `sample`."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, ids: torch.Tensor | None = None, probabilities: torch.Tensor | None = None) -> Tensors:
        return {"sample": self.tokenizer.detokenize(ids, probabilities, validate=False)}


def model_component(model: AiTForDenseTokenGeneration, task: str) -> Component:
    """The graph of a task: `pixel_values` `(batch, 3, height, width)` to what [`AiTOnePass`] gives; errors as of this."""
    size = model.config.task(task).image_size
    one_pass = AiTOnePass(model, task)

    def expected(model: AiTForDenseTokenGeneration, inputs: Tensors) -> Mapping[str, torch.Tensor]:
        return model.generate(**inputs, task=task)

    return Component(one_pass, lambda number: {"pixel_values": blotches(number, 3, size)}, model, expected)


def tokenizer_components(tokenizer: Tokenizer) -> dict[str, Component]:
    """The three graphs of a tokenizer: `tokenize`, from `sample` to `ids`; `detokenize_ids` and
    `detokenize_probabilities` (at temperature 1), from these to `sample`."""
    tokenize, detokenize, num_codes = Tokenize(tokenizer), Detokenize(tokenizer), tokenizer.config.num_vq_embeddings

    def ids(number: int) -> torch.Tensor:
        return tokenizer.tokenize(example_samples(tokenizer, number))

    def probabilities(number: int) -> Tensors:
        return {"probabilities": (3 * torch.randn(*ids(number).shape, num_codes)).softmax(-1)}

    def component(module: nn.Module, inputs: Callable[[int], Tensors]) -> Component:
        return Component(module, inputs, module, lambda model, inputs: model(**inputs))

    return {
        "tokenize": component(tokenize, lambda number: {"sample": example_samples(tokenizer, number)}),
        "detokenize_ids": component(detokenize, lambda number: {"ids": ids(number)}),
        "detokenize_probabilities": component(detokenize, probabilities),
    }


def blotches(number: int, channels: int, size: tuple[int, int]) -> torch.Tensor:
    """Smooth random images `(number, channels, *size)`, 0..1: on noise, networks see the same everywhere."""
    return F.interpolate(torch.rand(number, channels, 5, 5), list(size), mode="bilinear")


def example_samples(tokenizer: Tokenizer, number: int) -> torch.Tensor:
    """Random samples as a tokenizer takes them."""
    config = tokenizer.config
    if isinstance(tokenizer, PoseTokenizer):
        return torch.rand(number, config.num_joints, 3) * min(tokenizer.crop_size)
    maps = blotches(number, config.in_channels, tokenizer.map_size)
    if config.loss_type == "cross_entropy":
        return maps.argmax(1)
    lowest, highest = config.value_range or (0.5, 10.0)
    return lowest + (highest - lowest) * maps


@torch.no_grad()
def export(components: Mapping[str, Component], export_format: str, int8: bool = False) -> ExportedModel:
    """
    Traces components to graphs that take any batch size.

    Args:
        export_format (`str`): One of [`EXPORTERS`].
        int8 (`bool`): Weights and products of ONNX in eight bits, with the range of every input found as it comes.

    Raises:
        ImportError: A package of the format is missing.
        ValueError: `int8` of another format.
    """
    if int8 and export_format != "onnx":
        raise ValueError(f"Eight bits are those of ONNX Runtime: the format {export_format} has none here.")
    check_packages(export_format)
    exporter, config = EXPORTERS[export_format]
    settings = {"quantizer": OnnxRuntimeQuantizer(OnnxRuntimeDynamicConfig())} if int8 else {}
    exported = {}
    with _quietly():
        for name, component in components.items():
            inputs = component.inputs(TRACED_BATCH)
            shapes = {key: {0: torch.export.Dim("batch")} for key in inputs}
            traced = exporter().export(component.module, inputs, config(dynamic_shapes=shapes, **settings))
            exported[name] = traced.components["model"]
            if export_format == "onnx":
                _forget_sources(traced.program)
    return ExportedModel(exported, exporter.export_format)


def _forget_sources(program: Any) -> None:
    """Of every operation, ONNX has the lines of the files on this machine that it came from, more than the graph itself."""
    for node in program.graph.all_nodes():
        node.metadata_props.clear()


@torch.no_grad()
def check_parity(components: Mapping[str, Component], folder: Path, int8: bool = False) -> float:
    """
    Runs the graphs of a folder, as they will be run, on a few random batches.

    Returns:
        `float`: The largest difference of a number from the model's own, divided by the range of that output; of eight
        bits, the largest mean difference, divided by the largest number.

    Raises:
        ValueError: An output differs by more than rounding (of eight bits, by more than a tenth), or an id at all.
    """
    exported, worst = load_exported(folder, trust_remote_code=True), 0.0
    for name, component in components.items():
        for number in CHECKED_BATCHES:
            inputs = component.inputs(number)
            expected = component.expected(component.model, inputs)
            for output, given in exported.runners[name](**inputs).items():
                difference, allowed = _difference(given, expected[output], int8)
                if difference > allowed and not int8 and given.is_floating_point():
                    exact = _in_float64(component, inputs, output).float()
                    allowed = max(allowed, TIMES_OWN_ROUNDING * _difference(exact, expected[output], int8)[0])
                if not difference <= allowed:
                    raise ValueError(
                        f"The exported graph does not give what the model gives: {output} of a batch of {number} differs by "
                        f"{difference:.1e}, of which {allowed:.1e} would be rounding."
                    )
                worst = max(worst, difference)
    return worst


def _in_float64(component: Component, inputs: Tensors, output: str) -> torch.Tensor:
    """An output of the model, computed with twice the digits."""
    doubled = {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
    return component.expected(copy.deepcopy(component.model).double(), doubled)[output]


def _difference(given: torch.Tensor, expected: torch.Tensor, int8: bool) -> tuple[float, float]:
    """Of an output from the model's own: how much, and how much is allowed."""
    if given.shape != expected.shape or given.dtype != expected.dtype:
        raise ValueError(f"An output is {tuple(given.shape)} {given.dtype}, not {tuple(expected.shape)}.")
    if not expected.is_floating_point():
        return (given != expected).float().mean().item(), 0.0
    differences, largest = (given - expected).abs(), expected.abs().max().item()
    if int8:
        return differences.mean().item() / (largest or 1.0), INT8_PARITY
    extent = (expected.max() - expected.min()).item() or largest or 1.0
    return differences.max().item() / extent, PARITY + ROUNDING * largest / extent


def task_config(model: AiTForDenseTokenGeneration, task: str) -> AiTConfig:
    """The configuration of a model as if it had no other task and no code of its own, for the folder of an export."""
    config = copy.deepcopy(model.config)
    config.tasks = {task: config.tasks[task]}
    vars(config).pop("auto_map", None)
    return config


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """torch prints every step of a conversion, and warns of what its exporters cannot know."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
