# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What is installed from a wheel can do what a clone can."""

import json
import math
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from hub_server import serve_hub
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from repository import PROJECT, REPOSITORY
from saved_model import picture, save_tiny_model

from ait_hf.hub.card import render_card


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


def link_requirements(requirement: str, wheel: Distribution, site: Path) -> None:
    """Gives an environment what a requirement of the wheel asks for, by links to this environment's packages."""
    seen, waiting = set(), [requirement]
    while waiting:
        if (line := waiting.pop()) in seen:
            continue
        seen.add(line)
        asked = Requirement(line)
        is_wheel = canonicalize_name(asked.name) == "ait-hf"
        found = wheel if is_wheel else distribution(asked.name)
        needed = {line: Requirement(line).marker for line in found.requires or ()}
        extras = asked.extras or {""}
        waiting += [
            line
            for line, marker in needed.items()
            if marker is None or any(marker.evaluate({"extra": e}) for e in extras)
        ]
        for name in set() if is_wheel else {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(found.locate_file(name))


@pytest.mark.slow
def test_the_installed_wheel_does_the_main_job_without_the_clone(wheel, tmp_path):
    """In an environment that has nothing but the wheel and what its extra `demo` requires."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    bin, (site,) = tmp_path / "venv/bin", (tmp_path / "venv/lib").glob("python*/site-packages")
    install = [bin / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel.filename]
    subprocess.run(install, check=True)
    (metadata,) = site.glob("ait_hf-*.dist-info")
    link_requirements("ait-hf[demo]", Distribution.at(metadata), site)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_", "AIT_"))}
    environment = kept | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}

    def run(*command: str | Path, **changes: str) -> str:
        done = subprocess.run(
            [bin / command[0], *command[1:]], cwd=tmp_path, env=environment | changes, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    found = run("python", "-c", "import ait_hf, ait_hf_cli; print(ait_hf.__file__, ait_hf_cli.__file__)")
    assert found.count(str(site)) == 2
    assert PROJECT["version"] in run("ait", "env")

    run("ait", "demo", "--output", "demo", "--quick")
    report = json.loads((tmp_path / "demo/metrics.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert rows.keys() >= {"tokenizers", "trained now, hard", "trained now, soft"}
    assert all(math.isfinite(row["depth/rmse"]) for row in rows.values())
    assert {"curves.png", "index.html", "joint"} <= {path.name for path in (tmp_path / "demo").iterdir()}

    picture(60, 90).save(tmp_path / "photo.png")
    run("ait", "predict", "--model", "demo/joint", "--task", "all", "--output", "out", "photo.png")
    written = {"photo_depth.png", "photo_objects.json", "photo_all.png"}
    assert written <= {path.name for path in (tmp_path / "out").iterdir()}

    data = ["--data", "synthetic", "--split", "test", "--limit", "8", "--output", "metrics.json"]
    run("ait", "evaluate", "--model", "demo/joint", "--task", "depth", *data)
    assert "rmse" in (tmp_path / "metrics.json").read_text()

    with serve_hub() as hub:
        talk = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_right"}
        run("ait", "push", "--folder", "demo/joint", "--repo", "user/ait-rooms", **talk, NO_PROXY="127.0.0.1")
        files = hub.files("user/ait-rooms")
    assert {"README.md", "model.safetensors", "modeling_ait.py", "tokenizers/depth/config.json"} <= files.keys()


def test_no_module_reads_files_beside_the_package():
    modules = {path: path.read_text(encoding="utf-8") for package in PACKAGES for path in package.rglob("*.py")}
    assert [str(path) for path, text in modules.items() if "__file__" in text] == []


def test_a_card_is_rendered_from_the_wheels_template(wheel, tmp_path, monkeypatch):
    template = zipfile.Path(wheel, "ait_hf/hub/card_template.md")
    monkeypatch.setattr("ait_hf.hub.card.TEMPLATE", template)
    assert "# ait-tiny" in str(render_card(save_tiny_model(tmp_path / "model"), "user/ait-tiny"))
