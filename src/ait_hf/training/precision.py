# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Precision of float32 arithmetic on GPUs."""

import torch


def set_tf32(enabled: bool) -> None:
    """
    For the whole process: whether matrix products and convolutions of float32 tensors may round what they multiply to
    TF32 (8 bits of exponent, 10 of mantissa; sums stay float32), several times as fast on NVIDIA's GPUs from Ampere on.
    Nothing changes elsewhere.
    """
    # By torch's older switches: once the newer ones (`fp32_precision`) are set, reading the older ones fails, which
    # torch's own compiler does.
    torch.backends.cuda.matmul.allow_tf32 = enabled
    torch.backends.cudnn.allow_tf32 = enabled
