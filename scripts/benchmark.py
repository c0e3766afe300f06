# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How long the parts of the model take, and how much memory: the same as `ait benchmark`, see --help."""

from ait_hf_cli import script


main = script("benchmark", "benchmark.py")

if __name__ == "__main__":
    main()
