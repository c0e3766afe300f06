# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Objects, people, label maps and maps in shards: a stream sees what a training from files sees, resumes, and counts what
cannot be read. Shards are made by what docs/data.md shows."""

import io
import json
import re
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from data_sections import data_section
from datasets.packaged_modules.parquet.parquet import Parquet
from models_of_kinds import save_model
from PIL import Image
from shard_files import (
    CLASSES,
    HEIGHT,
    NUM_IMAGES,
    NUM_SHARDS,
    WIDTH,
    run_guide,
    table_of_maps,
    write_files,
    write_label_tars,
    write_tars,
)
from training_runs import TINY_RESNET, TINY_SOLVER, batches

from ait_hf import VQTokenizer
from ait_hf.commands.evaluate import main as evaluate
from ait_hf.data.tables import warn_once
from ait_hf.recipes.parsing import load_recipe, to_values
from ait_hf.recipes.streams import evaluation_batches, mixed_batches
from ait_hf.training.solver import SolverRecipe, train_solver
from ait_hf.training.tokenizer import TokenizerRecipe, train_tokenizer


# Without chance, so that samples tell which row they are of.
OBJECTS = {"image_size": [HEIGHT, WIDTH], "scale_range": [1.0, 1.0], "flip_p": 0.0}
LABELS = {"image_size": [HEIGHT, WIDTH], "scale_range": [1.0, 1.0], "flip_p": 0.0, "color_p": 0.0}
POSES = {"image_size": 16, "scale_range": [1.0, 1.0], "shift": 0.0, "rotation": 0.0, "flip_p": 0.0}
MAPS = {"crop_size": [HEIGHT, WIDTH], "flip_p": 0.0, "color_p": 0.0}
LABEL_NUMBERS = {"first_id": 1, "ignored_ids": [0]}
MAP_VALUES = {"unit": "heat", "num_channels": 1, "scale": 0.5, "offset": 1.0}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        write_files(folder)
        write_shards = run_guide()["write_shards"]
        write_shards(table_of_maps(), "my-maps", "train", NUM_SHARDS)
        write_tars(folder / "tars", datasets.load_dataset("my-coco", split="train"))
        write_label_tars(folder / "label-tars")
    return folder


@pytest.fixture(autouse=True)
def here(written, tmp_path, monkeypatch):
    monkeypatch.chdir(written)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    # Streams of parquet sleep five seconds wherever they are left before their end.
    monkeypatch.setattr(Parquet, "SLEEP_ON_THREADS_SHUTDOWNS", False)
    Accelerator()  # the loaders below ask for its state


COCO = {"train": {"annotations": "instances.json", "images": "images"}}
PEOPLE = {"train": {"annotations": "keypoints.json", "images": "images"}}
TAR = {"path": "tars", "image_column": "png", "json_column": "json"}
LABEL_TAR = {"path": "label-tars", "image_column": "jpg", "label_map_column": "png"}
OF_LABELS = {"classes": CLASSES, "transform": LABELS, **LABEL_NUMBERS}
# For every section of shards the one that reads the files they were made of.
PAIRS = {
    "objects": ("coco", {**COCO, "transform": OBJECTS}, "coco_shards", {"path": "my-coco"}),
    "objects in tars": ("coco", {**COCO, "transform": OBJECTS}, "coco_shards", TAR),
    "masks": ("coco_masks", {**COCO, "mask_size": 8, "flip_p": 0.0}, "coco_mask_shards", {"path": "my-coco"}),
    "masks in tars": ("coco_masks", {**COCO, "mask_size": 8, "flip_p": 0.0}, "coco_mask_shards", TAR),
    "people": ("coco_keypoints", {**PEOPLE, "transform": POSES}, "coco_keypoint_shards", {"path": "my-people"}),
    "poses": ("coco_poses", {**PEOPLE, "transform": POSES}, "coco_pose_shards", {"path": "my-people"}),
    "label maps": ("label_maps", {"root": "labelled", **OF_LABELS}, "label_map_shards", {"path": "my-labels"}),
    "label maps in tars": ("label_maps", {"root": "labelled", **OF_LABELS}, "label_map_shards", LABEL_TAR),
    "class masks": (
        "label_map_masks",
        {"root": "labelled", "mask_size": 8, **OF_LABELS},
        "label_map_mask_shards",
        {"path": "my-labels"},
    ),
    "maps": (
        "map_folder",
        {"path": ".", "transform": MAPS, **MAP_VALUES},
        "map_hub",
        {"path": "my-maps", "map_column": "map"},
    ),
}


def sections(kind: str, **changes):
    """The data section of files and that of shards."""
    of_files, files, of_shards, shards = PAIRS[kind]
    common = {"batch_size": 1, "max_unreadable_share": 1.0}
    shards = {name: value for name, value in files.items() if name not in ("train", "root", "path")} | shards
    if of_shards == "coco_shards":
        shards["classes"] = CLASSES
    return data_section(of_files, **common | files), data_section(of_shards, **common | shards | changes)


def stream_of(data):
    if data.of == "objects":
        return data.stream(1, max_objects=9, with_masks=True)
    return data.stream()


def contents(found: list) -> Counter:
    """How often which sample came."""
    return Counter(
        fingerprint({key: batch[key][number] for key in ("pixel_values", "labels") if key in batch})
        for batch in found
        for number in range(len(batch["labels"]))
    )


def fingerprint(value) -> bytes:
    if isinstance(value, dict):
        return b"".join(fingerprint(value[key]) for key in sorted(value) if key != "seed")
    return value.numpy().tobytes()


@pytest.mark.parametrize("kind", PAIRS)
def test_an_epoch_of_a_stream_is_what_files_hold(kind):
    files, shards = sections(kind, streaming=True)
    _, table = sections(kind)
    rows = len(files.load_for_training())
    expected = contents(batches(stream_of(files), num_batches=rows))
    assert len(expected) > 1 and sum(expected.values()) == rows
    for data in (shards, table):
        epochs = batches(stream_of(data), num_batches=2 * rows)
        assert contents(epochs[:rows]) == contents(epochs[rows:]) == expected
    # The order is another in every epoch.
    assert [contents([batch]) for batch in epochs[:rows]] != [contents([batch]) for batch in epochs[rows:]]


@pytest.mark.parametrize("kind", [kind for kind in PAIRS if "masks" not in kind])
def test_two_nodes_with_two_workers_see_every_row_once_an_epoch(kind):
    files, shards = sections(kind, streaming=True)
    expected = contents(batches(stream_of(files), num_batches=NUM_IMAGES))
    half = NUM_IMAGES // 2
    seen = [batches(stream_of(shards), node=node, num_nodes=2, num_batches=half, num_workers=2) for node in range(2)]
    assert contents(seen[0] + seen[1]) == expected


CHANCE = {
    "objects": {"transform": {"image_size": 16}},
    "objects in tars": {"transform": {"image_size": 16}},
    "masks": {"flip_p": 0.5},
    "people": {"transform": {"image_size": 16}},
    "label maps": {"transform": {"image_size": 16}},
    "class masks": {"transform": {"image_size": 16}},
    "maps": {"transform": {"crop_size": 16}},
}


@pytest.mark.parametrize("kind", CHANCE)
def test_a_stream_goes_on_where_it_was(kind):
    def part(done: int) -> list:
        _, data = sections(kind, streaming=True, batch_size=2, **CHANCE[kind])
        return batches(stream_of(data), num_batches=14, done=done, num_workers=2)

    whole = part(0)
    for done in (3, 8):
        torch.testing.assert_close(part(done), whole[done:], rtol=0, atol=0)


def spoilt(folder: Path, source: str, spoil: dict) -> str:
    """Shards where `spoil` changes rows, by their numbers: `{number: (column, value or function)}`."""
    stored = datasets.load_dataset(source, split="train")
    for column in ("image", "label_map"):
        if column in stored.features:
            stored = stored.cast_column(column, datasets.Image(decode=False))
    rows = list(stored)
    for number, (column, change) in spoil.items():
        rows[number][column] = change(rows[number][column])
    table = datasets.Dataset.from_list(rows, features=stored.features)
    for shard in range(NUM_SHARDS):
        table.shard(NUM_SHARDS, shard).to_parquet(folder / f"train-{shard:05d}-of-{NUM_SHARDS:05d}.parquet")
    return str(folder)


def truncated(stored: dict) -> dict:
    return stored | {"bytes": stored["bytes"][:40]}


def with_pixels(pixels: np.ndarray):
    def change(stored: dict) -> dict:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "png")
        return stored | {"bytes": buffer.getvalue()}

    return change


BROKEN_OBJECTS = {
    0: ("image", truncated, "image"),
    2: ("class_labels", lambda labels: [3] * len(labels), "an object of class 3, but there are classes 0 to 2"),
    3: ("boxes", lambda boxes: [[0, 0, WIDTH + 1, 5]] * len(boxes), "which is not x1, y1, x2, y2 inside"),
    5: ("area", lambda areas: [*areas, 1.0], "lists of different lengths"),
    7: ("segmentation", lambda texts: ["[[1, 2, 3]]"] * len(texts), "a polygon that is no list x, y"),
    9: ("height", lambda height: height + 1, "but its annotations say"),
}
BROKEN_LABELS = {
    1: ("image", truncated, "image"),
    4: ("label_map", with_pixels(np.full((HEIGHT, WIDTH), 4, np.uint8)), "has the number 4, but classes are 1 to 3"),
    6: ("label_map", with_pixels(np.zeros((HEIGHT, WIDTH), np.uint8)), "has no pixel of a class"),
    8: ("label_map", with_pixels(np.ones((HEIGHT, WIDTH), np.uint16)), "one channel of 8 bits"),
    11: ("label_map", with_pixels(np.ones((HEIGHT, WIDTH + 1), np.uint8)), "but a label map of"),
}


@pytest.mark.parametrize(
    ("kind", "broken"), [("objects", BROKEN_OBJECTS), ("label maps", BROKEN_LABELS)], ids=["objects", "label maps"]
)
@pytest.mark.parametrize("streaming", [True, False])
def test_rows_that_cannot_be_read_are_replaced_counted_and_named(tmp_path, kind, broken, streaming):
    _, good = sections(kind, streaming=True)
    spoil = {number: (column, change) for number, (column, change, _) in broken.items()}
    path = spoilt(tmp_path / "shards", good.source.path, spoil)
    _, data = sections(kind, path=path, streaming=streaming)
    stream = stream_of(data)
    seen = batches(stream, num_batches=NUM_IMAGES)  # one epoch
    assert stream.unreadable.drawn == NUM_IMAGES and stream.unreadable.count == len(broken)
    reasons = [str(failure) for failure in stream.unreadable.named.values()]
    assert len(reasons) == len(broken)
    for number, (_, _, message) in broken.items():
        assert any(message in reason for reason in reasons), (number, message, reasons)
    assert all(re.search(r"\d{3}\.png", name) for name in stream.unreadable.named)
    readable = contents(batches(stream_of(good), num_batches=NUM_IMAGES))
    assert contents(seen).keys() <= readable.keys() and len(contents(seen)) == NUM_IMAGES - len(broken)
    _, strict = sections(kind, path=path, streaming=streaming, max_unreadable_share=0.0)
    with pytest.raises(ValueError, match="could not be read, more than its max_unreadable_share"):
        batches(stream_of(strict), num_batches=NUM_IMAGES)
    if streaming:
        again = batches(stream_of(data), num_batches=NUM_IMAGES, done=5)
        torch.testing.assert_close(again, seen[5:], rtol=0, atol=0)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("kind", ["objects", "objects in tars"])
def test_evaluation_has_the_truth_of_the_files(kind, streaming):
    _, data = sections(kind, streaming=streaming)
    stored = json.loads(Path("instances.json").read_text())
    expected = {
        (item["image_id"], item["category_id"] - 1, *item["bbox"], item["area"], item.get("iscrowd", 0))
        for item in stored["annotations"]
    }
    truth = data.ground_truth("train", None)
    assert expected == {
        (item["image_id"], item["category_id"], *item["bbox"], item["area"], item["iscrowd"])
        for item in truth["annotations"]
    }
    by_place = {(item["image_id"], *item["bbox"]): item["segmentation"] for item in stored["annotations"]}
    assert all(item["segmentation"] == by_place[item["image_id"], *item["bbox"]] for item in truth["annotations"])
    few = data.ground_truth("train", 3)
    options = {"split": "train", "batch_size": 2, "num_workers": 0}
    loader = evaluation_batches(stream_of(data), Accelerator(), num_samples=3, **options)
    evaluated = {int(label["image_id"]) for batch in loader for label in batch["labels"]}
    assert len(evaluated) == 3 and evaluated <= {image["id"] for image in few["images"]}
    assert data.categories() == (CLASSES, [0, 1, 2])


@pytest.mark.parametrize("streaming", [True, False])
def test_evaluation_has_the_people_of_the_files(streaming):
    files, data = sections("people", streaming=streaming)
    by_image = {item["image_id"]: item for item in files.ground_truth("train", None)["annotations"]}
    for item in data.ground_truth("train", None)["annotations"]:
        assert item | {"id": 0} == by_image.pop(item["image_id"]) | {"id": 0}
    assert not by_image and len(data.ground_truth("train", 4)["annotations"]) == 4


def test_broken_truth_is_named(tmp_path):
    path = spoilt(tmp_path / "shards", "my-coco", {4: BROKEN_OBJECTS[7][:2]})
    _, data = sections("objects", path=path)
    with pytest.raises(ValueError, match=r"\d{3}.png, object 0 has a polygon that is no list x, y"):
        data.ground_truth("train", None)


@pytest.mark.parametrize("streaming", [True, False])
def test_objects_that_nothing_can_be_learnt_from_are_left_out_of_rows(tmp_path, streaming, caplog):
    """As in files: of training and of the truth alike."""
    warn_once.cache_clear()  # as in another process
    box, area = [1.0, 1.0, 9.0, 9.0], 64.0
    useless = {
        1: ("[[1, 2, 3, 4]]", box, "left out 1 objects whose polygons all have fewer than three points"),
        4: ("[[]]", box, "left out 1 objects whose polygons all have fewer than three points"),
        7: ("", [5.0, 1.0, 5.0, 9.0], "left out 1 boxes without area"),
        8: ("null", box, None),
        9: ("[]", box, None),
    }
    stored = datasets.load_dataset("my-coco", split="train").cast_column("image", datasets.Image(decode=False))
    rows = list(stored)
    for number, (text, corners, _) in useless.items():
        added = {"boxes": corners, "class_labels": 0, "iscrowd": False, "area": area, "segmentation": text}
        rows[number] |= {column: [*rows[number][column], value] for column, value in added.items()}
    (tmp_path / "shards").mkdir()
    table = datasets.Dataset.from_list(rows, features=stored.features)
    table.to_parquet(tmp_path / "shards/train-00000-of-00001.parquet")
    found = {}
    for path in ("my-coco", str(tmp_path / "shards")):
        _, data = sections("objects", path=path, streaming=streaming)
        stream = stream_of(data)
        found[path] = contents(batches(stream, num_batches=NUM_IMAGES))
        assert stream.unreadable.count == 0
        truth = [entry for entry in data.ground_truth("train", None)["annotations"] if "segmentation" in entry]
        found[path] = found[path], {(entry["image_id"], str(entry["segmentation"])) for entry in truth}
    assert found["my-coco"] == found[str(tmp_path / "shards")]
    for number, (_, _, message) in useless.items():
        said = [text for text in caplog.messages if text.startswith(f"Sample {rows[number]['path']}: ")]
        assert len(said) == (message is not None) and all(message in text for text in said)


@pytest.mark.parametrize("kind", ["people", "poses"])
@pytest.mark.parametrize("streaming", [True, False])
def test_people_that_nothing_can_be_learnt_from_are_left_out_of_rows(tmp_path, kind, streaming, caplog):
    warn_once.cache_clear()  # as in another process
    useless = {
        1: ("keypoints", [], "people without an annotated joint"),
        4: ("keypoints", [[0.0, 0.0, 0.0]] * 17, "people without an annotated joint"),
        6: ("iscrowd", True, "crowds"),
        7: ("box", [5.0, 1.0, 5.0, 9.0], "boxes without area"),
        9: ("keypoints", None, "people without an annotated joint"),
    }
    spoil = {number: (column, lambda _, value=value: value) for number, (column, value, _) in useless.items()}
    _, data = sections(kind, path=spoilt(tmp_path / "shards", "my-people", spoil), streaming=streaming)
    _, whole = sections(kind, streaming=streaming)
    left = NUM_IMAGES - len(useless)
    stream = stream_of(data)
    seen = contents(batches(stream, num_batches=left))
    assert stream.unreadable.count == 0 and len(seen) == left
    assert seen.keys() <= contents(batches(stream_of(whole), num_batches=NUM_IMAGES)).keys()
    assert len(data.ground_truth("train", None)["annotations"]) == left
    for reason in {reason for _, _, reason in useless.values()}:
        expected = sum(other == reason for _, _, other in useless.values())
        assert sum(f"left out 1 {reason}" in message for message in caplog.messages) == expected


def test_people_of_another_skeleton_are_no_truth(tmp_path):
    path = spoilt(tmp_path / "shards", "my-people", {3: ("keypoints", lambda joints: joints[:16])})
    _, data = sections("people", path=path)
    with pytest.raises(ValueError, match=r"has keypoints \(16, 3\); the skeleton coco needs"):
        data.check_ground_truth("train", None)


@pytest.mark.parametrize("streaming", [True, False])
def test_boxes_with_width_and_height_are_refused(tmp_path, streaming):
    def change(boxes):
        return [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in boxes]

    path = spoilt(tmp_path / "shards", "my-coco", dict.fromkeys(range(NUM_IMAGES), ("boxes", change)))
    _, data = sections("objects", path=path, streaming=streaming)
    with pytest.raises(ValueError, match="as if they were x, y, width, height; boxes must be x1, y1, x2, y2"):
        data.load("train")


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_stream_mixes_with_other_tasks(every):
    """Every task sees what it would see alone, with its own batch size, in its own steps; so it does when resumed."""
    _, data = sections("objects", streaming=True, batch_size=4)
    depth = data_section("synthetic", batch_size=6, transform={"crop_size": 8}, size=[8, 8])

    def objects(every: int):
        return data.stream(every, max_objects=9, with_masks=True)

    options = {"forwards_per_step": 2, "num_workers": 2, "seed": 1, "num_steps": 6}
    streams = {"objects": objects(every), "depth": depth.stream()}
    whole = list(mixed_batches(streams, Accelerator(), done=0, **options))
    assert ["objects" in found for found in whole] == [step % every == 0 for step in range(6) for _ in range(2)]
    seen = [found["objects"] for found in whole if "objects" in found]
    alone = list(mixed_batches({"objects": objects(1)}, Accelerator(), done=0, **options))
    torch.testing.assert_close(seen, [found["objects"] for found in alone][: len(seen)], rtol=0, atol=0)
    assert {len(found["depth"]["labels"]) for found in whole} == {3} and {len(each["labels"]) for each in seen} == {2}
    ratio = sum(len(each["labels"]) for each in seen) / sum(len(found["depth"]["labels"]) for found in whole)
    assert ratio == (2 / every) / 3
    for done in range(6):
        streams = {"objects": objects(every), "depth": depth.stream()}
        rest = list(mixed_batches(streams, Accelerator(), done=done, **options))
        torch.testing.assert_close(rest, whole[2 * done :], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("objects", {"path": "my-labels"}, "my-labels has no column 'image_id'.*made of the rows of load_coco"),
        (
            "objects",
            {"classes": ["cat", "cat"]},
            "`classes` of the data section coco_shards has the class 'cat' twice",
        ),
        ("objects", {"classes": []}, "must name at least one class, but names 0"),
        ("objects", {"split": "test"}, "test"),
        ("objects in tars", {"json_column": "txt"}, "has no file .*txt"),
        ("people", {"path": "my-coco"}, "my-coco has no column 'id'.*made of the rows of load_coco_keypoints"),
        (
            "label maps",
            {"label_map_column": "labels"},
            "no column 'labels'; there are: image, label_map, classes, path",
        ),
        ("label maps", {"first_id": 0, "ignored_ids": [255]}, "has the number 3, but classes are 0 to 2"),
        ("label maps", {"ignored_ids": [1]}, "ignored_ids must be numbers of label maps"),
        ("class masks in tars", {}, "label-tars has no column 'classes'"),
        ("maps", {"map_column": "mapp"}, "no column 'mapp'; did you mean 'map'"),
    ],
)
@pytest.mark.parametrize("streaming", [True, False])
def test_bad_recipes_show_before_training(kind, changes, message, streaming):
    if kind == "class masks in tars":
        kind, changes = "class masks", {name: LABEL_TAR[name] for name in ("path", "label_map_column")}
    _, data = sections(kind, streaming=streaming, **changes)
    with pytest.raises(ValueError, match=message):
        batches(stream_of(data), num_batches=1)


TINY_TOKENIZER = {"downsample_ratio": 8, "base_channels": 2, "num_vq_embeddings": 16, "vq_embed_dim": 8}
COMMON = ["evaluation.split=train", "evaluation.num_samples=5", "evaluation.batch_size=2", "train.trackers=[]"]
COMMON += ["train.log_every=1", "train.max_steps=2", "train.num_workers=0"]


def test_a_model_of_two_streamed_tasks_trains_and_is_measured(tmp_path):
    classes = {"in_channels": 3, "out_channels": 3, "unit": "class", "loss_type": "cross_entropy", "sample_size": 32}
    VQTokenizer(**TINY_TOKENIZER, **classes).save_pretrained(tmp_path / "tokenizer")
    shards = {"streaming": True, "classes": CLASSES, "batch_size": 2, "transform": {"image_size": 32}}
    tasks = {
        "object-detection": {
            "data": {"name": "coco_shards", "path": "my-coco", **shards},
            "settings": {"num_objects": 4},
        },
        "semantic-segmentation": {
            "data": {"name": "label_map_shards", "path": "my-labels", **LABEL_NUMBERS, **shards},
            "tokenizer": str(tmp_path / "tokenizer"),
            "settings": {},
            "every": 2,
        },
    }
    model = ["model.parallel=false", TINY_RESNET, TINY_SOLVER]
    run = [f"tasks={json.dumps(tasks)}", f"output_dir={tmp_path / 'run'}", "evaluation.pictures_every=2"]
    history = train_solver(load_recipe("demo_joint", SolverRecipe, [*COMMON, *run, *model]))
    assert all(np.isfinite(row["loss"]) for row in history if "loss" in row)
    last = history[-1]
    assert last["eval_object-detection/num_images"] == last["eval_semantic-segmentation/num_images"] == 5
    assert len(list((tmp_path / "run/pictures").glob("*.png"))) == 2


def write_depth(folder: Path) -> None:
    """The pictures with depth, in a folder of pairs and in shards."""
    rng, rows = np.random.default_rng(1), []
    for name in ("pairs/images", "pairs/depth", "shards"):
        (folder / name).mkdir(parents=True)
    for number in range(NUM_IMAGES):
        depth = Image.fromarray(rng.integers(500, 5000, (HEIGHT, WIDTH), np.uint16))
        depth.save(folder / f"pairs/depth/{number:03d}.png")
        Image.open(f"images/{number:03d}.png").save(folder / f"pairs/images/{number:03d}.png")
        rows.append({kind: f"{folder}/pairs/{path}/{number:03d}.png" for kind, path in DEPTH_COLUMNS.items()})
    features = datasets.Features(dict.fromkeys(DEPTH_COLUMNS, datasets.Image()))
    table = datasets.Dataset.from_list(rows, features=features)
    for shard in range(NUM_SHARDS):
        table.shard(NUM_SHARDS, shard).to_parquet(folder / f"shards/train-{shard:05d}-of-{NUM_SHARDS:05d}.parquet")


DEPTH_COLUMNS = {"image": "images", "depth": "depth"}


@pytest.fixture(scope="module")
def depth(written, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("depth")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(written)
        write_depth(folder)
    return folder


EVALUATED = {
    "objects": ("instances", "instance-segmentation"),
    "objects in tars": ("detection", "object-detection"),
    "people": ("poses", "keypoint-detection"),
    "label maps": ("label maps", "semantic-segmentation"),
    "label maps in tars": ("class masks", "semantic-segmentation"),
    "maps": ("heat", "heat"),
    "depth": ("depth", "depth"),
}


@pytest.mark.parametrize("kind", EVALUATED)
def test_shards_are_evaluated_from_the_command_line_as_files_are(kind, depth, tmp_path):
    name, task = EVALUATED[kind]
    if kind == "depth":
        common = {"batch_size": 1, "transform": {"crop_size": 16}}
        files = {"name": "rgbd", "index": str(depth / "pairs"), "depth_scale": 1000.0, **common}
        shards = {"name": "hub", "path": str(depth / "shards"), "depth_scale": 1000.0, **common}
        data = [files, shards, shards | {"streaming": True}]
    else:
        data = [*map(to_values, sections(kind)), to_values(sections(kind, streaming=True)[1])]
    if "objects" in kind:  # shards are of what a training sees: without the image that shows nothing
        content = json.loads(Path("instances.json").read_text())
        (tmp_path / "seen.json").write_text(json.dumps(content | {"images": content["images"][:NUM_IMAGES]}))
        data[0]["train"]["annotations"] = str(tmp_path / "seen.json")
    model = save_model(name, tmp_path / "model", CLASSES if task in NAMED else ())
    results = []
    for section in data:
        recipe, output = tmp_path / "recipe.yaml", tmp_path / "metrics.json"
        recipe.write_text(json.dumps({"tasks": {task: {"data": section}}}))
        given = ["--model", model, "--task", task, "--data", recipe, "--split", "train", "--batch-size", 4]
        evaluate([str(argument) for argument in [*given, "--output", output, *OPTIONS.get(kind, ())]])
        results.append(json.loads(output.read_text())["results"])
    for measured in results[1:]:
        for mode, values in results[0].items():
            assert measured[mode].pop("num_images") == NUM_IMAGES
            assert measured[mode] == pytest.approx({name: values[name] for name in measured[mode]}, rel=1e-6)


NAMED = ("instance-segmentation", "object-detection", "semantic-segmentation")
OPTIONS = {kind: ["--tokenizer-reconstruction"] for kind in EVALUATED if kind != "objects in tars"}


def test_a_tokenizer_of_a_streamed_map_is_measured_as_from_files(tmp_path):
    shards = {"name": "map_hub", "path": "my-maps", "map_column": "map", "streaming": True}
    folder = {"name": "map_folder", "path": "."}
    common = {"batch_size": 2, "transform": {"crop_size": 16}, **MAP_VALUES}
    config = {**TINY_TOKENIZER, "value_range": [0.0, 130.0], "loss_type": "masked_mse"}
    data = [f"data={json.dumps(shards | common)}", f"model={json.dumps({'config': config})}"]
    run = [*COMMON, *data, "mask_augmentation={}", "optimizer.lr=1e-3", f"output_dir={tmp_path / 'tokenizer'}"]
    history = train_tokenizer(load_recipe("demo_tokenizer", TokenizerRecipe, run))
    assert np.isfinite(history[0]["loss"])
    results = {}
    for name, section in {"shards": shards, "folder": folder}.items():
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"data": section | common}))
        output = tmp_path / f"{name}.json"
        given = ["--tokenizer", tmp_path / "tokenizer", "--task", "heat", "--data", tmp_path / f"{name}.yaml"]
        evaluate([str(argument) for argument in [*given, "--split", "train", "--output", output]])
        results[name] = json.loads(output.read_text())["results"]["tokenizer"]
    assert results["shards"] == results["folder"] and results["shards"]["num_images"] == NUM_IMAGES


def test_real_images_come_from_shards_as_from_files(data_dir, tmp_path):
    """JPEG pictures, palettes, crowds and polygons as they are found."""
    write_shards = run_guide()["write_shards"]
    coco = data_dir / "coco_tiny"
    files = {"annotations": str(coco / "annotations/instances_train2017.json"), "images": str(coco / "train2017")}
    objects = {"batch_size": 5, "transform": {"image_size": 64, "scale_range": [1.0, 1.0], "flip_p": 0.0}}
    of_files = data_section("coco", train=files, **objects)
    table = of_files.load_for_training()
    write_shards(table, tmp_path / "coco", "train", 7)
    names, _ = of_files.categories()
    of_shards = data_section("coco_shards", path=str(tmp_path / "coco"), classes=names, streaming=True, **objects)
    labelled = {"classes": [str(number) for number in range(11)], "ignored_ids": [11], "batch_size": 5}
    labelled |= {"transform": {"image_size": 64, "scale_range": [1.0, 1.0], "flip_p": 0.0, "color_p": 0.0}}
    of_folder = data_section("label_maps", root=str(data_dir / "camvid_sample"), **labelled)
    write_shards(of_folder.load_for_training().select(range(20)), tmp_path / "camvid", "train", 2)
    of_stream = data_section("label_map_shards", path=str(tmp_path / "camvid"), streaming=True, **labelled)
    for files, shards, rows in ((of_files, of_shards, len(table) // 5 * 5), (of_folder, of_stream, 20)):
        expected = contents(list(evaluated(files, None)))
        seen = contents(list(evaluated(shards, rows)))
        assert sum(seen.values()) == rows and not seen - expected


def evaluated(data, num_samples: int | None):
    options = {"split": "train", "batch_size": 5, "num_workers": 0, "num_samples": num_samples}
    return evaluation_batches(stream_of(data), Accelerator(), **options)
