# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""`ait finetune` on people and on maps of one's own, and what it holds out."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from small_data import place, write_normals, write_objects, write_people, write_rooms
from tiny import randomized, tiny_config
from tiny_dense import KEYPOINTS, NORMALS, dense_config, dense_model
from tiny_pose import POSES, SIDE, pose_config, pose_model, pose_processor

from ait_hf import AiTForDenseTokenGeneration, AiTForDepthEstimation, AiTForPoseEstimation, AiTImageProcessor
from ait_hf.data.skeletons import COCO_SKELETON
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.model.image_processing_pose_ait import AiTPoseImageProcessor
from ait_hf.recipes.parsing import load_recipe
from ait_hf.training.solver import SolverRecipe
from ait_hf_cli import main as ait


SHORT = ["--steps", 2, "--batch-size", 2, "--override", "train.trackers=[]"]
SQUARE = AiTImageProcessor(size={"height": 96, "width": 96}, do_normalize=False)
JOINTS = COCO_SKELETON.joints


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_with_remote_code(pose_model(pose_config()), pose_processor(), folder / "poses")
    save_with_remote_code(dense_model(dense_config((NORMALS,))), SQUARE, folder / "normals")
    save_with_remote_code(randomized(AiTForDepthEstimation(tiny_config())), SQUARE, folder / "depth")
    few_joints = AiTPoseImageProcessor(size={"height": 96, "width": 96})
    save_with_remote_code(dense_model(dense_config((KEYPOINTS,)), AiTForPoseEstimation), few_joints, folder / "few")
    return folder


def tune(model: Path, task: str, data: Path, output: Path, *arguments: object) -> dict:
    """The last line of the history."""
    given = ["--model", model, "--task", task, "--data", data, "--output", output, *arguments, *SHORT]
    ait(["finetune", *map(str, given)])
    return json.loads((output / "history.json").read_text())[-1]


def data_of(output: Path, task: str):
    return load_recipe(output / "recipe.yaml", SolverRecipe).tasks[task].data


def test_people_of_ones_own(models, tmp_path):
    output = tmp_path / "new"
    last = tune(models / "poses", POSES, write_people(tmp_path / "people", empty=3), output)
    assert last[f"eval_{POSES}/num_persons"] == 1 and 0 <= last[f"eval_{POSES}/AP"] <= 1
    parts = {name: json.loads((output / f"data/{name}.json").read_text()) for name in ("train", "validation")}
    assert [len(part["images"]) for part in parts.values()] == [14, 1]  # those with nobody cannot be evaluated
    data = data_of(output, POSES)
    assert data.transform.normalize and data.transform.box_scale == pose_processor().box_scale
    assert data.image_size == (SIDE, SIDE)
    model, base = (AiTForPoseEstimation.from_pretrained(path) for path in (output, models / "poses"))
    moved = {key for key, value in model.state_dict().items() if not value.equal(base.state_dict()[key])}
    assert any("backbone" in key for key in moved) and not any("tokenizers" in key for key in moved)


def test_joints_in_another_order_and_fewer(models, tmp_path, caplog):
    joints = list(JOINTS[:4:-1])  # the last ones first, and none of the face
    tune(models / "poses", POSES, write_people(tmp_path / "people", joints), tmp_path / "new")
    assert (
        "shows nothing of 'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear': it cannot be learnt" in caplog.text
    )
    row = data_of(tmp_path / "new", POSES).load("validation")[0]
    expected = [place(name, row["image_id"]) if name in joints else [0, 0, 0] for name in JOINTS]
    np.testing.assert_array_equal(row["keypoints"], expected)


def test_maps_of_ones_own(models, tmp_path):
    folder, output = write_normals(tmp_path / "mine", "train", "val"), tmp_path / "new"
    last = tune(models / "normals", NORMALS, folder, output, "--scale", 2 / 255, "--offset", -1)
    assert last[f"eval_{NORMALS}/num_images"] == 4 and 0 <= last[f"eval_{NORMALS}/mean_angle"] <= 180
    data = data_of(output, NORMALS)
    assert (data.unit, data.num_channels, data.image_size) == ("unit_vector", 3, (96, 96))
    assert data.transform.resize == 96  # 100 x 120 just covers 96 x 96
    labels = data.stream().eval_transform(data.load("val")[0])["labels"]
    np.testing.assert_allclose(labels[:, 50, 50], [0.0039, 0.0039, -1], atol=1e-3)
    assert AiTForDenseTokenGeneration.from_pretrained(output).config.tasks == (
        AiTForDenseTokenGeneration.from_pretrained(models / "normals").config.tasks
    )


