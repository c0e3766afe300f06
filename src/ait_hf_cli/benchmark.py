# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
How long the parts of the model take, how much memory, and how near they come to what the machine can do.

    ait benchmark backbone --full --json
    ait benchmark end-to-end --full --device cuda --dtype bfloat16 --batch-size 16

backbone, train-backbone: SwinV2 here, in transformers and in timm. decode, objects: from an encoded image to depth and to
objects, against one step after another as in the released code. tokenizer: depth to codes and back. tokens: masks and maps to
the text of other models and back, images counting masks or maps. end-to-end,
end-to-end-objects: from an image, beside models of transformers. train-step: a training step of AiT-P. loader: batches
for it. precision: AiT-P in fewer bits. growth: cost over the sizes of things.

Contestants take turns in one process, so that whatever else the machine does meets all of them. Times are medians;
the ratio to the baseline is the median of the ratios of the rounds, with their 25 % and 75 % quantiles. The share of the
machine's peak refers to the fastest of some matrix products in the same rounds. `docs/performance.md` has results.
"""

from .arguments import Arguments, Options, command_parser, device, seed


INFERENCE = ("backbone", "decode", "objects", "tokenizer", "tokens", "end-to-end", "end-to-end-objects")
SUITES = (*INFERENCE, "precision", "growth", "train-backbone", "train-step", "loader")
# Suites that an option has an effect on.
APPLIES = {
    "--full": set(SUITES) - {"tokenizer", "tokens", "loader"},
    "--size": set(SUITES) - {"growth"},
    "--objects": {"objects", "end-to-end-objects"},
    "--dtype": set(SUITES) - {"tokenizer", "tokens", "precision", "growth", "loader"},
    "--compile": {"backbone", "decode"},
    "--batch-size": set(SUITES) - {"growth"},
}


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    parser = command_parser(__doc__, prog)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--size", type=int, help="side of the image or map in pixels, a multiple of 32")
    parser.add_argument("--full", action="store_true", help="the published size (SwinV2-B; 480 or 640 pixels)")
    parser.add_argument("--objects", type=int, help="number of objects")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--compile", action="store_true", help="backbone, decode: a compiled contestant more")
    parser.add_argument("--seed", type=seed, default=0, help="of random weights and inputs (default: 0)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count (default: 7)")
    parser.add_argument("--warmup", type=int, default=2, help="rounds before them (default: 2)")
    parser.add_argument("--device", type=device, help="such as cuda or cuda:1 (default: cpu)")
    options = parser.parse_args(arguments)
    if options.size is not None and (options.size < 32 or options.size % 32):
        parser.error(f"--size must be a multiple of 32, got {options.size}")
    if options.batch_size < 1 or options.repeats < 2 or options.warmup < 0:
        parser.error("--batch-size must be at least 1, --repeats at least 2 and --warmup at least 0")
    if options.objects is not None and not 1 <= options.objects <= 100:
        parser.error(f"--objects must lie in 1..100, got {options.objects}")
    for option, suites in APPLIES.items():
        name = option[2:].replace("-", "_")
        if getattr(options, name) != parser.get_default(name) and options.suite not in suites:
            parser.error(f"{option} has no effect on {options.suite}: leave it out")
    return options
