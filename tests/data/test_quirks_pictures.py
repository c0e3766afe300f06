# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Whatever a picture's file is like, everything sees the same pixels, what belongs to it fits, or a sentence says why not."""

import json
import logging
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from quirky_pictures import (
    HEIGHT,
    PICTURES,
    STORED_FOR,
    WIDE_GRAYS,
    WIDTH,
    encode,
    ending_of,
    exif,
    noise,
    other_packings,
    packings,
    write,
)

from ait_hf.data.coco import load_coco
from ait_hf.data.coco_keypoints import load_coco_keypoints
from ait_hf.data.coco_shards import load_coco_shards
from ait_hf.data.label_maps import load_class_mask_shards, load_label_map_shards, load_label_maps
from ait_hf.data.maps import MapFolder, load_hub_maps
from ait_hf.data.object_transforms import ObjectTrainTransform
from ait_hf.data.pixels import picture_of
from ait_hf.data.rgbd import load_hub_rgbd, load_rgbd
from ait_hf.data.semantic_transforms import SemanticEvalTransform
from ait_hf.data.skeletons import COCO_SKELETON
from ait_hf.data.stored_images import Picture
from ait_hf.data.tables import warn_once
from ait_hf.inference.images import image_height_and_width
from ait_hf.inference.pipeline_images import load_picture
from ait_hf.model.image_processing_ait import AiTImageProcessor
from ait_hf.model.image_reading_ait import read_image, rgb_image


SIZE = (HEIGHT, WIDTH)
DEPTH = noise(seed=50, high=5000, dtype=np.uint16) + 1
NUMBERS = np.arange(HEIGHT * WIDTH).reshape(SIZE).astype(np.uint8) % 3
PROCESSOR = AiTImageProcessor(do_resize=False, do_rescale=False, do_normalize=False)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def by_stem(rows) -> dict[str, np.ndarray]:
    return {Path(row["path"]).stem: np.asarray(row["image"]) for row in rows}


def in_order(folder: Path, rows) -> dict[str, np.ndarray]:
    stems = [path.stem for path in sorted((folder / "images").iterdir())]
    return {stem: np.asarray(row["image"]) for stem, row in zip(stems, rows, strict=True)}


# Readers of a folder with pictures in `images`, all of `SIZE`: from the folder to the pictures by their stems. Each writes
# what its section wants to have beside them.


def rgbd(folder, streaming=False):
    frames = []
    for path in sorted((folder / "images").iterdir()):
        depth = write(folder / "depth" / f"{path.stem}.png", encode(Image.fromarray(DEPTH)))
        frames.append({"rgb": str(path), "depth": str(depth), "depth_scale": 1000})
    (folder / "index.json").write_text(json.dumps(frames))
    return by_stem(load_rgbd(folder / "index.json", "train", streaming=streaming))


def streamed_rgbd(folder):
    return rgbd(folder, streaming=True)


def label_maps(folder):
    for path in (folder / "images").iterdir():
        write(folder / "annotations" / f"{path.stem}.png", encode(Image.fromarray(NUMBERS)))
    return by_stem(load_label_maps(folder / "images", folder / "annotations", 3))


def map_folder(folder):
    for path in (folder / "images").iterdir():
        write(folder / "maps" / f"{path.stem}.png", encode(Image.fromarray(NUMBERS)))
    return by_stem(MapFolder(folder))


def coco_file(folder, size=SIZE) -> Path:
    paths = sorted((folder / "images").iterdir())
    images = [{"id": n, "file_name": p.name, "height": size[0], "width": size[1]} for n, p in enumerate(paths)]
    joints = [2, 2, 2] + [0, 0, 0] * 16
    own = {"bbox": [1, 1, 4, 4], "area": 16.0, "iscrowd": 0, "category_id": 1, "keypoints": joints, "num_keypoints": 1}
    own["segmentation"] = [[1, 1, 5, 1, 5, 5]]
    annotations = [own | {"id": number, "image_id": number} for number in range(len(paths))]
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO_SKELETON.joints)}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"


