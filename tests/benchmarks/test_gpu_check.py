# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""scripts/gpu_check.py without a GPU: every part runs on small models, and says what it is to say."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from repository import SCRIPTS

from ait_hf.benchmarks.gpu_check import PARTS, AttentionBackends
from ait_hf.benchmarks.models import ALL_TASKS


SCRIPT = SCRIPTS / "gpu_check.py"
TINY = ["--device", "cpu", "--tiny", "--minutes", "30"]


def run(folder: Path, *arguments: str) -> dict[str, dict]:
    """Contents of the files by the name of their part."""
    runpy.run_path(str(SCRIPT))["main"]([*TINY, "--output", str(folder), *arguments])
    return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}


def test_a_part_alone_writes_its_file(tmp_path):
    (content,) = run(tmp_path, "--only", "waits").values()
    assert content["results"] == {task: {"waits": False} for task in ALL_TASKS}
    assert content["machine"]["torch"] == torch.__version__ and content["seconds"] > 0


def test_what_has_not_begun_in_time_is_left_out(tmp_path):
    contents = run(tmp_path, "--minutes", "1e-9")
    assert contents.keys() == PARTS.keys()
    assert all("not measured" in str(content["results"]) for content in contents.values())


def test_a_part_that_fails_says_so_and_the_others_go_on(tmp_path, monkeypatch):
    def broken(settings, report):
        report("before", 1)
        raise RuntimeError("broken")

    monkeypatch.setitem(PARTS, "waits", broken)
    monkeypatch.setitem(PARTS, "attention", lambda settings, report: report("after", 2))
    with pytest.raises(SystemExit, match="1"):
        run(tmp_path, "--only", "waits", "attention")
    waits, attention = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("waits", "attention"))
    assert waits["results"] == {"before": 1} and "broken" in waits["error"]
    assert attention["results"] == {"after": 2} and "error" not in attention


def test_attention_is_found_in_the_module_that_attends():
    layer = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with AttentionBackends(torch.nn.ModuleDict({"one": layer})) as backends:
        states = torch.rand(1, 3, 8, requires_grad=True)
        layer(states, states, states, need_weights=False)
    assert list(backends.found) == ["one"] and sum(backends.found["one"].values()) == 1


@pytest.mark.slow
def test_every_part_runs(tmp_path):
    found = {name: content["results"] for name, content in run(tmp_path).items()}
    assert found.keys() == PARTS.keys()
    assert all(values["bit_exact"] for values in found["resume"].values())
    assert found["sharding"]["DDP"]["losses"] == pytest.approx(found["sharding"]["plain"]["losses"], rel=1e-5)
    assert found["sharding"]["FSDP2"]["losses"] == pytest.approx(found["sharding"]["plain"]["losses"], rel=1e-2)
    assert all(
        0 < values["share_of_peak"] < 1 for key, values in found["training"].items() if key != "matrix_peak_gflops"
    )
    assert found["decoding"]["agreement"]["same_codes"] > 0.9
    assert all(0 < values["error_in_standard_deviations"] < 10 for values in found["inference"].values())
