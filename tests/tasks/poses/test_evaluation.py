# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tiny_pose import NUM_JOINTS, POSE_TOKENIZER, POSES, SIDE, person, pose_config, pose_model, pose_processor
from torch.utils.data import DataLoader

from ait_hf import PoseTokenizer
from ait_hf.commands.evaluate import main as evaluate
from ait_hf.data.coco_keypoints import load_coco_keypoints
from ait_hf.data.pose_transforms import PoseEvalTransform, pose_collator
from ait_hf.data.skeletons import COCO_SKELETON, Skeleton
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.model.modeling_ait import AiTPoseEstimatorOutput
from ait_hf.tasks.poses import evaluation as pose_evaluation
from ait_hf.tasks.poses.evaluation import (
    DetectedBoxes,
    evaluate_pose_tokenizer,
    evaluate_poses,
    person_collator,
    pose_ground_truth,
    read_detections,
)


HAND = Skeleton("hand", ("a", "b"), (), (), (0.1, 0.1))


def test_boxes_of_a_detector_come_with_their_images_also_one_after_the_other(tmp_path):
    Image.new("RGB", (7, 5)).save(tmp_path / "a.png")
    rows = DetectedBoxes([{"path": str(tmp_path / "a.png"), "score": 0.5}])
    assert [np.asarray(row["image"]).shape for row in rows] == [(5, 7, 3)] and len(rows) == 1


@pytest.fixture(scope="module")
def model():
    return pose_model(pose_config())


@pytest.fixture(scope="module")
def sample(data_dir) -> Path:
    return data_dir / "coco_keypoints_sample"


@pytest.fixture(scope="module")
def people(sample, tmp_path_factory):
    return load_coco_keypoints(sample / "test_coco.json", sample, cache_dir=tmp_path_factory.mktemp("cache"))


def batches(rows, size=3):
    transform = PoseEvalTransform(SIDE)
    return DataLoader([transform(row) for row in rows], batch_size=size, collate_fn=pose_collator)


@pytest.fixture
def oracle(monkeypatch):
    """In the place of the model's: joints that are given, batch after batch."""

    def install(joints: torch.Tensor, scores: torch.Tensor | None = None) -> None:
        scores = torch.ones(joints.shape[:2]) if scores is None else scores
        left = iter(zip(joints, scores))

        def generate(model, pixel_values, *_, **__):
            chosen = [next(left) for _ in pixel_values]
            return AiTPoseEstimatorOutput(
                pred_keypoints=torch.stack([pair[0] for pair in chosen]),
                keypoint_scores=torch.stack([pair[1] for pair in chosen]),
            )

        monkeypatch.setattr(pose_evaluation, "generate_poses", generate)

    return install


def test_true_joints_of_the_crops_are_perfect(model, people, sample, oracle):
    """Through crops of 64 pixels and back."""
    loader = batches(people)
    oracle(torch.cat([batch["labels"][..., :2] for batch in loader]))
    values, results = evaluate_poses(model, pose_processor(), loader, sample / "test_coco.json")
    assert {name: values[name] for name in ("AP", "AP75", "AR")} == pytest.approx({"AP": 1, "AP75": 1, "AR": 1})
    assert (values["num_persons"], values["num_images"]) == (12, 4) and len(results) == 12


