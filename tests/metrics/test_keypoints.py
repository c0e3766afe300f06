# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import copy
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ait_hf.data.skeletons import COCO_SKELETON
from ait_hf.metrics import CocoMetric
from ait_hf.metrics.coco import KEYPOINT_VALUES


def person(number: int, image: int, joints: np.ndarray, **changes) -> dict:
    joints = np.asarray(joints, dtype=float)
    low, high = joints[:, :2].min(0), joints[:, :2].max(0)
    found = {"id": number, "image_id": image, "category_id": 1, "bbox": [*low, *(high - low)], "iscrowd": 0}
    found |= {"area": float(np.prod(high - low)), "keypoints": joints.ravel().tolist()}
    return found | {"num_keypoints": int((joints[:, 2] > 0).sum())} | changes


def truth(*people: dict) -> dict:
    images = [
        {"id": number, "height": 300, "width": 300} for number in sorted({found["image_id"] for found in people})
    ]
    category = {"id": 1, "name": "person", "keypoints": list(COCO_SKELETON.joints)}
    return {"images": images, "categories": [category], "annotations": list(people)}


def results(annotations: list[dict], jitter: float, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    found = []
    for annotation in annotations:
        joints = np.reshape(annotation["keypoints"], (-1, 3)).astype(float)
        joints[:, :2] += rng.normal(scale=jitter, size=(len(joints), 2)) if jitter else 0
        found.append(
            {
                "image_id": annotation["image_id"],
                "category_id": annotation["category_id"],
                "keypoints": joints.ravel().tolist(),
                "score": float(rng.uniform()),
            }
        )
    return found


def measured(content: dict, found: list[dict], **arguments) -> dict[str, float]:
    metric = CocoMetric("keypoints", ground_truth=content, **arguments)
    for image in content["images"]:
        metric.add_image(image["id"], [result for result in found if result["image_id"] == image["id"]])
    return metric.compute()


@pytest.fixture(scope="module")
def sample(data_dir) -> dict:
    return json.loads((data_dir / "coco_keypoints_sample" / "test_coco.json").read_text())


def test_the_truth_itself_is_perfect(sample):
    people = [annotation for annotation in sample["annotations"] if annotation["num_keypoints"]]
    values = measured(sample, results(people, jitter=0))
    assert tuple(values) == KEYPOINT_VALUES
    assert values == pytest.approx(dict.fromkeys(KEYPOINT_VALUES, 1.0))


@pytest.mark.parametrize("jitter", [2.0, 6.0, 15.0])
def test_jittered_joints_as_pycocotools_itself_measures_them(sample, jitter, tmp_path, capsys):
    """The official way: files, `loadRes`, `COCOeval`."""
    found = results(sample["annotations"], jitter) + results(sample["annotations"][:5], jitter, seed=1)
    (tmp_path / "truth.json").write_text(json.dumps(sample))
    (tmp_path / "results.json").write_text(json.dumps(found))
    official = COCO(str(tmp_path / "truth.json"))
    evaluation = COCOeval(official, official.loadRes(str(tmp_path / "results.json")), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    before = copy.deepcopy(sample)
    values = measured(sample, found, sigmas=COCO_SKELETON.sigmas)
    np.testing.assert_allclose(list(values.values()), evaluation.stats, rtol=0, atol=1e-12)
    assert sample == before and 0 < values["AP"] < 1
    assert capsys.readouterr().out.count("Average Precision") == 5  # pycocotools' own, not the metric's


def test_similarity_in_closed_form():
    """One joint is known and missed by a distance that the threshold 0.75 just allows, or just does not."""
    joints = np.zeros((17, 3))
    joints[5] = 100, 100, 2
    area, sigma = 5000.0, COCO_SKELETON.sigmas[5]
    limit = np.sqrt(-np.log(0.75) * 2 * area * (2 * sigma) ** 2)
    for distance, recall in ((0.999 * limit, 1.0), (1.001 * limit, 0.0)):
        missed = joints + np.array([distance, 0, 0])
        content = truth(person(1, 1, joints, area=area, bbox=[50, 50, 100, 100]))
        assert measured(content, results([person(1, 1, missed)], jitter=0))["AR75"] == recall


def test_another_skeleton():
    """Three joints with sigmas of their own; wider ones forgive more."""
    joints = np.array([[10, 10, 2], [60, 80, 1], [30, 90, 2]])
    content = truth(person(1, 1, joints, area=4000.0))
    found = results([person(1, 1, joints)], jitter=4)
    narrow, wide = (measured(content, found, sigmas=[sigma] * 3) for sigma in (0.02, 0.5))
    assert narrow["AP"] < 0.5 and wide["AP"] == pytest.approx(1.0)


def test_nobody_found():
    content = truth(person(1, 1, np.full((17, 3), 2.0) * np.arange(17)[:, None]))
    assert measured(content, [])["AP"] == 0


def test_bad_input(sample):
    with pytest.raises(ValueError, match="sigmas are of keypoints, not of bbox"):
        CocoMetric("bbox", ground_truth=sample, sigmas=[0.1] * 17)
    content = copy.deepcopy(sample)
    del content["annotations"][0]["num_keypoints"]
    with pytest.raises(ValueError, match="has no num_keypoints, which the keypoints metric compares"):
        CocoMetric("keypoints", ground_truth=content)