def coco(folder):
    return by_stem(load_coco(coco_file(folder), folder / "images"))


def coco_keypoints(folder):
    return by_stem(load_coco_keypoints(coco_file(folder), folder / "images"))


def save_table(folder, **columns) -> Path:
    """A saved data set with the column `image`, that of any 🤗 user, and others."""
    paths = [str(path) for path in sorted((folder / "images").iterdir())]
    table = datasets.Dataset.from_dict({"image": paths}).cast_column("image", datasets.Image())
    for name, (values, feature) in columns.items():
        table = table.add_column(name, [values] * len(paths)).cast_column(name, feature)
    datasets.DatasetDict({"train": table}).save_to_disk(folder / "saved")
    return folder / "saved"


def hub(folder, streaming=False):
    depth = write(folder / "depth.png", encode(Image.fromarray(DEPTH)))
    saved = save_table(folder, depth=(str(depth), datasets.Image()))
    return in_order(folder, load_hub_rgbd(saved, "train", depth_scale=1000, streaming=streaming))


def streamed_hub(folder):
    return hub(folder, streaming=True)


def label_map_shards(folder, streaming=False):
    numbers = write(folder / "numbers.png", encode(Image.fromarray(NUMBERS)))
    saved = save_table(folder, label_map=(str(numbers), datasets.Image()))
    return in_order(folder, load_label_map_shards(saved, "train", 3, streaming=streaming))


def streamed_label_map_shards(folder):
    return label_map_shards(folder, streaming=True)


def map_hub(folder, streaming=False):
    numbers = write(folder / "numbers.png", encode(Image.fromarray(NUMBERS)))
    saved = save_table(folder, map=(str(numbers), datasets.Image()))
    return in_order(folder, load_hub_maps(saved, "train", map_column="map", streaming=streaming))


def streamed_map_hub(folder):
    return map_hub(folder, streaming=True)


def coco_shards(folder, streaming=False):
    rows = load_coco(coco_file(folder), folder / "images").cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": rows}).save_to_disk(folder / "saved")
    return by_stem(load_coco_shards(folder / "saved", "train", 1, streaming=streaming))


def streamed_coco_shards(folder):
    return coco_shards(folder, streaming=True)


def prediction(folder):
    return {path.stem: np.asarray(read_image(path)) for path in (folder / "images").iterdir()}


def pipelines(folder):
    return {path.stem: np.asarray(load_picture(str(path))) for path in (folder / "images").iterdir()}


def pipelines_of_images(folder):
    return {path.stem: np.asarray(load_picture(Image.open(path))) for path in (folder / "images").iterdir()}


def evaluation(folder):
    return {path.stem: picture_of({"image": Image.open(path)}) for path in (folder / "images").iterdir()}


def processor(folder):
    found = {}
    for path in (folder / "images").iterdir():
        with Image.open(path) as image:
            assert image_height_and_width(image) == SIZE
            found[path.stem] = PROCESSOR(image)["pixel_values"][0].permute(1, 2, 0).numpy().astype(np.uint8)
    return found


FOLDERS = [rgbd, label_maps, map_folder, coco, coco_keypoints]
SHARDS = [hub, streamed_hub, label_map_shards, map_hub, coco_shards]
MORE_SHARDS = [streamed_rgbd, streamed_label_map_shards, streamed_map_hub, streamed_coco_shards]
SINGLE = [prediction, pipelines, pipelines_of_images, evaluation, processor]
slow = [pytest.param(reader, marks=pytest.mark.slow) for reader in MORE_SHARDS]


