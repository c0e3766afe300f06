# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a model card says of a task, and code to try it."""

from dataclasses import dataclass
from typing import Any

from ..model.configuration_ait import AiTConfig, AiTTaskConfig


@dataclass(frozen=True)
class TaskText:
    """
    Args:
        gives: What the task gives, for readers.
        result: Code of the result, from `outputs`, `processor`, `sizes` and, where the task needs them, `boxes`.
        comment: What the result is.
        limits: What it does not do.
        pipeline_tag: The Hub's name of such a task, if it has one.
        needs_boxes: Whether the image processor takes boxes of people.
    """

    gives: str
    result: str
    comment: str
    limits: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    needs_boxes: bool = False


_OBJECT_LIMITS = ("Nothing removes duplicates: the model learns to give them low scores.",)
_GRID_LIMIT = "A map is decoded from a coarse grid of codes: fine structures are smoothed."
_BOXES = TaskText(
    gives="boxes, classes and scores of objects",
    result="processor.post_process_object_detection(outputs, threshold=0.3, target_sizes=sizes)[0]",
    comment="scores, labels, boxes (x1, y1, x2, y2 in pixels)",
    limits=_OBJECT_LIMITS,
    pipeline_tag="object-detection",
)
_INSTANCES = TaskText(
    gives="boxes, classes, scores and masks of objects",
    result="processor.post_process_instance_segmentation(outputs, threshold=0.3, target_sizes=sizes)[0]",
    comment="a map of segments, and class and score of each",
    limits=(*_OBJECT_LIMITS, "A mask is decoded from a few codes and stretched over its box: outlines are coarse."),
    pipeline_tag="image-segmentation",
)
_SEMANTIC = TaskText(
    gives="the class of every pixel",
    result="processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)[0]",
    comment="(height, width), numbers of model.config.id2label",
    limits=(_GRID_LIMIT,),
    pipeline_tag="image-segmentation",
)
_TEXTS = {
    "depth": TaskText(
        gives="depth in metres and an uncertainty in 0..1 for every pixel",
        result='processor.post_process_depth_estimation(outputs, target_sizes=sizes)[0]["predicted_depth"]',
        comment="(height, width), metres",
        limits=(
            _GRID_LIMIT,
            "Depth is metric and learnt from the cameras of the training data; other cameras see another scale.",
            "Not for use where a wrong distance can hurt somebody.",
        ),
        pipeline_tag="depth-estimation",
    ),
    "pose": TaskText(
        gives="the joints of people whose boxes are given",
        result="processor.post_process_pose_estimation(outputs, boxes=boxes)[0]",
        comment="of each person keypoints (x, y in pixels), scores, labels",
        limits=("It needs the boxes of people, and finds joints no better than these fit.",),
        pipeline_tag="keypoint-detection",
        needs_boxes=True,
    ),
    "semantic": _SEMANTIC,
    "label_map": _SEMANTIC,
    "map": TaskText(
        gives="a map of the image, in the unit of its tokenizer, and an uncertainty in 0..1",
        result='processor.post_process_dense_prediction(outputs, target_sizes=sizes)[0]["predicted_map"]',
        comment="(channels, height, width)",
        limits=(_GRID_LIMIT,),
    ),
    None: TaskText(gives="a sequence of tokens", result="outputs.sequences", comment="ids of the vocabulary"),
}


def task_text(task: AiTTaskConfig) -> TaskText:
    """The text of a task, by its type of output."""
    if task.output_type == "objects":
        return _BOXES if task.grid_size is None else _INSTANCES
    return _TEXTS[task.output_type]


def model_usage(config: AiTConfig, repo_id: str) -> str:
    """Code that runs every task of a model on `photo.jpg`, where ait_hf need not be installed."""
    lines = [
        "from PIL import Image, ImageOps",
        "from transformers import AutoImageProcessor, AutoModel",
        "",
        f'name = "{repo_id}"',
        "model = AutoModel.from_pretrained(name, trust_remote_code=True)",
        'image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")',
        "sizes = [(image.height, image.width)]",
    ]
    for name in config.tasks:
        text = task_text(config.task(name))
        subfolder = f', subfolder="image_processors/{name}"' if len(config.tasks) > 1 else ""
        lines += [
            "",
            f"processor = AutoImageProcessor.from_pretrained(name{subfolder}, trust_remote_code=True)",
        ]
        if text.needs_boxes:
            lines.append(
                "boxes = [[[120, 40, 80, 210]]]  # of every image, of every person: x, y, width, height in pixels"
            )
        boxes = ", boxes=boxes" if text.needs_boxes else ""
        lines += [
            f'outputs = model.generate(**processor(image{boxes}, return_tensors="pt"), task="{name}")',
            f"result = {text.result}",
            f"print(result)  # {text.comment}",
        ]
    return "\n".join(lines)


def tokenizer_usage(config: dict[str, Any], repo_id: str) -> str:
    """Code that writes a sample as codes and reads it back, for a tokenizer of that `config.json`."""
    kind, size = config["_class_name"], config["sample_size"]
    height, width = (size, size) if isinstance(size, int) else size
    if kind == "PoseTokenizer":
        sample = (
            f"torch.rand(1, {config['num_joints']}, 3) * {min(height, width)}  # x, y in pixels, visibility above 0"
        )
    elif config["loss_type"] == "cross_entropy":
        sample = f"torch.zeros(1, {height}, {width}, dtype=torch.long)  # numbers of classes, 255 = unknown"
    else:
        sample = f"torch.rand(1, {config['in_channels']}, {height}, {width})  # {config['unit']}"
    return "\n".join(
        [
            "import torch",
            "",
            f"from ait_hf import {kind}",
            "",
            f'tokenizer = {kind}.from_pretrained("{repo_id}").eval()',
            f"sample = {sample}",
            "ids = tokenizer.tokenize(sample)  # (1, rows, columns)",
            "restored = tokenizer.detokenize(ids=ids)",
        ]
    )
