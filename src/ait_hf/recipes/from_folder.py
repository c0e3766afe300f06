# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A recipe made from a checkpoint and a folder: what `scripts/finetune.py` trains."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import datasets
from transformers import AutoImageProcessor

from ..data.coco_files import CocoContent, entries, read_annotations, read_coco_file
from ..data.files import files_with_suffix
from ..data.label_maps import split_folders
from ..data.picture_sizes import check_pictures
from ..data.pixels import height_and_width
from ..data.rgbd import load_hub_rgbd
from ..data.rgbd_index import INDEX_SUFFIXES, Frame, apply_depth_scale, read_index
from ..data.writing import write_text
from ..inference.loading import MODEL, load_config, loading
from ..model.configuration_ait import AiTConfig
from ..model.image_reading_ait import read_picture_header


HOLD_OUT = 10  # one in so many samples, where the data have no validation split
_VALIDATION_NAMES = ("validation", "val", "valid", "test")
_IMAGE_FOLDERS = ("rgb", "images", "image")
_LEARNING_RATE, _LORA_LEARNING_RATE = 1e-4, 1e-3


@dataclass(kw_only=True)
class FineTuning:
    """
    What is asked for.

    Args:
        model (`str`): Folder or Hub name of an AiT model.
        task (`str`): One of its tasks: `"depth"`, `"object-detection"`, `"instance-segmentation"` or
            `"semantic-segmentation"`.
        data (`str`): depth: an index or a folder of pairs ([`~ait_hf.data.rgbd_index.read_index`]), or a folder of
            parquet or WebDataset shards or a Hub name ([`~ait_hf.data.rgbd.load_hub_rgbd`]); objects: a COCO json file,
            a folder that holds one, or a folder whose folders `train` and `valid` hold one each, as Roboflow writes
            them; semantic: a folder ([`~ait_hf.data.label_maps.split_folders`]).
        output (`str`): Folder of the new model.
        images (`str`, *optional*): Folder of the images that COCO json files name; by default each file's pictures are
            those in its own folder, in `images` in it, or in `images` beside it.
        validation (`str`, *optional*): A second COCO json file to evaluate on, or a folder that holds one. Without it, and
            where the data have no split for it, every tenth sample is held out.
        classes (`list[str]`, *optional*): Names of the classes of label maps. (Objects: those of the json file.)
        class_ids, ignored_ids (`list[int]`, *optional*): Numbers in label maps, see
            [`~ait_hf.data.label_maps.load_label_maps`].
        depth_scale (`float`, *optional*): Divisor from stored depth to metres.
        image_column, depth_column (`str`): Of shards and data sets of the Hub.
        image_size (`list[int]`, *optional*): Height and width in pixels; by default as the model was trained.
        steps, batch_size (`int`): Optimiser steps; samples of each, which processes share.
        lr (`float`, *optional*): Learning rate; 1e-4 by default, 1e-3 with adapters.
        lora (`int`, *optional*): Rank of low-rank adapters to train instead of all weights.
        seed (`int`): Of everything.
    """

    model: str
    task: str
    data: str
    output: str
    images: str | None = None
    validation: str | None = None
    classes: Sequence[str] | None = None
    class_ids: Sequence[int] | None = None
    ignored_ids: Sequence[int] | None = None
    depth_scale: float | None = None
    image_column: str = "image"
    depth_column: str = "depth"
    image_size: Sequence[int] | None = None
    steps: int = 1000
    batch_size: int = 8
    lr: float | None = None
    lora: int | None = None
    seed: int = 0