@pytest.mark.parametrize("read", [*FOLDERS, *SHARDS, *SINGLE, *slow])
def test_all_see_the_same_pixels(read, tmp_path):
    for name, (content, _) in PICTURES.items():
        write(tmp_path / "images" / f"{name}.{ending_of(content)}", content)
    found = read(tmp_path)
    assert found.keys() == PICTURES.keys()
    for name, (_, pixels) in PICTURES.items():
        np.testing.assert_array_equal(found[name], pixels, err_msg=name)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"]
)
def test_images_of_every_mode_become_rgb(mode):
    whole = Image.fromarray(noise(4, seed=3), mode="RGBA")
    by_way_of = {"La": ["LA"], "PA": ["P"], "LAB": ["RGB"], "HSV": ["RGB"], "1": ["L"]}.get(mode, [])
    for step in [*by_way_of, mode]:
        whole = whole.convert(step)
    assert rgb_image(whole).mode == "RGB"
    np.testing.assert_array_equal(PROCESSOR(whole)["pixel_values"][0].permute(1, 2, 0), np.asarray(rgb_image(whole)))


@pytest.mark.parametrize("read", [*FOLDERS, *SHARDS, *SINGLE, *slow])
def test_gray_of_more_than_8_bits_is_no_picture(read, tmp_path):
    for name, content in WIDE_GRAYS.items():
        folder = tmp_path / name.replace(";", "")
        path = write(folder / "images" / f"a.{ending_of(content)}", content)
        with pytest.raises(ValueError, match="more than 8 bits.*convert it to 8 bits") as caught:
            read(folder)
        assert read not in [*FOLDERS, prediction, pipelines] or str(path) in str(caught.value)


@pytest.mark.parametrize("read", [*FOLDERS, hub, coco_shards, prediction, pipelines])
def test_a_picture_above_pillows_limit_is_named(read, tmp_path, monkeypatch):
    path = write(tmp_path / "images" / "a.png", encode(Image.fromarray(noise(3))))
    if read in (hub, coco_shards):
        read(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH // 2 - 1)
    with pytest.raises(ValueError, match="has more pixels than Pillow takes for a picture") as caught:
        read(tmp_path)
    assert path.name in str(caught.value)


# Pictures against what belongs to them


@pytest.mark.parametrize("read", FOLDERS)
def test_a_size_that_fits_only_what_is_stored_is_an_error(read, tmp_path):
    sideways = Image.fromarray(noise(3))  # stored with the size of what belongs to it, shown with its sides swapped
    path = write(tmp_path / "images" / "a.png", encode(sideways, exif=exif(6)))
    with pytest.raises(ValueError, match="EXIF orientation") as caught:
        read(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("read", FOLDERS)
def test_another_size_is_an_error_with_both(read, tmp_path):
    path = write(tmp_path / "images" / "a.png", encode(Image.fromarray(noise(3)[::2, ::2])))
    with pytest.raises(ValueError, match=rf"\({HEIGHT}, {WIDTH}\)") as caught:
        read(tmp_path)
    assert str(path) in str(caught.value) and f"({HEIGHT // 2}, {WIDTH // 2})" in str(caught.value)
    assert "EXIF" not in str(caught.value)


@pytest.mark.parametrize("read", FOLDERS)
def test_pictures_that_are_turned_in_silence_are_counted_once(read, tmp_path, caplog):
    for number in (2, 3, 4, 6):
        stored = Image.fromarray(noise(3, seed=number)).transpose(STORED_FOR[number])
        write(tmp_path / "images" / f"{number}.png", encode(stored, exif=exif(number)))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):  # the second time from the cache
            read(tmp_path)
    (warning,) = [record.getMessage() for record in caplog.records if "EXIF" in record.getMessage()]
    assert warning.startswith("3 pictures, first ") and f"{tmp_path}/images/2.png" in warning


def test_a_turned_picture_with_a_map_turned_alike_is_no_reason_to_warn(tmp_path, caplog):
    for folder, array in {"images": noise(3), "maps": NUMBERS}.items():
        stored = Image.fromarray(array).transpose(STORED_FOR[3])
        write(tmp_path / folder / "a.png", encode(stored, exif=exif(3)))
    row = MapFolder(tmp_path)[0]
    assert "EXIF" not in caplog.text
    np.testing.assert_array_equal(np.asarray(row["image"]), noise(3))
    np.testing.assert_array_equal(row["map"][..., 0], NUMBERS)


def test_depth_is_turned_upright_like_its_picture(tmp_path):
    for folder, array in {"rgb": noise(3), "depth": DEPTH}.items():
        write(tmp_path / folder / "a.png", encode(Image.fromarray(array).transpose(STORED_FOR[5]), exif=exif(5)))
    row = load_rgbd(tmp_path, "train", depth_scale=1000)[0]
    np.testing.assert_array_equal(np.asarray(row["image"]), noise(3))
    np.testing.assert_allclose(row["depth"], DEPTH / 1000)


@pytest.mark.parametrize("read", FOLDERS)
def test_pictures_are_compared_again_when_they_have_changed(read, tmp_path, caplog):
    """A table in the cache is of the pictures that there were."""
    path = write(tmp_path / "images" / "a.png", encode(Image.fromarray(noise(3))))
    read(tmp_path)
    for wrong, message in {
        encode(Image.fromarray(noise(3)[::2, ::2])): rf"\({HEIGHT // 2}, {WIDTH // 2}\)",
        encode(Image.fromarray(noise(3)), exif=exif(6)): "EXIF orientation",
        encode(Image.fromarray(DEPTH)): "more than 8 bits",
    }.items():
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=message):
            read(tmp_path)
    path.write_bytes(encode(Image.fromarray(noise(3)), exif=exif(3)))
    read(tmp_path)
    assert caplog.text.count("1 pictures, first") == 1
    caplog.clear()
    warn_once.cache_clear()  # as in another process
    path.write_bytes(encode(Image.fromarray(noise(3, seed=9))))
    assert (read(tmp_path)["a"] == noise(3, seed=9)).all() and not caplog.text


