# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Maps and masks as text for vision-language models, and their answers back: `ait tokens`."""

import argparse
import json

from transformers import AutoImageProcessor
from transformers.utils import logging

from ..model.tokenization_vq import VQTokenizer
from ..tokens import TokenFormat
from ..tokens.text_files import decode_source, encode_source
from .predict import best_device


ERRORS_SHOWN = 5


def run(options: argparse.Namespace) -> None:
    logging.set_verbosity_error()
    finished = options.output if options.command == "encode" else options.output / "answers.jsonl"
    if finished.exists() and not options.overwrite:
        raise FileExistsError(f"{finished} exists: choose another output or pass --overwrite.")
    if options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {options.batch_size}.")
    if not (options.tokenizer / "config.json").is_file():
        raise FileNotFoundError(f"{options.tokenizer} is no folder of a converted tokenizer: it has no config.json.")
    token_format = TokenFormat.from_pretrained(options.tokenizer)
    tokenizer = VQTokenizer.from_pretrained(options.tokenizer).eval().to(options.device or best_device())
    tools = (tokenizer, AutoImageProcessor.from_pretrained(options.tokenizer), token_format)
    if options.command == "encode":
        settings = {"task": options.task, "prompt": options.prompt, "batch_size": options.batch_size}
        found = encode_source(options.source, options.output, tools, **settings)
    else:
        fill = int(options.fill) if options.fill is not None and options.fill.isdigit() else options.fill
        settings = {"images": options.images, "annotations": options.annotations, "rule": options.rule, "fill": fill}
        found = decode_source(options.source, options.output, tools, **settings, batch_size=options.batch_size)
    reasons = found.pop("errors", []) + found.pop("left_out", [])
    print(json.dumps(found | {"left out or unreadable": len(reasons)}))
    for reason in reasons[:ERRORS_SHOWN]:
        print(f"  {reason}")
    if len(reasons) > ERRORS_SHOWN:
        print(f"  ... and {len(reasons) - ERRORS_SHOWN} more")
