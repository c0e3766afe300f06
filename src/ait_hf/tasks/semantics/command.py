# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What [`~ait_hf.commands.evaluate`] does for semantic segmentation."""

import argparse
import logging
from collections.abc import Sequence
from functools import partial

from accelerate import Accelerator
from torch.utils.data import DataLoader

from ...data.classes import DataClasses, measuring_warnings, pair_classes
from ...data.label_maps import (
    ade20k_classes,
    load_ade20k,
    load_label_maps,
    read_class_names,
    shown_classes,
    split_folders,
)
from ...data.rooms.depth import EVALUATION_EXAMPLES
from ...data.rooms.labels import LABEL_CLASSES, SyntheticLabelMaps
from ...data.subset import evenly
from ...drawing.picture_files import save_image
from ...inference.generating import decoding_modes
from ...inference.loading import load_model_and_processor
from ...model.tokenization_vq import VQTokenizer
from .drawing import semantic_gallery
from .evaluation import (
    LabelledImage,
    evaluate_semantic,
    evaluate_semantic_tokenizer,
    labelled_image_collator,
    semantic_gallery_rows,
)
from .prediction import SEMANTIC_TASK


logger = logging.getLogger(__name__)

LABELS_PREFIX, ADE20K_PREFIX = "labels:", "ade20k:"
GALLERY_ROWS = 6


def evaluate_semantic_task(
    options: argparse.Namespace, tokenizer: VQTokenizer | None, accelerator: Accelerator
) -> dict[str, dict[str, float]]:
    """The values of every mode of the model and of every tokenizer, by name; draws the gallery."""
    model = processor = None
    tokenizers = {} if tokenizer is None else {"tokenizer": tokenizer}
    if options.model is not None:
        model, processor = load_model_and_processor(options.model, SEMANTIC_TASK, accelerator.device, options.dtype)
        image_size = model.config.task(SEMANTIC_TASK).image_size
        if options.tokenizer_reconstruction:
            tokenizers["the model's tokenizer"] = model.task_tokenizer(SEMANTIC_TASK)
    else:
        image_size = tokenizer.map_size
    of_model = None if model is None else model.config.class_names(SEMANTIC_TASK)
    rows, classes = _load_data(options, of_model, tuple(image_size))

    results, common = {}, {"class_names": classes.names, "accelerator": accelerator}
    if model is not None:
        pairs = pair_classes(
            of_model, classes, options.model, option="--classes-by-order", by_order=options.classes_by_order
        )
        if accelerator.is_main_process:
            for warning in measuring_warnings(pairs, classes, options.model):
                logger.warning(warning)
        collator = partial(labelled_image_collator, processor=processor)
        loader = accelerator.prepare(DataLoader(rows, batch_size=options.batch_size, collate_fn=collator))
        modes = decoding_modes(model.config.parallel) if options.modes == "all" else {"as the checkpoint says": {}}
        common["class_numbers"] = pairs.numbers
        for mode, settings in modes.items():
            results[mode] = evaluate_semantic(model, processor, loader, description=mode, **common, **settings)
    for name, measured in tokenizers.items():
        own = dict(common)
        if measured.config.class_names:
            own["class_numbers"] = pair_classes(
                measured.config.class_names, classes, name, option="--classes FILE"
            ).numbers
        results[name] = evaluate_semantic_tokenizer(
            measured, rows, image_size=image_size, batch_size=options.batch_size, description=name, **own
        )
    if accelerator.is_main_process and options.gallery is not None:
        chosen = evenly(rows, GALLERY_ROWS)
        drawn = [chosen[number] for number in range(len(chosen))]
        drawn = semantic_gallery_rows(model, processor, drawn, class_numbers=pairs.numbers)
        save_image(semantic_gallery(drawn, pairs.names), options.gallery)
    return results


def _load_data(
    options: argparse.Namespace, of_model: Sequence[str] | None, room_size: tuple[int, int]
) -> tuple[Sequence[LabelledImage], DataClasses]:
    """Labelled images by number, and their classes: by default those `of_model`."""
    kind, _, root = options.data.partition(":")
    if options.data == "synthetic":
        rooms = SyntheticLabelMaps(options.split, room_size, people=options.people)
        names = LABEL_CLASSES if options.people else LABEL_CLASSES[:-1]
        rows = [rooms[number] for number in range(options.limit or EVALUATION_EXAMPLES)]
        return rows, DataClasses("The data set of synthetic rooms", names)
    if f"{kind}:" == ADE20K_PREFIX:
        names, rows = ade20k_classes(root), load_ade20k(root, options.split)
    else:
        names = of_model if options.classes is None else read_class_names(options.classes)
        folders = split_folders(root, options.split)
        numbers = {name: getattr(options, name) for name in ("first_id", "class_ids", "ignored_ids")}
        rows = load_label_maps(*folders, len(names), **numbers)
    return evenly(rows, options.limit), DataClasses(f"{root} ({options.split})", names, shown_classes(rows))
