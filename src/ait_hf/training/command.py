# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The command line that the training scripts share."""

import argparse
import logging
import sys
from collections.abc import Callable

from .files import WriteError
from .recipes import load_recipe
from .settings import Recipe


def run_recipe(description: str, kind: type[Recipe], train: Callable[[Recipe], object]) -> None:
    """
    Reads a recipe, `key=value` overrides, `--seed` and `--push_to_hub` from the command line, and trains.

    Args:
        description: Of the script, for `--help`.
        kind: Dataclass of the recipe.
        train: What to do with it.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to replace in the recipe")
    parser.add_argument("--seed", type=int, help="same as seed=SEED")
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="same as hub.repo_id=USER/NAME: publish the result")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ait_hf").setLevel(logging.INFO)
    overrides = arguments.overrides + ([] if arguments.seed is None else [f"seed={arguments.seed}"])
    overrides += [] if arguments.push_to_hub is None else [f"hub.repo_id={arguments.push_to_hub}"]
    try:
        recipe = load_recipe(arguments.recipe, kind, overrides)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    try:
        train(recipe)
    except (FloatingPointError, WriteError) as error:
        sys.exit(f"{parser.prog}: {error}")
