# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by every test: where the real samples and the golden data are, and a fresh Accelerate."""

import os
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState


os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _folder_from_environment(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        reason = f"{variable} is not set; point it to the folder that holds the test data."
        if os.environ.get("AIT_REQUIRE_DATA") == "1":  # as .ci/run asks, where a skipped test would go unnoticed
            pytest.fail(reason)
        pytest.skip(reason)
    folder = Path(value).resolve()
    assert folder.is_dir(), f"{variable}={value} is not a folder"
    return folder


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder with inputs, weights and outputs of the released model at tiny sizes."""
    return _folder_from_environment("AIT_TEST_GOLDEN")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with the small real samples (RGB-D, COCO, ADE20K, CamVid)."""
    return _folder_from_environment("AIT_TEST_DATA")


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Accelerate allows a process one precision; every test is its own."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
