# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What `scripts/predict.py` writes for the photographs of a batch, by the type of a task's output."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..data.depth_png import save_depth_png
from ..data.skeletons import Skeleton
from ..data.writing import write_file, write_text
from ..drawing.colors import colorize_uncertainty
from ..drawing.page import arrange, resize_picture
from ..drawing.picture_files import save_image
from ..inference.dense import predict_maps, predict_semantics
from ..inference.predicting import (
    check_frame,
    check_skeleton,
    detect_people,
    predict_depth,
    predict_objects,
    predict_poses,
)
from ..model.image_processing_ait import AiTImageProcessor
from ..model.image_processing_pose_ait import AiTPoseImageProcessor
from ..model.masks_ait import rle_to_mask
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..tasks.depth.drawing import colorize_depth
from ..tasks.maps.drawing import colorize_map
from ..tasks.objects.drawing import draw_objects
from ..tasks.poses.drawing import draw_poses
from ..tasks.semantics.drawing import class_palette, draw_label_map


# Writes the predictions of some photographs, given with their files, into a folder; gives a picture of each photograph's,
# uint8 (height, width, 3) at its size.
Writer = Callable[[Sequence[Path], Sequence[Image.Image]], list[np.ndarray]]
# Per photograph, `boxes` (n, 4), x, y, width, height in pixels, and their `scores` (n,).
FindPeople = Callable[[Sequence[Path], Sequence[Image.Image]], list[dict[str, Any]]]

LARGEST_TABLE = 256  # class numbers in 8 bits
OVERVIEW_CELL = 320  # longer side of each picture, pixels


