# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ait_hf.metrics.semantic import SemanticMetric, class_counts


NAMES = ["sky", "road", "car", "tree"]
LABELS = st.sampled_from([0, 1, 2, 255])  # never a tree


def metric() -> SemanticMetric:
    return SemanticMetric(NAMES, keep_in_memory=True)


def by_hand(predictions: list[np.ndarray], targets: list[np.ndarray]) -> dict[str, float]:
    """From the confusion matrix of all pixels together."""
    confusion = np.zeros((4, 4))
    for prediction, target in zip(predictions, targets):
        for true in range(4):
            for found in range(4):
                confusion[true, found] += ((target == true) & (prediction == found)).sum()
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    with np.errstate(invalid="ignore"):
        iou, accuracy = confusion.diagonal() / union, confusion.diagonal() / confusion.sum(1)
    return {
        "mIoU": np.nanmean(iou),
        "mAcc": np.nanmean(accuracy),
        "aAcc": confusion.trace() / confusion.sum(),
        **{f"IoU/{name}": value for name, value in zip(NAMES, iou) if not np.isnan(value)},
        **{f"acc/{name}": value for name, value in zip(NAMES, accuracy) if not np.isnan(value)},
        "num_images": len(predictions),
    }


@settings(max_examples=30, deadline=None)
@given(
    arrays.arrays(np.int64, (3, 4, 5), elements=st.integers(0, 3)),
    arrays.arrays(np.int64, (3, 4, 5), elements=LABELS).filter(lambda target: (target < 255).any()),
)
def test_values_are_those_of_the_confusion_matrix(predictions, targets):
    measured = metric()
    for prediction, target in zip(predictions, targets):
        measured.add_map(torch.tensor(prediction), torch.tensor(target))
    assert measured.compute() == pytest.approx(by_hand(predictions, targets))


def test_ignored_pixels_change_nothing():
    target = torch.randint(0, 3, (8, 9))
    prediction = torch.randint(0, 3, (8, 9))
    expected = metric()
    expected.add_map(prediction[:, :5], target[:, :5])
    target[:, 5:] = 255
    measured = metric()
    measured.add_map(prediction, target)
    assert measured.compute() == expected.compute()


def test_batches_add_up():
    """One big image, or the same pixels in parts and in any order."""
    prediction, target = torch.randint(0, 3, (2, 4, 6, 6))
    whole, parts = metric(), metric()
    whole.add_map(prediction.reshape(24, 6), target.reshape(24, 6))
    parts.add_counts([class_counts(p, t, 4).tolist() for p, t in list(zip(prediction, target))[::-1]])
    assert parts.compute() | {"num_images": 1} == whole.compute()


def test_perfect_and_hopeless():
    target = torch.tensor([[0, 1], [2, 255]])
    perfect, hopeless = metric(), metric()
    perfect.add_map(target.clamp(max=2), target)
    values = perfect.compute()
    assert values["mIoU"] == values["aAcc"] == values["mAcc"] == 1 and "IoU/tree" not in values
    hopeless.add_map(torch.full_like(target, 3), target)
    values = hopeless.compute()
    assert values["mIoU"] == values["aAcc"] == 0 and values["IoU/tree"] == 0 and "acc/tree" not in values


def test_bad_input():
    target = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match=r"must both be \(height, width\), got \(2, 2\) and \(2, 3\)"):
        class_counts(target[:, :2], target, 4)
    with pytest.raises(ValueError, match="prediction must hold classes 0 to 3, got 0 to 4"):
        class_counts(torch.tensor([[0, 4, 0], [0, 0, 0]]), target, 4)
    with pytest.raises(ValueError, match="target must hold classes 0 to 3, got -1 to 0"):
        class_counts(target, target - torch.eye(2, 3).long(), 4)
    empty = metric()
    empty.add_map(target, torch.full_like(target, 255))
    with pytest.raises(ValueError, match="None of the 1 images has a pixel that counts"):
        empty.compute()
