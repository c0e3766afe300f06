# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How much memory a recipe takes on each GPU, and how many days: the same as `ait plan`, see --help."""

from ait_hf_cli import script


main = script("plan", "plan.py")

if __name__ == "__main__":
    main()
