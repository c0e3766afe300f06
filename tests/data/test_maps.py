# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from ait_hf.data.maps import MapFolder, decode_map, load_hub_maps


RNG = np.random.default_rng(0)
PHOTOS = [RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in range(3)]
STORED = [RNG.integers(1, 256, (6, 8, 3), dtype=np.uint8) for _ in range(3)]


def save_hub(folder, maps, features=None, **splits):
    """A data set of the photographs with a column `normals`, as `save_to_disk` writes it."""
    columns = {"image": [Image.fromarray(photo) for photo in PHOTOS[: len(maps)]], "normals": maps}
    features = None if features is None else datasets.Features({"image": datasets.Image(), "normals": features})
    table = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict({"train": table}).save_to_disk(folder)
    return folder


def save_folder(folder, maps, suffix):
    for name in ("images", "maps"):
        (folder / name).mkdir(parents=True)
    for number, (photo, values) in enumerate(zip(PHOTOS, maps)):
        Image.fromarray(photo).save(folder / f"images/{number}.png")
        path = folder / f"maps/{number}{suffix}"
        np.save(path, values) if suffix == ".npy" else Image.fromarray(values).save(path)
    return folder


@given(
    stored=arrays.arrays(np.uint16, st.tuples(*[st.integers(1, 4)] * 3)),
    scale=st.floats(0.01, 10),
    offset=st.floats(-5, 5),
)
def test_decoded_values_are_stored_times_scale_plus_offset_or_unknown(stored, scale, offset):
    values = decode_map(stored, scale, offset)
    assert values.dtype == np.float32 and values.shape == stored.shape
    unknown = ~stored.any(axis=2)
    assert not values[unknown].any()
    np.testing.assert_allclose(values[~unknown], stored[~unknown] * scale + offset, rtol=1e-4, atol=1e-4)


def test_a_map_without_channels_gets_one():
    assert decode_map(np.ones((2, 3), np.float64)).shape == (2, 3, 1)


@pytest.mark.parametrize("stored", [np.ones(3), np.ones((1, 2, 3, 4)), np.ones((2, 2), bool), np.full((2, 2), "a")])
def test_other_arrays_are_no_maps(stored):
    with pytest.raises(ValueError, match="must be numbers"):
        decode_map(stored)


def test_hub_pictures_of_8_bits(tmp_path):
    maps = load_hub_maps(
        save_hub(tmp_path, [Image.fromarray(stored) for stored in STORED]),
        "train",
        map_column="normals",
        scale=2 / 255,
        offset=-1,
    )
    assert len(maps) == 3
    for number in range(3):
        row = maps[number]
        assert np.array_equal(np.asarray(row["image"]), PHOTOS[number])
        np.testing.assert_allclose(row["map"], STORED[number] / 127.5 - 1, atol=1e-6)


def test_hub_pictures_of_16_bits(tmp_path):
    stored = RNG.integers(1, 65536, (6, 8), dtype=np.uint16)
    maps = load_hub_maps(save_hub(tmp_path, [Image.fromarray(stored)]), "train", map_column="normals", scale=0.001)
    np.testing.assert_allclose(maps[0]["map"], stored[..., None] / 1000, rtol=1e-5)


@pytest.mark.parametrize(
    "features",
    [
        datasets.Array3D((6, 8, 3), "float32"),
        datasets.Array3D((6, 8, 3), "float64"),
        datasets.List(datasets.List(datasets.List(datasets.Value("float32")))),
    ],
)
def test_hub_arrays(tmp_path, features):
    values = [(stored / 100 - 1).astype(np.float32) for stored in STORED]
    maps = load_hub_maps(save_hub(tmp_path, values, features), "train", map_column="normals")
    for number in range(3):
        np.testing.assert_allclose(maps[number]["map"], values[number], rtol=1e-6)
        assert np.array_equal(np.asarray(maps[number]["image"]), PHOTOS[number])


def test_hub_mistakes(tmp_path):
    folder = save_hub(tmp_path, [Image.fromarray(STORED[0]).convert("LA")])
    with pytest.raises(ValueError, match="no column 'normal'; did you mean 'normals'"):
        load_hub_maps(folder, "train", map_column="normal")
    with pytest.raises(ValueError, match="no column 'photo'"):
        load_hub_maps(folder, "train", map_column="normals", image_column="photo")
    with pytest.raises(ValueError, match="Unknown split 'val'"):
        load_hub_maps(folder, "val", map_column="normals")
    with pytest.raises(ValueError, match="row 0 of column 'normals' has Pillow's mode LA"):
        load_hub_maps(folder, "train", map_column="normals")


def test_hub_columns_that_hold_no_maps(tmp_path):
    folder = save_hub(tmp_path, [1.0, 2.0], datasets.Value("float32"))
    with pytest.raises(ValueError, match="row 0 of column 'normals': A map must be numbers"):
        load_hub_maps(folder, "train", map_column="normals")


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_folder(tmp_path, suffix):
    maps = MapFolder(save_folder(tmp_path, STORED, suffix), scale=0.5, offset=3)
    assert len(maps) == 3
    for number in range(3):
        assert np.array_equal(np.asarray(maps[number]["image"]), PHOTOS[number])
        np.testing.assert_allclose(maps[number]["map"], STORED[number] * 0.5 + 3)
        assert maps[number]["path"].endswith(f"{number}{suffix}")


def test_folder_mistakes(tmp_path):
    with pytest.raises(FileNotFoundError, match="images does not exist"):
        MapFolder(tmp_path)
    folder = save_folder(tmp_path / "pairs", [*STORED[:2], STORED[2][:, :7]], ".png")
    with pytest.raises(ValueError, match=r"2.png has height and width \(6, 8\), but its map .*2.png has \(6, 7\)"):
        MapFolder(folder)
    (folder / "maps/2.png").unlink()
    with pytest.raises(ValueError, match="1 files have no partner.*images/2.png"):
        MapFolder(folder)
    np.save(folder / "maps/1.npy", STORED[1])
    with pytest.raises(ValueError, match="1.png and .*1.npy have the same stem|1.npy and .*1.png have the same stem"):
        MapFolder(folder)
    for path in [*folder.glob("*/*")]:
        path.unlink()
    with pytest.raises(ValueError, match="has no pairs of images"):
        MapFolder(folder)
    (folder / "images/0.png").write_text("no image")
    np.save(folder / "maps/0.npy", STORED[0])
    with pytest.raises(ValueError, match="0.png is not an image"):
        MapFolder(folder)
    Image.fromarray(PHOTOS[0]).save(folder / "images/0.png")
    (folder / "maps/0.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match="0.npy is not a NumPy array of numbers"):
        MapFolder(folder)
