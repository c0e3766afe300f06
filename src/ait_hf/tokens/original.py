# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Published tokenizers from their files."""

import os

import torch

from ..conversion.vq_tokenizer import convert_vq_tokenizer_state_dict
from ..conversion.weight_files import read_original_checkpoint
from ..model.tokenization_vq import VQTokenizer
from .presets import get_preset


def load_original_tokenizer(kind: type[VQTokenizer], file: str | os.PathLike, preset: str) -> VQTokenizer:
    """What [`VQTokenizer.from_original`] returns, as an instance of `kind`."""
    config = dict(get_preset(preset).tokenizer)
    original = read_original_checkpoint(file)
    for name, array in original.items():
        if not array.is_floating_point():
            raise ValueError(f"{name} in {file} is of {array.dtype}, but weights are floating-point numbers.")
        if not torch.isfinite(array).all():
            raise ValueError(f"{name} in {file} has NaN or infinite values: the file is damaged.")
    try:
        weights = convert_vq_tokenizer_state_dict(original, config)
    except ValueError as error:
        raise ValueError(f"{file} is not the tokenizer of the preset {preset}. {error}") from error
    tokenizer = kind(**config)
    tokenizer.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return tokenizer.eval()
