# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Maps and masks as text for vision-language models, and their answers back.

    python scripts/tokens.py encode --tokenizer DIR --output train.jsonl annotations.json
    python scripts/tokens.py encode --tokenizer DIR --output train.jsonl maps/
    python scripts/tokens.py decode --tokenizer DIR --output masks answers.jsonl --images photos/
    python scripts/tokens.py decode --tokenizer DIR --output masks answers.jsonl --annotations annotations.json

DIR is what `convert_original_checkpoint.py --preset` wrote. A command that was broken off goes on where it was when it is
run again.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from transformers import AutoImageProcessor
from transformers.utils import logging

from ait_hf import VQTokenizer
from ait_hf.tokens import TokenFormat
from ait_hf.tokens.decoding import decode_source
from ait_hf.tokens.encoding import encode_source


ERRORS_SHOWN = 5


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("source", type=Path, help="encode: COCO json, JSONL or a folder; decode: JSONL with answers")
    shared.add_argument("--tokenizer", required=True, type=Path, metavar="DIR", help="converted tokenizer")
    shared.add_argument("--output", required=True, type=Path, help="encode: JSONL file; decode: folder")
    shared.add_argument("--overwrite", action="store_true", help="replace an output that is finished")
    shared.add_argument("--batch-size", type=int, default=16, help="samples at a time (default: 16)")
    shared.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    encode = commands.add_parser("encode", parents=[shared], help="maps or masks to JSONL for fine-tuning")
    encode.add_argument("--task", choices=["segment", "detect"], default="segment", help="of COCO annotations")
    encode.add_argument("--prompt", help="prefix of samples that have none of their own")
    decode = commands.add_parser("decode", parents=[shared], help="answers to maps, masks and COCO results")
    decode.add_argument("--images", type=Path, metavar="DIR", help="images that give answers their size")
    decode.add_argument("--annotations", type=Path, metavar="JSON", help="COCO categories, for results.json")
    decode.add_argument("--rule", choices=["recommended", "evaluator", "demo"], default="recommended")
    decode.add_argument("--fill", metavar="edge|CODE", help="maps: what to put where codes are missing")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> dict:
    finished = options.output if options.command == "encode" else options.output / "answers.jsonl"
    if finished.exists() and not options.overwrite:
        raise FileExistsError(f"{finished} exists: choose another output or pass --overwrite.")
    if options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {options.batch_size}.")
    if not (options.tokenizer / "config.json").is_file():
        raise FileNotFoundError(f"{options.tokenizer} is no folder of a converted tokenizer: it has no config.json.")
    token_format = TokenFormat.from_pretrained(options.tokenizer)
    tokenizer = VQTokenizer.from_pretrained(options.tokenizer).eval().to(options.device)
    tools = (tokenizer, AutoImageProcessor.from_pretrained(options.tokenizer), token_format)
    if options.command == "encode":
        settings = {"task": options.task, "prompt": options.prompt, "batch_size": options.batch_size}
        return encode_source(options.source, options.output, *tools, **settings)
    fill = int(options.fill) if options.fill is not None and options.fill.isdigit() else options.fill
    settings = {"images": options.images, "annotations": options.annotations, "rule": options.rule, "fill": fill}
    return decode_source(options.source, options.output, *tools, **settings, batch_size=options.batch_size)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    logging.set_verbosity_error()
    try:
        found = run(options)
    except (ValueError, OSError) as error:
        print(f"tokens.py {options.command}: {error}", file=sys.stderr)
        sys.exit(2)
    reasons = found.pop("errors", []) + found.pop("left_out", [])
    print(json.dumps(found | {"left out or unreadable": len(reasons)}))
    for reason in reasons[:ERRORS_SHOWN]:
        print(f"  {reason}")
    if len(reasons) > ERRORS_SHOWN:
        print(f"  ... and {len(reasons) - ERRORS_SHOWN} more")


if __name__ == "__main__":
    main()
