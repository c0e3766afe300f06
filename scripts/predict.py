# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a saved model sees in photographs: the same as `ait predict`, see --help."""

from ait_hf_cli import script


main = script("predict", "predict.py")

if __name__ == "__main__":
    main()
