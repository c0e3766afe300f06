# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Where things lie in the repository, and its list of dependencies."""

import tomllib
from pathlib import Path


REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY / "scripts"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
