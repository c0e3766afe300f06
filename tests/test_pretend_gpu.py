# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The pretend GPU itself: what it refuses, what it counts, and that it computes what the CPU does."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path


HELPERS = Path(__file__).parent / "helpers"


def run(code: str) -> None:
    """In a process of its own, as the device cannot be unregistered."""
    code = "import torch\nimport pretend_gpu\n" + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(HELPERS)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_it_computes_refuses_and_counts():
    run("""
        from pretend_gpu import COPY, INDEX, READ, SIZE

        gpu = pretend_gpu.install()
        host = torch.arange(6.0).view(2, 3)
        with gpu.recording() as waits:
            there = host.to(gpu.device, non_blocking=True).requires_grad_()
            torch.nn.functional.layer_norm(there @ there.mT, (2,)).square().sum().backward()
            assert not waits, waits
        here = host.clone().requires_grad_()
        torch.nn.functional.layer_norm(here @ here.mT, (2,)).square().sum().backward()
        torch.testing.assert_close(there.grad.cpu(), here.grad, rtol=0, atol=0)

        try:
            there + host
        except RuntimeError as error:
            assert "two devices" in str(error), error
        else:
            raise AssertionError("a mix of devices passed")

        there = there.detach()
        cases = {
            READ: [lambda: there.sum().item(), lambda: there.cpu(), lambda: there.tolist(), lambda: bool(there.any())],
            COPY: [lambda: host.to(gpu.device), lambda: torch.tensor(1.0, device=gpu.device), lambda: there[:, [0, 2]]],
            SIZE: [lambda: there[there > 2], lambda: there.nonzero(), lambda: (there > 2).long().unique()],
            INDEX: [lambda: there[torch.tensor([1])]],
        }
        for kind, actions in cases.items():
            for number, action in enumerate(actions):
                with gpu.recording() as waits:
                    action()
                assert kind in {key[0] for key in waits}, (kind, number, waits)
        with gpu.recording() as waits:  # none of these makes a host wait
            there[:, 0] = 5.0
            there[torch.tensor([1, 0], device="cpu").to(gpu.device, non_blocking=True)]
            torch.where(there > 2, there, 0.0).sum()
            host.to(gpu.device, non_blocking=True)
            torch.zeros(3, device=gpu.device)
        assert not waits, waits
    """)


def test_it_may_be_without_64_bit_floats():
    run("""
        gpu = pretend_gpu.install(refuses_float64=True)
        torch.ones(2, dtype=torch.int64).to(gpu.device)
        for make in (
            lambda: torch.ones(2, dtype=torch.float64).to(gpu.device),
            lambda: torch.ones(2, device=gpu.device).double(),
            lambda: torch.zeros(2, dtype=torch.float64, device=gpu.device),
        ):
            try:
                make()
            except TypeError as error:
                assert "float64" in str(error), error
            else:
                raise AssertionError("64-bit floats passed")
    """)
