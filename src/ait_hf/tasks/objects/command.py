# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What [`~ait_hf.commands.evaluate`] does for objects."""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch.utils.data import DataLoader

from ...data.classes import DataClasses, measuring_warnings, pair_classes
from ...data.coco import coco_classes, load_coco, shown_labels
from ...data.coco_files import read_coco_file
from ...data.rooms.depth import EVALUATION_EXAMPLES
from ...data.rooms.objects import OBJECT_CLASSES, PEOPLE_CLASSES, SyntheticObjects
from ...data.subset import evenly
from ...data.writing import write_text
from ...drawing.picture_files import save_image
from ...inference.generating import decoding_modes
from ...inference.loading import load_model_and_processor
from ...model.tokenization_vq import VQTokenizer
from .drawing import object_gallery
from .evaluation import (
    CocoResults,
    ObjectRow,
    coco_ground_truth,
    evaluate_mask_tokenizer,
    evaluate_objects,
    image_collator,
    object_gallery_rows,
)


logger = logging.getLogger(__name__)

DETECTION_TASK = "object-detection"
COCO_PREFIX = "coco:"
GALLERY_ROWS = 6
ROOM_SIZE = (96, 96)  # height and width of the rooms that a tokenizer without a model is measured on


@dataclass
class ObjectData:
    """What is evaluated: rows by number, where their ground truth is, and the classes with their category ids."""

    rows: Sequence[ObjectRow]
    ground_truth: dict[str, Any]
    classes: DataClasses
    category_ids: Sequence[int]


def evaluate_object_task(
    options: argparse.Namespace, tokenizer: VQTokenizer | None, accelerator: Accelerator
) -> dict[str, dict[str, float]]:
    """The values of every mode of the model and of every tokenizer, by name; writes results and gallery."""
    model = processor = None
    room_size = ROOM_SIZE
    tokenizers = {} if tokenizer is None else {"tokenizer": tokenizer}
    if options.model is not None:
        model, processor = load_model_and_processor(options.model, options.task, accelerator.device, options.dtype)
        task = model.config.task(options.task)
        room_size = tuple(task.image_size)
        if options.num_objects is not None and not 1 <= options.num_objects <= task.num_groups:
            raise ValueError(f"--num-objects must lie in 1..{task.num_groups}, the most that this model gives.")
        if options.tokenizer_reconstruction:
            tokenizers["the model's tokenizer"] = model.task_tokenizer(options.task)
    data = _load_data(options, room_size)

    results, found = {}, []
    if model is not None:
        pairs = pair_classes(
            model.config.class_names(options.task),
            data.classes,
            options.model,
            option="--classes-by-order",
            by_order=options.classes_by_order,
        )
        if accelerator.is_main_process:
            for warning in measuring_warnings(pairs, data.classes, options.model):
                logger.warning(warning)
        collator = partial(image_collator, processor=processor)
        loader = accelerator.prepare(DataLoader(data.rows, batch_size=options.batch_size, collate_fn=collator))
        modes = decoding_modes(model.config.parallel) if options.modes == "all" else {"as the checkpoint says": {}}
        categories = pairs.by_name(data.category_ids)
        common = {"task": options.task, "category_ids": categories, "accelerator": accelerator}
        common |= {"top_k": options.top_k}
        common |= _generation_settings(options)
        for mode, settings in modes.items():
            results[mode], found = evaluate_objects(
                model, processor, loader, data.ground_truth, description=mode, **common, **settings
            )
    for name, measured in tokenizers.items():
        results[name] = evaluate_mask_tokenizer(
            measured,
            data.rows,
            data.category_ids,
            accelerator=accelerator,
            batch_size=options.batch_size,
            description=name,
        )
    if accelerator.is_main_process:
        if options.results is not None:
            _write_results(options.results, found)
        if options.gallery is not None:
            chosen = evenly(data.rows, GALLERY_ROWS)
            rows = object_gallery_rows(
                model,
                processor,
                [chosen[number] for number in range(len(chosen))],
                task=options.task,
                class_names=pairs.names,
                class_numbers=pairs.numbers,
                **_generation_settings(options),
            )
            save_image(object_gallery(rows), options.gallery)
    return results


def _generation_settings(options: argparse.Namespace) -> dict[str, Any]:
    settings = {"num_objects": options.num_objects, "top_p": options.top_p, "do_sample": options.do_sample or None}
    return {name: value for name, value in settings.items() if value is not None}


def _load_data(options: argparse.Namespace, room_size: tuple[int, int]) -> ObjectData:
    if options.data.startswith(COCO_PREFIX):
        annotations = options.data.removeprefix(COCO_PREFIX)
        with_masks = options.task != DETECTION_TASK
        rows = load_coco(annotations, options.images, with_masks=with_masks)
        names, category_ids = coco_classes(annotations)
        classes = DataClasses(annotations, names, shown_labels(rows))
        rows = rows.select(list(evenly(range(len(rows)), options.limit)))
        truth = read_coco_file(Path(annotations), with_masks=with_masks)  # what it leaves out was logged with the rows
        return ObjectData(rows, truth.content, classes, category_ids)
    rooms = SyntheticObjects(options.split, room_size, people=options.people)
    rows = [rooms[number] for number in range(options.limit or EVALUATION_EXAMPLES)]
    classes = PEOPLE_CLASSES if options.people else OBJECT_CLASSES
    category_ids = list(range(1, len(classes) + 1))
    truth = coco_ground_truth(rows, category_ids)
    return ObjectData(rows, truth, DataClasses("The data set of synthetic rooms", classes), category_ids)


def _write_results(path: Path, found: CocoResults) -> None:
    write_text(path, json.dumps(found) + "\n")