def fine_tuning_values(request: FineTuning) -> dict[str, Any]:
    """
    The values of a [`~ait_hf.training.solver.SolverRecipe`]. Lists of frames and annotations that are divided into a
    training and a validation part are written to `data/` in the output folder.

    Raises:
        FileNotFoundError, OSError: The model or the data do not exist.
        ValueError: The model has no such task, or an argument does not go with it.
    """
    config = load_config(request.model)
    if request.task not in config.tasks:
        raise ValueError(f"{request.model} was not trained for {request.task!r} but for {', '.join(config.tasks)}.")
    sections = {
        "depth": _depth_data,
        "object-detection": _object_data,
        "instance-segmentation": _object_data,
        "semantic-segmentation": _semantic_data,
    }
    if request.task not in sections:
        raise ValueError(
            f"Fine-tuning of {request.task!r} needs a recipe (model.pretrained and model.adapt); here there are: "
            f"{', '.join(sections)}."
        )
    _check_arguments(request)
    given = request.image_size
    size = list(config.tasks[request.task]["image_size"]) if given is None else list(height_and_width(tuple(given)))
    data, validation = sections[request.task](request, config, size)
    return {
        "output_dir": request.output,
        "seed": request.seed,
        "tasks": {request.task: {"data": data | {"batch_size": request.batch_size}}},
        "model": {
            "pretrained": request.model,
            "adapt": True,
            "lora": None if request.lora is None else {"rank": request.lora},
        },
        "optimizer": {
            "name": "adamw",
            "lr": request.lr or (_LEARNING_RATE if request.lora is None else _LORA_LEARNING_RATE),
            "weight_decay": 0.05,
            "layer_decay": 0.9 if request.lora is None else 1.0,
        },
        "schedule": {"name": "cosine", "warmup_steps": max(1, request.steps // 20)},
        "train": {
            "max_steps": request.steps,
            "max_grad_norm": 1.0,
            "eval_every": max(1, request.steps // 5),
            "save_every": max(1, request.steps // 5),
        },
        "evaluation": {"split": validation, "num_samples": 200, "batch_size": request.batch_size},
    }


def _check_arguments(request: FineTuning) -> None:
    """What does nothing for a task is an error."""
    is_depth, is_semantic = request.task == "depth", request.task == "semantic-segmentation"
    is_coco = not (is_depth or is_semantic)
    allowed = {"depth_scale": is_depth, "images": is_coco, "validation": is_coco, "classes": is_semantic}
    allowed |= {"class_ids": is_semantic, "ignored_ids": is_semantic}
    for name, is_allowed in allowed.items():
        if getattr(request, name) is not None and not is_allowed:
            raise ValueError(f"{name} has no meaning for {request.task!r}: leave it out.")
    if is_semantic and request.classes is None:
        raise ValueError("Label maps have numbers only: name their classes in order (classes).")


def _depth_data(request: FineTuning, config: AiTConfig, size: list[int]) -> tuple[dict[str, Any], str]:
    path = Path(request.data)
    is_index = path.suffix.lower() in INDEX_SUFFIXES or any((path / name).is_dir() for name in _IMAGE_FOLDERS)
    section, validation = (_frames if is_index else _hub)(request, size)
    return section, validation


def _frames(request: FineTuning, size: list[int]) -> tuple[dict[str, Any], str]:
    """Frames in files: a new index gives each its split."""
    frames = apply_depth_scale(read_index(request.data), request.depth_scale)
    validation = _validation_split(frame.split for frame in frames)
    if validation is None:
        validation = "validation"
        frames = [_held_out(frame, number) for number, frame in enumerate(frames)]
    sizes = {read_picture_header(frame.rgb).size for frame in frames}
    entries = [{key: value for key, value in asdict(frame).items() if value} for frame in frames]
    index = _write(request, "index.json", entries)
    section = {"name": "rgbd", "index": str(index)}
    return section | {"transform": _depth_transform(size, sizes)}, validation


def _held_out(frame: Frame, number: int) -> Frame:
    return replace(frame, split="train" if (number + 1) % HOLD_OUT else "validation")


def _hub(request: FineTuning, size: list[int]) -> tuple[dict[str, Any], str]:
    """Shards or a data set of the Hub, whose rows are read at random."""
    saved = Path(request.data) / "dataset_dict.json"
    splits = (
        json.loads(saved.read_text())["splits"] if saved.is_file() else datasets.get_dataset_split_names(request.data)
    )
    validation, train = _validation_split(splits), "train"
    if validation is None:
        if saved.is_file():
            raise ValueError(f"{request.data} has the splits {splits}: save one named 'validation' too.")
        train, validation = (f"train[{part}]" for part in (f":{100 - HOLD_OUT}%", f"{100 - HOLD_OUT}%:"))
    columns = {"image_column": request.image_column, "depth_column": request.depth_column}
    section = {"name": "hub", "path": request.data, "split": train, "depth_scale": request.depth_scale, **columns}
    rows = load_hub_rgbd(request.data, train, depth_scale=request.depth_scale, **columns)
    first = rows[0]["image"]
    return section | {"transform": _depth_transform(size, [(first.height, first.width)])}, validation


def _depth_transform(size: list[int], images: Iterable[tuple[int, int]]) -> dict[str, Any]:
    """As evaluation and inference see images: just covering the crop."""
    shorter = (math.ceil(min(image) * max(crop / side for crop, side in zip(size, image))) for image in images)
    return {"crop_size": size, "resize": max(shorter)}


def _object_data(request: FineTuning, config: AiTConfig, size: list[int]) -> tuple[dict[str, Any], str]:
    files = _annotation_files(Path(request.data))
    if request.validation is not None:
        files = files[:1] + _annotation_files(Path(request.validation))[:1]
    contents = [read_coco_file(file) for file in files]  # what is wrong with a file shows before it is divided
    given = None if request.images is None else Path(request.images)
    folders = [_image_folder(content) if given is None else given for content in contents]
    if len(files) == 1:
        _check_images(contents[0], folders[0])  # before anything is written
        files, folders = list(_divided(request, files[0]).values()), folders * 2
    splits = {
        name: {"annotations": str(file), "images": str(folder)}
        for name, file, folder in zip(("train", "validation"), files, folders, strict=True)
    }
    transform = {"image_size": size, "normalize": _normalizes(request, config)}
    return {"name": "coco", **splits, "transform": transform}, "validation"


def _annotation_files(path: Path) -> list[Path]:
    """A file for training and, where folders `train` and `valid` have one each, another to evaluate on."""
    if not path.is_dir():
        return [path]
    if found := _json_file(path):
        return [found]
    if train := _json_file(path / "train"):
        others = (_json_file(path / name) for name in _VALIDATION_NAMES)
        return [train, *filter(None, [next(filter(None, others), None)])]
    raise ValueError(f"{path} must hold exactly one COCO json file, but has 0: name the file.")


def _json_file(folder: Path) -> Path | None:
    """The one in a folder, or else in its folder `annotations`; `ValueError` if there are several."""
    for place in (folder, folder / "annotations"):
        found = files_with_suffix(place, {".json"}) if place.is_dir() else []
        if len(found) > 1:
            raise ValueError(f"{folder} must hold exactly one COCO json file, but has {len(found)}: name the file.")
        if found:
            return found[0]
    return None


def _image_folder(content: CocoContent) -> Path:
    """Where a file's pictures are: beside it, or in a folder `images` beside it or above."""
    own = Path(content.name).parent
    folders = [folder for folder in (own / "images", own.parent / "images", own) if folder.is_dir()]
    return next((folder for folder in folders if content.has_pictures(folder)), folders[0])


def _check_images(content: CocoContent, folder: Path) -> None:
    paths = content.pictures(folder)
    sizes = {str(paths[image["id"]]): (image["height"], image["width"]) for image in content.content["images"]}
    check_pictures(content.name, sizes)


def _divided(request: FineTuning, annotations: Path) -> dict[str, Path]:
    """Two files from one, by images."""
    content = read_annotations(annotations)
    images = entries(content, "images", annotations)
    parts: dict[str, Callable[[int], bool]] = {
        "train": lambda number: (number + 1) % HOLD_OUT != 0,
        "validation": lambda number: (number + 1) % HOLD_OUT == 0,
    }
    contents = {}
    for name, takes in parts.items():
        chosen = [image for number, image in enumerate(images) if takes(number)]
        if not chosen:
            raise ValueError(
                f"{annotations} lists {len(images)} image(s): to hold out every {HOLD_OUT}th there must be at least "
                f"{HOLD_OUT}; or give a second file (validation)."
            )
        ids = {image["id"] for image in chosen}
        own = [entry for entry in entries(content, "annotations", annotations) if entry["image_id"] in ids]
        contents[name] = content | {"images": chosen, "annotations": own}
    return {name: _write(request, f"{name}.json", part) for name, part in contents.items()}


def _semantic_data(request: FineTuning, config: AiTConfig, size: list[int]) -> tuple[dict[str, Any], str]:
    for validation in _VALIDATION_NAMES:
        try:
            split_folders(request.data, validation)
        except ValueError:  # no such split; a folder that has none at all is another error
            continue
        break
    else:
        raise ValueError(f"{request.data} has no split to evaluate on: name one of {', '.join(_VALIDATION_NAMES)}.")
    split_folders(request.data, "train")
    transform = {"image_size": size, "normalize": _normalizes(request, config)}
    section = {"name": "label_maps", "root": request.data, "classes": list(request.classes), "transform": transform}
    given = {"class_ids": request.class_ids, "ignored_ids": request.ignored_ids}
    section |= {name: list(numbers) for name, numbers in given.items() if numbers is not None}
    return section, validation


def _normalizes(request: FineTuning, config: AiTConfig) -> bool:
    """Whether the model knows images by ImageNet's mean and standard deviation."""
    folder = {"subfolder": f"image_processors/{request.task}"} if len(config.tasks) > 1 else {}
    with loading(request.model, MODEL):
        return AutoImageProcessor.from_pretrained(request.model, **folder).do_normalize


def _validation_split(splits: Iterable[str]) -> str | None:
    splits = set(splits)
    return next((name for name in _VALIDATION_NAMES if name in splits), None)


def _write(request: FineTuning, name: str, content: Any) -> Path:
    path, text = Path(request.output).absolute() / "data" / name, json.dumps(content)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:  # not twice, where several processes ask
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return path