@pytest.mark.parametrize("read", [coco, coco_keypoints])
def test_a_picture_that_is_gone_from_a_cached_table_is_named(read, tmp_path):
    path = write(tmp_path / "images" / "a.png", encode(Image.fromarray(noise(3))))
    annotations = coco_file(tmp_path)
    read(tmp_path)
    path.rename(path.with_suffix(".jpg"))
    load = {coco: load_coco, coco_keypoints: load_coco_keypoints}[read]
    with pytest.raises(FileNotFoundError, match="a.png does not exist, but .* has 'a.jpg'"):
        load(annotations, tmp_path / "images")


def test_pictures_changed_behind_a_loaded_table_are_found_when_they_are_read(tmp_path):
    path = write(tmp_path / "images" / "a.png", encode(Image.fromarray(noise(3))))
    table = load_coco(coco_file(tmp_path), tmp_path / "images")
    path.write_bytes(encode(Image.fromarray(noise(3)[::2, ::2])))
    (row,) = table
    for use in (picture_of, ObjectTrainTransform(16)):
        with pytest.raises(ValueError, match=rf"{path} has \(3, 4\) pixels, but its annotations say \(6, 8\)"):
            use(row)


# Numbers


def check_numbers(numbers: np.ndarray, expected: np.ndarray, name: str) -> None:
    np.testing.assert_array_equal(np.asarray(numbers).reshape(SIZE), expected, err_msg=name)


def test_label_maps_and_maps_in_folders_hold_the_stored_numbers(tmp_path):
    for name, (content, _) in packings().items():
        write(tmp_path / "images" / f"{name}.png", encode(Image.fromarray(noise(3))))
        write(tmp_path / "annotations" / f"{name}.png", content)
        write(tmp_path / "maps" / f"{name}.png", content)
    labels = load_label_maps(tmp_path / "images", tmp_path / "annotations", 12)
    maps = MapFolder(tmp_path)
    assert len(labels) == len(maps) == len(packings())
    for row in labels:
        check_numbers(row["label_map"], packings()[Path(row["path"]).stem][1], row["path"])
    for row in maps:
        check_numbers(row["map"], packings()[Path(row["path"]).stem][1], row["path"])


