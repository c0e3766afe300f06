# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Suites of training: forward and backward pass, whole steps, and the data that they wait for."""

import io
import json
from argparse import Namespace
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch.utils.data import Dataset

from ..data.depth_transforms import DepthTrainTransform
from ..data.map_transforms import MapTrainTransform
from ..data.object_transforms import CutMask, ObjectTrainTransform
from ..data.pose_transforms import PoseTrainTransform
from ..data.semantic_transforms import SemanticTrainTransform
from ..recipes.parsing import as_section, build, joined
from ..recipes.streams import Source, training_batches
from ..tasks.depth.data import DepthData
from .inference_suites import images_for, shape_for
from .measuring import Suite, saved_activations
from .models import TrainingStep, backbones, task_model


PREFETCHED = 2  # batches that torch's loader has each worker make ahead
LOADER_BATCHES = 8  # batches that are made within a call
NUM_OBJECTS, NUM_POINTS = 7, 40  # of an image, and of an outline; those of COCO


def train_backbone(options: Namespace) -> Suite:
    """Forward and backward pass of SwinV2 here, in transformers and in timm, and what is kept in between."""
    size = options.size or (480 if options.full else 192)
    images = images_for(options, size, size)
    models = {name: model.train().to(options.device) for name, model in backbones(size, shape_for(options)).items()}

    def forward(name: str) -> torch.Tensor:
        model = models[name]
        with torch.autocast(options.device.type, options.dtype, enabled=options.dtype != torch.float32):
            return model.forward_features(images) if name == "timm" else model(images).feature_maps[0]

    def step(name: str) -> None:
        forward(name).float().square().mean().backward()
        models[name].zero_grad(set_to_none=True)

    def activations(name: str) -> dict[str, float]:
        return {"activations_mb": saved_activations(partial(forward, name), models[name])}

    contestants, details = ({name: partial(of, name) for name in models} for of in (step, activations))
    return Suite(contestants, {"size": size}, learns=True, images=options.batch_size, details=details)


def train_step(options: Namespace) -> Suite:
    """A whole step of AiT-P on depth maps, see [`TrainingStep`]; the baseline has transformers' backbone."""
    size = options.size or (480 if options.full else 192)
    make = partial(task_model, ["depth"], size, shape_for(options), parallel=True)
    models = {"transformers' backbone, eager attention": make(stock=True), "ait_hf": make()}
    models["ait_hf, activation checkpointing"] = make()
    models["ait_hf, activation checkpointing"].activation_checkpointing_enable()
    steps = {
        name: TrainingStep(model.train().to(options.device), "depth", options.batch_size, options.dtype)
        for name, model in models.items()
    }

    def activations(step: TrainingStep) -> dict[str, float]:
        return {"activations_mb": saved_activations(step.forward, step.model)}

    details = {name: partial(activations, step) for name, step in steps.items()}
    return Suite(steps, {"size": size}, learns=True, images=options.batch_size, details=details)


