# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures of predictions while a task-solver trains."""

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import save_tokenizer, solver_recipe

from ait_hf.recipes.parsing import load_recipe
from ait_hf.training.solver import SolverRecipe, SolverTraining, train_solver
from ait_hf.training.tokenizer import TokenizerRecipe, build_tokenizer


def test_pictures_are_written_and_tracked(tmp_path):
    options = ["evaluation.pictures_every=2", "evaluation.num_pictures=2", "train.trackers=[tensorboard]"]
    recipe = solver_recipe(tmp_path, save_tokenizer(tmp_path / "tokenizer"), *options)
    train_solver(recipe)
    names = ["depth-step-00000002.png", "depth-step-00000004.png"]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == names
    one_row = solver_recipe(tmp_path, tmp_path / "tokenizer", "evaluation.num_pictures=1")
    task = SolverTraining(one_row)
    lower = task.pictures(task.model.eval(), one_row.evaluation)["depth"]
    picture = Image.open(tmp_path / "pictures" / names[1])
    assert picture.width == lower.width and picture.height > 1.5 * lower.height
    assert len(picture.convert("RGB").getcolors(2**24)) > 100
    accumulator = EventAccumulator(str(tmp_path / "logs/ait_hf"), size_guidance={"images": 0}).Reload()
    assert [event.step for event in accumulator.Images("predictions/depth")] == [2, 4]


@pytest.mark.parametrize(
    "name", ["rooms_insseg_aitp", "rooms_pose_aitp", "rooms_semantic_labels_aitp", "rooms_normals_aitp"]
)
def test_every_kind_of_task_has_pictures(tmp_path, name):
    """With an untrained model of the recipe."""
    recipe = load_recipe(name, SolverRecipe)
    tokenizer_file = {
        "insseg": "demo_mask_tokenizer",
        "pose": "rooms_pose_tokenizer",
        "semantic": "rooms_label_tokenizer",
        "normals": "rooms_normals_tokenizer",
    }[name.split("_")[1]]
    (task,) = recipe.tasks.values()
    task.tokenizer = str(tmp_path)
    tokenizer = load_recipe(tokenizer_file, TokenizerRecipe)
    build_tokenizer(tokenizer).save_pretrained(tmp_path)
    model = SolverTraining(recipe).model.eval()
    picture = task.gallery(model, task.processor(), task.data.examples(recipe.evaluation.split, 2))
    assert picture.width > 300 and len(picture.convert("RGB").getcolors(2**24)) > 100
