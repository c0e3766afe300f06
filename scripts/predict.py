# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Depth of photographs, from a saved model.

    python scripts/predict.py --model runs/demo/aitp --task depth --output predictions photo.jpg more_photos/
    python scripts/predict.py --model DIR --task depth --output predictions --tta --device cuda "nyu/rgb_*.jpg"

For every image `NAME.*`, at its size: `NAME_depth.png` (16 bits, millimetres), `NAME_color.png` (colour map, near is
blue) and `NAME_uncertainty.png` (dark is certain).
"""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image
from tqdm.auto import tqdm
from transformers import set_seed
from transformers.utils import logging

from ait_hf.inference import (
    DEPTH_TASK,
    find_images,
    image_height_and_width,
    input_size,
    load_model_and_processor,
    predict_depth,
    read_image,
)
from ait_hf.visualization import colorize_depth, colorize_uncertainty, save_depth_png, save_image


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders of images, or quoted globs")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a saved model")
    parser.add_argument("--task", required=True, help=f"what to predict: {DEPTH_TASK}")
    parser.add_argument("--output", required=True, type=Path, metavar="OUT", help="folder for the results")
    parser.add_argument(
        "--tta",
        action="store_true",
        help="the published test protocol: square windows side by side, each also mirrored, averaged "
        "(by default the whole image is squeezed into the model's input)",
    )
    parser.add_argument("--batch-size", type=positive(int), default=8, help="images at a time (default: 8)")
    add_model_arguments(parser)
    return parser.parse_args(arguments)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--solver", choices=("hard", "soft"), help="tokens fed back into the task-solver")
    parser.add_argument("--detokenizer", choices=("hard", "soft"), help="tokens given to the detokenizer")
    parser.add_argument("--seed", type=int, default=0, help="of whatever a task draws at random; depth draws nothing")
    parser.add_argument("--temperature", type=positive(float), help="tau of soft tokens in the detokenizer")


def positive(number: type):
    def parse(text: str):
        value = number(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not positive")
        return value

    return parse


def generation_settings(options: argparse.Namespace, parallel: bool) -> dict[str, bool | float]:
    """Settings of `generate()` that were chosen; the others are the checkpoint's."""
    if parallel and options.solver is not None:
        raise ValueError("This is a parallel model, which feeds no tokens back: leave out --solver.")
    if options.detokenizer == "hard" and options.temperature is not None:
        raise ValueError("The temperature is that of soft tokens: leave out --temperature or --detokenizer hard.")
    settings = {
        "soft_solver": None if options.solver is None else options.solver == "soft",
        "soft_detokenizer": None if options.detokenizer is None else options.detokenizer == "soft",
        "soft_temperature": options.temperature,
    }
    return {name: value for name, value in settings.items() if value is not None}


def check_images(paths: list[Path], model_size: list[int], tta: bool) -> None:
    """Decodes every image once, so that a bad one is found before the work and not in the middle of it."""
    for path in paths:
        try:
            input_size(model_size, image_height_and_width(read_image(path)), tta)
        except ValueError as error:
            raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def write_results(prediction: dict[str, torch.Tensor], path: Path, output: Path) -> None:
    depth, uncertainty = prediction["predicted_depth"].cpu().numpy(), prediction["uncertainty"].cpu().numpy()
    save_depth_png(depth, output / f"{path.stem}_depth.png")
    save_image(colorize_depth(depth), output / f"{path.stem}_color.png")
    save_image(colorize_uncertainty(uncertainty.clip(0, 1)), output / f"{path.stem}_uncertainty.png")


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    set_seed(options.seed)
    try:
        if options.task != DEPTH_TASK:
            raise ValueError(f"Unknown task {options.task!r}: this script predicts {DEPTH_TASK}.")
        paths = find_images(options.images)
        model, processor = load_model_and_processor(options.model, options.task, options.device, options.dtype)
        settings = generation_settings(options, model.config.parallel)
        check_images(paths, model.config.task(options.task).image_size, options.tta)
        options.output.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        print(f"predict.py: {error}", file=sys.stderr)
        sys.exit(2)
    with tqdm(total=len(paths), desc="predicting", unit="image") as progress:
        for start in range(0, len(paths), options.batch_size):
            batch = paths[start : start + options.batch_size]
            images: list[Image.Image] = [read_image(path) for path in batch]
            for path, prediction in zip(batch, predict_depth(model, processor, images, tta=options.tta, **settings)):
                write_results(prediction, path, options.output)
                progress.update()
    print(f"Wrote depth, colours and uncertainty of {len(paths)} images to {options.output}.")


if __name__ == "__main__":
    main()
