# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a report of a bug should name: `ait env`."""

import argparse
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

import torch


DISTRIBUTION = "ait-hf"


def run(options: argparse.Namespace) -> None:
    """Of Python, of this package and of all that it declares as its dependencies, extras included; and of devices."""
    declared = {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requires(DISTRIBUTION)}
    found = {"platform": platform.platform(), "python": platform.python_version()}
    for name in [DISTRIBUTION, *sorted(declared - {DISTRIBUTION})]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    found["cpu"] = f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    found["cuda"] = f"{torch.version.cuda or 'not in this torch'}, {torch.cuda.device_count()} devices"
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        found[f"cuda:{number}"] = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
    found["mps"] = "available" if torch.backends.mps.is_available() else "not available"
    width = max(map(len, found)) + 2
    for name, value in found.items():
        print(f"{name + ':':{width}} {value}")
