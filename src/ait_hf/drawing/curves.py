# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The course of training runs as pictures."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from .colors import DOTS_PER_INCH, figure_picture


def training_curves(histories: dict[str, Sequence[dict[str, float]]]) -> Image.Image:
    """Draw the course of one or several training runs as an RGB picture: one panel per quantity, one colour per run.

    Raw values are faint and a running mean over 5 % of them is strong. A panel is logarithmic where all its values
    are positive and the largest is more than ten times the smallest.

    Args:
        histories: for every run's name, its records: dictionaries with `step` and any other numbers (`loss`, ...). A
            record need not have every quantity.

    Raises:
        ValueError: if there is nothing to draw, a record has no step, or a value is not finite.
    """
    curves = _gather_curves(histories)
    if not curves:
        raise ValueError("There is nothing to draw: histories needs a record with a step and another number.")
    num_columns = min(len(curves), 3)
    num_rows = math.ceil(len(curves) / num_columns)
    figure = Figure((5 * num_columns, 3.2 * num_rows), DOTS_PER_INCH, layout="constrained")
    colors = {run: f"C{number}" for number, run in enumerate(histories)}
    for number, (quantity, runs) in enumerate(curves.items()):
        axes = figure.add_subplot(num_rows, num_columns, number + 1)
        for run, points in runs.items():
            steps, values = np.array(points, dtype=float).T
            reach = np.ones(len(values) // 40 * 2 + 1)  # 5 % of the values, fewer near the ends
            smooth = np.convolve(values, reach, "same") / np.convolve(np.ones(len(values)), reach, "same")
            axes.plot(steps, values, color=colors[run], alpha=0.25, linewidth=0.8)
            axes.plot(steps, smooth, color=colors[run], linewidth=1.5, label=run, marker="o" * (len(steps) < 3))
        everything = np.array([value for points in runs.values() for _, value in points])
        if everything.min() > 0 and everything.max() > 10 * everything.min():
            axes.set_yscale("log")
        axes.set_title(quantity, fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure_picture(figure)


def _gather_curves(
    histories: dict[str, Sequence[dict[str, float]]],
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """{quantity: {run: [(step, value), ...]}}, in order of appearance."""
    curves = {}
    for run, records in histories.items():
        for number, record in enumerate(records):
            if "step" not in record:
                raise ValueError(f"Record {number} of {run!r} has no step.")
            for quantity, value in record.items():
                if not math.isfinite(value):
                    raise ValueError(f"{quantity} of {run!r} is {value} at step {record['step']}.")
                if quantity != "step":
                    curves.setdefault(quantity, {}).setdefault(run, []).append((record["step"], value))
    return curves
