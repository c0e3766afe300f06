# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The recipe of a training, of a task-solver or of a tokenizer."""

from typing import Any

from ..recipes.parsing import build
from .solver import SolverRecipe
from .tokenizer import TokenizerRecipe


AnyRecipe = SolverRecipe | TokenizerRecipe


def read_recipe(values: dict[str, Any]) -> AnyRecipe:
    """The recipe of a task-solver or of a tokenizer, whichever it is; `ValueError` for what is neither."""
    if not {"tasks", "data"} & values.keys():
        raise ValueError(
            "The recipe has neither tasks, as that of a task-solver has, nor data, as that of a tokenizer: its keys are "
            f"{', '.join(map(str, values)) or 'none'}."
        )
    return build(SolverRecipe if "tasks" in values else TokenizerRecipe, values)
