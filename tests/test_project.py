# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What must hold of the project as a whole: versions, dependencies, recipes, model cards, file headers."""

import inspect
import re
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from imports import distribution_name, imported_modules
from repository import PROJECT, REPOSITORY

import ait_hf


# A package index, or where this happened to be written. Spelt so that this file does not match itself.
FORBIDDEN = re.compile("(?:--)?(?:extra-)?index-" + "url|pypi" + r"\.org|/(?:work|home|root|Users)" + r"/\w")


def project_files() -> list[Path]:
    """What git tracks or would track; without git, as in a source archive, the folders that hold sources."""
    if (REPOSITORY / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
        paths = [REPOSITORY / name for name in listed.split("\0") if name]
    else:
        folders = ("src", "scripts", "tests", "docs", "model_cards")
        paths = [*REPOSITORY.glob("*"), *(path for folder in folders for path in (REPOSITORY / folder).rglob("*"))]
    return [path for path in paths if path.is_file() and path.suffix not in (".pyc", ".png", ".safetensors", ".npz")]


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["version"] == ait_hf.__version__ == citation["version"]


def test_reports_of_bugs_ask_for_the_environment():
    form = yaml.safe_load((REPOSITORY / ".github/ISSUE_TEMPLATE/bug_report.yml").read_text(encoding="utf-8"))
    asked = {field["id"]: field for field in form["body"]}
    assert "`ait env`" in asked["environment"]["attributes"]["label"]
    assert all(field["validations"]["required"] for field in asked.values())


def test_pythons_that_are_promised_are_those_of_the_workflows():
    promised = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if "Python :: 3." in text]
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert promised[0] == PROJECT["requires-python"].removeprefix(">=")
    assert set(workflow["jobs"]["test"]["strategy"]["matrix"]["python"]) <= set(promised)


@pytest.mark.parametrize("name", ait_hf.__all__)
def test_public_name_has_a_docstring_of_its_own(name):
    documented = getattr(ait_hf, name)
    inherited = [base.__doc__ for base in inspect.getmro(documented)[1:]] if inspect.isclass(documented) else []
    assert documented.__doc__ and documented.__doc__ not in inherited
    assert not documented.__doc__.startswith(f"{name}(")  # what a dataclass without a docstring gets


def test_every_import_is_a_declared_dependency():
    extras = PROJECT["optional-dependencies"].values()
    declared = {
        distribution_name(item) for item in [*PROJECT["dependencies"], *(i for extra in extras for i in extra)]
    }
    distributions = packages_distributions()
    local = {path.stem for path in [*REPOSITORY.glob("tests/helpers/*.py"), *REPOSITORY.glob("scripts/*.py")]}
    for folder in ("src", "scripts", "tests"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for module in imported_modules(path) - sys.stdlib_module_names - local:
                providers = {name.lower().replace("_", "-") for name in distributions.get(module, [module])}
                assert providers & declared, f"{path} imports {module}, which pyproject.toml does not declare"


def test_python_files_name_their_licence():
    for path in project_files():
        if path.suffix == ".py" and path.parent.name != "notebooks":  # those begin with jupytext's settings
            lines = path.read_text(encoding="utf-8").splitlines()
            assert lines[:2] == ["# Copyright 2026 The ait_hf authors.", "# SPDX-License-Identifier: Apache-2.0"], path


def lines_of(path: Path) -> list[str]:
    if path.suffix != ".zip":
        return path.read_text(encoding="utf-8").splitlines()
    with zipfile.ZipFile(path) as archive:
        contents = b"\n".join(archive.read(name) for name in archive.namelist())
    return contents.decode(errors="replace").splitlines()


def test_no_file_names_a_machine_or_a_package_index():
    found = []
    for path in project_files():
        for number, line in enumerate(lines_of(path), start=1):
            if FORBIDDEN.search(line):
                found.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


def test_tests_that_documents_name_exist():
    named = re.findall(r"`([\w/]*test_\w+\.py)(?:::(\w+))?`", (REPOSITORY / "docs/fidelity.md").read_text())
    assert len(named) > 30
    for file, function in named:
        assert f"def {function or 'test_'}" in (REPOSITORY / "tests" / file).read_text(), (file, function)


def test_files_are_small():
    assert not [path for path in project_files() if path.stat().st_size > 2**20]
