# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A published or own model, trained on one's own images: the same as `ait finetune`, see --help."""

from ait_hf_cli import script


main = script("finetune", "finetune.py")

if __name__ == "__main__":
    main()
