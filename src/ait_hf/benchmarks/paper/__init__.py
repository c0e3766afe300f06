# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The tables of the AiT paper on rendered rooms, several seeds each: what `ait benchmark paper` runs."""
