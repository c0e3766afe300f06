# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Small models of rendered rooms, trained and evaluated: the same as `ait demo`, see --help."""

from ait_hf_cli import script


main = script("demo", "demo.py")

if __name__ == "__main__":
    main()