@pytest.mark.parametrize("streaming", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_label_maps_and_maps_in_shards_hold_the_stored_numbers(tmp_path, streaming):
    packed = packings() | other_packings()
    picture = write(tmp_path / "a.png", encode(Image.fromarray(noise(3))))
    paths = [
        str(write(tmp_path / f"{n}.{ending_of(content)}", content)) for n, (content, _) in enumerate(packed.values())
    ]
    table = datasets.Dataset.from_dict({"image": [str(picture)] * len(paths), "label_map": paths})
    for column in table.column_names:
        table = table.cast_column(column, datasets.Image())
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path / "saved")
    labels = load_label_map_shards(tmp_path / "saved", "train", 12, streaming=streaming)
    maps = load_hub_maps(tmp_path / "saved", "train", map_column="label_map", streaming=streaming)
    maps = maps if streaming else [maps[number] for number in range(len(maps))]
    for name, label_row, map_row in zip(packed, labels, maps, strict=True):
        check_numbers(label_row["label_map"], packed[name][1], name)
        check_numbers(map_row["map"], packed[name][1], name)


def test_maps_of_16_bits_and_several_channels_are_not_cut_to_8(tmp_path):
    write(tmp_path / "images" / "a.png", encode(Image.fromarray(noise(3))))
    write(tmp_path / "maps" / "a.png", PICTURES["RGB of 16 bits"][0])
    with pytest.raises(ValueError, match=r"maps/a.png has pixels of 16 bits, of which Pillow keeps 8"):
        MapFolder(tmp_path)[0]


# Masks of 0 and 255

MASK = np.where(NUMBERS > 0, 255, 0).astype(np.uint8)


def masks_in_folder(folder, masks=(MASK,), **numbers):
    for number, mask in enumerate(masks):
        write(folder / "images" / f"{number}.png", encode(Image.fromarray(noise(3))))
        write(folder / "annotations" / f"{number}.png", encode(Image.fromarray(mask)))
    return load_label_maps(folder / "images", folder / "annotations", numbers.pop("num_classes", 2), **numbers)


def masks_in_shards(folder, masks=(MASK,), streaming=False, load=load_label_map_shards, **numbers):
    masks_in_folder(folder, masks, num_classes=2, class_ids=[0, 255])
    stems = range(len(masks))
    table = datasets.Dataset.from_dict(
        {name: [str(folder / f"{name}/{k}.png") for k in stems] for name in ("images", "annotations")}
    )
    table = table.rename_columns({"images": "image", "annotations": "label_map"}).add_column(
        "classes", [[0, 1]] * len(masks)
    )
    for column in ("image", "label_map"):
        table = table.cast_column(column, datasets.Image())
    datasets.DatasetDict({"train": table}).save_to_disk(folder / "saved")
    return load(folder / "saved", "train", numbers.pop("num_classes", 2), streaming=streaming, **numbers)


def masks_in_streams(folder, **numbers):
    return masks_in_shards(folder, streaming=True, **numbers)


def class_masks_in_shards(folder, **numbers):
    return masks_in_shards(folder, load=load_class_mask_shards, **numbers)


MASKS = [masks_in_folder, masks_in_shards, masks_in_streams, class_masks_in_shards]


@pytest.mark.parametrize("load", MASKS)
@pytest.mark.parametrize("numbers", [{}, {"num_classes": 3}, {"ignored_ids": [255]}], ids=str)
def test_masks_of_which_one_class_is_left_are_refused(load, numbers, tmp_path):
    with pytest.raises(ValueError, match=r"only the numbers \[0, 255\], of which \[255\] are ignored.*class_ids"):
        load(tmp_path, **numbers)


@pytest.mark.parametrize("load", MASKS)
def test_numbers_that_do_not_follow_one_another_are_given(load, tmp_path):
    rows = list(load(tmp_path, class_ids=[0, 255]))
    np.testing.assert_array_equal(rows[0]["label_map"], MASK // 255)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"class_ids": [0]}, "2 different numbers"),
        ({"class_ids": [0, 0]}, "2 different numbers"),
        ({"class_ids": [0, 256]}, "2 different numbers"),
        ({"class_ids": [1, 2], "first_id": 1}, "leave out first_id"),
        ({"class_ids": [0, 255], "ignored_ids": [255]}, r"no class \(\[0, 255\]\), got 255"),
        ({"class_ids": [0, 128]}, "has the number 255, but classes are .*0, 128.*class_ids"),
    ],
)
def test_numbers_that_make_no_sense(numbers, message, tmp_path):
    ignored = {} if "ignored_ids" in numbers else {"ignored_ids": []}
    with pytest.raises(ValueError, match=message):
        masks_in_folder(tmp_path, **numbers, **ignored)


