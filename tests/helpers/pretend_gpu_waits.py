# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Runs what a GPU does on the pretend one, and prints as JSON, by the name of each case, the waits that it met:
`[[kind, operation, function, number], ...]`. Operations on tensors of two devices raise.

    python tests/helpers/pretend_gpu_waits.py [default | slow]
"""

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pretend_gpu
import tiny_dense
import tiny_objects
import torch
import training_runs
from accelerate import PartialState
from tiny import tiny_config

from ait_hf import AiTConfig, AiTForDenseTokenGeneration, AiTImageProcessor
from ait_hf.model.image_processing_pose_ait import AiTPoseImageProcessor
from ait_hf.model.modeling_ait import (
    AiTForDepthEstimation,
    AiTForInstanceSegmentation,
    AiTForObjectDetection,
    AiTForPoseEstimation,
    AiTForSemanticSegmentation,
)
from ait_hf.training import loop
from ait_hf.training.solver import SolverTraining
from ait_hf.training.tokenizer import TokenizerTraining


gpu = pretend_gpu.install(refuses_float64=True)
Case = tuple[str, Counter]
FRAME = tiny_objects.FRAME
DECODING = {
    "soft": {},
    "hard": {"soft_solver": False, "soft_detokenizer": False},
    "uncached": {"use_cache": False},
    "sampled": {"do_sample": True, "top_p": 0.9},
    "static cache": {"cache_implementation": "static"},
}
HEADS = {
    "depth": AiTForDepthEstimation,
    tiny_objects.DETECTION: AiTForObjectDetection,
    tiny_objects.INSTANCES: AiTForInstanceSegmentation,
    tiny_dense.KEYPOINTS: AiTForPoseEstimation,
    tiny_dense.SEMANTICS: AiTForSemanticSegmentation,
}


def object_labels(seed: int, count: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator).sort(1).values * torch.tensor(FRAME[::-1])
    return {
        "boxes": corners.flatten(1),
        "class_labels": torch.randint(6, (count,), generator=generator),
        "masks": torch.randint(2, (count, *FRAME), generator=generator, dtype=torch.uint8),
        "seed": torch.tensor(seed),
    }


def tasks(num_images: int = 2) -> dict[str, tuple]:
    """Of every task a configuration, images and annotations."""
    images = {FRAME: torch.rand(num_images, 3, *FRAME), (96, 96): torch.rand(num_images, 3, 96, 96)}
    depth = 5 * torch.rand(num_images, 96, 96)
    depth[:, :9] = 0
    objects = [object_labels(number, (3, 0, 1)[number % 3]) for number in range(num_images)]
    found = {"depth": (tiny_config(), images[96, 96], depth)}
    for task in (tiny_objects.DETECTION, tiny_objects.INSTANCES):
        found[task] = (tiny_objects.object_config(), images[FRAME], objects)
    for task in tiny_dense.TASKS:
        found[task] = (tiny_dense.dense_config(), images[96, 96], tiny_dense.dense_labels(task, num_images))
    return found


def build(config: AiTConfig, parallel: bool, model_class=AiTForDenseTokenGeneration) -> AiTForDenseTokenGeneration:
    torch.manual_seed(0)
    config.parallel = parallel
    return model_class(config).to(gpu.device)


def training_steps(num_images: int) -> Iterator[Case]:
    """Loss and gradients of every task, its sequences drafted on the host as data workers do."""
    for task, (config, images, labels) in tasks(num_images).items():
        for parallel in (False, True):
            model = build(config, parallel).train()
            draft = model.objectives[task].draft(labels)
            with gpu.recording() as waits:
                batch = {"pixel_values": images.to(gpu.device, non_blocking=True), "labels": draft}
                model(batches={task: batch}).loss.backward()
            yield f"step, {task}, {'parallel' if parallel else 'autoregressive'}, {num_images} images", waits


def public_labels() -> Iterator[Case]:
    """Annotations that lie on the device, given to the heads and to the model."""
    for task, (config, images, labels) in tasks().items():
        head = HEADS.get(task)
        if isinstance(labels, list):
            labels = [{name: value.to(gpu.device) for name, value in image.items()} for image in labels]
        else:
            labels = labels.to(gpu.device)
        inputs = {"pixel_values": images.to(gpu.device), "labels": labels}
        model = build(config, False, head or AiTForDenseTokenGeneration).train()
        with gpu.recording() as waits:
            (model(**inputs) if head else model(batches={task: inputs})).loss.backward()
        yield f"labels on the device, {task}", waits


def decoding(modes: dict[str, dict]) -> Iterator[Case]:
    """`generate()` of every task, and what the heads predict."""
    for task, (config, images, _) in tasks().items():
        images = images.to(gpu.device)
        for parallel in (False, True):
            model, kind = build(config, parallel).eval(), "parallel" if parallel else "autoregressive"
            for mode, arguments in modes.items():
                with gpu.recording() as waits:
                    model.generate(pixel_values=images, task=task, **arguments)
                yield f"{mode}, {task}, {kind}", waits
        if head := HEADS.get(task):
            model = build(config, True, head).eval()
            with gpu.recording() as waits, torch.no_grad():
                model(pixel_values=images)
            yield f"head, {task}", waits


def post_processing(num_objects: int) -> Iterator[Case]:
    """Of one image each."""
    torch.manual_seed(0)
    there = {"device": gpu.device}
    size = [(48, 80)]
    objects = pretend_gpu_outputs(num_objects)
    processor = tiny_objects.object_processor()
    segment = processor.post_process_instance_segmentation
    boxes = [torch.tensor([[3.0, 4, 20, 30]])]
    calls = {
        "detection": lambda: processor.post_process_object_detection(objects, 0.3, size),
        "detection, top_k": lambda: processor.post_process_object_detection(objects, 0.0, size, top_k=50),
        "segments": lambda: segment(objects, 0.3, target_sizes=size),
        "segments, top_k": lambda: segment(objects, 0.0, target_sizes=size, top_k=50),
        "segments, run lengths": lambda: segment(objects, 0.3, target_sizes=size, return_coco_annotation=True),
        "segments, binary maps": lambda: segment(objects, 0.3, target_sizes=size, return_binary_maps=True),
        "masks": lambda: processor.object_masks_rle(objects, size),
        "masks, top_k": lambda: processor.object_masks_rle(objects, size, top_k=50),
        "depth": lambda: AiTImageProcessor().post_process_depth_estimation(
            Outputs(predicted_depth=torch.rand(1, 8, 8, **there), uncertainty=torch.rand(1, 8, 8, **there)), size
        ),
        "maps": lambda: AiTImageProcessor().post_process_dense_prediction(
            Outputs(predicted_map=torch.rand(1, 3, 8, 8, **there), uncertainty=torch.rand(1, 8, 8, **there)), size
        ),
        "classes": lambda: AiTImageProcessor().post_process_semantic_segmentation(
            Outputs(class_maps=torch.rand(1, 6, 8, 8, **there)), size
        ),
        "poses": lambda: AiTPoseImageProcessor().post_process_pose_estimation(
            Outputs(pred_keypoints=torch.rand(1, 5, 2, **there), keypoint_scores=torch.rand(1, 5, **there)), boxes
        ),
    }
    for name, call in calls.items():
        with gpu.recording() as waits:
            call()
        yield f"post-processing, {name}", waits


class Outputs(dict):
    """Of a model: what is not there is `None`."""

    def __getattr__(self, name: str) -> torch.Tensor | None:
        return self.get(name)


def pretend_gpu_outputs(num_objects: int) -> Outputs:
    corners = torch.rand(1, num_objects, 4).sort(-1).values[..., [0, 2, 1, 3]]
    logits = torch.randn(1, num_objects, 7)
    values = {
        "pred_boxes": corners,
        "class_logits": logits,
        "class_scores": torch.rand(1, num_objects),
        "class_labels": torch.randint(6, (1, num_objects)),
        "pred_masks": torch.rand(1, num_objects, 16, 16),
    }
    return Outputs({name: value.to(gpu.device) for name, value in values.items()})


def real_loop(kinds: tuple[str, ...], mixed_precision: str) -> Iterator[Case]:
    """A step of the real training loop, with accumulation, clipping and an average of the weights."""
    PartialState.default_device = property(lambda self: gpu.device)
    options = [
        "train.gradient_accumulation_steps=2",
        "train.ema_decay=0.9",
        f"train.mixed_precision={mixed_precision}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = training_runs.save_tokenizer(Path(folder) / "tokenizer")
        for kind in kinds:
            if kind == "solver":
                recipe = training_runs.solver_recipe(Path(folder) / kind, tokenizer, *options)
                task = SolverTraining(recipe)
            else:
                recipe = training_runs.tokenizer_recipe(Path(folder) / kind, *options)
                task = TokenizerTraining(recipe)
            steps = loop._Run(task, recipe)._steps()
            next(steps)
            with gpu.recording() as waits:
                next(steps)
            yield f"loop, {kind}, {mixed_precision}", waits


def default_cases() -> Iterator[Case]:
    yield from training_steps(2)
    yield from public_labels()
    yield from decoding({"soft": DECODING["soft"]})
    yield from post_processing(100)
    yield from real_loop(("solver",), "bf16")


def slow_cases() -> Iterator[Case]:
    yield from training_steps(5)
    yield from decoding({name: mode for name, mode in DECODING.items() if name != "soft"})
    yield from post_processing(7)
    yield from real_loop(("solver", "tokenizer"), "no")


def main() -> None:
    cases = {"default": default_cases, "slow": slow_cases}[sys.argv[1]]()
    found = {name: sorted([*key, count] for key, count in waits.items()) for name, waits in cases}
    print(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # at the interpreter's end torch would ask the backend for things that it no longer has


if __name__ == "__main__":
    main()
