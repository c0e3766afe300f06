# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Folders of label maps: against files written here, against the real samples, and on every kind of bad input."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ait_hf.data.label_maps import (
    ade20k_classes,
    load_ade20k,
    load_label_maps,
    read_class_names,
    split_folders,
)
from ait_hf.data.semantic_transforms import ClassMasks


CAMVID = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
NUMBERS = np.array([[0, 1, 2], [2, 9, 9]], dtype=np.uint8)


def write(root, stem="a", numbers=NUMBERS, image_size=None, exif=None, mode=None):
    """One pair of an image (JPEG) and a label map (PNG)."""
    height, width = numbers.shape[:2] if image_size is None else image_size
    for name in ("images", "annotations"):
        (root / name).mkdir(exist_ok=True)
    image = Image.fromarray(np.zeros((height, width, 3), dtype=np.uint8))
    image.save(root / "images" / f"{stem}.jpg", **({} if exif is None else {"exif": exif}))
    picture = Image.fromarray(numbers)
    if mode is not None:
        picture = picture.convert(mode)
    picture.save(root / "annotations" / f"{stem}.png")


def load(root, num_classes=3, **kwargs):
    kwargs = {"ignored_ids": (9,), "cache_dir": root / "cache"} | kwargs
    return load_label_maps(root / "images", root / "annotations", num_classes, **kwargs)


def test_numbers_become_classes(tmp_path):
    write(tmp_path)
    (row,) = load(tmp_path)
    assert row["label_map"].dtype == np.uint8
    assert row["label_map"].tolist() == [[0, 1, 2], [2, 255, 255]]
    assert row["classes"] == [0, 1, 2] and row["path"] == str(tmp_path / "images" / "a.jpg")
    assert row["image"].mode == "RGB" and row["image"].size == (3, 2)
    (row,) = load(tmp_path, 8, first_id=2, ignored_ids=(0, 1))
    assert row["label_map"].tolist() == [[255, 255, 0], [0, 7, 7]] and row["classes"] == [0, 7]


def test_palette_images_hold_their_indices(tmp_path):
    write(tmp_path)
    picture = Image.fromarray(NUMBERS, mode="P")
    picture.putpalette([200, 30, 40] * 256)
    picture.save(tmp_path / "annotations" / "a.png")
    assert load(tmp_path)[0]["label_map"].tolist() == [[0, 1, 2], [2, 255, 255]]


def test_a_changed_label_map_is_read_again(tmp_path):
    write(tmp_path)
    before = load(tmp_path)[0]["label_map"]
    write(tmp_path, numbers=NUMBERS.clip(max=1))
    os.utime(tmp_path / "annotations" / "a.png", ns=(1, 1))
    after = load(tmp_path)
    assert before.max() == 255 and after[0]["classes"] == [0, 1]


