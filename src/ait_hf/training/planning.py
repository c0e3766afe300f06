# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Memory per GPU and days that a recipe takes on so many GPUs, before any of them is rented."""

import copy
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedConfig

from ..inference.loading import load_config
from ..model.configuration_ait import AiTConfig, AiTSwinv2Config
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.objectives_ait import Tokenizer
from ..model.tokenization_pose import PoseTokenizer
from ..recipes.batch_sizes import shared_out
from ..recipes.parsing import build, read_values
from ..tasks.base import Kind
from .lora import add_adapters
from .optimizer import build_optimizer
from .solver import SolverRecipe
from .solver_model import donated_backbone, named_backbone, solver_config, trained_tokenizer
from .step_cost import PRECISIONS, LinearCost, lowered, step_cost
from .tokenizer import TokenizerRecipe, build_tokenizer


@dataclass(frozen=True)
class GPU:
    """Memory in GB, and dense matrix peaks in TFLOP/s: bf16 and fp16 on tensor cores, float32 without them."""

    memory: float
    half: float
    single: float

    def peak(self, precision: str, tf32: bool) -> float:
        """TFLOP/s of a precision; that of TF32 is half of half precision's."""
        if precision != "no":
            return self.half
        return self.half / 2 if tf32 else self.single


# From the makers' data sheets (SXM boards where there are several), without sparsity.
GPUS = {
    "A100": GPU(80, 312, 19.5),
    "H100": GPU(80, 989, 67),
    "H200": GPU(141, 989, 67),
    "L40S": GPU(48, 362, 91.6),
}
LAUNCH_SECONDS = 8e-6  # that Python and torch take for an operation, whatever its size: what small batches wait for
RESERVED_BYTES = 1.0e9  # CUDA's context, and workspaces of its libraries
KNOWN_CLASSES = {"ade20k": 150}  # of data whose recipes need not say so
DECODED_OBJECTS = 10  # masks per image that the auxiliary loss decodes; COCO has 7 objects per image

_SWINV2_SIZES = {
    "tiny": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]},
    "small": {"embed_dim": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24]},
    "base": {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]},
    "large": {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48]},
}
_SWINV2_NAME = re.compile(r"swinv2[_-](tiny|small|base|large|[tsbl])(?![a-z])")


@dataclass(frozen=True)
class Plan:
    """
    Args:
        parameters, trainable_parameters (`int`): Of the model.
        samples_per_gpu (`dict[str, int]`): Of every source in one forward of each GPU.
        memory (`dict[str, float]`): GB per GPU, by what takes them; decimal, as GPUs are sold.
        fits (`bool`): Whether they are less than the GPU has.
        flops_per_step (`float`): On all GPUs.
        kernels_per_step (`float`): Operations that each GPU has to be told about.
        seconds_per_step, days (`float`): At the utilisation that is assumed, or as long as telling the GPU takes if that
            is longer; evaluations, communication and waiting for data are left out.
        utilisation (`float`): Share of the GPU's matrix peak.
    """

    parameters: int
    trainable_parameters: int
    samples_per_gpu: dict[str, int]
    memory: dict[str, float]
    fits: bool
    flops_per_step: float
    kernels_per_step: float
    seconds_per_step: float
    days: float
    utilisation: float


@dataclass(frozen=True)
class ModelCost:
    """
    What a recipe's model costs on one GPU, whatever its batch.

    Args:
        precision (`str`): It is counted in.
        parameters, trainable_parameters (`int`): Of the model.
        steps (`dict[str, LinearCost]`): Forward and backward of every source's batches.
    """

    precision: str
    parameters: int
    trainable_parameters: int
    steps: dict[str, LinearCost]


