# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
What only a GPU can tell, in parts of a minute or less: see `scripts/gpu_check.py`. Everything is generated: random weights,
images and annotations. A part gives a dictionary for JSON and says after each measurement what it has (`report`).
"""

import statistics
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import TorchDynamoPlugin
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..training.processes import compile_parts
from .measuring import matrix_peak, release_memory, synchronize, timed
from .models import ALL_TASKS, SMALL, SWINV2, TrainingStep, lower_solver, spread_weights, task_model


Report = Callable[[str, Any], None]
TINY_SIDE = 64  # of images, in pixels
TINY_SHAPE = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
TINY_SOLVER = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "num_heads": 2, "ffn_dim": 32}
TOO_LATE = "not measured: the time was up"
BACKENDS = ("flash", "cudnn", "efficient", "math")


@dataclass
class Settings:
    device: torch.device  # a GPU, or the CPU, where what GPUs alone have is left out
    tiny: bool = False  # small models and images, to try the parts themselves
    seconds: float = 300.0  # after so many, what has not begun is left out
    rounds: int = 5  # of which times are medians
    start: float = field(default_factory=time.monotonic)
    dtype = torch.bfloat16

    @property
    def is_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def is_late(self) -> bool:
        return time.monotonic() - self.start > self.seconds

    def model(self, tasks: tuple[str, ...], size: int, shape: dict, parallel: bool) -> AiTForDenseTokenGeneration:
        """With outputs that depend on the image, the same at every call."""
        torch.manual_seed(0)
        sizes = {}
        if self.tiny:
            size, shape, sizes = TINY_SIDE, TINY_SHAPE, {"num_objects": 8, "num_groups": 3, **TINY_SOLVER}
        model = task_model(tasks, size, shape, parallel=parallel, **sizes)
        spread_weights(model)
        return model.to(self.device)

    def images(self, count: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        """For models of depth."""
        torch.manual_seed(1)
        side = TINY_SIDE if self.tiny else 480
        return torch.rand(count, 3, side, side).to(self.device, dtype)

    def step(self, model: nn.Module, task: str, batch_size: int, wrapped: nn.Module | None = None) -> TrainingStep:
        """On the same samples at every call."""
        torch.manual_seed(0)
        return TrainingStep(model.train(), task, batch_size, self.dtype, wrapped)

    def seconds_of(self, run: Callable[[], Any]) -> float:
        """Median, after two calls that do not count."""
        for _ in range(2):
            run()
        return statistics.median(timed(run, self.device)[0] for _ in range(self.rounds))


def waits(settings: Settings, report: Report) -> None:
    """A training step of every task, in which torch raises where the host waits for the GPU."""
    model = settings.model(ALL_TASKS, 256, SMALL, parallel=False)
    for task in ALL_TASKS:
        step, found = settings.step(model, task, 2), {"waits": False}
        step()  # what is made once, as the optimiser's state, may wait
        synchronize(settings.device)
        if settings.is_gpu:
            torch.cuda.set_sync_debug_mode("error")
        try:
            step()
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            calls = traceback.extract_tb(error.__traceback__)
            frames = [f"{call.filename}:{call.lineno}" for call in calls if "ait_hf" in call.filename]
            found = {"waits": True, "where": frames[-1:], "message": str(error)}
        finally:
            if settings.is_gpu:
                torch.cuda.set_sync_debug_mode("default")
        report(task, found)


class AttentionBackends(TorchDispatchMode):
    """By the name of each module inside which attention ran: which of torch's kernels did it, and how often."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.found, self.inside, self.hooks = defaultdict(Counter), [], []
        for name, module in model.named_modules():
            if "Attention" in type(module).__name__ or "DecoderLayer" in type(module).__name__:
                self.hooks.append(module.register_forward_pre_hook(lambda *_, name=name: self.inside.append(name)))
                self.hooks.append(module.register_forward_hook(lambda *_: self.inside.pop() and None))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name.startswith("_scaled_dot_product") and "backward" not in name and self.inside:
            self.found[self.inside[-1]][next((kernel for kernel in BACKENDS if kernel in name), name)] += 1
        return func(*args, **(kwargs or {}))

    def __exit__(self, *exception) -> None:
        for hook in self.hooks:
            hook.remove()
        super().__exit__(*exception)


