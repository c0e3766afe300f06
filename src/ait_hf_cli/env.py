# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Versions, devices and threads that a report of a bug should name.

    ait env
"""

import argparse
from collections.abc import Sequence

from .arguments import command_parser


def parse_arguments(arguments: Sequence[str] | None, prog: str | None) -> argparse.Namespace:
    return command_parser(__doc__, prog).parse_args(arguments)
