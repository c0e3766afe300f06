# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Depth of photographs, or the objects in them, from a saved model.

    python scripts/predict.py --model runs/demo/aitp --task depth --output predictions photo.jpg more_photos/
    python scripts/predict.py --model DIR --task depth --output predictions --tta --device cuda "nyu/rgb_*.jpg"
    python scripts/predict.py --model DIR --task instance-segmentation --output predictions --threshold 0.5 photo.jpg

For every image `NAME.*`, at its size:

- depth: `NAME_depth.png` (16 bits, millimetres), `NAME_color.png` (colour map, near is blue) and
  `NAME_uncertainty.png` (dark is certain);
- object-detection, instance-segmentation: `NAME_objects.json`, a list of objects with `label`, `score`, `box`
  (x1, y1, x2, y2, pixels) and, for instances, `segmentation` (COCO's uncompressed run lengths), and
  `NAME_objects.png`, where they are drawn.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm
from transformers import set_seed
from transformers.utils import logging

from ait_hf import AiTForDenseTokenGeneration, AiTImageProcessor
from ait_hf.inference import (
    DEPTH_TASK,
    OBJECT_TASKS,
    check_frame,
    find_images,
    image_height_and_width,
    input_size,
    load_model_and_processor,
    predict_depth,
    predict_objects,
    read_image,
)
from ait_hf.masks_ait import rle_to_mask
from ait_hf.object_visualization import draw_objects
from ait_hf.training.files import write_text
from ait_hf.visualization import colorize_depth, colorize_uncertainty, save_depth_png, save_image


TASKS = (DEPTH_TASK, *OBJECT_TASKS)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders of images, or quoted globs")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a saved model")
    parser.add_argument("--task", required=True, help=f"what to predict: {', '.join(TASKS)}")
    parser.add_argument("--output", required=True, type=Path, metavar="OUT", help="folder for the results")
    parser.add_argument(
        "--tta",
        action="store_true",
        help="depth's published test protocol: square windows side by side, each also mirrored, averaged "
        "(by default the whole image is squeezed into the model's input)",
    )
    parser.add_argument("--threshold", type=score, metavar="P", help="least score of an object, 0 to 1 (default: 0.3)")
    parser.add_argument("--batch-size", type=positive(int), default=8, help="images at a time (default: 8)")
    add_model_arguments(parser)
    return parser.parse_args(arguments)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--solver", choices=("hard", "soft"), help="tokens fed back into the task-solver")
    parser.add_argument("--detokenizer", choices=("hard", "soft"), help="tokens given to the detokenizer")
    parser.add_argument("--seed", type=int, default=0, help="of whatever is drawn at random")
    parser.add_argument("--temperature", type=positive(float), help="tau of soft tokens in the detokenizer")


def positive(number: type):
    def parse(text: str):
        value = number(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not positive")
        return value

    return parse


def score(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..1")
    return value


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


def check_task(options: argparse.Namespace) -> None:
    if options.task not in TASKS:
        raise ValueError(f"Unknown task {options.task!r}: this script predicts {', '.join(TASKS)}.")
    if options.tta and options.task != DEPTH_TASK:
        raise ValueError("The windows of --tta are for depth: leave it out.")
    if options.threshold is not None and options.task == DEPTH_TASK:
        raise ValueError("Depth has no objects whose scores --threshold could limit: leave it out.")


def check_images(paths: list[Path], model_size: list[int], tta: bool) -> None:
    """Decodes every image once, so that a bad one is found before the work and not in the middle of it."""
    for path in paths:
        try:
            input_size(model_size, image_height_and_width(read_image(path)), tta)
        except ValueError as error:
            raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


class DepthWriter:
    """Predicts depth and writes it as three pictures."""

    results = "depth, colours and uncertainty"

    def __init__(self, model: AiTForDenseTokenGeneration, processor: AiTImageProcessor, options, settings: dict):
        self.model, self.processor, self.output = model, processor, options.output
        self.settings = settings | {"tta": options.tta}

    def __call__(self, paths: Sequence[Path], images: Sequence[Image.Image]) -> None:
        for path, prediction in zip(paths, predict_depth(self.model, self.processor, images, **self.settings)):
            depth, uncertainty = (prediction[name].cpu().numpy() for name in ("predicted_depth", "uncertainty"))
            save_depth_png(depth, self.output / f"{path.stem}_depth.png")
            save_image(colorize_depth(depth), self.output / f"{path.stem}_color.png")
            save_image(colorize_uncertainty(uncertainty.clip(0, 1)), self.output / f"{path.stem}_uncertainty.png")


class ObjectWriter:
    """Predicts objects, and writes them as JSON and draws them."""

    results = "objects and pictures"

    def __init__(self, model: AiTForDenseTokenGeneration, processor: AiTImageProcessor, options, settings: dict):
        check_frame(model, processor, options.task)
        self.model, self.processor, self.output = model, processor, options.output
        self.threshold = 0.3 if options.threshold is None else options.threshold
        self.settings = settings | {"task": options.task, "threshold": self.threshold}

    def __call__(self, paths: Sequence[Path], images: Sequence[Image.Image]) -> None:
        predictions = predict_objects(self.model, self.processor, images, **self.settings)
        for path, image, objects in zip(paths, images, predictions):
            objects |= {name: objects[name].tolist() for name in ("scores", "labels", "boxes")}
            self._write_json(objects, self.output / f"{path.stem}_objects.json")
            self._draw(image, objects, self.output / f"{path.stem}_objects.png")

    def _write_json(self, objects: dict, path: Path) -> None:
        names = [self.model.config.id2label[label] for label in objects["labels"]]
        columns = {"label": names, "score": objects["scores"], "box": objects["boxes"]}
        if "masks" in objects:
            columns["segmentation"] = objects["masks"]
        records = [dict(zip(columns, values)) for values in zip(*columns.values())]
        write_text(path, json.dumps(records) + "\n")

    def _draw(self, image: Image.Image, objects: dict, path: Path) -> None:
        masks = None
        if objects.get("masks"):
            masks = np.stack([rle_to_mask(rle).numpy() for rle in objects["masks"]])
        picture = draw_objects(
            np.asarray(image), objects["boxes"], objects["labels"], objects["scores"], masks,
            self.model.config.id2label, self.threshold,
        )  # fmt: skip
        save_image(picture, path)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    set_seed(options.seed)
    try:
        check_task(options)
        paths = find_images(options.images)
        model, processor = load_model_and_processor(options.model, options.task, options.device, options.dtype)
        settings = generation_settings(options, model.config.parallel)
        write_predictions = (DepthWriter if options.task == DEPTH_TASK else ObjectWriter)(
            model, processor, options, settings
        )
        check_images(paths, model.config.task(options.task).image_size, options.tta)
        options.output.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        print(f"predict.py: {error}", file=sys.stderr)
        sys.exit(2)
    with tqdm(total=len(paths), desc="predicting", unit="image") as progress:
        for start in range(0, len(paths), options.batch_size):
            batch = paths[start : start + options.batch_size]
            write_predictions(batch, [read_image(path) for path in batch])
            progress.update(len(batch))
    print(f"Wrote {write_predictions.results} of {len(paths)} images to {options.output}.")


if __name__ == "__main__":
    main()