def attention(settings: Settings, report: Report) -> None:
    """
    Which kernel attends in every block, in training (autocast) and in decoding (bf16 weights). What is in none of the
    lists is written out: by torch where it has no kernel for the case, or by our own function on a CPU.
    """
    for parallel in (True, False):
        name = "AiT-P-B" if parallel else "AiT-B"
        model = settings.model(("depth",), 480, SWINV2["b"], parallel=parallel)
        step = settings.step(model, "depth", 1)
        with AttentionBackends(model) as backends:
            step.forward()
        report(f"{name}, training", backends.found)
        lower_solver(model, settings.dtype)
        images = settings.images(1)
        with AttentionBackends(model) as backends:
            model.generate(pixel_values=images, task="depth", max_new_tokens=None if parallel else 4)
        report(f"{name}, bfloat16", backends.found)


def inference(settings: Settings, report: Report) -> None:
    """Image to depth: time of one, images a second of many, in bfloat16, and how far that is from float32."""
    many = 2 if settings.tiny else 16
    for parallel, size in product((True, False), "bl"):
        name = f"AiT{'-P' * parallel}-{size.upper()}"
        if settings.is_late:
            report(name, TOO_LATE)
            continue
        model = settings.model(("depth",), 480, SWINV2[size], parallel)

        @torch.inference_mode()
        def run(images: torch.Tensor, model: AiTForDenseTokenGeneration = model) -> torch.Tensor:
            # Not `predicted_depth`, whose lower bound may hide everything: these weights are random.
            return model.detokenize(model.generate(pixel_values=images, task="depth"))

        images = settings.images(many, torch.float32)
        exact = run(images[:1])
        lower_solver(model, settings.dtype)
        images = images.to(settings.dtype)
        found = {"error_in_standard_deviations": ((run(images[:1]).float() - exact).abs().mean() / exact.std()).item()}
        found["latency_ms"] = 1000 * settings.seconds_of(partial(run, images[:1]))
        found |= {"images_per_second": many / settings.seconds_of(partial(run, images)), "batch": many}
        report(name, found)
        del model, run
        release_memory()


# Published ones: of every task the side of the images, whether it is parallel, and samples.
STEPS = {"depth": (480, True, 8), "object-detection": (640, False, 8), "instance-segmentation": (640, False, 4)}


