# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
How the processes of a run compute and share their work: Accelerate as a recipe wants it, weights in shards,
compilation, DeepSpeed's ZeRO (stages 1 and 2), set up so that a run learns what it would learn without.

`torch.compile` is given the encoder and the decoder of a model, each as one graph. What lies between them (annotations
that become sequences, supervised tokens, masks of so many objects) is Python that depends on the data: with it, a
model falls into dozens of graphs and is compiled anew for other numbers of objects.
"""

import logging
import os
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, utils
from accelerate.utils import DistributedType
from diffusers.training_utils import EMAModel
from torch import distributed, nn
from torch.distributed import checkpoint as sharded_checkpoint
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from torch.nn.modules.batchnorm import _BatchNorm
from transformers.modeling_layers import GradientCheckpointingLayer

from ..model.tokenization_base import TokenizerBase
from .settings import Recipe


logger = logging.getLogger(__name__)

AVERAGE = "average"  # folder of an average of sharded weights in a checkpoint


def build_accelerator(recipe: Recipe) -> Accelerator:
    """What the recipe says beats what `accelerate launch` and its configuration file say."""
    trackers = recipe.train.trackers
    if trackers is None:
        trackers = ["tensorboard"] if utils.is_tensorboard_available() else []
    # It would compile the model as a whole.
    accelerator_class, compiled = Accelerator, utils.TorchDynamoPlugin(backend="no")
    if utils.parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):  # as Accelerate itself asks
        accelerator_class = partial(DeepSpeedAccelerator, max_grad_norm=recipe.train.max_grad_norm)
        compiled = utils.TorchDynamoPlugin(backend=recipe.train.compile)
    # Accelerate has no newer word for it; torch's own advice is to keep to the old one.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    logging.getLogger("accelerate.utils.other").addFilter(is_news)
    accelerator = accelerator_class(
        mixed_precision=recipe.train.mixed_precision,
        dynamo_plugin=compiled,
        # Forwards alone say when a step is done: streams of data may end before the training does.
        gradient_accumulation_plugin=utils.GradientAccumulationPlugin(
            num_steps=recipe.train.gradient_accumulation_steps, sync_with_dataloader=False
        ),
        # Codebooks move alike on all processes, and running statistics are shared once a step.
        kwargs_handlers=[utils.DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
        log_with=trackers or None,
        project_config=utils.ProjectConfiguration(
            recipe.output_dir, logging_dir=str(Path(recipe.output_dir) / "logs")
        ),
    )
    check_optimizer(recipe.optimizer.name, accelerator)
    set_tf32(recipe.train.tf32)
    if accelerator.is_main_process:
        precision = accelerator.mixed_precision
        launched = os.environ.get("ACCELERATE_MIXED_PRECISION", precision)  # what `accelerate launch` hands on
        if launched != precision:
            logger.warning(
                "The recipe and the launch disagree on precision: train.mixed_precision is %s, which holds; `accelerate "
                "launch` or its configuration file says %s (no is its default).",
                *(precision, launched),
            )
        products = "may be rounded to TF32 on GPUs that have it" if recipe.train.tf32 else "are float32"
        logger.info("Mixed precision: %s. Products of float32 matrices %s (train.tf32).", precision, products)
    return accelerator


def is_news(record: logging.LogRecord) -> bool:
    """Not that tied weights are saved once, which Accelerate says at every checkpoint."""
    return "Removed shared tensor" not in record.getMessage()


def check_optimizer(name: str, accelerator: Accelerator) -> None:
    """`ValueError` for one that does not go with how the processes share the work."""
    if name == "muon" and accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise ValueError("optimizer.name muon needs whole matrices: take adamw under FSDP and DeepSpeed.")


def set_tf32(enabled: bool) -> None:
    """
    For the whole process: whether matrix products and convolutions of float32 tensors may round what they multiply to
    TF32 (8 bits of exponent, 10 of mantissa; sums stay float32), several times as fast on NVIDIA's GPUs from Ampere on.
    Nothing changes elsewhere.
    """
    # By torch's older switches: once the newer ones (`fp32_precision`) are set, reading the older ones fails, which
    # torch's own compiler does.
    torch.backends.cuda.matmul.allow_tf32 = enabled
    torch.backends.cudnn.allow_tf32 = enabled


def compile_parts(parts: Iterable[nn.Module], plugin: utils.TorchDynamoPlugin) -> None:
    """
    Compiles parts of a model in place, each as one graph; names in its state dictionary stay. Of parts that FSDP2 has
    sharded, the layers that it shards are compiled instead, each as one graph: weights are gathered between them. The
    model is ready to train, DDP or FSDP2 having been set up; `plugin` has the backend and its options.
    """
    arguments = plugin.to_kwargs() | {"fullgraph": True}
    for part in parts:
        layers = [module for module in part.modules() if isinstance(module, FSDPModule) and list(module.children())]
        for layer in layers:  # not what `compile` takes, which has the hooks that gather weights in it
            layer.forward = torch.compile(layer.forward, **arguments)
        if not layers:
            part.compile(**arguments)
        # Layers of one class count together, and stochastic depth makes a graph of each.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 2 * len(layers))
    if any(is_checkpointed(part) for part in parts):
        # DDP's graphs are cut into buckets, but not if they have checkpoints.
        torch._dynamo.config.optimize_ddp = False


def is_checkpointed(model: nn.Module) -> bool:
    """Whether some of its layers compute their activations again in the backward pass."""
    layers = (module for module in model.modules() if isinstance(module, GradientCheckpointingLayer))
    return any(layer.gradient_checkpointing for layer in layers)


def uncompiled() -> AbstractContextManager:
    """Inside, compiled parts run as they are: passes that are not training would all be compiled anew."""
    return torch.compiler.set_stance("force_eager")


def is_sharded(model: nn.Module, accelerator: Accelerator) -> bool:
    """Whether processes hold parts of the weights (FSDP2); `ValueError` for what training does not do."""
    kind = accelerator.distributed_type
    of_fsdp = kind == DistributedType.FSDP
    if isinstance(model, TokenizerBase) and kind in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise ValueError(
            "Tokenizers are small, and their codebooks are not sharded: train them without FSDP or DeepSpeed."
        )
    if of_fsdp and not accelerator.is_fsdp2:
        raise ValueError("Sharded training needs FSDP2: set fsdp_version: 2 in Accelerate's configuration file.")
    return of_fsdp


def set_up_sharding(model: nn.Module, accelerator: Accelerator) -> None:
    """Before the model is prepared: which of it is not sharded, and in which precision it computes."""
    plugin = accelerator.state.fsdp_plugin
    # The tokenizers are not run by their `forward`, before which alone shards are gathered.
    plugin.ignored_modules = [module for module in model.modules() if isinstance(module, TokenizerBase)]
    # Precision by autocast, as without shards. FSDP2's own also casts what goes into the model, labels in pixels and
    # metres too.
    plugin.mixed_precision_policy = MixedPrecisionPolicy(cast_forward_inputs=False)


class ShardedAverage(EMAModel):
    """
    The average of weights of FSDP2 (DTensors). Every process keeps its shards of it and writes them into checkpoints; any
    number of processes can read these.
    """

    def save(self, models: list[nn.Module], weights: list, folder: str) -> None:
        """A hook of Accelerate's `save_state`; `models` and `weights` are not used. All processes call it."""
        sharded_checkpoint.save(self.state_dict(), checkpoint_id=Path(folder) / AVERAGE)

    def load(self, models: list[nn.Module], folder: str) -> None:
        """A hook of Accelerate's `load_state`, as [`~ShardedAverage.save`]."""
        state = self.state_dict()
        sharded_checkpoint.load(state, checkpoint_id=Path(folder) / AVERAGE)
        self.load_state_dict(state)

    @torch.no_grad()
    def copy_to(self, parameters: Iterable[nn.Parameter]) -> None:
        """Gathers the average into weights of a whole model, in the order of the sharded ones. All processes call it."""
        for whole, average in zip(parameters, self.shadow_params, strict=True):
            whole.copy_(average.full_tensor())


