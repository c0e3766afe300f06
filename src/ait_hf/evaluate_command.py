# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Errors of a depth model, or of a depth tokenizer, on ground truth.

    python scripts/evaluate.py --model runs/demo/aitp --task depth --data synthetic --split test --modes all
    python scripts/evaluate.py --model DIR --task depth --data my_rgbd/index.json --split val --gallery gallery.png
    accelerate launch scripts/evaluate.py --model DIR --task depth --data nyu_depth:ROOT --split test \\
        --protocol tta --eigen-crop
    python scripts/evaluate.py --tokenizer DIR --task depth --data my_rgbd/index.json --split val

Errors are computed per image at the ground truth's size and averaged over images. The device is Accelerate's choice.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import diffusers
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import set_seed
from transformers.utils import logging

from .data.nyu_depth import load_nyu_depth
from .data.rgbd import load_rgbd
from .data.subset import evenly
from .data.synthetic import synthetic_rooms
from .evaluation import decoding_modes, depth_gallery_rows, evaluate_depth, evaluate_tokenizer, rgbd_collator
from .inference import DEPTH_TASK, load_model_and_processor
from .tokenization_vq import VQTokenizer
from .training.files import write_text
from .visualization import depth_gallery, save_image


NYU_PREFIX = "nyu_depth:"
GALLERY_ROWS = 6


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", metavar="DIR", help="folder of a saved model")
    parser.add_argument("--tokenizer", metavar="DIR", help="folder of a tokenizer to measure by its reconstructions")
    parser.add_argument(
        "--tokenizer-reconstruction", action="store_true", help="measure the model's own tokenizer in the same way"
    )
    parser.add_argument("--task", required=True, help=f"what to evaluate: {DEPTH_TASK}")
    parser.add_argument(
        "--data",
        required=True,
        metavar="INDEX",
        help="index.json, CSV file or folder of RGB-D pairs, nyu_depth:ROOT, or synthetic",
    )
    parser.add_argument("--split", required=True, help="which part of the data")
    parser.add_argument("--root", metavar="DIR", help="where the index's relative paths start (default: at the index)")
    parser.add_argument("--depth-scale", type=float, help="stored depth per metre, if the index does not say")
    parser.add_argument("--limit", type=int, help="at most so many images, spread evenly over the split")
    parser.add_argument("--batch-size", type=int, default=8, help="images at a time and process (default: 8)")
    parser.add_argument(
        "--protocol",
        choices=("resize", "tta"),
        default="resize",
        help="squeeze the image into the model's input, or the published windows and mirroring (default: resize)",
    )
    parser.add_argument("--eigen-crop", action="store_true", help="count the Eigen crop of 480x640 maps only")
    parser.add_argument("--min-depth", type=float, default=1e-3, help="metres (default: 0.001)")
    parser.add_argument("--max-depth", type=float, default=10.0, help="metres (default: 10)")
    parser.add_argument(
        "--modes",
        choices=("checkpoint", "all"),
        default="checkpoint",
        help="decode as the checkpoint says, or with every combination of hard and soft tokens",
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--seed", type=int, default=0, help="of whatever a task draws at random; depth draws nothing")
    parser.add_argument("--output", type=Path, default=Path("metrics.json"), metavar="FILE.json")
    parser.add_argument("--gallery", type=Path, metavar="FILE.png", help=f"picture of {GALLERY_ROWS} predictions")
    return parser.parse_args(arguments)


def check_options(options: argparse.Namespace) -> None:
    if options.task != DEPTH_TASK:
        raise ValueError(f"Unknown task {options.task!r}: this script evaluates {DEPTH_TASK}.")
    if options.model is None and options.tokenizer is None:
        raise ValueError("There is nothing to evaluate: give --model, --tokenizer or both.")
    of_models = (options.gallery, options.tokenizer_reconstruction, options.modes == "all", options.eigen_crop)
    if options.model is None and any(of_models):
        raise ValueError("--gallery, --tokenizer-reconstruction, --modes all and --eigen-crop need --model.")
    if options.batch_size < 1 or (options.limit is not None and options.limit < 1):
        raise ValueError("--batch-size and --limit must be at least 1.")
    has_index = options.data != "synthetic" and not options.data.startswith(NYU_PREFIX)
    if not has_index and (options.root is not None or options.depth_scale is not None):
        raise ValueError("--root and --depth-scale go with an index of RGB-D pairs.")


def load_samples(options: argparse.Namespace, image_size: Sequence[int]) -> Sequence[dict[str, Any]]:
    """Samples with `image` and `depth`, by number."""
    if options.data == "synthetic":
        if options.split == "train" and options.limit is None:
            raise ValueError("Synthetic training rooms have no end: give --limit.")
        return list(synthetic_rooms(options.split, size=tuple(image_size), num_examples=options.limit))
    if options.data.startswith(NYU_PREFIX):
        samples = load_nyu_depth(options.data.removeprefix(NYU_PREFIX), options.split)
    else:
        samples = load_rgbd(options.data, options.split, root=options.root, depth_scale=options.depth_scale)
    return evenly(samples, options.limit)


def load_tokenizer(folder: str | Path) -> VQTokenizer:
    """A saved tokenizer.

    Raises:
        OSError: The folder or a file in it is missing or damaged.
        ValueError: It holds something else.
    """
    config = Path(folder) / "config.json"
    if not config.is_file():
        raise FileNotFoundError(f"{config} does not exist: give the folder of a saved VQTokenizer.")
    if VQTokenizer.load_config(folder).get("_class_name") != VQTokenizer.__name__:
        raise ValueError(f"{config} is not that of a VQTokenizer.")
    return VQTokenizer.from_pretrained(folder, use_safetensors=True).eval()


def evaluate(options: argparse.Namespace, accelerator: Accelerator) -> dict[str, Any]:
    model = processor = None
    tokenizers = {}  # by name, with the size of the maps that they rebuild
    if options.tokenizer is not None:
        tokenizer = load_tokenizer(options.tokenizer).to(accelerator.device)
        image_size = [tokenizer.config.sample_size] * 2
        tokenizers["tokenizer"] = (tokenizer, image_size)
    if options.model is not None:
        model, processor = load_model_and_processor(options.model, options.task, accelerator.device, options.dtype)
        image_size = model.config.task(options.task).image_size
        if options.tokenizer_reconstruction:
            own = model.tokenizers[model.grammar(options.task).codebook]
            tokenizers["the model's tokenizer"] = (own, image_size)
    samples = load_samples(options, image_size)
    loader = accelerator.prepare(DataLoader(samples, batch_size=options.batch_size, collate_fn=rgbd_collator))

    tta = options.protocol == "tta"
    common = {"accelerator": accelerator, "tta": tta}
    common |= {"min_depth": options.min_depth, "max_depth": options.max_depth}
    results = {}
    if model is not None:
        modes = decoding_modes(model.config.parallel) if options.modes == "all" else {"as the checkpoint says": {}}
        crop = "eigen" if options.eigen_crop else None
        for mode, settings in modes.items():
            results[mode] = evaluate_depth(model, processor, loader, crop=crop, description=mode, **common, **settings)
    for name, (tokenizer, size) in tokenizers.items():
        results[name] = evaluate_tokenizer(tokenizer, loader, image_size=size, description=name, **common)

    if accelerator.is_main_process:
        asked = ("model", "tokenizer", "task", "data", "split", "limit", "protocol", "eigen_crop", "dtype")
        report = {name: vars(options)[name] for name in (*asked, "min_depth", "max_depth")}
        write_text(options.output, json.dumps(report | {"results": results}, indent=2) + "\n")
        if options.gallery is not None:
            chosen = evenly(samples, GALLERY_ROWS)
            rows = depth_gallery_rows(model, processor, [chosen[i] for i in range(len(chosen))], tta=tta)
            save_image(depth_gallery(rows), options.gallery)
    return results


def table(results: dict[str, dict[str, float]]) -> str:
    columns = ("rmse", "delta1", "abs_rel", "log10", "rmse_log", "silog", "token_distance", "perplexity", "num_images")
    columns = [name for name in columns if any(name in result for result in results.values())]
    lines = [["", *columns]]
    for mode, result in results.items():
        lines.append([mode, *(f"{result[name]:.4g}" if name in result else "" for name in columns)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(line, widths)))
        for line in lines
    )


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    for library in (logging, diffusers.utils.logging, datasets.utils.logging):
        library.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    accelerator = Accelerator()
    set_seed(options.seed)
    try:
        check_options(options)
        results = evaluate(options, accelerator)
    except (ValueError, OSError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        sys.exit(2)
    if accelerator.is_main_process:
        print(table(results))
        print(f"Wrote {options.output}.")
    accelerator.end_training()