def training(settings: Settings, report: Report) -> None:
    """
    Images a second and share of the matrix peak of the published steps with SwinV2-B in bf16 autocast, with encoder and
    decoder as they are and compiled (the first steps, which compile, are timed by themselves).
    """
    peak = matrix_peak(settings.device, settings.dtype)
    report("matrix_peak_gflops", peak)
    for compiled, (task, (size, parallel, samples)) in product((False, True), STEPS.items()):
        key = f"{task}, {'compiled' if compiled else 'eager'}"  # compiling takes longest: it comes last
        if settings.is_late:
            report(key, TOO_LATE)
            continue
        samples = 2 if settings.tiny else samples
        model = settings.model((task,), size, SWINV2["b"], parallel)
        step = settings.step(model, task, samples)
        with FlopCounterMode(display=False) as counter:
            step.forward().backward()
        flops = counter.get_total_flops()
        if compiled:  # as the training loop does
            plugin = TorchDynamoPlugin(backend="inductor" if settings.is_gpu else "aot_eager")
            compile_parts((model.model.encoder, model.model.decoder), plugin)
        first = timed(step, settings.device)[0]
        seconds = settings.seconds_of(step)
        found = {"images_per_second": samples / seconds, "samples": samples, "first_step_s": first}
        found |= {"step_ms": 1000 * seconds, "gflop": flops / 1e9, "share_of_peak": flops / 1e9 / seconds / peak}
        found["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9 if settings.is_gpu else None
        report(key, found)
        del model, step
        release_memory()
        if settings.is_gpu:
            torch.cuda.reset_peak_memory_stats()


def decoding(settings: Settings, report: Report) -> None:
    """Autoregressive depth, 225 steps: cache that grows against static cache, on a GPU with CUDA graphs."""
    model = settings.model(("depth",), 480, SWINV2["b"], parallel=False)
    lower_solver(model, settings.dtype)
    with torch.inference_mode():
        memory = model.get_encoder()(pixel_values=settings.images(1))
    outputs = {}
    # The library compiles the steps of a static cache on a GPU, with CUDA graphs ("reduce-overhead").
    for name, arguments in {"growing cache": {}, "static cache": {"cache_implementation": "static"}}.items():

        @torch.inference_mode()
        def run(arguments=arguments):
            return model.generate(encoder_outputs=memory, task="depth", **arguments)

        first = timed(run, settings.device)[0]
        outputs[name] = run()
        seconds = settings.seconds_of(run)
        steps = outputs[name].num_forwards
        report(name, {"first_call_s": first, "ms": 1000 * seconds, "ms_per_token": 1000 * seconds / steps})
    one, other = outputs.values()
    difference = (one.soft_tokens.float() - other.soft_tokens.float()).abs().max().item()
    same = (one.sequences == other.sequences)[:, 1:].float().mean().item()
    report("agreement", {"same_codes": same, "largest_difference_of_probabilities": difference})


def sharding(settings: Settings, report: Report) -> None:
    """Losses of three steps with the model as it is, under DDP and under FSDP2, in one process: the same."""
    ddp = partial(DistributedDataParallel, broadcast_buffers=False, gradient_as_bucket_view=True)
    losses = {}
    with tempfile.TemporaryDirectory() as folder:
        if settings.is_gpu:
            torch.cuda.set_device(settings.device)
        backend = "nccl" if settings.is_gpu else "gloo"
        dist.init_process_group(backend, rank=0, world_size=1, init_method=f"file://{folder}/store")
        try:
            for name, wrap in {"plain": lambda model: model, "DDP": ddp, "FSDP2": _fsdp2}.items():
                plain = settings.model(("depth",), 256, SMALL, parallel=True)
                step = settings.step(plain, "depth", 2, wrap(plain))
                losses[name] = [step().item() for _ in range(3)]
                report(name, {"losses": losses[name], "bit_equal_to_plain": losses[name] == losses["plain"]})
        finally:
            dist.destroy_process_group()


def _fsdp2(model: AiTForDenseTokenGeneration) -> nn.Module:
    mesh = init_device_mesh(model.device.type, (1,))
    for module in model.modules():
        if type(module).__name__ in model._no_split_modules and module not in model.tokenizers.children():
            fully_shard(module, mesh=mesh)
    return fully_shard(model, mesh=mesh, ignored_params=set(model.tokenizers.parameters()))


def resume(settings: Settings, report: Report) -> None:
    """
    Of every task: whether two steps more after saving and loading give the bits of four steps without; and, where not,
    of which operations torch says that they have no deterministic kernel.
    """
    for task in ALL_TASKS:
        if settings.is_late:
            report(task, TOO_LATE)
            continue
        whole, resumed = _weights_after(settings, task, False), _weights_after(settings, task, True)
        differing = [name for name, weight in whole.items() if not torch.equal(weight, resumed[name])]
        found = {"bit_exact": not differing, "differing": len(differing)}
        if differing:
            step = _small_step(settings, task)
            torch.use_deterministic_algorithms(True, warn_only=True)
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    step()
            finally:
                torch.use_deterministic_algorithms(False)
            texts = [str(warning.message) for warning in caught]
            kernels = {text.split(" does not")[0] for text in texts if "determin" in text}
            found["without_a_deterministic_kernel"] = sorted(kernels)
        report(task, found)


def _weights_after(settings: Settings, task: str, interrupted: bool) -> dict[str, torch.Tensor]:
    step = _small_step(settings, task)
    for _ in range(2):
        step()
    if interrupted:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "state.pt"
            random_states = torch.get_rng_state(), torch.cuda.get_rng_state_all()  # of no GPU, if there is none
            torch.save([step.model.state_dict(), step.optimizer.state_dict(), random_states], file)
            model, optimizer, (of_host, of_gpus) = torch.load(file, map_location="cpu", weights_only=True)
        step = _small_step(settings, task)
        step.model.load_state_dict(model)
        step.optimizer.load_state_dict(optimizer)
        torch.set_rng_state(of_host)
        torch.cuda.set_rng_state_all(of_gpus)
    for _ in range(2):
        step()
    return {name: parameter.detach().clone() for name, parameter in step.model.named_parameters()}


def _small_step(settings: Settings, task: str) -> TrainingStep:
    return settings.step(settings.model((task,), 128, SMALL, parallel=False), task, 2)


# Those that take longest come last.
PARTS = {part.__name__: part for part in (waits, attention, sharding, resume, inference, decoding, training)}
