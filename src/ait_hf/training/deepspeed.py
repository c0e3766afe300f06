# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""DeepSpeed's ZeRO (stages 1 and 2), set up so that a run learns what it would learn without."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs, DistributedType, DynamoBackend
from torch import distributed, nn


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
        if self.state.dynamo_plugin.backend != DynamoBackend.NO:
            raise ValueError("Under DeepSpeed, models are not compiled: leave train.compile and dynamo_backend out.")

    def autocast(self, autocast_handler: AutocastKwargs | None = None) -> torch.autocast:
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
