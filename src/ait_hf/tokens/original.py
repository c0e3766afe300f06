# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Published tokenizers from their files, and as folders of ours: weights, preprocessing with its code, format of the text."""

import os
from pathlib import Path

import torch

from ..conversion.vq_tokenizer import convert_vq_tokenizer_state_dict
from ..conversion.weight_files import read_original_checkpoint
from ..data.writing import write_folder
from ..hub.remote_code import save_processor_with_code
from ..model.tokenization_vq import VQTokenizer
from .image_processing_tokens import AiTTokenProcessor
from .token_format import get_preset


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


def convert_tokenizer(
    file: str | os.PathLike, preset: str, output: str | os.PathLike, overwrite: bool = False
) -> VQTokenizer:
    """
    Writes a folder that `VQTokenizer.from_pretrained`, `AutoImageProcessor.from_pretrained` (with `import ait_hf`, or with
    `trust_remote_code=True` where it is not installed) and `TokenFormat.from_pretrained` load.

    Args:
        file, preset: As of [`VQTokenizer.from_original`].
        output: Folder to write, all of it or nothing.
        overwrite: Whether to replace the folder if it exists.

    Raises:
        FileExistsError: The folder is there.
        FileNotFoundError, ValueError: As of [`VQTokenizer.from_original`].
    """
    output = Path(output)
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists: choose another folder or pass --overwrite.")
    chosen = get_preset(preset)
    tokenizer = VQTokenizer.from_original(file, preset=preset)

    def write(folder: Path) -> None:
        tokenizer.save_pretrained(folder)
        save_processor_with_code(AiTTokenProcessor(convention=chosen.convention), folder)
        chosen.token_format.save_pretrained(folder)

    write_folder(output, write)
    return tokenizer
