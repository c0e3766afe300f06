# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The recipes that the package brings, by name."""

import difflib
import logging
from importlib.util import find_spec
from pathlib import Path


logger = logging.getLogger("ait_hf.recipes")


def shipped_recipes() -> dict[str, Path]:
    """Name -> file, folder by folder; without importing the package, which takes seconds."""
    (package,) = find_spec("ait_hf").submodule_search_locations
    return {path.stem: path for path in sorted(Path(package, "recipes/library").glob("*/*.yaml"))}


def find_recipe(recipe: str | Path, folder: str | Path = "") -> Path:
    """
    The file of a recipe.

    Args:
        recipe: A path, from `folder` on, or the name of a shipped recipe, such as `"demo_ait"`. Where there is no file,
            `scripts/recipes/NAME.yaml`, where recipes once were, is the shipped recipe of that name.

    Raises:
        FileNotFoundError: There is neither; the message has the nearest name.
    """
    path = Path(folder, recipe)
    if path.is_file():
        return path
    shipped = shipped_recipes()
    name = path.stem if path.parts[-3:-1] == ("scripts", "recipes") and path.suffix == ".yaml" else str(recipe)
    if name in shipped:
        logger.info("Recipe %s: %s", recipe, shipped[name])
        return shipped[name]
    nearest = difflib.get_close_matches(path.stem, shipped, n=1, cutoff=0)[0]
    raise FileNotFoundError(
        f"There is no recipe at {path}, and of those that the package brings (`ait train --list`) {nearest} has the "
        "nearest name."
    )


def recipe_list() -> str:
    """A line for each shipped recipe: its name and what it is, which is the first line of its file."""
    lines, folder = [], None
    for name, path in shipped_recipes().items():
        if path.parent.name != folder:
            folder = path.parent.name
            lines.append(f"{folder}:")
        first, *_ = path.read_text(encoding="utf-8").splitlines()
        lines.append(f"  {name:34}  {first.removeprefix('# ')}")
    return "\n".join(lines)
