# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading golden cases and comparing with them."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file


def load_case(golden_dir: Path, name: str) -> tuple[dict, dict[str, torch.Tensor]]:
    """`case.json` and the tensors of a case."""
    folder = golden_dir / name
    return json.loads((folder / "case.json").read_text()), load_file(folder / "io.safetensors")


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Greatest absolute difference, relative to the greatest expected magnitude."""
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} is not {tuple(expected.shape)}"
    return ((actual - expected).abs().max() / expected.abs().max()).item()
