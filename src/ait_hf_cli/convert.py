# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
A released AiT checkpoint as a folder that `AutoModel` loads.

    ait convert --original FILE.pth --original-config CONFIG.json --output DIR

CONFIG.json holds the original model dictionary, alone or as the entry `config` or `model` of another. Detection,
instance segmentation, depth and joint models are converted. `--tokenizer depth=FILE.pt` or `mask=FILE.pt` takes a
tokenizer from a file of its own instead of the checkpoint. Pickled code is not executed.

A tokenizer alone, of a published model that uses AiT's, with its preprocessing and the format of its text:

    ait convert --tokenizer vae-oid.npz --preset paligemma-mask --output DIR
"""

from pathlib import Path

from .arguments import Arguments, Options, command_parser


PRESETS = ("paligemma-mask", "molmoact-depth", "molmoact2-depth", "aurora-depth")


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    parser = command_parser(__doc__, prog)
    parser.add_argument("--original", type=Path, metavar="FILE.pth", help="original checkpoint")
    parser.add_argument("--original-config", type=Path, metavar="CONFIG.json", help="its model dictionary")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write")
    tokenizer = "original weights of the tokenizer depth or mask, such as depth=vqvae_depth.pt; may be repeated. "
    tokenizer += "With --preset, the file alone"
    parser.add_argument("--tokenizer", action="append", default=[], metavar="NAME=FILE.pt", help=tokenizer)
    parser.add_argument("--preset", metavar="NAME", help=f"convert a tokenizer alone: one of {', '.join(PRESETS)}")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if it exists")
    return parser.parse_args(arguments)
