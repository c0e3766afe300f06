# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Suites of training: forward and backward pass, whole steps, and the data that they wait for."""

import io
from argparse import Namespace
from collections import deque
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from huggingface_hub.dataclasses import strict
from PIL import Image
from torch.utils.data import Dataset

from ..recipes.parsing import build, joined
from ..recipes.streams import Source, training_batches
from ..tasks.depth.data import DepthData
from .inference_suites import images_for, shape_for
from .measuring import Suite, saved_activations
from .models import TrainingStep, backbones, task_model
from .samples import encoded_frame, task_samples


PREFETCHED = 2  # batches that torch's loader has each worker make ahead
LOADER_BATCHES = 8  # batches that are made within a call


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

    return Suite(
        contestants={name: lambda name=name: step(name) for name in models},
        settings={"size": size},
        learns=True,
        images=dict.fromkeys(models, len(images)),
        details={
            name: lambda name=name: {"activations_mb": saved_activations(lambda: forward(name), models[name])}
            for name in models
        },
    )


def train_step(options: Namespace) -> Suite:
    """A whole step of AiT-P on depth maps, see [`TrainingStep`]; the baseline has transformers' backbone."""
    size = options.size or (480 if options.full else 192)
    make = partial(task_model, ["depth"], size, shape_for(options), parallel=True)
    models = {
        "transformers' backbone, eager attention": make(library_backbone=True, attn_implementation="eager"),
        "ait_hf": make(),
        "ait_hf, activation checkpointing": make(),
    }
    models["ait_hf, activation checkpointing"].activation_checkpointing_enable()
    steps = {
        name: TrainingStep(model.train().to(options.device), "depth", options.batch_size, options.dtype)
        for name, model in models.items()
    }
    return Suite(
        contestants=steps,
        settings={"size": size},
        learns=True,
        images=dict.fromkeys(models, options.batch_size),
        details={
            name: lambda step=step: {"activations_mb": saved_activations(step.forward, step.model)}
            for name, step in steps.items()
        },
    )


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


@strict
@dataclass(kw_only=True)
class CameraFrames(Source):
    """Frames a third wider than high, as cameras make them; `height` in pixels."""

    name: Literal["frames"] = "frames"
    height: int

    def depth(self, split: str, for_training: bool) -> Dataset:
        return Frames(self.height, self.height * 4 // 3)


@strict
@dataclass(kw_only=True)
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
        batches = training_batches(
            data.stream(), accelerator, num_batches=10**6, done=0, num_workers=workers, seed=options.seed
        )
        number = PREFETCHED * workers + LOADER_BATCHES
        contestants[f"{workers} workers"] = lambda batches=batches, number=number: deque(islice(batches, number), 0)
    for name, make in task_samples(size).items():
        contestants[f"{name}, one core"] = lambda make=make: [
            make() for _ in range(LOADER_BATCHES * options.batch_size)
        ]
    return Suite(
        contestants,
        {"size": size},
        learns=True,
        images=dict.fromkeys(contestants, LOADER_BATCHES * options.batch_size),
    )
