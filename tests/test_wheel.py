# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What is installed from a wheel can do what a clone can."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/ait_hf"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(PACKAGE, folder / "src/ait_hf", ignore=shutil.ignore_patterns("__pycache__"))
    build = "import setuptools.build_meta as backend; backend.build_wheel('dist')"
    done = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (folder / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    files = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    files = {file for file in files if "__pycache__" not in file}
    assert "ait_hf/hub/card_template.md" in files
    assert files <= set(wheel.namelist())


def test_no_module_reads_files_beside_the_package():
    modules = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert [str(path) for path, text in modules.items() if "__file__" in text] == []


def test_a_card_is_rendered_from_the_wheels_template(wheel, tmp_path, monkeypatch):
    from saved_model import save_tiny_model

    from ait_hf.hub.card import render_card

    template = zipfile.Path(wheel, "ait_hf/hub/card_template.md")
    monkeypatch.setattr("ait_hf.hub.card.TEMPLATE", template)
    assert "# ait-tiny" in str(render_card(save_tiny_model(tmp_path / "model"), "user/ait-tiny"))
