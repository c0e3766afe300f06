# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
How long the parts of the model take, how much memory, and how near they come to what the machine can do; how good AiT
becomes on real data beside other models that are trained as long; and which of the paper's claims hold on rendered rooms.

    ait benchmark backbone --full --json
    ait benchmark end-to-end --full --device cuda --dtype bfloat16 --batch-size 16
    ait benchmark runtimes --full --compile
    ait benchmark real --data nyu --root nyu_labelled --output runs/real
    ait benchmark real --report --output runs/real
    ait benchmark paper --output runs/paper

backbone, train-backbone: SwinV2 here, in transformers and in timm. decode, objects: from an encoded image to depth and to
objects, against one step after another as in the released code. tokenizer: depth to codes and back. tokens: masks and maps to
the text of other models and back, images counting masks or maps. end-to-end,
end-to-end-objects: from an image, beside models of transformers. train-step: a training step of AiT-P. loader: batches
for it. precision: AiT-P in fewer bits. runtimes: AiT-P in torch, ONNX Runtime and OpenVINO, on one thread and on two. growth: cost over the sizes of things.

Contestants take turns in one process, so that whatever else the machine does meets all of them. Times are medians;
the ratio to the baseline is the median of the ratios of the rounds, with their 25 % and 75 % quantiles. The share of the
machine's peak refers to the fastest of some matrix products in the same rounds. `docs/performance.md` has results.

real: trains AiT-P, AiT and baselines on the same backbone weights (nyu, camvid, dsb2018, lspet), and measures each by the
functions of `ait evaluate`; first the tokenizer, which all runs share. A run takes 25 minutes of one CPU core. More cores do more
runs at a time, each by a command of its own, once the first has made the tokenizer:

    OMP_NUM_THREADS=1 ait benchmark real --data nyu --root nyu_labelled --output runs/real --runs aitp
    OMP_NUM_THREADS=1 ait benchmark real --data nyu --root nyu_labelled --output runs/real --runs unet

Every run goes on from its checkpoint after an interruption, and leaves a JSON file with its numbers in OUTPUT/DATA/rows; one
that is there is not done again. `docs/results.md` has the tables.
"""

from pathlib import Path

from .arguments import Arguments, Options, command_parser, device, positive, seed


INFERENCE = ("backbone", "decode", "objects", "tokenizer", "tokens", "end-to-end", "end-to-end-objects")
SUITES = (*INFERENCE, "precision", "runtimes", "growth", "train-backbone", "train-step", "loader")
REAL, PAPER = "real", "paper"
PAPER_TABLES = (*map(str, range(1, 14)), "beyond", "twice", "speed")
DATA_SETS = ("nyu", "camvid", "dsb2018", "lspet")
# Suites that an option has an effect on.
APPLIES = {
    "--full": set(SUITES) - {"tokenizer", "tokens", "loader"},
    "--size": set(SUITES) - {"growth"},
    "--objects": {"objects", "end-to-end-objects"},
    "--dtype": set(SUITES) - {"tokenizer", "tokens", "precision", "runtimes", "growth", "loader"},
    "--compile": {"backbone", "decode", "runtimes"},
    "--batch-size": set(SUITES) - {"growth"},
    **dict.fromkeys(("--json", "--seed", "--repeats", "--warmup"), set(SUITES)),
    "--device": set(SUITES) - {"runtimes"},
    **dict.fromkeys(("--data", "--root", "--runs", "--split"), {REAL}),
    **dict.fromkeys(("--table", "--jobs"), {PAPER}),
    **dict.fromkeys(("--output", "--seeds", "--minutes", "--quick", "--report"), {REAL, PAPER}),
}


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    parser = command_parser(__doc__, prog)
    parser.add_argument("suite", choices=(*SUITES, REAL, PAPER))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--size", type=int, help="side of the image or map in pixels, a multiple of 32")
    parser.add_argument("--full", action="store_true", help="the published size (SwinV2-B; 480 or 640 pixels)")
    parser.add_argument("--objects", type=int, help="number of objects")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument(
        "--compile", action="store_true", help="backbone, decode, runtimes: a compiled contestant more"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of random weights and inputs (default: 0)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count (default: 7)")
    parser.add_argument("--warmup", type=int, default=2, help="rounds before them (default: 2)")
    parser.add_argument("--device", type=device, help="such as cuda or cuda:1 (default: cpu)")
    real = parser.add_argument_group(REAL)
    real.add_argument("--data", choices=DATA_SETS, help="what is trained on")
    real.add_argument("--root", type=Path, metavar="DIR", help="folder of the data")
    real.add_argument(
        "--runs",
        nargs="+",
        metavar="NAME",
        help="aitp, ait, a baseline (unet, segformer, mask-rcnn, heatmaps); default: all",
    )
    real.add_argument("--split", help="what is measured (default: that of docs/results.md)")
    paper = parser.add_argument_group(PAPER)
    paper.add_argument(
        "--table",
        nargs="+",
        choices=PAPER_TABLES,
        metavar="NAME",
        help="1 to 13 of the paper, beyond (what it lacks), twice (more steps for what does not hold), speed (how a small "
        "model learns fastest); default: all",
    )
    paper.add_argument("--jobs", type=positive(int), default=2, help="runs at a time, one core each (default: 2)")
    trained = parser.add_argument_group(f"{REAL}, {PAPER}")
    trained.add_argument("--output", type=Path, metavar="DIR", help="folder of the runs and their rows")
    trained.add_argument(
        "--seeds",
        type=positive(int),
        metavar="N",
        help="seeds 0..N-1 of each (default: 3; real: 3 of AiT-P and the baseline, 1 of others)",
    )
    trained.add_argument(
        "--minutes",
        type=positive(float),
        help="that a run takes on one CPU core (real, default: 25; paper, default: 10)",
    )
    trained.add_argument(
        "--quick", action="store_true", help="a few steps and examples, to see whether everything works"
    )
    trained.add_argument(
        "--report", action="store_true", help="print the rows in --output as tables, and write report.md there"
    )
    options = parser.parse_args(arguments)
    if options.suite == REAL:
        if options.output is None or (not options.report and (options.data is None or options.root is None)):
            parser.error("real needs --data, --root and --output; with --report, --output alone")
        if options.report and options.data is not None:
            parser.error("--report prints what is in --output: leave out --data")
    if options.suite == PAPER and options.output is None:
        parser.error("paper needs --output")
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
