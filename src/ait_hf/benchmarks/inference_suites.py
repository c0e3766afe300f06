# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Suites of inference: each turns options into contestants."""

import copy
import tempfile
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torchao.quantization import Int8WeightOnlyConfig, quantize_
from transformers.modeling_outputs import BaseModelOutput

from ..inference.export import export, model_component
from ..inference.one_pass import AiTOnePass
from ..inference.runtimes import load_exported
from ..model.configuration_ait import AiTConfig
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.modeling_solver_ait import AiTDecoderLayer
from ..model.tokenization_vq import VQTokenizer
from ..tokens import AiTTokenProcessor, decode_answers, get_preset, parse_text
from .measuring import Suite
from .models import SMALL, SWINV2, backbones, depth_models, lower_solver, object_models, spread_weights, task_model


DEPTH, OBJECTS = "depth", "instance-segmentation"
KeyValue = tuple[torch.Tensor, torch.Tensor]


def shape_for(options: Namespace) -> dict[str, Any]:
    return SWINV2["b"] if options.full else SMALL


def images_for(options: Namespace, height: int, width: int) -> torch.Tensor:
    return torch.rand(options.batch_size, 3, height, width, device=options.device, dtype=options.dtype)


def placed(model: AiTForDenseTokenGeneration, options: Namespace) -> AiTForDenseTokenGeneration:
    return lower_solver(model, options.dtype).to(options.device)


def backbone(options: Namespace) -> Suite:
    """SwinV2 here, in transformers and in timm: the same sizes and windows, the forward pass."""
    size = options.size or (480 if options.full else 192)
    models, images = backbones(size, shape_for(options)), images_for(options, size, size)
    forwards = {
        name: getattr(model.eval().to(options.device, options.dtype), "forward_features", model)
        for name, model in models.items()
    }
    if options.compile:
        forwards["ait_hf, compiled"] = torch.compile(models["ait_hf"], fullgraph=True)
    contestants = {name: partial(forward, images) for name, forward in forwards.items()}
    parameters = sum(parameter.numel() for parameter in models["ait_hf"].parameters())
    return Suite(contestants, {"size": size, "parameters": parameters}, images=options.batch_size)


