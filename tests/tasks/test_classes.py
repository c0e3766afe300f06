# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Names decide: the same classes and joints under other numbers give the same numbers, in every command and kind of data.

The truth is what a model of random weights predicts, moved a little: so what it finds is neither right nor wrong.
"""

import json
import logging
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_dense import SEMANTICS, SIZE, dense_config, dense_model
from tiny_objects import DETECTION, FRAME, object_config, object_model, object_processor
from tiny_pose import POSES, SIDE, pose_config, pose_model, pose_processor

from ait_hf import AiTForObjectDetection, AiTForPoseEstimation, AiTForSemanticSegmentation, VQTokenizer
from ait_hf.commands.evaluate import main as evaluate
from ait_hf.data.classes import DataClasses
from ait_hf.data.coco import load_coco
from ait_hf.data.skeletons import COCO_SKELETON
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.inference.loading import load_config
from ait_hf.recipes.parsing import build
from ait_hf.tasks.objects.prediction import predict_objects
from ait_hf.tasks.objects.task import Objects
from ait_hf.tasks.poses.prediction import predict_poses
from ait_hf.tasks.semantics.evaluation import frame_processor
from ait_hf.tasks.semantics.prediction import predict_semantics
from ait_hf.training.adaptation import adapt_solver
from ait_hf.training.solver import SolverRecipe, train_solver
from ait_hf.training.solver_model import build_solver
from ait_hf.training.tokenizer import TokenizerRecipe, TokenizerTraining


NAMES = ["cat", "dog", "caf\u00e9", "cow", "pig", "ant"]
JOINTS = list(COCO_SKELETON.joints)
NUM_IMAGES = 4


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


def pictures(folder: Path, size: tuple[int, int]) -> list[Image.Image]:
    folder.mkdir(parents=True)
    rng, found = np.random.default_rng(0), []
    for number in range(NUM_IMAGES):
        found.append(Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)))
        found[-1].save(folder / f"{number}.png")
    return found


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> Path:
    """`model`, `nameless`, `images` and `plain.json` with what the model finds, in boxes a little smaller."""
    folder = tmp_path_factory.mktemp("objects")
    for name, names in {"model": {"id2label": dict(enumerate(NAMES))}, "nameless": {}}.items():
        model = object_model(object_config((DETECTION,), **names), AiTForObjectDetection)
        save_with_remote_code(model, object_processor(), folder / name)
    images = pictures(folder / "images", FRAME)
    annotations = []
    found = predict_objects(model, object_processor(), images, task=DETECTION, threshold=0)
    for number, of_image in enumerate(found):
        for box, label in zip(of_image["boxes"].tolist(), of_image["labels"].tolist()):
            x1, y1, x2, y2 = (min(max(value, 0), side) for value, side in zip(box, [FRAME[1], FRAME[0]] * 2))
            if min(x2 - x1, y2 - y1) > 4:
                box = [x1, y1, 0.8 * (x2 - x1), y2 - y1]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": label + 1,
                        "bbox": box,
                        "iscrowd": 0,
                    }
                    | {"area": box[2] * box[3], "segmentation": []}
                )
    assert len({entry["category_id"] for entry in annotations}) > 2
    content = {
        "images": [
            {"id": k, "file_name": f"{k}.png", "height": FRAME[0], "width": FRAME[1]} for k in range(NUM_IMAGES)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)],
        "annotations": annotations,
    }
    (folder / "plain.json").write_text(json.dumps(content))
    return folder


def changed(folder: Path, form: str) -> Path:
    """`plain.json` in another form."""
    content = json.loads((folder / "plain.json").read_text())
    categories, annotations = content["categories"], content["annotations"]
    shown = {entry["category_id"] for entry in annotations}
    new_ids = {entry["id"]: 90 - 7 * entry["id"] for entry in categories}
    match form:
        case "other ids":
            for entry in categories:
                entry["id"] = new_ids[entry["id"]]
            for entry in annotations:
                entry["category_id"] = new_ids[entry["category_id"]]
            categories.reverse()
        case "NFD and spaces":
            for entry in categories:
                entry["name"] = f" {entry['name']} ".replace("\u00e9", "e\u0301")
        case "a class more, of which there is nothing":
            categories.insert(0, {"id": 0, "name": "yak"})
        case "without the classes that it does not show":
            content["categories"] = [entry for entry in categories if entry["id"] in shown]
        case "Cat":
            next(entry for entry in categories if entry["id"] in shown)["name"] = "Cats"
        case "twice":
            categories[1]["name"] = categories[0]["name"]
        case "swapped":
            one, other = [entry for entry in categories if entry["id"] in shown][:2]
            one["name"], other["name"] = other["name"], one["name"]
    path = folder / f"{form}.json"
    path.write_text(json.dumps(content))
    return path


def measured(folder: Path, *arguments: object) -> dict[str, float]:
    evaluate([str(argument) for argument in (*arguments, "--output", folder / "metrics.json")])
    (values,) = json.loads((folder / "metrics.json").read_text())["results"].values()
    return values


def refusal(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit):
        evaluate([str(argument) for argument in arguments])
    *_, message = capsys.readouterr().err.splitlines()
    assert message.startswith("evaluate.py: ")
    return message


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Objects


def on(folder: Path, path: Path, model: str = "model") -> list[object]:
    return ["--model", folder / model, "--task", DETECTION, "--data", f"coco:{path}", "--images", folder / "images"]


@pytest.mark.parametrize(
    ("form", "num_warnings"),
    [
        ("other ids", 0),
        pytest.param("NFD and spaces", 0, marks=pytest.mark.slow),
        pytest.param("a class more, of which there is nothing", 0, marks=pytest.mark.slow),
        pytest.param("without the classes that it does not show", 1, marks=pytest.mark.slow),
    ],
)
def test_objects_are_measured_by_name(objects, tmp_path, form, num_warnings, caplog):
    plain = measured(tmp_path, *on(objects, objects / "plain.json"), "--results", tmp_path / "plain.json")
    assert 0 < plain["bbox_AP"] < 0.95 and not warnings(caplog)
    path = changed(objects, form)
    options = ["--results", tmp_path / "other.json", "--gallery", tmp_path / "gallery.png"]
    assert measured(tmp_path, *on(objects, path), *options) == plain
    said = warnings(caplog)
    assert len(said) == num_warnings
    assert all(f"{path} lacks " in warning and "only what it has is measured" in warning for warning in said)
    found = {}
    for name, file in {"plain.json": objects / "plain.json", "other.json": path}.items():
        categories = {entry["id"]: entry["name"] for entry in json.loads(file.read_text())["categories"]}
        results = json.loads((tmp_path / name).read_text())
        found[name] = [r | {"category_id": categories[r["category_id"]].strip()[:3]} for r in results]
    names = {entry["category_id"] for entry in found["other.json"]}
    assert found["other.json"] == [entry for entry in found["plain.json"] if entry["category_id"] in names]


@pytest.mark.slow
def test_names_of_objects_make_a_difference(objects, tmp_path):
    plain, swapped = (
        measured(tmp_path, *on(objects, path)) for path in (objects / "plain.json", changed(objects, "swapped"))
    )
    assert swapped["bbox_AP"] < plain["bbox_AP"]


def test_objects_without_a_pair_are_refused(objects, tmp_path, capsys):
    assert "(is it '" in (message := refusal(capsys, *on(objects, path := changed(objects, "Cat"))))
    assert f"{path} shows the class 'Cats'" in message and f"{objects / 'model'} does not have" in message
    assert "has the class 'cat' twice" in refusal(capsys, *on(objects, changed(objects, "twice")))
    plain = objects / "plain.json"
    assert "set --classes-by-order" in refusal(capsys, *on(objects, plain, "nameless"))
    assert "leave out --classes-by-order" in refusal(capsys, *on(objects, plain), "--classes-by-order")
    by_order = measured(tmp_path, *on(objects, plain, "nameless"), "--classes-by-order")
    assert by_order == measured(tmp_path, *on(objects, plain))
    tokenizer = ["--tokenizer", objects, "--task", "instance-segmentation", "--data", "synthetic", "--split", "test"]
    assert "leave out --classes-by-order" in refusal(capsys, *tokenizer, "--classes-by-order")
    depth = ["--model", objects / "model", "--task", "depth", "--data", "synthetic", "--classes-by-order"]
    assert "--classes-by-order has no meaning for depth" in refusal(capsys, *depth)


# Label maps


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """`model` and `nameless`; `plain` with label maps of most of what the model finds, `other` with other numbers."""
    folder = tmp_path_factory.mktemp("labelled")
    processor = frame_processor((SIZE, SIZE), normalize=True)
    for name, names in {"model": {"id2label": dict(enumerate(NAMES))}, "nameless": {}}.items():
        config = dense_config((SEMANTICS,), {"class_range": None}, parallel=True, **names)
        model = dense_model(config, AiTForSemanticSegmentation)
        save_with_remote_code(model, processor, folder / name)
    images = pictures(folder / "plain/images/val", (SIZE, SIZE))
    pictures(folder / "other/images/val", (SIZE, SIZE))
    found = [label_map.numpy() for label_map in predict_semantics(model, processor, images, task=SEMANTICS)]
    shown = sorted(set(np.concatenate([label_map.flatten() for label_map in found]).tolist()))
    assert len(shown) > 2
    orders = {"plain": list(range(len(NAMES))), "other": [5, *[k for k in shown[::-1] if k != 5]]}
    for part, order in orders.items():
        (folder / part / "annotations/val").mkdir(parents=True)
        numbers = np.full(256, 255, np.uint8)
        numbers[order] = np.arange(len(order))
        for number, label_map in enumerate(found):
            truth = label_map.copy()
            truth[:, : SIZE // 4] = shown[number % len(shown)]
            Image.fromarray(numbers[truth]).save(folder / part / f"annotations/val/{number}.png")
        (folder / f"{part}.txt").write_text("\n".join(NAMES[k] for k in order))
    return folder


def labels(folder: Path, part: str, names: str, model: str = "model") -> list[object]:
    data = ["--data", f"labels:{folder / part}", "--split", "val", "--classes", folder / f"{names}.txt"]
    return ["--model", folder / model, "--task", SEMANTICS, *data]


def test_label_maps_are_measured_by_name(labelled, tmp_path, capsys, caplog):
    plain = measured(tmp_path, *labels(labelled, "plain", "plain"))
    assert 0 < plain["mIoU"] < 0.95 and not warnings(caplog)
    other = measured(tmp_path, *labels(labelled, "other", "other"), "--gallery", tmp_path / "gallery.png")
    lacking = set(NAMES) - set((labelled / "other.txt").read_text().split())
    assert other == {name: value for name, value in plain.items() if name.partition("/")[2] not in lacking}
    assert len(warnings(caplog)) == bool(lacking)
    assert measured(tmp_path, *labels(labelled, "other", "other"), "--limit", 2)["num_images"] == 2
    by_order = measured(tmp_path, *labels(labelled, "plain", "plain", "nameless"), "--classes-by-order")
    assert by_order == plain
    assert "set --classes-by-order" in refusal(capsys, *labels(labelled, "plain", "plain", "nameless"))
    assert "set --classes-by-order" in refusal(capsys, *labels(labelled, "plain", "plain", "nameless")[:-2])
    (labelled / "wrong.txt").write_text((labelled / "plain.txt").read_text().replace("c", "C"))
    assert "(is it 'cat'?)" in refusal(capsys, *labels(labelled, "plain", "wrong"))


@pytest.mark.slow
def test_rooms_are_measured_by_name(tmp_path, caplog, capsys):
    """A model that knows people, in rooms without any, and the other way round."""
    rooms = ["floor", "ceiling", "wall", "box", "sphere", "cylinder", "person"]
    for name, names in {"all": rooms[::-1], "few": rooms[:-1]}.items():
        config = dense_config(
            (SEMANTICS,), {"class_range": None}, parallel=True, num_classes=len(names), id2label=dict(enumerate(names))
        )
        processor = frame_processor((SIZE, SIZE), normalize=True)
        save_with_remote_code(dense_model(config, AiTForSemanticSegmentation), processor, tmp_path / name)
    data = ["--task", SEMANTICS, "--data", "synthetic", "--split", "test", "--limit", 1]
    values = measured(tmp_path, "--model", tmp_path / "all", *data)
    assert "IoU/person" not in values and values["mIoU"] == pytest.approx(
        np.mean([value for name, value in values.items() if name.startswith("IoU/")])
    )
    (said,) = warnings(caplog)
    assert "synthetic rooms lacks 'person' of" in said
    assert "shows the class 'person'" in refusal(capsys, "--model", tmp_path / "few", *data, "--people")


# Poses


@pytest.fixture(scope="module")
def poses(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("poses")
    model = pose_model(pose_config(), AiTForPoseEstimation)
    save_with_remote_code(model, pose_processor(), folder / "model")
    images, box = pictures(folder / "images", (SIDE, SIDE)), [4, 4, 56, 56]
    people = []
    for number, ((pose,),) in enumerate(
        zip(predict_poses(model, pose_processor(), images, [[box]] * NUM_IMAGES, task=POSES))
    ):
        joints = np.concatenate(
            [
                pose["keypoints"][0].numpy() if isinstance(pose, list) else pose["keypoints"].numpy(),
                np.full((17, 1), 2.0),
            ],
            1,
        )
        joints[:, 0] += 2
        joints[number] = 0
        people.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": 900.0, "iscrowd": 0}
            | {"keypoints": joints.flatten().tolist(), "num_keypoints": 16}
        )
    content = {
        "images": [{"id": k, "file_name": f"{k}.png", "height": SIDE, "width": SIDE} for k in range(NUM_IMAGES)],
        "categories": [{"id": 1, "name": "person", "keypoints": JOINTS}],
        "annotations": people,
    }
    order = [3, 16, 0, 1, 2, *range(4, 16)]
    forms = {"plain": JOINTS, "other": [JOINTS[k] for k in order]}
    forms |= {"more": ["tail", *forms["other"]], "fewer": forms["other"][2:], "twice": [JOINTS[0], *JOINTS[:-1]]}
    forms["strange"] = ["Nose", *JOINTS[1:]]
    for name, joints in forms.items():
        places = [JOINTS.index(joint) if joint in JOINTS else 0 if name == "strange" else None for joint in joints]
        written = []
        for entry in people:
            values = np.reshape(entry["keypoints"], (17, 3))
            values = [[0, 0, 0] if place is None else values[place].tolist() for place in places]
            written.append(entry | {"keypoints": [value for joint in values for value in joint]})
        category = content["categories"][0] | {"keypoints": joints}
        (folder / f"{name}.json").write_text(json.dumps(content | {"annotations": written, "categories": [category]}))
    return folder


def people(folder: Path, name: str) -> list[object]:
    data = ["--data", f"coco:{folder / name}.json", "--images", folder / "images"]
    return ["--model", folder / "model", "--task", POSES, *data]


def test_joints_are_measured_by_name(poses, tmp_path, caplog, capsys):
    found = {}
    for name in ("plain", "other", "more", "fewer"):
        results = tmp_path / f"{name}.json"
        values = measured(tmp_path, *people(poses, name), "--results", results)
        joints = json.loads((poses / f"{name}.json").read_text())["categories"][0]["keypoints"]
        by_name = [
            dict(zip(joints, np.reshape(person["keypoints"], (-1, 3)).tolist(), strict=True))
            for person in json.loads(results.read_text())
        ]
        found[name] = values, by_name
        if name != "fewer":
            assert not warnings(caplog)
    plain, named = found["plain"]
    assert 0 < plain["AP"] < 0.95
    assert found["other"] == found["plain"] and found["more"][0] == plain
    assert [{joint: person[joint] for joint in JOINTS} for person in found["more"][1]] == named
    assert all(joint in named[0] for joint in found["fewer"][1][0]) and len(found["fewer"][1][0]) == 15
    (said,) = warnings(caplog)
    assert f"{poses / 'fewer'}.json lacks 'left_ear', 'right_ankle' of the skeleton coco" in said.replace(
        "'right_ankle', 'left_ear'", "'left_ear', 'right_ankle'"
    )
    boxes = [
        [entry[key] for key in ("image_id", "bbox")]
        for entry in json.loads((poses / "plain.json").read_text())["annotations"]
    ]
    detected = [{"image_id": number, "category_id": 1, "bbox": box, "score": 1.0} for number, box in boxes]
    (tmp_path / "boxes.json").write_text(json.dumps(detected))
    assert measured(tmp_path, *people(poses, "other"), "--boxes", tmp_path / "boxes.json") == plain
    assert json.loads((tmp_path / "metrics.json").read_text())["boxes"] == str(tmp_path / "boxes.json")
    assert "has the joint 'nose' twice" in refusal(capsys, *people(poses, "twice"))
    assert "shows the joint 'Nose' (is it 'nose'?)" in refusal(capsys, *people(poses, "strange"))


# Training


def history(folder: Path, task: str, data: dict, **model) -> list[dict[str, float]]:
    """Of one step that hardly changes anything, and the evaluation after it."""
    values = {
        "output_dir": str(folder),
        "tasks": {task: {"data": data}},
        "model": model,
        "optimizer": {"name": "adamw", "lr": 1e-6},
        "train": {"max_steps": 1, "trackers": [], "num_workers": 0, "log_every": 1},
        "evaluation": {
            "split": "validation",
            "num_samples": 4,
            "batch_size": 4,
            "pictures_every": 1,
            "num_pictures": 2,
        },
    }
    rows = train_solver(build(SolverRecipe, values))
    measurements = ("samples_per_second", "cpu_seconds", "peak_memory_gb")
    return [{name: value for name, value in row.items() if name not in measurements} for row in rows]


def coco(objects: Path, train: Path, validation: Path) -> dict:
    splits = {
        name: {"annotations": str(path), "images": str(objects / "images")}
        for name, path in {"train": train, "validation": validation}.items()
    }
    return {
        "name": "coco",
        **splits,
        "batch_size": 4,
        "transform": {"image_size": list(FRAME), "scale_range": [1.0, 1.0]},
    }


def test_training_of_objects_goes_by_name(objects, tmp_path, caplog):
    plain, other = objects / "plain.json", changed(objects, "other ids")
    model = {"pretrained": str(objects / "model")}
    expected = history(tmp_path / "plain", DETECTION, coco(objects, plain, plain), **model)
    assert 0 < expected[-1][f"eval_{DETECTION}/bbox_AP"] < 0.95
    assert of_the_command(tmp_path / "plain", DETECTION) == expected[-1]
    assert history(tmp_path / "both", DETECTION, coco(objects, other, other), **model) == expected
    said = warnings(caplog)
    assert len(said) == len(set(said)) == 2  # what each file names but does not show, once


def test_shards_that_name_their_classes_are_paired_by_these(objects, tmp_path):
    """A `ClassLabel` has other numbers than the list in the recipe."""
    rows = load_coco(objects / "plain.json", objects / "images")
    order = NAMES[::-1]
    labels = [[order.index(NAMES[label]) for label in of_image] for of_image in rows["class_labels"]]
    table = rows.remove_columns("class_labels").add_column(
        "class_labels", labels, feature=datasets.List(datasets.ClassLabel(names=order))
    )
    datasets.DatasetDict({"train": table, "validation": table}).save_to_disk(tmp_path / "shards")
    shards = coco(objects, objects / "plain.json", objects / "plain.json") | {"name": "coco_shards"}
    shards |= {"path": str(tmp_path / "shards"), "classes": NAMES}
    shards = {name: value for name, value in shards.items() if name not in ("train", "validation")}
    found = [
        history(tmp_path / data["name"], DETECTION, data, pretrained=str(objects / "model"))
        for data in (coco(objects, objects / "plain.json", objects / "plain.json"), shards)
    ]
    assert found[0][0] == found[1][0]
    assert found[1][-1] == pytest.approx(found[0][-1], abs=0.02)  # of boxes in float32, some on the edge of a match


@pytest.mark.slow
def test_models_are_adapted_or_named_to_the_same(objects, tmp_path):
    plain, other = objects / "plain.json", changed(objects, "other ids")
    model = {"pretrained": str(objects / "model")}
    expected = history(tmp_path / "plain", DETECTION, coco(objects, plain, plain), **model)
    by_order = {"pretrained": str(objects / "nameless"), "classes_by_order": True}
    assert history(tmp_path / "named", DETECTION, coco(objects, plain, other), **by_order) == expected
    assert list(load_config(tmp_path / "named").id2label.values()) == NAMES
    assert history(tmp_path / "adapted", DETECTION, coco(objects, other, plain), adapt=True, **model) == expected


def of_the_command(folder: Path, task: str) -> dict[str, float]:
    """What `ait evaluate` says of a model on what it was evaluated on in training, as a row of the history."""
    data = ["--data", folder / "recipe.yaml", "--split", "validation", "--limit", 4, "--batch-size", 4]
    values = measured(folder, "--model", folder, "--task", task, *data)
    return {"step": 1} | {f"eval_{task}/{name}": value for name, value in values.items()}


def test_training_of_poses_is_measured_as_by_the_command(poses, tmp_path):
    """On the recipe, and on the files by themselves."""
    files = {"annotations": str(poses / "more.json"), "images": str(poses / "images")}
    data = {"name": "coco_keypoints", "train": files, "validation": files, "batch_size": 4}
    data |= {"transform": {"image_size": SIDE}}
    (*_, last) = history(tmp_path, POSES, data, pretrained=str(poses / "model"))
    assert 0 < last[f"eval_{POSES}/AP"] < 0.95
    assert of_the_command(tmp_path, POSES) == last
    values = measured(tmp_path, *people(poses, "more")[2:], "--model", tmp_path, "--batch-size", 4)
    assert {f"eval_{POSES}/{name}": value for name, value in values.items()} == {
        name: value for name, value in last.items() if name != "step"
    }


@pytest.mark.parametrize(
    ("train", "validation", "model", "message"),
    [
        ("plain", "Cat", {"pretrained": "model"}, r"Cat.json shows the class 'Cats' \(is it .* model.adapt=true"),
        ("Cat", "plain", {"pretrained": "model"}, r"Cat.json shows the class 'Cats'"),
        (
            "Cat",
            "plain",
            {"pretrained": "model", "adapt": True},
            "plain.json shows .* model of tasks.object-detection",
        ),
        ("twice", "plain", {"pretrained": "model"}, "has the class 'cat' twice"),
        ("plain", "twice", {"pretrained": "model"}, "has the class 'cat' twice"),
        ("plain", "plain", {"pretrained": "nameless"}, "has no names of its classes.*model.classes_by_order=true"),
        ("plain", "plain", {"pretrained": "model", "classes_by_order": True}, "leave out model.classes_by_order=true"),
        ("plain", "plain", {"classes_by_order": True}, "classes_by_order and lora go with pretrained"),
    ],
)
def test_training_stops_before_it_starts(objects, tmp_path, train, validation, model, message):
    paths = [objects / "plain.json" if form == "plain" else changed(objects, form) for form in (train, validation)]
    model = {name: str(objects / value) if name == "pretrained" else value for name, value in model.items()}
    with pytest.raises(ValueError, match=message):
        history(tmp_path / "run", DETECTION, coco(objects, *paths), **model)
    assert not (tmp_path / "run").exists()


def test_training_warns_once_of_what_it_cannot_learn_or_measure(objects, tmp_path, caplog):
    more = changed(objects, "a class more, of which there is nothing")
    fewer = changed(objects, "without the classes that it does not show")
    history(tmp_path, DETECTION, coco(objects, more, fewer), pretrained=str(objects / "model"))
    said = warnings(caplog)
    assert len([warning for warning in said if f"{more} shows nothing of 'yak'" in warning]) == 1
    assert len([warning for warning in said if f"{fewer} lacks" in warning]) == 1


def test_training_of_label_maps_goes_by_name(labelled, tmp_path):
    found = []
    for part in ("plain", "other"):
        root = labelled / part
        for kind in ("images", "annotations"):
            for split in ("train", "validation"):
                if not (root / kind / split).exists():
                    (root / kind / split).symlink_to(root / kind / "val")
        data = {"name": "label_maps", "root": str(root), "classes": str(labelled / f"{part}.txt"), "batch_size": 2}
        data["transform"] = {"image_size": SIZE, "scale_range": [1.0, 1.0]}
        found.append(history(tmp_path / part, SEMANTICS, data, pretrained=str(labelled / "model")))
    assert found[0] == found[1] and 0 < found[0][-1][f"eval_{SEMANTICS}/mIoU"] < 0.95


def test_training_of_poses_goes_by_name(poses, tmp_path, caplog):
    def data(train: str, validation: str, name: str = "coco_keypoints") -> dict:
        files = {"train": train, "validation": validation}
        splits = {
            split: {"annotations": str(poses / f"{file}.json"), "images": str(poses / "images")}
            for split, file in files.items()
        }
        return {"name": name, **splits, "batch_size": 2, "transform": {"image_size": SIDE}}

    model = {"pretrained": str(poses / "model")}
    expected = history(tmp_path / "plain", POSES, data("plain", "plain"), **model)
    assert 0 < expected[-1][f"eval_{POSES}/AP"] < 0.95
    assert history(tmp_path / "other", POSES, data("other", "more"), **model) == expected
    assert not warnings(caplog)
    with pytest.raises(ValueError, match="shows the joint 'Nose'"):
        history(tmp_path / "strange", POSES, data("plain", "strange"), **model)
    tokenizer = {"output_dir": str(tmp_path), "data": data("fewer", "plain", "coco_poses")}
    tokenizer["evaluation"] = {"split": "validation"}
    tokenizer |= {"optimizer": {"lr": 1e-3}, "train": {"max_steps": 1}}
    (said,) = TokenizerTraining(build(TokenizerRecipe, tokenizer)).warnings
    assert "shows nothing of" in said and "left_ear" in said


# Adaptation


class Section:
    """All that an adaptation asks of a section of objects."""

    adapted = Objects.adapted

    def __init__(self, names):
        facts = {"image_size": FRAME, "name": "few", "class_names": lambda data: names}
        self.data = type("Data", (), facts)()


def test_rows_of_classes_follow_their_names_and_tasks():
    """Two tasks have a class of one name, and each keeps its own row."""
    config = object_config(id2label=dict(enumerate(["cat", "dog", "cow", "cow", "pig", "ant"])))
    for number, task in enumerate(config.tasks.values()):
        task["class_range"] = [3 * number, 3 * number + 3]
    model = object_model(config)
    other = list(config.tasks)[1]
    adapted = adapt_solver(model, {DETECTION: Section(["dog", "cat"])}, {}, "donor").model
    rows, ids = (
        (each.lm_head.weight for each in (model, adapted)),
        [each.config.vocabulary for each in (model, adapted)],
    )
    before, after = rows
    assert adapted.config.class_names(other) == ["cow", "pig", "ant"]
    for old, new in {0: 1, 1: 0, 3: 2, 4: 3, 5: 4}.items():
        assert torch.equal(before[ids[0].classes[old]], after[ids[1].classes[new]])


def test_label_maps_of_a_model_are_numbered_as_its_tokenizer_writes_them(labelled, tmp_path):
    """Names that the recipe gives in another order than the tokenizer was trained with."""
    arguments = {
        "in_channels": 6,
        "out_channels": 6,
        "unit": "class",
        "loss_type": "cross_entropy",
        "sample_size": SIZE,
    }
    tokenizer = VQTokenizer(**arguments, base_channels=2, num_vq_embeddings=16, vq_embed_dim=8, class_names=NAMES)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    data = {"name": "label_maps", "root": "nowhere", "classes": NAMES[::-1], "batch_size": 1}
    data["transform"] = {"image_size": SIZE}
    values = {
        "output_dir": str(tmp_path),
        "tasks": {SEMANTICS: {"data": data, "tokenizer": str(tmp_path / "tokenizer")}},
        "model": {"backbone_config": {"embed_dim": 8, "depths": [1], "num_heads": [1], "window_sizes": [6]}},
        "optimizer": {"name": "adamw", "lr": 1e-6},
        "train": {"max_steps": 1},
        "evaluation": {"split": "validation"},
    }
    values["model"]["backbone_config"] |= {"shifted_stages": [True], "pretrained_window_sizes": [0]}
    values["model"]["config"] = {"num_coordinate_bins": 0, "d_model": 16, "num_heads": 2, "num_task_ids": 5}
    recipe = build(SolverRecipe, values)
    model = build_solver(recipe.tasks, recipe.model)
    assert model.config.class_names(SEMANTICS) == NAMES
    pairs = recipe.tasks[SEMANTICS].pair(DataClasses("the maps", NAMES[::-1]), model.config, "the model")
    assert list(pairs.numbers) == [5, 4, 3, 2, 1, 0]
