# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A tiny saved model for every kind of task, whose predictions differ between images, and what it is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from saved_model import save_tiny_model
from tiny import tiny_config
from tiny_dense import LABELS, NORMALS, SEMANTICS, TASKS, TOKENIZERS, dense_config, dense_model
from tiny_objects import DETECTION, FRAME, INSTANCES, object_config, object_model, object_processor
from tiny_pose import POSES, SIDE, pose_config, pose_model, pose_processor

from ait_hf import AiTForDenseTokenGeneration, AiTImageProcessor
from ait_hf.data.rooms.objects import OBJECT_CLASSES
from ait_hf.data.rooms.rendering import ROOM_CLASSES
from ait_hf.hub.remote_code import save_with_remote_code


SIZE = 96  # of the dense models
ROOMS = {"size": [96, 120], "batch_size": 1}  # which are of another shape than what the models see


@dataclass(frozen=True)
class Measured:
    """
    What a model is measured on.

    Args:
        task: Of the model.
        rooms: The data section.
        classes: Those of rooms.
        section: Other keys of the task's section.
    """

    task: str
    rooms: dict
    classes: Sequence[str] = ()
    section: dict = field(default_factory=dict)


_CROP, _SQUARE, _FRAME = {"crop_size": SIZE}, {"image_size": SIZE}, {"image_size": list(FRAME)}
_OBJECTS = {"name": "synthetic_objects", "transform": _FRAME}
_LABELS = {"name": "synthetic_labels", "transform": _SQUARE}
MEASURED = {
    "depth": Measured("depth", {"name": "synthetic", "transform": _CROP}),
    "normals": Measured(NORMALS, {"name": "synthetic_normals", "transform": _CROP}, section={"kind": "map"}),
    "detection": Measured(DETECTION, _OBJECTS, OBJECT_CLASSES),
    "instances": Measured(INSTANCES, _OBJECTS, OBJECT_CLASSES),
    "poses": Measured(POSES, {"name": "synthetic_people", "transform": {"image_size": SIDE}}),
    "class masks": Measured(SEMANTICS, _LABELS, ROOM_CLASSES),
    "label maps": Measured(SEMANTICS, _LABELS, ROOM_CLASSES),
}


def save_model(name: str, folder: Path, classes: Sequence[str] = ()) -> Path:
    """The model of one of [`MEASURED`], or `"heat"`: maps of one channel. `classes` in the place of those of rooms."""
    if name == "depth":
        return save_tiny_model(folder)
    model, processor = _model(name, classes or (MEASURED[name].classes if name in MEASURED else ()))
    save_with_remote_code(model, processor, folder)
    return folder


def _model(name: str, classes: Sequence[str]) -> tuple[AiTForDenseTokenGeneration, AiTImageProcessor]:
    named = {"num_classes": len(classes), "id2label": dict(enumerate(classes))} if classes else {}
    if name == "poses":
        return pose_model(pose_config()), pose_processor()
    if name in ("detection", "instances"):
        return object_model(object_config((MEASURED[name].task,), **named)), object_processor()
    if name == "class masks":
        return dense_model(dense_config((SEMANTICS,), {"class_range": None}, **named)), _fitted()
    if name == "label maps":
        channels = {"in_channels": len(classes), "out_channels": len(classes)}
        return _of_codes(LABELS, SEMANTICS, LABELS, channels, **named), _fitted()
    squeezed = AiTImageProcessor(size={"height": SIZE, "width": SIZE}, do_normalize=False)
    if name == "normals":
        return dense_model(dense_config((NORMALS,))), squeezed
    return _of_codes(name, name, NORMALS, {"in_channels": 1, "out_channels": 1, "unit": name}), squeezed


def _of_codes(codebook: str, task: str, like: str, tokenizer: dict, **config) -> AiTForDenseTokenGeneration:
    """A task whose codes are of another tokenizer than those of [`tiny_dense`]."""
    declared = {"image_size": [SIZE, SIZE], **TASKS[like], "slots": [codebook], "task_id": 4}
    tokenizers = {codebook: TOKENIZERS[like] | tokenizer}
    codebooks = [[codebook, tokenizers[codebook]["num_vq_embeddings"]]]
    tasks = {task: declared | ({"class_range": None} if "class_range" in declared else {})}
    return dense_model(tiny_config(tokenizers=tokenizers, tasks=tasks, codebooks=codebooks, num_task_ids=6, **config))


def _fitted() -> AiTImageProcessor:
    frame = {"height": SIZE, "width": SIZE}
    return AiTImageProcessor(size={"max_height": SIZE, "max_width": SIZE}, do_pad=True, pad_size=frame)