def count_costs(recipe: SolverRecipe | TokenizerRecipe, folder: Path, precision: str | None = None) -> ModelCost:
    """
    Goes through a training step without running it (that of a tokenizer, which is small, is run on the CPU).

    Args:
        folder: Where recipes of models that it starts from are, whose own folders need not exist.
        precision: By default the recipe's `train.mixed_precision`.

    Raises:
        ValueError: The model cannot be known without its files.
    """
    precision = precision or recipe.train.mixed_precision or "no"
    if isinstance(recipe, TokenizerRecipe):
        model = build_tokenizer(recipe).train()  # it has to see numbers to move its codes
        steps = {"samples": _tokenizer_cost(model, precision)}
    else:
        model = planned_model(recipe, folder)
        steps = {name: _task_cost(model, name, precision) for name in recipe.tasks}
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return ModelCost(precision, sum(parameter.numel() for parameter in model.parameters()), trainable, steps)


def make_plan(
    recipe: SolverRecipe | TokenizerRecipe,
    cost: ModelCost,
    *,
    num_gpus: int,
    gpu: GPU,
    utilisation: float,
    sharded: bool = False,
    steps: int | None = None,
) -> Plan:
    """
    Args:
        cost: Of the recipe's model, as [`count_costs`] has it.
        num_gpus, gpu, utilisation: How many, which, and the share of the matrix peak that a step reaches, 0..1.
        sharded: FSDP instead of DDP: weights, averaged ones, gradients and the optimizer's state are shared out.
        steps: By default the recipe's.

    Raises:
        ValueError: A step's samples cannot be shared out evenly.
    """
    streams, forwards = _streams(recipe), recipe.train.gradient_accumulation_steps
    samples = shared_out({name: size for name, (size, _) in streams.items()}, num_gpus, forwards, unit="GPUs")
    parameters, trainable, costs = cost.parameters, cost.trainable_parameters, cost.steps
    dynamic = max(task.fixed.bytes for task in costs.values())
    dynamic += sum(task.per_sample.bytes * samples[name] for name, task in costs.items())
    shards = num_gpus if sharded else 1
    memory = {
        "weights": 4.0 * parameters / shards,
        "optimizer": 8.0 * trainable / shards,
        "averaged weights": 0.0 if recipe.train.ema_decay is None else 4.0 * trainable / shards,
        "gradients": 4.0 * trainable / shards,  # DDP's buckets hold them
        "activations": dynamic,
        "reserved": RESERVED_BYTES,
    }
    memory = {name: size / 1e9 for name, size in memory.items()} | {"total": sum(memory.values()) / 1e9}
    shares = {name: forwards / every for name, (_, every) in streams.items()}
    flops = num_gpus * sum(share * costs[name].of(samples[name]).flops for name, share in shares.items())
    kernels = sum(share * costs[name].of(samples[name]).kernels for name, share in shares.items())
    peak = gpu.peak(cost.precision, recipe.train.tf32) * 1e12
    seconds = max(flops / (num_gpus * peak * utilisation), kernels * LAUNCH_SECONDS)
    return Plan(
        parameters=parameters,
        trainable_parameters=trainable,
        samples_per_gpu=samples,
        memory=memory,
        fits=memory["total"] <= gpu.memory,
        flops_per_step=flops,
        kernels_per_step=kernels,
        seconds_per_step=seconds,
        days=seconds * (steps or recipe.train.max_steps) / 86400,
        utilisation=utilisation,
    )


def read_recipe(values: dict[str, Any]) -> SolverRecipe | TokenizerRecipe:
    """The recipe of a task-solver or of a tokenizer, whichever it is; `ValueError` for what is neither."""
    if not {"tasks", "data"} & values.keys():
        raise ValueError(
            "The recipe has neither tasks, as that of a task-solver has, nor data, as that of a tokenizer: its keys are "
            f"{', '.join(map(str, values)) or 'none'}."
        )
    return build(SolverRecipe if "tasks" in values else TokenizerRecipe, values)


def planned_model(recipe: SolverRecipe, folder: Path) -> AiTForDenseTokenGeneration:
    """
    The model of a recipe on the meta device. What it starts from need not be there: a tokenizer or model is then that of
    the recipe in `folder` whose `output_dir` it is, a backbone a SwinV2 of the size that its name says.
    """
    options = recipe.model
    with torch.device("meta"):
        model = AiTForDenseTokenGeneration(_planned_config(recipe, folder))
        if options.lora is not None:
            add_adapters(model, options.lora, train_tokens=False)
    if options.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model.train()


