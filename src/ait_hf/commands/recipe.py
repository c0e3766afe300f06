# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The command line that the training scripts share."""

import argparse
import logging
from collections.abc import Callable, Sequence

from ..recipes.arguments import seed
from ..recipes.parsing import load_recipe
from ..training.settings import Recipe


def run_recipe(
    description: str,
    kind: type[Recipe],
    train: Callable[[Recipe], object],
    arguments: Sequence[str] | None = None,
) -> None:
    """
    Reads a recipe, `key=value` overrides, `--seed` and `--push_to_hub` from the command line, and trains.

    Args:
        description: Of the script, for `--help`.
        kind: Dataclass of the recipe.
        train: What to do with it.
        arguments: Those of the process by default.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to replace in the recipe")
    parser.add_argument("--seed", type=seed, help="same as seed=SEED")
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="same as hub.repo_id=USER/NAME: publish the result")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ait_hf").setLevel(logging.INFO)
    overrides = options.overrides + ([] if options.seed is None else [f"seed={options.seed}"])
    overrides += [] if options.push_to_hub is None else [f"hub.repo_id={options.push_to_hub}"]
    train(load_recipe(options.recipe, kind, overrides))
