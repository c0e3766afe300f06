# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
The main job, on rendered rooms and two CPU cores: a depth tokenizer with mask augmentation (and one without), a mask
tokenizer, a small autoregressive task-solver of depth and a small parallel one of depth and instances, all evaluated on
the same fixed test rooms.

    make demo                                             # or, in an environment with ait-hf[demo]:
    ait demo
    ait demo --output /tmp/short train.max_steps=20

Writes to the output folder: `ait/` and `joint/` (load them with `AutoModel.from_pretrained`), `tokenizer/`,
`mask_tokenizer/`, `metrics.json`, `curves.png`, `gallery.png` (AiT-P), `gallery_ait.png` and `joint.png`: the depth and
the instances that the one joint model sees in the same images.

    ait demo tokens                                       # see `ait demo tokens --help`

is another demo: a language model that learns to answer in tokens of depth and masks.
"""

import sys

from .arguments import Arguments, Options, command_parser, positive, seed


TOKENS = """
Tokens for other models, on rendered rooms and two CPU cores: tokenizers of depth and of masks, and a small FastVLM of the
library that learns from nothing to answer "depth" and "segment sphere" in their tokens. Its answers to fixed test rooms are
written freely and constrained to whole blocks, decoded from the likeliest codes (hard) and from all probabilities (soft).

    ait demo tokens
    ait demo tokens --steps 20 --tokenizer-steps 20 --output /tmp/short

Writes to the output folder: `model/` (a FastVLM and its processor), `depth_tokenizer/`, `mask_tokenizer/`, `metrics.json` and
`answers.png`.
"""


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    arguments = sys.argv[1:] if arguments is None else arguments
    of_tokens = list(arguments[:1]) == ["tokens"]
    parser = command_parser(TOKENS if of_tokens else __doc__, f"{prog or 'demo.py'} tokens" if of_tokens else prog)
    parser.set_defaults(of_tokens=of_tokens)
    parser.add_argument("--seed", type=seed, default=0)
    if of_tokens:
        parser.add_argument("--output", default="runs/demo_tokens", help="folder for everything that is written")
        model = "of the language model, 8 rooms each (default: 4800)"
        tokenizers = "of both tokenizers (default: 400 for depth, 700 for masks)"
        parser.add_argument("--steps", type=positive(int), default=4800, help=model)
        parser.add_argument("--tokenizer-steps", type=positive(int), help=tokenizers)
        return parser.parse_args(arguments[1:])
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to replace in all recipes")
    parser.add_argument("--output", default="runs/demo", help="folder for everything that is written")
    return parser.parse_args(arguments)
