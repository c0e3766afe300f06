# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import copy
import json

import numpy as np
import pytest
from pycocotools import mask as rle_codec

from ait_hf.metrics import COCO_VALUES, CocoMetric, mask_boundary, read_coco


def encode(mask: np.ndarray) -> dict:
    rle = rle_codec.encode(np.asfortranarray(mask.astype(np.uint8)))
    return rle | {"counts": rle["counts"].decode()}


def rectangle(height: int, width: int, x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask


def ground_truth(*masks: np.ndarray, crowd: tuple[int, ...] = ()) -> dict:
    """One object per image, image ids from 1, all of category 7; annotation ids from 0, as some files have them."""
    annotations = []
    for number, mask in enumerate(masks):
        rows, columns = np.nonzero(mask)
        x, y = int(columns.min()), int(rows.min())
        box = [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y]
        annotations.append({"id": number, "image_id": number + 1, "category_id": 7, "bbox": box})
        annotations[-1] |= {"segmentation": encode(mask), "area": int(mask.sum()), "iscrowd": int(number in crowd)}
    return {
        "images": [{"id": n + 1, "height": m.shape[0], "width": m.shape[1]} for n, m in enumerate(masks)],
        "categories": [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}],
        "annotations": annotations,
    }


def measure(kind: str, truth: dict, results: list[dict], image_ids: list[int] | None = None) -> dict[str, float]:
    metric = CocoMetric(kind, ground_truth=truth, keep_in_memory=True)
    for image_id in image_ids or [image["id"] for image in truth["images"]]:
        metric.add_image(image_id, [result for result in results if result["image_id"] == image_id])
    return metric.compute()


def found(image_id: int, score: float, *, mask: np.ndarray | None = None, box: list | None = None) -> dict:
    where = {"bbox": box} if mask is None else {"segmentation": encode(mask)}
    return {"image_id": image_id, "category_id": 7, "score": score} | where


def test_official_sample_results(data_dir):
    """The 100 images and made-up detections that COCO publishes with its evaluation code."""
    folder = data_dir / "coco_eval_check"
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    expected = json.loads((folder / "expected.json").read_text())["bbox"]
    metric = CocoMetric("bbox", ground_truth=folder / "instances_val2014_100.json", keep_in_memory=True)
    for image in metric.ground_truth["images"]:
        metric.add_image(image["id"], [result for result in results if result["image_id"] == image["id"]])
    assert metric.compute() == pytest.approx(expected, abs=5e-5)


def test_masks_of_the_official_sample_are_found_by_themselves(data_dir):
    """Polygons, crowds and all: what is annotated, given as its own result, is perfect by every measure."""
    truth = read_coco(data_dir / "coco_eval_check" / "instances_val2014_100.json")
    truth["images"] = truth["images"][:10]
    ids = {image["id"] for image in truth["images"]}
    truth["annotations"] = [annotation for annotation in truth["annotations"] if annotation["image_id"] in ids]
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    results = []
    for annotation in truth["annotations"]:
        if not annotation["iscrowd"]:
            rle = rle_codec.merge(rle_codec.frPyObjects(annotation["segmentation"], *sizes[annotation["image_id"]]))
            result = {name: annotation[name] for name in ("image_id", "category_id")} | {"score": 1.0}
            results.append(result | {"segmentation": rle | {"counts": rle["counts"].decode()}})
    before = copy.deepcopy(truth)
    for kind in ("segm", "boundary"):
        assert measure(kind, truth, results)["AP"] == pytest.approx(1)
    assert truth == before


def test_average_precision_of_one_object_with_a_known_overlap():
    """A box of IoU 0.75 is right at the thresholds 0.5, 0.55, ..., 0.75: six of ten."""
    truth = ground_truth(rectangle(60, 80, 10, 20, 40, 20))
    values = measure("bbox", truth, [found(1, 0.5, box=[10, 20, 30, 20])])
    assert tuple(values) == COCO_VALUES
    assert values["AP"] == pytest.approx(0.6) and values["AP50"] == values["AP75"] == pytest.approx(1)
    assert values["APs"] == pytest.approx(0.6) and values["APl"] == -1  # 800 square pixels are small


def test_a_wrong_first_guess_halves_the_precision():
    truth = ground_truth(rectangle(60, 80, 10, 20, 40, 20))
    right, wrong = [10, 20, 40, 20], [0, 0, 10, 10]
    first = measure("bbox", truth, [found(1, 0.9, box=wrong), found(1, 0.8, box=right)])
    second = measure("bbox", truth, [found(1, 0.8, box=wrong), found(1, 0.9, box=right)])
    assert first["AP"] == pytest.approx(0.5) and second["AP"] == pytest.approx(1)
    assert (first["AR1"], first["AR10"]) == pytest.approx((0, 1))


def test_size_classes_of_masks_are_those_of_the_masks():
    """A thin object in a large box is small; so is its mask, whatever box the result names as well."""
    mask = np.zeros((200, 200), np.uint8)
    mask[np.arange(200), np.arange(200)] = 1
    result = found(1, 0.5, mask=mask) | {"bbox": [0, 0, 200, 200]}
    wrong = found(1, 0.9, mask=mask.T[::-1]) | {"bbox": [0, 0, 200, 200]}
    assert measure("segm", ground_truth(mask), [result, wrong])["APs"] == pytest.approx(0.5)


