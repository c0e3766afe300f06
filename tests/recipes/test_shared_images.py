# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images that several tasks of a step show are given to the model once."""

import torch
from accelerate import Accelerator

from ait_hf.recipes.parsing import build, read_values
from ait_hf.recipes.streams import mixed_batches, share_images
from ait_hf.tasks.depth.data import DepthData
from ait_hf.tasks.objects.data import ObjectData
from ait_hf.tasks.semantics.data import SemanticData


def test_the_first_keeps_the_images_and_the_others_name_it():
    image, other = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    given = {"a": image, "b": other, "c": image.clone(), "d": other.clone(), "e": image[:1]}
    shared = share_images({name: {"pixel_values": images, "labels": name} for name, images in given.items()})
    named = {name: batch["images_of"] for name, batch in shared.items() if "images_of" in batch}
    assert named == {"c": "a", "d": "b"}
    for name, batch in shared.items():
        assert batch["labels"] == name and ("pixel_values" in batch) == ("images_of" not in batch)


def test_tasks_of_the_same_rooms_have_the_same_images():
    """Every task prepares pixels in its own way: without chance they are the same numbers, as of the image processors."""
    sections = {name: task["data"] for name, task in read_values("rooms")["tasks"].items()}
    streams = {
        "depth": build(DepthData, sections["depth"]).stream(),
        "instances": build(ObjectData, sections["instance-segmentation"]).stream(max_objects=7, with_masks=True),
        "classes": build(SemanticData, sections["semantic-segmentation"]).stream(),
    }
    accelerator = Accelerator(cpu=True)
    for batches in mixed_batches(
        streams, accelerator, num_steps=2, done=0, forwards_per_step=1, num_workers=0, seed=0
    ):
        owners = {name: batch.get("images_of") for name, batch in batches.items()}
        assert owners == {"depth": None, "instances": "depth", "classes": "depth"}