def training_forward(
    model: AiTForDenseTokenGeneration, task: str, num_samples: int, autocast: AbstractContextManager
) -> torch.Tensor:
    """
    A loss whose computation costs what the task's does: images through the model, cross-entropy of all tokens, and the
    decoded output of the auxiliary loss. The backbone alone computes inside `autocast`.
    """
    grammar, device = model.grammar(task), model.device
    tokens = torch.zeros(num_samples, grammar.length, dtype=torch.long, device=device)
    images = torch.zeros(num_samples, 3, *grammar.task.image_size, device=device)
    task_ids = torch.full_like(tokens[:, 0], grammar.task.task_id)
    with _inside(autocast, model.model.encoder.backbone):
        logits = model(
            pixel_values=images, decoder_input_ids=tokens, task_ids=task_ids, use_cache=False
        ).logits.float()
    loss = F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    if grammar.task.auxiliary_loss is None:
        return loss
    codes, (rows, columns) = grammar.code_range, grammar.task.grid_size
    blocks = min(grammar.task.num_groups, DECODED_OBJECTS)
    probabilities = logits[:, : blocks * rows * columns, codes.start : codes.stop].softmax(-1)
    tokenizer = model.task_tokenizer(grammar.name)
    latents = probabilities.reshape(-1, rows, columns, len(codes)) @ tokenizer.quantizer.embedding.weight
    decoded = tokenizer.decode(latents.permute(0, 3, 1, 2), force_not_quantize=True).sample
    return loss + decoded.square().mean()


@contextmanager
def _inside(context: AbstractContextManager, module: nn.Module) -> Iterator[None]:
    """The module's forward passes are made inside another context."""
    forward = module.forward

    def forward_inside(*args, **kwargs):
        with context:
            return forward(*args, **kwargs)

    module.forward = forward_inside
    try:
        yield
    finally:
        del module.forward  # the class's shows again


