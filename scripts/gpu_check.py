# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
What of this package only a GPU can tell: at most five minutes on one GPU, nothing to download, no data.

    python scripts/gpu_check.py --output gpu_check
    python scripts/gpu_check.py --only training --minutes 10

waits: a training step of every task under torch's sync debug mode "error". attention: the kernel of every block.
sharding: DDP and FSDP2 in one process against the plain model. resume: whether a training that was interrupted ends with the
same bits. inference: latency and images a second of AiT-P-B/L and AiT-B/L in bfloat16, and their error. decoding: static
cache with CUDA graphs. training: images a second and share of the matrix peak of the published steps, eager and compiled.

Every part writes its PART.json after each measurement, so that what is measured stays if the time runs out. A part that
fails says so in its file; the others go on, and the exit status is 1. `docs/performance.md` says how to read the numbers.
"""

import argparse
import json
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from ait_hf.benchmarks.gpu_check import PARTS, Settings


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, nargs="+", metavar="PART", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--output", type=Path, default=Path("gpu_check"), help="folder of the results (gpu_check)")
    parser.add_argument("--minutes", type=float, default=5.0, help="what has not begun by then is left out (5)")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"), help="cuda, cuda:1, cpu")
    parser.add_argument("--tiny", action="store_true", help="small models, to try the parts themselves")
    options = parser.parse_args(arguments)
    if options.minutes <= 0:
        parser.error(f"--minutes must be above 0, got {options.minutes}")
    if options.device.type not in ("cuda", "cpu"):
        parser.error(f"--device must be cuda or cpu, got {options.device}")
    if options.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA GPU here; --device cpu --tiny tries the parts without one")
    return options


def machine(device: torch.device) -> dict[str, Any]:
    found = {"device": str(device), "torch": torch.__version__, "transformers": transformers.__version__}
    if device.type == "cuda":
        found |= {"name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
        found |= {"cudnn": torch.backends.cudnn.version()}
    return found


def run_part(name: str, settings: Settings, folder: Path) -> bool:
    """Whether it came to its end."""
    content: dict[str, Any] = {"part": name, "machine": machine(settings.device), "tiny": settings.tiny, "results": {}}

    def write() -> None:
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")

    def report(key: str, value: Any) -> None:
        content["results"][key] = value
        print(f"{name}: {key}: {json.dumps(value)}", flush=True)
        write()

    if settings.is_late:
        report("all", "not measured: the time was up")
        return True
    start = time.monotonic()
    try:
        PARTS[name](settings, report)
    except Exception as error:  # whatever it is, the other parts are worth running
        content["error"] = traceback.format_exc()
        print(f"{name} failed: {error}", file=sys.stderr, flush=True)
    content["seconds"] = time.monotonic() - start
    write()
    return "error" not in content


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    transformers.logging.set_verbosity_error()
    options.output.mkdir(parents=True, exist_ok=True)
    settings = Settings(options.device, options.tiny, 60 * options.minutes, rounds=2 if options.tiny else 5)
    finished = list(map(partial(run_part, settings=settings, folder=options.output), options.only or PARTS))
    if not all(finished):
        sys.exit(1)


if __name__ == "__main__":
    main()
