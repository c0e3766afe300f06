# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A metric that averages per-image values: the shape of every metric on dense maps here."""

from collections.abc import Mapping, Sequence

import evaluate
import numpy as np
import torch
from datasets import Features, List, Value


def comparable(
    prediction: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray, layout: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as tensors; `ValueError` unless they have one shape and the dimensions `layout`, such as `"height, width"`."""
    prediction, target = torch.as_tensor(prediction), torch.as_tensor(target)
    if prediction.shape != target.shape or target.ndim != len(layout.split(", ")):
        raise ValueError(
            f"Prediction and target must both be ({layout}), got {tuple(prediction.shape)} and {tuple(target.shape)}."
        )
    return prediction, target


def metric_info(description: str, inputs: str, **features) -> evaluate.MetricInfo:
    described = {"description": description, "inputs_description": inputs, "citation": ""}
    return evaluate.MetricInfo(features=Features(features), **described)


class PerImageMetric(evaluate.Metric):
    """Plain mean over images of named per-image values; one row of `columns` per image.

    Dense maps are reduced to one row per image on the accelerator; only the rows are gathered, and only the main
    process holds a metric (`evaluate`'s own multi-process mode would count the samples that pad the last batch):

    ```python
    errors = accelerator.gather_for_metrics(depth_errors(prediction, target))
    if accelerator.is_main_process:
        metric.add_errors(errors)
    ```

    The last column is `num_valid`, the number of pixels an image's values were computed on. Images without any are
    left out of the mean and counted in `num_excluded`.
    """

    columns: tuple[str, ...]
    description: str

    def _info(self) -> evaluate.MetricInfo:
        inputs = f"predictions: one row per image, its columns being {', '.join(self.columns)}."
        return metric_info(self.description, inputs, **self._input_features())

    def _input_features(self) -> dict[str, List]:
        return {"predictions": List(Value("float64"), length=len(self.columns))}

    def rows(self, errors: Mapping[str, torch.Tensor]) -> np.ndarray:
        """Values `{column: (n,)}` as the float64 matrix `(n, columns)` for `add_batch`; `ValueError` if one lacks."""
        if missing := [name for name in self.columns if name not in errors]:
            raise ValueError(f"The per-image values lack {', '.join(missing)}; {self.name} needs all its columns.")
        return np.stack([torch.as_tensor(errors[name]).detach().cpu().double().numpy() for name in self.columns], -1)

    def add_errors(self, errors: Mapping[str, torch.Tensor]) -> None:
        """Add the per-image values `{column: (n,)}` of n images."""
        self.add_batch(predictions=self.rows(errors))

    def mean_errors(self, rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """The values of these rows, one of an image each, which may hold more than the columns."""
        self.add_errors({name: torch.tensor([row[name] for row in rows]) for name in self.columns})
        return self.compute()

    def _compute(self, predictions) -> dict[str, float]:
        rows = np.asarray(predictions, dtype=np.float64)
        used = rows[:, self.columns.index("num_valid")] > 0
        if not used.any():
            raise ValueError(
                f"None of the {len(rows)} images has a valid pixel; check the unit and range of the maps."
            )
        means = {name: float(values.mean()) for name, values in zip(self.columns, rows[used].T) if name != "num_valid"}
        return means | {"num_images": int(used.sum()), "num_excluded": int((~used).sum())}
