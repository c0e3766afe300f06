# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Versions, devices and threads that a report of a bug should name.

    ait env
"""

from .arguments import Arguments, Options, command_parser


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    return command_parser(__doc__, prog).parse_args(arguments)
