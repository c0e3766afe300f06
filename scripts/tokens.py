# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Maps and masks as text for vision-language models, and their answers back: the same as `ait tokens`, see --help."""

from ait_hf_cli import script


main = script("tokens", "tokens.py")

if __name__ == "__main__":
    main()
