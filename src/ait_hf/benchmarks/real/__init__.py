# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""AiT beside other models on real data, trained alike: what `ait benchmark real` runs."""
