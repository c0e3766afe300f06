# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters (LoRA, arXiv 2106.09685) of the attention's projections, by peft; merged again for saving."""

import copy
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers.utils import is_peft_available

from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..recipes.parsing import as_section


_ATTENTION = re.compile(r"attn|attention")
_POSITION_BIAS = re.compile(r"position_bias|cpb_mlp")  # networks inside attentions that are no projections
_ADAPTER = "default"


@as_section
class LoRARecipe:
    """
    Args:
        rank (`int`): Of the update of every projection of backbone, encoder and decoder.
        alpha (`float`, *optional*): The update is multiplied by `alpha / rank`; twice the rank by default.
        dropout (`float`): On the adapters' input.
    """

    rank: int = 8
    alpha: float | None = None
    dropout: float = 0.0

    def validate_ranges(self):
        if self.rank < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"rank must be at least 1 and dropout in [0, 1), got {self.rank} and {self.dropout}.")


def attention_projections(model: AiTForDenseTokenGeneration) -> list[str]:
    """Names of the linear layers of all attentions, those of any `AutoBackbone` included; the tokenizers' are left out."""
    return [
        f"model.{name}"
        for name, module in model.model.named_modules()
        if isinstance(module, nn.Linear) and _ATTENTION.search(name) and not _POSITION_BIAS.search(name)
    ]


def add_adapters(model: AiTForDenseTokenGeneration, recipe: LoRARecipe, *, train_tokens: bool) -> None:
    """
    Puts adapters into the model, in place, and freezes everything else; with `train_tokens` but the embeddings of
    tokens, which are the classifier's weights, and the classifier's biases: rows that start anew have to be learned.
    `ImportError` without peft.
    """
    if not is_peft_available():
        raise ImportError("model.lora needs peft: pip install 'ait-hf[lora]'.")
    from peft import LoraConfig, inject_adapter_in_model

    alpha = 2 * recipe.rank if recipe.alpha is None else recipe.alpha
    targets = attention_projections(model)
    # Not by the library's `add_adapter`, which may ask for a newer peft than there is.
    size = {"r": recipe.rank, "lora_alpha": alpha, "lora_dropout": recipe.dropout}
    config = LoraConfig(**size, target_modules=targets, base_model_name_or_path=model.name_or_path)
    inject_adapter_in_model(config, model, _ADAPTER)
    if train_tokens:
        for parameter in (model.model.decoder.embed_tokens.weight, model.lm_head.bias):
            parameter.requires_grad_(True)


def save_adapters(model: AiTForDenseTokenGeneration, folder: Path) -> None:
    """Writes the adapters alone, as `PeftModel.from_pretrained(model, folder)` reads them."""
    from peft import get_peft_model_state_dict

    folder.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(model, adapter_name=_ADAPTER)
    state = {f"base_model.model.{name}": tensor.contiguous() for name, tensor in state.items()}
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = copy.copy(model.peft_config[_ADAPTER])
    config.inference_mode = True  # what it is loaded for, unless somebody says otherwise
    config.save_pretrained(folder)


@torch.no_grad()
def merged(model: AiTForDenseTokenGeneration) -> AiTForDenseTokenGeneration:
    """A plain model that computes what the one with adapters does, which itself stays as it is."""
    from peft.tuners.lora import LoraLayer

    state = {
        key.replace(".base_layer.", "."): tensor for key, tensor in model.state_dict().items() if ".lora_" not in key
    }
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            state[f"{name}.weight"] = module.get_base_layer().weight + module.get_delta_weight(_ADAPTER)
    plain = type(model)(model.config)
    plain.load_state_dict(state)
    plain.generation_config = model.generation_config
    return plain.to(model.device)