def test_results_are_the_official_format(model, people, sample, oracle, tmp_path):
    """pycocotools reads them and finds the same."""
    loader = batches(people)
    labels = torch.cat([batch["labels"][..., :2] for batch in loader])
    torch.manual_seed(0)
    oracle(labels + torch.randn_like(labels), torch.rand(labels.shape[:2]))
    values, results = evaluate_poses(model, pose_processor(), loader, sample / "test_coco.json")
    (tmp_path / "results.json").write_text(json.dumps(results))
    official = COCO(str(sample / "test_coco.json"))
    evaluation = COCOeval(official, official.loadRes(str(tmp_path / "results.json")), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert 0.2 < values["AP"] < 1 and values["AP"] == pytest.approx(evaluation.stats[0])
    assert values["ARl"] == pytest.approx(evaluation.stats[9])


def test_scores_are_those_of_joints_times_that_of_the_box(model, oracle):
    rows = [person(1) | {"score": 0.5}, person(2)]
    scores = torch.rand(2, NUM_JOINTS)
    oracle(torch.zeros(2, NUM_JOINTS, 2), scores)
    collate = partial(person_collator, processor=pose_processor())
    loader = DataLoader(rows, batch_size=2, collate_fn=collate)
    _, results = evaluate_poses(model, pose_processor(), loader, pose_ground_truth(rows))
    found = [result["score"] for result in results]
    np.testing.assert_allclose(found, scores.mean(1).numpy() * [0.5, 1], rtol=1e-5)


def test_images_where_nobody_was_found_count(model, oracle):
    rows = [person(number) for number in range(4)]
    loader = batches(rows[:2])
    truth = pose_ground_truth(rows)
    labels = torch.cat([batch["labels"][..., :2] for batch in loader])
    for image_ids, recall in ((None, 1.0), (range(4), 0.5)):
        oracle(labels)
        values, _ = evaluate_poses(model, pose_processor(), loader, truth, image_ids=image_ids)
        assert values["AR"] == pytest.approx(recall)


def test_ground_truth_of_rows_is_that_of_the_file(people, sample):
    content = json.loads((sample / "test_coco.json").read_text())
    expected = [entry for entry in content["annotations"] if entry["num_keypoints"]]
    found = pose_ground_truth(people)["annotations"]
    assert len(found) == len(expected)
    for entry, annotation in zip(found, expected):
        assert entry["keypoints"] == annotation["keypoints"] and entry["image_id"] == annotation["image_id"]
        assert entry["num_keypoints"] == annotation["num_keypoints"]
        np.testing.assert_allclose(entry["bbox"], annotation["bbox"], atol=1e-3)
        assert entry["area"] == pytest.approx(annotation["area"])


def test_both_ways_to_batches_agree(people):
    rows = [people[0], people[5]]
    (trained,) = batches(rows)
    evaluated = person_collator(rows, processor=pose_processor())
    assert torch.equal(trained["pixel_values"], evaluated["pixel_values"])
    for first, second in zip(trained["persons"], evaluated["persons"]):
        assert first["image_id"] == second["image_id"] and torch.equal(first["box"], second["box"])


def test_the_flip_test_does_not_see_mirroring(model):
    """Mirrored crops give the mirrored joints, with left and right exchanged."""
    pixel_values = torch.rand(2, 3, SIDE, SIDE)
    order = COCO_SKELETON.flip_order
    with torch.no_grad():
        straight, mirrored = (
            pose_evaluation.generate_poses(model, crops, POSES, order)
            for crops in (pixel_values, pixel_values.flip(-1))
        )
    expected = straight.pred_keypoints[:, order].clone()
    expected[..., 0] = SIDE - 1 - expected[..., 0]
    torch.testing.assert_close(mirrored.pred_keypoints, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(mirrored.keypoint_scores, straight.keypoint_scores[:, order])


def test_bad_input(model, people, sample):
    processor = pose_processor()
    with pytest.raises(ValueError, match="64x64 pixels, but this image processor makes 32x32"):
        evaluate_poses(model, type(processor)(size={"height": 32, "width": 32}), [], sample / "test_coco.json")
    with pytest.raises(ValueError, match="17 joints, but the skeleton hand has 2"):
        evaluate_poses(model, processor, [], sample / "test_coco.json", skeleton=HAND)
    with pytest.raises(FileNotFoundError, match="none.json does not exist"):
        evaluate_poses(model, processor, [], sample / "none.json")
    truth = pose_ground_truth([person(1)])
    with pytest.raises(ValueError, match="no image 2"):
        evaluate_poses(model, processor, batches([person(2)]), truth)
    with pytest.raises(ValueError, match="no images to evaluate"):
        evaluate_poses(model, processor, [], truth)
    truth["categories"][0]["keypoints"][0] = "tail"
    with pytest.raises(
        ValueError, match="The ground truth shows the joint 'tail', which the skeleton coco does not have"
    ):
        evaluate_poses(model, processor, [], truth)


@pytest.mark.parametrize(
    ("detections", "message"),
    [
        ({}, "must hold a list"),
        ([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}], "detection 0 has no 'score'"),
        ([5], "detection 0 has no 'bbox'"),
        (
            [{"image_id": 9, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}],
            "image 9, which the annotations do not",
        ),
        ([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1], "score": 1}], "4 finite numbers are needed"),
    ],
)
def test_bad_detections(detections, message, tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(detections))
    with pytest.raises(ValueError, match=message):
        read_detections(path, pose_ground_truth([person(1)]), 1)


def test_detections(tmp_path):
    path = tmp_path / "boxes.json"
    box = {"image_id": 1, "category_id": 1, "bbox": [2, 3, 4, 5], "score": 0.5}
    path.write_text(json.dumps([box, box | {"category_id": 2}, box | {"bbox": [2, 3, 0, 5]}]))
    found = read_detections(path, pose_ground_truth([person(1), person(2)]), 1)
    assert found == {1: [{"box": [2, 3, 6, 8], "score": 0.5}], 2: []}
    path.write_text("[")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_detections(path, pose_ground_truth([person(1)]), 1)
    with pytest.raises(FileNotFoundError, match="none.json does not exist"):
        read_detections(tmp_path / "none.json", pose_ground_truth([person(1)]), 1)


class Exact(PoseTokenizer):
    """Rebuilds whatever it saw last."""

    def tokenize(self, x):
        self.seen = x
        return super().tokenize(x)

    def detokenize(self, ids=None, **_):
        return self.seen[..., :2]


