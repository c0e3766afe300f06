# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import copy
import json
import logging

import numpy as np
import PIL.Image
import pytest
from pycocotools.coco import COCO

from ait_hf.data.coco_keypoints import load_coco_keypoints
from ait_hf.data.skeletons import COCO_SKELETON


JOINTS = [[10 + number, 8, 2] for number in range(16)] + [[0, 0, 0]]


def annotation(number: int, **changes) -> dict:
    entry = {"id": number, "image_id": 7, "category_id": 1, "bbox": [2, 3, 36, 20], "area": 300.5, "iscrowd": 0}
    return entry | {"keypoints": np.ravel(JOINTS).tolist(), "num_keypoints": 16} | changes


CONTENT = {
    "images": [{"id": 7, "height": 30, "width": 40, "file_name": "a.png"}],
    "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_SKELETON.joints)}],
    "annotations": [annotation(1)],
}


@pytest.fixture
def load(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    PIL.Image.new("RGB", (40, 30), "red").save(folder / "a.png")

    def write_and_load(*annotations, **sections):
        path = tmp_path / "people.json"
        path.write_text(json.dumps(CONTENT | ({"annotations": list(annotations)} if annotations else {}) | sections))
        return load_coco_keypoints(path, folder, cache_dir=tmp_path / "cache")

    return write_and_load


def test_a_row_per_person(load):
    rows = load(annotation(1), annotation(5, bbox=[-3, 3, 60, 10]))
    assert len(rows) == 2
    assert rows[0]["image"].size == (40, 30) and rows[0]["image"].getpixel((0, 0)) == (255, 0, 0)
    assert (rows[0]["image_id"], rows[0]["id"], rows[0]["height"], rows[0]["width"]) == (7, 1, 30, 40)
    assert rows[0]["box"] == [2, 3, 38, 23] and rows[1]["box"] == [0, 3, 40, 13]  # clipped
    assert rows[0]["keypoints"] == JOINTS and rows[0]["area"] == 300.5 and rows[0]["iscrowd"] is False


def test_unknown_joints_are_zeros(load):
    joints = copy.deepcopy(JOINTS)
    joints[3] = [12, 9, 0]
    assert load(annotation(1, keypoints=np.ravel(joints).tolist()))[0]["keypoints"][3] == [0, 0, 0]


def test_people_that_nothing_can_be_learnt_from_are_left_out_and_logged(load, caplog):
    nobody = [annotation(2, keypoints=[0] * 51), annotation(3, bbox=[2, 20, 30, 5])]  # joints above the box
    useless = [annotation(4, iscrowd=1), annotation(5, bbox=[2, 3, 0, 6]), annotation(6, bbox=[40, 3, 5, 5])]
    with caplog.at_level(logging.WARNING, logger="ait_hf"):
        rows = load(annotation(1), *nobody, *useless)
    assert rows["id"][:] == [1]
    (message,) = caplog.messages
    for part in (
        "1 crowds (annotation ids 4)",
        "2 people without an annotated joint inside their box (annotation ids 2, 3)",
        "1 boxes without area (annotation ids 5)",
        "1 boxes outside their image (annotation ids 6)",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"keypoints": [0] * 51}, "nobody with an annotated joint"),
        ({"keypoints": [1, 2, 2] * 14}, "annotation 1 has 14 joints of three numbers, but the skeleton has 17"),
        ({"keypoints": [1, 2, 3] * 17}, "visibility is not 0, 1 or 2"),
        ({"keypoints": "none"}, "annotation 1 has 0 joints"),
        ({"keypoints": ["x", 2, 2] * 17}, "51 finite numbers are needed"),
        ({"bbox": [1, 2, 3]}, "4 finite numbers are needed"),
        ({"image_id": 8}, "image_id 8, which is not among the images"),
        ({"category_id": 2}, "category_id 2, which is not among the categories"),
    ],
)
def test_bad_annotations(load, entry, message):
    with pytest.raises(ValueError, match=message):
        load(annotation(1, **entry))


def test_annotations_without_keypoints(load):
    entry = annotation(1)
    del entry["keypoints"]
    with pytest.raises(ValueError, match="annotation 1 has no 'keypoints'"):
        load(entry)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"categories": [{"id": 1, "name": "person"}]}, "0 categories with keypoints"),
        (
            {"categories": [CONTENT["categories"][0] | {"id": number} for number in (1, 2)]},
            "2 categories with keypoints",
        ),
        ({"categories": [CONTENT["categories"][0] | {"keypoints": ["thumb"]}]}, "not those of the skeleton coco"),
        ({"images": {}}, "has no list 'images'"),
    ],
)
def test_bad_sections(load, sections, message):
    with pytest.raises(ValueError, match=message):
        load(**sections)


def test_missing_files_and_broken_json(load, tmp_path):
    with pytest.raises(FileNotFoundError, match="Image .*b.png does not exist"):
        load(images=[CONTENT["images"][0] | {"file_name": "b.png"}])
    with pytest.raises(FileNotFoundError, match="none.json do not exist"):
        load_coco_keypoints(tmp_path / "none.json", tmp_path)
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ValueError, match="is not a JSON file"):
        load_coco_keypoints(broken, tmp_path, cache_dir=tmp_path / "cache")
    with pytest.raises(FileNotFoundError, match="Image folder .*nowhere does not exist"):
        load_coco_keypoints(broken, tmp_path / "nowhere")


def test_unknown_skeleton(load, tmp_path):
    load()
    with pytest.raises(ValueError, match="Unknown skeleton 'hand'"):
        load_coco_keypoints(
            tmp_path / "people.json", tmp_path / "images", skeleton="hand", cache_dir=tmp_path / "cache"
        )


def test_real_people(data_dir, tmp_path):
    root = data_dir / "coco_tiny"
    path = root / "annotations" / "person_keypoints_train2017.json"
    rows = load_coco_keypoints(path, root / "train2017", cache_dir=tmp_path)
    official = COCO(str(path))
    assert len(rows) == 57
    for row in rows.remove_columns("image"):
        (entry,) = official.loadAnns(row["id"])
        joints = np.reshape(entry["keypoints"], (17, 3))
        np.testing.assert_array_equal(np.array(row["keypoints"]), joints)
        assert (joints[:, 2] > 0).sum() == entry["num_keypoints"] and not entry["iscrowd"]