def depth_writer(model: AiTForDenseTokenGeneration, processor: AiTImageProcessor, output: Path, **settings) -> Writer:
    """`NAME_depth.png` (16 bits, millimetres), `NAME_color.png` and `NAME_uncertainty.png`. Settings are those of
    [`~ait_hf.inference.predicting.predict_depth`]."""

    def write(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[np.ndarray]:
        pictures = []
        for path, prediction in zip(paths, predict_depth(model, processor, images, **settings)):
            depth, uncertainty = (prediction[name].cpu().numpy() for name in ("predicted_depth", "uncertainty"))
            save_depth_png(depth, output / f"{path.stem}_depth.png")
            pictures.append(colorize_depth(depth))
            save_image(pictures[-1], output / f"{path.stem}_color.png")
            save_image(colorize_uncertainty(uncertainty.clip(0, 1)), output / f"{path.stem}_uncertainty.png")
        return pictures

    return write


def object_writer(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    output: Path,
    *,
    task: str,
    threshold: float,
    **settings,
) -> Writer:
    """`NAME_objects.json` and `NAME_objects.png`. Settings are those of [`~ait_hf.inference.predicting.predict_objects`]."""
    check_frame(model, processor, task)
    names = model.config.id2label

    def write(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[np.ndarray]:
        pictures = []
        predictions = predict_objects(model, processor, images, task=task, threshold=threshold, **settings)
        for path, image, objects in zip(paths, images, predictions):
            objects |= {name: objects[name].tolist() for name in ("scores", "labels", "boxes")}
            _write_json(_object_records(objects, names), output / f"{path.stem}_objects.json")
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


def pose_writer(
    model: AiTForDenseTokenGeneration,
    processor: AiTPoseImageProcessor,
    output: Path,
    *,
    task: str,
    find_people: FindPeople,
    skeleton: Skeleton,
    **settings,
) -> Writer:
    """`NAME_keypoints.json` and `NAME_keypoints.png`. Settings are those of [`~ait_hf.inference.predicting.predict_poses`]."""
    check_frame(model, processor, task)
    check_skeleton(model, task, skeleton)
    predict = partial(predict_poses, model, processor, task=task, skeleton=skeleton, **settings)

    def write(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[np.ndarray]:
        pictures = []
        found = find_people(paths, images)
        poses = predict(images, [people["boxes"].tolist() for people in found])
        for path, image, image_poses, people in zip(paths, images, poses, found):
            records = [
                _pose_record(pose, box_score, skeleton)
                for pose, box_score in zip(image_poses, people["scores"].tolist(), strict=True)
            ]
            _write_json(records, output / f"{path.stem}_keypoints.json")
            joints = np.zeros((0, len(skeleton.joints), 2))
            if image_poses:
                joints = np.stack([pose["keypoints"].numpy() for pose in image_poses])
            boxes = np.array([record["box"] for record in records]).reshape(-1, 4)
            picture = draw_poses(np.asarray(image), joints, boxes=boxes, skeleton=skeleton)
            pictures.append(np.asarray(picture))
            save_image(picture, output / f"{path.stem}_keypoints.png")
        return pictures

    return write


def _pose_record(pose: dict[str, torch.Tensor], box_score: float, skeleton: Skeleton) -> dict[str, Any]:
    joints = torch.cat([pose["keypoints"], pose["scores"][:, None]], dim=1).tolist()
    return {
        "score": pose["scores"].mean().item() * box_score,
        "box": pose["bbox"].tolist(),
        "keypoints": dict(zip(skeleton.joints, joints, strict=True)),
    }


def own_people(model: AiTForDenseTokenGeneration, processor: AiTImageProcessor, *, threshold: float) -> FindPeople:
    """The people that the model itself detects, see [`~ait_hf.inference.predicting.detect_people`]."""

    def find(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[dict[str, torch.Tensor]]:
        return detect_people(model, processor, images, threshold=threshold)

    return find


def given_people(boxes: dict[Path, list[list[float]]]) -> FindPeople:
    """The boxes x, y, width, height of every photograph, each with the score 1."""

    def find(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[dict[str, torch.Tensor]]:
        given = [torch.tensor(boxes[path], dtype=torch.float64).reshape(-1, 4) for path in paths]
        return [{"boxes": of_image, "scores": torch.ones(len(of_image))} for of_image in given]

    return find


def semantic_writer(
    model: AiTForDenseTokenGeneration, processor: AiTImageProcessor, output: Path, *, task: str, **settings
) -> Writer:
    """`NAME_labels.png` (numbers of the model's classes, 8 bits with a palette) and `NAME_semantics.png`. Settings are
    those of [`~ait_hf.inference.dense.predict_semantics`]."""
    check_frame(model, processor, task)
    names = [model.config.id2label[number] for number in range(model.config.num_classes)]
    if len(names) > LARGEST_TABLE:
        raise ValueError(f"The model has {len(names)} classes, but label maps hold {LARGEST_TABLE}.")

    def write(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[np.ndarray]:
        pictures = []
        label_maps = predict_semantics(model, processor, images, task=task, **settings)
        for path, image, label_map in zip(paths, images, label_maps):
            numbers = label_map.cpu().numpy()
            labels = Image.fromarray(numbers.astype(np.uint8))
            labels.putpalette(class_palette(len(names)).tobytes())
            save_image(labels, output / f"{path.stem}_labels.png")
            pictures.append(draw_label_map(np.asarray(image), numbers, names))
            save_image(pictures[-1], output / f"{path.stem}_semantics.png")
        return pictures

    return write


def map_writer(
    model: AiTForDenseTokenGeneration, processor: AiTImageProcessor, output: Path, *, task: str, **settings
) -> Writer:
    """`NAME_TASK.npy`, float32 `(height, width, channels)`, and `NAME_TASK.png`. Settings are those of
    [`~ait_hf.inference.dense.predict_maps`]."""
    check_frame(model, processor, task)
    unit = model.tokenizers[model.grammar(task).codebook].config.unit

    def write(paths: Sequence[Path], images: Sequence[Image.Image]) -> list[np.ndarray]:
        pictures = []
        for path, prediction in zip(paths, predict_maps(model, processor, images, task=task, **settings)):
            values = prediction["predicted_map"].permute(1, 2, 0).cpu().numpy()
            _write_array(values, output / f"{path.stem}_{task}.npy")
            pictures.append(colorize_map(values, unit))
            save_image(pictures[-1], output / f"{path.stem}_{task}.png")
        return pictures

    return write


def write_overview(path: Path, image: Image.Image, pictures: dict[str, np.ndarray], output: Path) -> None:
    """`NAME_all.png`: the photograph and beside it the pictures of several tasks, by their names."""
    cells = [np.asarray(image), *pictures.values()]
    line = [resize_picture(cell, OVERVIEW_CELL) for cell in cells]
    save_image(arrange(["image", *pictures], [line], OVERVIEW_CELL), output / f"{path.stem}_all.png")


def _write_json(records: list[dict[str, Any]], path: Path) -> None:
    write_text(path, json.dumps(records) + "\n")


def _write_array(values: np.ndarray, path: Path) -> None:
    write_file(path, lambda file: np.save(file, values))
