# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Tiny parallel models of every kind that takes one pass, saved, and exports of them."""

from pathlib import Path

from saved_model import tiny_model
from tiny_dense import LABELS, NORMALS, SIZE, dense_config, dense_model
from tiny_pose import POSES, pose_config, pose_model, pose_processor

from ait_hf import AiTImageProcessor
from ait_hf.hub.remote_code import save_with_remote_code
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
        processor = AiTImageProcessor(size={"height": SIZE, "width": SIZE})
    save_with_remote_code(model, processor, folder)
    return folder


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
