# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Maps and masks as text for vision-language models, and their answers back.

    ait tokens encode --tokenizer DIR --output train.jsonl annotations.json
    ait tokens encode --tokenizer DIR --output train.jsonl maps/
    ait tokens decode --tokenizer DIR --output masks answers.jsonl --images photos/
    ait tokens decode --tokenizer DIR --output masks answers.jsonl --annotations annotations.json

DIR is what `ait convert --preset` wrote. A command that was broken off goes on where it was when it is
run again.
"""

import argparse
from pathlib import Path

from .arguments import Arguments, Options, command_parser, device


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    parser = command_parser(__doc__, prog)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("source", type=Path, help="encode: COCO json, JSONL or a folder; decode: JSONL with answers")
    shared.add_argument("--tokenizer", required=True, type=Path, metavar="DIR", help="converted tokenizer")
    shared.add_argument("--output", required=True, type=Path, help="encode: JSONL file; decode: folder")
    shared.add_argument("--overwrite", action="store_true", help="replace an output that is finished")
    shared.add_argument("--batch-size", type=int, default=16, help="samples at a time (default: 16)")
    shared.add_argument("--device", type=device, help="default: cuda if there is one, else cpu")
    encode = commands.add_parser("encode", parents=[shared], help="maps or masks to JSONL for fine-tuning")
    encode.add_argument("--task", choices=["segment", "detect"], default="segment", help="of COCO annotations")
    encode.add_argument("--prompt", help="prefix of samples that have none of their own")
    decode = commands.add_parser("decode", parents=[shared], help="answers to maps, masks and COCO results")
    decode.add_argument("--images", type=Path, metavar="DIR", help="images that give answers their size")
    decode.add_argument("--annotations", type=Path, metavar="JSON", help="COCO categories, for results.json")
    decode.add_argument("--rule", choices=["recommended", "evaluator", "demo"], default="recommended")
    decode.add_argument("--fill", metavar="edge|CODE", help="maps: what to put where codes are missing")
    return parser.parse_args(arguments)
