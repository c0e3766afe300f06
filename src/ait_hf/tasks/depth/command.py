# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What [`~ait_hf.commands.evaluate`] does for depth."""

import argparse
from collections.abc import Sequence
from typing import Any

from accelerate import Accelerator
from torch.utils.data import DataLoader

from ...data.nyu_depth import load_nyu_depth
from ...data.rgbd import load_rgbd
from ...data.rooms.depth import synthetic_rooms
from ...data.subset import evenly
from ...drawing.picture_files import save_image
from ...inference.generating import decoding_modes
from ...inference.loading import load_model_and_processor
from ...model.tokenization_vq import VQTokenizer
from .drawing import depth_gallery
from .evaluation import depth_gallery_rows, evaluate_depth, evaluate_tokenizer, rgbd_collator
from .prediction import DEPTH_TASK


NYU_PREFIX = "nyu_depth:"
GALLERY_ROWS = 6


def evaluate_depth_task(
    options: argparse.Namespace, tokenizer: VQTokenizer | None, accelerator: Accelerator
) -> dict[str, dict[str, float]]:
    """The values of every mode of the model and of every tokenizer, by name; draws the gallery."""
    model = processor = None
    tokenizers = {}  # by name, with the size of the maps that they rebuild
    if tokenizer is not None:
        image_size = tokenizer.map_size
        tokenizers["tokenizer"] = (tokenizer, image_size)
    if options.model is not None:
        model, processor = load_model_and_processor(options.model, DEPTH_TASK, accelerator.device, options.dtype)
        image_size = model.config.task(DEPTH_TASK).image_size
        if options.tokenizer_reconstruction:
            own = model.task_tokenizer(DEPTH_TASK)
            tokenizers["the model's tokenizer"] = (own, image_size)
    samples = _load_samples(options, image_size)
    loader = accelerator.prepare(DataLoader(samples, batch_size=options.batch_size, collate_fn=rgbd_collator))

    tta = options.protocol == "tta"
    common = {"accelerator": accelerator, "tta": tta}
    common |= {"min_depth": options.min_depth, "max_depth": options.max_depth}
    common |= {"crop": "eigen" if options.eigen_crop else None}
    results = {}
    if model is not None:
        modes = decoding_modes(model.config.parallel) if options.modes == "all" else {"as the checkpoint says": {}}
        for mode, settings in modes.items():
            results[mode] = evaluate_depth(model, processor, loader, description=mode, **common, **settings)
    for name, (measured, size) in tokenizers.items():
        results[name] = evaluate_tokenizer(measured, loader, image_size=size, description=name, **common)
    if accelerator.is_main_process and options.gallery is not None:
        chosen = evenly(samples, GALLERY_ROWS)
        rows = depth_gallery_rows(model, processor, [chosen[i] for i in range(len(chosen))], tta=tta)
        save_image(depth_gallery(rows), options.gallery)
    return results


def _load_samples(options: argparse.Namespace, image_size: Sequence[int]) -> Sequence[dict[str, Any]]:
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
