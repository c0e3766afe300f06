# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Where commands work that are not told."""

import torch


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
