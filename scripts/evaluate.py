# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs `ait_hf.commands.evaluate`; see there, or pass --help."""

import importlib
import os
import sys


if __name__ == "__main__":
    from ait_hf.commands.evaluate import main

    main()
else:
    # A script of this folder wants the library `evaluate`, but Python searches the script's folder first and found
    # this file. It makes way; an import returns what it leaves in `sys.modules`.
    sys.path.remove(os.path.dirname(__file__))
    del sys.modules[__name__]
    importlib.import_module(__name__)
