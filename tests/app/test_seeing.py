# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What the app gives of a photograph is what `ait predict` writes, for every kind of task, and all its numbers."""

import json

import numpy as np
import pytest
from models_of_kinds import MEASURED, save_model
from PIL import Image
from saved_model import picture

from ait_hf import load_depth_png
from ait_hf.app.examples import write_examples
from ait_hf.app.seeing import Seer
from ait_hf.data.rooms.depth import SyntheticLabelMaps
from ait_hf.drawing.colors import colorize_uncertainty
from ait_hf_cli import main


BOX = [20.0, 10.0, 60.0, 80.0]
THRESHOLD = 0.2
OPTIONS = {
    "detection": ["--threshold", THRESHOLD],
    "instances": ["--threshold", THRESHOLD],
    "poses": ["--boxes", "boxes.json"],
}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    picture(96, 128, 5).save(path)
    return path


@pytest.mark.parametrize("name", [*MEASURED, "heat"])
def test_files_and_picture_are_those_of_ait_predict(name, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "boxes.json").write_text(json.dumps({photo.name: [BOX]}))
    seer = Seer(save_model(name, tmp_path / "model"))
    (tmp_path / "seen").mkdir()
    (task, seen), *others = seer.see(photo, tmp_path / "seen", THRESHOLD, [BOX] if seer.needs_boxes else None).items()
    assert not others and seer.needs_boxes == (name == "poses")
    options = ["--model", "model", "--task", task, "--output", "predicted", *OPTIONS.get(name, ())]
    main(["predict", *map(str, options), str(photo)])
    predicted = {path.name: path.read_bytes() for path in (tmp_path / "predicted").iterdir()}
    files = {path.name: path.read_bytes() for path in seen.files}
    numbers = f"photo_{task}.npz"
    assert predicted.items() <= files.items()
    assert files.keys() - predicted.keys() <= {numbers, "photo_uncertainty.png"} and numbers in files
    pictures = [np.asarray(Image.open(path)) for path in seen.files if path.suffix == ".png"]
    assert any(np.array_equal(seen.picture, painted) for painted in pictures)
    np.testing.assert_array_equal(seen.image, np.asarray(Image.open(photo)))
    assert seen.summary.endswith(".") and "\n" not in seen.summary
    with np.load(tmp_path / "seen" / task / numbers) as archive:
        CHECKS[name](dict(archive), seen, tmp_path / "predicted")


def check_depth(numbers, seen, predicted):
    stored = load_depth_png(predicted / "photo_depth.png")
    np.testing.assert_allclose(numbers["predicted_depth"], stored, atol=5.1e-4)  # millimetres
    np.testing.assert_array_equal(seen.uncertainty, colorize_uncertainty(numbers["uncertainty"]))
    depth = numbers["predicted_depth"]
    assert seen.summary.startswith(f"From {depth.min():.2f} to {depth.max():.2f} metres")


def check_map(numbers, seen, predicted):
    (path,) = predicted.glob("*.npy")
    np.testing.assert_array_equal(numbers["predicted_map"].transpose(1, 2, 0), np.load(path))
    np.testing.assert_array_equal(seen.uncertainty, colorize_uncertainty(numbers["uncertainty"]))


def check_objects(numbers, seen, predicted):
    objects = json.loads((predicted / "photo_objects.json").read_text())
    assert objects and seen.uncertainty is None
    np.testing.assert_allclose(numbers["boxes"], [item["box"] for item in objects], rtol=1e-6)
    np.testing.assert_allclose(numbers["scores"], [item["score"] for item in objects], rtol=1e-6)
    assert sum(int(part.split(" × ")[0]) for part in seen.summary.split(" with ")[0].split(", ")) == len(objects)
    if "segmentation" in objects[0]:
        areas = [sum(item["segmentation"]["counts"][1::2]) for item in objects]
        assert numbers["masks"].sum((1, 2)).tolist() == areas


def check_poses(numbers, seen, predicted):
    (person,) = json.loads((predicted / "photo_keypoints.json").read_text())
    np.testing.assert_allclose(
        numbers["keypoints"][0], [joint[:2] for joint in person["keypoints"].values()], rtol=1e-5
    )
    assert numbers["bbox"].tolist() == [person["box"]] and seen.summary.startswith("1 person")


def check_classes(numbers, seen, predicted):
    labels = np.asarray(Image.open(predicted / "photo_labels.png"))
    np.testing.assert_array_equal(numbers["labels"], labels)
    largest = np.bincount(labels.ravel()).max() / labels.size
    assert f"{largest:.0%}" in seen.summary


CHECKS = {"depth": check_depth, "normals": check_map, "heat": check_map, "detection": check_objects}
CHECKS |= {"instances": check_objects, "poses": check_poses, "class masks": check_classes, "label maps": check_classes}


def test_what_cannot_be_seen_is_said(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("no picture")
    seer = Seer(save_model("poses", tmp_path / "model"))
    (tmp_path / "seen").mkdir()
    with pytest.raises(ValueError, match="broken.jpg cannot be read as an image"):
        seer.see(broken, tmp_path / "seen")
    picture(40, 60).save(broken)
    with pytest.raises(ValueError, match="finds no people by itself.*give their boxes"):
        seer.see(broken, tmp_path / "seen")


def test_examples_are_test_rooms(tmp_path):
    without, with_people = write_examples(tmp_path, people=False), write_examples(tmp_path, people=True)
    assert len(with_people) > len(without) > 0 and with_people[: len(without)] == without
    first, last = (np.asarray(Image.open(with_people[number])) for number in (0, -1))
    rooms = (SyntheticLabelMaps("test", first.shape[:2], people=people) for people in (False, True))
    assert [
        np.array_equal(image, room[n]["image"])
        for image, room, n in zip((first, last), rooms, (0, len(with_people) - 1))
    ]