def tokenizer(kind: type = PoseTokenizer) -> PoseTokenizer:
    torch.manual_seed(0)
    arguments = {name: value for name, value in POSE_TOKENIZER.items() if name != "tokenizer_type"}
    return kind(**arguments).eval()


def test_reconstruction(people):
    values = evaluate_pose_tokenizer(tokenizer(), people, batch_size=5)
    assert values["num_persons"] == 12 and values["num_images"] == 4
    assert values["joint_error"] > 1 and values["AP"] < 0.5 and 1 <= values["perplexity"] <= 20
    perfect = evaluate_pose_tokenizer(tokenizer(Exact), people, batch_size=5)
    assert perfect["joint_error"] == 0 and perfect["AP"] == pytest.approx(1.0)
    # Crops that show half as much as the boxes leave joints out, which then count as not found.
    assert evaluate_pose_tokenizer(tokenizer(Exact), people, box_scale=0.5, batch_size=5)["AP"] < 0.9
    with pytest.raises(ValueError, match="17 joints, but the skeleton hand has 2"):
        evaluate_pose_tokenizer(tokenizer(), people, skeleton=HAND)


# The command.


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_with_remote_code(model, pose_processor(), folder)
    return folder


def measured(tmp_path: Path, *arguments: object) -> dict[str, dict[str, float]]:
    output = tmp_path / "metrics.json"
    evaluate([str(argument) for argument in ("--task", POSES, *arguments, "--output", output)])
    return json.loads(output.read_text())["results"]


def test_command_with_annotated_and_with_detected_boxes(folder, sample, tmp_path):
    common = ["--model", folder, "--data", f"coco:{sample / 'test_coco.json'}", "--images", sample]
    drawn = ["--gallery", tmp_path / "a.png"]
    values = measured(tmp_path, *common, "--modes", "all", "--tokenizer-reconstruction", *drawn)
    assert values.keys() == {"hard", "soft in the detokenizer", "soft in the solver", "soft in both"} | {
        "the model's tokenizer"
    }
    assert all(result["num_persons"] == 12 for result in values.values()) and (tmp_path / "a.png").is_file()

    boxes = sample / "test_coco_det_AP_H_56.json"
    detected = ["--boxes", boxes, "--flip-test", "--limit", 2, "--results", tmp_path / "r.json"]
    (values,) = measured(tmp_path, *common, *detected).values()
    content = json.loads((sample / "test_coco.json").read_text())
    chosen = {content["images"][0]["id"], content["images"][-1]["id"]}
    expected = [box["score"] for box in json.loads(boxes.read_text()) if box["image_id"] in chosen]
    results = json.loads((tmp_path / "r.json").read_text())
    assert values["num_images"] == 2 and values["num_persons"] == len(results) == len(expected)
    assert {result["image_id"] for result in results} == chosen


def test_command_on_synthetic_people(folder, tmp_path):
    (values,) = measured(tmp_path, "--model", folder, "--data", "synthetic", "--split", "test", "--limit", 3).values()
    assert values["num_persons"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "coco:a.json"], "--images DIR"),
        (["--data", "coco:a.json", "--images", "b", "--split", "val"], "leave out --split"),
        (["--data", "nyu_depth:x"], "not on nyu_depth:x"),
        (["--data", "synthetic", "--split", "test", "--boxes", "b.json"], "leave out --images and --boxes"),
        (["--data", "synthetic"], "Give the --split"),
        (["--data", "synthetic", "--split", "train"], "have no end"),
        (["--data", "synthetic", "--split", "test", "--flip-test"], "need --model"),
        (
            ["--data", "synthetic", "--split", "test", "--model", "m", "--modes", "all", "--results", "r.json"],
            "results of one mode",
        ),
    ],
)
def test_bad_options(arguments, message, tmp_path, capsys):
    tokenizer().save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(SystemExit):
        measured(tmp_path, "--tokenizer", tmp_path / "tokenizer", *arguments)
    assert message in capsys.readouterr().err


def test_the_whole_command(folder, tmp_path, capsys):
    output = tmp_path / "metrics.json"
    common = ["--task", POSES, "--data", "synthetic", "--split", "validation", "--limit", "2", "--output", str(output)]
    tokenizer().save_pretrained(tmp_path / "tokenizer")
    evaluate([*common, "--model", str(folder), "--tokenizer", str(tmp_path / "tokenizer")])
    written = json.loads(output.read_text())
    assert written["flip_test"] is False and "top_k" not in written
    assert written["results"].keys() == {"as the checkpoint says", "tokenizer"}
    assert "joint_error" in capsys.readouterr().out
    for wrong, message in (
        (["--model", str(folder), "--num-objects", "2"], "--num-objects has no meaning for poses"),
        (["--tokenizer", str(folder)], "is not that of a PoseTokenizer"),
    ):
        with pytest.raises(SystemExit):
            evaluate([*common, *wrong])
        assert message in capsys.readouterr().err