def encoded_frame(height: int, width: int) -> tuple[io.BytesIO, np.ndarray]:
    """A JPEG of smooth colours, and a map of the same size, uint16."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, format="jpeg", quality=92)
    return file, (np.asarray(image)[..., 0].astype(np.uint16) + 20) * 30


class Frames(Dataset):
    """One camera frame, a JPEG and a 16-bit PNG of millimetres, read anew for every sample."""

    def __init__(self, height: int, width: int):
        self.image, depth = encoded_frame(height, width)
        self.depth = io.BytesIO()
        Image.fromarray(depth).save(self.depth, format="png")

    def __len__(self) -> int:
        return 1024

    def __getitem__(self, index: int) -> dict[str, Any]:
        depth = np.asarray(Image.open(io.BytesIO(self.depth.getvalue())), dtype=np.float32) / 1000
        return {"image": Image.open(io.BytesIO(self.image.getvalue())).convert("RGB"), "depth": depth}


@as_section
class CameraFrames(Source):
    """Frames a third wider than high, as cameras make them; `height` in pixels."""

    name: Literal["frames"] = "frames"
    height: int

    def depth(self, split: str, for_training: bool) -> Dataset:
        return Frames(self.height, self.height * 4 // 3)


@as_section
class FramesData(DepthData):
    """Depth of [`CameraFrames`]."""

    source: CameraFrames = joined()


def loader(options: Namespace) -> Suite:
    """
    Batches of augmented camera frames, as the training on NYU Depth v2 reads them, by number of worker processes. Workers
    have made some batches already when a call begins; these are read, but not counted as its images. And as many samples
    of every task, made by one core.
    """
    size = options.size or 480
    values = {"name": "frames", "height": size, "batch_size": options.batch_size, "transform": {"crop_size": size}}
    data = build(FramesData, values)
    accelerator = Accelerator(cpu=True)
    contestants: dict[str, Any] = {}
    for workers in (0, 1, 2):
        order = {"num_batches": 10**6, "done": 0, "num_workers": workers, "seed": options.seed}
        batches = training_batches(data.stream(), accelerator, **order)
        number = PREFETCHED * workers + LOADER_BATCHES
        contestants[f"{workers} workers"] = lambda batches=batches, number=number: deque(islice(batches, number), 0)
    number = LOADER_BATCHES * options.batch_size
    for name, make in task_samples(size).items():
        contestants[f"{name}, one core"] = lambda make=make: [make() for _ in range(number)]
    return Suite(contestants, {"size": size}, learns=True, images=number)


def task_samples(size: int) -> dict[str, Callable[[], Any]]:
    """Makers of a training sample, by the name of every task and of the tokenizer of masks, from images of this height, which
    are a third wider, with crops and frames of this side, pixels."""
    height, width = size, size * 4 // 3
    file, values = encoded_frame(height, width)
    normals = np.broadcast_to(np.array([0, 0, 1], np.float32), (height, width, 3)).copy()
    frame, spread = {"height": height, "width": width}, np.linspace(0.3, 0.7, 17)
    joints = np.stack([spread * width, spread * height, np.full(17, 2.0)], axis=1).astype(np.float32)
    box = [width / 4, height / 4, width / 2, height * 3 / 4]
    objects, person = (
        frame | _objects(height, width),
        frame | {"box": box, "keypoints": joints, "image_id": 0, "id": 0},
    )
    labels = (values % 150).astype(np.uint8)
    one = objects | {"segmentation": objects["segmentation"][0], "box": objects["boxes"][0]}
    rows = {
        "depth": (DepthTrainTransform(size), {"depth": values.astype(np.float32) / 1000}),
        "object-detection": (ObjectTrainTransform(size, with_masks=False), objects),
        "instance-segmentation": (ObjectTrainTransform(size, with_masks=True), objects),
        "keypoint-detection": (PoseTrainTransform(256), person),
        "semantic-segmentation": (SemanticTrainTransform((size, size)), {"label_map": labels}),
        "normals": (MapTrainTransform("map", "unit_vector", 3, (size, size)), {"map": normals}),
    }

    def sample(transform: Callable[[dict[str, Any]], Any], row: dict[str, Any]) -> Any:
        return transform(row | {"image": Image.open(io.BytesIO(file.getvalue())).convert("RGB")})

    return {name: partial(sample, *pair) for name, pair in rows.items()} | {"masks": partial(CutMask(64), one)}


def _objects(height: int, width: int) -> dict[str, Any]:
    """Ellipses of all sizes, as polygons."""
    angles = np.linspace(0, 2 * np.pi, NUM_POINTS, endpoint=False)
    radii = (np.arange(NUM_OBJECTS)[:, None] + 1) / (2 * NUM_OBJECTS + 2)
    points = np.stack([width * (0.5 + radii * np.cos(angles)), height * (0.5 + radii * np.sin(angles))], axis=2)
    return {
        "boxes": np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1).tolist(),
        "segmentation": [json.dumps([outline.flatten().tolist()]) for outline in points],
        "class_labels": list(range(NUM_OBJECTS)),
        "iscrowd": [False] * NUM_OBJECTS,
    }
