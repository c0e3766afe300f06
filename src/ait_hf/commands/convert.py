# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A released AiT checkpoint, or a tokenizer alone, as a folder that `AutoModel` loads: `ait convert`."""

import argparse
from pathlib import Path

from transformers.utils import logging

from ..conversion.original import convert_original_checkpoint
from ..data.json_values import read_json
from ..data.writing import write_folder
from ..hub.remote_code import save_with_remote_code
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..tokens.original import convert_tokenizer


def run(options: argparse.Namespace) -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if options.preset is None:
        model = convert_model(options)
    elif options.original or options.original_config or len(options.tokenizer) != 1:
        raise ValueError("--preset converts a tokenizer alone: give it with one --tokenizer FILE and with --output.")
    else:
        model = convert_tokenizer(options.tokenizer[0], options.preset, options.output, options.overwrite)
    print(f"Wrote {model.num_parameters():,} parameters to {options.output}.")


def convert_model(options: argparse.Namespace) -> AiTForDenseTokenGeneration:
    if options.original is None or options.original_config is None:
        raise ValueError("give --original and --original-config, or --tokenizer and --preset for a tokenizer alone.")
    if options.output.exists() and not options.overwrite:
        raise FileExistsError(f"{options.output} exists: choose another folder or pass --overwrite.")
    content = read_json(options.original_config)
    candidates = [content, content.get("config"), content.get("model")] if isinstance(content, dict) else []
    parts = {"backbone", "transformer", "task_heads"}
    original_config = next((each for each in candidates if isinstance(each, dict) and parts <= each.keys()), None)
    if original_config is None:
        raise ValueError(
            f"{options.original_config} holds no original model dictionary (with backbone, transformer and task_heads), "
            "neither itself nor in an entry config or model."
        )
    tokenizers = {}
    for pair in options.tokenizer:
        name, separator, file = pair.partition("=")
        if not (name and separator and file):
            raise ValueError(f"--tokenizer is NAME=FILE, such as depth=vqvae_depth.pt, not {pair!r}.")
        tokenizers[name] = Path(file)
    model, processors = convert_original_checkpoint(options.original, original_config, tokenizers)
    write_folder(options.output, lambda folder: save_with_remote_code(model, processors, folder))
    return model
