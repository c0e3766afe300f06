# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""COCO loading: against pycocotools, against files written here, on the real sample, and on every kind of bad input."""

import copy
import json
import logging

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from ait_hf.data.coco import coco_classes, decode_segmentation, load_coco


HEIGHT, WIDTH = 20, 30
SQUARE = [[2, 3, 10, 3, 10, 9, 2, 9]]


def annotation(number, **changes):
    own = {"id": number, "image_id": 7, "category_id": 5, "bbox": [2, 3, 8, 6], "area": 48.0, "iscrowd": 0}
    return own | {"segmentation": SQUARE} | changes


def content(*annotations, **changes):
    images = [
        {"id": 7, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
        {"id": 3, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
    ]
    categories = [{"id": 11, "name": "cat"}, {"id": 5, "name": "ant"}]
    return {"images": images, "annotations": list(annotations), "categories": categories} | changes


@pytest.fixture
def load(tmp_path):
    """Writes a dictionary as COCO json beside two images and loads it."""
    for name in ("a.png", "b.png"):
        PIL.Image.new("L", (WIDTH, HEIGHT), 100).save(tmp_path / name)

    def load_content(what, **kwargs):
        path = tmp_path / "instances.json"
        path.write_text(what if isinstance(what, str) else json.dumps(what))
        return load_coco(path, tmp_path, cache_dir=tmp_path / "cache", **kwargs)

    return load_content


def random_mask(seed, height=HEIGHT, width=WIDTH):
    generator = np.random.default_rng(seed)
    return (generator.random((height, width)) < generator.random()).astype(np.uint8)


def runs(mask):
    """Uncompressed RLE of a mask, column by column, one pixel at a time."""
    counts, value, length = [], 0, 0
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != value:
            counts.append(length)
            value, length = pixel, 0
        length += 1
    return {"size": list(mask.shape), "counts": [*counts, length]}


def compressed(mask):
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


# Reading good data


def test_row_is_as_documented(load, tmp_path):
    crowd = annotation(2, category_id=11, iscrowd=1, segmentation=runs(random_mask(0)), area=9.5)
    first, second = load(content(annotation(1), crowd))
    assert first["image"].mode == "RGB" and first["image"].size == (WIDTH, HEIGHT)
    assert first["path"] == str(tmp_path / "a.png")
    assert (first["image_id"], first["height"], first["width"]) == (7, HEIGHT, WIDTH)
    assert first["boxes"] == [[2, 3, 10, 9]] * 2
    assert first["class_labels"] == [0, 1]
    assert first["iscrowd"] == [False, True]
    assert first["area"] == [48.0, 9.5]
    assert first["annotation_id"] == [1, 2]
    assert second["image_id"] == 3 and second["boxes"] == [] and second["segmentation"] == []


def test_images_without_objects_can_be_left_out(load):
    assert load(content(annotation(1)), keep_empty=False)["image_id"] == [7]
    with pytest.raises(ValueError, match="lists no images with objects"):
        load(content(), keep_empty=False)


def test_changed_file_makes_a_new_table(load):
    assert load(content(annotation(1)))[0]["annotation_id"] == [1]
    assert load(content(annotation(2)))[0]["annotation_id"] == [2]


def test_lvis_names_images_by_url_and_has_no_crowds(load, tmp_path):
    categories = [{"id": 2 * number + 1, "name": f"thing {number}"} for number in reversed(range(1203))]
    images = [{"id": 7, "coco_url": "http://example.org/val2017/a.png", "height": HEIGHT, "width": WIDTH}]
    objects = [annotation(number, category_id=2 * number + 1) for number in (0, 700, 1202)]
    for item in objects:
        del item["iscrowd"]
    (row,) = load(content(*objects, categories=categories, images=images))
    assert row["path"] == str(tmp_path / "a.png")
    assert row["class_labels"] == [0, 700, 1202] and row["iscrowd"] == [False] * 3
    names, ids = coco_classes(tmp_path / "instances.json")
    assert names == [f"thing {number}" for number in range(1203)] and ids == list(range(1, 2407, 2))


def test_object_without_segmentation_is_kept(load):
    box_only = annotation(1)
    del box_only["segmentation"]
    row = load(content(box_only, annotation(2, segmentation=[])))[0]
    assert row["segmentation"] == ["", ""]
    with pytest.raises(ValueError, match="only a box"):
        decode_segmentation("", HEIGHT, WIDTH)


def test_boxes_are_clipped_to_the_image(load):
    boxes = load(content(annotation(1, bbox=[-4, -2, 10, 10]), annotation(2, bbox=[25.5, 15, 20, 20])))[0]["boxes"]
    assert boxes == [[0, 0, 6, 8], [25.5, 15, WIDTH, HEIGHT]]


def test_useless_objects_are_left_out_and_logged(load, caplog):
    useless = [annotation(number, bbox=[2, 3, 0, 6]) for number in range(10, 17)]
    useless += [
        annotation(20, bbox=[2, 3, 4, -1]),
        annotation(21, bbox=[40, 3, 5, 5]),
        annotation(22, bbox=[-9, 0, 9, 9]),
    ]
    useless += [annotation(30, segmentation=[[1, 2, 3, 4]])]
    with caplog.at_level(logging.WARNING, logger="ait_hf"):
        row = load(content(*useless, annotation(1, segmentation=[*SQUARE, [1, 2, 3, 4]])))[0]
    assert row["annotation_id"] == [1] and json.loads(row["segmentation"][0]) == SQUARE
    (message,) = caplog.messages
    assert "8 boxes without area (annotation ids 10, 11, 12, 13, 14, ...)" in message
    assert "2 boxes outside their image (annotation ids 21, 22)" in message
    assert "1 objects whose polygons all have fewer than three points (annotation ids 30)" in message


def test_good_file_logs_nothing(load, caplog):
    with caplog.at_level(logging.WARNING, logger="ait_hf"):
        load(content(annotation(1)))
    assert caplog.messages == []


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_rle_decodes_to_its_mask(seed, height, width):
    mask = random_mask(seed, height, width)
    for rle in (runs(mask), compressed(mask)):
        decoded = decode_segmentation(json.dumps(rle), height, width)
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, mask)


def test_polygons_decode_to_their_union():
    rectangles = [[2, 3, 10, 3, 10, 9, 2, 9], [8, 6, 20, 6, 20, 12, 8, 12]]
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    expected[3:9, 2:10] = 1
    expected[6:12, 8:20] = 1
    np.testing.assert_array_equal(decode_segmentation(json.dumps(rectangles), HEIGHT, WIDTH), expected)


def test_real_sample_equals_pycocotools(data_dir, tmp_path, capsys):
    path = data_dir / "coco_tiny" / "annotations" / "instances_train2017.json"
    dataset = load_coco(path, data_dir / "coco_tiny" / "train2017", cache_dir=tmp_path)
    official = COCO(str(path))
    names, category_ids = coco_classes(path)
    assert category_ids == sorted(official.getCatIds()) and len(names) == 80
    assert [official.cats[category]["name"] for category in category_ids] == names
    assert len(dataset) == 50
    assert sorted(sum(dataset["annotation_id"], [])) == sorted(official.getAnnIds())
    for row in dataset.select_columns([name for name in dataset.column_names if name != "image"]):
        for number, annotation_id in enumerate(row["annotation_id"]):
            (expected,) = official.loadAnns(annotation_id)
            assert expected["image_id"] == row["image_id"]
            assert expected["category_id"] == category_ids[row["class_labels"][number]]
            assert bool(expected["iscrowd"]) == row["iscrowd"][number]
            x, y, width, height = expected["bbox"]
            np.testing.assert_allclose(row["boxes"][number], [x, y, x + width, y + height], atol=0.02)
            mask = decode_segmentation(row["segmentation"][number], row["height"], row["width"])
            np.testing.assert_array_equal(mask, official.annToMask(expected))


# Bad input


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


GOOD = content(annotation(1))
BAD = {
    "not JSON": ("{", "is not a JSON file"),
    "a list": ([], "must hold a JSON object"),
    "no section": (without(GOOD, "categories"), "has no list 'categories'"),
    "section of another kind": (content(annotations={}) | {"annotations": {}}, "has no list 'annotations'"),
    "entry of another kind": (content("x"), "entry 0 of 'annotations' is no JSON object"),
    "no bbox": (content(without(annotation(1), "bbox")), "entry 0 of 'annotations' has no 'bbox'"),
    "no height": (
        content(images=[{"id": 7, "file_name": "a.png", "width": 3}]),
        "entry 0 of 'images' has no 'height'",
    ),
    "height of zero": (content(images=[GOOD["images"][0] | {"height": 0}]), "has height 0, no pixel number"),
    "no name": (content(images=[without(GOOD["images"][0], "file_name")]), "neither file_name nor coco_url"),
    "no images": (content(images=[]), "lists no images"),
    "id as text": (content(annotation("1")), "has id '1', no whole number"),
    "image twice": (content(images=GOOD["images"][:1] * 2), "the id 7 stands twice in 'images'"),
    "annotation twice": (content(annotation(1), annotation(1)), "the id 1 stands twice in 'annotations'"),
    "unknown image": (content(annotation(1, image_id=8)), "image_id 8, which is not among the images"),
    "unknown category": (content(annotation(1, category_id=6)), "category_id 6, which is not among the categories"),
    "three numbers": (content(annotation(1, bbox=[1, 2, 3])), "annotation 1 has a bbox .*4 finite numbers"),
    "NaN box": (content(annotation(1, bbox=[1, 2, float("nan"), 3])), "annotation 1 has a bbox .*4 finite numbers"),
    "text box": (content(annotation(1, bbox="1234")), "annotation 1 has a bbox .*4 finite numbers"),
    "area of text": (content(annotation(1, area="big")), "annotation 1 has an area 'big'; a finite number"),
    "odd polygon": (content(annotation(1, segmentation=[[1, 2, 3, 4, 5, 6, 7]])), "polygon that is no list x, y"),
    "flat polygon": (content(annotation(1, segmentation=SQUARE[0])), "polygon that is no list x, y"),
    "polygon of text": (content(annotation(1, segmentation=[["1", "b"] * 3])), "annotation 1 has a polygon"),
    "segmentation as text": (content(annotation(1, segmentation="x")), "neither a list of polygons nor an RLE"),
    "RLE of another size": (
        content(annotation(1, segmentation=runs(random_mask(0, WIDTH, HEIGHT)))),
        r"annotation 1 has an RLE of size \[30, 20\], but its image is \[20, 30\]",
    ),
    "RLE too short": (content(annotation(1, segmentation={"size": [20, 30], "counts": [3, 4]})), "RLE of 7 pixels"),
    "compressed RLE too short": (
        content(annotation(1, segmentation={"size": [20, 30], "counts": compressed(random_mask(1))["counts"][:-3]})),
        "RLE of .* pixels, but its image has 600",
    ),
    "RLE of fractions": (
        content(annotation(1, segmentation={"size": [20, 30], "counts": [300.0, 300.0]})),
        "neither whole numbers nor a compressed string",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_annotations(load, case):
    what, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        load(copy.deepcopy(what))


def test_missing_files(load, tmp_path):
    (tmp_path / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match="b.png does not exist"):
        load(content(annotation(1)))
    with pytest.raises(FileNotFoundError, match="nothing.json do not exist"):
        load_coco(tmp_path / "nothing.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="Image folder .*nowhere does not exist"):
        load_coco(tmp_path / "instances.json", tmp_path / "nowhere")
