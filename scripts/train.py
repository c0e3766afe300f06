# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A training from a recipe, of a task-solver or of a tokenizer: the same as `ait train`, see --help."""

from ait_hf_cli import script


main = script("train", "train.py")

if __name__ == "__main__":
    main()
