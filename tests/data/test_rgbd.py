# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""RGB-D loading: against files written here, against the real sample, and on every kind of bad input."""

import csv
import io
import json

import datasets
import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ait_hf.data.depth_feature import DepthMap
from ait_hf.data.rgbd import Frame, load_hub_rgbd, load_rgbd, read_index


HEIGHT, WIDTH = 6, 8
MILLIMETRES = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 37


def write_image(path, size=(HEIGHT, WIDTH)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(*size, 3)
    PIL.Image.fromarray(pixels).save(path)
    return pixels


def write_depth(path, values=MILLIMETRES):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        PIL.Image.fromarray(values).save(path)


def write_index(folder, entries, name="index.json"):
    path = folder / name
    path.write_text(json.dumps(entries))
    return path


@pytest.fixture
def pair(tmp_path):
    """Folder with one good pair and an index of it."""
    write_image(tmp_path / "a.png")
    write_depth(tmp_path / "a_depth.png")
    write_index(tmp_path, [{"rgb": "a.png", "depth": "a_depth.png", "depth_scale": 1000}])
    return tmp_path


def load(index, split="train", **kwargs):
    return load_rgbd(index, split, cache_dir=index.parent / "cache", **kwargs)


# Reading good data


@pytest.mark.parametrize("streaming", [False, True])
def test_example_is_decoded_to_the_convention(pair, streaming):
    dataset = load(pair / "index.json", streaming=streaming)
    example = next(iter(dataset))
    assert example["image"].mode == "RGB" and example["image"].size == (WIDTH, HEIGHT)
    assert example["depth"].dtype == np.float32
    np.testing.assert_allclose(example["depth"], MILLIMETRES / 1000, rtol=1e-6)
    assert example["path"] == str(pair / "a.png")
    assert isinstance(dataset, datasets.IterableDataset) == streaming


@pytest.mark.parametrize(
    ("name", "values", "scale"),
    [
        ("d.png", MILLIMETRES, 5000),
        ("d.tif", MILLIMETRES, 1000),
        ("d.tiff", MILLIMETRES.astype(np.int32) * 100, 100_000),
        ("f.tiff", MILLIMETRES.astype(np.float32) / 1000, None),
        ("f.npy", MILLIMETRES.astype(np.float64) / 1000, None),
        ("f_cm.npy", MILLIMETRES.astype(np.float32) / 10, 100),
        ("d.npy", MILLIMETRES, 1000),
    ],
)
def test_depth_formats(pair, name, values, scale):
    write_depth(pair / name, values)
    entry = {"rgb": "a.png", "depth": name} | ({"depth_scale": scale} if scale else {})
    depth = load(write_index(pair, [entry]))[0]["depth"]
    np.testing.assert_allclose(depth, values / (scale or 1), rtol=1e-6)


@pytest.mark.parametrize("name", ["d.png", "d.npy"])
def test_largest_16_bit_value_is_missing(pair, name):
    values = np.full((HEIGHT, WIDTH), 2000, np.uint16)
    values[2], values[3] = 65535, 65534
    write_depth(pair / name, values)
    depth = load(write_index(pair, [{"rgb": "a.png", "depth": name, "depth_scale": 1000}]))[0]["depth"]
    assert depth[1:4, 0].tolist() == pytest.approx([2.0, 0.0, 65.534])


def test_csv_equals_json(pair):
    text = "\ufeffrgb,depth,depth_scale,split,scene\na.png,a_depth.png,1000,val,kitchen\n"
    (pair / "list.csv").write_text(text, encoding="utf-8")
    entry = {"rgb": "a.png", "depth": "a_depth.png", "depth_scale": 1000, "split": "val", "scene": "kitchen"}
    index = write_index(pair, [entry])
    assert read_index(pair / "list.csv") == read_index(index)
    assert load(pair / "list.csv", "val")[0]["scene"] == "kitchen"


def test_folder_of_pairs(tmp_path):
    for stem in ("b", "a"):
        write_image(tmp_path / "set" / "images" / f"{stem}.jpg")
        write_depth(tmp_path / "set" / "depth" / f"{stem}.png")
    dataset = load(tmp_path / "set", depth_scale=1000)
    assert [path[-5:] for path in dataset["path"]] == ["a.jpg", "b.jpg"]
    assert dataset[1]["depth"].max() == pytest.approx(MILLIMETRES.max() / 1000)


def test_depth_scale_argument_fills_only_what_the_index_leaves_open(pair):
    entry = {"rgb": "a.png", "depth": "a_depth.png"}
    dataset = load(write_index(pair, [entry, entry | {"depth_scale": 1000}]), depth_scale=500)
    assert dataset[0]["depth"].max() == pytest.approx(2 * dataset[1]["depth"].max())


def test_root_is_where_relative_paths_start(pair):
    (pair / "lists").mkdir()
    entry = {"rgb": "a.png", "depth": "a_depth.png", "depth_scale": 1000}
    index = write_index(pair / "lists", [entry])
    with pytest.raises(FileNotFoundError, match="pass it as root"):
        load(index)
    assert len(load(index, root=pair)) == 1


def test_kinds(pair):
    entry = {"rgb": "a.png", "depth": "a_depth.png", "depth_scale": 1000}
    index = write_index(pair, [entry | {"kind": kind} for kind in ("real", "synthetic", "real")])
    assert len(load(index)) == 3
    assert len(load(index, kinds=["real"])) == 2
    with pytest.raises(ValueError, match=r"\['drawn'\].*real.*synthetic"):
        load(index, kinds=["drawn"])
    with pytest.raises(TypeError, match="must be a list"):
        load(index, kinds="real")


def test_table_of_paths_is_cached_until_the_index_changes(pair):
    table = load(pair / "index.json").cache_files
    assert load(pair / "index.json").cache_files == table
    assert sum(file.stat().st_size for file in (pair / "cache").rglob("*.arrow")) < 10_000
    entry = {"rgb": "a.png", "depth": "a_depth.png", "depth_scale": 500}
    changed = load(write_index(pair, [entry]))
    assert changed.cache_files != table
    assert changed[0]["depth"].max() == pytest.approx(MILLIMETRES.max() / 500)


def test_streamed_frames_are_shards_of_their_own(pair):
    entry = {"rgb": "a.png", "depth": "a_depth.png", "depth_scale": 1000}
    dataset = load(write_index(pair, [entry | {"scene": str(i)} for i in range(8)]), streaming=True)
    assert dataset.num_shards == 8
    scenes = [example["scene"] for example in dataset.shuffle(seed=0, buffer_size=1)]
    assert sorted(scenes) == [str(i) for i in range(8)] and scenes != sorted(scenes)


def test_depth_survives_map_save_and_torch_format(pair):
    dataset = load(pair / "index.json")
    mapped = dataset.map(lambda example: {"farthest": float(example["depth"].max())})
    assert isinstance(mapped.features["depth"], DepthMap)
    np.testing.assert_array_equal(mapped[0]["depth"], dataset[0]["depth"])
    mapped.save_to_disk(pair / "saved")
    np.testing.assert_array_equal(datasets.load_from_disk(pair / "saved")[0]["depth"], dataset[0]["depth"])
    assert dataset.with_format("torch")[0]["depth"].dtype == torch.float32


# The real sample


def test_real_sample_has_the_frames_of_its_index(data_dir, tmp_path):
    index = data_dir / "rgbd" / "index.json"
    entries = json.loads(index.read_text())
    for split in ("train", "val"):
        for kind in ("real", "synthetic"):
            expected = [str(data_dir / e["rgb"]) for e in entries if (e["split"], e["kind"]) == (split, kind)]
            dataset = load_rgbd(index, split, root=data_dir, kinds=[kind], cache_dir=tmp_path)
            assert list(dataset["path"]) == expected


def test_real_sample_depth_is_plausible_and_streams_equally(data_dir, tmp_path):
    index = data_dir / "rgbd" / "index.json"
    dataset = load_rgbd(index, "val", root=data_dir, cache_dir=tmp_path)
    stream = load_rgbd(index, "val", root=data_dir, streaming=True, cache_dir=tmp_path)
    chosen = set(range(0, len(dataset), 8))
    for number, streamed in enumerate(stream.decode(False)):
        assert streamed["path"] == dataset["path"][number]
    for number, streamed in enumerate(stream.select_columns(["depth"])):
        if number in chosen:
            example = dataset[number]
            depth = example["depth"]
            np.testing.assert_array_equal(depth, streamed["depth"])
            assert depth.shape == example["image"].size[::-1]
            valid = depth[depth > 0]
            assert valid.size > 0.3 * depth.size and 0.3 < np.median(valid) < 8 and valid.max() < 12


# Hub-like data sets


@pytest.fixture
def table():
    images = [PIL.Image.new("L", (WIDTH, HEIGHT), 9)] * 2
    depths = [PIL.Image.fromarray(MILLIMETRES)] * 2
    return datasets.Dataset.from_dict(
        {"photo": images, "range": depths, "number": [0, 1]},
        features=datasets.Features(
            {"photo": datasets.Image(), "range": datasets.Image(), "number": datasets.Value("int32")}
        ),
    )


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("saved_as", ["arrow", "parquet"])
def test_any_dataset_with_image_and_depth(tmp_path, table, streaming, saved_as, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "data"
    if saved_as == "arrow":
        datasets.DatasetDict({"train": table}).save_to_disk(folder)
    else:
        folder.mkdir()
        table.to_parquet(folder / "train.parquet")
    dataset = load_hub_rgbd(folder, "train", "photo", "range", depth_scale=1000, streaming=streaming)
    example = next(iter(dataset))
    assert example.keys() == {"image", "depth"} and example["image"].mode == "RGB"
    np.testing.assert_allclose(example["depth"], MILLIMETRES / 1000, rtol=1e-6)


def test_dataset_of_arrays_in_metres(tmp_path):
    metres = MILLIMETRES.astype(np.float32) / 1000
    features = {"image": datasets.Image(), "depth": datasets.Array2D((HEIGHT, WIDTH), "float32")}
    rows = {"image": [PIL.Image.new("RGB", (WIDTH, HEIGHT))], "depth": [metres]}
    arrays = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    datasets.DatasetDict({"train": arrays}).save_to_disk(tmp_path)
    np.testing.assert_array_equal(load_hub_rgbd(tmp_path, "train")[0]["depth"], metres)
    streamed = next(iter(load_hub_rgbd(tmp_path, "train", streaming=True)))
    np.testing.assert_array_equal(streamed["depth"], metres)
    with pytest.raises(ValueError, match="leave out depth_scale"):
        load_hub_rgbd(tmp_path, "train", depth_scale=1000)


def test_bad_hub_datasets(tmp_path, table):
    table.save_to_disk(tmp_path / "one")
    with pytest.raises(ValueError, match="pass its parent"):
        load_hub_rgbd(tmp_path / "one", "train")
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path / "all")
    with pytest.raises(ValueError, match="Unknown split 'test'.*train"):
        load_hub_rgbd(tmp_path / "all", "test")
    with pytest.raises(ValueError, match="no column 'image'; there are: photo, range, number"):
        load_hub_rgbd(tmp_path / "all", "train")
    with pytest.raises(ValueError, match="8-bit"):
        load_hub_rgbd(tmp_path / "all", "train", "range", "photo", depth_scale=1000)
    with pytest.raises(ValueError, match="give depth_scale"):
        load_hub_rgbd(tmp_path / "all", "train", "photo", "range")
    with pytest.raises(TypeError, match="must store images"):
        load_hub_rgbd(tmp_path / "all", "train", "photo", "number")


# Bad input


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "lists no frames"),
        ({"rgb": "a.png"}, "must hold a list"),
        (["a.png"], "entry 1: 'a.png' is not an object"),
        ([{"rgb": "a.png", "depth": "a_depth.png"}, {"rgb": "a.png"}], "entry 2: depth must be a path"),
        ([{"rgb": "a.png", "depth": "a_depth.png", "depth_scale": -1}], "entry 1: depth_scale must be a positive"),
        ([{"rgb": "a.png", "depth": "a_depth.png", "depth_scale": "mm"}], "entry 1: depth_scale must be a positive"),
        ([{"rgb": "a.png", "depth": "a_depth.png"}], "give depth_scale"),
        (
            [{"rgb": "a.png", "depth": "a_depth.png", "split": "val"}, {"rgb": "a.png", "depth": "a_depth.png"}],
            "entry 2: no split",
        ),
    ],
)
def test_bad_json_entries(pair, entries, message):
    with pytest.raises(ValueError, match=message):
        load(write_index(pair, entries))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.json", '[{"rgb": "a.png",\n "depth": }]', "line 2: not valid JSON"),
        ("x.csv", "", "is empty"),
        ("x.csv", "rgb,depth\n", "lists no frames"),
        ("x.csv", "image,depth\na.png,a_depth.png\n", "line 1: the columns must include rgb"),
        ("x.csv", "rgb,depth,rgb\na.png,a_depth.png,b.png\n", "line 1: the columns must include rgb"),
        ("x.csv", "rgb,depth\na.png,a_depth.png\na.png\n", "line 3: 1 cells where the header names 2"),
        ("x.csv", 'rgb,depth\na.png,"a_depth.png\n', "line 2: not valid CSV"),
        ("x.csv", "rgb,depth\na.png,\n", "line 2: depth must be a path"),
        ("x.csv", "rgb,depth,depth_scale\na.png,a_depth.png,inf\n", "line 2: depth_scale must be a positive"),
        ("x.txt", "a.png a_depth.png", "must be a .json file, a .csv file or a folder"),
    ],
)
def test_malformed_index(pair, name, text, message):
    (pair / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        load(pair / name)


def test_index_that_is_not_text(pair):
    (pair / "x.csv").write_bytes(b"rgb,depth\n\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8"):
        load(pair / "x.csv")


def test_missing_index_and_unknown_split(pair):
    with pytest.raises(FileNotFoundError, match="nothing.json does not exist"):
        load(pair / "nothing.json")
    entry = {"rgb": "a.png", "depth": "a_depth.png", "depth_scale": 1000}
    index = write_index(pair, [entry | {"split": split} for split in ("val", "test")])
    with pytest.raises(ValueError, match="Unknown split 'train'; there are: test, val"):
        load(index)


@pytest.mark.parametrize("missing", ["a.png", "a_depth.png"])
@pytest.mark.parametrize("streaming", [False, True])
def test_missing_file_is_named_up_front(pair, missing, streaming):
    (pair / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        load(pair / "index.json", streaming=streaming)


def test_sizes_that_differ(pair):
    write_depth(pair / "a_depth.png", MILLIMETRES[:, :-1])
    with pytest.raises(ValueError, match=r"a.png has height and width \(6, 8\), but .*a_depth.png has \(6, 7\)"):
        load(pair / "index.json")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("d.png", MILLIMETRES.astype(np.uint8), "8-bit"),
        ("d.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8), "8-bit"),
        ("d.npy", MILLIMETRES.astype(np.uint8), "dtype uint8"),
        ("d.npy", MILLIMETRES[None].astype(np.float32), r"shape \(1, 6, 8\)"),
        ("d.npy", np.array([[object()]]), "not a NumPy array of numbers"),
    ],
)
def test_depth_that_is_not_metric(pair, name, values, message):
    write_depth(pair / name, values)
    with pytest.raises(ValueError, match=message):
        load(write_index(pair, [{"rgb": "a.png", "depth": name, "depth_scale": 1000}]))


@pytest.mark.parametrize("broken", ["a.png", "a_depth.png"])
def test_file_that_is_no_image(pair, broken):
    (pair / broken).write_text("hello")
    with pytest.raises(ValueError, match=f"{broken} is n"):
        load(pair / "index.json")


@pytest.mark.parametrize(
    ("value", "message"), [(0.0, "no valid pixel"), (np.nan, "non-finite"), (np.inf, "non-finite"), (-1.0, "negative")]
)
def test_depth_values_are_checked_when_read(pair, value, message):
    write_depth(pair / "d.npy", np.full((HEIGHT, WIDTH), value, np.float32))
    dataset = load(write_index(pair, [{"rgb": "a.png", "depth": "d.npy"}]))
    with pytest.raises(ValueError, match=f"d.npy has .*{message}"):
        dataset[0]


def test_depth_scale_that_would_do_nothing(pair):
    with pytest.raises(ValueError, match="leave one out"):
        load(pair / "index.json", depth_scale=1000)


def test_bad_folders(tmp_path):
    write_image(tmp_path / "rgb" / "a.jpg")
    with pytest.raises(ValueError, match="exactly one of the subfolders depth, depths; it has 0"):
        load(tmp_path)
    (tmp_path / "depth").mkdir()
    with pytest.raises(ValueError, match="1 files have no partner.*a.jpg"):
        load(tmp_path)
    (tmp_path / "rgb" / "a.jpg").unlink()
    with pytest.raises(ValueError, match="lists no frames"):
        load(tmp_path)
    write_image(tmp_path / "rgb" / "a.jpg")
    write_image(tmp_path / "rgb" / "a.png")
    with pytest.raises(ValueError, match="have the same stem"):
        load(tmp_path)
    with pytest.raises(ValueError, match="root goes with"):
        load(tmp_path, root=tmp_path)


# Parsers

names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\ufeff"), min_size=1)
scales = st.none() | st.floats(1e-3, 1e6)
entries = st.fixed_dictionaries({"rgb": names, "depth": names, "depth_scale": scales, "split": names, "scene": names})


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(entries, min_size=1, max_size=5))
def test_json_and_csv_give_back_what_was_written(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("lists")
    expected = [
        Frame(str(folder / r["rgb"]), str(folder / r["depth"]), r["depth_scale"], r["split"], r["scene"]) for r in rows
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    (folder / "x.csv").write_text(buffer.getvalue(), encoding="utf-8", newline="")
    (folder / "x.json").write_text(json.dumps(rows), encoding="utf-8")
    assert read_index(folder / "x.csv") == expected
    assert read_index(folder / "x.json") == expected


@settings(max_examples=50, deadline=None)
@given(text=st.text(), suffix=st.sampled_from(["json", "csv"]))
def test_any_text_is_read_or_refused_with_its_name(tmp_path_factory, text, suffix):
    path = tmp_path_factory.mktemp("lists") / f"x.{suffix}"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    try:
        frames = read_index(path)
    except ValueError as error:
        assert path.name in str(error)
    else:
        assert frames
