# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A released AiT checkpoint, or a tokenizer alone, as a folder that `AutoModel` loads: the same as `ait convert`, see --help."""

from ait_hf_cli import script


main = script("convert", "convert_original_checkpoint.py")

if __name__ == "__main__":
    main()