def test_only_the_images_that_were_added_count():
    masks = [rectangle(60, 80, 10, 20, 40, 20)] * 2
    results = [found(1, 0.5, box=[10, 20, 40, 20])]
    assert measure("bbox", ground_truth(*masks), results)["AR100"] == pytest.approx(0.5)
    assert measure("bbox", ground_truth(*masks), results, image_ids=[1])["AR100"] == pytest.approx(1)


@pytest.mark.parametrize("kind", ["bbox", "segm", "boundary"])
def test_nothing_found_is_zero(kind, capsys):
    truth = ground_truth(rectangle(60, 80, 10, 20, 40, 20))
    values = measure(kind, truth, [])
    assert values["AP"] == values["AR100"] == 0
    assert measure(kind, truth | {"annotations": []}, [])["AP"] == -1
    assert capsys.readouterr().out == ""


def chebyshev_boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """By definition: a pixel of the mask within the distance of one that is not, or of the image's border."""
    padded = np.pad(mask, distance)
    boundary = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        boundary[y, x] = padded[y : y + 2 * distance + 1, x : x + 2 * distance + 1].min() == 0
    return boundary


@pytest.mark.parametrize(("height", "width", "distance"), [(20, 30, 1), (60, 80, 2), (120, 90, 3)])
def test_boundary_by_its_definition(height, width, distance):
    rng = np.random.default_rng(height)
    coarse = rng.random((height // 10, width // 10)) < 0.5
    for mask in (coarse.repeat(10, 0).repeat(10, 1), rng.random((height, width)) < 0.9, np.ones((height, width))):
        mask = mask.astype(np.uint8)
        np.testing.assert_array_equal(mask_boundary(mask), chebyshev_boundary(mask, distance))
    assert not mask_boundary(np.zeros((height, width), np.uint8)).any()


def test_boundary_precision_of_a_shifted_square_in_closed_form():
    """
    300x400 has a diagonal of 500 and boundaries 10 pixels wide. A 100-square moved by 4: the masks share 96·100 of
    104·100, IoU 0.923; the frames share (96·100 - 76·80) - 2·4·80 = 2880 of 2·3600 - 2880, IoU 2/3.
    """
    truth = ground_truth(rectangle(300, 400, 100, 100, 100, 100))
    moved = [found(1, 0.5, mask=rectangle(300, 400, 104, 100, 100, 100))]
    assert measure("segm", truth, moved)["AP"] == pytest.approx(0.9)  # .5, ..., .9
    inner, outer = (
        mask_boundary(rectangle(300, 400, 100, 100, 100, 100)),
        mask_boundary(rectangle(300, 400, 104, 100, 100, 100)),
    )
    assert inner.sum() == 3600 and (inner & outer).sum() == 2880
    assert measure("boundary", truth, moved)["AP"] == pytest.approx(0.4)  # .5, .55, .6, .65


def test_what_is_found_in_a_crowd_is_neither_right_nor_wrong():
    """It lies inside the crowd, so mask overlap says so; its outline is not the crowd's."""
    masks = [rectangle(300, 400, 100, 100, 100, 100), rectangle(300, 400, 0, 0, 300, 300)]
    truth = ground_truth(*masks, crowd=(1,))
    results = [found(1, 0.5, mask=masks[0]), found(2, 0.9, mask=rectangle(300, 400, 100, 100, 50, 50))]
    for kind in ("segm", "boundary"):
        assert measure(kind, truth, results)["AP"] == pytest.approx(1)


def test_what_cannot_be_measured_is_refused(tmp_path):
    truth = ground_truth(rectangle(60, 80, 10, 20, 40, 20))
    metric = CocoMetric("bbox", ground_truth=truth, keep_in_memory=True)
    with pytest.raises(ValueError, match="no image 5"):
        metric.add_image(5, [])
    with pytest.raises(ValueError, match="no category 8"):
        metric.add_image(1, [found(1, 0.5, box=[0, 0, 1, 1]) | {"category_id": 8}])
    with pytest.raises(ValueError, match="image 2 was added to image 1"):
        metric.add_image(1, [found(2, 0.5, box=[0, 0, 1, 1])])
    metric.add_image(1, [])
    metric.add_image(1, [])
    with pytest.raises(ValueError, match="more than once"):
        metric.compute()
    with pytest.raises(ValueError, match="compare bbox, segm, boundary, keypoints, got 'panoptic'"):
        CocoMetric("panoptic", ground_truth=truth)
    truth["annotations"][0]["segmentation"] = ""
    with pytest.raises(ValueError, match="Annotation 0 has no segmentation"):
        CocoMetric("segm", ground_truth=truth)
    with pytest.raises(FileNotFoundError, match="missing.json does not exist"):
        CocoMetric(ground_truth=tmp_path / "missing.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        CocoMetric(ground_truth=tmp_path / "broken.json")
    for content in ("[]", '{"images": []}'):
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(ValueError, match="other.json has no list"):
            CocoMetric(ground_truth=tmp_path / "other.json")
