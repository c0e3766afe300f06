# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Boundary IoU (Cheng et al. 2021), which sees what mask IoU of a large object hides: how good its outline is."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as rle_codec
from pycocotools.cocoeval import COCOeval


BOUNDARY_RATIO = 0.02  # width of the boundary, of the image's diagonal


def mask_boundary(mask: np.ndarray, ratio: float = BOUNDARY_RATIO) -> np.ndarray:
    """
    The inner boundary of a mask: its pixels that are near a pixel outside. Beyond the image all is outside.

    Args:
        mask: uint8 `(H, W)`, 0 or 1.
        ratio: Width of the boundary as a share of the image's diagonal, rounded to pixels, at least one. Distance is
            the greater of the horizontal and the vertical one.

    Returns:
        uint8 `(H, W)`, 0 or 1.
    """
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
    """COCO's evaluation of masks by the lesser of mask IoU and boundary IoU; crowds have no outline to compare."""

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
