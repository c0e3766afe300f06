# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Trains the library's SegFormer-B0 from nothing on the data of a recipe for semantic segmentation, for a given time, and
measures it as AiT is measured: the same images, augmentation, frame, split and metric.

    python scripts/segformer_baseline.py sample_camvid_labels_aitp --minutes 15
    python scripts/segformer_baseline.py rooms_semantic_labels_aitp --minutes 14 --seed 1

The learning rate rises over the first 5 % of the time and falls linearly to 0. Keys of the recipe can be overridden as in
train.py; all but the task's data and the evaluation have no effect.
"""

import argparse
import json
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import send_to_device
from transformers import SegformerConfig, SegformerForSemanticSegmentation, set_seed

from ait_hf.data.writing import write_text
from ait_hf.metrics.measuring import evaluating
from ait_hf.metrics.semantic import SEMANTIC_VALUES
from ait_hf.recipes.faults import command
from ait_hf.recipes.parsing import load_recipe
from ait_hf.recipes.streams import training_batches
from ait_hf.tasks.semantics.evaluation import measure_label_maps
from ait_hf.tasks.semantics.prediction import SEMANTIC_TASK
from ait_hf.tasks.semantics.task import Semantics
from ait_hf.training.solver import SolverRecipe
from ait_hf_cli.arguments import seed


MANY_STEPS = 10**9
WARM_UP = 0.05


def train(model: torch.nn.Module, task: Semantics, accelerator: Accelerator, options: argparse.Namespace) -> int:
    """Trains for `options.minutes`; how many steps that were."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    order = {"num_batches": MANY_STEPS, "done": 0, "num_workers": 0, "seed": options.seed}
    batches = training_batches(task.data.stream(), accelerator, **order)
    model.train()
    start, num_steps = time.monotonic(), 0
    while (share := (time.monotonic() - start) / (60 * options.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = options.lr * min(share / WARM_UP, (1 - share) / (1 - WARM_UP))
        batch = send_to_device(next(batches), accelerator.device, non_blocking=True)
        loss = model(pixel_values=batch["pixel_values"], labels=batch["labels"]).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        num_steps += 1
    return num_steps


def evaluate(
    model: torch.nn.Module, task: Semantics, accelerator: Accelerator, recipe: SolverRecipe
) -> dict[str, float]:
    options, processor = recipe.evaluation, task.processor()
    rows = task.data.examples(options.split, options.num_samples)
    batches = task.batches(rows, processor, accelerator, options.batch_size)

    def predict(batch: dict) -> list[torch.Tensor]:
        logits = F.interpolate(model(batch["pixel_values"]).logits, size=task.data.image_size, mode="bilinear")
        sizes = [tuple(label_map.shape) for label_map in batch["label_maps"]]
        return processor.post_process_semantic_segmentation(SimpleNamespace(class_maps=logits.softmax(1)), sizes)

    with evaluating(model):
        return measure_label_maps(predict, batches, task.data.class_names())


@command("segformer_baseline.py")
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="recipe of train.py with the task semantic-segmentation")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="keys of the recipe with other values")
    parser.add_argument("--minutes", type=float, required=True, help="of training")
    parser.add_argument("--lr", type=float, default=1e-3, help="highest learning rate of AdamW (default: 0.001)")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="where to write the values")
    options = parser.parse_intermixed_args(arguments)
    recipe = load_recipe(options.recipe, SolverRecipe, options.overrides)
    if SEMANTIC_TASK not in recipe.tasks:
        raise ValueError(f"{options.recipe} has no task {SEMANTIC_TASK}: it has {', '.join(recipe.tasks)}.")
    if options.minutes <= 0:
        raise ValueError("--minutes must be above 0.")
    task = recipe.tasks[SEMANTIC_TASK]
    set_seed(options.seed)
    accelerator = Accelerator()
    model = SegformerForSemanticSegmentation(SegformerConfig(num_labels=len(task.data.class_names())))
    model.to(accelerator.device)
    num_steps = train(model, task, accelerator, options)
    values = evaluate(model, task, accelerator, recipe)
    values |= {"num_steps": num_steps, "minutes": options.minutes, "seed": options.seed}
    values["num_parameters"] = sum(parameter.numel() for parameter in model.parameters())
    if options.output is not None:
        write_text(options.output, json.dumps(values, indent=2) + "\n")
    print("  ".join(f"{name} {values[name]:.4f}" for name in SEMANTIC_VALUES))
    print(f"{num_steps} steps in {options.minutes:g} minutes, {values['num_parameters']:,} parameters.")


if __name__ == "__main__":
    main()
