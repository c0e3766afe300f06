# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data for training and evaluation; nothing that a published checkpoint needs to run."""
