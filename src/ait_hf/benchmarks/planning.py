# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Memory per GPU and days that a recipe takes on so many GPUs, before any of them is rented. A step's cost is counted and not run,
on torch's meta device, whose tensors have shapes and no numbers.
"""

import re
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from ait_hf_cli.plan import GPU
from ait_hf_cli.recipes import shipped_recipes

from ..inference.loading import load_config
from ..model.configuration_ait import AiTConfig, AiTSwinv2Config
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.objectives_ait import Tokenizer
from ..recipes.parsing import build, read_values
from ..recipes.streams import shared_out
from ..tasks.base import Kind
from ..training.lora import add_adapters
from ..training.solver import AnyRecipe, SolverRecipe
from ..training.solver_model import donated_backbone, largest_size, named_backbone, solver_config, trained_tokenizer
from ..training.tokenizer import SAMPLES, TokenizerRecipe, build_tokenizer
from .measuring import Suite, run_suite
from .models import SWINV2, TrainingStep, random_draft


LAUNCH_SECONDS = 8e-6  # that Python and torch take for an operation, whatever its size: what small batches wait for
RESERVED_BYTES = 1.0e9  # CUDA's context, and workspaces of its libraries
KNOWN_CLASSES = {"ade20k": 150}  # of data whose recipes need not say so
SWINV2_NAME = re.compile(r"swinv2[_-](tiny|small|base|large|[tsbl])(?![a-z])")
PRECISIONS = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# The functions among CUDA autocast's lists that our models and the library's backbones call.
_LOWERED = {F.linear, F.conv2d, F.conv_transpose2d, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__}
_LOWERED |= {torch.bmm, torch.Tensor.bmm, torch.baddbmm, torch.addmm}
_RAISED = {F.layer_norm, F.group_norm, F.softmax, torch.softmax, torch.Tensor.softmax, F.cross_entropy, F.mse_loss}


class StepCost(NamedTuple):
    """Of forward and backward of one batch."""

    flops: int  # a multiplication and an addition are two
    bytes: int  # most that activations and temporary tensors, but not gradients of parameters, take at one time
    kernels: int  # operations that write a tensor, each of which a GPU has to be told about


@dataclass(frozen=True)
class Plan:
    """What a recipe takes. Evaluations, communication and waiting for data are left out of its time."""

    parameters: int
    trainable_parameters: int
    samples_per_gpu: dict[str, int]  # of every source in one forward of each GPU
    memory: dict[str, float]  # GB per GPU, by what takes them; decimal, as GPUs are sold
    fits: bool
    flops_per_step: float  # on all GPUs
    kernels_per_step: float  # operations that each GPU has to be told about
    seconds_per_step: float  # at this utilisation, or as long as telling the GPU takes if that is longer
    days: float
    utilisation: float  # share of the GPU's matrix peak, 0..1


def make_plan(
    recipe: AnyRecipe, folder: Path, *, num_gpus: int, gpu: GPU, utilisation: float, sharded: bool = False
) -> Plan:
    """
    Args:
        folder: Where recipes of models that it starts from are, whose own folders need not exist.
        num_gpus, gpu, utilisation: How many, which, and the share of the matrix peak that a step reaches, 0..1.
        sharded: FSDP instead of DDP: weights, averaged ones, gradients and the optimizer's state are shared out.

    Raises:
        ValueError: A step's samples cannot be shared out evenly, or the model cannot be known without its files.
    """
    train, precision = recipe.train, recipe.train.mixed_precision or "no"
    is_solver, forwards = isinstance(recipe, SolverRecipe), train.gradient_accumulation_steps
    shares = {name: forwards / task.every for name, task in recipe.tasks.items()} if is_solver else {SAMPLES: forwards}
    sizes = {name: (recipe.tasks[name] if is_solver else recipe).data.batch_size for name in shares}
    samples = shared_out(sizes, num_gpus, forwards, unit="GPUs")
    model = planned_model(recipe, folder)
    costs = {name: count_cost(recipe, model, {name: size}) for name, size in samples.items()}
    whole = count_cost(recipe, model, samples) if len(samples) > 1 else costs[next(iter(samples))]
    flops = sum(shares[name] * cost.flops for name, cost in costs.items())
    kernels = sum(shares[name] * cost.kernels for name, cost in costs.items())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    per_gpu = 4.0 / (num_gpus if sharded else 1)  # bytes of a float32
    memory = {
        "weights": per_gpu * parameters,
        "optimizer": 2 * per_gpu * trainable,
        "averaged weights": 0.0 if train.ema_decay is None else per_gpu * trainable,
        "gradients": per_gpu * trainable,  # DDP's buckets hold them
        "activations": whole.bytes,
        "reserved": RESERVED_BYTES,
    }
    memory = {name: size / 1e9 for name, size in memory.items()} | {"total": sum(memory.values()) / 1e9}
    seconds = max(flops / (gpu.peak(precision, train.tf32) * 1e12 * utilisation), kernels * LAUNCH_SECONDS)
    fits, days = memory["total"] <= gpu.memory, seconds * train.max_steps / 86400
    work = (num_gpus * flops, kernels, seconds, days)
    return Plan(parameters, trainable, samples, memory, fits, *work, utilisation)


def count_cost(recipe: AnyRecipe, model: nn.Module, sizes: Mapping[str, int]) -> StepCost:
    """Of a forward and a backward pass of the recipe's [`planned_model`] on so many made-up samples of each source."""
    precision = recipe.train.mixed_precision or "no"
    if isinstance(recipe, TokenizerRecipe):
        sample = recipe.kind.blank_sample(recipe.data).to("meta")
        forward = lambda: model(torch.cat([sample] * sizes[SAMPLES]), validate=False).loss  # noqa: E731
        return count_step(model, forward, precision, model)
    shapes = {name: (size, 3, *model.config.task(name).image_size) for name, size in sizes.items()}
    drafts = {name: random_draft(model, name, size) for name, size in sizes.items()}

    def loss() -> torch.Tensor:
        images = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        return model(batches={name: {"pixel_values": images[name], "labels": drafts[name]} for name in sizes}).loss

    return count_step(model, loss, precision, model.model.encoder.backbone)


