# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Tables of numbers, as the demos print them."""

from typing import Any


Row = dict[str, Any]  # a line of a table: its `name` and the columns, `None` where there is nothing to say


def print_table(title: str, rows: list[Row], columns: dict[str, tuple[str, int]]) -> None:
    """
    Args:
        title: Above the names of the rows.
        columns: Of every column its key in the rows, its head, and how many digits follow the point.
    """
    print(f"\n{title:38}" + "".join(f"{head:>11}" for head, _ in columns.values()))
    for row in rows:
        cells = ("" if row[key] is None else f"{row[key]:.{digits}f}" for key, (_, digits) in columns.items())
        print(f"{row['name']:38}" + "".join(f"{cell:>11}" for cell in cells))