def measure(recipe: SolverRecipe, folder: Path, precision: str | None = None) -> dict[str, float]:
    """
    Times training steps (forward, backward, optimiser) of made-up samples, of the first task, on this machine's GPU, or
    its CPU if there is none.

    Returns:
        `seconds_of_1`, `seconds_of_2` (medians of batches of 1 and 2 samples), `seconds_of_4` and what the first two
        predict for it, `predicted_of_4`; `tflops`, reached with 4, and the matrix product's `peak_tflops`.
    """
    if not isinstance(recipe, SolverRecipe):
        raise ValueError("Only recipes of task-solvers are measured; tokenizers are small.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = precision or recipe.train.mixed_precision or "no"
    dtype = PRECISIONS[precision]
    name = next(iter(recipe.tasks))
    planned = planned_model(recipe, folder)
    flops = _task_cost(planned, name, precision).of(4).flops
    model = AiTForDenseTokenGeneration(planned.config).train().to(device)
    optimizer = build_optimizer(model, recipe.optimizer)

    def step(num_samples: int) -> None:
        autocast = torch.autocast(device, dtype, enabled=precision != "no")
        training_forward(model, name, num_samples, autocast).backward()
        optimizer.step()
        optimizer.zero_grad()

    seconds = {count: _seconds(lambda count=count: step(count), device) for count in (1, 2, 4)}
    side = 8192 if device == "cuda" else 1024
    left, right = (torch.rand(side, side, device=device, dtype=dtype) for _ in range(2))
    return {
        **{f"seconds_of_{count}": value for count, value in seconds.items()},
        "predicted_of_4": 3 * seconds[2] - 2 * seconds[1],
        "tflops": flops / seconds[4] / 1e12,
        "peak_tflops": 2 * side**3 / _seconds(lambda: left @ right, device) / 1e12,
    }


def _seconds(run: Callable[[], Any], device: str, repeats: int = 5) -> float:
    """Median time of a call, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def _streams(recipe: SolverRecipe | TokenizerRecipe) -> dict[str, tuple[int, int]]:
    """Batch size of every source, and in which steps it takes part."""
    if isinstance(recipe, TokenizerRecipe):
        return {"samples": (recipe.data.batch_size, 1)}
    return {name: (task.data.batch_size, task.every) for name, task in recipe.tasks.items()}


def _tokenizer_cost(tokenizer: Tokenizer, precision: str) -> LinearCost:
    def forward(count: int) -> torch.Tensor:
        with lowered(precision):
            return tokenizer(_samples(tokenizer, count)).loss

    return LinearCost.from_two(*(step_cost(tokenizer, lambda n=n: forward(n)) for n in (1, 2)))


def _task_cost(model: AiTForDenseTokenGeneration, task: str, precision: str) -> LinearCost:
    one, two = (step_cost(model, lambda n=n: training_forward(model, task, n, lowered(precision))) for n in (1, 2))
    return LinearCost.from_two(one, two)


def _samples(tokenizer: Tokenizer, count: int) -> torch.Tensor:
    """Made-up training samples of a tokenizer."""
    config = tokenizer.config
    if isinstance(tokenizer, PoseTokenizer):
        return torch.rand(count, config.num_joints, 3)
    size = tokenizer.map_size
    if config.loss_type == "cross_entropy":
        return torch.zeros(count, *size, dtype=torch.long)
    return torch.rand(count, *([config.in_channels] if config.in_channels > 1 else []), *size)


def _planned_config(recipe: SolverRecipe, folder: Path) -> AiTConfig:
    options = recipe.model
    if options.pretrained is not None:
        return _config_of(options.pretrained, folder)
    tokenizers = {
        task.codebook: _planned_tokenizer(task, folder) for task in recipe.tasks.values() if task.codebook is not None
    }
    size = [max(sides) for sides in zip(*(task.data.image_size for task in recipe.tasks.values()))]
    if options.initialize_from is not None:
        backbone = donated_backbone(options, size, _config_of(options.initialize_from, folder))
    else:
        backbone = _planned_backbone(recipe, size)
    tasks = {name: _without_data(task, options.config.get("num_classes")) for name, task in recipe.tasks.items()}
    return solver_config(tasks, options, size, tokenizers, backbone)


def _planned_tokenizer(task: Kind, folder: Path) -> Tokenizer:
    if Path(task.tokenizer).is_dir():
        return trained_tokenizer(task)
    with torch.device("meta"):
        return build_tokenizer(_recipe_of(task.tokenizer, folder, TokenizerRecipe))


def _config_of(path: str, folder: Path) -> AiTConfig:
    if Path(path).is_dir():
        return load_config(path)
    return _planned_config(_recipe_of(path, folder, SolverRecipe), folder)


def _recipe_of(path: str, folder: Path, kind: type[SolverRecipe] | type[TokenizerRecipe]) -> Any:
    """The recipe that would make the folder `path`."""
    for file in sorted(folder.glob("*.yaml")):
        values = read_values(file)
        if values.get("output_dir") == path and ("tasks" in values) is (kind is SolverRecipe):
            return build(kind, values)
    raise ValueError(f"There is neither a folder {path} nor a recipe in {folder} whose output_dir it is.")


def _planned_backbone(recipe: SolverRecipe, size: list[int]) -> PreTrainedConfig:
    """That of the recipe; where its weights are not there, the SwinV2 that their name says."""
    name = recipe.model.backbone
    match = None if name is None or Path(name).is_dir() else _SWINV2_NAME.search(name)
    if match is None:
        return named_backbone(recipe.model, size)[0]
    kind = next(kind for kind in _SWINV2_SIZES if kind.startswith(match[1]))
    return AiTSwinv2Config(image_size=size, **_SWINV2_SIZES[kind], **recipe.model.backbone_config)


def _without_data(task: Kind, num_classes: int | None) -> Kind:
    """The task itself, or, where the files that name its classes are not there, with `num_classes` of them."""
    try:
        task.class_names()
    except (FileNotFoundError, NotADirectoryError):
        count = KNOWN_CLASSES.get(task.data.name) if num_classes is None else num_classes
        if count is None:
            raise
        task = copy.copy(task)
        task.class_names = lambda: [f"class {number}" for number in range(count)]
    return task
