# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How fast the model is: what `ait benchmark` runs."""
