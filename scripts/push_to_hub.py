# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A trained or converted model, or a tokenizer, on the Hugging Face Hub: the same as `ait push`, see --help."""

from ait_hf_cli import script


main = script("push", "push_to_hub.py")

if __name__ == "__main__":
    main()
