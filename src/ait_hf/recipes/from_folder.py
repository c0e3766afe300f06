# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A recipe made from a checkpoint and a folder, as `ait finetune` trains it: what kinds of tasks share."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from transformers import AutoImageProcessor, BaseImageProcessor

from ..data.coco_files import CocoContent, entries, read_annotations, read_coco_file
from ..data.files import files_with_suffix
from ..data.picture_sizes import check_pictures
from ..data.writing import write_text
from ..inference.loading import MODEL, loading
from ..model.configuration_ait import AiTConfig


HOLD_OUT = 10  # one in so many samples, where the data have no validation split
VALIDATION_NAMES = ("validation", "val", "valid", "test")
_LEARNING_RATE, _LORA_LEARNING_RATE = 1e-4, 1e-3
Section = dict[str, Any]


@dataclass(kw_only=True)
class FineTuning:
    """
    What is asked for.

    Args:
        model (`str`): Folder or Hub name of an AiT model.
        task (`str`): One of its tasks.
        data (`str`): depth: an index or a folder of pairs ([`~ait_hf.data.rgbd.read_index`]), or a folder of
            parquet or WebDataset shards or a Hub name ([`~ait_hf.data.rgbd.load_hub_rgbd`]); objects and poses: a COCO json
            file, a folder that holds one, or a folder whose folders `train` and `valid` hold one each, as Roboflow writes
            them; semantic: a folder ([`~ait_hf.data.label_maps.split_folders`]); a dense task of one's own: a folder with
            `SPLIT/images` and `SPLIT/maps`, or shards or a Hub name ([`~ait_hf.data.maps.load_hub_maps`]).
        output (`str`): Folder of the new model.
        images (`str`, *optional*): Folder of the images that COCO json files name; by default each file's pictures are
            those in its own folder, in `images` in it, or in `images` beside it.
        validation (`str`, *optional*): A second COCO json file to evaluate on, or a folder that holds one. Without it, and
            where the data have no split for it, every tenth sample is held out.
        classes (`list[str]`, *optional*): Names of the classes of label maps. (Objects: those of the json file.)
        class_ids, ignored_ids (`list[int]`, *optional*): Numbers in label maps, see
            [`~ait_hf.data.label_maps.load_label_maps`].
        depth_scale (`float`, *optional*): Divisor from stored depth to metres.
        scale, offset (`float`, *optional*): Values of one's own maps are `stored * scale + offset`.
        image_column, depth_column, map_column (`str`, *optional*): Of shards and data sets of the Hub.
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
    scale: float | None = None
    offset: float | None = None
    image_column: str | None = None
    depth_column: str | None = None
    map_column: str | None = None
    image_size: Sequence[int] | None = None
    steps: int = 1000
    batch_size: int = 8
    lr: float | None = None
    lora: int | None = None
    seed: int = 0

    def given(self, *names: str) -> Section:
        """Those of some arguments that are given, as keys of a data section."""
        values = {name: getattr(self, name) for name in names}
        return {
            name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
            for name, value in values.items()
            if value is not None
        }


def recipe_values(request: FineTuning, task: Section, validation: str) -> Section:
    """The values of a [`~ait_hf.training.solver.SolverRecipe`], from the section of the task, with its `data`, and the
    name of the split to evaluate on."""
    rank, often = request.lora, max(1, request.steps // 5)
    rate, decay = (_LEARNING_RATE, 0.9) if rank is None else (_LORA_LEARNING_RATE, 1.0)
    return {
        "output_dir": request.output,
        "seed": request.seed,
        "tasks": {request.task: task | {"data": task["data"] | {"batch_size": request.batch_size}}},
        "model": {"pretrained": request.model, "adapt": True, "lora": None if rank is None else {"rank": rank}},
        "optimizer": {"name": "adamw", "lr": request.lr or rate, "weight_decay": 0.05, "layer_decay": decay},
        "schedule": {"name": "cosine", "warmup_steps": max(1, request.steps // 20)},
        "train": {"max_steps": request.steps, "max_grad_norm": 1.0, "eval_every": often, "save_every": often},
        "evaluation": {"split": validation, "num_samples": 200, "batch_size": request.batch_size},
    }


def covering(size: Sequence[int], images: Iterable[tuple[int, int]]) -> Section:
    """Transform of images of some sizes (height, width) as evaluation and inference see them: just covering the crop."""
    shorter = (math.ceil(min(image) * max(crop / side for crop, side in zip(size, image))) for image in images)
    return {"crop_size": list(size), "resize": max(shorter)}


def processor_of(request: FineTuning, config: AiTConfig) -> BaseImageProcessor:
    """How the model knows images."""
    folder = {"subfolder": f"image_processors/{request.task}"} if len(config.tasks) > 1 else {}
    with loading(request.model, MODEL):
        return AutoImageProcessor.from_pretrained(request.model, **folder)


def validation_split(splits: Iterable[str]) -> str | None:
    """The one to evaluate on, if there is any."""
    splits = set(splits)
    return next((name for name in VALIDATION_NAMES if name in splits), None)


def held_out(count: int, source: str) -> set[int]:
    """Numbers of the samples that are held out: every tenth, of fewer the last. `ValueError`, which names the source, if
    nothing would be left."""
    if count < 2:
        raise ValueError(
            f"{source} has {count} sample(s) and no split to evaluate on: to hold one out there must be at least 2."
        )
    return set(range(HOLD_OUT - 1, count, HOLD_OUT)) or {count - 1}


def hub_splits(request: FineTuning) -> tuple[str, str]:
    """Splits of shards or of a data set of the Hub to train and to evaluate on; parts of the former if there is no other."""
    saved = Path(request.data) / "dataset_dict.json"
    is_saved = saved.is_file()
    splits = json.loads(saved.read_text())["splits"] if is_saved else datasets.get_dataset_split_names(request.data)
    if (validation := validation_split(splits)) is not None:
        return "train", validation
    if is_saved:
        raise ValueError(f"{request.data} has the splits {splits}: save one named 'validation' too.")
    count = len(datasets.load_dataset(request.data, split="train"))
    first = count - len(held_out(count, request.data))
    return f"train[:{first}]", f"train[{first}:]"


def coco_splits(request: FineTuning, images_of: Callable[[CocoContent], Collection[int]] | None = None) -> Section:
    """
    Files and images of the splits `train` and `validation`. A single file is divided by its images, and its parts are written
    to `data/` in the output folder. `images_of`: ids of a file's images that may be held out, by default all; raises
    what else is wrong with it.
    """
    files = _annotation_files(Path(request.data))
    if request.validation is not None:
        files = files[:1] + _annotation_files(Path(request.validation))[:1]
    contents = [read_coco_file(file) for file in files]  # what is wrong with a file shows before it is divided
    images_of = images_of or (lambda content: {image["id"] for image in content.content["images"]})
    candidates = [images_of(content) for content in contents]
    given = None if request.images is None else Path(request.images)
    folders = [_image_folder(content) if given is None else given for content in contents]
    if len(files) == 1:
        paths, images = contents[0].pictures(folders[0]), contents[0].content["images"]
        sizes = {str(paths[image["id"]]): (image["height"], image["width"]) for image in images}
        check_pictures(contents[0].name, sizes)  # before anything is written
        files, folders = _divided(request, files[0], candidates[0]), folders * 2
    return {
        name: {"annotations": str(file), "images": str(folder)}
        for name, file, folder in zip(("train", "validation"), files, folders, strict=True)
    }


def _annotation_files(path: Path) -> list[Path]:
    """A file for training and, where folders `train` and `valid` have one each, another to evaluate on."""
    if not path.is_dir():
        return [path]
    if found := _json_file(path):
        return [found]
    if train := _json_file(path / "train"):
        others = (_json_file(path / name) for name in VALIDATION_NAMES)
        return [train, *filter(None, [next(filter(None, others), None)])]
    raise ValueError(f"{path} must hold exactly one COCO json file, but has 0: name the file.")


def _json_file(folder: Path) -> Path | None:
    """The one in a folder, or else in its folder `annotations`; `ValueError` if there are several."""
    for place in (folder, folder / "annotations"):
        found = files_with_suffix(place, {".json"}) if place.is_dir() else []
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise ValueError(
                f"{folder} must hold exactly one COCO json file, but has {names}: name the one to train on, as in --data "
                f"{found[0]}, and perhaps with --validation one to evaluate on."
            )
        if found:
            return found[0]
    return None


def _image_folder(content: CocoContent) -> Path:
    """Where a file's pictures are: beside it, or in a folder `images` beside it or above."""
    own = Path(content.name).parent
    folders = [folder for folder in (own / "images", own.parent / "images", own) if folder.is_dir()]
    return next((folder for folder in folders if content.has_pictures(folder)), folders[0])


def _divided(request: FineTuning, annotations: Path, may_be_held: Collection[int]) -> list[Path]:
    """Two files from one, by images."""
    content = read_annotations(annotations)
    images, objects = (entries(content, section, annotations) for section in ("images", "annotations"))
    candidates = [image["id"] for image in images if image["id"] in may_be_held]
    if len(candidates) < HOLD_OUT:
        raise ValueError(
            f"{annotations} lists {len(candidates)} image(s) to learn from: to hold out every {HOLD_OUT}th there must be at "
            f"least {HOLD_OUT}; or give a second file (validation)."
        )
    held = {candidates[number] for number in held_out(len(candidates), str(annotations))}
    paths = []
    for name, is_held in (("train", False), ("validation", True)):
        part = {"images": [image for image in images if (image["id"] in held) == is_held]}
        part["annotations"] = [entry for entry in objects if (entry["image_id"] in held) == is_held]
        paths.append(write_data(request, f"{name}.json", content | part))
    return paths


def write_data(request: FineTuning, name: str, content: Any) -> Path:
    """Writes lists of samples to `data/NAME` in the output folder."""
    path, text = Path(request.output).absolute() / "data" / name, json.dumps(content)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:  # not twice, where several processes ask
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return path