def test_several_sparse_numbers(tmp_path):
    levels = np.array([0, 128, 255], dtype=np.uint8)[NUMBERS]
    (row,) = masks_in_folder(tmp_path, [levels], num_classes=3, class_ids=[128, 0, 255])
    np.testing.assert_array_equal(row["label_map"], np.array([1, 0, 2])[NUMBERS])
    sample = SemanticEvalTransform(SIZE)(row)
    assert torch.equal(sample["labels"], torch.tensor(np.array([1, 0, 2])[NUMBERS]))


# Depth in columns


INTEGERS = ["uint16", "int16", "int32", "uint32", "int64", "uint8"]
NESTED = datasets.List(datasets.List(datasets.Value("int32")))


@pytest.mark.parametrize("streaming", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("feature", "axis"),
    [
        *[(datasets.Array2D(shape=SIZE, dtype=dtype), None) for dtype in INTEGERS],
        (NESTED, None),
        (datasets.Array3D(shape=(1, *SIZE), dtype="uint16"), 0),
        (datasets.Array3D(shape=(*SIZE, 1), dtype="uint16"), 2),
        (datasets.List(NESTED), 0),
        (datasets.Array3D(shape=(1, *SIZE), dtype="float32"), 0),
    ],
    ids=str,
)
def test_depth_columns_of_numbers(tmp_path, feature, axis, streaming):
    write(tmp_path / "images" / "a.png", encode(Image.fromarray(noise(3))))
    is_whole = getattr(feature, "dtype", "int") != "float32"
    stored = DEPTH % 100 + 1 if is_whole else DEPTH.astype(np.float32) / 1000
    metres = stored / 10 if is_whole else stored
    values = stored if axis is None else np.expand_dims(stored, axis)
    saved = save_table(tmp_path, depth=(values.tolist(), feature))
    scale = {"depth_scale": 10} if is_whole else {}
    (row,) = list(load_hub_rgbd(saved, "train", streaming=streaming, **scale))
    assert row["depth"].dtype == np.float32
    np.testing.assert_allclose(row["depth"], metres, rtol=1e-6)
    wrong, message = ({}, "give depth_scale") if is_whole else ({"depth_scale": 10}, "leave out depth_scale")
    with pytest.raises(ValueError, match=message):
        load_hub_rgbd(saved, "train", streaming=streaming, **wrong)


def test_65535_in_a_column_is_missing(tmp_path):
    write(tmp_path / "images" / "a.png", encode(Image.fromarray(noise(3))))
    stored = DEPTH.astype(int)
    stored[0] = 65535
    saved = save_table(tmp_path, depth=(stored.tolist(), NESTED))
    (row,) = load_hub_rgbd(saved, "train", depth_scale=1000)
    assert (row["depth"][0] == 0).all() and (row["depth"][1:] > 0).all()


def test_shards_of_pictures_can_be_read_without_this_package(tmp_path):
    write(tmp_path / "images" / "a.png", encode(Image.fromarray(noise(3))))
    coco_rows = load_coco(coco_file(tmp_path), tmp_path / "images")
    label_maps(tmp_path)
    labels = load_label_maps(tmp_path / "images", tmp_path / "annotations", 3)
    assert isinstance(coco_rows.features["image"], Picture)
    for rows in (coco_rows, labels):
        rows.to_parquet(tmp_path / "a.parquet")
        stored = datasets.Dataset.from_parquet(str(tmp_path / "a.parquet"))
        assert type(stored.features["image"]) is datasets.Image
