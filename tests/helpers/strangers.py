# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""People who have what was saved, but not the package: code that runs in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch


def run_as_stranger(code: str, folder: Path, *arguments, without=(), **environment: str) -> Any:
    """
    What code wrote by `torch.save` into its last argument, a file in `folder`, where it runs with a cache of its own.

    Args:
        without: Names of the environment that it does not have, beside `PYTHONPATH`.
        environment: What it has of its own.
    """
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", *without)}
    command = [sys.executable, "-c", code, *arguments, folder / "outputs.pt"]
    done = subprocess.run(command, capture_output=True, text=True, env=kept | environment, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "outputs.pt")
