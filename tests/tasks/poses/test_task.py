# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Trainings with poses: data sections and the task."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from data_sections import data_section
from PIL import Image
from tiny_pose import POSE_TOKENIZER, pose_config, pose_model, pose_processor

from ait_hf import AiTForPoseEstimation, PoseTokenizer
from ait_hf.commands.evaluate import main as evaluate
from ait_hf.data.skeletons import COCO_SKELETON
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.model.image_processing_pose_ait import AiTPoseImageProcessor
from ait_hf.recipes.parsing import load_recipe
from ait_hf.training.solver import SolverRecipe, SolverTraining, train_solver
from ait_hf.training.tokenizer import TokenizerRecipe, train_tokenizer


SIDE = 32


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = PoseTokenizer(
        num_tokens=4, num_vq_embeddings=16, vq_embed_dim=8, hidden_size=16, encoder_layers=1, sample_size=SIDE
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    return str(folder)


def recipe(tokenizer_folder, output_dir="unused", *overrides: str) -> SolverRecipe:
    section = "tasks.keypoint-detection"
    small = [f"{section}.tokenizer={tokenizer_folder}", f"{section}.data.transform.image_size={SIDE}"]
    small += [f"{section}.data.num_images=4", f"{section}.data.size=[48, 48]", f"{section}.data.batch_size=2"]
    small += ["train.max_steps=3", "train.log_every=1", "evaluation.num_samples=3", f"output_dir={output_dir}"]
    return load_recipe("rooms_pose_aitp", SolverRecipe, [*small, *overrides])


def test_crops_higher_than_wide_from_tokenizer_to_model(tmp_path):
    size, people = [48, 32], ["data.num_images=4", "data.size=[48, 48]", "data.transform.image_size=[48, 32]"]
    short = ["train.max_steps=2", "evaluation.num_samples=3"]
    few = ["model.config.num_vq_embeddings=8", "data.batch_size=4", f"output_dir={tmp_path / 'tokenizer'}"]
    train_tokenizer(load_recipe("rooms_pose_tokenizer", TokenizerRecipe, [*people, *few, *short]))
    assert PoseTokenizer.from_pretrained(tmp_path / "tokenizer").crop_size == tuple(size)
    section = "tasks.keypoint-detection"
    overrides = [f"{section}.{people[-1]}", *short, f"{section}.settings.auxiliary_loss_weight=1.0"]
    train_solver(recipe(tmp_path / "tokenizer", tmp_path / "model", *overrides))
    model = AiTForPoseEstimation.from_pretrained(tmp_path / "model").eval()
    assert model.config.task("keypoint-detection").image_size == size
    processor = AiTPoseImageProcessor.from_pretrained(tmp_path / "model")
    picture, box = Image.new("RGB", (100, 80)), [20.0, 10.0, 30.0, 60.0]
    inputs = processor(picture, boxes=[[box]], return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, *size)
    outputs = model(**inputs)
    pose = processor.post_process_pose_estimation(outputs, boxes=[[box]])[0][0]
    # 1.1 times the box's 60 pixels over 48 pixels of the crop, about the middle of both, in centres of pixels.
    expected = (outputs.pred_keypoints[0] - torch.tensor([15.5, 23.5])) * (1.1 * 60 / 48) + torch.tensor([34.5, 39.5])
    torch.testing.assert_close(pose["keypoints"], expected, rtol=1e-5, atol=1e-4)
    codes = model.generate(**inputs).soft_tokens.reshape(1, 1, 17, -1)
    in_crop = model.tokenizers["pose"].detokenize(probabilities=codes)
    torch.testing.assert_close(outputs.pred_keypoints, in_crop, rtol=1e-5, atol=1e-4)
    with pytest.raises(
        ValueError, match=rf"crops 48 pixels high and 32 wide: set {section}.data.transform.image_size"
    ):
        SolverTraining(recipe(tmp_path / "tokenizer"))


def test_a_training_from_its_recipe(tokenizer_folder, tmp_path):
    history = train_solver(recipe(tokenizer_folder, tmp_path))
    assert {"eval_keypoint-detection/AP", "eval_keypoint-detection/num_persons"} <= history[-1].keys()
    assert history[-1]["eval_keypoint-detection/num_persons"] == 3
    model = AiTForPoseEstimation.from_pretrained(tmp_path)
    task = model.config.task("keypoint-detection")
    assert (task.task_id, task.slots, task.output_type, task.grid_size) == (3, ["pose"], "pose", [1, 4])


def test_the_streams_samples(tokenizer_folder):
    training = SolverTraining(recipe(tokenizer_folder))
    (stream,) = training.streams.values()
    rows = stream.data.load_for_training()
    batch = stream.collate([stream.train_transform(rows[number]) for number in (0, 1)])
    assert batch["pixel_values"].shape == (2, 3, SIDE, SIDE) and batch["labels"].shape == (2, 17, 3)
    processor = training.processors["keypoint-detection"]
    row = stream.data.load("validation")[0]
    x1, y1, x2, y2 = row["box"]
    expected = processor(row["image"], boxes=[[[x1, y1, x2 - x1, y2 - y1]]], return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(stream.eval_transform(row)["pixel_values"], expected, rtol=0, atol=1e-5)


def test_pictures_come_again():
    data = data_section("synthetic_people", batch_size=1, size=[32, 32], num_images=2, transform={"image_size": 16})
    rows = data.load_for_training()
    assert rows[0] is rows[2] and data.is_endless and data.joints is COCO_SKELETON
    assert data.load("validation")[2]["path"] != data.load("validation")[0]["path"]


@pytest.fixture(scope="module")
def coco(data_dir):
    root = data_dir / "coco_tiny"
    split = {
        "annotations": str(root / "annotations/person_keypoints_train2017.json"),
        "images": str(root / "train2017"),
    }
    return {"batch_size": 2, "train": split, "transform": {"image_size": SIDE}}


def test_poses_alone_are_those_of_the_people(coco):
    people, poses = data_section("coco_keypoints", **coco), data_section("coco_poses", **coco)
    rows, alone = people.load("train"), poses.load("train")
    assert len(rows) == len(alone) == 57 and "image" not in alone.column_names
    sample = poses.stream().eval_transform(alone[3])
    assert sample.keys() == {"labels"}
    assert torch.equal(sample["labels"], people.stream().eval_transform(rows[3])["labels"])
    torch.manual_seed(0)
    batch = poses.stream().collate([poses.stream().train_transform(alone[number]) for number in (0, 1)])
    assert batch["labels"].shape == (2, 17, 3) and poses.unit == "pixel" and poses.image_size == (SIDE, SIDE)


def test_ground_truth_is_of_the_evaluated_people(coco):
    for kind in ("coco_keypoints", "coco_poses"):
        data = data_section(kind, **coco)
        everybody, some = data.ground_truth("train", None), data.ground_truth("train", 5)
        with_joints = [[a for a in truth["annotations"] if a["num_keypoints"]] for truth in (everybody, some)]
        assert [len(people) for people in with_joints] == [57, 5]
        assert len(everybody["annotations"]) == 99  # others neither count as missed nor make what is found there wrong


def test_unknown_skeleton_and_missing_split(coco):
    with pytest.raises(ValueError, match="Unknown skeleton 'hand'"):
        data_section("coco_keypoints", **coco | {"skeleton": "hand"})
    with pytest.raises(ValueError, match="no files of split 'test'"):
        data_section("coco_keypoints", **coco).load("test")


def test_tokenizer_and_data_must_fit(tokenizer_folder, tmp_path):
    section = "tasks.keypoint-detection"
    with pytest.raises(ValueError, match=rf"set {section}.data.transform.image_size to \[32, 32\]"):
        SolverTraining(recipe(tokenizer_folder, "unused", f"{section}.data.transform.image_size=64"))
    other = PoseTokenizer(num_joints=14, num_tokens=4, num_vq_embeddings=16, vq_embed_dim=8, hidden_size=16)
    other.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is of 14 joints, but the data's skeleton coco has 17"):
        SolverTraining(recipe(tmp_path))


FEW_JOINTS = ["left_hip", "right_shoulder", "neck"]


def write_few_joints(folder: Path, order: list[int]) -> list[str]:
    """Three people of three joints, which the file has in another order; arguments of `ait evaluate`."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    images, annotations = [], []
    for number in range(1, 4):
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 60, "width": 80})
        joints = np.concatenate([rng.uniform(10, 50, (3, 2)).round(2), np.full((3, 1), 2)], 1)
        annotation = {
            "id": number,
            "image_id": number,
            "category_id": 1,
            "iscrowd": 0,
            "area": 1500,
            "num_keypoints": 3,
        }
        annotation |= {"bbox": [8, 8, 45, 45], "keypoints": joints[order].flatten().tolist()}
        annotations.append(annotation)
    category = {"id": 1, "name": "person", "keypoints": [FEW_JOINTS[k] for k in order]}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "people.json").write_text(json.dumps(content))
    return ["--data", f"coco:{folder / 'people.json'}", "--images", str(folder), "--task", "keypoint-detection"]


def test_a_model_of_its_own_joints_is_measured_by_their_names(tmp_path, capsys):
    """Without being told a skeleton; whatever order a file has; PCK over the torso, and over another length."""
    tokenizer = POSE_TOKENIZER | {"num_joints": 3, "joint_names": FEW_JOINTS}
    model = pose_model(pose_config(tokenizers={"pose": tokenizer}))
    save_with_remote_code(model, {"keypoint-detection": pose_processor()}, tmp_path / "model")
    results = []
    for name, order, more in (("a", [0, 1, 2], []), ("b", [2, 0, 1], []), ("c", [1, 2, 0], ["--pck-share", "100"])):
        data = write_few_joints(tmp_path / name, order)
        output = tmp_path / f"{name}.json"
        evaluate(["--model", str(tmp_path / "model"), *data, "--output", str(output), *more])
        (values,) = json.loads(output.read_text())["results"].values()
        results.append(values)
    assert results[0] == results[1] and results[0]["num_pck_persons"] == 3 and 0 <= results[0]["PCK"] <= 1
    assert results[2] == results[0] | {"PCK": 1.0}
    data = write_few_joints(tmp_path / "d", [0, 1, 2])
    for more, sentence in (
        (["--skeleton", "coco"], "the joint 'neck', which the skeleton coco does not have"),
        (["--skeleton", str(tmp_path / "b/people.json")], "the joints left_hip, right_shoulder, neck, but the data's"),
        (["--pck-reference", "neck", "tail"], "--pck-reference names neck and tail"),
    ):
        with pytest.raises(SystemExit):
            evaluate(["--model", str(tmp_path / "model"), *data, *more])
        assert sentence in capsys.readouterr().err
