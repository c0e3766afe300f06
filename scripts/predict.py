# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
What a saved model sees in photographs: depth, objects, poses, classes of pixels, or maps of your own.

    python scripts/predict.py --model runs/demo/aitp --task depth --output predictions photo.jpg more_photos/
    python scripts/predict.py --model DIR --task depth --output predictions --tta --device cuda "nyu/rgb_*.jpg"
    python scripts/predict.py --model DIR --task instance-segmentation --output predictions --threshold 0.5 photo.jpg
    python scripts/predict.py --model DIR --task keypoint-detection --output predictions --boxes boxes.json photo.jpg
    python scripts/predict.py --model DIR --task semantic-segmentation --output predictions photo.jpg
    python scripts/predict.py --model DIR --task normals --output predictions photo.jpg
    python scripts/predict.py --model DIR --task all --output predictions photo.jpg

For every image `NAME.*`, at its size:

- depth: `NAME_depth.png` (16 bits, millimetres), `NAME_color.png` (colour map, near is blue) and
  `NAME_uncertainty.png` (dark is certain);
- object-detection, instance-segmentation: `NAME_objects.json`, a list of objects with `label`, `score`, `box`
  (x1, y1, x2, y2, pixels) and, for instances, `segmentation` (COCO's uncompressed run lengths), and
  `NAME_objects.png`, where they are drawn;
- keypoint-detection: `NAME_keypoints.json`, a list of people with `score`, `box` and `keypoints` (x, y, score by the
  joint's name), and `NAME_keypoints.png`. People are in the boxes of boxes.json, `{"photo.jpg": [[x, y, width, height],
  ...], ...}` in pixels, or where the same model detects them, if it has learned objects with the class "person";
- semantic-segmentation: `NAME_labels.png`, 8 bits, the numbers of the model's classes (`id2label` in its config.json),
  and `NAME_semantics.png`, where they are drawn;
- a dense task of your own, say TASK: `NAME_TASK.npy`, float32 (height, width, channels), and `NAME_TASK.png`;
- all: what every task of the model gives, and `NAME_all.png`, their pictures side by side. Of tasks whose files have the
  same names (object-detection and instance-segmentation, say) it is the one with the higher number, `task_id` in
  config.json. People need boxes.json, or a class "person" among the objects.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import set_seed
from transformers.utils import logging

from ait_hf import AiTConfig, AiTForDenseTokenGeneration
from ait_hf.commands.overview import write_overview
from ait_hf.data.box_checks import check_box_format
from ait_hf.data.files import name_key
from ait_hf.data.json_values import finite_numbers, read_json
from ait_hf.data.skeletons import COCO_SKELETON, skeleton
from ait_hf.inference.images import find_images, image_height_and_width
from ait_hf.inference.loading import load_model, load_processor
from ait_hf.inference.poses import person_task
from ait_hf.model.image_reading_ait import read_image, read_picture_header
from ait_hf.recipes.arguments import device, positive, score, seed
from ait_hf.recipes.faults import command
from ait_hf.tasks.depth.prediction import depth_writer, input_size
from ait_hf.tasks.maps.prediction import map_writer
from ait_hf.tasks.objects.prediction import object_writer
from ait_hf.tasks.poses.prediction import FindPeople, given_people, own_people, pose_writer
from ait_hf.tasks.semantics.prediction import semantic_writer
from ait_hf.tasks.writer import Writer
from ait_hf.training.precision import set_tf32


ALL_TASKS = "all"
# What the names of files are made of, by the type of a task's output; those of a map have the task's name.
OUTPUT_FILES = {
    "depth": "depth",
    "objects": "objects",
    "pose": "keypoints",
    "semantic": "semantics",
    "label_map": "semantics",
}


# Options that only some types of output have.
OWN_OPTIONS = {
    "tta": ("depth",),
    "threshold": ("objects", "pose"),
    "boxes": ("pose",),
    "flip_test": ("pose",),
    "skeleton": ("pose",),
}


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders of images, or quoted globs")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a saved model")
    parser.add_argument("--task", required=True, help="what to predict: a task of the model, or all")
    parser.add_argument("--output", required=True, type=Path, metavar="OUT", help="folder for the results")
    parser.add_argument(
        "--tta",
        action="store_true",
        help="depth's published test protocol: square windows side by side, each also mirrored, averaged "
        "(by default the whole image is squeezed into the model's input)",
    )
    parser.add_argument(
        "--threshold",
        type=score,
        metavar="P",
        help="least score, 0 to 1, of an object, or of a person whose pose is wanted (default: 0.3)",
    )
    parser.add_argument("--boxes", type=Path, metavar="FILE.json", help="where people are, for their poses")
    parser.add_argument("--flip-test", action="store_true", help="average poses with those of the mirrored image")
    parser.add_argument("--skeleton", metavar="NAME", help="what the joints of poses are (default: coco)")
    parser.add_argument("--batch-size", type=positive(int), default=8, help="images at a time (default: 8)")
    add_model_arguments(parser)
    return parser.parse_args(arguments)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", type=device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument(
        "--tf32",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="round products of float32 matrices to TF32 on a GPU that has it (default: yes)",
    )
    parser.add_argument("--solver", choices=("hard", "soft"), help="tokens fed back into the task-solver")
    parser.add_argument("--detokenizer", choices=("hard", "soft"), help="tokens given to the detokenizer")
    parser.add_argument("--seed", type=seed, default=0, help="of whatever is drawn at random")
    parser.add_argument("--temperature", type=positive(float), help="tau of soft tokens in the detokenizer")


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


def chosen_tasks(config: AiTConfig, name: str) -> list[str]:
    """The task of that name, or one for every kind of files that the model's tasks can fill."""
    if name != ALL_TASKS:
        return [name]
    by_files = {}
    for task in sorted(config.tasks, key=lambda task: config.task(task).task_id):
        output_type = config.task(task).output_type
        if output_type is not None:
            by_files[task if output_type == "map" else OUTPUT_FILES[output_type]] = task
    return list(by_files.values())


def check_options(options: argparse.Namespace, output_types: set[str]) -> None:
    for name, types in OWN_OPTIONS.items():
        if getattr(options, name) not in (None, False) and not output_types & set(types):
            raise ValueError(f"--{name.replace('_', '-')} has no meaning for the task {options.task}: leave it out.")
    if options.boxes is not None and options.threshold is not None:
        raise ValueError("--threshold is that of people whom the model finds itself: leave out it or --boxes.")


def check_images(paths: list[Path], model_size: list[int], tta: bool) -> dict[Path, tuple[int, int]]:
    """Decodes every image once, so that a bad one is found before the work and not in the middle of it; the heights and
    widths."""
    sizes = {}
    for path in paths:
        try:
            sizes[path] = image_height_and_width(read_image(path))
            input_size(model_size, sizes[path], tta)
        except ValueError as error:
            raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    return sizes


def read_boxes(file: Path, sizes: dict[Path, tuple[int, int]]) -> dict[Path, list[list[float]]]:
    """Boxes x, y, width, height of the images by their names; every one shows a part of its image."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist.")
    content = read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f'{file} must hold {{"photo.jpg": [[x, y, width, height], ...], ...}}.')
    by_name = {name_key(name): found for name, found in content.items()}
    boxes = {}
    for path, (image_height, image_width) in sizes.items():
        boxes[path] = by_name.get(name_key(path.name))
        if not isinstance(boxes[path], list):
            raise ValueError(f"{file} has no list of boxes for {path.name}; give [] if nobody is in the image.")
        for number, box in enumerate(boxes[path]):
            x, y, width, height = finite_numbers(box, 4, f"{file}: box {number} of {path.name} is")
            if min(width, height) <= 0 or x >= image_width or y >= image_height or x + width <= 0 or y + height <= 0:
                is_turned = read_picture_header(path).orientation != 1
                hint = " Boxes are in the pixels of the picture as its EXIF orientation turns it." if is_turned else ""
                raise ValueError(f"{file}: box {number} of {path.name}, {box}, has no area inside of the image.{hint}")
    listed = [(*box, width, height) for path, (height, width) in sizes.items() for box in boxes[path]]
    numbers = np.reshape(listed, (-1, 6))
    check_box_format(numbers[:, :4], numbers[:, 4:], str(file), detected=True)
    return boxes


def people_finder(
    options: argparse.Namespace, model: AiTForDenseTokenGeneration, sizes: dict[Path, tuple[int, int]]
) -> FindPeople:
    if options.boxes is not None:
        return given_people(read_boxes(options.boxes, sizes))
    processor = load_processor(options.model, person_task(model.config))
    return own_people(model, processor, threshold=least_score(options))


def least_score(options: argparse.Namespace) -> float:
    return 0.3 if options.threshold is None else options.threshold


def make_writer(
    options: argparse.Namespace,
    model: AiTForDenseTokenGeneration,
    task: str,
    sizes: dict[Path, tuple[int, int]],
) -> Writer:
    processor = load_processor(options.model, task)
    settings = generation_settings(options, model.config.parallel)
    match model.config.task(task).output_type:
        case "depth":
            return depth_writer(model, processor, options.output, tta=options.tta, **settings)
        case "objects":
            make = partial(object_writer, threshold=least_score(options))
        case "pose":
            make = partial(
                pose_writer,
                find_people=people_finder(options, model, sizes),
                skeleton=skeleton(options.skeleton or COCO_SKELETON.name),
                flip_test=options.flip_test,
            )
        case "semantic" | "label_map":
            make = semantic_writer
        case "map":
            make = map_writer
        case None:
            raise ValueError(f"The task {task} declares no type of output: there is nothing to write.")
    return make(model, processor, options.output, task=task, **settings)


@command("predict.py")
def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    set_tf32(options.tf32)
    set_seed(options.seed)
    paths = find_images(options.images)
    model = load_model(options.model, options.device, options.dtype)
    tasks = chosen_tasks(model.config, options.task)
    check_options(options, {model.config.task(task).output_type for task in tasks})
    for task in tasks:
        sizes = check_images(paths, model.config.task(task).image_size, options.tta)
    writers = {task: make_writer(options, model, task, sizes) for task in tasks}
    options.output.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(paths), desc="predicting", unit="image") as progress:
        for start in range(0, len(paths), options.batch_size):
            batch = paths[start : start + options.batch_size]
            images = [read_image(path) for path in batch]
            pictures = {task: write(batch, images) for task, write in writers.items()}
            if options.task == ALL_TASKS:
                for number, (path, image) in enumerate(zip(batch, images)):
                    of_image = {task: drawn[number] for task, drawn in pictures.items()}
                    write_overview(path, image, of_image, options.output)
            progress.update(len(batch))
    print(f"Wrote what {', '.join(tasks)} gives of {len(paths)} images to {options.output}.")


if __name__ == "__main__":
    main()
