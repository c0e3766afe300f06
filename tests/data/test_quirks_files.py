# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Names of files as people and their systems write them, by everything that lists folders or pairs files by name; folders
of pictures of two files of annotations."""

import json
import unicodedata
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image
from quirky_coco import CAR, PERSON, content, write

from ait_hf.data.label_maps import load_label_maps, split_folders
from ait_hf.data.maps import MapFolder
from ait_hf.data.rgbd import load_rgbd
from ait_hf.inference.images import find_images
from ait_hf.recipes.from_folder import FineTuning
from ait_hf.tasks.objects.task import Objects
from ait_hf.tasks.poses.prediction import read_boxes


HEIGHT, WIDTH = 20, 30
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def pairs(folder: Path, first: str, second: str, names: list[tuple[str, str]]) -> Path:
    """Pictures and maps of 16 or 8 bits, and the companions that another system left beside them."""
    for name, kind in ((first, np.uint8), (second, np.uint16 if second == "depth" else np.uint8)):
        (folder / name).mkdir(parents=True)
        for number, both in enumerate(names):
            file = both[name == second]
            shape = (HEIGHT, WIDTH, 3) if name == first else (HEIGHT, WIDTH)
            Image.fromarray(np.full(shape, number + 1, kind)).save(folder / name / f"made{Path(file).suffix.lower()}")
            (folder / name / f"made{Path(file).suffix.lower()}").rename(folder / name / file)
            (folder / name / f"._{file}").write_bytes(b"\x00\x05\x16\x07")
    return folder


QUIRKY = [(f"{COMPOSED}.PNG", f"{DECOMPOSED}.png"), ("b.Png", "b.PNG")]
READERS = {
    "rgbd": ("rgb", "depth", lambda folder: load_rgbd(folder, "train", depth_scale=1000)),
    "label_maps": (
        "images",
        "annotations",
        lambda folder: load_label_maps(folder / "images", folder / "annotations", 3),
    ),
    "map_folder": ("images", "maps", MapFolder),
}


@pytest.mark.parametrize("reader", READERS)
def test_folders_pair_by_what_names_mean(tmp_path, reader):
    first, second, read = READERS[reader]
    rows = read(pairs(tmp_path / "data", first, second, QUIRKY))
    assert len(rows) == 2
    assert [row["image"].getpixel((0, 0))[0] for row in (rows[0], rows[1])] == [2, 1]  # b before café


@pytest.mark.parametrize("reader", READERS)
def test_a_file_without_partner_is_still_named(tmp_path, reader):
    first, second, read = READERS[reader]
    folder = pairs(tmp_path / "data", first, second, QUIRKY)
    (folder / second / "b.PNG").unlink()
    with pytest.raises(ValueError, match="1 files .*no partner of the same stem.*b.Png"):
        read(folder)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"depth_scale": "1000"}, "entry 1: depth_scale must be a positive number, not '1000'"),
        ({"depth_scale": True}, "entry 1: depth_scale must be a positive number, not True"),
        ({"split": 3}, "entry 1: split must be text, not 3"),
        ({"rgb": 7}, "entry 1: rgb must be a path"),
        ({"rgb": "rgb/B.Png"}, "B.Png is listed but does not exist, but .* has 'b.Png'"),
    ],
)
def test_values_of_an_index_are_taken_by_type(tmp_path, entry, message):
    folder = pairs(tmp_path / "data", "rgb", "depth", QUIRKY)
    frame = {"rgb": "rgb/b.Png", "depth": "depth/b.PNG", "depth_scale": 1000} | entry
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_rgbd(write(folder, [frame], "index.json"), "train")


@pytest.mark.parametrize("form", ["json", "JSON", "csv"])
def test_names_in_an_index_are_read_where_it_is_plain_what_they_mean(tmp_path, form):
    folder = pairs(tmp_path / "data", "rgb", "depth", QUIRKY)
    frames = [("rgb\\b.png", "depth\\b.png"), (f"rgb/{DECOMPOSED}.png", f"depth/{COMPOSED}.png")]
    entries = [{"rgb": rgb, "depth": depth, "depth_scale": 1000, "scene": None} for rgb, depth in frames]
    text = json.dumps(entries)
    if form == "csv":
        text = "\n".join(["rgb,depth,depth_scale", *(f"{rgb},{depth},1000" for rgb, depth in frames)])
    rows = load_rgbd(write(folder, text.encode("utf-8-sig"), f"index.{form}"), "train")
    assert [row["image"].getpixel((0, 0))[0] for row in rows] == [2, 1]
    assert [Path(row["path"]).exists() for row in rows] == [True, True]


def test_hidden_folders_are_no_splits(tmp_path):
    folder = pairs(tmp_path / "data", "images", "annotations", QUIRKY)
    (folder / "images" / ".ipynb_checkpoints").mkdir()
    assert split_folders(folder, "train") == (folder / "images", folder / "annotations")


def test_predictions_of_folders_and_names(tmp_path):
    folder = pairs(tmp_path / "data", "images", "maps", QUIRKY) / "images"
    assert [path.name for path in find_images([folder])] == ["b.Png", f"{COMPOSED}.PNG"]
    for given in (folder / f"{DECOMPOSED}.png", f"{folder}/{DECOMPOSED}*"):
        assert [path.name for path in find_images([given])] == [f"{COMPOSED}.PNG"]
    with pytest.raises(FileNotFoundError, match="B.png does not exist, but .* has 'b.Png'"):
        find_images([folder / "B.png"])
    Image.new("RGB", (4, 4)).save(folder / f"{DECOMPOSED}.png")
    with pytest.raises(ValueError, match="have the same stem"):
        find_images([folder])


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 9, 8]], None),
        ([["1", "2", "9", "8"]], "box 0 of café.PNG is"),
        ([[True, 2, 9, 8]], "box 0 of café.PNG is"),
        ([[0.1, 0.2, 0.5, 0.5]], "shares of the picture's sides"),
        ([[12, 9, 28, 18]], r"corners \(x1, y1, x2, y2\)"),
    ],
)
def test_given_boxes_are_taken_by_type_and_name(tmp_path, boxes, message):
    picture = tmp_path / f"{COMPOSED}.PNG"
    file = write(tmp_path, json.dumps({f"{DECOMPOSED}.png": boxes}).encode("utf-8-sig"), "boxes.json")
    if message is None:
        assert read_boxes(file, {picture: (HEIGHT, WIDTH)}) == {picture: boxes}
        return
    with pytest.raises(ValueError, match=message):
        read_boxes(file, {picture: (HEIGHT, WIDTH)})


# Two folders of pictures


@pytest.fixture
def request_of(tmp_path):
    def request(**arguments) -> dict:
        made = FineTuning(model="unused", task="object-detection", output=str(tmp_path / "out"), **arguments)
        return Objects.from_folder(made, None, [64, 64])[0]["data"]

    return request


def split_folder(folder: Path, file: str, pictures: str = ".") -> Path:
    (folder / pictures).mkdir(parents=True, exist_ok=True)
    for number in range(1, 5):
        Image.new("RGB", (80, 60)).save(folder / pictures / f"{number}.png")
    write(folder, content(), f"._{Path(file).name}")
    return write(folder, content(), file)


def places(section: dict) -> list[tuple[Path, Path]]:
    return [(Path(section[name]["annotations"]), Path(section[name]["images"])) for name in ("train", "validation")]


@pytest.mark.parametrize("layout", ["two files", "a file and a folder", "Roboflow", "images beside each"])
def test_the_pictures_of_each_file_lie_beside_it(tmp_path, request_of, layout):
    pictures = "images" if layout == "images beside each" else "."
    train = split_folder(tmp_path / "data/train", "_annotations.coco.json", pictures)
    valid = split_folder(tmp_path / "data/valid", "_annotations.coco.json", pictures)
    (tmp_path / "data/images").mkdir()  # of something else
    arguments = {
        "two files": {"data": str(train), "validation": str(valid)},
        "a file and a folder": {"data": str(train), "validation": str(valid.parent)},
        "images beside each": {"data": str(train), "validation": str(valid)},
        "Roboflow": {"data": str(tmp_path / "data")},
    }[layout]
    found = places(request_of(**arguments))
    assert found == [(train, train.parent / pictures), (valid, valid.parent / pictures)]


def test_given_images_are_those_of_both_files(tmp_path, request_of):
    train, valid = (split_folder(tmp_path / name, "a.json") for name in ("train", "valid"))
    section = request_of(data=str(train), validation=str(valid), images=str(tmp_path / "train"))
    assert [images for _, images in places(section)] == [tmp_path / "train"] * 2


def test_what_is_wrong_with_a_file_shows_before_it_is_divided(tmp_path, request_of):
    file = write(tmp_path, content({}, {"iscrowd": "0"}))
    with pytest.raises(ValueError, match="people.json: annotation 2 has iscrowd '0'"):
        request_of(data=str(file))
    assert not (tmp_path / "out").exists()


def test_ids_are_divided_by_their_values(tmp_path, request_of):
    what = content()
    what["images"] = [what["images"][0] | {"id": float(number)} for number in range(1, 21)]
    for number, entry in enumerate(what["annotations"], 9):
        entry |= {"image_id": number, "category_id": [PERSON, CAR][number % 2]}
        del entry["keypoints"]
    Image.new("RGB", (80, 60)).save(tmp_path / "1.png")
    section = request_of(data=str(write(tmp_path, what)))
    parts = [json.loads(annotations.read_text()) for annotations, _ in places(section)]
    assert [len(part["images"]) for part in parts] == [18, 2]
    assert [[entry["image_id"] for entry in part["annotations"]] for part in parts] == [[9, 11, 12], [10]]
