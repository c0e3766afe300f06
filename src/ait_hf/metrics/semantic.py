# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Metrics of semantic segmentation: pixels are counted per image and class, and the sums are compared."""

from collections.abc import Sequence

import evaluate
import numpy as np
import torch
from datasets import List, Value

from ..model.tokenization_vq import IGNORED_LABEL
from .per_image import comparable, metric_info


SEMANTIC_VALUES = ("mIoU", "aAcc", "mAcc")


def class_counts(prediction: torch.Tensor, target: torch.Tensor, num_classes: int) -> torch.LongTensor:
    """What [`SemanticMetric`] needs to know of one image: int64 `(3, num_classes)`, the pixels of each class that are
    right, that are predicted, and that are true.

    Args:
        prediction, target: Class of every pixel and the true one, integers `(H, W)` in 0..num_classes-1; pixels whose
            target is 255 do not count.

    Raises:
        ValueError: If the shapes differ or a pixel that counts has no such class.
    """
    prediction, target = comparable(prediction, target, "height, width")
    counted = target != IGNORED_LABEL
    prediction, target = prediction[counted].long(), target[counted].long()
    for name, values in {"prediction": prediction, "target": target}.items():
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < num_classes:
            raise ValueError(
                f"The {name} must hold classes 0 to {num_classes - 1}, got {int(values.min())} to {int(values.max())}."
            )
    right = target[prediction == target]
    return torch.stack([torch.bincount(values, minlength=num_classes) for values in (right, prediction, target)])


class SemanticMetric(evaluate.Metric):
    """Intersection over union (IoU) and accuracy of the classes of pixels, over all images together.

    `mIoU` is the mean IoU of the classes, `mAcc` the mean share of their true pixels that are found, `aAcc` the share of
    all pixels that are right; `IoU/NAME` and `acc/NAME` are those of one class, all 0..1. A class counts for `mIoU` if
    it is true or predicted anywhere, for `mAcc` if it is true anywhere; other classes have no value of their own.

    Feed it from the main process, see [`~ait_hf.metrics.per_image.PerImageMetric`].

    Args:
        class_names: Names of the classes, in the order of their numbers.

    Example:

    ```python
    >>> import torch
    >>> from ait_hf.metrics import SemanticMetric

    >>> metric = SemanticMetric(["sky", "road"])
    >>> metric.add_map(prediction=torch.tensor([[0, 0], [0, 1]]), target=torch.tensor([[0, 255], [1, 1]]))
    >>> metric.compute()["mIoU"]
    0.5
    ```
    """

    def __init__(self, class_names: Sequence[str], **kwargs):
        self.class_names = list(class_names)
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MetricInfo:
        counts = List(List(Value("int64"), length=len(self.class_names)), length=3)
        description = "Mean intersection over union and accuracies of semantic segmentation."
        inputs = "predictions: for every image its right, predicted and true pixels of each class."
        return metric_info(description, inputs, predictions=counts)

    def add_counts(self, counts: Sequence[Sequence[Sequence[int]]]) -> None:
        """Add images by their counts `(images, 3, classes)`, see [`class_counts`]."""
        self.add_batch(predictions=counts)

    def add_map(self, prediction: torch.Tensor, target: torch.Tensor) -> None:
        """Add one image by its label maps; arguments and errors as [`class_counts`]."""
        self.add_counts([class_counts(prediction, target, len(self.class_names)).tolist()])

    def _compute(self, predictions: Sequence[Sequence[Sequence[int]]]) -> dict[str, float]:
        right, predicted, true = np.asarray(predictions, dtype=np.int64).sum(0)
        if not true.any():
            raise ValueError(f"None of the {len(predictions)} images has a pixel that counts.")
        union = predicted + true - right
        iou = {name: float(r / u) for name, r, u in zip(self.class_names, right, union) if u}
        accuracy = {name: float(r / t) for name, r, t in zip(self.class_names, right, true) if t}
        return {
            "mIoU": sum(iou.values()) / len(iou),
            "aAcc": float(right.sum() / true.sum()),
            "mAcc": sum(accuracy.values()) / len(accuracy),
            **{f"IoU/{name}": value for name, value in iou.items()},
            **{f"acc/{name}": value for name, value in accuracy.items()},
            "num_images": len(predictions),
        }
