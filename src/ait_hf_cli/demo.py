# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
What a small model of rendered rooms sees, at once; and how one like it learns, in minutes, on two CPU cores.

    make demo                                             # or, in an environment with ait-hf[demo]:
    ait demo

First, pictures of `rooms`, which comes with the package, on test rooms. Then tokenizers of depth and of masks and one
AiT-P of depth and instances learn from nothing, as many steps as this machine has time for; a picture of the same rooms is
taken every minute. All of it is shown in one page, `index.html` in the output folder, which needs no network. Beside it
lie `joint/` (a model for `ait predict`), `tokenizer/`, `mask_tokenizer/`, `curves.png` and `metrics.json`.

    ait demo --steps 2000 --seed 0                        # a run once more, with the same numbers
    ait demo --quick                                      # a few steps, to see whether everything works

    ait demo tokens                                       # see `ait demo tokens --help`

is another demo: a language model that learns to answer in tokens of depth and masks.
"""

import sys
import time

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
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    of_tokens = arguments[:1] == ["tokens"]
    parser = command_parser(TOKENS if of_tokens else __doc__, f"{prog or 'demo.py'} tokens" if of_tokens else prog)
    parser.set_defaults(of_tokens=of_tokens, start=time.perf_counter())  # before the imports, which count
    parser.add_argument("--seed", type=seed, default=0, help="of everything (default: 0)")
    if of_tokens:
        parser.add_argument("--output", default="runs/demo_tokens", help="folder for everything that is written")
        model = "of the language model, 8 rooms each (default: 4800)"
        tokenizers = "of both tokenizers (default: 400 for depth, 700 for masks)"
        parser.add_argument("--steps", type=positive(int), default=4800, help=model)
        parser.add_argument("--tokenizer-steps", type=positive(int), help=tokenizers)
        return parser.parse_args(arguments[1:])
    parser.add_argument("--output", default="runs/demo", help="folder for everything that is written")
    parser.add_argument("--steps", type=positive(int), help="of the model (default: as this machine has time for)")
    parser.add_argument("--quick", action="store_true", help="a few steps and rooms, to see whether everything works")
    return parser.parse_args(arguments)
