# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Tiny parallel models of every kind that takes one pass, saved, and exports of them."""

from pathlib import Path

import torch
from saved_model import tiny_model
from tiny_dense import CLASSES, LABELS, NORMALS, SIZE, dense_config, dense_model
from tiny_pose import POSES, pose_config, pose_model, pose_processor

from ait_hf import AiTForDenseTokenGeneration, AiTImageProcessor
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.inference.export import blotches
from ait_hf_cli import main


ONE_PASS_TASKS = ("depth", LABELS, NORMALS, POSES)


def ait(*arguments: object) -> None:
    main([str(argument) for argument in arguments])


def save_parallel_model(task: str, folder: Path) -> Path:
    """A random model of one task of [`ONE_PASS_TASKS`]."""
    if task == "depth":
        model, processor = tiny_model(parallel=True)
    elif task == POSES:
        model, processor = pose_model(pose_config(parallel=True)), pose_processor()
    else:
        model = dense_model(dense_config((task,), parallel=True))
        if task == LABELS:
            spread_classes(model)
        processor = AiTImageProcessor(size={"height": SIZE, "width": SIZE})
    save_with_remote_code(model, processor, folder)
    return folder


@torch.no_grad()
def spread_classes(model: AiTForDenseTokenGeneration) -> None:
    """So that label maps differ from place to place: all classes alike on average, and differences a hundred times as large."""
    last = model.tokenizers[LABELS].decoder.conv_out
    last.weight.mul_(100)
    probabilities = model.generate(pixel_values=blotches(3, 3, (SIZE, SIZE)), task=LABELS).class_maps
    last.bias -= probabilities[:, CLASSES.start : CLASSES.stop].log().mean((0, 2, 3))


class Exports:
    """Models and what `ait export` made of them, each made once, in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def model(self, task: str) -> Path:
        path = self.folder / task
        return path if path.exists() else save_parallel_model(task, path)

    def exported(self, task: str, export_format: str, *options: str) -> Path:
        path = self.folder / "-".join((task, export_format, *options))
        if not path.exists():
            ait("export", self.model(task), "--task", task, "--format", export_format, "--output", path, *options)
        return path
