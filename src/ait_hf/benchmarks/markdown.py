# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Numbers of several seeds, and tables of them, as reports show them."""

import math
import statistics
from collections.abc import Sequence


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Cells as a table in Markdown; the second line is that of the dashes."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def spread(values: Sequence[float], form: str = "{:.3f}") -> str:
    """Mean, with the standard deviation of a sample where there are several; numbers below 1 without their 0."""
    numbers = [statistics.mean(values), *([statistics.stdev(values)] if len(values) > 1 else [])]
    texts = (form.format(number) for number in numbers if math.isfinite(number))
    return " ± ".join(text[1:] if text.startswith("0.") else text for text in texts)