def test_a_cameras_rotation_counts(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, to be shown upright
    write(tmp_path, numbers=NUMBERS, image_size=(3, 2), exif=exif)
    (row,) = load(tmp_path)
    assert row["image"].size == (3, 2) and row["label_map"].shape == (2, 3)


def test_empty_label_maps_are_left_out_and_named(tmp_path, caplog):
    write(tmp_path)
    write(tmp_path, "empty", np.full((2, 3), 9, dtype=np.uint8))
    assert len(load(tmp_path)) == 1
    assert "Left out 1 images" in caplog.text and "empty.png" in caplog.text
    (tmp_path / "annotations" / "a.png").unlink()
    (tmp_path / "images" / "a.jpg").unlink()
    with pytest.raises(ValueError, match="None of the 1 label maps has a pixel of a class.*empty.png"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": (3, 3)}, r"a\.png has \(2, 3\) pixels, but its image .*a\.jpg has \(3, 3\)"),
        (
            {"numbers": np.array([[0, 7]], dtype=np.uint8)},
            r"a\.png has the number 7, but classes are 0 to 2 and \[9\]",
        ),
        ({"numbers": np.zeros((2, 3, 3), dtype=np.uint8)}, r"a\.png is no label map: it has the mode RGB"),
        ({"numbers": np.zeros((2, 3), dtype=np.uint16)}, r"a\.png is no label map: it has the mode I;16"),
        ({"mode": "LA"}, r"a\.png is no label map: it has the mode LA"),
    ],
)
def test_wrong_label_maps_are_named(tmp_path, change, message):
    write(tmp_path, **change)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="images does not exist"):
        load(tmp_path)
    write(tmp_path)
    write(tmp_path, "b")
    (tmp_path / "annotations" / "b.png").unlink()
    with pytest.raises(ValueError, match=r"1 files of .* have no partner of the same stem .*first .*b\.jpg"):
        load(tmp_path)
    (tmp_path / "annotations" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n half")
    with pytest.raises(ValueError, match=r"b\.png cannot be read as an image"):
        load(tmp_path)
    write(tmp_path, "b")
    (tmp_path / "images" / "b.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"b\.png and .*b\.jpg have the same stem"):
        load(tmp_path)
    for path in (*(tmp_path / "images").iterdir(), *(tmp_path / "annotations").iterdir()):
        path.unlink()
    with pytest.raises(ValueError, match="There are no images"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("num_classes", "changes", "message"),
    [
        (0, {}, "0 classes from number 0 on do not fit"),
        (256, {}, "256 classes from number 0 on do not fit"),
        (250, {"first_id": 10}, "250 classes from number 10 on do not fit"),
        (3, {"first_id": -1}, "3 classes from number -1 on"),
        (3, {"ignored_ids": (2,)}, r"no class \(0 to 2\), got 2"),
        (3, {"ignored_ids": (300,)}, "got 300"),
    ],
)
def test_numbers_that_make_no_sense(tmp_path, num_classes, changes, message):
    write(tmp_path)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, num_classes, **changes)


def test_folders_of_splits(tmp_path):
    with pytest.raises(FileNotFoundError, match="needs the subfolders"):
        split_folders(tmp_path, "train")
    (tmp_path / "camvid" / "val").mkdir(parents=True)
    (tmp_path / "camvid" / "valannot").mkdir()
    root = tmp_path / "camvid"
    assert split_folders(root, "val") == (root / "val", root / "valannot")
    with pytest.raises(ValueError, match="Unknown split 'train' in .*; there are: val"):
        split_folders(root, "train")
    (tmp_path / "images").mkdir()
    assert split_folders(tmp_path, "train") == (tmp_path / "images", tmp_path / "annotations")
    (tmp_path / "images" / "test").mkdir()
    assert split_folders(tmp_path, "test") == (tmp_path / "images/test", tmp_path / "annotations/test")


def test_class_names_of_lists_and_tables(tmp_path):
    files = {
        "lines.txt": "sky\n\n tree \n",
        "table.txt": "Idx\tRatio\tName\n1\t0.5\tsky\n2\t0.5\ttree\n",
        "table.csv": 'name,stuff\n"sky",1\ntree,0\n',
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        assert read_class_names(tmp_path / name) == ["sky", "tree"]
    (tmp_path / "twice.txt").write_text("sky\nsky\n")
    with pytest.raises(ValueError, match="twice.txt has the class 'sky' twice"):
        read_class_names(tmp_path / "twice.txt")
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(ValueError, match="none.txt must name 1 to 255 classes, but names 0"):
        read_class_names(tmp_path / "none.txt")
    with pytest.raises(FileNotFoundError, match="class names .*missing.txt does not exist"):
        read_class_names(tmp_path / "missing.txt")


WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1).filter(lambda word: word.lower() != "name")


@given(names=st.lists(WORDS, min_size=1, max_size=20, unique=True))
def test_class_names_round_trip(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("names") / "classes.txt"
    path.write_text("\n".join(names), encoding="utf-8")
    assert read_class_names(path) == names


def test_ade20k_sample(data_dir, tmp_path):
    names = ade20k_classes(data_dir / "ade20k_sample")
    assert len(names) == len(set(names)) == 150 and names[:4] == ["wall", "building", "sky", "floor"]
    rows = load_ade20k(data_dir / "ade20k_sample", "train", cache_dir=tmp_path)
    assert len(rows) == 2
    for row in rows:
        stored = np.asarray(Image.open(row["path"].replace("images", "annotations").replace("jpg", "png")))
        assert row["label_map"].shape == row["image"].size[::-1]
        assert ((stored == 0) == (row["label_map"] == 255)).all()
        assert (row["label_map"][stored > 0] == stored[stored > 0] - 1).all()
    with pytest.raises(ValueError, match="Unknown split 'val' of ADE20K; there are: train, validation"):
        load_ade20k(data_dir / "ade20k_sample", "val")


def test_camvid_sample(data_dir, tmp_path):
    rows = load_label_maps(
        *split_folders(data_dir / "camvid_sample", "val"), len(CAMVID), ignored_ids=(11,), cache_dir=tmp_path
    )
    assert len(rows) == 20 and rows[0]["label_map"].shape == (360, 480)
    masks = ClassMasks(rows.select(range(3)))
    assert len(masks) == sum(len(rows[number]["classes"]) for number in range(3))
    for item in (masks[0], masks[len(masks) - 1]):
        assert (item["label_map"] == item["class_number"]).any()
