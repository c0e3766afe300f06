# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""docs/export.md, from its first command to its last; and that what it says needs no torch needs none."""

import shutil
import subprocess
import sys

import pytest
import torch
from repository import REPOSITORY
from snippets import read_snippets, run

from ait_hf import VQTokenizer, load_depth_png


pytestmark = pytest.mark.export


BLOCKED = ("torch", "transformers", "ait_hf")


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(REPOSITORY / "docs/assets/room.png", tmp_path)
    torch.manual_seed(0)
    tiny = {"base_channels": 2, "num_res_blocks": 1, "num_vq_embeddings": 20, "vq_embed_dim": 12, "sample_size": 96}
    VQTokenizer(**tiny).save_pretrained(tmp_path / "my-tokenizer")
    printed = []
    for snippet in (snippet for snippet in read_snippets("docs/export.md") if snippet.runs):
        for command in snippet.commands() if snippet.kind == "bash" else ():
            run(command)
        if snippet.kind == "python" and "import torch" in snippet.code:
            snippet.run_python()
        elif snippet.kind == "python":
            blocked = f"import sys\nsys.modules |= dict.fromkeys({BLOCKED})\n"
            done = subprocess.run([sys.executable, "-c", blocked + snippet.code], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            printed.append(done.stdout)
    depth = load_depth_png(tmp_path / "predictions/room_depth.png")
    shape, nearest, farthest = printed[0].rsplit(maxsplit=2)
    assert shape == "(1, 64, 64)"
    # Pillow shrinks a picture nearly as the image processor does.
    assert float(nearest) == pytest.approx(depth.min(), abs=0.2) and float(farthest) == pytest.approx(
        depth.max(), abs=0.4
    )
    assert printed[1] == "(1, 3, 3) (1, 1, 96, 96)\n"
    assert "torch.Size([3, 64, 64])" in capsys.readouterr().out
