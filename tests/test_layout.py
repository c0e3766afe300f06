# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Which folder of the package may import which, and what travels with a checkpoint."""

import ast
import inspect
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from imports import distribution_name, imported_modules
from repository import PROJECT, REPOSITORY
from saved_model import save_tiny_model

from ait_hf.tasks.kinds import KINDS


PACKAGE = REPOSITORY / "src/ait_hf"
# From the lowest on: a folder imports itself and lower ones. `__init__.py`, which lies in none, has the public names.
FOLDERS = (
    "model",
    "data",
    "drawing",
    "metrics",
    "inference",
    "recipes",
    "conversion",
    "tasks",
    "hub",
    "tokens",
    "training",
    "benchmarks",
    "app",
    "commands",
)
ROOMS = "rooms"  # the renderer, in data/


def imported_files(path: Path) -> set[Path]:
    """Files of the package that a file of it imports, at its top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            candidates = [base.with_suffix(".py"), base / "__init__.py"]
            candidates += [base / f"{alias.name}.py" for alias in node.names]
            found |= {candidate for candidate in candidates if candidate.is_file()}
    return found


def folder_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


SOURCES = sorted(PACKAGE.rglob("*.py"))


def test_nothing_but_folders_lies_beside_the_public_names():
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]
    assert {path.name for path in PACKAGE.iterdir() if list(path.glob("*.py"))} == set(FOLDERS)


def test_imports_only_go_down():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {target.relative_to(PACKAGE)}"
        for path in SOURCES
        if path.parent != PACKAGE
        for target in imported_files(path)
        if FOLDERS.index(folder_of(target)) > FOLDERS.index(folder_of(path))
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_import_one_another_without_a_circle():
    done, open_files = set(), []

    def visit(path: Path) -> None:
        assert path not in open_files, " -> ".join(str(file.relative_to(PACKAGE)) for file in [*open_files, path])
        if path in done:
            return
        open_files.append(path)
        for target in sorted(imported_files(path)):
            if target.name != "__init__.py":
                visit(target)
        done.add(open_files.pop())

    for path in SOURCES:
        visit(path)


def test_the_model_is_closed_and_is_what_travels_with_a_checkpoint(tmp_path):
    own = {path for path in SOURCES if folder_of(path) == "model"}
    for path in own:
        assert {target.parent for target in imported_files(path)} <= {PACKAGE / "model"}, path
        # Remote code is copied flat: only `from .module import name` is followed.
        levels = {n.level for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.level}
        assert levels <= {1}, path
    folder = save_tiny_model(tmp_path / "tiny")
    travelling = {path.name for path in folder.glob("*.py")} | {"__init__.py", "image_processing_pose_ait.py"}
    pose_processor = PACKAGE / "model/image_processing_pose_ait.py"  # saved beside models of poses
    travelling |= {target.name for target in imported_files(pose_processor)}
    assert {path.name for path in own} == travelling


def test_the_model_needs_the_core_dependencies_alone():
    core = {distribution_name(item) for item in PROJECT["dependencies"]}
    distributions = packages_distributions()
    core_modules = {module for module, names in distributions.items() if {n.lower() for n in names} & core}
    core_modules |= {module for module in distributions if module.replace("_", "-") in core}
    core_modules.add("ait_hf_cli")  # of the same wheel; it imports nothing but the standard library
    reached, waiting = set(), {PACKAGE / "__init__.py", PACKAGE / "tokens/__init__.py"}
    while waiting:
        path = waiting.pop()
        assert imported_modules(path) <= sys.stdlib_module_names | core_modules, path
        reached.add(path)
        waiting |= top_level_imports(path) - reached
    assert PACKAGE / "model/modeling_ait.py" in reached


def top_level_imports(path: Path) -> set[Path]:
    """As [`imported_files`], without what functions import when they are called."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            candidates = [base.with_suffix(".py"), base / "__init__.py"]
            candidates += [base / f"{alias.name}.py" for alias in node.names]
            found |= {candidate for candidate in candidates if candidate.is_file()}
    return found


@pytest.mark.parametrize("path", [p for p in SOURCES if ROOMS in p.parts], ids=lambda path: path.stem)
def test_rooms_know_no_readers(path):
    """Of files in `data/` the renderer knows what joints are called and how masks are cut; no files on disk."""
    others = {target.name for target in imported_files(path) if ROOMS not in target.parts}
    assert others <= {"skeletons.py", "masks_ait.py", "object_transforms.py"}


@pytest.mark.parametrize("path", sorted((PACKAGE.parent / "ait_hf_cli").glob("*.py")), ids=lambda path: path.stem)
def test_the_console_command_imports_nothing_heavy(path):
    """At its top, that is; the package itself only once the arguments are read."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1 or node.module.partition(".")[0] in sys.stdlib_module_names


def test_tests_mirror_the_package():
    tests = REPOSITORY / "tests"
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")} - {Path("."), Path("docs")}
    assert [folder for folder in folders if not (PACKAGE / folder).is_dir()] == []


def test_the_house_on_one_page_names_what_there_is():
    page = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| `(\w+)/` \|", page, re.M)) == FOLDERS
    named = re.findall(r"`([\w/*]+\.py)`", page)
    assert len(named) > 20
    assert [name for name in named if not ((REPOSITORY / name).exists() or list(PACKAGE.parent.rglob(name)))] == []


def test_no_test_imports_another():
    """What several tests need lies in tests/helpers, which pytest puts on the path."""
    tests = REPOSITORY / "tests"
    wrong = [
        f"{path.relative_to(tests)} imports {name}"
        for path in tests.rglob("*.py")
        for name in imported_modules(path)
        if name.startswith("test_") or name in ("tests", "conftest")
    ]
    assert not wrong, "\n".join(wrong)


# Of these, kinds of tasks are only known to ait_hf.tasks.kinds. The demonstrations show two of them, and answers of other
# models are objects or maps.
WITHOUT_KINDS = ("training", "recipes", "hub", "app", "commands")
EXCEPTIONS = {*PACKAGE.glob("commands/demo*.py"), PACKAGE / "app/answers.py"}


def named_kinds(path: Path) -> set[str]:
    """Folders of kinds that a file imports from, and names of tasks and types of outputs that are among its constants."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    folders = {target.parent for target in imported_files(path)} & KIND_FOLDERS
    constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    names = {name for kind in KINDS for name in (*kind.tasks, *kind.output_types)} - {"objects"}  # also a view's name
    return {folder.name for folder in folders} | (constants & names)


KIND_FOLDERS = {path.parent for path in PACKAGE.glob("tasks/*/task.py")}


def test_every_folder_of_a_kind_is_in_the_list():
    assert {Path(inspect.getfile(kind)).parent for kind in KINDS} == KIND_FOLDERS


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if folder_of(p) in WITHOUT_KINDS and p not in EXCEPTIONS], ids=lambda path: path.stem
)
def test_kinds_are_named_in_tasks_and_in_the_model_alone(path):
    assert not named_kinds(path)