def planned_model(recipe: AnyRecipe, folder: Path) -> nn.Module:
    """
    The model of a recipe on the meta device. What it starts from need not be there: a tokenizer or model is then that of the
    recipe, in `folder` or of the package, whose `output_dir` it is, a backbone a SwinV2 of the size that its name says.
    """
    with torch.device("meta"):
        if isinstance(recipe, TokenizerRecipe):
            return build_tokenizer(recipe).to("meta").train()
        model = AiTForDenseTokenGeneration(_config(recipe, folder))
        if recipe.model.lora is not None:
            add_adapters(model, recipe.model.lora, train_tokens=False)
    if recipe.model.gradient_checkpointing:
        model.activation_checkpointing_enable()
    return model.train()


def measure(recipe: SolverRecipe, folder: Path) -> dict[str, float]:
    """Training steps of the first task on four made-up samples, on this machine's GPU or CPU; see [`summarize`]."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = AiTForDenseTokenGeneration(planned_model(recipe, folder).config).train().to(device)
    dtype = PRECISIONS[recipe.train.mixed_precision or "no"]
    suite = Suite({"step": TrainingStep(model, next(iter(recipe.tasks)), 4, dtype)}, {}, learns=True)
    measured = run_suite(suite, repeats=5, warmup=1, device=device, dtype=dtype)["contestants"]["step"]
    return {name: measured[name] for name in ("median_ms", "gflops", "share_of_peak", "peak_memory_mb")}


def _config(recipe: SolverRecipe, folder: Path) -> AiTConfig:
    options, size = recipe.model, largest_size(recipe.tasks)
    if options.pretrained is not None:
        return _config_at(options.pretrained, folder)
    with_codebook = [task for task in recipe.tasks.values() if task.codebook is not None]
    tokenizers = {task.codebook: _tokenizer(task, folder) for task in with_codebook}
    is_name = options.backbone is not None and not Path(options.backbone).is_dir()
    name = SWINV2_NAME.search(options.backbone) if is_name else None
    if options.initialize_from is not None:
        backbone = donated_backbone(options, size, _config_at(options.initialize_from, folder))
    elif name is not None:
        backbone = AiTSwinv2Config(image_size=size, **SWINV2[name[1][0]], **options.backbone_config)
    else:
        backbone = named_backbone(options, size)[0]
    for task in recipe.tasks.values():
        try:
            task.data.class_names()
        except (FileNotFoundError, NotADirectoryError):
            # The files that name its classes are not there: it has so many without names.
            count = options.config.get("num_classes", KNOWN_CLASSES.get(task.data.name))
            if count is None:
                raise
            task.data.class_names = lambda count=count: [f"class {number}" for number in range(count)]
    return solver_config(recipe.tasks, options, size, tokenizers, backbone)


def _tokenizer(task: Kind, folder: Path) -> Tokenizer:
    if Path(task.tokenizer).is_dir():
        return trained_tokenizer(task)
    with torch.device("meta"):
        return build_tokenizer(_recipe_of(task.tokenizer, folder, TokenizerRecipe))


def _config_at(path: str, folder: Path) -> AiTConfig:
    return load_config(path) if Path(path).is_dir() else _config(_recipe_of(path, folder, SolverRecipe), folder)


def _recipe_of(path: str, folder: Path, kind: type[AnyRecipe]) -> Any:
    """The recipe that would make the folder `path`."""
    for file in (*sorted(folder.glob("*.yaml")), *shipped_recipes().values()):
        values = read_values(file)
        if values.get("output_dir") == path and ("tasks" in values) is (kind is SolverRecipe):
            return build(kind, values)
    raise ValueError(
        f"There is neither a folder {path} nor a recipe in {folder}, or of the package, whose output_dir it is."
    )


def count_step(model: nn.Module, loss: Callable[[], torch.Tensor], precision: str, lowered: nn.Module) -> StepCost:
    """Of a model, which is left with gradients, its forward pass, and what of it is in autocast of a precision: `"no"`,
    `"fp16"` or `"bf16"`."""
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    gpu, hooks = _LikeAGPU(PRECISIONS[precision], lowered), []
    for module in model.modules():  # all of them, as checkpointed ones run by themselves in the backward pass
        hooks.append(module.register_forward_pre_hook(gpu.enter))
        hooks.append(module.register_forward_hook(gpu.leave, always_call=True))
    with FlopCounterMode(display=False) as flops, _Memory() as memory:
        loss().backward()
    for hook in hooks:
        hook.remove()
    return StepCost(flops.get_total_flops(), memory.peak, memory.kernels)


class _Memory(TorchDispatchMode):
    """The bytes of tensors that are made inside and live at one time, and what makes them or writes into others."""

    def __init__(self):
        super().__init__()
        self.living = self.peak = self.kernels = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = {leaf.untyped_storage()._cdata for leaf in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        self.kernels += not func.is_view
        for storage in map(torch.Tensor.untyped_storage, _tensors(result)):
            if storage._cdata not in known:
                known.add(storage._cdata)
                self._add(storage.nbytes())
                weakref.finalize(storage, self._add, -storage.nbytes())
        return result

    def _add(self, size: int) -> None:
        self.living += size
        self.peak = max(self.peak, self.living)


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class _LikeAGPU(TorchFunctionMode):
    """
    Inside of a model's modules: attention by the kernel that a GPU takes, which torch writes out without one, and, inside of
    `lowered`, autocast, which does not know the meta device.
    """

    def __init__(self, dtype: torch.dtype, lowered: nn.Module):
        super().__init__()
        self.dtype, self.lowered = dtype, set(lowered.modules())
        self.inside: list[nn.Module] = []

    def enter(self, module: nn.Module, _) -> None:
        if not self.inside:
            self.__enter__()
        self.inside.append(module)

    def leave(self, *_) -> None:
        self.inside.pop()
        if not self.inside:
            self.__exit__(None, None, None)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention:
            return _fused_attention(*args, **(kwargs or {}))
        dtype = self.dtype if func in _LOWERED else torch.float32 if func in _RAISED else None
        if dtype is not None and self.inside[-1] in self.lowered:
            cast = lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor  # noqa: E731
            args, kwargs = tree_map_only(torch.Tensor, cast, (args, kwargs))
        return func(*args, **(kwargs or {}))


def _fused_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **kwargs):
    query, key = query.to(value.dtype), key.to(value.dtype)
    if attn_mask is not None:
        attn_mask = attn_mask.to(value.dtype).expand(*query.shape[:3], key.shape[2])
    attend = torch.ops.aten._scaled_dot_product_efficient_attention
    return attend(query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale)[0]
