# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The app as a Space of the Hub, which says by environment variables where it is to listen."""

from ait_hf_cli import main


main(["app"])
