# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""COCO's average precision and recall of boxes, masks and keypoints, by the official pycocotools."""

import io
import json
import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import evaluate
import numpy as np
import torch
import torch.nn.functional as F
from datasets import Value
from pycocotools import mask as rle_codec
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..data.coco_files import clean_content
from ..data.json_values import read_json
from .per_image import metric_info


logger = logging.getLogger(__name__)

# In the order of COCOeval's statistics.
COCO_VALUES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
KEYPOINT_VALUES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
COCO_KINDS = ("bbox", "segm", "boundary", "keypoints")
# What COCOeval reads of an annotation beside its image, category and area.
_COMPARED = {"bbox": ("bbox",), "segm": ("segmentation",), "boundary": ("segmentation",)}
_COMPARED["keypoints"] = ("keypoints", "num_keypoints", "bbox")

BOUNDARY_RATIO = 0.02  # width of the boundary, of the image's diagonal

# A dictionary of the COCO format, or one object in the official results format.
CocoDictionary = dict[str, Any]


def read_coco(ground_truth: CocoDictionary | str | PathLike, *, with_masks: bool = False) -> CocoDictionary:
    """A COCO dictionary, given or in a JSON file, as [`~ait_hf.data.coco_files.clean_content`] makes it: without what
    training leaves out, which is logged; `with_masks` leaves out objects without a segmentation, too.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, has no `images`, `annotations` or `categories`, or as in
            [`~ait_hf.data.coco_files.clean_content`].
    """
    name, in_memory = "The ground truth", isinstance(ground_truth, dict)
    if not in_memory:
        name = str(ground_truth)
        if not Path(ground_truth).is_file():
            raise FileNotFoundError(f"{name} does not exist: give a file of COCO annotations.")
        ground_truth = read_json(Path(ground_truth))
    for section in ("images", "annotations", "categories"):
        if not isinstance(ground_truth, dict) or not isinstance(ground_truth.get(section), list):
            raise ValueError(f"{name} has no list {section!r}: it is no file of COCO annotations.")
    read = clean_content(ground_truth, name, with_masks=with_masks, in_memory=in_memory)
    for message in read.messages():
        logger.warning("%s", message)
    return read.content


