# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Trainings with poses: data sections and the task."""

import pytest
import torch
from data_sections import data_section
from PIL import Image

from ait_hf import AiTForPoseEstimation, PoseTokenizer
from ait_hf.data.skeletons import COCO_SKELETON
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
