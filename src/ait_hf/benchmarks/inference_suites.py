# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Suites of inference: each turns options into contestants."""

import copy
from argparse import Namespace
from typing import Any

import torch
from torchao.quantization import Int8WeightOnlyConfig, quantize_
from transformers.modeling_outputs import BaseModelOutput

from ..model.configuration_ait import AiTConfig
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.tokenization_vq import VQTokenizer
from .measuring import Suite
from .models import (
    SMALL,
    SWINV2,
    backbones,
    library_depth_models,
    library_object_models,
    lower_solver,
    spread_weights,
    task_model,
)
from .step_by_step import StepByStepDecoder, depth_step_by_step


DEPTH, OBJECTS = "depth", "instance-segmentation"
D_MODEL = AiTConfig.d_model


def shape_for(options: Namespace) -> dict[str, Any]:
    """Of the backbone."""
    return SWINV2["b"] if options.full else SMALL


def images_for(options: Namespace, height: int, width: int) -> torch.Tensor:
    return torch.rand(options.batch_size, 3, height, width, device=options.device, dtype=options.dtype)


def placed(model: AiTForDenseTokenGeneration, options: Namespace) -> AiTForDenseTokenGeneration:
    return lower_solver(model, options.dtype).to(options.device)


def backbone(options: Namespace) -> Suite:
    """SwinV2 here, in transformers and in timm: the same sizes and windows, the forward pass."""
    size = options.size or (480 if options.full else 192)
    models = backbones(size, shape_for(options))
    images = images_for(options, size, size)
    contestants, forwards = {}, {name: getattr(model, "forward_features", model) for name, model in models.items()}
    for name, model in models.items():
        model.eval().to(options.device, options.dtype)
        contestants[name] = lambda name=name: forwards[name](images)
    if options.compile:
        compiled = torch.compile(models["ait_hf"], fullgraph=True)
        contestants["ait_hf, compiled"] = lambda: compiled(images)
    parameters = sum(parameter.numel() for parameter in models["ait_hf"].parameters())
    return Suite(contestants, {"size": size, "parameters": parameters}, images=dict.fromkeys(contestants, len(images)))