class CocoMetric(evaluate.Metric):
    """Average precision (AP) and recall (AR) as COCO defines them.

    `APs`, `APm`, `APl` are those of small, medium and large objects, `AR1`, `AR10`, `AR100` those of so many
    detections per image; all are 0..1, and -1 (the official value) where there is no object to find. Keypoints have
    the values `AP`, `AP50`, `AP75`, `APm`, `APl` and `AR`, `AR50`, `AR75`, `ARm`, `ARl`, of 20 people per image. Only
    the images that were added count.

    Args:
        config_name: What is compared. `"bbox"`: boxes; `"segm"`: masks; `"boundary"`: masks, by the lesser of their
            IoU and the IoU of their boundaries (Cheng et al. 2021); `"keypoints"`: joints, by their similarity (OKS).
        ground_truth: A COCO dictionary, or the path of its JSON file.
        sigmas: Of keypoints other than COCO's 17 joints, how far annotations of each spread; see
            [`~ait_hf.data.skeletons.Skeleton`].
        category_ids: The order in which values of categories are averaged, by default that of their ids. (The last
            digit of a sum depends on it.)

    Raises:
        FileNotFoundError, ValueError: As [`read_coco`], or an object lacks what is to be compared.

    Example:

    ```python
    >>> from ait_hf.metrics import CocoMetric

    >>> truth = {
    ...     "images": [{"id": 1, "height": 40, "width": 50}],
    ...     "categories": [{"id": 7, "name": "cat"}],
    ...     "annotations": [{"image_id": 1, "category_id": 7, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}],
    ... }
    >>> metric = CocoMetric("bbox", ground_truth=truth)
    >>> metric.add_image(1, [{"image_id": 1, "category_id": 7, "bbox": [5, 5, 20, 15], "score": 0.9}])
    >>> round(metric.compute()["AP"], 2)
    0.6
    ```
    """

    def __init__(
        self,
        config_name: Literal["bbox", "segm", "boundary", "keypoints"] = "bbox",
        *,
        ground_truth: CocoDictionary | str | PathLike,
        sigmas: Sequence[float] | None = None,
        category_ids: Sequence[int] = (),
        **kwargs,
    ):
        if config_name not in COCO_KINDS:
            raise ValueError(f"COCO metrics compare {', '.join(COCO_KINDS)}, got {config_name!r}.")
        if sigmas is not None and config_name != "keypoints":
            raise ValueError(f"sigmas are of keypoints, not of {config_name}: leave them out.")
        self.sigmas, self.category_ids = sigmas, category_ids
        self.ground_truth = read_coco(ground_truth)
        # COCOeval takes id 0 for "no match", so the annotations are numbered anew; it also writes into them.
        annotations = [_truth(annotation, config_name) for annotation in self.ground_truth["annotations"]]
        self._truth = _index(self.ground_truth, annotations)
        super().__init__(config_name, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        description = "COCO's average precision and recall of boxes, masks or keypoints."
        found = "predictions: for every image its detections, a JSON list in COCO's results format; "
        inputs = f"{found}references: for every image its id."
        return metric_info(description, inputs, predictions=Value("string"), references=Value("int64"))

    def add_image(self, image_id: int, results: Sequence[CocoDictionary]) -> None:
        """Add one image, by its id in the ground truth, and what was found in it.

        Args:
            results: In the official results format: `image_id`, `category_id`, `score`, and `bbox` (x, y, width,
                height, pixels), `segmentation` (a compressed RLE) or `keypoints` (x, y and anything of every joint).
                May be empty.

        Raises:
            ValueError: The ground truth has no such image or category, or a result is of another image.
        """
        if image_id not in self._truth.imgs:
            raise ValueError(f"The ground truth has no image {image_id}.")
        for result in results:
            if result["image_id"] != image_id:
                raise ValueError(f"A result of image {result['image_id']} was added to image {image_id}.")
            if result["category_id"] not in self._truth.cats:
                raise ValueError(f"The ground truth has no category {result['category_id']}.")
        self.add(prediction=json.dumps(list(results)), reference=image_id)

    def _compute(self, predictions: Sequence[str], references: Sequence[int]) -> dict[str, float]:
        image_ids = [int(image_id) for image_id in references]
        if len(set(image_ids)) != len(image_ids):
            raise ValueError("An image was added more than once.")
        results = [result for image in predictions for result in json.loads(image)]
        found = _index(self.ground_truth, [_detection(result, self.config_name) for result in results])
        with redirect_stdout(io.StringIO()):
            is_boundary = self.config_name == "boundary"
            kind, compare = ("segm", BoundaryCOCOeval) if is_boundary else (self.config_name, COCOeval)
            evaluation = compare(self._truth, found, kind)
            evaluation.params.imgIds = image_ids
            if self.sigmas is not None:
                evaluation.params.kpt_oks_sigmas = np.array(self.sigmas)
            evaluation.evaluate()
            evaluation.accumulate()
            place = {category: number for number, category in enumerate(evaluation.params.catIds)}
            order = [*dict.fromkeys([*(place[category] for category in self.category_ids), *place.values()])]
            evaluation.eval["precision"] = evaluation.eval["precision"][:, :, order]
            evaluation.eval["recall"] = evaluation.eval["recall"][:, order]
            evaluation.summarize()
        names = KEYPOINT_VALUES if self.config_name == "keypoints" else COCO_VALUES
        return {name: float(value) for name, value in zip(names, evaluation.stats, strict=True)}


def _truth(annotation: CocoDictionary, kind: str) -> CocoDictionary:
    """An annotation as COCOeval needs it; some data sets leave out `iscrowd`."""
    needed = ("image_id", "category_id", "area", *_COMPARED[kind])
    missing = [name for name in needed if annotation.get(name) in (None, "", [])]
    if missing:
        raise ValueError(
            f"Annotation {annotation.get('id')} has no {' and no '.join(missing)}, which the {kind} metric compares."
        )
    return {"iscrowd": 0} | {name: annotation[name] for name in (*needed, "iscrowd") if name in annotation}


def _detection(result: CocoDictionary, kind: str) -> CocoDictionary:
    """A result with the area of what is compared: boxes and masks of one object differ in size class."""
    kept = {name: result[name] for name in ("image_id", "category_id", "score")} | {"iscrowd": 0}
    if kind == "bbox":
        return kept | {"bbox": result["bbox"], "area": result["bbox"][2] * result["bbox"][3]}
    if kind == "keypoints":
        x, y = result["keypoints"][0::3], result["keypoints"][1::3]
        return kept | {"keypoints": result["keypoints"], "area": (max(x) - min(x)) * (max(y) - min(y))}
    segmentation = result["segmentation"]
    return kept | {"segmentation": segmentation, "area": float(rle_codec.area(segmentation))}


def _index(ground_truth: CocoDictionary, annotations: list[CocoDictionary]) -> COCO:
    """pycocotools' index of these annotations on the ground truth's images (its `loadRes` fails on an empty list)."""
    coco = COCO()
    coco.dataset = {name: ground_truth[name] for name in ("images", "categories")}
    coco.dataset["annotations"] = [annotation | {"id": number} for number, annotation in enumerate(annotations, 1)]
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def mask_boundary(mask: np.ndarray, ratio: float = BOUNDARY_RATIO) -> np.ndarray:
    """The inner boundary of a mask, both uint8 `(H, W)`, 0 or 1: its pixels that are near a pixel outside. Beyond the
    image all is outside. `ratio` is the width of the boundary as a share of the image's diagonal, rounded to pixels,
    at least one; distance is the greater of the horizontal and the vertical one."""
    width = max(1, round(ratio * float(np.hypot(*mask.shape))))
    boundary = np.zeros_like(mask)
    if not mask.any():
        return boundary
    # Around the mask there is nothing to erode, so the part of the image that it covers is enough.
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    covered = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    outside = F.pad(1 - torch.from_numpy(mask[covered]).float(), [width] * 4, value=1)[None]
    side = 2 * width + 1
    near_outside = F.max_pool2d(F.max_pool2d(outside, (side, 1), stride=1), (1, side), stride=1)
    boundary[covered] = mask[covered] * near_outside[0].numpy().astype(mask.dtype)
    return boundary


class BoundaryCOCOeval(COCOeval):
    """COCO's evaluation of masks by the lesser of mask IoU and boundary IoU (Cheng et al. 2021), which sees what mask
    IoU of a large object hides: how good its outline is. Crowds have no outline to compare."""

    def _prepare(self) -> None:
        super()._prepare()
        self._whole = self._gts, self._dts
        self._boundaries = tuple(
            {key: [_with_boundary(annotation) for annotation in group] for key, group in annotations.items()}
            for annotations in self._whole
        )

    def computeIoU(self, imgId: int, catId: int) -> np.ndarray | list:
        ious = super().computeIoU(imgId, catId)
        if len(ious) == 0:
            return ious
        self._gts, self._dts = self._boundaries
        boundary_ious = super().computeIoU(imgId, catId)
        self._gts, self._dts = self._whole
        crowd = [bool(truth["iscrowd"]) for truth in self._gts[imgId, catId]]
        return np.where(crowd, ious, np.minimum(ious, boundary_ious))


def _with_boundary(annotation: dict[str, Any]) -> dict[str, Any]:
    boundary = mask_boundary(rle_codec.decode(annotation["segmentation"]))
    return annotation | {"segmentation": rle_codec.encode(np.asfortranarray(boundary))}
