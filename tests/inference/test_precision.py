# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Inference in half precision against the released model's numbers in float32."""

import pytest
import torch
from golden_data import load_case

from ait_hf.conversion.original import convert_original_checkpoint
from ait_hf.tasks.depth.prediction import predict_depth


# Mean absolute difference in units of the standard deviation of the map. Measured on these random weights: bfloat16 0.106
# (autoregressive) and 0.078 (parallel), float16 0.018 and 0.016; the bounds leave room for other processors, so that
# they find what breaks, not how good it is.
BOUNDS = {torch.bfloat16: 0.15, torch.float16: 0.03}


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("name", ["08_e2e_depth_ar", "08_e2e_depth_parallel"])
def test_depth_in_half_precision(golden_dir, name, dtype):
    case, tensors = load_case(golden_dir, name)
    model, processors = convert_original_checkpoint(golden_dir / name / "checkpoint.pth", case["config"])
    expected = tensors["depth_full"][0]
    for part in (model.model, model.lm_head):  # as `from_pretrained(..., dtype=...)`: tokenizers stay in float32
        part.to(dtype)
    (prediction,) = predict_depth(model, processors["depth"], list(tensors["image"]), tta=True)
    error = ((prediction["predicted_depth"].float() - expected).abs().mean() / expected.std()).item()
    assert error < BOUNDS[dtype]
