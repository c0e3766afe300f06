# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A published tokenizer as a folder of ours: weights, preprocessing with its code, and the format of its text."""

import os
from pathlib import Path

from ..data.writing import write_folder
from ..hub.remote_code import save_processor_with_code
from ..model.tokenization_vq import VQTokenizer
from .image_processing_tokens import AiTTokenProcessor
from .presets import get_preset


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
    processor = AiTTokenProcessor(convention=chosen.convention)

    def write(folder: Path) -> None:
        tokenizer.save_pretrained(folder)
        save_processor_with_code(processor, folder)
        chosen.token_format.save_pretrained(folder)

    write_folder(output, write)
    return tokenizer
