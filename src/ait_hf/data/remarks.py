# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What is to be said about data that can be used, but may not be what was meant: once in a process, also where the table
that it was found for comes from the cache."""

import logging
from functools import cache

import datasets


logger = logging.getLogger(__name__)


def log_remarks(builder: datasets.DatasetBuilder) -> None:
    """Warns of what the builder noted in its description, which is kept with its table: one remark per line."""
    for remark in builder.info.description.splitlines():
        warn_once(remark)


@cache
def warn_once(message: str) -> None:
    """A warning that a process gives once, however often data are loaded; none if there is no message."""
    if message:
        logger.warning("%s", message)