def decode(options: Namespace) -> Suite:
    """From an encoded image to a depth map by the published task-solver, against one step after another."""
    size = options.size or (480 if options.full else 192)
    generate, step_by_step = _solvers(options, DEPTH, size)
    contestants = {
        "step by step": partial(step_by_step, False),
        "step by step, parallel model": partial(step_by_step, True),
        "parallel, one pass": partial(generate, True),
        "autoregressive, soft": partial(generate, False, soft_solver=True),
        "autoregressive, hard": partial(generate, False, soft_solver=False),
    }
    if options.compile:
        static = {"cache_implementation": "static"}
        contestants["autoregressive, soft, static cache"] = partial(generate, False, soft_solver=True, **static)
    return Suite(contestants, {"size": size, "tokens": (size // 32) ** 2}, images=options.batch_size)


def objects(options: Namespace) -> Suite:
    """From an encoded image to boxes, classes and masks of objects, 21 tokens each."""
    size = options.size or (640 if options.full else 192)
    number = options.objects or (100 if options.full else 5)
    generate, step_by_step = _solvers(options, OBJECTS, size, num_objects=number)
    contestants = {"step by step": partial(step_by_step, False), "parallel": partial(generate, True)}
    contestants["autoregressive"] = partial(generate, False)
    settings = {"size": size, "objects": number, "tokens": 21 * number}
    return Suite(contestants, settings, images=options.batch_size)


def _solvers(options: Namespace, task: str, size: int, **sizes: int) -> tuple[Callable, Callable]:
    """From an encoded image to what a parallel model, or one that is not, makes of it: in `generate()`, and step by step."""
    models = {
        parallel: placed(task_model([task], size, SMALL, parallel=parallel, **sizes), options)
        for parallel in (True, False)
    }
    encoded = _encoded(options, (size // 32) ** 2)

    def generate(parallel: bool, **settings) -> Any:
        return models[parallel].generate(encoder_outputs=encoded, task=task, **settings)

    return generate, lambda parallel: solve_step_by_step(models[parallel], task, encoded.last_hidden_state)


def _encoded(options: Namespace, places: int) -> BaseModelOutput:
    """Random features of images; they are not encoded here."""
    shape = (options.batch_size, places, AiTConfig.d_model)
    return BaseModelOutput(last_hidden_state=torch.randn(shape, device=options.device, dtype=options.dtype))


def tokenizer(options: Namespace) -> Suite:
    """The published depth tokenizer: a map to codes and back."""
    size = options.size or 480
    model = VQTokenizer().eval().to(options.device)
    depth = torch.rand(options.batch_size, 1, size, size, device=options.device) * 10
    ids = model.tokenize(depth)
    probabilities = torch.rand(*ids.shape, model.config.num_vq_embeddings, device=options.device).softmax(-1)
    contestants = {
        "tokenize": partial(model.tokenize, depth),
        "detokenize ids": partial(model.detokenize, ids=ids),
        "detokenize soft tokens": partial(model.detokenize, probabilities=probabilities, temperature=0.8),
    }
    return Suite(contestants, {"size": size}, images=options.batch_size)


def tokens(options: Namespace) -> Suite:
    """PaliGemma's masks and MolmoAct 2's maps, from pixels to text and from text to pixels, of images of this size."""
    size = options.size or 480
    rng = np.random.default_rng(options.seed)
    centers, places = rng.uniform(0.3, 0.7, (options.batch_size, 2)) * size, np.mgrid[:size, :size]
    masks = [np.hypot(places[0] - y, places[1] - x) < size / 4 for y, x in centers]
    maps = list(rng.random((options.batch_size, size, size), dtype=np.float32))
    mask, depth = get_preset("paligemma-mask"), get_preset("molmoact2-depth")
    processors = [AiTTokenProcessor(convention=preset.convention) for preset in (mask, depth)]
    mask_tokenizer, depth_tokenizer = (
        VQTokenizer(**preset.tokenizer).eval().to(options.device) for preset in (mask, depth)
    )

    def encode_masks() -> list[str]:
        inputs = processors[0](masks)
        ids = mask_tokenizer.tokenize(inputs.pixel_values.to(options.device)).cpu()
        return [mask.token_format.to_text(*pair) for pair in zip(ids, inputs.locations)]

    def encode_maps() -> list[str]:
        ids = depth_tokenizer.tokenize(processors[1](maps).pixel_values.to(options.device)).cpu()
        return [depth.token_format.to_text(codes) for codes in ids]

    mask_texts, map_texts, sizes = encode_masks(), encode_maps(), [(size, size)] * options.batch_size

    def decode_maps() -> list[torch.Tensor]:
        ids = torch.stack([parse_text(text, depth.token_format)[0].ids for text in map_texts])
        return processors[1].post_process_maps(depth_tokenizer.detokenize(ids=ids.to(options.device)), sizes)

    decode_masks = partial(decode_answers, mask_texts, sizes, mask_tokenizer)
    contestants = {"masks to text": encode_masks, "text to masks": decode_masks}
    contestants |= {"maps to text": encode_maps, "text to maps": decode_maps}
    return Suite(contestants, {"size": size}, images=options.batch_size)


def end_to_end(options: Namespace) -> Suite:
    """
    Image to depth map: AiT-P, AiT, and AiT-P of stock parts with the loop of the released code; with `--full` also
    depth models of transformers at their standard sizes.
    """
    size = options.size or (480 if options.full else 192)
    make = partial(task_model, [DEPTH], size, shape_for(options))
    stock = placed(make(parallel=True, stock=True), options)
    models = {"AiT-P": make(parallel=True), "AiT": make(parallel=False)}
    images = images_for(options, size, size)
    contestants: dict[str, Any] = {"stock parts, step by step": partial(depth_step_by_step, stock, images)}
    for name, model in models.items():
        contestants[name] = partial(placed(model, options).generate, pixel_values=images, task=DEPTH)
    for name, (model, own_size) in depth_models().items() if options.full else ():
        model.to(options.device, options.dtype)
        contestants[f"{name} {own_size[0]}x{own_size[1]}"] = partial(model, images_for(options, *own_size))
    return Suite(contestants, {"size": size}, images=options.batch_size)


def end_to_end_objects(options: Namespace) -> Suite:
    """Image to objects with masks; with `--full` also models of transformers, at the same image size."""
    size = options.size or (640 if options.full else 192)
    number = options.objects or (100 if options.full else 5)
    images = images_for(options, size, size)
    contestants: dict[str, Any] = {}
    for name, parallel in (("AiT", False), ("AiT-P", True)):
        model = placed(task_model([OBJECTS], size, shape_for(options), parallel=parallel, num_objects=number), options)
        contestants[name] = partial(model.generate, pixel_values=images, task=OBJECTS)
    for name, model in object_models().items() if options.full else ():
        contestants[name] = partial(model.to(options.device, options.dtype), images)
    return Suite(contestants, {"size": size, "objects": number}, images=options.batch_size)


def precision(options: Namespace) -> Suite:
    """
    AiT-P in reduced precision: time, and the mean absolute difference of depths from those of float32, divided by the
    standard deviation of these. Weights of eight bits are torchao's.
    """
    size = options.size or (480 if options.full else 192)
    exact = depth_model(size, shape_for(options)).to(options.device)
    models = {"float32": exact}
    for dtype in (torch.bfloat16, torch.float16):
        models[str(dtype).removeprefix("torch.")] = lower_solver(copy.deepcopy(exact), dtype)
    models["int8 weights"] = copy.deepcopy(exact)
    # Of the solver's linear layers, but not those of positions' biases, whose weights are read without being called.
    is_called = lambda module, name: isinstance(module, torch.nn.Linear) and "position_bias" not in name  # noqa: E731
    quantize_(models["int8 weights"].model, Int8WeightOnlyConfig(), is_called)
    images = torch.rand(options.batch_size, 3, size, size, device=options.device)

    def predict(name: str) -> torch.Tensor:
        dtype = models[name].model.dtype
        return models[name].generate(pixel_values=images.to(dtype), task=DEPTH).predicted_depth.float()

    def error(name: str) -> dict[str, float]:
        expected = predict("float32")
        return {"relative_error": ((predict(name) - expected).abs().mean() / expected.std()).item()}

    contestants, details = ({name: partial(of, name) for name in models} for of in (predict, error))
    return Suite(contestants, {"size": size}, images=options.batch_size, details=details)


EXPORTS = {"ONNX Runtime": ("onnx", False), "ONNX Runtime, int8": ("onnx", True), "OpenVINO": ("openvino", False)}


def runtimes(options: Namespace) -> Suite:
    """
    AiT-P from image to depth in torch and in what `ait export` writes for, on one thread and on two: time, and the mean
    absolute difference of depths from those of torch, divided by the standard deviation of these.
    """
    size = options.size or (480 if options.full else 192)
    model = depth_model(size, shape_for(options))
    eager, images = AiTOnePass(model, DEPTH), images_for(options, size, size)
    components = {"model": model_component(model, DEPTH)}
    runs: dict[str, dict[int, Callable]] = {"eager": dict.fromkeys((1, 2), eager)}
    if options.compile:
        runs["compiled"] = dict.fromkeys((1, 2), torch.compile(eager, fullgraph=True))
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, (export_format, int8)) in enumerate(EXPORTS.items()):
            path = Path(folder, str(number))
            export(components, export_format, int8).save_pretrained(path)
            runs[name] = {threads: load_exported(path, threads) for threads in (1, 2)}

    def predict(name: str, threads: int) -> torch.Tensor:
        torch.set_num_threads(threads)
        return runs[name][threads](pixel_values=images)["predicted_depth"]

    def error(name: str) -> dict[str, float]:
        expected = predict("eager", 1)
        return {"relative_error": ((predict(name, 1) - expected).abs().mean() / expected.std()).item()}

    said = {1: "1 thread", 2: "2 threads"}
    contestants = {f"{name}, {said[count]}": partial(predict, name, count) for count in said for name in runs}
    details = {f"{name}, {said[1]}": partial(error, name) for name in runs}
    return Suite(contestants, {"size": size}, images=options.batch_size, details=details)


def depth_model(size: int, shape: dict[str, Any]) -> AiTForDenseTokenGeneration:
    """A parallel one with random weights whose depths depend on the image."""
    model = task_model([DEPTH], size, shape, parallel=True)
    spread_weights(model)
    model.tokenizers[DEPTH].decoder.conv_out.bias.data.fill_(3.0)  # metres; depths below 0 would all be clipped
    return model


def growth(options: Namespace) -> Suite:
    """How cost grows with the image, the tokens of a depth map, the objects and the batch."""
    contestants: dict[str, Any] = {}
    sizes, grids = ((320, 480, 640, 960), (10, 15, 30, 60)) if options.full else ((64, 128), (2, 4))
    counts, batches = ((10, 30, 100), (1, 4, 16)) if options.full else ((1, 2), (1, 2))
    encoder = backbones(480 if options.full else 64, shape_for(options))["ait_hf"].eval().to(options.device)
    batches_of_images = [(f"image {size}, backbone", 1, size) for size in sizes]
    batches_of_images += [(f"batch {number}, backbone {sizes[0]}", number, sizes[0]) for number in batches]
    for name, number, size in batches_of_images:
        contestants[name] = partial(encoder, torch.rand(number, 3, size, size, device=options.device))
    encoded = _encoded(Namespace(**vars(options) | {"batch_size": 1, "dtype": torch.float32}), 225)
    for grid in grids:
        model = task_model([DEPTH], 32 * grid, SMALL, parallel=True).to(options.device)
        contestants[f"tokens {grid**2}, parallel depth"] = partial(model.generate, encoder_outputs=encoded, task=DEPTH)
    model = task_model([OBJECTS], 64, SMALL, parallel=True, num_objects=counts[-1]).to(options.device)
    for number in counts:
        run = partial(model.generate, encoder_outputs=encoded, task=OBJECTS, num_objects=number)
        contestants[f"objects {number}, parallel"] = run
    images = dict.fromkeys(contestants, 1) | {name: number for name, number, _ in batches_of_images}
    return Suite(contestants, {"size": sizes[0]}, images=images)


class StepByStepDecoder:
    """
    The baseline of decoding a task: one token after another, as the released code does it, by an autoregressive or parallel
    model. Every step projects the image's memory to keys and values anew, concatenates the cache of earlier tokens and writes
    attention out. The numbers are those of `generate()`.
    """

    def __init__(self, model: AiTForDenseTokenGeneration, task: str):
        self.model, self.decoder, self.grammar = model, model.model.decoder, model.grammar(task)

    def __call__(self, memory: torch.Tensor) -> tuple[torch.LongTensor, torch.Tensor | None]:
        """Of the encoder's memory (batch, places, d_model): token ids (batch, length), chosen greedily, and soft tokens
        (batch, dense slots, codes) or `None`."""
        grammar, first = self.grammar, self.grammar.task.task_id * self.model.config.max_position_embeddings
        start = torch.full((len(memory), 1), grammar.start_token_id, device=memory.device)
        embedding = self.decoder._embed(start, None, 0)
        cache: list[KeyValue | None] = [None] * len(self.decoder.layers)
        tokens, soft_tokens = [], []
        for position in range(grammar.length):
            states = embedding + self.decoder.embed_positions.weight[first + position]
            for index, layer in enumerate(self.decoder.layers):
                states, cache[index] = self._layer(layer, states, memory, cache[index])
            allowed = grammar.slot_range(grammar.slot(position))
            logits = self.model.lm_head(self.decoder.norm(states))[:, 0, allowed.start : allowed.stop].float()
            tokens.append(logits.argmax(-1, keepdim=True) + allowed.start)
            following = tokens[-1]
            if grammar.is_dense(position):
                soft_tokens.append(logits.softmax(-1))
                if grammar.parallel:  # which reads the query of parallel models
                    following = torch.full_like(start, grammar.vocabulary.parallel_token_id)
            embedding = self.decoder._embed(following, None, 0)
            if grammar.is_dense(position) and not grammar.parallel:
                codes, table = grammar.code_range, self.decoder.embed_tokens.weight
                expected = soft_tokens[-1] @ table[codes.start : codes.stop].float()
                embedding = expected[:, None].to(table.dtype)
        return torch.cat(tokens, dim=1), torch.stack(soft_tokens, dim=1) if soft_tokens else None

    def _layer(
        self, layer: AiTDecoderLayer, states: torch.Tensor, memory: torch.Tensor, cache: KeyValue | None
    ) -> tuple[torch.Tensor, KeyValue]:
        attention, normed = layer.self_attn, layer.self_attn_norm(states)
        key, value = self._heads(attention.k_proj(normed)), self._heads(attention.v_proj(normed))
        if cache is not None:
            key, value = torch.cat([cache[0], key], dim=2), torch.cat([cache[1], value], dim=2)
        states = states + attention.out_proj(self._attend(attention.q_proj(normed), key, value))
        attention, normed_memory = layer.cross_attn, layer.cross_attn_norm(memory)
        query = attention.q_proj(layer.cross_attn_norm(states))
        keys, values = self._heads(attention.k_proj(normed_memory)), self._heads(attention.v_proj(normed_memory))
        states = states + attention.out_proj(self._attend(query, keys, values))
        return states + layer.mlp(layer.mlp_norm(states)), (key, value)

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (self.model.config.num_heads, -1)).transpose(1, 2)

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        query = self._heads(query)
        scores = query * query.shape[-1] ** -0.5 @ key.transpose(2, 3)
        return (F.softmax(scores, dim=-1) @ value).transpose(1, 2).flatten(2)


def solve_step_by_step(model: AiTForDenseTokenGeneration, task: str, memory: torch.Tensor) -> Any:
    """What the task's objective makes of [`StepByStepDecoder`]'s soft tokens."""
    _, soft_tokens = StepByStepDecoder(model, task)(memory)
    temperature = model.config.task(task).soft_temperature
    return model.objectives[task].decode(soft_tokens, model.task_tokenizer(task), temperature)


def depth_step_by_step(model: AiTForDenseTokenGeneration, pixel_values: torch.Tensor) -> torch.Tensor:
    """Image to depth map (batch, height, width), metres."""
    return solve_step_by_step(model, "depth", model.model.encoder(pixel_values=pixel_values).last_hidden_state)
