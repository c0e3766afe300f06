# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Where a GPU would make the host wait, and that no operation mixes devices: all of it runs on the pretend GPU, in a process
of its own. A new wait is a regression, unless what it buys is worth it: then it belongs here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


SCRIPT = Path(__file__).parent / "helpers" / "pretend_gpu_waits.py"
READ, COPY, SIZE = "device to host", "blocking copy", "size from numbers"

# Of a call of `generate()`, however many steps it takes: whether the images are finite, and the library's start token.
IMAGES = [
    READ,
    "_local_scalar_dense",
    "generation_ait.AiTGenerationMixin._maybe_prepare_encoder_kwargs_for_generation",
]
START = [COPY, "copy", "utils.GenerationMixin._prepare_special_tokens.<locals>._tensor_or_none"]
GENERATE = [[*START, 1], [*IMAGES, 1]]
HEAD = [[COPY, "copy", "modeling_ait._TaskHead.forward", 1], [*IMAGES, 1]]  # the same, called from there

# Memory of the library's static cache, once a call; where a block follows on what is cached, its mask is looked at.
MEMORY = [[COPY, "copy", f"modeling_solver_ait.{name}.forward", 2] for name in ("AiTAttention", "AiTCrossAttention")]
BLOCKS = [READ, "_local_scalar_dense", "modeling_solver_ait.AiTDecoder.forward", 3]

CHOSEN = [READ, "copy", "masks_ait.on_host"]
MASKS = [
    [READ, "copy", "image_processing_ait.AiTImageProcessor._boxes_and_sizes", 1],
    [READ, "copy", "masks_ait._fetch", 1],
]
KEPT = [SIZE, "nonzero", "masks_ait.ObjectPairs.at_least", 1]
POSSIBLE = [SIZE, "nonzero", "masks_ait.choose_pairs", 1]
PEOPLE = [READ, "copy", "image_processing_pose_ait.AiTPoseImageProcessor.post_process_pose_estimation", 2]
POST_PROCESSING = {  # of an image, however many objects it has
    "detection": [KEPT],
    "detection, top_k": [KEPT, POSSIBLE],
    "segments": [*MASKS, [*CHOSEN, 2]],
    "segments, top_k": [*MASKS, [*CHOSEN, 1]],
    "segments, run lengths": [*MASKS, [*CHOSEN, 2]],
    "segments, binary maps": [*MASKS, [*CHOSEN, 2]],
    "masks": [*MASKS, [*CHOSEN, 2]],
    "masks, top_k": [*MASKS, [*CHOSEN, 1]],
    "depth": [],
    "maps": [],
    "classes": [[READ, "tolist", "image_processing_ait._likeliest_class", 1]],
    "poses": [PEOPLE],
}
# Annotations that lie on the device are checked there, or fetched.
MAPS = [READ, "_local_scalar_dense", "tokenization_vq.check_values", 1]
CHECKS = {
    "depth": [MAPS],
    "object-detection": [[READ, "copy", "group_objectives_ait.ObjectObjective._groups", 4]],
    "instance-segmentation": [[READ, "copy", "group_objectives_ait.ObjectObjective._groups", 4]],
    "keypoint-detection": [[READ, "_local_scalar_dense", "tokenization_pose.check_poses", 3]],
    "semantic-segmentation": [[READ, "copy", "group_objectives_ait.SemanticObjective.draft", 1]],
    "labels": [[READ, "_local_scalar_dense", "tokenization_vq.check_labels", 1]],
    "normals": [MAPS],
}
TASKS = list(CHECKS)
KINDS = ("autoregressive", "parallel")


def expected(suite: str) -> dict[str, list]:
    """Of every case its waits as (kind, operation, function, number)."""
    num_images, modes = {"default": (2, ["soft"]), "slow": (5, ["hard", "uncached", "sampled"])}[suite]
    table = {f"step, {task}, {kind}, {num_images} images": [] for task in TASKS for kind in KINDS}
    table |= {f"{mode}, {task}, {kind}": GENERATE for mode in modes for task in TASKS for kind in KINDS}
    table |= {f"head, {task}": HEAD for task in TASKS if task not in ("labels", "normals")}
    table |= {f"post-processing, {name}": waits for name, waits in POST_PROCESSING.items()}
    if suite == "default":
        table |= {f"labels on the device, {task}": waits for task, waits in CHECKS.items()}
        return table | {"loop, solver, bf16": []}
    table |= {f"static cache, {task}, {kind}": GENERATE + MEMORY for task in TASKS for kind in KINDS}
    for task in ("instance-segmentation", "semantic-segmentation"):
        table[f"static cache, {task}, parallel"] = [*GENERATE, *MEMORY, BLOCKS]
    return table | {"loop, solver, no": [], "loop, tokenizer, no": []}


@pytest.mark.parametrize("suite", ["default", pytest.param("slow", marks=pytest.mark.slow)])
def test_the_host_waits_nowhere_else(suite):
    done = subprocess.run([sys.executable, str(SCRIPT), suite], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    table = {name: sorted(waits) for name, waits in expected(suite).items()}
    assert found.keys() == table.keys()
    differing = {name: (waits, table[name]) for name, waits in found.items() if waits != table[name]}
    assert not differing, differing
