# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What is installed from a wheel can do what a clone can."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest
from repository import REPOSITORY


PACKAGE = REPOSITORY / "src/ait_hf"
PACKAGES = (PACKAGE, REPOSITORY / "src/ait_hf_cli")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    for package in PACKAGES:
        shutil.copytree(package, folder / "src" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import setuptools.build_meta as backend; backend.build_wheel('dist')"
    done = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (folder / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_every_file_of_both_packages_is_in_the_wheel(wheel):
    paths = [path for package in PACKAGES for path in package.rglob("*") if path.is_file()]
    files = {path.relative_to(PACKAGE.parent).as_posix() for path in paths if "__pycache__" not in path.parts}
    assert {"ait_hf/hub/card_template.md", "ait_hf/recipes/library/demo/demo_ait.yaml"} <= files
    assert "ait_hf_cli/predict.py" in files
    assert files <= set(wheel.namelist())


def test_the_wheel_brings_the_console_command(wheel):
    (entry_points,) = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    assert wheel.read(entry_points).decode().split() == ["[console_scripts]", "ait", "=", "ait_hf_cli:main"]


@pytest.mark.slow
def test_the_installed_wheel_answers_and_predicts_without_the_clone(wheel, tmp_path):
    """Installed beside the libraries of this environment, whose own copy of the package is not seen."""
    from saved_model import picture, save_tiny_model

    save_tiny_model(tmp_path / "model")
    picture(60, 90).save(tmp_path / "photo.png")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel.filename]
    subprocess.run(install, check=True)
    # A path that a .pth file names is searched, but .pth files in it, such as that of the clone, are not read.
    (site / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    ait = tmp_path / "venv/bin/ait"
    where = [python, "-c", "import ait_hf, ait_hf_cli; print(ait_hf.__file__, ait_hf_cli.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert found.count(str(site)) == 2
    predict = [ait, "predict", "--model", "model", "--task", "depth", "--output", "out", "photo.png"]
    subprocess.run(predict, cwd=tmp_path, check=True)
    assert (tmp_path / "out/photo_depth.png").is_file()


def test_no_module_reads_files_beside_the_package():
    modules = {path: path.read_text(encoding="utf-8") for package in PACKAGES for path in package.rglob("*.py")}
    assert [str(path) for path, text in modules.items() if "__file__" in text] == []


def test_a_card_is_rendered_from_the_wheels_template(wheel, tmp_path, monkeypatch):
    from saved_model import save_tiny_model

    from ait_hf.hub.card import render_card

    template = zipfile.Path(wheel, "ait_hf/hub/card_template.md")
    monkeypatch.setattr("ait_hf.hub.card.TEMPLATE", template)
    assert "# ait-tiny" in str(render_card(save_tiny_model(tmp_path / "model"), "user/ait-tiny"))