def decode(options: Namespace) -> Suite:
    """From an encoded image to a depth map by the published task-solver, against one step after another."""
    size = options.size or (480 if options.full else 192)
    models = {
        parallel: placed(task_model([DEPTH], size, SMALL, parallel=parallel), options) for parallel in (True, False)
    }
    encoded = _encoded(options, (size // 32) ** 2)

    def generate(parallel: bool, **settings):
        return models[parallel].generate(encoder_outputs=encoded, task=DEPTH, **settings)

    def step_by_step(parallel: bool):
        model = models[parallel]
        _, soft_tokens = StepByStepDecoder(model, DEPTH)(encoded.last_hidden_state)
        return model.objectives[DEPTH].decode(soft_tokens, model.task_tokenizer(DEPTH), 1.0)

    contestants = {
        "step by step": lambda: step_by_step(False),
        "step by step, parallel model": lambda: step_by_step(True),
        "parallel, one pass": lambda: generate(True),
        "autoregressive, soft": lambda: generate(False, soft_solver=True),
        "autoregressive, hard": lambda: generate(False, soft_solver=False),
    }
    if options.compile:
        static = {"cache_implementation": "static"}
        contestants["autoregressive, soft, static cache"] = lambda: generate(False, soft_solver=True, **static)
    settings = {"size": size, "tokens": (size // 32) ** 2}
    return Suite(contestants, settings, images=dict.fromkeys(contestants, options.batch_size))


def objects(options: Namespace) -> Suite:
    """From an encoded image to boxes, classes and masks of objects, 21 tokens each."""
    size = options.size or (640 if options.full else 192)
    number = options.objects or (100 if options.full else 5)
    models = {
        parallel: placed(task_model([OBJECTS], size, SMALL, parallel=parallel, num_objects=number), options)
        for parallel in (True, False)
    }
    encoded = _encoded(options, (size // 32) ** 2)

    def generate(parallel: bool):
        return models[parallel].generate(encoder_outputs=encoded, task=OBJECTS)

    def step_by_step():
        model = models[False]
        _, soft_tokens = StepByStepDecoder(model, OBJECTS)(encoded.last_hidden_state)
        return model.objectives[OBJECTS].decode(soft_tokens, model.task_tokenizer(OBJECTS), 1.0)

    contestants = {
        "step by step": step_by_step,
        "parallel": lambda: generate(True),
        "autoregressive": lambda: generate(False),
    }
    settings = {"size": size, "objects": number, "tokens": 21 * number}
    return Suite(contestants, settings, images=dict.fromkeys(contestants, options.batch_size))


def _encoded(options: Namespace, places: int) -> BaseModelOutput:
    """Random features of images; they are not encoded here."""
    memory = torch.randn(options.batch_size, places, D_MODEL, device=options.device, dtype=options.dtype)
    return BaseModelOutput(last_hidden_state=memory)


def tokenizer(options: Namespace) -> Suite:
    """The published depth tokenizer: a map to codes and back."""
    size = options.size or 480
    model = VQTokenizer().eval().to(options.device)
    depth = torch.rand(options.batch_size, 1, size, size, device=options.device) * 10
    ids = model.tokenize(depth)
    probabilities = torch.rand(*ids.shape, model.config.num_vq_embeddings, device=options.device).softmax(-1)
    contestants = {
        "tokenize": lambda: model.tokenize(depth),
        "detokenize ids": lambda: model.detokenize(ids=ids),
        "detokenize soft tokens": lambda: model.detokenize(probabilities=probabilities, temperature=0.8),
    }
    return Suite(contestants, {"size": size}, images=dict.fromkeys(contestants, options.batch_size))


def end_to_end(options: Namespace) -> Suite:
    """
    Image to depth map: AiT-P, AiT, and AiT-P of stock parts with the loop of the released code; with `--full` also
    depth models of transformers at their standard sizes.
    """
    size = options.size or (480 if options.full else 192)
    shape = shape_for(options)
    stock = task_model([DEPTH], size, shape, parallel=True, library_backbone=True, attn_implementation="eager")
    models = {
        "stock parts, step by step": stock,
        "AiT-P": task_model([DEPTH], size, shape, parallel=True),
        "AiT": task_model([DEPTH], size, shape, parallel=False),
    }
    images = images_for(options, size, size)
    stock_forward = placed(stock, options)
    contestants: dict[str, Any] = {"stock parts, step by step": lambda: depth_step_by_step(stock_forward, images)}
    for name in ("AiT-P", "AiT"):
        model = placed(models[name], options)
        contestants[name] = lambda model=model: model.generate(pixel_values=images, task=DEPTH)
    if options.full:
        for name, (model, shape) in library_depth_models().items():
            own_images = images_for(options, *shape)
            model.to(options.device, options.dtype)
            contestants[f"{name} {shape[0]}x{shape[1]}"] = lambda model=model, images=own_images: model(images)
    return Suite(contestants, {"size": size}, images=dict.fromkeys(contestants, options.batch_size))


def end_to_end_objects(options: Namespace) -> Suite:
    """Image to objects with masks; with `--full` also models of transformers, at the same image size."""
    size = options.size or (640 if options.full else 192)
    number = options.objects or (100 if options.full else 5)
    images = images_for(options, size, size)
    contestants: dict[str, Any] = {}
    for name, parallel in (("AiT", False), ("AiT-P", True)):
        model = placed(task_model([OBJECTS], size, shape_for(options), parallel=parallel, num_objects=number), options)
        contestants[name] = lambda model=model: model.generate(pixel_values=images, task=OBJECTS)
    if options.full:
        for name, model in library_object_models().items():
            model.to(options.device, options.dtype)
            contestants[name] = lambda model=model: model(images)
    return Suite(contestants, {"size": size, "objects": number}, images=dict.fromkeys(contestants, options.batch_size))


def precision(options: Namespace) -> Suite:
    """
    AiT-P in reduced precision: time, and the mean absolute difference of depths from those of float32, divided by the
    standard deviation of these. Weights of eight bits are torchao's.
    """
    size = options.size or (480 if options.full else 192)
    exact = task_model([DEPTH], size, shape_for(options), parallel=True).to(options.device)
    spread_weights(exact)
    exact.tokenizers[DEPTH].decoder.conv_out.bias.data.fill_(3.0)  # metres; depths below 0 would all be clipped
    models = {"float32": exact}
    for dtype in (torch.bfloat16, torch.float16):
        models[str(dtype).removeprefix("torch.")] = lower_solver(copy.deepcopy(exact), dtype)
    models["int8 weights"] = copy.deepcopy(exact)
    quantize_(models["int8 weights"].model, Int8WeightOnlyConfig())  # of the solver's linear layers
    images = torch.rand(options.batch_size, 3, size, size, device=options.device)

    def predict(name: str) -> torch.Tensor:
        dtype = models[name].model.dtype
        return models[name].generate(pixel_values=images.to(dtype), task=DEPTH).predicted_depth.float()

    def error(name: str) -> dict[str, float]:
        expected = predict("float32")
        return {"relative_error": ((predict(name) - expected).abs().mean() / expected.std()).item()}

    contestants = {name: lambda name=name: predict(name) for name in models}
    details = {name: lambda name=name: error(name) for name in models}
    return Suite(contestants, {"size": size}, images=dict.fromkeys(models, options.batch_size), details=details)


def growth(options: Namespace) -> Suite:
    """How cost grows with the image, the tokens of a depth map, the objects and the batch."""
    contestants: dict[str, Any] = {}
    images: dict[str, int] = {}

    def add(name: str, run, number: int = 1):
        contestants[name], images[name] = run, number

    sizes, grids = ((320, 480, 640, 960), (10, 15, 30, 60)) if options.full else ((64, 128), (2, 4))
    counts, batches = ((10, 30, 100), (1, 4, 16)) if options.full else ((1, 2), (1, 2))
    first = sizes[0]
    encoder = backbones(480 if options.full else 64, shape_for(options))["ait_hf"].eval().to(options.device)
    for size in sizes:
        pixels = torch.rand(1, 3, size, size, device=options.device)
        add(f"image {size}, backbone", lambda pixels=pixels: encoder(pixels))
    for batch_size in batches:
        pixels = torch.rand(batch_size, 3, first, first, device=options.device)
        add(f"batch {batch_size}, backbone {first}", lambda pixels=pixels: encoder(pixels), batch_size)
    options = Namespace(**vars(options) | {"batch_size": 1, "dtype": torch.float32})
    encoded = _encoded(options, 225)
    for grid in grids:
        model = task_model([DEPTH], 32 * grid, SMALL, parallel=True).to(options.device)
        run = lambda model=model: model.generate(encoder_outputs=encoded, task=DEPTH)  # noqa: E731
        add(f"tokens {grid**2}, parallel depth", run)
    model = task_model([OBJECTS], 64, SMALL, parallel=True, num_objects=counts[-1]).to(options.device)
    for number in counts:
        add(
            f"objects {number}, parallel",
            lambda number=number: model.generate(encoder_outputs=encoded, task=OBJECTS, num_objects=number),
        )
    return Suite(contestants, {"size": first}, images=images)