def build_average(parameters: list[nn.Parameter], decay: float, accelerator: Accelerator, sharded: bool) -> EMAModel:
    """The average of trained weights, as Accelerate prepared them and whether or not they are shards of FSDP2.
    Accelerate saves and loads it with its checkpoints. After step n it keeps `min(decay, n / (n + 9))` of itself."""
    if not sharded:
        average = EMAModel(parameters, decay, foreach=True)
        accelerator.register_for_checkpointing(average)
        return average
    average = ShardedAverage(parameters, decay, foreach=True)
    accelerator.register_save_state_pre_hook(average.save)  # what is registered the main process writes alone
    accelerator.register_load_state_pre_hook(average.load)
    return average


@torch.no_grad()
def share_statistics(model: nn.Module, accelerator: Accelerator) -> None:
    """Gives the running statistics of batch norms in training, if there are any, their mean over processes."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    statistics = [tensor for norm in norms for tensor in (norm.running_mean, norm.running_var) if tensor is not None]
    if accelerator.num_processes == 1 or not statistics:
        return
    means = accelerator.reduce(torch.cat(statistics), "mean").split([len(tensor) for tensor in statistics])
    for tensor, mean in zip(statistics, means):
        tensor.copy_(mean)


class DeepSpeedAccelerator(Accelerator):
    """
    Accelerate with DeepSpeed's engine, which clips, steps and sets gradients to zero within `backward`.

    Weights stay float32 and precision is that of autocast, as without DeepSpeed, whose own would also round codebooks. With
    float32 weights the engine takes no step on any process if the norm of all gradients is not finite; so nothing is left
    to undo but what forwards have changed. `ValueError` if Accelerate's configuration file asks for what is not done
    here.
    """

    def __init__(self, *, max_grad_norm: float | None, **arguments: Any):
        super().__init__(**arguments)
        self._check()
        self.is_lowered = self.mixed_precision == "bf16"
        self.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": 1,  # only counted with
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
            "gradient_clipping": max_grad_norm or 0.0,
            "bf16": {"enabled": False},
            "torch_autocast": {"enabled": self.is_lowered, "dtype": "bfloat16", "lower_precision_safe_modules": []},
        }

    def _check(self) -> None:
        if self.distributed_type != DistributedType.DEEPSPEED or self.num_processes != distributed.get_world_size():
            raise ValueError("Accelerate runs DeepSpeed on GPUs only, and there is none: launch without DeepSpeed.")
        plugin = self.deepspeed_plugin
        if plugin.zero_stage not in (1, 2):
            raise ValueError(
                f"Under DeepSpeed, training runs with zero_stage 1 or 2, not {plugin.zero_stage}: FSDP2 also shards the "
                "weights (scripts/accelerate/fsdp2.yaml)."
            )
        if (plugin.offload_optimizer_device, plugin.offload_param_device) != ("none", "none"):
            raise ValueError("Under DeepSpeed, training keeps all on the GPU: set offload_*_device to none.")
        if self.mixed_precision not in ("no", "bf16"):
            raise ValueError(f"Under DeepSpeed, mixed_precision must be bf16 or no, not {self.mixed_precision}.")
        if self.state.dynamo_plugin.backend != utils.DynamoBackend.NO:
            raise ValueError("Under DeepSpeed, models are not compiled: leave train.compile and dynamo_backend out.")

    def autocast(self, autocast_handler: utils.AutocastKwargs | None = None) -> torch.autocast:
        """Also for what does not go through the engine, as evaluation."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_lowered)

    def clip_grad_norm_(self, parameters, max_norm, norm_type=2) -> torch.Tensor:
        """Of shape `()`: the norm before the engine clipped and stepped; infinite if it took no step."""
        return torch.tensor(super().clip_grad_norm_(parameters, max_norm, norm_type), device=self.device)

    def save_state(self, output_dir: str, **arguments: Any) -> None:
        """A process that cannot write still comes to where the engine waits for all, and then raises."""
        engine = self.deepspeed_engine_wrapped.engine
        engine.save_checkpoint = partial(_save_and_meet, engine)
        super().save_state(output_dir, **arguments)

    def load_state(self, input_dir: str, **arguments: Any) -> None:
        """`ValueError` if it was not saved by as many processes: each has a part of the optimiser."""
        found = len(list(Path(input_dir).glob("*/*_optim_states.pt")))
        if found != self.num_processes:
            raise ValueError(
                f"{input_dir} cannot be resumed by {self.num_processes} processes under DeepSpeed, as {found} saved it."
            )
        super().load_state(input_dir, **arguments)


def _save_and_meet(engine: nn.Module, *arguments: Any, **keywords: Any) -> None:
    try:
        type(engine).save_checkpoint(engine, *arguments, **keywords)
    except Exception:
        distributed.barrier()
        raise
