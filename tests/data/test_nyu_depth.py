# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""NYU Depth v2: folder layouts, file lists, and three real frames."""

import logging
import shutil

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ait_hf.data.rgbd import load_nyu_depth, parse_file_list


def write_frame(folder, number, depth=1234):
    folder.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (8, 6), (number, 0, 0)).save(folder / f"rgb_{number:05d}.jpg")
    values = np.full((6, 8), depth, np.uint16)
    values[0] = 0
    PIL.Image.fromarray(values).save(folder / f"sync_depth_{number:05d}.png")


def line(scene, number, slash="", focal=" 518.8579"):
    return f"{slash}{scene}/rgb_{number:05d}.jpg {slash}{scene}/sync_depth_{number:05d}.png{focal}\n"


@pytest.mark.parametrize("layout", ["sync", "."])
@pytest.mark.parametrize(("slash", "focal"), [("/", " 518.8579"), ("", " 518.8579"), ("/", "")])
def test_train_layouts_and_lists(tmp_path, layout, slash, focal):
    write_frame(tmp_path / layout / "kitchen_0001", 45)
    write_frame(tmp_path / layout / "bedroom_0002", 7, depth=2500)
    text = line("kitchen_0001", 45, slash, focal) + "\n" + line("bedroom_0002", 7, slash, focal)
    (tmp_path / "train_list.txt").write_text(text)
    dataset = load_nyu_depth(tmp_path, "train", cache_dir=tmp_path / "cache")
    assert list(dataset["scene"]) == ["kitchen_0001", "bedroom_0002"]
    depth = dataset[1]["depth"]
    assert depth.dtype == np.float32 and (depth[0] == 0).all() and np.allclose(depth[1:], 2.5)


def test_test_split_has_its_own_folder_and_streams(tmp_path):
    write_frame(tmp_path / "official_splits" / "test" / "bathroom", 1)
    (tmp_path / "mine.txt").write_text(line("bathroom", 1))
    dataset = load_nyu_depth(tmp_path, "test", tmp_path / "mine.txt", streaming=True, cache_dir=tmp_path)
    (example,) = dataset
    assert example["path"] == str(tmp_path / "official_splits" / "test" / "bathroom" / "rgb_00001.jpg")
    assert example["depth"].max() == pytest.approx(1.234)


def test_other_number_of_frames_is_logged_with_the_split(tmp_path, caplog):
    write_frame(tmp_path / "official_splits" / "test" / "bathroom", 1)
    (tmp_path / "test_list.txt").write_text(line("bathroom", 1))
    with caplog.at_level(logging.WARNING, "ait_hf.data.nyu_depth"):
        load_nyu_depth(tmp_path, "test", streaming=True, cache_dir=tmp_path)
    assert "lists 1 frames where the published test split of NYU Depth v2 has 654" in caplog.text


def test_published_number_of_frames_is_silent(tmp_path, caplog):
    write_frame(tmp_path / "official_splits" / "test" / "bathroom", 1)
    (tmp_path / "test_list.txt").write_text(line("bathroom", 1) * 654)
    with caplog.at_level(logging.WARNING, "ait_hf.data.nyu_depth"):
        load_nyu_depth(tmp_path, "test", streaming=True, cache_dir=tmp_path)
    assert not caplog.records


def test_real_frames(data_dir, tmp_path):
    source = data_dir / "rgbd" / "nyu_metric3d" / "nyu_basement_0001a"
    scene = tmp_path / "sync" / "basement_0001a"
    scene.mkdir(parents=True)
    numbers = (0, 50, 100)
    for number in numbers:
        shutil.copy(source / "rgb" / f"{number:05d}.jpg", scene / f"rgb_{number:05d}.jpg")
        shutil.copy(source / "depth" / f"{number:05d}.png", scene / f"sync_depth_{number:05d}.png")
    (tmp_path / "train_list.txt").write_text("".join(line("basement_0001a", n, "/") for n in numbers))
    dataset = load_nyu_depth(tmp_path, "train", cache_dir=tmp_path / "cache")
    assert len(dataset) == 3
    for example in dataset:
        depth = example["depth"]
        assert depth.shape == (480, 640) and example["image"].size == (640, 480)
        assert 0.5 < np.median(depth[45:471, 41:601]) < 10 and depth.max() <= 10


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="Unknown split 'val'.*train, test"):
        load_nyu_depth(tmp_path, "val")
    with pytest.raises(FileNotFoundError, match="train_list.txt does not exist: pass as file_list the train list"):
        load_nyu_depth(tmp_path, "train")
    (tmp_path / "train_list.txt").write_text(line("kitchen_0001", 45))
    with pytest.raises(FileNotFoundError, match="rgb_00045.jpg"):
        load_nyu_depth(tmp_path, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.txt lists no frames"),
        ("a.jpg a.png 518.8\na.jpg\n", "x.txt, line 2: expected image, depth and perhaps focal length"),
        ("a.jpg b.jpg c d\n", "x.txt, line 1: expected image, depth"),
        ("\na.jpg None 721.5\n", "x.txt, line 2: None stands for a missing value"),
        ("a.jpg a.png None\n", "x.txt, line 1: None stands for a missing value"),
    ],
)
def test_malformed_lists(text, message):
    with pytest.raises(ValueError, match=message):
        parse_file_list(text, "x.txt")


word = st.text(st.characters(categories=["L", "N"]), min_size=1).filter(lambda text: text != "None")
rows = st.lists(st.tuples(word, word, st.sampled_from(["", "/"]), st.sampled_from(["", " 518.8"])), min_size=1)


@given(rows)
def test_lists_give_back_what_was_written(rows):
    text = "\n".join(f"{slash}{rgb}/x.jpg {slash}{depth}.png{focal}" for rgb, depth, slash, focal in rows)
    assert parse_file_list(text, "x.txt") == [(f"{rgb}/x.jpg", f"{depth}.png") for rgb, depth, _, _ in rows]
