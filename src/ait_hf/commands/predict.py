# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a saved model sees in photographs: `ait predict`."""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm
from transformers import set_seed
from transformers.utils import logging

from ..data.box_checks import check_box_format
from ..data.files import name_key
from ..data.json_values import finite_numbers, read_json
from ..data.skeletons import COCO_SKELETON, skeleton
from ..inference.images import find_images, image_height_and_width
from ..inference.loading import load_model, load_processor
from ..model.configuration_ait import AiTConfig
from ..model.image_reading_ait import read_image, read_picture_header
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..tasks.depth.prediction import depth_writer, input_size
from ..tasks.maps.prediction import map_writer
from ..tasks.objects.prediction import object_writer
from ..tasks.poses.prediction import FindPeople, given_people, own_people, person_task, pose_writer
from ..tasks.semantics.prediction import semantic_writer
from ..tasks.writer import Writer
from ..training.precision import set_tf32
from .devices import best_device
from .overview import write_overview


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


def run(options: argparse.Namespace) -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    set_tf32(options.tf32)
    set_seed(options.seed)
    paths = find_images(options.images)
    model = load_model(options.model, options.device or best_device(), options.dtype)
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