def test_maps_in_a_saved_data_set_at_another_size(models, tmp_path):
    folder, output = write_normals(tmp_path / "mine", "train"), tmp_path / "new"
    columns = {name: sorted(map(str, (folder / "train" / name).iterdir())) for name in ("images", "maps")}
    features = datasets.Features({"images": datasets.Image(), "maps": datasets.Image()})
    table = datasets.Dataset.from_dict(columns, features)
    datasets.DatasetDict({"train": table, "test": table.select([0])}).save_to_disk(tmp_path / "saved")
    columns = ["--image-column", "images", "--map-column", "maps", "--image-size", 96, 128]
    last = tune(models / "normals", NORMALS, tmp_path / "saved", output, *columns, "--scale", 2 / 255, "--offset", -1)
    assert last[f"eval_{NORMALS}/num_images"] == 1
    assert AiTForDenseTokenGeneration.from_pretrained(output).config.task(NORMALS).grid_size == [3, 4]


@pytest.mark.parametrize("count", [2, 3, 9, 12])
def test_at_least_one_frame_is_held_out(models, tmp_path, count):
    rooms = write_rooms(tmp_path / "rooms")
    for path in rooms.glob("*/*"):
        if int(path.stem) >= count:
            path.unlink()
    last = tune(models / "depth", "depth", rooms, tmp_path / "new", "--depth-scale", 1000)
    assert last["eval_depth/num_images"] == 1
    splits = [frame["split"] for frame in json.loads((tmp_path / "new/data/index.json").read_text())]
    assert splits.count("validation") == 1 and len(splits) == count
    assert yaml.safe_load((tmp_path / "new/recipe.yaml").read_text())["tasks"]["depth"]["data"]["of"] == "depth"


def one_room(folder: Path) -> Path:
    rooms = write_rooms(folder)
    for path in rooms.glob("*/*"):
        if path.stem != "00":
            path.unlink()
    return rooms


def two_files(folder: Path) -> Path:
    objects = write_objects(folder)
    (objects / "more.json").write_bytes((objects / "objects.json").read_bytes())
    return objects


@pytest.mark.parametrize(
    ("model", "task", "write", "arguments", "message"),
    [
        ("depth", "depth", one_room, ["--depth-scale", 1000], "has 1 sample(s) and no split to evaluate on"),
        ("depth", "depth", write_rooms, ["--scale", 2], "scale has no meaning for 'depth'"),
        ("depth", "depth", write_rooms, ["--images", "x"], "images has no meaning for 'depth'"),
        ("poses", POSES, write_objects, [], "0 categories with keypoints"),
        ("poses", POSES, two_files, [], "but has more.json, objects.json: name the one to train on"),
        ("poses", POSES, lambda folder: write_people(folder, count=9), [], "must be at least 10"),
        (
            "poses",
            POSES,
            lambda folder: write_people(folder, ["nose", "left_horn"]),
            [],
            "shows the joint 'left_horn'",
        ),
        ("poses", POSES, write_people, ["--image-size", 32, 32], "written in crops of (height, width) (64, 64)"),
        (
            "few",
            KEYPOINTS,
            write_people,
            ["--image-size", 48, 48],
            "writes 5 joints, but the data's skeleton coco has 17",
        ),
        ("normals", NORMALS, lambda folder: write_normals(folder, "train"), [], "needs train/images and train/maps"),
        ("normals", NORMALS, lambda folder: write_normals(folder, "val"), [], "it has the splits ['val']"),
        ("normals", NORMALS, lambda folder: write_normals(folder, "train", "val"), [], "no unit vectors"),
        (
            "normals",
            NORMALS,
            lambda folder: write_normals(folder, "train", "val"),
            ["--map-column", "maps"],
            "is a folder of files, which has no columns: leave out map_column",
        ),
        ("normals", NORMALS, write_rooms, [], "name the column of maps (map_column)"),
    ],
)
def test_wrong_requests_are_one_sentence(models, tmp_path, capsys, model, task, write, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        tune(models / model, task, write(tmp_path / "data"), tmp_path / "new", *arguments)
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert message in sentence and sentence.startswith("ait finetune: ")
