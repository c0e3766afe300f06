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
"""

import argparse
from collections.abc import Sequence

from .arguments import command_parser, seed


def parse_arguments(arguments: Sequence[str] | None, prog: str | None) -> argparse.Namespace:
    parser = command_parser(__doc__, prog)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to replace in all recipes")
    parser.add_argument("--output", default="runs/demo", help="folder for everything that is written")
    parser.add_argument("--seed", type=seed, default=0)
    return parser.parse_args(arguments)
