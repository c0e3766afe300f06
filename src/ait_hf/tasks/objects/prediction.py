# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The objects in photographs as files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...data.writing import write_json
from ...drawing.picture_files import save_image
from ...inference.generating import check_frame
from ...inference.objects import predict_objects
from ...model.image_processing_ait import AiTImageProcessor
from ...model.masks_ait import rle_to_mask
from ...model.modeling_ait import AiTForDenseTokenGeneration
from ..writer import Writer
from .drawing import draw_objects


def object_writer(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    output: Path,
    *,
    task: str,
    threshold: float,
    **settings,
) -> Writer:
    """`NAME_objects.json` and `NAME_objects.png`. Settings are those of [`~ait_hf.inference.objects.predict_objects`]."""
    check_frame(model, processor, task)
    names = model.config.id2label

    def write(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[np.ndarray]:
        pictures = []
        predictions = predict_objects(model, processor, images, task=task, threshold=threshold, **settings)
        for path, image, objects in zip(paths, images, predictions):
            objects |= {name: objects[name].tolist() for name in ("scores", "labels", "boxes")}
            write_json(output / f"{path.stem}_objects.json", _object_records(objects, names))
            masks = [rle_to_mask(rle).numpy() for rle in objects.get("masks", ())]
            picture = draw_objects(
                np.asarray(image), objects["boxes"], objects["labels"], objects["scores"],
                np.stack(masks) if masks else None, names, threshold,
            )  # fmt: skip
            pictures.append(np.asarray(picture))
            save_image(picture, output / f"{path.stem}_objects.png")
        return pictures

    return write


def _object_records(objects: dict[str, Any], names: dict[int, str]) -> list[dict[str, Any]]:
    columns = {"label": [names[label] for label in objects["labels"]]}
    columns |= {"score": objects["scores"], "box": objects["boxes"]}
    if "masks" in objects:
        columns["segmentation"] = objects["masks"]
    return [dict(zip(columns, values)) for values in zip(*columns.values())]
